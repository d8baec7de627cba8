"""Pictures of an episode with captions: the step, the return and the action."""

from __future__ import annotations

import functools
from collections.abc import Generator
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from demos.dataset import Dataset, at_least_one, require_numbers
from demos.episode import Episode
from envs import UserError, render
from envs.action_names import action_name

LEAST_WIDTH = 320
"""Smallest width in pixels, which captions need."""

USUAL_SIDE = 480
"""Small pictures are enlarged up to this side, in pixels."""

FONT_SIZE = 14
LINE_HEIGHT = 18
MARGIN = 6

BAND = (24, 24, 27)
"""Color of the band below the picture."""

INK = (228, 228, 231)
"""Color of the text in the band."""


@dataclass(frozen=True, eq=False)
class Moment:
    """The picture of one step and its caption."""

    picture: np.ndarray
    """uint8 (H, W, 3), in the environment's own resolution."""
    lines: tuple[str, ...]
    """Lines of text below the picture."""


def one_episode(dataset: Dataset, number: int) -> Episode:
    """Reads the episode with this number, from 0; damage in other episodes does not matter.

    Raises:
        UserError: there is no such episode, it is damaged, or it does not replay.
    """
    at_least_one(dataset, dataset.files())
    require_numbers(dataset, [number])
    if not dataset.metadata.replayable:
        raise UserError(f"the episodes of {dataset.path} do not replay from seed and actions")
    return dataset.episode(number)


def moments(episode: Episode) -> Generator[Moment, None, None]:
    """Yields T + 1 moments of an episode of T steps: one for the reset and one for each step.

    Raises:
        UserError: as `envs.render`.
    """
    returns = np.concatenate([[0.0], np.cumsum(episode.rewards, dtype=np.float64)])
    for step, picture in enumerate(render(episode.tape)):
        done = action_name(episode.spec, episode.actions[step - 1]) if step else "none yet"
        counted = f"step {step} of {len(episode)}   return {returns[step]:g}"
        yield Moment(picture, (counted, f"action {done}"))


def checked_speed(speed: float) -> float:
    """Returns the value of `--speed`; raises a UserError if it is out of range."""
    if not 0.01 <= speed <= 100:
        raise UserError(f"--speed {speed:g}: must be between 0.01 and 100")
    return speed


def captioned(moment: Moment) -> np.ndarray:
    """Draws the picture with its lines of text in a band below it.

    Returns:
        uint8 (H', W', 3), with even H' and W'. A small picture is enlarged by a whole number, and a
        narrow picture is centered.
    """
    height, width = moment.picture.shape[:2]
    factor = max(1, USUAL_SIDE // max(height, width))
    height *= factor
    width *= factor
    full_width = max(LEAST_WIDTH, width + width % 2)
    band_height = LINE_HEIGHT * len(moment.lines) + MARGIN
    full_height = height + band_height + (height + band_height) % 2
    canvas = Image.new("RGB", (full_width, full_height), BAND)
    enlarged = Image.fromarray(moment.picture).resize((width, height), Image.Resampling.NEAREST)
    canvas.paste(enlarged, ((full_width - width) // 2, 0))
    draw = ImageDraw.Draw(canvas)
    for row, line in enumerate(moment.lines):
        at = (MARGIN, height + MARGIN // 2 + row * LINE_HEIGHT)
        draw.text(at, fitting(line, full_width - 2 * MARGIN), INK, font())
    return np.asarray(canvas)


def fitting(line: str, width: int) -> str:
    """A line, cut at the end if it is wider than so many pixels."""
    if font().getlength(line) <= width:
        return line
    while line and font().getlength(line + "…") > width:
        line = line[:-1]
    return line + "…"


@functools.lru_cache
def font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """The font of captions."""
    return ImageFont.load_default(FONT_SIZE)
