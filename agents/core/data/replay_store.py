"""Saves a replay: each frame is written once, to an immutable chunk.

A checkpoint therefore writes only the new frames.
"""

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
"""Frames in a chunk, 58 MB on Atari: the memory that saving takes beside the replay."""


MOST_FRAMES = 2**53
"""Most frames of an environment; no run reaches it, and sums of such numbers do not overflow."""


@dataclass(frozen=True)
class Chunk:
    """An entry in a checkpoint's JSON for a file of frames.

    Attributes:
        chunk: the store's reference of the file.
        first: position of the first frame of each environment.
        last: position after the last frame of each environment.
    """

    chunk: dict[str, Any]
    first: list[schema.Natural]
    last: list[schema.Natural]


class ChunkStore(Protocol):
    """A store of chunks: `agents.core.runs.run.Run` in training, a dict in a test."""

    def append_chunk(self, name: str, tensors: dict[str, Tensor]) -> dict[str, Any]: ...

    def read_chunk(self, reference: dict[str, Any]) -> dict[str, Tensor]: ...


class ReplayStore:
    """Saves and restores a replay, chunk by chunk; a failed save leaves this object unchanged."""

    def __init__(self, replay: Replay):
        self.replay = replay
        self._saved = np.zeros(replay.num_envs, np.int64)
        self._chunks: list[dict[str, Any]] = []

    def _live_slots(self, first_N: np.ndarray, last_N: np.ndarray) -> tuple[Tensor, Tensor]:
        """The slots of the positions [first, last) that are not overwritten, and their mask."""
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
        """Restores the replay; if a chunk is damaged, its frames are lost and a warning says so.

        A transition that needs a lost frame is never drawn again.
        """
        replay = self.replay
        chunks = schema.convert(state["chunks"], list[Chunk], "chunks")
        self._load_positions(state)
        fields = {name: value.to(replay.device) for name, value in state["fields"].items()}
        if "legal" in replay.fields:
            # Earlier versions read no masks, and played any action.
            fields.setdefault("legal", torch.ones_like(replay.fields["legal"]))
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
        """Loads the counts of frames, and the positions from which they count."""
        replay = self.replay
        # Checkpoints of older versions lack the last two; their replays lost no frame.
        for name in ("written", "age", "drawable_from", "ready_from"):
            own = getattr(replay, name)
            found = like(state.get(name, own), own, name)
            if (found < 0).any() or (found > MOST_FRAMES).any():
                raise ValueError(f"{name} counts frames: must be between 0 and {MOST_FRAMES}")
            setattr(replay, name, found.copy())

    def _require_actions(self) -> None:
        """Raises a ValueError if the agent does not have a stored discrete action."""
        if self.replay.spaces.continuous:
            return
        action = self.replay.fields["action"]
        actions = self.replay.spaces.combinations
        if (action < 0).any() or (action >= actions).any():
            raise ValueError(f"an action is not one of the agent's {actions} actions")

    def _require_positions(self, chunk: Chunk) -> None:
        """Raises a ValueError if a chunk's positions cannot be from this replay."""
        replay = self.replay
        first_N = np.array(chunk.first)
        last_N = np.array(chunk.last)
        if first_N.shape != last_N.shape or len(first_N) != replay.num_envs:
            raise ValueError("a chunk of the replay belongs to other environments")
        if (first_N > last_N).any() or (last_N > replay.written).any():
            raise ValueError("a chunk of the replay has frames that were never written")
        if (last_N - first_N > replay.length).any():
            raise ValueError("a chunk of the replay has more frames than the replay holds")

    def _require_weight(self) -> None:
        """If no transition has a weight, makes the replay wait for new steps."""
        replay = self.replay
        if not replay.priorities.total() > 0:
            # A `ready_from` that a lost frame set may be later, and then stays.
            replay.ready_from = np.maximum(replay.ready_from, replay.written)

    def _read(self, chunk: Chunk, store: ChunkStore) -> None:
        """Reads a chunk's frames into their slots; raises DamagedCheckpoint if they do not fit."""
        replay = self.replay
        slots, live = self._live_slots(np.array(chunk.first), np.array(chunk.last))
        frames = store.read_chunk(chunk.chunk).get("frames")
        kind = (replay.frames.dtype, (len(live), replay.frame_numel))
        if frames is None or (frames.dtype, tuple(frames.shape)) != kind:
            raise DamagedCheckpoint(f"{chunk.chunk.get('file')} does not hold the replay's frames")
        replay.frames[slots] = frames.to(replay.device)[live.to(replay.device)]

    def _lose(self, first_N: np.ndarray, last_N: np.ndarray) -> int:
        """Excludes transitions that need frames of the positions [first, last) from all draws.

        Returns the number of those that could be drawn before.
        """
        replay = self.replay
        oldest_N = np.maximum(replay.written - replay.length, 0)
        first_N = np.maximum(first_N, oldest_N)
        some_N = last_N > first_N
        # A draw at p needs the slots from p - look_back to p + look_ahead, both included.
        end_N = last_N + replay.look_back
        begin_N = np.maximum(first_N - replay.look_ahead, oldest_N)
        slots, _ = self._live_slots(
            np.where(some_N, begin_N, 0), np.where(some_N, np.minimum(end_N, replay.written), 0)
        )
        lost = int((replay.priorities[slots] > 0).sum())
        replay.priorities.set(slots, torch.zeros(len(slots), device=replay.device))
        # Later transitions become drawable only when the steps after them are written.
        reaches_N = some_N & (end_N > replay.written - replay.look_ahead)
        replay.drawable_from = np.maximum(replay.drawable_from, np.where(reaches_N, end_N, 0))
        replay.ready_from = np.maximum(replay.ready_from, replay.drawable_from)
        return lost

    def _say_lost(self, lost: int) -> None:
        replay = self.replay
        left = int((replay.priorities[torch.arange(replay.length * replay.num_envs)] > 0).sum())
        warn(f"the replay goes on with {left:,} transitions; {lost:,} are lost")
