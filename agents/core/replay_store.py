"""Saving a replay: frames go once to immutable chunks, so a checkpoint costs what is new."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from agents.core.replay import Replay

CHUNK_FRAMES = 8192
"""Frames in a chunk, 58 MB on Atari: what saving needs beside the replay itself."""


class ChunkStore(Protocol):
    """Where chunks live: `agents.core.run.Run` in training, a dict in a test."""

    def append_chunk(self, name: str, tensors: dict[str, Tensor]) -> dict[str, Any]: ...

    def read_chunk(self, reference: dict[str, Any]) -> dict[str, Tensor]: ...


class ReplayStore:
    """Saves and restores one replay, chunk by chunk; a failed save changes nothing here."""

    def __init__(self, replay: Replay):
        self.replay = replay
        self._saved = np.zeros(replay.num_envs, np.int64)
        self._chunks: list[dict[str, Any]] = []

    def _live_slots(self, first_N: np.ndarray, last_N: np.ndarray) -> tuple[Tensor, Tensor]:
        """Slots of the positions [first, last) not yet overwritten, and which those are."""
        counts = last_N - first_N
        envs = np.repeat(np.arange(self.replay.num_envs), counts)
        offset = np.arange(counts.sum()) - np.repeat(counts.cumsum() - counts, counts)
        position = first_N[envs] + offset
        live = position >= (self.replay.written - self.replay.length)[envs]
        return self.replay.slots(envs[live], position[live]), torch.from_numpy(live)

    def state_dict(self, store: ChunkStore) -> dict[str, Any]:
        replay = self.replay
        oldest_N = replay.written - replay.length
        first_N, last_N = np.maximum(self._saved, oldest_N), replay.written.copy()
        chunks = [c for c in self._chunks if (np.array(c["last"]) > oldest_N).any()]
        while (last_N > first_N).any():
            end_N = np.minimum(first_N + CHUNK_FRAMES // replay.num_envs + 1, last_N)
            slots, _ = self._live_slots(first_N, end_N)
            frames = {"frames": replay.frames[slots].cpu()}
            reference = store.append_chunk(f"{int(end_N.sum()):012d}", frames)
            chunks.append({"chunk": reference, "first": first_N.tolist(), "last": end_N.tolist()})
            first_N = end_N
        self._chunks, self._saved = chunks, last_N
        return {
            "chunks": list(chunks),
            "fields": {name: value.cpu() for name, value in replay.fields.items()},
            "priorities": replay.priorities.state_dict(),
            "max_priority": replay.max_priority.clone(),
            "written": replay.written.copy(),
            "age": replay.age.copy(),
            "generator": replay.generator.get_state(),
        }

    def load_state_dict(self, state: dict[str, Any], store: ChunkStore) -> None:
        replay = self.replay
        replay.written, replay.age = state["written"].copy(), state["age"].copy()
        for chunk in state["chunks"]:
            frames = store.read_chunk(chunk["chunk"])["frames"].to(replay.device)
            slots, live = self._live_slots(np.array(chunk["first"]), np.array(chunk["last"]))
            replay.frames[slots] = frames[live.to(replay.device)]
        for name, value in state["fields"].items():
            replay.fields[name].copy_(value)
        replay.priorities.load_state_dict(state["priorities"])
        replay.max_priority.copy_(state["max_priority"])
        replay.generator.set_state(state["generator"])
        self._chunks, self._saved = list(state["chunks"]), replay.written.copy()
