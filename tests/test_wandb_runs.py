"""Whole runs at W&B: each kind of agent tells it all of itself."""

from __future__ import annotations

import json
import shutil
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import module_of, run_tiny, tiny
from PIL import Image
from wandb_files import Fragment, fragments

from agents.core.logging.diagnostics import flat
from agents.core.runs.run import Run
from agents.core.training.launch import train
from agents.core.training.reporting import short_name
from envs import spec

pytestmark = pytest.mark.usefixtures("a_person_without_wandb_settings")


def lived(tmp_path: Path, algo: str, env_id: str, *args: str) -> tuple[Run, Fragment]:
    """A small run of the real command line with W&B offline, and what W&B has of it."""
    common = ["--runs-dir", str(tmp_path / algo), "--wandb", "offline", "--num-threads", "1"]
    short = ["--total-steps", "512", "--eval-every-steps", "256", "--eval-episodes", "2"]
    score = ["--final-eval-episodes", "2", "--tags", "mine"]
    command = [*common, *short, *score, *tiny(algo, env_id), *args]
    assert train(module_of(algo), command) == 0
    (path,) = (tmp_path / algo).iterdir()
    run = Run.open(path)
    (fragment,) = fragments(run)
    return run, fragment


PARTS = {
    "iqn": ({"torso", "hidden", "head", "embedding"}, {"q_values"}),
    "dqn": ({"torso", "hidden", "head"}, {"q_values"}),
    "qr_dqn": ({"torso", "hidden", "head"}, {"q_values"}),
    "ppo-lstm": (
        {"torso", "hidden", "core", "policy_head", "value_head"},
        {"values", "entropy", "log_probs_of_mode"},
    ),
    "bc": ({"torso", "hidden", "policy_head"}, {"entropy", "log_probs_of_mode"}),
    "sac": ({"torso", "hidden", "head"}, {"entropy", "log_probs_of_mode"}),
}


@pytest.mark.parametrize("algo", PARTS)
def test_a_run_tells_wandb_all_of_itself(algo: str, tmp_path: Path) -> None:
    run, fragment = lived(tmp_path, algo, "toy/Catch-v0")
    name, kind = module_of(algo), "imitate" if algo == "bc" else "train"
    assert (fragment.run.run_group, fragment.run.job_type) == (f"{name}-toy-Catch-v0", kind)
    assert list(fragment.run.tags)[:3] == [name, "toy-Catch-v0", "cpu"]
    assert fragment.run.tags[-1] == "mine"
    assert fragment.config["env_spec"] == run.config()["env_spec"]
    assert fragment.config["hardware"]["device"] == "cpu"
    assert fragment.config["protocol"] == spec("toy/Catch-v0").protocol

    shown = {key for row in fragment.history for key in row}
    parts, said = PARTS[algo]
    inside = {f"{of}/{part}" for of in ("weights", "gradients") for part in parts}
    found = {key.removesuffix("/bins") for key in shown if key.endswith("/bins")}
    assert found == {f"histograms/{each}" for each in inside | said}
    assert {"video/path", "filmstrip/path"} <= shown
    strips = [each for each in (run.path / "videos").glob("*.png") if each.stem.isdigit()]
    assert len(strips) == len(list((run.path / "videos").glob("*.mp4"))) > 0
    width, height = Image.open(strips[0]).size
    assert width > 4 * height, "pictures are side by side"

    summary, score = fragment.summary, json.loads((run.path / "eval.json").read_text())
    assert summary["score"] == score["eval/return_mean"]
    assert summary["score_step"] == score["checkpoint_step"]
    assert summary["total_steps"] == summary["total_frames"] == 512
    assert summary["updates"] > 0
    assert summary["peak_memory_gb"] > 0.05
    speed = summary["total_steps"] / summary["wall_clock_seconds"]
    assert summary["steps_per_second"] == pytest.approx(speed)

    *used, kept = fragment.artifacts
    assert (kept.name, kept.type) == (run.path.name, "model")
    assert sorted(kept.aliases) == ["best", "final", "latest"]
    assert [(each.type, each.use_after_commit) for each in used] == (
        [("dataset", True)] if algo == "bc" else []
    )
    if algo == "bc":
        assert json.loads(used[0].metadata) == fragment.config["dataset"]
        assert fragment.config["dataset"]["name"] == "random"
        assert fragment.summary["of_demonstrator"] == score["eval/of_demonstrator"]


def test_a_run_that_begins_with_anothers_weights_says_whose(tmp_path: Path) -> None:
    first, before = lived(tmp_path, "bc", "toy/Catch-v0")
    settings = ["--init-from", str(first.path), "--group", "tuned"]
    _, after = lived(tmp_path, "ppo", "toy/Catch-v0", *settings)
    assert after.run.run_group == "tuned"
    assert after.config["initial_model"]["run"] == first.path.name
    used, kept = after.artifacts
    assert (used.name, used.type, used.use_after_commit) == (first.path.name, "model", True)
    assert used.digest == before.artifacts[-1].digest, "it is the version that the other run made"
    assert not kept.use_after_commit


def test_a_resumed_run_needs_no_longer_the_run_that_it_began_with(tmp_path: Path) -> None:
    first = run_tiny(tmp_path / "first", "bc", "--env", "toy/Catch-v0", "--total-steps", "64")
    first.best(64, 0.0, first.weights("last")[0], {})
    begun = ["--env", "toy/Catch-v0", "--total-steps", "64", "--init-from", str(first.path)]
    second = run_tiny(tmp_path / "second", "a2c", *begun)
    shutil.rmtree(first.path)
    assert train("a2c", ["--resume", str(second.path), "--total-steps", "128"]) == 0


def test_a_film_is_shown_at_the_step_of_the_weights_that_play_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also the film of the final score, whose weights are not the last ones here."""
    keep = Run.best

    def early(self: Run, step: int, *rest: Any) -> bool:
        return step > 256 or keep(self, step, *rest)

    monkeypatch.setattr(Run, "best", early)
    run, fragment = lived(tmp_path, "ppo", "toy/Catch-v0")
    films = [row for row in fragment.history if "video/path" in row]
    assert [row["global_step"] for row in films] == [256, 512, 256]
    for row in films[1:]:
        film = run.path / "videos" / f"{row['global_step']:012d}.mp4"
        assert row["video/sha256"] == sha256(film.read_bytes()).hexdigest()


def test_names_are_those_that_people_use() -> None:
    ids = ("Pong", "PongNoFrameskip-v4", "toy/Catch-v0", "CartPole-v1")
    names = [short_name(spec(env_id)) for env_id in ids]
    assert names == ["Pong", "PongNoFrameskip-v4", "toy-Catch-v0", "CartPole-v1"]


def test_histograms_leave_out_what_is_not_finite() -> None:
    values = [torch.tensor([[1.0, float("nan")], [float("inf"), 2.0]]), torch.tensor(3.0)]
    assert flat(values).tolist() == [1.0, 2.0, 3.0]


def test_histograms_of_values_that_hardly_differ_have_all_bins() -> None:
    one = torch.tensor(1.0)
    counts, _ = np.histogram(flat([one, torch.nextafter(one, one + 1)]), 64)
    assert counts.sum() == 2
