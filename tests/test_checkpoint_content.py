"""A checkpoint may hold anything under right checksums: it fits, or it is passed over."""

from __future__ import annotations

import json
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import QUIET, run_tiny, tiny

from agents import dqn
from agents.core.runs import snapshots
from agents.core.runs.run import Run
from agents.core.system.codec import all_like, join, like, split
from agents.core.training.demonstrator import load_policy
from agents.core.training.launch import train
from envs import UserError

ENV_ID = "CartPole-v1"

EVERY = ("--checkpoint-every-steps", "200", "--total-steps", "400")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    runs = tmp_path_factory.mktemp("runs")
    every = ("--env", ENV_ID, *EVERY, "--eval-every-steps", "200", "--eval-episodes", "1")
    return {algo: run_tiny(runs, algo, *every).path for algo in ("dqn", "ppo-lstm", "bc")}


def newest(run: Path) -> Path:
    return snapshots.newest_first(run / "checkpoints")[0]


def rewrite(snapshot: Path, change: Callable[[Any, dict[str, torch.Tensor]], Any]) -> None:
    """Change state and weights of a snapshot; its checksums are right again."""
    manifest = snapshots.read_manifest(snapshot)
    tensors = {name: snapshots.read_tensors(snapshot, manifest, name) for name in manifest["files"]}
    del manifest["files"]
    step = manifest.pop("step")
    state: Any = {}
    if "state" in manifest:
        state = join(manifest["state"], tensors["state.safetensors"])
    change(state, tensors["weights.safetensors"])
    if "state" in manifest:
        manifest["state"], tensors["state.safetensors"] = split(state)
    aside = snapshot.parents[1] / "aside"
    snapshots.save(aside, step, tensors, manifest, keep=1)
    shutil.rmtree(snapshot)
    (aside / snapshot.name).rename(snapshot)
    aside.rmdir()


def put(*path: Any, value: Any) -> Callable[[Any, Any], None]:
    """A change that puts a value at a place in the state."""

    def change(state: Any, weights: Any) -> None:
        for key in path[:-1]:
            state = state[key]
        state[path[-1]] = value(state[path[-1]]) if callable(value) else value

    return change


REPLAY = ("agent", "replay")

