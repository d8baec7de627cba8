"""Imports LeRobot's datasets: directories of Parquet files, of versions 2 and 3.

https://github.com/huggingface/lerobot: `meta/info.json` names the features, and each row of
`data/**/*.parquet` is a step. Observations are `observation.state`, or
`observation.environment_state` beside it; films are not read. Without `next.reward`, rewards are 0.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from demos.arrays_import import Arrays, converted, fitting, readable, require_room, spec_of
from demos.foreign import Reading
from envs import UserError, schema, spaces_of
from envs.files import entries, is_directory, open_regular
from envs.text import plain

MOST_INFO_BYTES = 1 << 20
MOST_FILE_BYTES = 1 << 37

STATE = ("observation.state", "observation.environment_state")
"""The features of an observation, in the order in which their numbers stand."""

ORDER = ("episode_index", "frame_index")


def read(source: str, env_id: str | None, *, replayable_only: bool = False) -> Reading:
    """Reads a dataset's directory.

    Args:
        env_id: the environment of the episodes, which a dataset does not name.
        replayable_only: leave out the episodes that do not replay. No episode does, because a
            dataset has no seeds.

    Raises:
        UserError: there is no such dataset, a feature is missing or does not fit the environment,
            or the steps do not fit into memory.
    """
    spec = spec_of(env_id, source)
    with readable(source, "a LeRobot dataset"):
        path = Path(source)
        arrays, rewarded = loaded(path)
        space, action_space = spaces_of(spec)
        # A number stands in a list of one, whether the environment takes lists or not.
        arrays["actions"] = as_shaped(arrays["actions"], action_space)
        arrays["observations"] = as_shaped(arrays["observations"], space)
        fitting(arrays, space)
    policy = f"lerobot {path.resolve().name}"
    found = converted(arrays, spec, source, policy, replayable_only=replayable_only)
    if rewarded:
        return found
    return Reading(found.metadata, found.episodes, f"{found.remark}; it has no rewards: all are 0")


def loaded(path: Path) -> tuple[Arrays, bool]:
    """The arrays of a dataset, and whether it has rewards."""
    info = schema.read(path / "meta" / "info.json", dict[str, Any], MOST_INFO_BYTES)
    features = schema.convert(info.get("features"), dict[str, Any], "features")
    states = [name for name in STATE if name in features]
    if not states:
        raise UserError(
            f"has no observation.state, only {plain(sorted(features))}; films are not read"
        )
    optional = ["next.reward"] if "next.reward" in features else []
    table = rows_of(path, [*states, "action", *ORDER, *optional])
    if len(table) == 0:
        raise UserError("has no steps")
    order = np.lexsort([table[name].to_numpy() for name in reversed(ORDER)])
    columns = {name: numbers(table[name])[order] for name in table.column_names}
    episode_N = columns["episode_index"]
    steps = len(episode_N)
    last_N = np.append(episode_N[1:] != episode_N[:-1], True)
    rewards = columns.get("next.reward", np.zeros(steps, np.float32))
    arrays = {
        "observations": np.concatenate(
            [columns[name].reshape(steps, -1) for name in states], axis=1
        ),
        "actions": columns["action"],
        "rewards": rewards.reshape(-1),
        # How an episode ended does not matter: its last step is left out.
        "terminations": np.zeros(steps, bool),
        "truncations": last_N,
    }
    return arrays, "next.reward" in columns


def as_shaped(rows: np.ndarray, space: gymnasium.Space) -> np.ndarray:
    """Rows of as many numbers as a space's, in the space's shape; other rows as they are."""
    shape = space.shape or ()
    return rows.reshape(len(rows), *shape) if rows[0].size == np.prod(shape) else rows


def rows_of(path: Path, names: list[str]) -> pa.Table:
    """The rows of all files, in no order."""
    chunks = [each for each in entries(path / "data") if is_directory(each)]
    files = [file for chunk in chunks for file in entries(chunk) if file.suffix == ".parquet"]
    if not files:
        raise UserError("has no data/*/*.parquet")
    require_room(sum(file.stat().st_size for file in files))
    parts: list[pa.Table] = []
    for file in files:
        with open_regular(file, MOST_FILE_BYTES) as opened:
            parquet = pq.ParquetFile(opened)
            missing = [name for name in names if name not in parquet.schema_arrow.names]
            if missing:
                raise UserError(f"{file.name} has no {' and no '.join(missing)}")
            require_room(sum_of_columns(parquet, names))
            parts.append(parquet.read(columns=names))
    return pa.concat_tables(parts)


def sum_of_columns(parquet: pq.ParquetFile, names: list[str]) -> int:
    """The size of some columns of a file, decompressed, as its footer says."""
    about = parquet.metadata
    total = 0
    for group in range(about.num_row_groups):
        for number in range(about.num_columns):
            column = about.row_group(group).column(number)
            if any(column.path_in_schema.startswith(name) for name in names):
                total += column.total_uncompressed_size
    return total


def numbers(column: pa.ChunkedArray) -> np.ndarray:
    """A column as numbers (N,), or (N, K) if each row is a list of K numbers."""
    whole = column.combine_chunks()
    if whole.null_count:
        raise UserError("has rows without a value")
    if not isinstance(whole, pa.ListArray | pa.LargeListArray | pa.FixedSizeListArray):
        return whole.to_numpy(zero_copy_only=False)
    flat = whole.flatten()
    width, left = divmod(len(flat), len(whole))
    if left or any(length != width for length in whole.value_lengths().unique().to_pylist()):
        raise UserError("has lists of different lengths")
    return flat.to_numpy(zero_copy_only=False).reshape(len(whole), width)
