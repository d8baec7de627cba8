"""The run directory: configuration, atomic checkpoints, replay chunks, metrics; nothing is pickled.

    config.json                    what was asked for, and the environment it was asked of
    metrics.jsonl                  {"step", "time", metric: value, ...} a line
    eval.json                      the score of its weights, when they have been evaluated
    checkpoints/<step>/            weights.safetensors, state.safetensors, state.json; newest two
    best/<step>/                   weights.safetensors, state.json of the best evaluation so far
    replay/<name>.zst              immutable chunks that the kept checkpoints refer to
    .lock                          held by the process that trains the run: see `agents.core.locks`

A crash at any moment leaves the last checkpoint whole, and damage is found before a file is used:
see `agents.core.snapshots`.
"""

from __future__ import annotations

import difflib
import json
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import safetensors.torch
import zstandard
from torch import Tensor

from agents.core import snapshots
from agents.core.snapshots import DamagedCheckpoint
from agents.core.state import chunk_references, join, split
from envs import files
from envs.errors import UserError

FORMAT = 2
"""Version of the layout above and of what weights are called; runs of others are refused."""

Reference = dict[str, Any]
"""Where a chunk is and what proves it: {"file": relative path, "bytes": int, "crc32": int}."""

State = dict[str, Any]
"""Training state, nested as `agents.core.state.split` allows."""

Tensors = dict[str, Tensor]
T = TypeVar("T")


