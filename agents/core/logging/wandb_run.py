"""A run at Weights & Biases: the first call that raises is said, and but for files is the last.

Everything is logged over `global_step`. Offline, what needs a server is written down so that
`wandb sync` can make up for it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from agents.core.logging.diagnostics import Histogram
from agents.core.runs.artifacts import Artifact
from agents.core.runs.run import Run
from envs.errors import first_line
from envs.files import is_regular, read_regular, require_no_link, write_atomically

WandbMode = Literal["auto", "online", "offline", "disabled"]

INIT_SECONDS = 10.0
"""How long W&B may take to answer before the run is logged offline."""

FINISH_SECONDS = 60.0
"""How long the end of a run waits for uploads; what is left is on disk for `wandb sync`."""

SUMMARIES = {
    "eval/human_normalized": "max,last",
    "eval/of_demonstrator": "max,last",
    "validation/loss": "min,last",
}
"""Metrics of which a run's table shows more than the last value. The mean return is not among them:
a sweep looks for one number."""

MOST_TAG_CHARACTERS = 64

MOST_NAME_CHARACTERS = 128

MOST_IDENTITY_BYTES = 128

MOST_UPLOADED_BYTES = 1 << 28
"""Of a dataset; of a larger one W&B keeps where it is, and its files' digests."""


@dataclass(frozen=True)
class Labels:
    """What a run is found by: its seeds' group, what it does, and words."""

    group: str
    job_type: str
    tags: tuple[str, ...]


class Wandb:
    """W&B that can fail and never hurts training."""

    def __init__(self, say: Callable[[str], None]):
        self._say = say
        self._run: Any = None
        self._offline = False
        self._last_made: tuple[Artifact, Sequence[str]] | None = None

    def open(
        self, run: Run, config: dict[str, Any], mode: WandbMode, labels: Labels, start_step: int
    ) -> None:
        """Start logging in a mode of `Logger`; offline, and said so, where online cannot be had.

        Online resumes the same W&B run, where there is one. Otherwise another starts, whose config
        has the same `run_dir` and the step it was `resumed_from`, and is offline a `fragment_of`
        the online one.
        """
        if mode == "auto" and os.environ.get("WANDB_MODE") in ("offline", "disabled"):
            mode = "offline" if os.environ["WANDB_MODE"] == "offline" else "disabled"
        if mode == "disabled":
            return
        config = {"exp_name": run.algo, "run_dir": run.path.resolve().name} | config
        if start_step > 0:
            config["resumed_from"] = start_step
        try:
            import wandb

            # Its own lines, of which one takes the package `agents` for another, say nothing here.
            wandb.setup(wandb.Settings(silent=True))
            if mode == "offline" or not self._open_online(run, config, mode, labels):
                self._offline = True
                self._run = _init(run, config | fragment_of(run), labels, mode="offline")
                self._say(f"W&B is offline; to upload: wandb sync {self._run.settings.sync_dir}")
        except Exception as error:
            self._say(f"W&B is off: {first_line(error)}")

    def log(self, step: int, values: dict[str, Any]) -> None:
        """Log the values of one step."""
        self._attempt(lambda run: run.log({**values, "global_step": step}))

    def video(self, step: int, path: Path) -> None:
        """Log a film, and the filmstrip beside it."""

        def log_video(run: Any) -> None:
            import wandb

            shown: dict[str, Any] = {"video": wandb.Video(str(path))}
            strip = path.with_suffix(".png")
            if is_regular(strip):
                shown["filmstrip"] = wandb.Image(str(strip))
            run.log({**shown, "global_step": step})

        self._attempt(log_video)

    def histograms(self, step: int, make: Callable[[], dict[str, Histogram]]) -> None:
        """Log histograms, that are made only if there is a W&B run."""

        def log_histograms(run: Any) -> None:
            import wandb

            made = {name: wandb.Histogram(np_histogram=each) for name, each in make().items()}
            run.log({**made, "global_step": step})

        self._attempt(log_histograms)

    def artifact(self, artifact: Artifact, aliases: Sequence[str]) -> None:
        """Log a version of what the run makes; offline the last of them, when the run ends.

        Offline each would be a copy in W&B's own folder, of which none is ever deleted.
        """
        if self._offline:
            self._last_made = (artifact, aliases)
        else:
            self._log_made(artifact, aliases)

    def uses(self, artifact: Artifact) -> None:
        """Log what the run is made from.

        Offline `use_artifact` refuses, though the record it would write is one that can be synced.
        """

        def use(run: Any) -> None:
            if self._offline:
                run._log_artifact(_made(artifact), use_after_commit=True)
            else:
                run.use_artifact(_made(artifact))

        self._attempt_with(artifact, use)

    def summary(self, values: dict[str, Any]) -> None:
        """Set summary values."""
        self._attempt(lambda run: run.summary.update(values))

    def close(self, exit_code: int) -> None:
        """Finish the W&B run, if there is one."""
        if self._last_made:
            self._log_made(*self._last_made)
        self._attempt(lambda run: run.finish(exit_code=exit_code))
        self._run = self._last_made = None

    def _open_online(
        self, run: Run, config: dict[str, Any], mode: WandbMode, labels: Labels
    ) -> bool:
        import wandb

        if not wandb.login(prompt=False, verify=False):
            if mode == "online":
                self._say("not logged in to W&B: run `wandb login`")
            return False
        identity = identity_of(run)
        known = {"id": identity, "resume": "allow"} if identity else {}
        try:
            self._run = _init(run, config, labels, mode="online", **known)
        except Exception as error:
            self._say(f"W&B cannot be reached: {first_line(error)}")
            return False
        with suppress(OSError):
            write_atomically(run.path / "wandb-id", self._run.id.encode())
        self._say(f"W&B: {self._run.url}")
        return True

    def _attempt(self, call: Callable[[Any], object]) -> None:
        if self._run is None:
            return
        try:
            call(self._run)
        except Exception as error:
            self._run = None
            self._say(f"W&B is off from here on: {first_line(error)}")

    def _log_made(self, artifact: Artifact, aliases: Sequence[str]) -> None:
        called = ["latest", *aliases]
        self._attempt_with(artifact, lambda run: run.log_artifact(_made(artifact), aliases=called))

    def _attempt_with(self, artifact: Artifact, call: Callable[[Any], object]) -> None:
        """As `_attempt`, but W&B stays on: files that are gone say nothing about it."""
        if self._run is None:
            return
        try:
            call(self._run)
        except Exception as error:
            self._say(f"W&B takes no {artifact.type} {artifact.name}: {first_line(error)}")


