"""Joystick from Python: train, load, play and evaluate, in a thread and in a notebook."""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

import joystick
from demos.shipped import located
from envs import signals

QUIET: dict[str, Any] = {
    "wandb": "disabled",
    "video": False,
    "num_threads": 1,
    "final_eval_episodes": 2,
    "eval_episodes": 2,
}
SMALL: dict[str, Any] = {
    **QUIET,
    "env": "CartPole-v1",
    "total_steps": 1024,
    "num_envs": 8,
    "horizon_steps": 32,
    "batch_size": 64,
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> joystick.Run:
    folder = tmp_path_factory.mktemp("runs")
    return joystick.train("ppo", runs_dir=folder, progress=False, **SMALL)


@pytest.fixture(scope="module")
def recurrent_run(tmp_path_factory: pytest.TempPathFactory) -> joystick.Run:
    folder = tmp_path_factory.mktemp("runs")
    settings = {**SMALL, "core": "lstm", "sequence_steps": 8, "hidden": 16}
    return joystick.train("ppo", runs_dir=folder, progress=False, **settings)


def test_a_training_is_the_command_lines(run: joystick.Run, tmp_path: Path) -> None:
    flags = [word for name, value in SMALL.items() for word in joystick.api.flags(name, value)]
    from agents.core.training.launch import train

    assert train("ppo", [*flags, "--runs-dir", str(tmp_path)]) == 0
    (path,) = tmp_path.iterdir()
    ours, theirs = run.restore()[2], joystick.Run.open(path).restore()[2]
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_keywords_are_flags() -> None:
    flags = joystick.api.flags
    assert flags("total_steps", 5) == ["--total-steps=5"]
    assert flags("video", False) == ["--no-video"]
    assert flags("video", True) == ["--video"]
    assert flags("group", None) == []
    assert flags("tags", ("a", "-b")) == ["--tags", "a", "-b"]
    assert flags("tags", ["a"]) == ["--tags=a"]
    assert flags("env_kwargs", {"gravity": 5.0}) == ['--env-kwargs={"gravity": 5.0}']


def test_keywords_reach_the_run(tmp_path: Path) -> None:
    run = joystick.train(
        "ppo",
        runs_dir=tmp_path,
        progress=False,
        tags=["one"],
        env_kwargs={"sutton_barto_reward": True},
        **SMALL,
    )
    config = run.config()["config"]
    assert config["tags"] == ["one"]
    assert config["env_kwargs"] == {"sutton_barto_reward": True}


@pytest.mark.parametrize(
    ("algorithm", "settings", "said"),
    [
        ("dnq", {}, "did you mean 'dqn'?"),
        ("ppo", {"totl_steps": 3}, "did you mean --total-steps?"),
        ("ppo", {"total_steps": 0}, "total-steps"),
        ("ppo", {"env": "CartPole-v9"}, "CartPole"),
        ("ppo", {"callbacks": [print]}, "must be a joystick.Callback"),
    ],
)
def test_errors_are_exceptions(
    tmp_path: Path, algorithm: str, settings: dict[str, Any], said: str
) -> None:
    with pytest.raises(joystick.UserError, match=said):
        joystick.train(algorithm, runs_dir=tmp_path, **{**SMALL, **settings})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("source", ["cartpole-expert-v1", located("cartpole-expert-v1")])
def test_a_dataset_is_no_policy(source: str | Path) -> None:
    for asked in (joystick.load, joystick.evaluate):
        with pytest.raises(joystick.UserError, match=r"joystick\.train\('bc', demos="):
            asked(source)


def test_the_program_keeps_its_settings(run: joystick.Run, tmp_path: Path) -> None:
    handlers = [signal.getsignal(each) for each in signals.ENDING]
    arguments, streams = sys.argv.copy(), (sys.stdout, sys.stderr)
    torch.set_num_threads(2)
    torch.set_float32_matmul_precision("highest")
    torch.manual_seed(7)
    drawn = torch.rand(1)
    torch.manual_seed(7)
    joystick.train("ppo", runs_dir=tmp_path, progress=False, **SMALL)
    joystick.load(run)
    joystick.evaluate(run, episodes=1)
    assert torch.equal(torch.rand(1), drawn)
    assert torch.get_num_threads() == 2
    assert torch.get_float32_matmul_precision() == "highest"
    assert [signal.getsignal(each) for each in signals.ENDING] == handlers
    assert (sys.argv, (sys.stdout, sys.stderr)) == (arguments, streams)


def test_no_signal_is_handled_in_training(tmp_path: Path) -> None:
    seen: list[Any] = []

    class Look(joystick.Callback):
        def on_step(self, training: Any) -> bool:
            seen.append(signal.getsignal(signal.SIGINT))
            return True

    before = signal.getsignal(signal.SIGINT)
    joystick.train("ppo", runs_dir=tmp_path, progress=False, callbacks=Look(), **SMALL)
    assert seen == [before]


def test_progress_can_be_turned_off(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    joystick.train("ppo", runs_dir=tmp_path, progress=False, **SMALL)
    assert capsys.readouterr().out == ""
    joystick.train("ppo", runs_dir=tmp_path, **SMALL)
    assert "ppo on CartPole-v1" in capsys.readouterr().out


def test_a_policy_plays_in_a_persons_own_loop(run: joystick.Run) -> None:
    policy = joystick.load(run)
    env = gymnasium.make("CartPole-v1")
    returns: list[float] = []
    for seed in range(2):
        obs, _ = env.reset(seed=seed)
        state, total = None, 0.0
        ended = False
        while not ended:
            action, state = policy.act(obs, state)
            assert env.action_space.contains(action)
            obs, reward, terminated, truncated, _ = env.step(action)
            total += float(reward)
            ended = terminated or truncated
        returns.append(total)
    assert np.mean(returns) > 5


def test_a_batch_is_chosen_as_its_rows_are(recurrent_run: joystick.Run) -> None:
    policy = joystick.load(recurrent_run, exploration=0)
    obs_TN = np.random.default_rng(0).normal(size=(6, 3, 4))
    states: list[Any] = [None, None, None]
    state = None
    for obs_N in obs_TN:
        actions, state = policy.act(obs_N, state)
        assert actions.shape == (3,)
        for row in range(3):
            action, states[row] = policy.act(obs_N[row], states[row])
            assert action == actions[row]
            kept = {name: each[row] for name, each in state.tensors.items()}
            for name, each in states[row].tensors.items():
                torch.testing.assert_close(each[0], kept[name])
    assert state.tensors


def test_an_episode_that_begins_forgets(recurrent_run: joystick.Run) -> None:
    policy = joystick.load(recurrent_run, exploration=0)
    obs_N = np.ones((2, 4))
    _, fresh = policy.act(obs_N)
    _, state = policy.act(obs_N, fresh)
    _, again = policy.act(obs_N, state, first=np.array([True, False]))
    for name, each in again.tensors.items():
        torch.testing.assert_close(each[0], fresh.tensors[name][0])
        assert not torch.equal(each[1], fresh.tensors[name][1])


@pytest.mark.parametrize("obs", [np.zeros(3), np.zeros((2, 5)), "left", None])
def test_another_observation_is_one_line(run: joystick.Run, obs: Any) -> None:
    with pytest.raises(joystick.UserError, match="CartPole-v1"):
        joystick.load(run).act(obs)


def test_another_number_of_observations_is_one_line(run: joystick.Run) -> None:
    policy = joystick.load(run)
    _, state = policy.act(np.zeros((2, 4)))
    with pytest.raises(joystick.UserError, match="3 observations, but the state is of 2"):
        policy.act(np.zeros((3, 4)), state)


def test_observations_of_the_environments_own_kind(tmp_path: Path) -> None:
    run = joystick.train(
        "ppo",
        runs_dir=tmp_path,
        progress=False,
        **{**SMALL, "env": "CliffWalking-v1", "eval_most_steps": 50},
    )
    policy = joystick.load(run)
    env = gymnasium.make("CliffWalking-v1")
    obs, _ = env.reset(seed=0)
    action, state = policy.act(obs)
    assert env.action_space.contains(action)
    policy.act(obs, state)
    actions, _ = policy.act([obs, obs])
    assert actions.shape == (2,)


def test_an_evaluation_is_the_commands_and_writes_nothing(run: joystick.Run) -> None:
    before = {path: path.stat().st_mtime_ns for path in run.path.rglob("*")}
    result = joystick.evaluate(run, episodes=2)
    assert joystick.evaluate(str(run.path), episodes=2).returns == result.returns
    assert result.mean == pytest.approx(np.mean(result.returns))
    assert len(result.returns) == 2
    assert {path: path.stat().st_mtime_ns for path in run.path.rglob("*")} == before


def test_callbacks_are_told_and_stop(tmp_path: Path) -> None:
    told: list[tuple[str, Any]] = []

    class Watch(joystick.Callback):
        def on_step(self, training: Any) -> bool:
            told.append(("step", training.step))
            return training.step >= 512

        def on_evaluation(self, training: Any, evaluation: joystick.Evaluation) -> None:
            told.append(("evaluation", evaluation.mean))

        def on_checkpoint(self, training: Any, path: Path) -> None:
            told.append(("checkpoint", path))

    settings = {**SMALL, "total_steps": 4096, "eval_every_steps": 256}
    run = joystick.train(
        "ppo",
        runs_dir=tmp_path,
        progress=False,
        callbacks=[Watch(), joystick.Callback()],
        **settings,
    )
    assert [kind for kind, _ in told] == [
        *("step", "checkpoint", "evaluation"),
        *("step", "checkpoint", "evaluation", "checkpoint"),
    ]
    assert [value for kind, value in told if kind == "step"] == [256, 512]
    assert {value for kind, value in told if kind == "checkpoint"} == {run.path}
    assert run.restore()[0] == 512
    assert (run.path / "eval.json").exists()


def test_what_a_callback_raises_ends_training(tmp_path: Path) -> None:
    class Broken(joystick.Callback):
        def on_step(self, training: Any) -> bool:
            raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        joystick.train("ppo", runs_dir=tmp_path, progress=False, callbacks=Broken(), **SMALL)


def test_without_callbacks_a_round_calls_nothing() -> None:
    from agents.core.training.callbacks import Callbacks

    class Evaluations(joystick.Callback):
        def on_evaluation(self, training: Any, evaluation: Any) -> None: ...

    assert not Callbacks().watches_steps
    assert not Callbacks((Evaluations(),)).watches_steps


def test_training_goes_on_in_python(run: joystick.Run) -> None:
    more = joystick.train(
        "ppo", resume=run, total_steps=1536, progress=False, wandb="disabled", final_eval_episodes=0
    )
    assert more.path == run.path
    assert more.restore()[0] == 1536


def test_a_thread_trains(tmp_path: Path) -> None:
    made: list[joystick.Run] = []
    raised: list[BaseException] = []

    def work() -> None:
        try:
            run = joystick.train("ppo", runs_dir=tmp_path, progress=False, **SMALL)
            joystick.load(run).act(np.zeros(4))
            joystick.evaluate(run, episodes=1)
            made.append(run)
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(120)
    assert raised == []
    assert made[0].restore()[0] == 1024


def test_a_notebook_trains_and_plays(tmp_path: Path) -> None:
    nbformat = pytest.importorskip("nbformat")
    client = pytest.importorskip("nbclient")
    settings = ", ".join(f"{name}={value!r}" for name, value in SMALL.items())
    cells = [
        "import joystick",
        f"run = joystick.train('ppo', runs_dir={str(tmp_path)!r}, {settings})",
        "policy = joystick.load(run)\naction, _ = policy.act([0.0, 0.0, 0.0, 0.0])\nint(action)",
        "joystick.evaluate(run, episodes=1).mean",
        "try:\n    joystick.train('dnq')\nexcept joystick.UserError as error:\n    print(error)",
    ]
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    client.NotebookClient(book, timeout=120, kernel_name="python3").execute(cwd=str(tmp_path))
    texts = ["".join(str(output) for output in cell.outputs) for cell in book.cells]
    assert "ppo on CartPole-v1" in texts[1]
    assert "text/plain" in texts[2]
    assert "did you mean 'dqn'?" in texts[4]