WRONG = {
    "best score NaN": ("dqn", put("best_score", value=float("nan"))),
    "best score text": ("dqn", put("best_score", value="high")),
    "owed a number": ("dqn", put("owes_evaluation", value=3)),
    "counter text": ("dqn", put("agent", "counters", 0, value="1")),
    "counter negative": ("dqn", put("agent", "counters", 1, value=-1)),
    "updates for ever": ("dqn", put("agent", "counters", 2, value=1e300)),
    "target missing": ("dqn", lambda state, _: state["agent"]["target"].popitem()),
    "target NaN": (
        "dqn",
        lambda state, _: next(iter(state["agent"]["target"].values())).fill_(float("nan")),
    ),
    "moment shape": (
        "dqn",
        put("agent", "learner", "policy", "0", "exp_avg", value=lambda moment: moment[:-1]),
    ),
    "moment missing": (
        "dqn",
        lambda state, _: state["agent"]["learner"]["policy"]["1"].pop("exp_avg"),
    ),
    "moments missing": ("dqn", lambda state, _: state["agent"]["learner"]["policy"].pop("1")),
    "action": ("dqn", put(*REPLAY, "fields", "action", value=lambda action: action + 99)),
    "reward type": ("dqn", put(*REPLAY, "fields", "reward", value=lambda reward: reward.long())),
    "field missing": ("dqn", lambda state, _: state["agent"]["replay"]["fields"].pop("age")),
    "priority negative": (
        "dqn",
        put(*REPLAY, "priorities", "weight", value=lambda weight: weight - 5),
    ),
    "greatest priority": (
        "dqn",
        put(*REPLAY, "max_priority", value=torch.tensor(float("inf"))),
    ),
    "frames negative": ("dqn", put(*REPLAY, "written", value=lambda written: -written)),
    "frames too many": ("dqn", put(*REPLAY, "written", value=lambda written: written + 2**60)),
    "chunk of the future": (
        "dqn",
        put(*REPLAY, "chunks", 0, "last", value=lambda last: [10**9 for _ in last]),
    ),
    "chunk backwards": (
        "dqn",
        put(*REPLAY, "chunks", 0, "first", value=lambda first: [10**9 for _ in first]),
    ),
    "chunks no list": ("dqn", put(*REPLAY, "chunks", value=5)),
    "returns texts": ("dqn", put("returns", value=["x"])),
    "tape index": ("dqn", put("env", "tape_index", value=lambda index: [-7 for _ in index])),
    "tape seed": ("dqn", put("env", "seed", value=-1)),
    "tape steps text": ("dqn", put("env", "tape_steps", value="1")),
    "tape steps none": ("dqn", put("env", "tape_steps", value=0)),
    "tape lengths": ("dqn", put("env", "tape_lengths", value=lambda many: [2**40 for _ in many])),
    "weights shape": ("dqn", lambda _, weights: weights.update(first(weights, lambda w: w[:-1]))),
    "weights type": ("dqn", lambda _, weights: weights.update(first(weights, lambda w: w.long()))),
    "weights NaN": ("dqn", lambda _, weights: weights.update(first(weights, lambda w: w / 0))),
    "memory shape": ("ppo-lstm", put("state", "memory", value=lambda memory: memory[:, :-1])),
    "memory infinite": (
        "ppo-lstm",
        put("state", "memory", value=lambda memory: memory + float("inf")),
    ),
    "steps negative": ("ppo-lstm", put("agent", "steps", value=-5)),
    "running sums": (
        "ppo-lstm",
        put("agent", "rollout", "scaler", "running", value=lambda sums: sums[:-1]),
    ),
    "moments negative": (
        "ppo-lstm",
        put("agent", "rollout", "scaler", "moments", value=lambda moments: moments - 9),
    ),
    "batches": ("bc", put("agent", "batches", value=-1)),
    "least loss": ("bc", put("least_loss", value="0")),
    "in vain": ("bc", put("in_vain", value=1.5)),
}


