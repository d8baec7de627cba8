"""The run directory: configuration, atomic checkpoints, replay chunks, metrics; nothing is pickled.

    config.json                    the algorithm, its config and its environment
    metrics.jsonl                  a line for each record: {"step", "time", metric: value, ...}
    eval.json                      the score of the run's weights, once they are evaluated
    checkpoints/<step>/            weights.safetensors, state.safetensors, state.json; newest two
    best/<step>/                   weights.safetensors, state.json of the best evaluation so far
    replay/<name>.zst              immutable chunks that the kept checkpoints refer to
    .lock                          held by the process that trains the run: see `envs.locks`

A crash at any moment leaves the last checkpoint intact. Damage is found before a file is used. See
`agents.core.runs.snapshots`.
"""

from __future__ import annotations

import difflib
import json
import re
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import psutil
import zstandard
from torch import Tensor

from agents.core.runs import snapshots
from agents.core.runs.snapshots import DamagedCheckpoint
from agents.core.system.codec import chunk_references, join, split
from envs import files, program, schema
from envs.catalog import canonical_id
from envs.errors import UserError
from envs.output import warn
from envs.text import plain

FORMAT = 2
"""Version of the layout above and of the weights' names; runs of other versions are refused."""

CHUNK = re.compile(r"\d{12,18}\.zst", re.ASCII)
"""Names of replay chunks; files with other names belong to the user."""

MOST_CONFIG_BYTES = 1 << 20

MOST_METRICS_BYTES = 1 << 30

DIRECTORIES = ("checkpoints", "best", "replay", "videos", "wandb")
"""The directories within a run to which files are written."""

FILES = ("config.json", "metrics.jsonl", "eval.json", "confusion.json", "wandb-id")

Reference = dict[str, Any]
"""The location and proof of a chunk: {"file": relative path, "bytes": int, "crc32": int}."""

State = dict[str, Any]
"""Training state, nested as `agents.core.system.codec.split` allows."""

Tensors = dict[str, Tensor]
T = TypeVar("T")
TakeUp = Callable[[int, State, Tensors], None]


