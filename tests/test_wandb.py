"""W&B: what offline files hold, what online is asked for, and that its failures never matter."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import wandb
from conftest import demonstrations
from PIL import Image
from wandb_files import fragments

from agents.core.logging import wandb_run
from agents.core.logging.log import Logger
from agents.core.runs import artifacts
from agents.core.runs.artifacts import Artifact
from agents.core.runs.run import Run
from demos import Dataset
from envs.errors import UserError

pytestmark = pytest.mark.usefixtures("a_person_without_wandb_settings")

CONFIG = {"exp_name": "dqn", "env_id": "ALE/Pong-v5", "seed": 1}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    made = Run.create(tmp_path, "ALE/Pong-v5", "dqn", seed=1)
    made.save_config(CONFIG, {"env_id": CONFIG["env_id"]})
    made.best(200, 20.5, {"w": torch.zeros(250)}, {})
    return made


def open_logger(run: Run, wandb_mode: Any = "disabled", **options: Any) -> Logger:
    options = {"total_steps": 1000, "frames_per_step": 4, "tags": ["dqn", "Pong"]} | options
    return Logger(run, CONFIG, wandb_mode=wandb_mode, **options)


def metrics_of(run: Run) -> list[dict[str, Any]]:
    return [json.loads(line) for line in run.metrics_path.read_text().splitlines()]


def test_offline_wandb_holds_metrics_config_labels_film_and_summary(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    video = tmp_path / "game.mp4"
    video.write_bytes(b"\0\0\0\x18ftypmp42" + bytes(100))
    Image.new("RGB", (80, 10)).save(video.with_suffix(".png"))
    tags = ["dqn", "Pong", "dqn", "", "x" * 80]
    logger = open_logger(run, "offline", group="dqn-Pong", job_type="train", tags=tags)
    logger.metrics(100, {"losses/loss": 0.25, "charts/SPS": 50.0})
    logger.metrics(200, {"losses/loss": 0.125})
    logger.video(200, video)
    logger.summary({"score": 20.5})
    logger.close(exit_code=3)
    assert video.exists(), "the run keeps its own video"

    (fragment,) = fragments(run)
    first, second, shown = fragment.history
    assert {"losses/loss": 0.25, "charts/SPS": 50.0, "global_step": 100}.items() <= first.items()
    assert {"losses/loss": 0.125, "global_step": 200}.items() <= second.items()
    assert shown["global_step"] == 200
    files = fragment.path.parent / "files"
    assert (files / shown["video/path"]).read_bytes() == video.read_bytes()
    assert (shown["filmstrip/width"], shown["filmstrip/height"]) == (80, 10)
    assert CONFIG.items() <= fragment.config.items()
    assert fragment.config["run_dir"] == fragment.run.display_name == run.path.name
    assert not {"resumed_from", "fragment_of"} & fragment.config.keys()
    assert (fragment.run.run_group, fragment.run.job_type) == ("dqn-Pong", "train")
    assert list(fragment.run.tags) == ["dqn", "Pong", "x" * 64]
    assert fragment.summary["score"] == 20.5
    assert fragment.exit_code == 3
    printed = capsys.readouterr()
    assert f"to upload: wandb sync {fragment.path.parent}" in printed.out
    assert printed.err == "", "W&B itself is silent"


def test_everything_is_over_global_step_and_evaluations_keep_their_best(run: Run) -> None:
    logger = open_logger(run, "offline", console=False)
    for step, mean in ((100, 3.0), (200, 21.0), (300, 5.0)):
        means = ("eval/return_mean", "eval/human_normalized", "validation/loss")
        logger.metrics(step, dict.fromkeys(means, mean))
    logger.close()
    (fragment,) = fragments(run)
    assert fragment.metrics["global_step"].options.hidden
    others = [each for name, each in fragment.metrics.items() if name != "global_step"]
    assert {each.step_metric for each in others} == {"global_step"}
    assert "*" in fragment.metrics
    assert fragment.summary["eval/return_mean"] == 5.0
    assert fragment.summary["eval/human_normalized"] == {"max": 21.0, "last": 5.0}
    assert fragment.summary["validation/loss"] == {"min": 3.0, "last": 5.0}


def test_histograms_are_shown_and_made_only_with_wandb(run: Run) -> None:
    made = {"histograms/q_values": np.histogram([1.0, 2.0, 2.5], 3)}
    logger = open_logger(run, "offline", console=False)
    logger.histograms(100, lambda: made)
    logger.close()
    (fragment,) = fragments(run)
    (row,) = fragment.history
    assert row["global_step"] == 100
    assert row["histograms/q_values/_type"] == "histogram"
    assert row["histograms/q_values/values"] == [1, 0, 2]
    assert row["histograms/q_values/bins"] == [1.0, 1.5, 2.0, 2.5]
    silent = open_logger(run, console=False)
    silent.histograms(200, lambda: pytest.fail("histograms were made for nobody"))
    silent.close()


def test_offline_only_the_last_model_is_kept_and_it_is_a_run(run: Run) -> None:
    logger = open_logger(run, "offline", console=False)
    for score in (1.0, 20.5):
        logger.artifact(artifacts.model(run, {"score": score}), ("best",))
    logger.close()
    (fragment,) = fragments(run)
    (kept,) = fragment.artifacts
    assert (kept.name, kept.type) == (run.path.name, "model")
    assert sorted(kept.aliases) == ["best", "latest"]
    assert json.loads(kept.metadata)["score"] == 20.5
    assert not kept.use_after_commit, "it is made, not used"
    files = {each.path: Path(each.local_path) for each in kept.manifest.contents}
    best = "best/000000000200"
    assert sorted(files) == [f"{best}/state.json", f"{best}/weights.safetensors", "config.json"]
    downloaded = run.path.with_name("downloaded")
    for name, source in files.items():
        (downloaded / name).parent.mkdir(parents=True, exist_ok=True)
        (downloaded / name).write_bytes(source.read_bytes())
    weights, step = Run.open(downloaded).weights("best")
    assert (step, len(weights["w"])) == (200, 250)


def test_offline_a_dataset_is_recorded_as_used_and_is_not_copied(run: Run) -> None:
    dataset = Dataset.open(demonstrations("CartPole-v1"))
    source = artifacts.demonstrations(dataset, dataset.episodes())
    logger = open_logger(run, "offline", console=False)
    logger.uses(source)
    logger.close()
    (fragment,) = fragments(run)
    (used,) = fragment.artifacts
    assert (used.name, used.type, used.use_after_commit) == ("random", "dataset", True)
    about = json.loads(used.metadata)
    assert about["protocol"] == dataset.metadata.spec.protocol
    assert (about["episodes"], about["policy"]) == (3, "random")
    local = sorted(Path(each.local_path) for each in used.manifest.contents)
    assert local == [dataset.path / "dataset.json", *dataset.files()]


def test_equal_episodes_are_the_same_version_of_a_dataset(tmp_path: Path) -> None:
    def digest(path: Path) -> str:
        dataset = Dataset.open(path)
        return artifacts.demonstrations(dataset, dataset.episodes()).metadata["digest"]

    before = demonstrations("CartPole-v1")
    copied = shutil.copytree(before, tmp_path / "copied")
    assert digest(copied) == digest(before)
    Dataset.open(copied).drop([0])
    assert digest(copied) != digest(before)


def test_a_large_dataset_stays_where_it_is(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wandb_run, "MOST_UPLOADED_BYTES", 100)
    dataset = Dataset.open(demonstrations("CartPole-v1"))
    logger = open_logger(run, "offline", console=False)
    logger.uses(artifacts.demonstrations(dataset, dataset.episodes()))
    logger.artifact(artifacts.model(run, {}))
    logger.close()
    (fragment,) = fragments(run)
    used, kept = fragment.artifacts
    files = [dataset.path / "dataset.json", *dataset.files()]
    assert sorted(each.ref for each in used.manifest.contents) == [f.as_uri() for f in files]
    assert all(each.digest for each in used.manifest.contents)
    assert not any(each.ref for each in kept.manifest.contents)


@pytest.mark.parametrize("name", ["my demos", "a/b", "größe", "x" * 300])
def test_any_name_can_be_an_artifact(run: Run, name: str) -> None:
    logger = open_logger(run, "offline", console=False)
    logger.uses(Artifact(name, "dataset", {"config.json": run.path / "config.json"}))
    logger.close()
    (fragment,) = fragments(run)
    assert re.fullmatch(r"[\w.-]{1,128}", fragment.artifacts[0].name, flags=re.ASCII)


def test_a_long_offline_run_loses_no_step(run: Run) -> None:
    logger = open_logger(run, "offline", console=False)
    for step in range(300):
        logger.metrics(step, {f"losses/{name}": step / 2 for name in "abcdefgh"})
    logger.close()
    (fragment,) = fragments(run)
    assert fragment.path.stat().st_size > 2 * 32768, "the file has several blocks"
    assert [row["global_step"] for row in fragment.history] == list(range(300))
    assert [row["losses/a"] for row in fragment.history] == [step / 2 for step in range(300)]


def test_a_resumed_offline_run_is_another_fragment_of_the_same_run(run: Run) -> None:
    open_logger(run, "offline", console=False, group="dqn-Pong").close()
    resumed = open_logger(run, "auto", console=False, group="dqn-Pong", start_step=500)
    resumed.metrics(510, {"charts/SPS": 1.0})
    resumed.close()
    before, after = fragments(run)
    assert before.run.run_group == after.run.run_group == "dqn-Pong"
    assert before.config["run_dir"] == after.config["run_dir"] == run.path.name
    assert before.run.run_id != after.run.run_id
    assert after.config["resumed_from"] == 500
    assert after.history[0]["global_step"] == 510


def test_an_offline_fragment_names_the_online_run_that_it_goes_on_from(run: Run) -> None:
    (run.path / "wandb-id").write_text("abc")
    open_logger(run, "offline", console=False, start_step=500).close()
    (fragment,) = fragments(run)
    assert fragment.config["fragment_of"] == "abc"


def test_disabled_wandb_leaves_no_trace(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wandb, "init", lambda **_: pytest.fail("wandb.init was called"))
    for mode in ("disabled", "auto"):
        monkeypatch.setenv("WANDB_MODE", "disabled")
        logger = open_logger(run, mode, console=False)
        logger.metrics(1, {"charts/SPS": 1.0})
        logger.video(1, "none.mp4")
        logger.histograms(1, lambda: pytest.fail("histograms were made"))
        logger.artifact(Artifact("none", "model", {"x": Path("none")}))
        logger.uses(Artifact("none", "dataset", {"x": Path("none")}))
        logger.summary({"x": 1})
        logger.close()
    assert not (run.path / "wandb").exists()


def test_an_unknown_wandb_mode_is_a_user_error(run: Run) -> None:
    with pytest.raises(UserError, match="auto, online, offline, disabled, not 'onlin'"):
        open_logger(run, "onlin")


class FakeRun:
    """A W&B run that works until it is told not to, and remembers what it was given."""

    url, id, settings = "https://wandb/x", "abc", SimpleNamespace(sync_dir="wandb/x")

    def __init__(self, fails: str = ""):
        self.fails, self.calls = fails, []
        self.summary = SimpleNamespace(update=self._method("summary"))

    def __getattr__(self, name: str) -> Callable[..., None]:
        return self._method(name)

    def _method(self, name: str) -> Callable[..., None]:
        def call(*args: Any, **kwargs: Any) -> None:
            self.calls.append((name, args, kwargs))
            if name == self.fails:
                raise RuntimeError(f"{name} broke\nwith details")

        return call


REPORTS: dict[str, Callable[[Logger, Path], None]] = {
    "log": lambda logger, _: logger.metrics(2, {"charts/SPS": 1.0}),
    "summary": lambda logger, _: logger.summary({"x": 1}),
    "finish": lambda logger, _: logger.close(),
}


@pytest.mark.parametrize("fails", REPORTS)
def test_a_wandb_that_raises_is_switched_off_with_one_message_and_training_goes_on(
    run: Run, fails: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake = FakeRun(fails)
    monkeypatch.setattr(wandb, "login", lambda **_: True)
    monkeypatch.setattr(wandb, "init", lambda **_: fake)
    logger = open_logger(run, "online")
    REPORTS[fails](logger, run.path / "best")
    given = len(fake.calls)
    if fails != "finish":
        for report in REPORTS.values():
            report(logger, run.path / "best")
        assert metrics_of(run)[-1]["step"] == 2
    logger.close()
    assert len(fake.calls) == given
    assert capsys.readouterr().out.count(f"W&B is off from here on: {fails} broke\n") == 1


def test_a_video_that_cannot_be_logged_does_not_stop_training(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    logger = open_logger(run, "offline")
    logger.video(1, run.path / "missing.mp4")
    logger.metrics(2, {"charts/SPS": 1.0})
    logger.close()
    assert capsys.readouterr().out.count("W&B is off from here on") == 1
    assert metrics_of(run)[-1]["step"] == 2


def test_a_wandb_that_cannot_start_is_off_with_one_message(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(**_: Any) -> None:
        raise OSError("no room")

    monkeypatch.setattr(wandb, "init", refuse)
    logger = open_logger(run, "offline")
    logger.metrics(1, {"charts/SPS": 1.0})
    logger.close()
    assert capsys.readouterr().out.count("W&B is off: no room") == 1


def test_a_missing_wandb_is_off_with_one_message(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    open_logger(run, "auto").close()
    assert capsys.readouterr().out.count("W&B is off: ") == 1


def test_auto_is_offline_when_nobody_is_logged_in(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    open_logger(run, "auto").close()
    assert len(fragments(run)) == 1
    assert "log in" not in capsys.readouterr().out


def test_online_without_a_login_says_so_and_is_offline(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    open_logger(run, "online").close()
    assert len(fragments(run)) == 1
    assert "not logged in to W&B: run `wandb login`" in capsys.readouterr().out


def online(monkeypatch: pytest.MonkeyPatch, fake: FakeRun) -> list[dict[str, Any]]:
    """Whoever asks for W&B gets `fake`; what was asked for."""
    asked: list[dict[str, Any]] = []
    monkeypatch.setattr(wandb, "login", lambda **_: True)
    monkeypatch.setattr(wandb, "init", lambda **options: asked.append(options) or fake)
    return asked


def test_online_resumes_the_same_wandb_run(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = online(monkeypatch, FakeRun())
    open_logger(run, "auto", console=False).close()
    open_logger(run, "online", console=False, start_step=500).close()
    first, second = asked
    assert first["mode"] == second["mode"] == "online"
    assert "id" not in first
    assert (second["id"], second["resume"]) == ("abc", "allow")
    assert second["config"]["resumed_from"] == 500
    assert "fragment_of" not in second["config"]


def test_a_run_that_goes_on_online_is_linked_to_its_offline_fragment(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_logger(run, "offline", console=False).close()
    asked = online(monkeypatch, FakeRun())
    open_logger(run, "online", console=False, start_step=500).close()
    (second,) = asked
    (before,) = fragments(run)
    assert "id" not in second
    assert before.config["run_dir"] == second["config"]["run_dir"]
    assert second["config"]["resumed_from"] == 500


def test_online_each_best_model_is_a_version_and_sources_are_inputs(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = FakeRun()
    online(monkeypatch, fake)
    logger = open_logger(run, "online", console=False)
    logger.uses(artifacts.model(run, {}))
    logger.artifact(artifacts.model(run, {"score": 1.0}), ("best",))
    logger.artifact(artifacts.model(run, {"score": 2.0}), ("best", "final"))
    logger.close()
    calls = [(name, args, named) for name, args, named in fake.calls if "artifact" in name]
    (used, (source,), _), (_, (made,), first), (_, _, second) = calls
    assert used == "use_artifact"
    assert (source.name, source.type) == (made.name, made.type) == (run.path.name, "model")
    assert source.digest == made.digest, "equal files are the same version"
    assert first == {"aliases": ["latest", "best"]}
    assert second == {"aliases": ["latest", "best", "final"]}


@pytest.mark.parametrize("fails", ["use_artifact", "log_artifact"])
def test_files_that_wandb_refuses_do_not_switch_it_off(
    run: Run, fails: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake = FakeRun(fails)
    online(monkeypatch, fake)
    logger = open_logger(run, "online")
    for report in (logger.uses, logger.artifact):
        report(artifacts.model(run, {}))
    logger.uses(Artifact("gone", "dataset", {"x": run.path / "gone"}))
    logger.summary({"score": 1})
    logger.close()
    printed = capsys.readouterr().out
    assert printed.count(f"W&B gets no model {run.path.name}: {fails} broke\n") == 1
    assert printed.count("W&B gets no dataset gone: ") == 1
    assert "is off" not in printed
    assert [name for name, *_ in fake.calls][-2:] == ["summary", "finish"]


def test_an_offline_run_without_its_weights_is_finished_all_the_same(run: Run) -> None:
    logger = open_logger(run, "offline", console=False)
    logger.artifact(artifacts.model(run, {}))
    shutil.rmtree(run.path / "best")
    logger.close(exit_code=1)
    (fragment,) = fragments(run)
    assert (fragment.artifacts, fragment.exit_code) == ([], 1)


UNREACHABLE = """
import sys, time
from agents.core.logging import log, wandb_run
from agents.core.runs.run import Run
wandb_run.INIT_SECONDS = 2.0
for mode in sys.argv[2:]:
    start = time.monotonic()
    run = Run.create(sys.argv[1], mode, "dqn", 1)
    logger = log.Logger(run, {}, total_steps=10, wandb_mode=mode)
    logger.metrics(1, {"charts/SPS": 1.0})
    logger.close()
    print("seconds", time.monotonic() - start)
