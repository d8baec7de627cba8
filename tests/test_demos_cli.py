"""`python -m demos` as a person uses it: what it prints, writes and exits with."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest
from conftest import run_tiny
from test_demos import rewritten

import envs
from demos.__main__ import main
from demos.dataset import Dataset
from demos.policies import resolve
from envs.tapes import tape_seed


def demos(*args: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(each) for each in args])
    return int(ended.value.code or 0)


@pytest.fixture
def cartpole(tmp_path: Path) -> Path:
    path = tmp_path / "cartpole"
    args = ("--env", "CartPole-v1", "--episodes", 4, "--num-envs", 3, "--out", path)
    assert demos("record", *args) == 0
    return path


def test_what_was_recorded_is_verified_described_and_listed(
    cartpole: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert demos("verify", cartpole) == 0
    assert "4 of 4 episodes are as recorded" in capsys.readouterr().out
    assert demos("stats", cartpole) == 0
    described = capsys.readouterr().out
    for what in ("CartPole-v1", "random", "4 (0 twice)", "action 0", "action 1"):
        assert what in described
    assert demos("list", cartpole.parent) == 0
    assert "cartpole" in capsys.readouterr().out
    about = Dataset.open(cartpole).metadata
    assert about.command.startswith("python -m demos ") and about.spec.env_id == "CartPole-v1"


@pytest.mark.parametrize("algo", ["dqn", "ppo-lstm"])
def test_a_runs_agent_demonstrates(
    tmp_path: Path, algo: str, capsys: pytest.CaptureFixture[str]
) -> None:
    short = ("--total-steps", "256", "--eval-every-steps", "256", "--eval-episodes", "1")
    run = run_tiny(tmp_path / "runs", algo, "--env", "CartPole-v1", *short)
    out, common = tmp_path / "d", ("--env", "CartPole-v1", "--policy", run.path)
    assert demos("record", *common, "--episodes", 3, "--num-envs", 2, "--out", out) == 0
    assert demos("verify", out) == 0
    assert Dataset.open(out).metadata.policy.startswith(f"{run.path.name}, step ")
    capsys.readouterr()
    wrong = ("--env", "Acrobot-v1", "--policy", run.path, "--out", tmp_path / "e")
    assert demos("record", *wrong) == 2
    error = capsys.readouterr().err
    assert "of another environment: env_id is 'CartPole-v1' there, but 'Acrobot-v1'" in error


def test_a_script_demonstrates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "my_policy.py").write_text(
        "def name_it(obs):\n    return obs.argmax(1)\nlevel = 3\n"
    )
    monkeypatch.chdir(tmp_path)
    args = ("--env", "toy/Identity-v0", "--episodes", 2, "--policy")
    assert demos("record", *args, "script:my_policy:name_it", "--out", "d") == 0
    assert [each.score for each in Dataset.open(Path("d")).episodes()] == [10.0, 10.0]
    capsys.readouterr()
    assert demos("record", *args, "script:my_policy:nameit", "--out", "e") == 2
    assert "has no function 'nameit'; did you mean 'name_it'?" in capsys.readouterr().err
    assert not Path("e").exists()


def test_episodes_below_the_least_return_are_not_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = ("--env", "CartPole-v1", "--episodes", 3, "--min-return", 20, "--out", tmp_path / "d")
    assert demos("record", *args) == 0
    assert min(each.score for each in Dataset.open(tmp_path / "d").episodes()) >= 20
    never = ("--env", "toy/Bandit-v0", "--min-return", 2, "--max-played", 9)
    assert demos("record", *never, "--out", tmp_path / "e") == 1
    assert "0 episodes" in capsys.readouterr().out


def test_a_recording_that_is_not_what_was_played_is_found(
    cartpole: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = Dataset.open(cartpole)
    paths = dataset.files()
    first, second = dataset.episodes()[:2]
    object.__setattr__(first, "rewards", np.full_like(first.rewards, 2.0))
    dataset.append(first)
    paths[1].write_bytes(paths[1].read_bytes()[:-1])
    assert demos("verify", cartpole) == 1
    said = capsys.readouterr().out
    assert "episode 1: " in said and "truncated or changed" in said
    assert "episode 4: step 1: the reward is 1, but 2 was recorded" in said
    assert "3 of 5 episodes are as recorded" in said
    assert demos("stats", cartpole) == 2
    assert "--skip-damaged" in capsys.readouterr().err
    assert demos("stats", cartpole, "--skip-damaged") == 0
    assert len(second) > 0


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("record", "--env", "Pnog"), "unknown environment 'Pnog': allowed are"),
        (
            ("record", "--policy", "rndom"),
            "unknown policy 'rndom' (allowed: random, human, ",
        ),
        (("record", "--policy", "script:os"), "must have the form script:module:function"),
        (("record", "--policy", "script:nowhere:f"), "cannot be imported: No module named"),
        (("record", "--episodes", "0"), "episodes is 0, at least 1 is allowed"),
        (("record", "--num-envs", "0"), "num_envs is 0, at least 1 is allowed"),
        (("record", "--seed", "-1"), "seed is -1, at least 0 is allowed"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    tmp_path: Path, args: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert demos(*args, "--out", tmp_path / "d") == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1
    assert not (tmp_path / "d").exists()


def test_a_dataset_that_is_there_is_not_recorded_over(
    cartpole: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert demos("record", "--env", "CartPole-v1", "--out", cartpole) == 2
    assert "is a dataset already" in capsys.readouterr().err
    assert len(Dataset.open(cartpole).files()) == 4


@pytest.mark.parametrize("command", ["verify", "stats"])
def test_what_is_no_dataset_is_said(
    tmp_path: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert demos(command, tmp_path / "nowhere") == 2
    assert "/nowhere' (shipped are: acrobot" in capsys.readouterr().err


def test_an_empty_dataset_is_said(cartpole: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Dataset.create(cartpole.parent / "empty", Dataset.open(cartpole).metadata)
    cartpole = cartpole.parent / "empty"
    assert demos("stats", cartpole) == 2
    assert "has no episodes" in capsys.readouterr().err
    assert demos("verify", cartpole) == 1


def test_the_good_episodes_are_filtered_split_and_merged_again(
    cartpole: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = cartpole.parent
    scores = [each.score for each in Dataset.open(cartpole).episodes()]
    least = sorted(scores)[1]
    assert demos("filter", cartpole, "--min-return", least, "--out", folder / "good") == 0
    good = Dataset.open(folder / "good").episodes()
    assert [each.score for each in good] == [score for score in scores if score >= least]
    halves = (folder / "a", folder / "b")
    assert demos("split", cartpole, "--share", 0.5, "--out", *halves) == 0
    seeds = [{each.seed for each in Dataset.open(half).episodes()} for half in halves]
    assert len(seeds[0]) == len(seeds[1]) == 2 and not seeds[0] & seeds[1]
    # The games of the first half are in the whole, and counted once.
    assert demos("merge", *halves, cartpole, "--out", folder / "all") == 0
    assert {each.seed for each in Dataset.open(folder / "all").episodes()} == seeds[0] | seeds[1]
    assert demos("verify", folder / "all") == 0
    capsys.readouterr()
    assert demos("card", folder / "all") == 0
    text = capsys.readouterr().out
    assert text.startswith("---\nlicense: cc0-1.0\n") and "4 whole episodes of CartPole-v1" in text
    assert "python -m demos verify all" in text


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("filter", "cartpole", "--min-return", "1e9", "--out", "x"), "x would have no episodes"),
        (("split", "cartpole", "--share", "1", "--out", "x", "y"), "--share 1: must be between"),
        (("split", "cartpole", "--out", "x", "x"), "--out x twice: name two different directories"),
        (("split", "cartpole", "--out", "x", "cartpole"), "cartpole is a dataset already"),
        (("merge", "cartpole", "chain", "--out", "x"), "chain is of another environment: env_id"),
        (("merge", "cartpole", "nowhere", "--out", "x"), "no dataset at 'nowhere' (shipped are: "),
        (("merge", "--out", "x"), "merge needs at least one dataset"),
        (("card", "empty"), "empty has no episodes"),
    ],
)
def test_what_cannot_be_edited_is_one_line_and_leaves_nothing(
    cartpole: Path,
    args: tuple[str, ...],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(cartpole.parent)
    assert demos("record", "--env", "toy/Chain-v0", "--episodes", 1, "--out", "chain") == 0
    Dataset.create(Path("empty"), Dataset.open(cartpole).metadata)
    capsys.readouterr()
    assert demos(*args) == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1
    assert not Path("x").exists()


def test_every_game_that_was_begun_is_kept_so_that_short_ones_are_not_favored(
    cartpole: Path,
) -> None:
    first_four = {tape_seed(0, env_index, 0) for env_index in range(4)}
    assert {each.seed for each in Dataset.open(cartpole).episodes()} == first_four


def test_statistics_name_what_people_score_and_what_actions_are_called(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "breakout"
    assert demos("record", "--env", "Breakout", "--episodes", 2, "--out", out) == 0
    assert Dataset.open(out).metadata.reference_scores == {"random": 1.7, "human": 30.5}
    mean = np.mean([each.score for each in Dataset.open(out).episodes()])
    human = f"{(mean - 1.7) / (30.5 - 1.7):.1%} (random 1.7, human 30.5)"
    capsys.readouterr()
    assert demos("stats", out) == 0
    said = capsys.readouterr().out
    assert all(name in said for name in ("0 NOOP", "1 FIRE", "2 RIGHT", "3 LEFT", human))
    assert demos("card", out, "--out", tmp_path / "card.md") == 0
    card = (tmp_path / "card.md").read_text()
    assert f"| Human-normalized | {human} |" in card and "| Mean return, human | 30.5 |" in card


def test_episodes_that_are_there_twice_are_named(
    cartpole: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = Dataset.open(cartpole)
    for number in (2, 0, 2):
        dataset.append(dataset.episodes()[number])
    damaged = dataset.files()[1]
    damaged.write_bytes(b"")
    capsys.readouterr()
    assert demos("stats", cartpole, "--skip-damaged") == 0
    said = capsys.readouterr().out
    assert "6 (3 twice)" in said and "0 = 5, 2 = 4 = 6" in said


@pytest.mark.parametrize("env_id", ["CartPole-v1", "toy/Target-v0", "toy/Pair-v0"])
def test_statistics_are_drawn(tmp_path: Path, env_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    # Text between dollars would be mathematics to matplotlib.
    monkeypatch.chdir(tmp_path)
    assert demos("record", "--env", env_id, "--episodes", 3, "--out", r"$\d$") == 0
    for ending, magic in ((".png", b"\x89PNG"), (".svg", b"<?xml"), (".pdf", b"%PDF")):
        drawn = tmp_path / f"picture{ending}"
        assert demos("stats", r"$\d$", "--picture", drawn) == 0
        assert drawn.read_bytes().startswith(magic)


def test_what_cannot_be_drawn_is_one_line(
    cartpole: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert demos("stats", cartpole, "--picture", "x.jpg") == 2
    assert "x.jpg: its name must end in .png, .svg, .pdf" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert demos("stats", cartpole, "--picture", "x.png") == 2
    assert "needs matplotlib: pip install -e '.[pictures]'" in capsys.readouterr().err


def test_a_file_cannot_have_a_module_imported(
    cartpole: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A stranger's dataset beside a stranger's module must not run it."""
    monkeypatch.chdir(cartpole)
    monkeypatch.syspath_prepend(str(cartpole))
    (cartpole / "stranger.py").write_text("open('ran', 'w')")
    rewritten(cartpole, lambda about: about["spec"].update(env_id="stranger:CartPole-v1"))
    pytest.importorskip("minari")
    for command in (
        ("verify", cartpole),
        ("replay", cartpole, "--to", "film.mp4"),
        ("stats", cartpole, "--picture", "stats.png"),
        (
            "export",
            cartpole,
            "--to",
            "minari",
            "--id",
            "cart/pole-v0",
            "--out",
            cartpole / "minari",
        ),
    ):
        code, error = demos(*command), capsys.readouterr().err
        if command[0] != "stats":  # It needs no environment.
            assert code == 2 and "would import the module 'stranger'" in error
            assert "set JOYSTICK_MODULES=stranger to allow it" in error
    assert not (cartpole / "ran").exists()
    monkeypatch.setenv("JOYSTICK_MODULES", "stranger")
    assert demos("verify", cartpole) == 0
    assert (cartpole / "ran").exists()


def test_an_installation_older_than_its_files_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = EntryPoint("run", "agents.no_such_module:demonstrator", "joystick.policies")
    monkeypatch.setattr("demos.policies.metadata.entry_points", lambda **_: [old])
    with pytest.raises(envs.UserError, match=r"older than its files: pip install -e \. again"):
        resolve(str(tmp_path), envs.spec("CartPole-v1"), 0, None)
    other = EntryPoint("run", "no_such_package:demonstrator", "joystick.policies")
    monkeypatch.setattr("demos.policies.metadata.entry_points", lambda **_: [other])
    with pytest.raises(ModuleNotFoundError, match="no_such_package"):
        resolve(str(tmp_path), envs.spec("CartPole-v1"), 0, None)
