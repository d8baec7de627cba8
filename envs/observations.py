"""What an environment of Gymnasium observes, as one array that a network reads.

Images become (C, H, W): uint8, or float32 in [0, 1]. Everything else becomes float32 numbers:
dicts and tuples end to end, and one of n choices as a one-hot vector.
"""

from __future__ import annotations

from math import prod
from typing import Any, Protocol

import numpy as np
from gymnasium import Space, spaces

from envs.text import plain

FLAT_IMAGE_SIDE = 30
"""A matrix of pixels with shorter sides is taken as numbers, because it may be a board."""

CHANNELS = (1, 3, 4)
"""Gray, red green blue, and those with opacity."""

MOST_CHOICES = 1_000_000
"""A one-hot vector of more numbers is refused."""


class Unfit(Exception):
    """What an environment returned is not what it promised; the text says what it is."""


class Reader(Protocol):
    """How an observation is written into its row of a batch.

    Attributes:
        space: what the row holds.
    """

    space: Any

    def write(self, value: Any, row: np.ndarray) -> None:
        """Write an observation into a row, which is contiguous and holds anything.

        Raises:
            Unfit: the value is not of the space that the environment declared.
        """
        ...


def reader(space: Space) -> Reader:
    """The reader of a space's observations.

    Raises:
        Unfit: the space has no arrays of one shape; names the part that has none.
    """
    if isinstance(space, spaces.Box):
        found = image_reader(space) or Numbers(space, space.shape or (1,))
    else:
        found = parts_reader(space, "observation")
    if not prod(found.space.shape):
        raise Unfit("an observation has no numbers in it")
    return found


class Numbers:
    """A box of any numbers, as float32 of its own shape or of another."""

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
            # What float32 does not have becomes infinite, which is not finite (`require_finite`).
            with np.errstate(over="ignore"):
                row[...] = value
            return
        row[...] = value


class Image:
    """Pixels, written with their channels first."""

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
    """Choices, each of n, as one-hot vectors end to end."""

    def __init__(self, space: Any, name: str) -> None:
        self.declared: tuple[int, ...] = space.shape
        self.starts = np.ravel(space.start)
        self.sizes = np.ravel(space.n if isinstance(space, spaces.Discrete) else space.nvec)
        if self.sizes.sum() > MOST_CHOICES:
            raise Unfit(
                f"{name} has {self.sizes.sum():,} choices, and {MOST_CHOICES:,} are the most"
            )
        self.begins = self.sizes.cumsum() - self.sizes
        self.space = spaces.Box(0, 1, (int(self.sizes.sum()),), np.float32)

    def write(self, value: Any, row: np.ndarray) -> None:
        """As `Reader.write`."""
        chosen = fitting(value, self.declared, np.dtype(np.int64)).ravel() - self.starts
        if (chosen < 0).any() or (chosen >= self.sizes).any():
            raise Unfit(f"{described(value)} as an observation, which its space does not have")
        row[:] = 0
        row[self.begins + chosen] = 1


class Parts:
    """A dict's or tuple's parts end to end."""

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
    """The reader of a space's observations as a vector; `name` is what an error calls them."""
    match space:
        case spaces.Box() | spaces.MultiBinary():
            return Numbers(space, (prod(space.shape),))
        case spaces.Discrete() | spaces.MultiDiscrete():
            return OneHots(space, name)
        case spaces.Dict() | spaces.Tuple():
            return Parts(space, name)
    raise Unfit(f"{name} is of the kind {type(space).__name__}, which has no array of one shape")


def image_reader(space: spaces.Box) -> Image | None:
    """The reader of a box that holds images, as its shape and range say; else None.

    Images are (H, W, C), (C, H, W), a stack of either, or (H, W) of at least `FLAT_IMAGE_SIDE`
    pixels. Their range is [0, 1] or [0, 255], but for uint8 with three axes, which may be any.
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
    """Whether a box is declared to hold bools, integers in [0, 255] or floats in [0, 1 or 255]."""
    if space.dtype == np.bool_:
        return True
    brightest = (1, 255) if space.dtype.kind == "f" else (255,)
    return bool((space.low == 0).all() and any((space.high == each).all() for each in brightest))


def is_bytes(space: spaces.Box) -> bool:
    """Whether a box holds uint8 with three axes: an image, whatever range it declares."""
    return space.dtype == np.uint8 and len(space.shape) == 3


def images_read_as_numbers(space: Space, name: str = "observations", part: bool = False) -> str:
    """What looks like images in a space, and is read as numbers; "" where nothing does.

    Args:
        name: what the text calls the space.
        part: the space is a part of another, which is read as a vector.
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
    """Whether a box has a large image's shape: two sides, and channels before or behind them."""
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
    """The least and the greatest bound of a box, "[0, 255]"."""
    return f"[{space.low.min():g}, {space.high.max():g}]"


def fitting(value: Any, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """A value as an array of a shape, whose numbers the dtype holds.

    Raises:
        Unfit: it has another shape, no numbers, or numbers that an integer dtype has not.
    """
    if type(value) is np.ndarray and value.shape == shape and value.dtype == dtype:
        return value
    try:
        array = np.asarray(value)
    except Exception:
        raise Unfit(f"{described(value)} as an observation, which is no array") from None
    if array.dtype.kind not in "biuf":
        raise Unfit(f"{described(value)} as an observation, which is no array of numbers")
    if array.shape != shape:
        if array.size != 1 or prod(shape) != 1:
            raise Unfit(f"an observation of shape {array.shape}, and its space has {shape}")
        array = array.reshape(shape)
    if dtype.kind in "biu" and array.dtype != dtype:
        with np.errstate(invalid="ignore"):
            cast = array.astype(dtype)
        if (cast != array).any():
            wrong = array[cast != array][0]
            raise Unfit(f"an observation with {wrong:g} in it, which {dtype} does not have")
        return cast
    return array


def described(value: Any) -> str:
    """A value in a few words: a large array by its shape and dtype."""
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    if shape and dtype is not None and prod(shape) > 8:
        return f"an array of shape {tuple(shape)} and dtype {dtype}"
    try:
        return plain(" ".join(repr(value).split()), 80)
    except Exception:
        return f"a {type(value).__name__}"


def _single(bound: Any) -> np.ndarray:
    # Bounds of float64 and int64 that float32 has not become infinite.
    with np.errstate(over="ignore"):
        return np.asarray(bound).astype(np.float32)
