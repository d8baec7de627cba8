"""Converts the observations of Gymnasium environments to one array that a network reads.

An image becomes (C, H, W), uint8 or float32 in [0, 1]. Any other observation becomes a vector of
float32: the parts of dicts and tuples are concatenated, and a choice becomes a one-hot vector.
"""

from __future__ import annotations

from math import prod
from typing import Any, Protocol

import numpy as np
from gymnasium import Space, spaces

from envs.text import plain

FLAT_IMAGE_SIDE = 30
"""A matrix (H, W) with a shorter side is read as numbers, because it may be a board."""

CHANNELS = (1, 3, 4)
"""Numbers of channels: gray; red, green and blue; these with opacity."""

MOST_CHOICES = 1_000_000
"""Longest one-hot vector."""


class Unfit(Exception):
    """A value does not fit its declared space; the message describes the value."""


class Reader(Protocol):
    """Writes an observation into its row of a batch.

    Attributes:
        space: the space of the row.
    """

    space: Any

    def write(self, value: Any, row: np.ndarray) -> None:
        """Writes an observation into a contiguous row and overwrites all of it.

        Raises:
            Unfit: the value is not in the space that the environment declared.
        """
        ...


def reader(space: Space) -> Reader:
    """Returns the reader of a space's observations.

    Raises:
        Unfit: the space has no arrays of one fixed shape; the message names the part.
    """
    if isinstance(space, spaces.Box):
        found = image_reader(space) or Numbers(space, space.shape or (1,))
    else:
        found = parts_reader(space, "observation")
    if not prod(found.space.shape):
        raise Unfit("an observation holds no numbers")
    return found


class Numbers:
    """Reads a box of numbers as float32 of a given shape."""

    def __init__(self, space: spaces.Box | spaces.MultiBinary, shape: tuple[int, ...]) -> None:
        self.declared = space.shape
        self.dtype = space.dtype
        low, high = (0, 1) if isinstance(space, spaces.MultiBinary) else (space.low, space.high)
        bounds = (np.broadcast_to(_single(bound), space.shape) for bound in (low, high))
        low, high = (bound.reshape(shape) for bound in bounds)
        self.space = spaces.Box(low, high, shape, np.float32)

    def write(self, value: Any, row: np.ndarray) -> None:
        """As `Reader.write`."""
        if type(value) is not np.ndarray or value.shape != row.shape or value.dtype != self.dtype:
            value = fitting(value, self.declared, self.dtype).reshape(row.shape)
            # A number too large for float32 becomes infinite; `require_finite` refuses it.
            with np.errstate(over="ignore"):
                row[...] = value
            return
        row[...] = value


class Image:
    """Reads an image; the row has the channels first."""

    def __init__(self, space: spaces.Box, axes: tuple[int, ...]) -> None:
        self.declared = space.shape
        self.axes = axes
        self.turned = tuple(space.shape[axis] for axis in axes)
        integers = space.dtype.kind in "iu"
        self.dtype = np.dtype(np.uint8) if integers else space.dtype
        self.scale = 1 / 255 if space.dtype.kind == "f" and space.high.flat[0] == 255 else None
        shape = (prod(self.turned[:-2]), *self.turned[-2:])
        dtype = np.uint8 if integers else np.float32
        self.space = spaces.Box(0, 255 if integers else 1, shape, dtype)

    def write(self, value: Any, row: np.ndarray) -> None:
        """As `Reader.write`."""
        image = fitting(value, self.declared, self.dtype).transpose(self.axes)
        row = row.reshape(self.turned)
        if self.scale is None:
            row[...] = image
        else:
            np.multiply(image, self.scale, out=row, casting="same_kind")


class OneHots:
    """Reads choices as concatenated one-hot vectors."""

    def __init__(self, space: Any, name: str) -> None:
        self.declared: tuple[int, ...] = space.shape
        self.starts = np.ravel(space.start)
        self.sizes = np.ravel(space.n if isinstance(space, spaces.Discrete) else space.nvec)
        if self.sizes.sum() > MOST_CHOICES:
            raise Unfit(
                f"{name} has {self.sizes.sum():,} choices, at most {MOST_CHOICES:,} are allowed"
            )
        self.begins = self.sizes.cumsum() - self.sizes
        self.space = spaces.Box(0, 1, (int(self.sizes.sum()),), np.float32)

    def write(self, value: Any, row: np.ndarray) -> None:
        """As `Reader.write`."""
        chosen = fitting(value, self.declared, np.dtype(np.int64)).ravel() - self.starts
        if (chosen < 0).any() or (chosen >= self.sizes).any():
            raise Unfit(f"{described(value)} as an observation, which is not in its space")
        row[:] = 0
        row[self.begins + chosen] = 1


class Parts:
    """Reads the parts of a dict or a tuple as one concatenated vector."""

    def __init__(self, space: spaces.Dict | spaces.Tuple, name: str) -> None:
        self.keys = [key for key, _ in items_of(space)]
        readers = [parts_reader(part, f"{name}[{key!r}]") for key, part in items_of(space)]
        if not readers:
            raise Unfit(f"{name} has no parts")
        ends = np.cumsum([each.space.shape[0] for each in readers]).tolist()
        self.readers = list(zip(readers, map(slice, [0, *ends[:-1]], ends), strict=True))
        low, high = (
            np.concatenate([getattr(each.space, bound) for each in readers])
            for bound in ("low", "high")
        )
        self.space = spaces.Box(low, high, dtype=np.float32)

    def write(self, value: Any, row: np.ndarray) -> None:
        """As `Reader.write`."""
        try:
            parts = [value[key] for key in self.keys]
        except (KeyError, IndexError, TypeError):
            raise Unfit(
                f"{described(value)} as an observation, whose space has the parts {self.keys}"
            ) from None
        for part, (each, place) in zip(parts, self.readers, strict=True):
            each.write(part, row[place])