@dataclass(frozen=True)
class Run:
    """One run directory.

    Attributes:
        path: the directory.
        algo: the algorithm's short name, as in its module `agents.<algo>`.
    """

    path: Path
    algo: str

    @classmethod
    def create(cls, runs_dir: str | Path, env_id: str, algo: str, seed: int) -> Run:
        """Make the directory `<runs_dir>/<env_id>__<algo>__<seed>__<time>`, never an existing one.

        Raises:
            UserError: `runs_dir` cannot be written to.
        """
        name = f"{env_id.replace('/', '-')}__{algo}__{seed}__{time.strftime('%Y%m%d-%H%M%S')}"
        path, attempt = Path(runs_dir) / name, 1
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            while True:
                with suppress(FileExistsError):
                    path.mkdir()
                    return cls(path, algo)
                attempt += 1
                path = path.with_name(f"{name}-{attempt}")
        except OSError as error:
            raise UserError(f"cannot make a run directory in {runs_dir}: {error}") from None

    @classmethod
    def open(cls, path: str | Path) -> Run:
        """Open an existing run.

        Raises:
            UserError: nothing is there, or it is not a run that this version wrote.
        """
        path = Path(path).expanduser()
        try:
            config = json.loads((path / "config.json").read_bytes())
            version, algo = int(config["joystick"]), str(config["algo"])
        except (OSError, ValueError, KeyError, TypeError):
            reason = ": what is there has no config.json of Joystick's" if path.exists() else ""
            raise UserError(f"no run directory at {path}{reason}{_nearest_run(path)}") from None
        if version != FORMAT:
            raise UserError(f"{path} has run format {version}, this Joystick reads {FORMAT}")
        return cls(path, algo)

    @property
    def metrics_path(self) -> Path:
        """The metrics file, one JSON object a line."""
        return self.path / "metrics.jsonl"

    def save_config(self, config: dict[str, Any], spec: dict[str, Any]) -> None:
        """Write config.json: the algorithm's configuration and the EnvSpec as JSON."""
        record = {"joystick": FORMAT, "algo": self.algo, "config": config, "env_spec": spec}
        text = json.dumps(record, indent=2, default=str) + "\n"
        files.write_atomically(self.path / "config.json", text.encode())

    def save_score(self, score: dict[str, Any]) -> None:
        """Write eval.json: the result of the last evaluation that was asked for."""
        text = json.dumps(score, indent=2) + "\n"
        files.write_atomically(self.path / "eval.json", text.encode())

    def config(self) -> dict[str, Any]:
        """All of config.json: {"joystick": format, "algo", "config": {}, "env_spec": {}}."""
        return json.loads((self.path / "config.json").read_bytes())

    def checkpoint(self, step: int, state: State | Callable[[], State], weights: Tensors) -> bool:
        """Save a checkpoint, keep it and the one before it, and delete unreferenced chunks.

        Args:
            step: environment steps so far. Checkpoints of later steps, left by a future that a
                restore went back on, are deleted.
            state: the state, or a function that makes it: the chunks it appends are then under
                the same protection from a full disk.
            weights: the network's tensors.

        Returns:
            Whether it was saved: False, with a warning, when the disk does not take it.
        """

        def save() -> None:
            made = state() if callable(state) else state
            plain, tensors = split(made)
            parts = {"weights.safetensors": weights, "state.safetensors": tensors}
            manifest = {"state": plain, "chunks": list(chunk_references(made))}
            snapshots.save(self.path / "checkpoints", step, parts, manifest, keep=2)
            self._delete_unreferenced_chunks()

        return snapshots.unless_disk_full(f"checkpoint of step {step}", self.path, save)

    def best(self, step: int, score: float, weights: Tensors, plain: State) -> bool:
        """Replace the best weights so far; `plain` is JSON to keep beside them. As `checkpoint`."""

        def save() -> None:
            manifest = {"score": score, "plain": plain}
            parts = {"weights.safetensors": weights}
            snapshots.save(self.path / "best", step, parts, manifest, keep=1)

        return snapshots.unless_disk_full(f"best weights of step {step}", self.path, save)

    def newest_step(self) -> int | None:
        """The step of the newest checkpoint, None where there is none."""
        found = snapshots.newest_first(self.path / "checkpoints")
        return int(found[0].name.rstrip("~")) if found else None

    def restore(self) -> tuple[int, State, Tensors]:
        """The step, state and weights of the newest checkpoint that is whole, its chunks included.

        A damaged one is named on standard error and passed over. Checkpoints share chunks of the
        replay: where no checkpoint is whole but for them, the newest one is taken, and `read_chunk`
        tells which of its chunks are damaged.

        Raises:
            UserError: there is no whole checkpoint.
        """

        def load(snapshot: Path) -> tuple[int, State, Tensors]:
            manifest = snapshots.read_manifest(snapshot)
            weights = snapshots.read_tensors(snapshot, manifest, "weights.safetensors")
            tensors = snapshots.read_tensors(snapshot, manifest, "state.safetensors")
            return manifest["step"], join(manifest["state"], tensors), weights

        def load_with_chunks(snapshot: Path) -> tuple[int, State, Tensors]:
            for reference in snapshots.read_manifest(snapshot)["chunks"]:
                snapshots.read(self.path / reference["file"], reference)
            return load(snapshot)

        found = self._newest_whole("checkpoints", load_with_chunks)
        return self._required_whole("checkpoints", load) if found is None else found

    def weights(self, which: str = "best") -> tuple[Tensors, int]:
        """The weights of the best evaluation or of the last checkpoint, and their step.

        A run that has not been evaluated yet has no best weights: those of the last checkpoint are
        taken, and a line on standard error says so.

        Raises:
            UserError: `which` is neither, or there are none.
        """
        directories = {"best": "best", "last": "checkpoints"}
        if which not in directories:
            raise UserError(f"weights must be 'best' or 'last', not {which!r}")

        def load(snapshot: Path) -> tuple[Tensors, int]:
            manifest = snapshots.read_manifest(snapshot)
            weights = snapshots.read_tensors(snapshot, manifest, "weights.safetensors")
            return weights, manifest["step"]

        evaluated = bool(snapshots.newest_first(self.path / directories[which]))
        if which == "best" and not evaluated:
            weights, step = self._required_whole("checkpoints", load)
            about = f"{self.path} has not been evaluated yet"
            snapshots.warn(f"{about}: the weights are of its last checkpoint, step {step:,}")
            return weights, step
        return self._required_whole(directories[which], load)

    def append_chunk(self, name: str, tensors: Tensors) -> Reference:
        """Write tensors to `replay/<name>.zst` for good, and return the reference to keep.

        A checkpoint keeps the chunk alive when its state holds `{"chunk": reference}`; the others
        are deleted when a checkpoint has been saved.
        """
        data = zstandard.ZstdCompressor(level=1).compress(snapshots.pack(tensors))
        file = f"replay/{name}.zst"
        (self.path / "replay").mkdir(exist_ok=True)
        files.write_atomically(self.path / file, data)
        return {"file": file} | snapshots.proof(data)

    def read_chunk(self, reference: Reference) -> Tensors:
        """The tensors of a chunk, on the CPU.

        Raises:
            DamagedCheckpoint: the file is missing or is not the one that was written.
        """
        data = snapshots.read(self.path / reference["file"], reference)
        return safetensors.torch.load(zstandard.ZstdDecompressor().decompress(data))

    def truncate_metrics(self, step: int) -> float:
        """Drop the metrics beyond `step` and lines half-written; return the last kept "time"."""
        data = self.metrics_path.read_bytes() if self.metrics_path.exists() else b""
        kept, seconds = [], 0.0
        for line in data.splitlines():
            with suppress(ValueError, KeyError, TypeError):
                record = json.loads(line)
                if record["step"] <= step:
                    seconds = float(record["time"])
                    kept.append(line + b"\n")
        if data != b"".join(kept):
            files.write_atomically(self.metrics_path, b"".join(kept))
        return seconds

    def _newest_whole(self, directory: str, load: Callable[[Path], T]) -> T | None:
        """What `load` makes of the newest snapshot that it can load; None where there is none."""
        for snapshot in snapshots.newest_first(self.path / directory):
            try:
                return load(snapshot)
            except DamagedCheckpoint as damage:
                snapshots.warn(f"damaged checkpoint passed over: {damage}")
        return None

    def _required_whole(self, directory: str, load: Callable[[Path], T]) -> T:
        """What `load` makes of the newest snapshot that it can load; a UserError without one."""
        found = self._newest_whole(directory, load)
        if found is None:
            raise UserError(f"no whole checkpoint in {self.path / directory}")
        return found

    def _delete_unreferenced_chunks(self) -> None:
        live: set[Path] = set()
        for snapshot in snapshots.newest_first(self.path / "checkpoints"):
            with suppress(DamagedCheckpoint):
                chunks = snapshots.read_manifest(snapshot)["chunks"]
                live |= {self.path / chunk["file"] for chunk in chunks}
        for path in set((self.path / "replay").glob("*")) - live:
            path.unlink(missing_ok=True)


def _nearest_run(path: Path) -> str:
    found = [*path.parent.glob("*/config.json"), *path.glob("*/config.json")]
    runs = {file.parent.name: file.parent for file in found if file.parent != path}
    close = difflib.get_close_matches(path.name, list(runs), n=1, cutoff=0.3)
    return f"; did you mean {runs[close[0]]}?" if close else ""
