"""Where a run reports: the console, metrics.jsonl and W&B. Of the three only training is essential.

Whatever fails here, a full disk or a W&B that raises, is said once and training goes on.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, get_args

from agents.core.console import Progress, SilentConsole, open_console
from agents.core.run import Run
from envs.errors import UserError

WandbMode = Literal["auto", "online", "offline", "disabled"]

INIT_SECONDS = 10.0
"""How long W&B may take to answer before the run is logged offline."""

FINISH_SECONDS = 60.0
"""How long the end of a run waits for uploads; what is left is on disk for `wandb sync`."""


class Logger:
    """Sends metrics, messages, videos and artifacts of one run to where people look for them."""

    def __init__(
        self,
        run: Run,
        config: dict[str, Any],
        *,
        total_steps: int,
        frames_per_step: int = 1,
        wandb_mode: WandbMode = "auto",
        tags: Sequence[str] = (),
        console: bool = True,
        start_step: int = 0,
        start_time: float = 0.0,
    ):
        """Open all three.

        Args:
            run: where the files go.
            config: the algorithm's configuration, shown in W&B.
            total_steps: environment steps at the end of the run.
            frames_per_step: emulator frames in an environment step.
            wandb_mode: "auto" is online when logged in and offline otherwise, and follows the
                environment variable WANDB_MODE.
            tags: words to find the run by.
            console: whether to print.
            start_step: the step resumed from, whose metrics are already there.
            start_time: training seconds of the run before this process, see `Run.truncate_metrics`.

        Raises:
            UserError: `wandb_mode` is none of the four.
        """
        if wandb_mode not in get_args(WandbMode):
            allowed = ", ".join(get_args(WandbMode))
            raise UserError(f"wandb mode must be one of {allowed}, not {wandb_mode!r}")
        self._epoch = time.monotonic() - start_time
        progress = Progress(total_steps, frames_per_step, start_step)
        self._file = run.metrics_path.open("ab")
        self._file_failed = False
        self._console = open_console(progress) if console else SilentConsole()
        self._wandb = Wandb(self.message)
        self._wandb.open(run, config, wandb_mode, tags, start_step)

    @property
    def seconds(self) -> float:
        """Seconds of training, those before a resume included."""
        return time.monotonic() - self._epoch

    def metrics(self, step: int, values: dict[str, float]) -> None:
        """Report scalars of one step; in metrics.jsonl one that is not finite becomes null."""
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
        """Show a line to the person."""
        self._console.message(text)

    def video(self, step: int, path: str | Path) -> None:
        """Show a video file (mp4, webm, gif) in W&B."""
        self._wandb.video(step, path)

    def artifact(self, path: str | Path, name: str, type: str) -> None:
        """Keep a file in W&B as a version of the artifact `name`, of a type such as "model"."""
        self._wandb.artifact(path, name, type)

    def summary(self, values: dict[str, Any]) -> None:
        """Set final values of the run in W&B."""
        self._wandb.summary(values)

    def close(self, exit_code: int = 0) -> None:
        """Close all three; a second call does nothing."""
        self._wandb.close(exit_code)
        self._console.close()
        with suppress(OSError):
            self._file.close()


class Wandb:
    """W&B that can fail and never hurts: the first call that raises says so and is the last."""

    def __init__(self, say: Callable[[str], None]):
        self._say = say
        self._run: Any = None

    def open(
        self,
        run: Run,
        config: dict[str, Any],
        mode: WandbMode,
        tags: Sequence[str],
        start_step: int,
    ) -> None:
        """Start logging in a mode of `Logger`; offline, and said so, where online cannot be had.

        Online resumes the same W&B run. Offline starts another in the same group, whose config
        says what step it was `resumed_from`.
        """
        if mode == "auto" and os.environ.get("WANDB_MODE") in ("offline", "disabled"):
            mode = "offline" if os.environ["WANDB_MODE"] == "offline" else "disabled"
        if mode == "disabled":
            return
        config = {"exp_name": run.algo} | config
        try:
            import wandb

            # Its own lines, of which one takes the package `agents` for another, say nothing here.
            wandb.setup(wandb.Settings(silent=True))
            if mode == "offline" or not self._open_online(run, config, mode, tags):
                if start_step > 0:
                    config["resumed_from"] = start_step
                self._run = _init(run, config, tags, mode="offline")
                self._say(f"W&B is offline; to upload: wandb sync {self._run.settings.sync_dir}")
        except Exception as error:
            self._say(f"W&B is off: {_first_line(error)}")

    def log(self, step: int, values: dict[str, Any]) -> None:
        """Log the values of one step."""
        self._attempt(lambda run: run.log({**values, "global_step": step}))

    def video(self, step: int, path: str | Path) -> None:
        """Log a video file."""

        def log_video(run: Any) -> None:
            import wandb

            run.log({"video": wandb.Video(str(path)), "global_step": step})

        self._attempt(log_video)

    def artifact(self, path: str | Path, name: str, type: str) -> None:
        """Log a file as an artifact; "/" in the name, which W&B refuses, becomes "-"."""
        self._attempt(lambda run: run.log_artifact(path, name=name.replace("/", "-"), type=type))

    def summary(self, values: dict[str, Any]) -> None:
        """Set summary values."""
        self._attempt(lambda run: run.summary.update(values))

    def close(self, exit_code: int) -> None:
        """Finish the W&B run, if there is one."""
        self._attempt(lambda run: run.finish(exit_code=exit_code))
        self._run = None

    def _open_online(
        self, run: Run, config: dict[str, Any], mode: WandbMode, tags: Sequence[str]
    ) -> bool:
        import wandb

        if not wandb.login(prompt=False, verify=False):
            if mode == "online":
                self._say("not logged in to W&B: run `wandb login`")
            return False
        identity = run.path / "wandb-id"
        known = {"id": identity.read_text(), "resume": "allow"} if identity.exists() else {}
        try:
            self._run = _init(run, config, tags, mode="online", **known)
        except Exception as error:
            self._say(f"W&B cannot be reached: {_first_line(error)}")
            return False
        with suppress(OSError):
            identity.write_text(self._run.id)
        self._say(f"W&B: {self._run.url}")
        return True

    def _attempt(self, call: Callable[[Any], object]) -> None:
        if self._run is None:
            return
        try:
            call(self._run)
        except Exception as error:
            self._run = None
            self._say(f"W&B is off from here on: {_first_line(error)}")


def _init(run: Run, config: dict[str, Any], tags: Sequence[str], **options: Any) -> Any:
    import wandb

    started = wandb.init(
        project=os.environ.get("WANDB_PROJECT", "joystick"),
        name=run.path.name,
        group=run.path.name,
        dir=str(run.path),
        config=config,
        tags=list(tags),
        reinit="create_new",
        # The live console owns the terminal: W&B neither captures it nor prints to it.
        settings=wandb.Settings(
            init_timeout=INIT_SECONDS, finish_timeout=FINISH_SECONDS, console="off", silent=True
        ),
        **options,
    )
    started.define_metric("*", step_metric="global_step")
    return started


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
