"""Converts an episode to and from the bytes of a Parquet file.

A row holds the action and the reward of a step. If an expert was asked, the row also holds the
expert's action, and whether the expert gave one. If the episode does not replay, the row begins
with the bytes of the observation. Then one more row holds the last observation.

Files may be hostile. Their columns, types and sizes are checked before any data is read, so that a
small file cannot fill the memory.
"""

from __future__ import annotations

import io
import json
import math
import re
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import types

from demos.episode import Episode
from envs import EnvSpec, UserError, schema
from envs.text import plain

MOST_FILE_BYTES = 1 << 30
"""Largest file of an episode, in bytes."""
MOST_BYTES = 2 << 30
"""Largest total size of an episode's arrays, in bytes."""
MOST_STEPS = 1 << 24
"""Longest episode, in steps."""

DTYPE = re.compile(r"[<>|]?[buif][0-9]{1,2}")


@dataclass(frozen=True)
class About:
    """The metadata of an episode in its file."""

    seed: int | None
    terminated: bool
    policy: str
    digests: list[str]
    action_shape: list[int]
    observation_shape: list[int] | None = None
    """Shape of one observation; None if none are stored."""
    observation_dtype: str | None = None
    has_labels: bool = False
    """There are columns for an expert's actions."""

    def __post_init__(self) -> None:
        for shape in (self.action_shape, self.observation_shape or []):
            if any(size < 1 for size in shape):
                raise UserError(f"a shape is {plain(shape, 40)}, but its sizes must be positive")
        if (self.observation_shape is None) != (self.observation_dtype is None):
            raise UserError(
                "observation_shape and observation_dtype must both be there, or neither"
            )
        if self.observation_dtype is not None:
            require_numbers(self.observation_dtype, "observations")

    @property
    def action_size(self) -> int:
        """The number of numbers in an action."""
        return math.prod(self.action_shape)

    @property
    def columns(self) -> list[str]:
        """The names of the columns, in order."""
        seen = [] if self.observation_shape is None else ["observation"]
        labels = ["label", "labeled"] if self.has_labels else []
        return [*seen, "action", "reward", *labels]

    @property
    def observation_bytes(self) -> int:
        """Bytes of each observation; 0 if none are stored."""
        if self.observation_shape is None:
            return 0
        return math.prod(self.observation_shape) * np.dtype(self.observation_dtype).itemsize


def require_numbers(dtype: str, what: str) -> None:
    """Raises a UserError if the name of a dtype in a file is not a dtype of numbers."""
    if not DTYPE.fullmatch(dtype):
        raise UserError(f"{what} are {plain(dtype, 40)}, allowed are numbers")


def pack(episode: Episode) -> bytes:
    """Returns an episode as the bytes of a file; raises a UserError if it is too large to read."""
    about = {
        "seed": episode.seed,
        "terminated": episode.terminated,
        "policy": episode.policy,
        "digests": [bytes(each).hex() for each in episode.digests],
        "action_shape": episode.actions.shape[1:],
    }
    columns = {"action": column_of(episode.actions), "reward": pa.array(episode.rewards)}
    if episode.labels is not None:
        about["has_labels"] = True
        columns |= {"label": column_of(episode.labels), "labeled": pa.array(episode.labeled)}
    table = pa.table(columns)
    seen = episode.observations
    if seen is not None:
        about |= {"observation_shape": seen.shape[1:], "observation_dtype": seen.dtype.str}
        buffers = [None, pa.py_buffer(seen.tobytes())]
        column = pa.Array.from_buffers(pa.binary(seen[0].nbytes), len(seen), buffers)
        last = pa.table([pa.nulls(1, kind) for kind in table.schema.types], table.column_names)
        table = pa.concat_tables([table, last]).add_column(0, "observation", column)
    require_size(len(episode), sum(each.nbytes for each in arrays(episode)))
    sink = io.BytesIO()
    with pq.ParquetWriter(
        sink, table.schema, compression="zstd", compression_level=19, store_schema=False
    ) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({"joystick": json.dumps(about)})
    return sink.getvalue()


def column_of(actions: np.ndarray) -> pa.Array:
    """A column of actions (T, ...): numbers, or lists of numbers."""
    flat = pa.array(actions.reshape(-1))
    if actions.ndim == 1:
        return flat
    return pa.FixedSizeListArray.from_arrays(flat, math.prod(actions.shape[1:]))


def arrays(episode: Episode) -> list[np.ndarray]:
    """The arrays of an episode that have an item for each step."""
    optional = (episode.observations, episode.labels, episode.labeled)
    return [episode.actions, episode.rewards, *(each for each in optional if each is not None)]


def require_size(steps: int, num_bytes: int) -> None:
    """Raises a UserError if an episode is too large to read."""
    if steps > MOST_STEPS:
        raise UserError(f"it has {steps:,} steps, at most {MOST_STEPS:,} are allowed")
    if num_bytes > MOST_BYTES:
        raise UserError(f"it would take {num_bytes:,} bytes, at most {MOST_BYTES:,} are allowed")


