"""An episode as the bytes of a Parquet file: one row a step, its action and its reward.

Where an episode cannot be lived again, a row begins with the bytes of the observation that was
acted on, and one row more has the last observation, without an action or a reward.
"""

from __future__ import annotations

import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from demos.episode import Episode
from envs import EnvSpec, UserError


def pack(episode: Episode) -> bytes:
    """An episode as a file's bytes."""
    about = {
        "seed": episode.seed,
        "terminated": episode.terminated,
        "policy": episode.policy,
        "digests": [bytes(each).hex() for each in episode.digests],
        "action_shape": episode.actions.shape[1:],
    }
    flat = pa.array(episode.actions.reshape(-1))
    width = int(np.prod(episode.actions.shape[1:]))
    vector = episode.actions.ndim > 1
    actions = pa.FixedSizeListArray.from_arrays(flat, width) if vector else flat
    table = pa.table({"action": actions, "reward": pa.array(episode.rewards)})
    if (seen := episode.observations) is not None:
        about |= {"observation_shape": seen.shape[1:], "observation_dtype": seen.dtype.str}
        buffers = [None, pa.py_buffer(seen.tobytes())]
        column = pa.Array.from_buffers(pa.binary(seen[0].nbytes), len(seen), buffers)
        last = pa.table([pa.nulls(1, kind) for kind in table.schema.types], table.column_names)
        table = pa.concat_tables([table, last]).add_column(0, "observation", column)
    sink = io.BytesIO()
    with pq.ParquetWriter(
        sink, table.schema, compression="zstd", compression_level=19, store_schema=False
    ) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({"joystick": json.dumps(about)})
    return sink.getvalue()


def unpack(data: bytes, spec: EnvSpec) -> Episode:
    """The episode in a file's bytes; a UserError says what is wrong with it."""
    try:
        file = pq.ParquetFile(io.BytesIO(data))
        about, table = json.loads(file.metadata.metadata[b"joystick"]), file.read()
        observations = None
        if "observation_shape" in about:
            column = table.column("observation").combine_chunks()
            seen = np.frombuffer(column.buffers()[1], about["observation_dtype"])
            observations = seen.reshape(len(column), *about["observation_shape"])
            table = table.slice(0, len(column) - 1)
        actions = table.column("action").combine_chunks()
        shape = (len(actions), *about["action_shape"])
        flat = actions.flatten() if len(shape) > 1 else actions
        return Episode(
            spec=spec,
            seed=about["seed"],
            actions=flat.to_numpy(zero_copy_only=False).reshape(shape),
            rewards=table.column("reward").to_numpy(),
            terminated=about["terminated"],
            digests=np.array([list(bytes.fromhex(each)) for each in about["digests"]], np.uint8),
            policy=about["policy"],
            observations=observations,
        )
    except (pa.ArrowException, OSError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(str(error)) from None