def parts_reader(space: Space, name: str) -> Reader:
    """The reader of a space's observations as a vector.

    Args:
        name: what an error calls the observations.
    """
    match space:
        case spaces.Box() | spaces.MultiBinary():
            return Numbers(space, (prod(space.shape),))
        case spaces.Discrete() | spaces.MultiDiscrete():
            return OneHots(space, name)
        case spaces.Dict() | spaces.Tuple():
            return Parts(space, name)
    raise Unfit(f"{name} has the space {type(space).__name__}, which has no array of one shape")


def image_reader(space: spaces.Box) -> Image | None:
    """The reader of a box whose shape and range are an image's; None for another box.

    An image is (H, W, C), (C, H, W), a stack of either, or (H, W) with sides of at least
    `FLAT_IMAGE_SIDE` pixels. Its range is [0, 1] or [0, 255]; uint8 with three axes may declare any
    range.
    """
    shape = space.shape
    if len(shape) not in (2, 3, 4) or not (has_range_of_pixels(space) or is_bytes(space)):
        return None
    if len(shape) == 2:
        flat = min(shape) >= FLAT_IMAGE_SIDE and has_range_of_pixels(space)
        return Image(space, (0, 1)) if flat else None
    channels_last = shape[-1] <= shape[-3]
    if len(shape) == 3:
        return Image(space, (2, 0, 1) if channels_last else (0, 1, 2))
    if not {shape[1], shape[3]} & set(CHANNELS):
        return None
    return Image(space, (0, 3, 1, 2) if channels_last else (0, 1, 2, 3))


def has_range_of_pixels(space: spaces.Box) -> bool:
    """Whether a box holds bools, integers in [0, 255], or floats in [0, 1] or [0, 255]."""
    if space.dtype == np.bool_:
        return True
    brightest = (1, 255) if space.dtype.kind == "f" else (255,)
    return bool((space.low == 0).all() and any((space.high == each).all() for each in brightest))


def is_bytes(space: spaces.Box) -> bool:
    """Whether a box holds uint8 with three axes: an image, even with another declared range."""
    return space.dtype == np.uint8 and len(space.shape) == 3


def images_read_as_numbers(space: Space, name: str = "observations", part: bool = False) -> str:
    """Describes a part of a space that looks like images but is read as numbers; "" if none does.

    Args:
        name: what the text calls the space.
        part: the space is a part of another space, which is read as a vector.
    """
    if isinstance(space, spaces.Dict | spaces.Tuple):
        found = (
            images_read_as_numbers(each, f"{name}[{key!r}]", part=True)
            for key, each in items_of(space)
        )
        return next(filter(None, found), "")
    if not isinstance(space, spaces.Box):
        return ""
    if image_reader(space):
        return f"{name} of shape {space.shape}" if part else ""
    return f"{name} of shape {space.shape} in {range_of(space)}" if has_image_shape(space) else ""


def has_image_shape(space: spaces.Box) -> bool:
    """Whether a box has the shape of a large image: two sides, and channels before or after."""
    if len(space.shape) != 3:
        return False
    *front, last = space.shape
    first, *back = space.shape
    turned = last in CHANNELS and min(front) >= FLAT_IMAGE_SIDE
    return turned or (first in CHANNELS and min(back) >= FLAT_IMAGE_SIDE)


def items_of(space: spaces.Dict | spaces.Tuple) -> list[tuple[Any, Space]]:
    """The parts of a dict by their keys, or the parts of a tuple by their numbers."""
    return list(space.items() if isinstance(space, spaces.Dict) else enumerate(space))


def range_of(space: spaces.Box) -> str:
    """The smallest and the largest bound of a box as text: "[0, 255]"."""
    return f"[{space.low.min():g}, {space.high.max():g}]"


def fitting(value: Any, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Converts a value to an array of this shape, with numbers that the dtype can hold.

    Raises:
        Unfit: the value has another shape, holds no numbers, or holds numbers that an integer dtype
            cannot represent.
    """
    if type(value) is np.ndarray and value.shape == shape and value.dtype == dtype:
        return value
    try:
        array = np.asarray(value)
    except Exception:
        raise Unfit(f"{described(value)} as an observation, which is not an array") from None
    if array.dtype.kind not in "biuf":
        raise Unfit(f"{described(value)} as an observation, which is not an array of numbers")
    if array.shape != shape:
        if array.size != 1 or prod(shape) != 1:
            raise Unfit(f"an observation of shape {array.shape}, but its space has {shape}")
        array = array.reshape(shape)
    if dtype.kind in "biu" and array.dtype != dtype:
        with np.errstate(invalid="ignore"):
            cast = array.astype(dtype)
        if (cast != array).any():
            wrong = array[cast != array][0]
            raise Unfit(f"an observation with {wrong:g}, which {dtype} cannot hold")
        return cast
    return array


def described(value: Any) -> str:
    """Describes a value in a few words; a large array by its shape and dtype."""
    shape = getattr(value, "shape", None)
    dtype = getattr(value, "dtype", None)
    if shape and dtype is not None and prod(shape) > 8:
        return f"an array of shape {tuple(shape)} and dtype {dtype}"
    try:
        return plain(" ".join(repr(value).split()), 80)
    except Exception:
        return f"a {type(value).__name__}"


def _single(bound: Any) -> np.ndarray:
    # Bounds too large for float32 become infinite.
    with np.errstate(over="ignore"):
        return np.asarray(bound).astype(np.float32)
