"""Demonstrations in minibatches: what is drawn, moved, weighted and left out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import demonstrations, read_metrics, run_tiny, tiny
from hypothesis import given
from hypothesis import strategies as st
from support.devices import CPU
from support.refusals import refusal

import envs
from agents.bc import PRESETS
from agents.core.data.augmentation import random_shift, shift
from agents.core.data.demonstrations import DemoLoader, Demonstrations, agreement, load, subset
from agents.core.nets.distributions import Categorical
from agents.core.optimize.transfer import part
from agents.core.runs.run import Run
from agents.core.training.building import spaces_of
from agents.core.training.launch import train
from agents.core.types.batches import tensors
from demos import Dataset
from demos.frames import decode
from envs import UserError


def demonstrations_of(env_id: str) -> Demonstrations:
    episodes = Dataset.open(demonstrations(env_id)).episodes()
    spec = episodes[0].spec
    return Demonstrations(decode(episodes, spec), episodes, spaces_of(spec), CPU)


@pytest.mark.parametrize("env_id", ["Pong", "CartPole-v1"])
def test_observations_and_actions_are_those_of_the_episodes(env_id: str) -> None:
    source, at = demonstrations_of(env_id), 0
    for episode in Dataset.open(demonstrations(env_id)).episodes():
        life = [obs for obs, *_ in envs.replay(episode.tape)][: len(episode)]
        index = torch.arange(at, at + len(episode))
        np.testing.assert_array_equal(source.observations(index).numpy(), np.stack(life))
        np.testing.assert_array_equal(source.labels(index)[:, 0].numpy(), episode.actions)
        at += len(episode)
    assert at == source.size


def minibatches(source: Demonstrations, **changed: object) -> DemoLoader:
    settings = {"batch_size": 16, "seed": 1, "weight_N": torch.arange(source.size).float()}
    still = {"shift_pixels": 0, "num_features": 5, "dropout": 0.0}
    return DemoLoader(source, **(settings | still | changed))  # pyright: ignore


def test_an_epoch_shows_every_step_once_and_each_in_another_order() -> None:
    batches = minibatches(demonstrations_of("CartPole-v1"))
    epochs = [
        torch.cat([batches.draw().weight for _ in range(batches.per_epoch)]) for _ in range(2)
    ]
    for drawn in epochs:
        assert len(drawn.unique()) == len(drawn) == batches.per_epoch * 16
    assert not torch.equal(*epochs)


def test_what_is_drawn_depends_on_the_seed_and_the_count_alone() -> None:
    source = demonstrations_of("toy/Catch-v0")
    first, second = (minibatches(source, dropout=0.5, shift_pixels=2) for _ in range(2))
    drawn = [first.draw() for _ in range(5)][-1]
    second.drawn = 4
    again, other = second.draw(), minibatches(source, seed=2, dropout=0.5).draw()
    for name, value in tensors(drawn).items():
        assert torch.equal(value, getattr(again, name)), name
    assert not torch.equal(drawn.kept_BTF, other.kept_BTF)


def test_a_dataset_smaller_than_a_minibatch_is_one_minibatch() -> None:
    source = demonstrations_of("toy/Catch-v0")
    batches = minibatches(source, batch_size=10_000)
    assert batches.draw().size == source.size == batches.batch_size


def test_dropout_leaves_out_its_share_and_scales_the_rest() -> None:
    source = demonstrations_of("CartPole-v1")
    kept_BTF = minibatches(source, dropout=0.25, num_features=2_000).draw().kept_BTF
    assert set(kept_BTF.unique().tolist()) == {0.0, float(np.float32(1 / 0.75))}
    assert kept_BTF.mean().item() == pytest.approx(1.0, abs=0.02)
    assert minibatches(source).draw().kept_BTF.eq(1).all()


def test_balanced_actions_count_the_same() -> None:
    source = demonstrations_of("Pong")
    weight_N, action_N = source.balancing(num_actions=9), source.action_NK[:, 0]
    sums = [weight_N[action_N == action].sum().item() for action in action_N.unique()]
    assert sums == pytest.approx([source.size / len(sums)] * len(sums), rel=1e-4)
    assert weight_N.mean().item() == pytest.approx(1.0)


def test_an_image_moves_down_and_right_and_zeros_come_in() -> None:
    image = torch.arange(1, 10).view(1, 3, 3)
    assert shift(image, 1, 0).tolist() == [[[0, 0, 0], [1, 2, 3], [4, 5, 6]]]
    assert shift(image, 0, -1).tolist() == [[[2, 3, 0], [5, 6, 0], [8, 9, 0]]]
    assert shift(image, 0, 0).tolist() == image.tolist()


@given(st.integers(1, 40), st.integers(1, 4))
def test_every_image_of_a_batch_is_moved_within_bounds(size: int, most: int) -> None:
    images = torch.randint(1, 255, (size, 2, 9, 9), dtype=torch.uint8)
    moved = random_shift(images, most, torch.Generator().manual_seed(size))
    ways = [(down, right) for down in range(-most, most + 1) for right in range(-most, most + 1)]
    for image, after in zip(images, moved, strict=True):
        assert any(torch.equal(shift(image, *way), after) for way in ways)
    assert random_shift(images, 0, torch.Generator()) is images


def test_agreement_is_of_whole_actions_and_of_variance() -> None:
    chosen, done = torch.tensor([[0, 1], [1, 1], [2, 0]]), torch.tensor([[0, 1], [1, 0], [2, 0]])
    assert agreement(chosen, done).item() == pytest.approx(2 / 3)
    done = torch.tensor([[0.0], [2.0]])
    assert agreement(done, done).item() == 1.0
    assert agreement(torch.ones(2, 1), done).item() == 0.0  # The mean explains nothing.


def test_a_smoothed_target_is_spread_over_all_actions() -> None:
    # 0.9 log 0.5 + 0.1 (log 0.5 + 2 log 0.25) / 3
    policy = Categorical((torch.tensor([[0.5, 0.25, 0.25]]).log(),))
    action = torch.tensor([[0]])
    assert policy.smoothed_log_prob(action, 0.1).item() == pytest.approx(-0.7393569)
    assert torch.equal(policy.smoothed_log_prob(action, 0.0), policy.log_prob(action))


def test_a_larger_fraction_holds_a_smaller_one() -> None:
    episodes = Dataset.open(demonstrations("toy/Catch-v0", 20)).episodes()
    parts = [{e.seed for e in subset(episodes, share, 0, seed=3)} for share in (0.01, 0.25, 1.0)]
    assert [len(part) for part in parts] == [1, 5, 20]
    assert parts[0] < parts[1] < parts[2]


def test_held_out_episodes_are_not_learned_from() -> None:
    config = PRESETS["control"].__class__(demos=str(demonstrations("toy/Catch-v0", 20)))
    spec = envs.spec("toy/Catch-v0")
    lesson = load(config, spec, spaces_of(spec), CPU)
    assert lesson.held_out is not None
    episodes = Dataset.open(demonstrations("toy/Catch-v0", 20)).episodes()
    assert lesson.training.size + lesson.held_out.size == sum(map(len, episodes))
    assert lesson.held_out.size == sum(map(len, episodes)) // 5  # Catch's are all as long.
    assert lesson.reference_scores == (0.0, np.mean([e.score for e in episodes]))


def refused(*args: str) -> str:
    return refusal(lambda: train("bc", [*args, "--wandb", "disabled"]))


def test_bad_demonstrations_are_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = ("--runs-dir", str(tmp_path / "runs"))
    catch = str(demonstrations("toy/Catch-v0"))
    empty = tmp_path / "empty"
    Dataset.create(empty, Dataset.open(demonstrations("toy/Catch-v0")).metadata)
    for env_id, demos, message in [
        ("toy/Catch-v0", "nowhere", "no dataset at 'nowhere' (shipped are:"),
        ("toy/Catch-v0", "auto", "no demonstrations of toy/Catch-v0 are shipped"),
        ("CartPole-v1", catch, "is of another environment: env_id is 'toy/Catch-v0' there"),
        ("toy/Catch-v0", str(empty), "empty has no episodes"),
    ]:
        assert message in refused("--env", env_id, "--demos", demos, *runs)
    assert not (tmp_path / "runs").exists()


def test_a_damaged_episode_is_named_before_anything_is_learned(tmp_path: Path) -> None:
    source = Dataset.open(demonstrations("toy/Catch-v0"))
    dataset = Dataset.create(tmp_path / "demos", source.metadata)
    paths = [dataset.append(episode) for episode in source.episodes()]
    paths[1].write_bytes(paths[1].read_bytes()[:-9])
    args = [
        "--env",
        "toy/Catch-v0",
        "--demos",
        str(dataset.path),
        "--runs-dir",
        str(tmp_path / "r"),
    ]
    with pytest.raises(UserError, match=r"episode 1 of .*demos is damaged .*truncated or changed"):
        train("bc", args)
    assert not (tmp_path / "r").exists()


def test_a_resumed_run_refuses_other_demonstrations(tmp_path: Path) -> None:
    source, copy = Dataset.open(demonstrations("toy/Catch-v0")), tmp_path / "demos"
    dataset = Dataset.create(copy, source.metadata)
    for episode in source.episodes():
        dataset.append(episode)
    args = ("--env", "toy/Catch-v0", "--total-steps", "64", "--demos", str(copy))
    run = run_tiny(tmp_path / "runs", "bc", *args)
    dataset.append(source.episodes()[0])
    with pytest.raises(UserError, match="must be the episodes of the run"):
        train("bc", ["--resume", str(run.path), "--total-steps", "128"])


def test_patience_ends_a_run_that_no_longer_improves(tmp_path: Path) -> None:
    often = ("--validate-every-steps", "64", "--patience", "2", "--learning-rate", "0.05")
    args = ("--env", "toy/Catch-v0", "--total-steps", "1000000", *often)
    run = run_tiny(tmp_path, "bc", *args)  # Random play cannot be foreseen.
    step, state, _ = run.restore()
    assert 64 * 3 <= step < 1_000_000 and state["in_vain"] == 2


def test_patience_can_count_evaluations_by_their_return(tmp_path: Path) -> None:
    often = ("--eval-every-steps", "64", "--eval-episodes", "2", "--stop-by", "return")
    args = ("--env", "toy/Catch-v0", "--total-steps", "1000000", "--patience", "2", *often)
    run = run_tiny(tmp_path, "bc", *args)
    step, state, _ = run.restore()
    scores = [row["eval/return_mean"] for row in read_metrics(run) if "eval/return_mean" in row]
    assert step < 1_000_000
    assert state["in_vain"] == 2
    assert max(scores[-2:]) <= max(scores[:-2]) == state["best_return"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("--stop-by", "return", "--eval-every-steps", "0"),
            "--eval-every-steps 0: must be above 0 with --patience 2 and --stop-by return",
        ),
        (
            ("--validate-every-steps", "0"),
            "--validate-every-steps 0: must be above 0 with --patience 2 and --stop-by loss",
        ),
    ],
)
def test_patience_without_a_measurement_is_refused(
    tmp_path: Path, words: tuple[str, ...], message: str
) -> None:
    catch = ("--env", "toy/Catch-v0", "--demos", str(demonstrations("toy/Catch-v0")))
    runs = ("--runs-dir", str(tmp_path / "runs"))
    assert message in refused(*catch, *runs, "--patience", "2", *words)


@pytest.mark.parametrize("algo", ["ppo", "dqn", "bc"])
def test_training_begins_with_the_weights_of_a_clone(
    tmp_path: Path, algo: str, capsys: pytest.CaptureFixture[str]
) -> None:
    shape = ("--hidden", "32", "--layer-norm", "--activation", "relu")
    steps = ("--total-steps", "64", "--eval-every-steps", "64", "--eval-episodes", "1")
    clone = run_tiny(tmp_path / "clone", "bc", "--env", "toy/Catch-v0", *steps, *shape)
    begin = ("--init-from", str(clone.path), "--learning-rate", "1e-12", "--weight-decay", "0")
    if algo == "ppo":
        begin += ("--separate-value",)
    run = run_tiny(tmp_path / "runs", algo, "--env", "toy/Catch-v0", *steps, *shape, *begin)
    assert "begins where another ended" in capsys.readouterr().out
    theirs = {part(name): value for name, value in clone.weights("best")[0].items()}
    taken = [
        name
        for name, value in run.weights("last")[0].items()
        if part(name) in theirs and torch.allclose(theirs[part(name)], value, atol=1e-6)
    ]
    torso, hidden, head = (
        sum(name.startswith(each) for name in theirs) for each in ("torso", "hidden", "policy_head")
    )
    expected = {
        "ppo": 2 * (torso + hidden) + head,
        "dqn": torso + 2 * hidden,
        "bc": torso + hidden + head,
    }
    assert len(taken) == expected[algo]


def test_a_run_with_nothing_in_common_cannot_be_begun_with(tmp_path: Path) -> None:
    steps = ("--total-steps", "64", "--eval-every-steps", "64", "--eval-episodes", "1")
    clone = run_tiny(tmp_path / "clone", "bc", "--env", "CartPole-v1", *steps)
    args = ["--init-from", str(clone.path), "--hidden", "20", "--runs-dir", str(tmp_path / "runs")]
    with pytest.raises(UserError, match="no part of its network has the shape of ours"):
        train("bc", [*tiny("bc", "toy/Catch-v0"), *args])
    with pytest.raises(UserError, match="no run directory at nowhere"):
        train("bc", [*tiny("bc", "toy/Catch-v0"), "--init-from", "nowhere"])


def test_the_share_of_the_demonstrators_return_is_reported(tmp_path: Path) -> None:
    scored = ("--final-eval-episodes", "2", "--total-steps", "64")
    run = run_tiny(tmp_path, "bc", "--env", "CartPole-v1", *scored)
    score = json.loads((run.path / "eval.json").read_text())
    episodes = Dataset.open(demonstrations("CartPole-v1")).episodes()
    expected = score["eval/return_mean"] / np.mean([e.score for e in episodes])
    assert score["eval/of_demonstrator"] == pytest.approx(expected)
    assert isinstance(Run.open(run.path).config()["config"]["demos"], str)


LARGER_THAN_MEMORY = """
import resource, sys
import numpy as np, torch
import envs
from pathlib import Path
from agents.core.training.building import spaces_of
from agents.core.data.demonstrations import Demonstrations, DemoLoader
from demos import record
from demos.frames import decode
from demos.policies import RandomPolicy

