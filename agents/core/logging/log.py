"""Reports a run to the console, to metrics.jsonl and to W&B.

If an output fails, a message says so once and training goes on. Examples are a full disk and an
error of W&B.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, get_args

from agents.core.data.confusion import Confusion
from agents.core.logging.console import Progress, SilentConsole, open_console
from agents.core.logging.diagnostics import Histogram
from agents.core.logging.wandb_run import Labels, Wandb, WandbMode
from agents.core.runs.artifacts import Artifact
from agents.core.runs.run import Run
from envs.errors import UserError
from envs.files import open_appending


class Logger:
    """Sends the metrics, messages, videos and artifacts of one run to all three outputs."""

    def __init__(
        self,
        run: Run,
        config: dict[str, Any],
        *,
        total_steps: int,
        frames_per_step: int = 1,
        wandb_mode: WandbMode = "auto",
        group: str = "",
        job_type: str = "train",
        tags: Sequence[str] = (),
        console: bool = True,
        start_step: int = 0,
        start_time: float = 0.0,
    ):
        """Opens the three outputs.

        Args:
            run: the run, whose directory gets the files.
            config: the algorithm's config, shown in W&B.
            total_steps: environment steps at the end of the run.
            frames_per_step: emulator frames in an environment step.
            wandb_mode: a `WandbMode`. "auto" is online if logged in, else offline; the environment
                variable WANDB_MODE may change it.
            group: group in W&B of runs that differ only in their seed.
            job_type: job type in W&B.
            tags: tags in W&B.
            console: whether to print.
            start_step: the step from which the run resumes; its metrics exist already.
            start_time: training seconds of the run before this process, see `Run.truncate_metrics`.

        Raises:
            UserError: `wandb_mode` is not a `WandbMode`.
        """
        if wandb_mode not in get_args(WandbMode):
            allowed = ", ".join(get_args(WandbMode))
            raise UserError(f"wandb mode must be one of {allowed}, not {wandb_mode!r}")
        self._epoch = time.monotonic() - start_time
        progress = Progress(total_steps, frames_per_step, start_step)
        self._run = run
        self._file = open_appending(run.metrics_path)
        self._file_failed = False
        self._console = open_console(progress) if console else SilentConsole()
        self._wandb = Wandb(self.message)
        labels = Labels(group, job_type, tuple(tags))
        self._wandb.open(run, config, wandb_mode, labels, start_step)

    @property
    def seconds(self) -> float:
        """Seconds of training, including those before a resume."""
        return time.monotonic() - self._epoch

    def metrics(self, step: int, values: dict[str, float]) -> None:
        """Reports scalars of one step; in metrics.jsonl, values that are not finite become null."""
        values = {name: float(value) for name, value in values.items()}
        finite = {name: value if math.isfinite(value) else None for name, value in values.items()}
        record = {"step": step, "time": round(self.seconds, 3), **finite}
        try:
            self._file.write(json.dumps(record).encode() + b"\n")
            self._file.flush()
        except OSError as error:
            if not self._file_failed:
                self.message(f"metrics.jsonl cannot be written: {error.strerror}")
            self._file_failed = True
        self._console.metrics(step, values)
        self._wandb.log(step, values)

    def message(self, text: str) -> None:
        """Prints a line on the console."""
        self._console.message(text)

    def video(self, step: int, path: str | Path) -> None:
        """Shows a film (mp4, webm, gif) in W&B, with the filmstrip (png) beside it, if any."""
        self._wandb.video(step, Path(path))

    def histograms(self, step: int, make: Callable[[], dict[str, Histogram]]) -> None:
        """Shows histograms in W&B; without W&B, `make` is not called."""
        self._wandb.histograms(step, make)

    def confusion(self, step: int, confusion: Confusion) -> None:
        """Writes confusion.json, and shows the table in W&B."""
        try:
            self._run.save_confusion({"step": step, **confusion.to_json()})
        except OSError as error:
            self.message(f"confusion.json cannot be written: {error.strerror}")
        self._wandb.confusion(step, confusion)

    def artifact(self, artifact: Artifact, aliases: Sequence[str] = ()) -> None:
        """Stores a version of an output in W&B, with the alias "latest" beside the given ones."""
        self._wandb.artifact(artifact, aliases)

    def uses(self, artifact: Artifact) -> None:
        """Records an input of the run in W&B."""
        self._wandb.uses(artifact)

    def summary(self, values: dict[str, Any]) -> None:
        """Sets final values of the run in W&B."""
        self._wandb.summary(values)

    def close(self, exit_code: int = 0) -> None:
        """Closes the three outputs; a second call does nothing."""
        self._wandb.close(exit_code)
        self._console.close()
        with suppress(OSError):
            self._file.close()
