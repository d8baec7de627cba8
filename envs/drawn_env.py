"""An environment whose observations are the pictures that it renders."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np

from envs.errors import UserError, first_line
from envs.observations import Unfit, described
from envs.own_code import FAULTS, raised
from envs.user_env import UserEnv


class DrawnEnv(UserEnv):
    """Replaces the observations of an environment by its rendered pictures, uint8 (H, W, 3).

    Raises:
        UserError: as `UserEnv`, or the environment renders no pictures.
    """

    def __init__(self, env_id: str, env: gymnasium.Env) -> None:
        super().__init__(env_id, env)
        if "rgb_array" not in render_modes(env):
            raise UserError(f"{env_id} cannot be rendered: it has no render mode 'rgb_array'")

    def write(self, obs: Any, row: np.ndarray) -> None:
        """Writes the picture of the current state into `row`."""
        picture = self.picture()
        if picture.shape != row.shape:
            what = f"render() returned a picture of shape {picture.shape} after {row.shape}"
            raise self.fault(what, "all pictures must have one size")
        row[...] = picture

    def picture(self) -> np.ndarray:
        """Renders the current state, uint8 (H, W, 3)."""
        try:
            drawn = self.env.render()
        except (gymnasium.error.Error, ImportError, NameError) as error:
            # MinAtar raises NameError if its import of seaborn failed.
            why = first_line(error)
            raise UserError(f"{self.env_id} cannot be rendered here: {why}") from error
        except FAULTS as error:
            why = f"render() {raised(error, self.source)}"
            raise UserError(f"{self.env_id} cannot be rendered here: {why}") from error
        try:
            return as_picture(drawn)
        except Unfit as unfit:
            cure = "a picture must be uint8 (H, W, 3)"
            raise self.fault(f"render() returned {unfit}", cure) from None


def render_modes(env: gymnasium.Env) -> list[Any]:
    """The render modes in an environment's metadata; [] if there are none."""
    metadata = env.metadata
    named = metadata.get("render_modes") if isinstance(metadata, Mapping) else None
    return list(named) if isinstance(named, list | tuple | set) else []


def as_picture(drawn: Any) -> np.ndarray:
    """Converts a picture to uint8 (H, W, 3); it may be gray, have opacity or hold floats.

    Raises:
        Unfit: the value is not a picture.
    """
    try:
        picture = np.asarray(drawn)
    except Exception:
        raise Unfit(described(drawn)) from None
    if picture.ndim == 2:
        picture = picture[..., None]
    if picture.ndim != 3 or picture.shape[2] not in (1, 3, 4) or picture.dtype.kind not in "biuf":
        raise Unfit(described(drawn))
    # Drop the channel of opacity.
    picture = picture[..., : min(3, picture.shape[2])]
    if picture.dtype.kind in "bf" and picture.size and picture.max() <= 1:
        picture = 255 * picture.astype(np.float32)
    if picture.dtype != np.uint8:
        picture = picture.clip(0, 255).astype(np.uint8)
    return np.broadcast_to(picture, (*picture.shape[:2], 3))