def fragment_of(run: Run) -> dict[str, str]:
    """The id of the online W&B run that a run directory began as, if it did."""
    identity = identity_of(run)
    return {"fragment_of": identity} if identity else {}


def identity_of(run: Run) -> str:
    """The id of the online W&B run, "" where none is kept or the file holds anything else."""
    try:
        text = read_regular(run.path / "wandb-id", MOST_IDENTITY_BYTES).decode("ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""
    return text if re.fullmatch(r"[\w-]+", text, re.ASCII) else ""


def _init(run: Run, config: dict[str, Any], labels: Labels, **options: Any) -> Any:
    import wandb

    require_no_link(run.path / "wandb")
    started = wandb.init(
        project=os.environ.get("WANDB_PROJECT", "joystick"),
        name=run.path.name,
        group=labels.group[:MOST_NAME_CHARACTERS],
        job_type=labels.job_type,
        dir=str(run.path),
        config=config,
        # One that is twice there, empty or too long would be refused.
        tags=list(dict.fromkeys(tag[:MOST_TAG_CHARACTERS] for tag in labels.tags if tag)),
        reinit="create_new",
        # The live console owns the terminal: W&B neither captures it nor prints to it.
        settings=wandb.Settings(
            init_timeout=INIT_SECONDS, finish_timeout=FINISH_SECONDS, console="off", silent=True
        ),
        **options,
    )
    started.define_metric("global_step", hidden=True)
    started.define_metric("*", step_metric="global_step")
    for name, summary in SUMMARIES.items():
        started.define_metric(name, step_metric="global_step", summary=summary)
    return started


def _made(artifact: Artifact) -> Any:
    """The artifact as W&B's; characters that it refuses in a name become "-"."""
    import wandb

    name = re.sub(r"[^\w.-]", "-", artifact.name, flags=re.ASCII)[:MOST_NAME_CHARACTERS]
    made = wandb.Artifact(name, artifact.type, metadata=artifact.metadata)
    # Nobody changes the files of a dataset; the next model replaces the files of this one.
    policy = "immutable" if artifact.type == "dataset" else "mutable"
    for path in artifact.files.values():
        if not is_regular(path):
            raise FileNotFoundError(f"{path} is no regular file")
    refers = sum(file.stat().st_size for file in artifact.files.values()) > MOST_UPLOADED_BYTES
    for name, path in artifact.files.items():
        if refers and artifact.type == "dataset":
            made.add_reference(path.resolve().as_uri(), name=name)
        else:
            made.add_file(str(path.resolve()), name=name, policy=policy, skip_cache=True)
    return made
