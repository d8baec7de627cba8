"""A recording goes on in a dataset that is there, and episodes are dropped by number."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from test_demos import dataset, episode, of_format_1
from test_demos_cli import demos

from demos.dataset import Dataset, alone
from demos.sessions import next_game
from demos.shipped import shipped
from envs.tapes import tape_seed

CHAIN = ("record", "--env", "toy/Chain-v0", "--num-envs", 2)


@pytest.fixture
def chain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    assert demos(*CHAIN, "--episodes", 3, "--out", "chain") == 0
    return Path("chain")


def seeds(path: Path) -> list[int | None]:
    return [each.seed for each in Dataset.open(path).episodes()]


def test_a_recording_goes_on_with_the_next_games(
    chain: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = [path.name for path in Dataset.open(chain).files()]
    capsys.readouterr()
    assert demos(*CHAIN, "--episodes", 5, "--append", "--out", chain) == 0
    assert "5 more episodes in chain, 8 in all" in capsys.readouterr().out
    assert [path.name for path in Dataset.open(chain).files()][:3] == before
    assert set(seeds(chain)) == {tape_seed(0, game, 0) for game in range(8)}
    assert demos("verify", chain) == 0
    # Another seed has games of its own.
    assert demos(*CHAIN, "--episodes", 2, "--seed", 7, "--append", "--out", chain) == 0
    assert set(seeds(chain)[8:]) == {tape_seed(7, game, 0) for game in range(2)}
    sessions = Dataset.open(chain).metadata.sessions
    assert [(each.seed, each.episodes) for each in sessions] == [(0, 3), (0, 5), (7, 2)]
    assert len({each.command for each in sessions}) == 1 and sessions[0].policy == "random"
    assert len(seeds(chain)) == len(set(seeds(chain))) == 10


def test_every_policy_that_played_is_named(chain: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def still(obs):\n    return [0] * len(obs)\n")
    policy = ("--policy", "script:mine:still")
    for _ in range(2):
        assert demos(*CHAIN, *policy, "--episodes", 1, "--append", "--out", chain) == 0
    about = Dataset.open(chain).metadata
    assert about.policy == "random; script:mine:still"
    assert [each.policy for each in about.sessions] == ["random", *["script:mine:still"] * 2]
    policies = [each.policy for each in Dataset.open(chain).episodes()]
    assert policies == [*["random"] * 3, *["script:mine:still"] * 2]
    assert demos("card", chain, "--out", "card.md") == 0
    assert Path("card.md").read_text().count("script:mine:still") >= 3


def test_games_that_were_not_kept_leave_a_gap_that_is_passed_over() -> None:
    known = {10 * game for game in (0, 3, 900)}
    assert next_game(known, lambda game: 10 * game) == 901
    assert next_game(set(), lambda game: game) == 0
    assert next_game({77_777}, lambda game: game) == 0


def test_a_recording_that_nothing_stands_before_begins_a_dataset(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert demos(*CHAIN, "--episodes", 2, "--append", "--out", tmp_path / "new") == 0
    assert len(seeds(tmp_path / "new")) == 2


def test_stored_observations_go_on_as_stored(tmp_path: Path) -> None:
    noisy = ("record", "--env", "noisy_toy:Noisy-v0", "--out", tmp_path / "d", "--episodes", 2)
    assert demos(*noisy) == 0 and demos(*noisy, "--append") == 0
    assert demos("verify", tmp_path / "d") == 0
    assert all(each.observations is not None for each in Dataset.open(tmp_path / "d").episodes())
    assert len(set(seeds(tmp_path / "d"))) == 4


def test_what_cannot_be_gone_on_with_is_one_line_and_changes_nothing(
    chain: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = seeds(chain)
    capsys.readouterr()
    assert demos(*CHAIN, "--out", chain) == 2
    said = capsys.readouterr().err
    assert "choose another name, or add to it with --append" in said and said.count("\n") == 1
    assert demos("record", "--env", "toy/Bandit-v0", "--append", "--out", chain) == 2
    assert "is of another environment: env_id is 'toy/Chain-v0' there" in capsys.readouterr().err
    assert seeds(chain) == before
    Dataset.open(chain).files()[1].write_bytes(b"")
    assert demos(*CHAIN, "--append", "--out", chain) == 2
    assert "episode 1 of chain is damaged" in capsys.readouterr().err


@pytest.mark.parametrize("first_format", [False, True])
@pytest.mark.parametrize("out", [None, "other"])
def test_episodes_are_dropped_by_number(
    tmp_path: Path, out: str | None, first_format: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    kept = dataset(Path("d"))
    for steps in range(10, 20):
        kept.append(episode(steps))
    if first_format:
        of_format_1(Path("d"))
    where = () if out is None else ("--out", out)
    assert demos("drop", "d", "--episodes", "3", "7-9", "0", *where) == 0
    left = Dataset.open(Path(out or "d"))
    assert [len(each) for each in left.episodes()] == [11, 12, 14, 15, 16]
    assert left.listed and not left.problems()
    if out is not None:
        assert len(Dataset.open(Path("d")).episodes()) == 10
    left.append(episode(50))
    assert [len(each) for each in left.episodes()] == [11, 12, 14, 15, 16, 50]
    assert left.episode(2).rewards.size == 14


def test_a_damaged_or_missing_episode_can_be_dropped(tmp_path: Path) -> None:
    kept = dataset(tmp_path / "d")
    paths = [kept.append(episode(steps)) for steps in (10, 20, 30)]
    paths[0].write_bytes(b"")
    paths[1].unlink()
    assert demos("drop", tmp_path / "d", "--episodes", "0-1") == 0
    left = Dataset.open(tmp_path / "d")
    assert [len(each) for each in left.episodes()] == [30] and not left.problems()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("chain", "--episodes", "3"), "there is no episode 3 in chain, allowed are 0 to 2"),
        (("chain", "--episodes", "0-9"), "there is no episode 9 in chain, allowed are 0 to 2"),
        (("chain", "--episodes", "2-1"), "--episodes 2-1: the range ends before it begins"),
        (("chain", "--episodes"), "--episodes needs numbers, such as 3 7-9"),
        (("chain", "--episodes", "x"), "--episodes x: must be a number, or a range such as 7-9"),
        (("chain", "--episodes", "0-2"), "chain would have no episodes"),
        (("chain", "--episodes", "0", "--out", "chain"), "chain is a dataset already"),
        (("pong-expert-v1", "--episodes", "0"), "comes with Joystick and cannot be changed"),
        (("pong-expert-v2", "--episodes", "0"), "did you mean 'pong-expert-v1'?"),
    ],
)
def test_what_cannot_be_dropped_is_one_line_and_changes_nothing(
    chain: Path, args: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (chain / "dataset.json").read_bytes()
    capsys.readouterr()
    assert demos("drop", *args) == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1
    assert (chain / "dataset.json").read_bytes() == before


NAMED = [
    ("verify", "NAME"),
    ("stats", "NAME"),
    ("card", "NAME"),
    ("list", "NAME"),
    ("replay", "NAME", "--to", "film.gif", "--speed", "100"),
    ("filter", "NAME", "--out", "new"),
    ("split", "NAME", "--out", "new", "new2"),
    ("merge", "NAME", "--out", "new"),
    ("drop", "NAME", "--episodes", "0", "--out", "new"),
    ("export", "NAME", "--to", "minari", "--id", "it-v0", "--out", "minari"),
]


@pytest.mark.parametrize("command", NAMED, ids=lambda each: each[0])
def test_shipped_names_work_everywhere_and_the_nearest_is_said(
    command: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if command[0] == "export":
        pytest.importorskip("minari")
        pytest.importorskip("h5py")
    monkeypatch.chdir(tmp_path)
    right, wrong = (
        [name if word == "NAME" else word for word in command]
        for name in ("acrobot-expert-v1", "acrobot-export-v1")
    )
    assert demos(*right) == 0
    capsys.readouterr()
    assert demos(*wrong) == 2
    said = capsys.readouterr().err
    assert "did you mean 'acrobot-expert-v1'?" in said and said.count("\n") == 1


def test_a_path_wins_over_a_shipped_name(chain: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chain.rename(name := next(iter(shipped())))
    capsys.readouterr()
    assert demos("stats", name) == 0
    assert "toy/Chain-v0" in capsys.readouterr().out


def test_two_processes_do_not_write_into_one_dataset(
    chain: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both would play the same games."""
    before = seeds(chain)
    with alone(chain):
        for command in (
            (*CHAIN, "--append", "--episodes", 1, "--out", chain),
            ("drop", chain, "--episodes", "0"),
            ("seal", chain),
        ):
            capsys.readouterr()
            assert demos(*command) == 2
            said = capsys.readouterr().err
            assert said == f"error: process {os.getpid()} is at work in chain; wait until it ends\n"
        assert demos("stats", chain) == 0
    assert seeds(chain) == before
    assert demos(*CHAIN, "--append", "--episodes", 1, "--out", chain) == 0


def test_a_lock_ends_with_the_process_that_had_it(chain: Path) -> None:
    child = os.fork()
    if child == 0:
        with alone(chain):
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    with alone(chain):
        pass


def test_the_largest_seed_can_be_gone_on_from(chain: Path) -> None:
    for _ in range(2):
        args = ("--seed", 2**63 - 1, "--append", "--episodes", 1, "--out", chain)
        assert demos(*CHAIN, *args) == 0
    assert demos("verify", chain) == 0
    assert seeds(chain)[3:] == [tape_seed(2**63 - 1, game, 0) for game in range(2)]


def test_a_place_that_cannot_be_written_is_named_as_it_was_typed(
    chain: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("file").write_text("")
    capsys.readouterr()
    assert demos("filter", chain, "--out", "file/new") == 2
    said = capsys.readouterr().err
    assert said.startswith("error: file/new cannot be written: ") and said.count("\n") == 1