"""


def test_without_a_network_a_run_is_offline_within_seconds(tmp_path: Path) -> None:
    environment = os.environ | {"WANDB_API_KEY": "0" * 40, "WANDB_BASE_URL": "http://127.0.0.1:9"}
    command = [sys.executable, "-c", UNREACHABLE, str(tmp_path / "runs"), "auto", "online"]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=240, check=True
    )
    assert done.stdout.count("W&B cannot be reached: Timed out") == 2
    for path in (tmp_path / "runs").iterdir():
        (fragment,) = fragments(Run(path, "dqn"))
        assert fragment.history[0]["global_step"] == 1
    # W&B itself waits for 90 seconds.
    seconds = re.findall(r"^seconds (\S+)$", done.stdout, re.MULTILINE)
    assert len(seconds) == 2
    assert all(float(each) < 60 for each in seconds)


def test_close_is_idempotent(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeRun()
    monkeypatch.setattr(wandb, "init", lambda **_: fake)
    logger = open_logger(run, "offline")
    logger.close(exit_code=1)
    logger.close()
    finished = [call for call in fake.calls if call[0] == "finish"]
    assert finished == [("finish", (), {"exit_code": 1})]


INTERRUPTED = """
import sys, time
from agents.core.logging.log import Logger
from agents.core.runs.run import Run
logger = Logger(Run.create(sys.argv[1], "Pong", "dqn", 1), {}, total_steps=10, wandb_mode="offline")
try:
    for step in range(10_000):
        logger.metrics(step, {"charts/SPS": 1.0})
        time.sleep(0.02)
except KeyboardInterrupt:
    logger.close(exit_code=130)
finally:
    logger.close()
    print("closed")
"""


def test_an_interrupted_run_is_closed_and_whole(tmp_path: Path) -> None:
    command = [sys.executable, "-u", "-c", INTERRUPTED, str(tmp_path)]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, text=True, start_new_session=True, **pipes) as process:
        assert process.stdout
        for line in process.stdout:
            if line.startswith("step 5 "):
                break
        os.killpg(process.pid, signal.SIGINT)  # As a terminal does: W&B's process gets it too.
        out, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    assert out.endswith("closed\n")
    (path,) = tmp_path.iterdir()
    run = Run(path, "dqn")
    (fragment,) = fragments(run)
    assert fragment.exit_code == 130
    steps = [record["step"] for record in metrics_of(run)]
    assert steps[:6] == [0, 1, 2, 3, 4, 5]
    assert abs(len(fragment.history) - len(steps)) <= 1


def test_wandb_is_imported_only_when_it_is_used() -> None:
    code = "import sys, agents.core.logging.log; sys.exit('wandb' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
