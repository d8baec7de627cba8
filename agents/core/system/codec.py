"""Splits nested training state into a part for JSON and named tensors, and joins them again.

Nothing is pickled. A leaf that JSON cannot hold becomes a dict with one key that starts with `$`:
`{"$tensor": name}`, `{"$array": name}`, `{"$scalar": name}`, `{"$tuple": [...]}`,
`{"$dict": [[key, value], ...]}`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

A = TypeVar("A", Tensor, np.ndarray)


def split(state: Any) -> tuple[Any, dict[str, Tensor]]:
    """Splits a state into a part for JSON and its tensors, named by their path in the state.

    The state may nest dicts, lists and tuples. Its leaves may be tensors, numpy arrays and scalars,
    int (of any size), float, bool, str and None. The tensors are not copied.

    Raises:
        TypeError: a leaf has another type; the message names its path.
    """
    tensors: dict[str, Tensor] = {}
    return _encode(state, "state", tensors), tensors


def join(plain: Any, tensors: dict[str, Tensor]) -> Any:
    """Joins the results of `split` to a state with equal values, types and dtypes.

    Raises:
        KeyError: a tensor is missing.
    """
    if isinstance(plain, list):
        return [join(item, tensors) for item in plain]
    if not isinstance(plain, dict):
        return plain
    match next(iter(plain.items()), ("", None)):
        case "$tensor", name:
            return tensors[name]
        case "$array", name:
            return tensors[name].numpy()
        case "$scalar", name:
            return tensors[name].numpy()[()]
        case "$tuple", items:
            return tuple(join(items, tensors))
        case "$dict", items:
            return {join(key, tensors): join(value, tensors) for key, value in items}
    return {key: join(value, tensors) for key, value in plain.items()}


def chunk_references(state: Any) -> Iterator[dict[str, Any]]:
    """Yields every reference that a state holds as `{"chunk": reference}`, in order."""
    if isinstance(state, dict):
        if isinstance(state.get("chunk"), dict):
            yield state["chunk"]
        state = list(state.values())
    if isinstance(state, list | tuple):
        for value in state:
            yield from chunk_references(value)


def like(found: Any, own: A, what: str) -> A:
    """Checks a tensor or array of a saved state against the present one; returns it.

    Args:
        found: the value in the state, of any type.
        own: the present tensor or array; the value must have its type, dtype and shape.
        what: name of the value, for the error.

    Raises:
        ValueError: type, dtype or shape differ, or a number is not finite.
    """
    if not isinstance(found, type(own)):
        raise ValueError(f"{what} is not of type {type(own).__name__}")
    if (found.dtype, tuple(found.shape)) != (own.dtype, tuple(own.shape)):
        kinds = [f"{each.dtype} {tuple(each.shape)}" for each in (found, own)]
        raise ValueError(f"{what} is {kinds[0]} and must be {kinds[1]}")
    finite = torch.isfinite(found) if isinstance(found, Tensor) else np.isfinite(found)
    if not bool(finite.all()):
        raise ValueError(f"{what} has numbers that are not finite")
    return found


def require_finite(tensors: Mapping[str, Tensor]) -> None:
    """Raises a ValueError with the tensor's name if a number is not finite."""
    for name, each in tensors.items():
        like(each, each, name)


def all_like(found: Any, own: Mapping[str, Tensor], what: str) -> dict[str, Tensor]:
    """Checks named tensors of a saved state, such as a network's weights; returns them.

    Raises:
        ValueError: a name is missing or unknown, or a tensor does not pass `like`.
    """
    if not isinstance(found, dict):
        raise ValueError(f"{what} is not a dict of tensors")
    if differing := sorted(found.keys() ^ own.keys()):
        reason = "is missing" if differing[0] in own else "is unknown"
        raise ValueError(f"{what}: {differing[0]} {reason}")
    return {name: like(found[name], each, f"{what}: {name}") for name, each in own.items()}


def _encode(value: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, Tensor):
        return {"$tensor": _name(value, path, tensors)}
    if isinstance(value, np.ndarray | np.generic):
        kind = "$array" if isinstance(value, np.ndarray) else "$scalar"
        return {kind: _name(_from_numpy(value, path), path, tensors)}
    if isinstance(value, list | tuple):
        items = [_encode(item, f"{path}/{i}", tensors) for i, item in enumerate(value)]
        return items if isinstance(value, list) else {"$tuple": items}
    if isinstance(value, dict):
        pairs = [(key, _encode(item, f"{path}/{key}", tensors)) for key, item in value.items()]
        if all(isinstance(key, str) and not key.startswith("$") for key, _ in pairs):
            return dict(pairs)
        # Optimizers number their parameters, and JSON would turn those keys into strings.
        return {"$dict": [[_encode(key, f"{path} key", tensors), item] for key, item in pairs]}
    raise TypeError(f"{path}: a checkpoint cannot hold {type(value).__qualname__}")


def _from_numpy(value: np.ndarray | np.generic, path: str) -> Tensor:
    try:
        return torch.from_numpy(np.array(value, order="C"))
    except TypeError:
        raise TypeError(f"{path}: a checkpoint cannot hold numpy {value.dtype}") from None


def _name(tensor: Tensor, path: str, tensors: dict[str, Tensor]) -> str:
    while path in tensors:
        path += "'"
    tensors[path] = tensor
    return path
