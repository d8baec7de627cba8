"""Logs a run to Weights & Biases.

If a call raises, a message says so and W&B is off for the rest of the run; after an error with
files it stays on. All values are logged over `global_step`. Offline, everything is recorded so that
`wandb sync` can upload it later.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from agents.core.data.confusion import Confusion
from agents.core.logging.diagnostics import Histogram
from agents.core.runs.artifacts import Artifact
from agents.core.runs.run import Run
from envs.errors import first_line
from envs.files import is_regular, read_regular, require_no_link, write_atomically

WandbMode = Literal["auto", "online", "offline", "disabled"]

INIT_SECONDS = 10.0
"""Seconds that W&B may take to answer before the run is logged offline."""

FINISH_SECONDS = 60.0
"""Seconds that a run waits for uploads at its end; `wandb sync` can upload the rest."""

SUMMARIES = {
    "eval/human_normalized": "max,last",
    "eval/of_demonstrator": "max,last",
    "validation/loss": "min,last",
}
"""Metrics whose summary has more than the last value.

The mean return is not among them, because a sweep needs a single number.
"""

MOST_TAG_CHARACTERS = 64

MOST_NAME_CHARACTERS = 128

MOST_IDENTITY_BYTES = 128

MOST_UPLOADED_BYTES = 1 << 28
"""Most bytes of a dataset to upload; for a larger dataset W&B stores its path and digests."""


@dataclass(frozen=True)
class Labels:
    """The labels of a run in W&B: group, job type and tags."""

    group: str
    job_type: str
    tags: tuple[str, ...]


class Wandb:
    """A run in W&B; its errors become messages, and never end training."""

    def __init__(self, say: Callable[[str], None]):
        self._say = say
        self._run: Any = None
        self._offline = False
        self._last_made: tuple[Artifact, Sequence[str]] | None = None

    def open(
        self, run: Run, config: dict[str, Any], mode: WandbMode, labels: Labels, start_step: int
    ) -> None:
        """Starts logging in a mode of `Logger`; offline, after a message, if online is impossible.

        Online, a resumed run resumes its W&B run if it has one. Otherwise a new W&B run starts. Its
        config has the same `run_dir`, and the step in `resumed_from`. Offline its config also has
        the id of the online W&B run in `fragment_of`, if any.
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

            # W&B's own lines are silenced; a line mistakes our package `agents` for another.
            wandb.setup(wandb.Settings(silent=True))
            if mode == "offline" or not self._open_online(run, config, mode, labels):
                self._offline = True
                self._run = _init(run, config | fragment_of(run), labels, mode="offline")
                self._say(f"W&B is offline; to upload: wandb sync {self._run.settings.sync_dir}")
        except Exception as error:
            self._say(f"W&B is off: {first_line(error)}")

    def log(self, step: int, values: dict[str, Any]) -> None:
        """Logs the values of one step."""
        self._attempt(lambda run: run.log({**values, "global_step": step}))

    def video(self, step: int, path: Path) -> None:
        """Logs a film, and the filmstrip beside it."""

        def log_video(run: Any) -> None:
            import wandb

            shown: dict[str, Any] = {"video": wandb.Video(str(path))}
            strip = path.with_suffix(".png")
            if is_regular(strip):
                shown["filmstrip"] = wandb.Image(str(strip))
            run.log({**shown, "global_step": step})

        self._attempt(log_video)

    def histograms(self, step: int, make: Callable[[], dict[str, Histogram]]) -> None:
        """Logs histograms; `make` is called only if a W&B run is open."""

        def log_histograms(run: Any) -> None:
            import wandb

            made = {name: wandb.Histogram(np_histogram=each) for name, each in make().items()}
            run.log({**made, "global_step": step})

        self._attempt(log_histograms)

    def confusion(self, step: int, confusion: Confusion) -> None:
        """Logs the choices of a demonstrator and its clone as W&B's own chart of confusions."""

        def log_confusion(run: Any) -> None:
            import wandb

            columns: list[Any] = ["Actual", "Predicted", "nPredictions"]
            rows = [
                [actual, predicted, int(count)]
                for actual, count_A in zip(confusion.names, confusion.count_AA, strict=True)
                for predicted, count in zip(confusion.names, count_A, strict=True)
            ]
            chart = wandb.plot_table(
                vega_spec_name="wandb/confusion_matrix/v1",
                data_table=wandb.Table(columns=columns, data=rows),
                fields={name: name for name in columns},
                string_fields={"title": "Actions of the demonstrator and the clone"},
            )
            run.log({"confusion": chart, "global_step": step})

        self._attempt(log_confusion)

    def artifact(self, artifact: Artifact, aliases: Sequence[str]) -> None:
        """Logs a version of an output; offline, only the last version is logged, at the end.

        Offline, each version would be a copy in W&B's own folder, which is never deleted.
        """
        if self._offline:
            self._last_made = (artifact, aliases)
        else:
            self._log_made(artifact, aliases)

    def uses(self, artifact: Artifact) -> None:
        """Logs an input of the run.

        Offline, `use_artifact` raises, although its record could be synced. So the record is
        written directly.
        """

        def use(run: Any) -> None:
            if self._offline:
                run._log_artifact(_made(artifact), use_after_commit=True)
            else:
                run.use_artifact(_made(artifact))

        self._attempt_with(artifact, use)

    def summary(self, values: dict[str, Any]) -> None:
        """Sets summary values."""
        self._attempt(lambda run: run.summary.update(values))

    def close(self, exit_code: int) -> None:
        """Finishes the W&B run, if one is open."""
        if self._last_made:
            self._log_made(*self._last_made)
        self._attempt(lambda run: run.finish(exit_code=exit_code))
        self._run = None
        self._last_made = None

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
        """As `_attempt`, but W&B stays on, because missing files are not W&B's failure."""
        if self._run is None:
            return
        try:
            call(self._run)
        except Exception as error:
            self._say(f"W&B gets no {artifact.type} {artifact.name}: {first_line(error)}")


def fragment_of(run: Run) -> dict[str, str]:
    """The field `fragment_of` with the id of the run's online W&B run; {} without one."""
    identity = identity_of(run)
    return {"fragment_of": identity} if identity else {}


def identity_of(run: Run) -> str:
    """The id of the run's online W&B run; "" if no valid id is saved."""
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
        # W&B refuses tags that are repeated, empty or too long.
        tags=list(dict.fromkeys(tag[:MOST_TAG_CHARACTERS] for tag in labels.tags if tag)),
        reinit="create_new",
        # The live console owns the terminal, so W&B must not capture it or print to it.
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
    """Converts an artifact to W&B's type; characters that W&B refuses in a name become "-"."""
    import wandb

    name = re.sub(r"[^\w.-]", "-", artifact.name, flags=re.ASCII)[:MOST_NAME_CHARACTERS]
    made = wandb.Artifact(name, artifact.type, metadata=artifact.metadata)
    # The files of a dataset never change; the next model replaces the files of this model.
    policy = "immutable" if artifact.type == "dataset" else "mutable"
    for path in artifact.files.values():
        if not is_regular(path):
            raise FileNotFoundError(f"{path} is not a regular file")
    refers = sum(file.stat().st_size for file in artifact.files.values()) > MOST_UPLOADED_BYTES
    for name, path in artifact.files.items():
        if refers and artifact.type == "dataset":
            made.add_reference(path.resolve().as_uri(), name=name)
        else:
            made.add_file(str(path.resolve()), name=name, policy=policy, skip_cache=True)
    return made