torch.set_num_threads(1)
spec = envs.spec("noisy_toy:Large-v0")
policy = RandomPolicy(envs.spaces_of(spec)[1], seed=0)
episodes = list(record(spec, policy, episodes=40, seed=0, num_envs=2, num_threads=1))
status = Path("/proc/self/status").read_text()
(kilobytes,) = (line.split()[1] for line in status.splitlines() if line.startswith("VmData"))
allowed = int(kilobytes) * 1024 + 160_000_000
resource.setrlimit(resource.RLIMIT_DATA, (allowed, allowed))
frames = decode(episodes, spec, Path(sys.argv[1]))
assert frames.data.nbytes > 300_000_000
try:
    np.ones_like(frames.data)
except MemoryError:
    pass
else:
    raise AssertionError("memory is not limited")
source = Demonstrations(frames, episodes, spaces_of(spec), torch.device("cpu"))
batches = DemoLoader(
    source, batch_size=32, seed=1, weight_N=torch.ones(source.size),
    shift_pixels=0, num_features=4, dropout=0.0,
)
for _ in range(batches.per_epoch):
    assert batches.draw().obs_BL.float().mean() > 100
print("trained")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits memory as Linux does")
def test_a_dataset_larger_than_memory_trains(tmp_path: Path) -> None:
    """All 315 MB of frames in a process that may take 160 MB."""
    command = [sys.executable, "-c", LARGER_THAN_MEMORY, str(tmp_path)]
    tests = Path(__file__).parent
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(tests), str(tests.parent)])}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300)
    assert done.stdout == "trained\n", done.stderr
