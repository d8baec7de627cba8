"""Watching an episode: its pictures, each with what was done and what it brought."""

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

LEAST_WIDTH, USUAL_SIDE = 320, 480
"""Pixels: captions have room on the first, and small pictures are enlarged up to the second."""

FONT_SIZE, LINE_HEIGHT, MARGIN = 14, 18, 6
BAND, INK = (24, 24, 27), (228, 228, 231)


@dataclass(frozen=True, eq=False)
class Moment:
    """What there is to see of one step."""

    picture: np.ndarray
    """uint8 (H, W, 3), in the environment's own resolution."""
    lines: tuple[str, ...]
    """What is written below it."""


def one_episode(dataset: Dataset, number: int) -> Episode:
    """The episode of that number, from 0; what is wrong with others does not matter.

    Raises:
        UserError: there is none, it is damaged, or it does not replay.
    """
    at_least_one(dataset, dataset.files())
    require_numbers(dataset, [number])
    if not dataset.metadata.replayable:
        raise UserError(f"{dataset.path} does not replay from seed and actions")
    return dataset.episode(number)


def moments(episode: Episode) -> Generator[Moment, None, None]:
    """The reset, then each step: T + 1 moments of an episode of T steps.

    Raises:
        UserError: as `envs.render`.
    """
    returns = np.concatenate([[0.0], np.cumsum(episode.rewards, dtype=np.float64)])
    for step, picture in enumerate(render(episode.tape)):
        done = action_name(episode.spec, episode.actions[step - 1]) if step else "none yet"
        counted = f"step {step} of {len(episode)}   return {returns[step]:g}"
        yield Moment(picture, (counted, f"action {done}"))


def checked_speed(speed: float) -> float:
    """The value of `--speed`; a UserError where nobody could watch it."""
    if not 0.01 <= speed <= 100:
        raise UserError(f"--speed {speed:g}: must be between 0.01 and 100")
    return speed


def captioned(moment: Moment) -> np.ndarray:
    """The picture with its lines in a band below it, where they hide nothing.

    Returns:
        uint8 (H', W', 3), both even. Small pictures are enlarged by a whole number, narrow ones are
        centered.
    """
    height, width = moment.picture.shape[:2]
    factor = max(1, USUAL_SIDE // max(height, width))
    height, width = factor * height, factor * width
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
    """As much of a line as fits into so many pixels."""
    if font().getlength(line) <= width:
        return line
    while line and font().getlength(line + "…") > width:
        line = line[:-1]
    return line + "…"


@functools.lru_cache
def font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(FONT_SIZE)
