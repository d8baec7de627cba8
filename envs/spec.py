"""Names to environments: an `EnvSpec` says everything that defines one, as plain JSON."""

from __future__ import annotations

import dataclasses
import typing
from dataclasses import dataclass
from typing import Any

from envs.catalog import (
    atari_build,
    atari_ids,
    atari_nicknames,
    gymnasium_build,
    registered_limit,
    require_trusted,
    unknown_name,
)
from envs.errors import UserError, at_least

MOST_STEPS = 27_000
"""Steps of an episode where nothing else limits it: Atari's 108,000 frames of 4 each."""

_ATARI_MINIMUM = {
    "frameskip": 1,
    "noop_max": 0,
    "frame_stack": 1,
    "screen_size": 1,
    "max_episode_frames": 1,
}
_NO_ATARI = {
    "repeat_action_probability": 0.0,
    "frameskip": 1,
    "noop_max": 0,
    "fire_reset": False,
    "frame_stack": 1,
    "screen_size": 0,
    "grayscale": False,
    "maxpool": False,
    "full_action_space": False,
    "ale_py_version": "",
    "rom_md5": "",
}


@dataclass(frozen=True, kw_only=True)
class EnvSpec:
    """Everything that defines an environment; equal specs, seeds and actions give equal lives.

    The fields that mean nothing to a family are neutral: Gymnasium environments have the Atari
    fields at 0, 1, False or "", Atari ones have `gymnasium_version` at "".

    Raises:
        UserError: a field is out of its range, or not neutral for the family.
    """

    env_id: str
    """Canonical id: "ALE/Pong-v5", "PongNoFrameskip-v4", "CartPole-v1"."""
    family: str
    """"atari" (AtariVectorEnv) or "gymnasium" (any other registered environment)."""
    repeat_action_probability: float
    """Probability that the emulator repeats the last action instead (sticky actions)."""
    frameskip: int
    """Emulated frames per environment step."""
    noop_max: int
    """Upper bound of the random number of no-ops after a reset."""
    fire_reset: bool
    """FIRE is pressed after a reset in the games that have it."""
    frame_stack: int
    """Frames per observation."""
    screen_size: int
    """Height and width of an observation, pixels."""
    grayscale: bool
    maxpool: bool
    """Each pixel is the maximum over the last two emulated frames."""
    full_action_space: bool
    """All 18 actions instead of those the game reacts to."""
    max_episode_frames: int
    """Emulated frames after which an episode is truncated; for the Gymnasium family steps, and 0
    means the limit the id was registered with."""
    ale_py_version: str
    rom_md5: str
    gymnasium_version: str

    def __post_init__(self) -> None:
        if self.family not in ("atari", "gymnasium"):
            raise UserError(f"family is '{self.family}', allowed are 'atari' and 'gymnasium'")
        if self.family == "gymnasium":
            for name, neutral in _NO_ATARI.items():
                if (value := getattr(self, name)) != neutral:
                    raise UserError(
                        f"{name} is {value!r}, but {self.env_id} is no Atari game:"
                        f" only {neutral!r} is allowed"
                    )
            return
        for name, minimum in _ATARI_MINIMUM.items():
            at_least(minimum, name, getattr(self, name))
        if not 0.0 <= self.repeat_action_probability <= 1.0:
            raise UserError(
                f"repeat_action_probability is {self.repeat_action_probability},"
                " allowed is 0.0 to 1.0"
            )

    @property
    def game(self) -> str | None:
        """The ROM's name ("space_invaders") of an Atari game, else None."""
        return atari_ids().get(self.env_id)

    @property
    def protocol(self) -> str:
        """What a reported score is to be labelled with."""
        if self.family == "gymnasium":
            cap = self.max_episode_frames
            return self.env_id + (f", at most {cap} steps" if cap else "")
        sticky = f"sticky {self.repeat_action_probability:g}"
        return f"{self.env_id}, {sticky}, frameskip {self.frameskip}"

    @property
    def most_steps(self) -> int:
        """Steps after which an episode is truncated; 0 where nothing truncates it."""
        if self.family == "atari":
            return -(-self.max_episode_frames // self.frameskip)
        return self.max_episode_frames or registered_limit(self.env_id)

    def bounded(self, most_steps: int = 0) -> EnvSpec:
        """Returns the environment with episodes of at most so many steps, so that each ends.

        Args:
            most_steps: 0 is the environment's own limit, and `MOST_STEPS` where it has none. A
                lower limit of its own stays.
        """
        limit = self.most_steps
        wanted = most_steps or limit or MOST_STEPS
        if 0 < limit <= wanted:
            return self
        return dataclasses.replace(self, max_episode_frames=wanted * self.frameskip)

    def to_json(self) -> dict[str, Any]:
        """Returns the fields as a dict of str, int, float and bool."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> EnvSpec:
        """Rebuilds a spec from `to_json`.

        Raises:
            UserError: a field is missing, unknown, of another type or out of range.
        """
        types = typing.get_type_hints(cls)
        if unknown := sorted(fields.keys() - types.keys()):
            raise UserError(f"unknown field '{unknown[0]}' in an environment's spec")
        if missing := sorted(types.keys() - fields.keys()):
            raise UserError(f"the field '{missing[0]}' is missing from an environment's spec")
        values = dict(fields)
        for name, kind in types.items():
            if kind is float and type(values[name]) is int:
                values[name] = float(values[name])
            if type(values[name]) is not kind:
                raise UserError(f"{name} is {values[name]!r}, but must be of type {kind.__name__}")
        return cls(**values)

    def differing_fields(self, other: EnvSpec) -> list[str]:
        """Returns the names of the fields in which `other` differs, in order."""
        names = [field.name for field in dataclasses.fields(self)]
        return [name for name in names if getattr(self, name) != getattr(other, name)]

    def require_same(self, other: EnvSpec, who: str) -> None:
        """Passes when `other` is the same environment.

        Args:
            who: whose `other` is, as the error begins: "runs/x is", "the saved tapes are".

        Raises:
            UserError: names the first field that differs, and both values.
        """
        if differing := self.differing_fields(other):
            name = differing[0]
            raise UserError(
                f"{who} of another environment: {name} is {getattr(other, name)!r} there,"
                f" but {getattr(self, name)!r} here"
            )

    def check_reproducible(self) -> None:
        """Passes when this machine would play exactly what the spec says.

        Raises:
            UserError: names the field in which this machine differs, and both values; or the spec
                needs a module that no person named (`envs.catalog.require_trusted`).
        """
        if self.family == "atari" and self.game is None:
            raise unknown_name(self.env_id)
        require_trusted(self.env_id)
        here = atari_build(self.game) if self.game else gymnasium_build(self.env_id)
        for name, value in here.items():
            if value != getattr(self, name):
                raise UserError(
                    f"{self.env_id} cannot be reproduced here: {name} is '{value}' on this"
                    f" machine, but '{getattr(self, name)}' in the spec"
                )


def spec(name: str) -> EnvSpec:
    """Resolves a name, as a person types it, to an environment of this machine.

    "Pong", "pong" and "ALE/Pong-v5" are the modern protocol (sticky 0.25), "PongNoFrameskip-v4" the
    classic one (sticky 0, up to 30 no-ops, FIRE on reset). Anything else is the id of a registered
    Gymnasium environment, "MinAtar/..." included; "module:Id-v0" imports the module first.

    Raises:
        UserError: no such environment; the nearest name is given.
    """
    folded = name.lower().replace("_", "").replace(" ", "")
    env_id = atari_nicknames().get(folded, name)
    if game := atari_ids().get(env_id):
        classic = not env_id.startswith("ALE/")
        return EnvSpec(
            env_id=env_id,
            family="atari",
            repeat_action_probability=0.0 if classic else 0.25,
            frameskip=4,
            noop_max=30 if classic else 0,
            fire_reset=classic,
            frame_stack=4,
            screen_size=84,
            grayscale=True,
            maxpool=True,
            full_action_space=False,
            max_episode_frames=108_000,
            **atari_build(game),
        )
    return EnvSpec(
        env_id=env_id,
        family="gymnasium",
        max_episode_frames=0,
        **(_NO_ATARI | gymnasium_build(env_id)),
    )