def _nothing(step: int, state: State, weights: Tensors) -> None: ...


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
        """Makes the new directory `<runs_dir>/<env_id>__<algo>__<seed>__<time>`.

        If a system refuses a character, "-" takes its place, as for the ":" of `my_module:My-v0`.

        Raises:
            UserError: `runs_dir` cannot be written to.
        """
        now = time.strftime("%Y%m%d-%H%M%S")
        name = f"{files.portable_name(env_id)}__{algo}__{seed}__{now}"
        path = Path(runs_dir) / name
        attempt = 1
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
        """Opens an existing run.

        Raises:
            UserError: the path does not exist, or is not a run in this version's format.
        """
        path = Path(path).expanduser()
        try:
            saved = schema.read(path / "config.json", dict[str, Any], MOST_CONFIG_BYTES)
            version = saved["joystick"]
            algo = saved["algo"]
        except (OSError, KeyError, schema.Malformed) as error:
            named = getattr(error, "strerror", None) or str(error)
            absent = isinstance(error, FileNotFoundError | NotADirectoryError | KeyError)
            why = "what is there has no config.json of Joystick's" if absent else named
            reason = f": {why}" if path.exists() else ""
            raise UserError(f"no run directory at {path}{reason}{_nearest_run(path)}") from None
        if version != FORMAT:
            raise UserError(f"{path} has run format {plain(version)}, this Joystick reads {FORMAT}")
        run = cls(path, plain(algo))
        run.require_form(saved)
        return run

    def require_form(self, saved: dict[str, Any]) -> None:
        """Raises a UserError unless config.json has its parts and both name the same environment.

        The check imports nothing, because the file may come from a stranger.
        """
        where = self.path / "config.json"
        for name in ("config", "env_spec"):
            if not isinstance(saved.get(name), dict):
                raise UserError(f"{where}: '{name}' is missing or not an object")
        named = saved["config"].get("env_id")
        meant = saved["env_spec"].get("env_id")
        if named is None:
            return
        if not (isinstance(named, str) and canonical_id(named) == meant):
            raise UserError(
                f"{where} names two environments: its config '{plain(named)}', and its"
                f" env_spec '{plain(meant)}'"
            )

    def require_no_links(self) -> None:
        """Checks that every path to which the run writes is within the run.

        Raises:
            UserError: a link or a special file is in place of a directory or a file of the run.
        """
        for name in DIRECTORIES:
            path = self.path / name
            if path.is_symlink() or (path.exists() and not files.is_directory(path)):
                raise UserError(f"{path}: must be a directory of the run; links are not followed")
        for name in FILES:
            path = self.path / name
            if path.is_symlink() or (path.exists() and not files.is_regular(path)):
                raise UserError(f"{path}: must be a regular file; links are not followed")

    @property
    def metrics_path(self) -> Path:
        """The metrics file, with one JSON object in each line."""
        return self.path / "metrics.jsonl"

    def save_config(self, config: dict[str, Any], spec: dict[str, Any]) -> None:
        """Writes config.json: the algorithm's config and the EnvSpec as JSON."""
        record = {
            "joystick": FORMAT,
            "version": program.version(),
            "algo": self.algo,
            "config": config,
            "env_spec": spec,
        }
        text = json.dumps(record, indent=2, default=str) + "\n"
        files.write_atomically(self.path / "config.json", text.encode())

    def save_score(self, score: dict[str, Any]) -> None:
        """Writes eval.json: the result of the final or a later evaluation."""
        text = json.dumps(score, indent=2) + "\n"
        files.write_atomically(self.path / "eval.json", text.encode())

    def save_confusion(self, confusion: dict[str, Any]) -> None:
        """Writes confusion.json: a clone's choices in its last validation, as {step, ...}."""
        text = json.dumps(confusion) + "\n"
        files.write_atomically(self.path / "confusion.json", text.encode())

    def config(self) -> dict[str, Any]:
        """All of config.json: {"joystick": format, "version", "algo", "config", "env_spec"}."""
        try:
            saved = schema.read(self.path / "config.json", dict[str, Any], MOST_CONFIG_BYTES)
        except OSError as error:
            raise UserError(f"{self.path / 'config.json'}: {error.strerror}") from None
        self.require_form(saved)
        return saved

    def checkpoint(self, step: int, state: State | Callable[[], State], weights: Tensors) -> bool:
        """Saves a checkpoint, keeps the one before it, and deletes unreferenced chunks.

        Args:
            step: environment steps so far. Checkpoints of later steps are deleted: after a resume
                from an earlier step they are obsolete.
            state: the state, or a function that makes it. If the disk is full while the function
                appends chunks, the checkpoint fails as it does while it is written.
            weights: the network's tensors.

        Returns:
            Whether the checkpoint is saved; False, after a warning, if the disk is full or fails.
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
        """Replaces the best weights so far; `plain` is JSON to store with them. As `checkpoint`."""

        def save() -> None:
            manifest = {"score": score, "plain": plain}
            parts = {"weights.safetensors": weights}
            snapshots.save(self.path / "best", step, parts, manifest, keep=1)

        return snapshots.unless_disk_full(f"best weights of step {step}", self.path, save)

    def newest_step(self) -> int | None:
        """The step of the newest checkpoint; None if there is no checkpoint."""
        found = snapshots.newest_first(self.path / "checkpoints")
        return int(found[0].name.rstrip("~")) if found else None

    def restore(self, take_up: TakeUp = _nothing) -> tuple[int, State, Tensors]:
        """Reads the step, state and weights of the newest intact checkpoint with intact chunks.

        A warning names each damaged checkpoint, which is passed over. Checkpoints share chunks of
        the replay. If every checkpoint has a damaged chunk, the newest checkpoint that is otherwise
        intact is taken; then `read_chunk` raises for its damaged chunks.

        Args:
            take_up: called with the step, state and weights. If it raises a DamagedCheckpoint, the
                checkpoint counts as damaged.

        Raises:
            UserError: no checkpoint is intact.
        """

        def load(snapshot: Path) -> tuple[int, State, Tensors]:
            manifest = snapshots.read_manifest(snapshot)
            weights = snapshots.read_tensors(snapshot, manifest, "weights.safetensors")
            tensors = snapshots.read_tensors(snapshot, manifest, "state.safetensors")
            found = manifest["step"], _joined(manifest, tensors, snapshot), weights
            take_up(*found)
            return found

        def load_with_chunks(snapshot: Path) -> tuple[int, State, Tensors]:
            for reference in snapshots.read_manifest(snapshot).get("chunks", []):
                snapshots.read(self.chunk_path(reference), reference)
            return load(snapshot)

        found = self._newest_whole("checkpoints", load_with_chunks)
        return self._required_whole("checkpoints", load) if found is None else found

    def weights(
        self, which: str = "best", take_up: Callable[[Tensors], None] | None = None
    ) -> tuple[Tensors, int]:
        """The weights of the best evaluation or of the last checkpoint, and their step.

        A run that has not been evaluated yet has no best weights. Then the last checkpoint's
        weights are returned, and a warning says so.

        Args:
            which: "best" or "last".
            take_up: called with the weights. If it raises a ValueError, the weights do not fit, and
                are passed over like damaged ones.

        Raises:
            UserError: `which` has another value, or no weights are intact.
        """
        directories = {"best": "best", "last": "checkpoints"}
        if which not in directories:
            raise UserError(f"weights must be 'best' or 'last', not {which!r}")

        def load(snapshot: Path) -> tuple[Tensors, int]:
            manifest = snapshots.read_manifest(snapshot)
            weights = snapshots.read_tensors(snapshot, manifest, "weights.safetensors")
            try:
                if take_up is not None:
                    take_up(weights)
            except ValueError as error:
                raise DamagedCheckpoint(f"{snapshot} does not fit: {plain(error)}") from None
            return weights, manifest["step"]

        evaluated = bool(snapshots.newest_first(self.path / directories[which]))
        if which == "best" and not evaluated:
            weights, step = self._required_whole("checkpoints", load)
            about = f"{self.path} has not been evaluated yet"
            warn(f"{about}: the weights come from its last checkpoint, step {step:,}")
            return weights, step
        return self._required_whole(directories[which], load)

    def shared_files(self) -> list[Path]:
        """The files of a run to upload; [] if no best weights are intact.

        They are the best weights, config.json, and eval.json if it has the score of these weights.
        Links and the user's own files are left out.
        """

        def load(snapshot: Path) -> list[Path]:
            manifest = snapshots.read_manifest(snapshot)
            for name, record in manifest["files"].items():
                if not _is_file_of(snapshot, name):
                    raise DamagedCheckpoint(f"{snapshot} has no file {plain(name)}")
                snapshots.read(snapshot / name, record)
            score = [self.path / "eval.json"] if self._scored_step() == manifest["step"] else []
            files_of_it = [snapshot / name for name in (snapshots.MANIFEST, *manifest["files"])]
            return [*files_of_it, self.path / "config.json", *score]

        return self._newest_whole("best", load) or []

    def _scored_step(self) -> int | None:
        """The step of the weights whose score is in eval.json; None if it is unknown."""
        try:
            saved = schema.read(self.path / "eval.json", dict[str, Any], MOST_CONFIG_BYTES)
        except (OSError, UserError):
            return None
        return saved.get("checkpoint_step")

    def append_chunk(self, name: str, tensors: Tensors) -> Reference:
        """Writes tensors to the immutable chunk `replay/<name>.zst`; returns its reference.

        A checkpoint refers to the chunk if its state holds `{"chunk": reference}`. After each
        checkpoint, chunks without a reference are deleted.
        """
        data = zstandard.ZstdCompressor(level=1).compress(snapshots.pack(tensors))
        file = f"replay/{name}.zst"
        assert CHUNK.fullmatch(f"{name}.zst"), f"{name} is not a chunk's name"
        files.make_directory(self.path / "replay")
        files.write_atomically(self.path / file, data)
        return {"file": file} | snapshots.proof(data)

    def chunk_path(self, reference: Reference) -> Path:
        """The path of a chunk; raises DamagedCheckpoint if a reference leads anywhere else."""
        name = reference.get("file")
        folder, _, file = name.rpartition("/") if isinstance(name, str) else ("", "", "")
        path = self.path / "replay" / file
        if folder != "replay" or not CHUNK.fullmatch(file):
            raise DamagedCheckpoint(f"{self.path}: a checkpoint's chunk has the name {plain(name)}")
        try:
            schema.convert(reference, snapshots.Proof, f"{self.path}: chunk {name}")
        except schema.Malformed as error:
            raise DamagedCheckpoint(str(error)) from None
        if path.parent.is_symlink():
            raise DamagedCheckpoint(f"{path.parent} is a symbolic link, which is not followed")
        return path

    def read_chunk(self, reference: Reference) -> Tensors:
        """Reads the tensors of a chunk, on the CPU.

        Raises:
            DamagedCheckpoint: the file is missing, is altered, or does not fit into free memory.
        """
        path = self.chunk_path(reference)
        data = snapshots.read(path, reference)
        return snapshots.unpack(_decompressed(data, path), path)

    def truncate_metrics(self, step: int) -> float:
        """Drops metrics after `step` and incomplete lines; returns the last "time", in seconds."""
        try:
            data = files.read_regular(self.metrics_path, MOST_METRICS_BYTES)
        except FileNotFoundError:
            return 0.0
        except OSError as error:
            raise UserError(f"{self.metrics_path}: {error.strerror}") from None
        kept = []
        seconds = 0.0
        for line in data.splitlines():
            with suppress(ValueError, KeyError, TypeError, RecursionError, OverflowError):
                record = json.loads(line)
                if record["step"] <= step:
                    seconds = float(record["time"])
                    kept.append(line + b"\n")
        if data != b"".join(kept):
            files.write_atomically(self.metrics_path, b"".join(kept))
        return seconds

    def _newest_whole(self, directory: str, load: Callable[[Path], T]) -> T | None:
        """The result of `load` for the newest snapshot that it can load; None without one."""
        for snapshot in snapshots.newest_first(self.path / directory):
            try:
                return load(snapshot)
            except DamagedCheckpoint as damage:
                warn(f"damaged checkpoint passed over: {damage}")
        return None

    def _required_whole(self, directory: str, load: Callable[[Path], T]) -> T:
        """As `_newest_whole`, but raises a UserError if no snapshot can be loaded."""
        found = self._newest_whole(directory, load)
        if found is None:
            raise UserError(f"no intact checkpoint in {self.path / directory}")
        return found

    def _delete_unreferenced_chunks(self) -> None:
        live: set[Path] = set()
        for snapshot in snapshots.newest_first(self.path / "checkpoints"):
            with suppress(DamagedCheckpoint):
                chunks = snapshots.read_manifest(snapshot).get("chunks", [])
                live |= {self.path / chunk["file"] for chunk in chunks}
        for path in files.entries(self.path / "replay"):
            if path not in live and CHUNK.fullmatch(path.name):
                files.remove(path)
        snapshots.remove_temporaries(self.path / "replay")


def _is_file_of(snapshot: Path, name: str) -> bool:
    return Path(name).name == name and files.is_regular(snapshot / name)


def _joined(manifest: dict[str, Any], tensors: Tensors, snapshot: Path) -> State:
    try:
        state = join(manifest["state"], tensors)
    except (LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
        why = f"{type(error).__name__} {plain(error)}"
        raise DamagedCheckpoint(f"{snapshot} holds no training state: {why}") from None
    if not isinstance(state, dict):
        raise DamagedCheckpoint(f"{snapshot} holds no training state")
    return state


def _decompressed(data: bytes, path: Path) -> bytes:
    """Unpacks a chunk's bytes; raises DamagedCheckpoint if they do not fit into free memory."""
    try:
        size = zstandard.get_frame_parameters(data).content_size
        # A hostile file may claim any size, and memory is allocated for it before unpacking.
        if not 0 < size <= psutil.virtual_memory().available:
            raise DamagedCheckpoint(f"{path} claims to unpack to {size:,} bytes")
        return zstandard.ZstdDecompressor().decompress(data)
    except (zstandard.ZstdError, MemoryError) as error:
        raise DamagedCheckpoint(f"{path} cannot be unpacked: {plain(error)}") from None


def _nearest_run(path: Path) -> str:
    beside = [*files.entries(path.parent), *files.entries(path)]
    runs = {each.name: each for each in beside if files.is_regular(each / "config.json")}
    runs.pop(path.name, None)
    close = difflib.get_close_matches(path.name, list(runs), n=1, cutoff=0.3)
    return f"; did you mean {runs[close[0]]}?" if close else ""
