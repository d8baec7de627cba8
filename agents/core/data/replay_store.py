"""Saving a replay: frames go once to immutable chunks, so a checkpoint costs what is new."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from agents.core.data.replay import Replay
from agents.core.runs.snapshots import DamagedCheckpoint
from agents.core.system.codec import all_like, like
from envs import schema
from envs.output import warn

CHUNK_FRAMES = 8192
"""Frames in a chunk, 58 MB on Atari: what saving needs beside the replay itself."""


MOST_FRAMES = 2**53
"""Of an environment; far more than anybody waits for, and sums of them do not overflow."""


@dataclass(frozen=True)
class Chunk:
    """Frames of each environment that a file holds, as a checkpoint's JSON says it."""

    chunk: dict[str, Any]
    """The reference that the store gave."""
    first: list[schema.Natural]
    last: list[schema.Natural]
    """For each environment the position of the first frame, and of the one after the last."""


class ChunkStore(Protocol):
    """Where chunks live: `agents.core.runs.run.Run` in training, a dict in a test."""

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
        first_N = np.maximum(self._saved, oldest_N)
        last_N = replay.written.copy()
        chunks = [c for c in self._chunks if (np.array(c["last"]) > oldest_N).any()]
        while (last_N > first_N).any():
            end_N = np.minimum(first_N + CHUNK_FRAMES // replay.num_envs + 1, last_N)
            slots, _ = self._live_slots(first_N, end_N)
            frames = {"frames": replay.frames[slots].cpu()}
            reference = store.append_chunk(f"{int(end_N.sum()):012d}", frames)
            chunks.append({"chunk": reference, "first": first_N.tolist(), "last": end_N.tolist()})
            first_N = end_N
        self._chunks = chunks
        self._saved = last_N
        return {
            "chunks": list(chunks),
            "fields": {name: value.cpu() for name, value in replay.fields.items()},
            "priorities": replay.priorities.state_dict(),
            "max_priority": replay.max_priority.clone(),
            "written": replay.written.copy(),
            "age": replay.age.copy(),
            "drawable_from": replay.drawable_from.copy(),
            "ready_from": replay.ready_from.copy(),
            "generator": replay.generator.get_state(),
        }

    def load_state_dict(self, state: dict[str, Any], store: ChunkStore) -> None:
        """Restore the replay; frames of a damaged chunk are lost, which a warning says.

        No transition that needs a lost frame is ever drawn again.
        """
        replay = self.replay
        chunks = schema.convert(state["chunks"], list[Chunk], "chunks")
        self._load_positions(state)
        fields = {name: value.to(replay.device) for name, value in state["fields"].items()}
        for name, value in all_like(fields, replay.fields, "fields").items():
            replay.fields[name].copy_(value)
        self._require_actions()
        replay.priorities.load_state_dict(state["priorities"])
        greatest = state["max_priority"].to(replay.device)
        replay.max_priority.copy_(like(greatest, replay.max_priority, "max_priority"))
        replay.generator.set_state(state["generator"])
        self._chunks = []
        lost = 0
        for chunk in chunks:
            self._require_positions(chunk)
            try:
                self._read(chunk, store)
                self._chunks.append(dataclasses.asdict(chunk))
            except DamagedCheckpoint as damage:
                warn(f"damaged part of the replay left out: {damage}")
                lost += self._lose(np.array(chunk.first), np.array(chunk.last))
        if lost:
            self._say_lost(lost)
        self._require_weight()
        self._saved = replay.written.copy()

    def _load_positions(self, state: dict[str, Any]) -> None:
        """Take up how many frames there are, and which of them count."""
        replay = self.replay
        # Checkpoints of older versions lack two of these; they have lost nothing.
        for name in ("written", "age", "drawable_from", "ready_from"):
            own = getattr(replay, name)
            found = like(state.get(name, own), own, name)
            if (found < 0).any() or (found > MOST_FRAMES).any():
                raise ValueError(f"{name} counts fewer than 0 frames, or more than there can be")
            setattr(replay, name, found.copy())

    def _require_actions(self) -> None:
        """Passes where every discrete action is one that the agent has."""
        if self.replay.spaces.continuous:
            return
        action = self.replay.fields["action"]
        actions = self.replay.spaces.combinations
        if (action < 0).any() or (action >= actions).any():
            raise ValueError(f"an action is none of the {actions} that there are")

    def _require_positions(self, chunk: Chunk) -> None:
        """Passes where a chunk holds frames that the replay has had, no more than it can hold."""
        replay = self.replay
        first_N = np.array(chunk.first)
        last_N = np.array(chunk.last)
        if first_N.shape != last_N.shape or len(first_N) != replay.num_envs:
            raise ValueError("a chunk of the replay is of other environments")
        if (first_N > last_N).any() or (last_N > replay.written).any():
            raise ValueError("a chunk of the replay has frames that were never written")
        if (last_N - first_N > replay.length).any():
            raise ValueError("a chunk of the replay has more frames than the replay holds")

    def _require_weight(self) -> None:
        """Draw nothing until new steps are there, where nothing that is there has a weight."""
        replay = self.replay
        if not replay.priorities.total() > 0:
            # What needs a lost frame still waits longer.
            replay.ready_from = np.maximum(replay.ready_from, replay.written)

    def _read(self, chunk: Chunk, store: ChunkStore) -> None:
        """Put a chunk's frames where they were; DamagedCheckpoint where it cannot be."""
        replay = self.replay
        slots, live = self._live_slots(np.array(chunk.first), np.array(chunk.last))
        frames = store.read_chunk(chunk.chunk).get("frames")
        kind = (replay.frames.dtype, (len(live), replay.frame_numel))
        if frames is None or (frames.dtype, tuple(frames.shape)) != kind:
            raise DamagedCheckpoint(f"{chunk.chunk.get('file')} holds other frames than it must")
        replay.frames[slots] = frames.to(replay.device)[live.to(replay.device)]

    def _lose(self, first_N: np.ndarray, last_N: np.ndarray) -> int:
        """Keep transitions that need frames of the positions [first, last) from being drawn.

        Returns how many transitions could be drawn before.
        """
        replay = self.replay
        oldest_N = np.maximum(replay.written - replay.length, 0)
        first_N = np.maximum(first_N, oldest_N)
        some_N = last_N > first_N
        # A transition at p needs the frames from p - stack + 1 to p + n_step, both included.
        end_N = last_N + replay.stack - 1
        begin_N = np.maximum(first_N - replay.most_n_step, oldest_N)
        slots, _ = self._live_slots(
            np.where(some_N, begin_N, 0), np.where(some_N, np.minimum(end_N, replay.written), 0)
        )
        lost = int((replay.priorities[slots] > 0).sum())
        replay.priorities.set(slots, torch.zeros(len(slots), device=replay.device))
        # Later ones become drawable only when the steps after them are there.
        reaches_N = some_N & (end_N > replay.written - replay.most_n_step)
        replay.drawable_from = np.maximum(replay.drawable_from, np.where(reaches_N, end_N, 0))
        replay.ready_from = np.maximum(replay.ready_from, replay.drawable_from)
        return lost

    def _say_lost(self, lost: int) -> None:
        replay = self.replay
        left = int((replay.priorities[torch.arange(replay.length * replay.num_envs)] > 0).sum())
        warn(f"the replay goes on with {left:,} transitions; {lost:,} are lost")