def unpack(data: bytes, spec: EnvSpec) -> Episode:
    """Returns the episode in the bytes of a file; raises a UserError if it is damaged."""
    try:
        file = pq.ParquetFile(io.BytesIO(data))
        text = (file.metadata.metadata or {}).get(b"joystick")
        if text is None:
            raise UserError("the Parquet file does not hold an episode")
        about = schema.parse(text, About, "its metadata")
        require_columns(file, about)
        table = file.read(use_threads=False)
        observations = None
        if about.observation_shape is not None:
            observations = observations_in(table, about)
            table = table.slice(0, len(table) - 1)
        return Episode(
            spec=spec,
            seed=about.seed,
            actions=actions_in(table, about, "action"),
            rewards=numbers(table.column("reward"), "reward"),
            terminated=about.terminated,
            digests=np.array([list(bytes.fromhex(each)) for each in about.digests], np.uint8),
            policy=about.policy,
            observations=observations,
            labels=actions_in(table, about, "label") if about.has_labels else None,
            labeled=numbers(table.column("labeled"), "labeled") if about.has_labels else None,
        )
    except UserError:
        raise
    except (pa.ArrowException, OSError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(plain(error)) from None


def require_columns(file: pq.ParquetFile, about: About) -> None:
    """Checks that a file has the columns of an episode, of a bounded size.

    Raises:
        UserError: a column is missing, unknown, of another type, or too large.
    """
    stored = about.observation_shape is not None
    expected = about.columns
    columns = file.schema_arrow
    if columns.names != expected:
        raise UserError(f"its columns are {plain(columns.names)}, but must be {expected}")
    action = columns.field("action").type
    item = action
    if about.action_shape:
        item = action.value_type if types.is_list(action) else None
    if item is None or not (is_number(item) or types.is_boolean(item)):
        kind = "lists of numbers" if about.action_shape else "numbers"
        raise UserError(f"its actions are {plain(action, 60)}, but must be {kind}")
    if about.has_labels:
        label = columns.field("label").type
        if label != action:
            raise UserError(
                f"its labels are {plain(label, 60)}, but its actions {plain(action, 60)}"
            )
        if columns.field("labeled").type != pa.bool_():
            kind = plain(columns.field("labeled").type, 60)
            raise UserError(f"its column 'labeled' is {kind}, but must be bool")
    if columns.field("reward").type != pa.float32():
        raise UserError(f"its rewards are {plain(columns.field('reward').type, 60)}, not float32")
    if stored and columns.field("observation").type != pa.binary(about.observation_bytes):
        kind = plain(columns.field("observation").type, 60)
        raise UserError(f"its observations are {kind}, but must be {about.observation_bytes} bytes")
    require_claims(file.metadata, about, item.bit_width // 8 + 1)


def require_claims(claimed: pq.FileMetaData, about: About, action_bytes: int) -> None:
    """Raises a UserError if the sizes that a file claims are too large or do not fit together."""
    rows = claimed.num_rows
    actions = 2 if about.has_labels else 1
    row_bytes = about.observation_bytes + actions * about.action_size * action_bytes + 5
    require_size(rows, rows * row_bytes)
    for group in range(claimed.num_row_groups):
        row_group = claimed.row_group(group)
        for place in range(row_group.num_columns):
            column = row_group.column(place)
            if column.num_values > rows * max(1, about.action_size):
                raise UserError(
                    f"its column '{plain(column.path_in_schema, 40)}' claims {column.num_values:,}"
                    f" values in {rows:,} rows"
                )
            # Reading any part of a page unpacks the whole page.
            require_size(rows, column.total_uncompressed_size)


def is_number(kind: pa.DataType) -> bool:
    """Whether a type is a type of numbers."""
    return types.is_integer(kind) or types.is_floating(kind)


def observations_in(table: pa.Table, about: About) -> np.ndarray:
    """The stored observations (T + 1, ...)."""
    column = table.column("observation").combine_chunks()
    if column.null_count:
        raise UserError("an observation is missing")
    width = about.observation_bytes
    shape = (len(column), *(about.observation_shape or ()))
    begin = column.offset * width
    flat = np.frombuffer(column.buffers()[1], np.uint8)[begin : begin + len(column) * width]
    return flat.view(np.dtype(about.observation_dtype)).reshape(shape)


def actions_in(table: pa.Table, about: About, name: str) -> np.ndarray:
    """The actions (T, ...) of a column, "action" or "label"."""
    column = table.column(name).combine_chunks()
    if not about.action_shape:
        return numbers(column, name)
    if column.null_count:
        raise missing(name)
    if (column.value_lengths().to_numpy() != about.action_size).any():
        raise UserError(f"each {name} must have {about.action_size} numbers")
    return numbers(column.flatten(), name).reshape(len(column), *about.action_shape)


def numbers(column: pa.Array | pa.ChunkedArray, what: str) -> np.ndarray:
    """Returns a column as an array; raises a UserError if an item is missing."""
    if column.null_count:
        raise missing(what)
    flat = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return flat.to_numpy(zero_copy_only=False)


def missing(what: str) -> UserError:
    """The error when a column lacks an item."""
    article = "an" if what[0] in "aeiou" else "a"
    return UserError(f"{article} {what} is missing")