def first(weights: dict[str, torch.Tensor], change: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    name = sorted(weights)[0]
    return {name: change(weights[name])}


@pytest.mark.parametrize("case", WRONG)
def test_a_checkpoint_of_wrong_content_is_passed_over(
    made: dict[str, Path], tmp_path: Path, capfd: pytest.CaptureFixture[str], case: str
) -> None:
    algo, change = WRONG[case]
    run = Path(shutil.copytree(made[algo], tmp_path / "R"))
    rewrite(newest(run), change)
    assert train(algo.partition("-")[0], ["--resume", str(run), "--total-steps", "416"]) == 0
    said = capfd.readouterr().err
    assert said.count("damaged checkpoint passed over") >= 1
    assert "Traceback" not in said
    # It goes on from the one before.
    assert newest(run).name > "000000000400"


def test_what_was_saved_is_not_passed_over(
    made: dict[str, Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for algo, path in made.items():
        run = Path(shutil.copytree(path, tmp_path / algo))
        rewrite(newest(run), lambda state, weights: None)
        assert train(algo.partition("-")[0], ["--resume", str(run), "--total-steps", "416"]) == 0
    assert "damaged" not in capfd.readouterr().err


def test_a_replay_of_which_nothing_can_be_drawn_waits_for_new_steps(
    made: dict[str, Path], tmp_path: Path
) -> None:
    run = Path(shutil.copytree(made["dqn"], tmp_path / "R"))
    change = put(*REPLAY, "priorities", "weight", value=torch.zeros_like)
    for snapshot in snapshots.newest_first(run / "checkpoints")[::-1]:
        rewrite(snapshot, change)
    assert train("dqn", ["--resume", str(run), "--total-steps", "480"]) == 0


@pytest.mark.parametrize("case", ["weights shape", "weights type", "weights NaN"])
def test_weights_that_do_not_fit_are_one_line_wherever_they_are_read(
    made: dict[str, Path], tmp_path: Path, case: str
) -> None:
    run = Path(shutil.copytree(made["dqn"], tmp_path / "R"))
    for which in ("best", "checkpoints"):
        for snapshot in snapshots.newest_first(run / which):
            rewrite(snapshot, WRONG[case][1])
    for which in ("best", "last"):
        with pytest.raises(UserError, match="no intact checkpoint"):
            load_policy(Run.open(run), which, "cpu")
    start = [*tiny("dqn", ENV_ID), *QUIET, "--total-steps", "16", "--runs-dir", str(tmp_path)]
    if case == "weights NaN":
        with pytest.raises(UserError, match="no intact checkpoint"):
            train("dqn", [*start, "--init-from", str(run)])
    else:
        # What fits is taken.
        assert train("dqn", [*start, "--init-from", str(run)]) == 0


def test_a_learner_is_as_before_where_something_is_refused(made: dict[str, Path]) -> None:
    policy, _, _, config = load_policy(Run.open(made["dqn"]), "last", "cpu")
    agent = dqn.make_algorithm(config, policy)  # pyright: ignore[reportArgumentType]
    before = {name: each.clone() for name, each in policy.weights().items()}
    twos = {name: torch.full_like(each, 2) for name, each in before.items()}
    twos_but_one = twos | first(twos, lambda weight: weight[:-1])
    with pytest.raises(ValueError, match="must be"):
        agent.load_weights(twos_but_one)
    for name, each in policy.weights().items():
        torch.testing.assert_close(each, before[name], rtol=0, atol=0)
    with pytest.raises(KeyError), agent.learner.unless_refused():
        agent.load_weights(twos)
        raise KeyError
    for name, each in policy.weights().items():
        torch.testing.assert_close(each, before[name], rtol=0, atol=0)
    with agent.learner.unless_refused():
        agent.load_weights(twos)
    assert all((each == 2).all() for each in policy.weights().values())


def test_like_names_what_differs() -> None:
    own = torch.zeros(2, 3)
    assert like(torch.ones(2, 3), own, "w").sum() == 6
    with pytest.raises(ValueError, match=r"w is torch.float32 \(3, 2\) and must be .* \(2, 3\)"):
        like(torch.ones(3, 2), own, "w")
    with pytest.raises(ValueError, match="torch.int64"):
        like(torch.ones(2, 3, dtype=torch.int64), own, "w")
    with pytest.raises(ValueError, match="not finite"):
        like(torch.full((2, 3), float("inf")), own, "w")
    with pytest.raises(ValueError, match="w is not of type Tensor"):
        like([1], own, "w")
    with pytest.raises(ValueError, match="w is not of type ndarray"):
        like(own, np.zeros((2, 3)), "w")
    with pytest.raises(ValueError, match="w: b is missing"):
        all_like({"a": own}, {"a": own, "b": own}, "w")
    with pytest.raises(ValueError, match="w: b is unknown"):
        all_like({"a": own, "b": own}, {"a": own}, "w")
    with pytest.raises(ValueError, match="w is not a dict of tensors"):
        all_like(None, {"a": own}, "w")


MANIFESTS: list[Any] = [
    *(None, [], {}, {"step": 400}, {"step": "400", "files": {}}, {"step": True, "files": {}}),
    *({"step": -400, "files": {}}, {"step": 400, "files": []}, {"step": 400, "files": {"a": 5}}),
    *({"step": 400, "files": {}, "chunks": {}}, {"step": 400, "files": {}, "chunks": [5]}),
    {"step": 400, "files": {}, "chunks": [{"file": 5, "bytes": 1, "crc32": 1}]},
    {"step": 400, "files": {}, "chunks": [{"file": "replay/000000000001.zst", "bytes": 1}]},
    *({"step": 400, "files": {"a": {"bytes": n, "crc32": 1}}} for n in (-1, True, 1.5, 2**64)),
]


@pytest.mark.parametrize("body", MANIFESTS, ids=str)
def test_a_manifest_of_another_form_is_damage_that_names_the_file(tmp_path: Path, body: Any):
    snapshot = tmp_path / "000000000400"
    snapshot.mkdir()
    text = json.dumps(body)
    (snapshot / "state.json").write_text(
        f'{{"crc32": {zlib.crc32(text.encode())}, "body": {text}}}'
    )
    with pytest.raises(snapshots.DamagedCheckpoint, match=r"000000000400/state\.json"):
        snapshots.read_manifest(snapshot)
