"""A dataset as a whole: what is missing, added, renamed or changed is named by `demos verify`."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from test_demos import dataset, episode, of_format_1, rewritten
from test_demos_cli import demos

from demos import dataset as dataset_module
from demos.dataset import Dataset
from demos.shipped import shipped
from envs import UserError, files


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two datasets of one environment, ours and other."""
    folder = tmp_path_factory.mktemp("recorded")
    for name, seed in (("ours", 0), ("other", 1)):
        args = ("--env", "toy/Chain-v0", "--episodes", 4, "--num-envs", 4, "--seed", seed)
        assert demos("record", *args, "--out", folder / name) == 0
    return folder


@pytest.fixture
def ours(recorded: Path, tmp_path: Path) -> Path:
    for name in ("ours", "other"):
        shutil.copytree(recorded / name, tmp_path / name)
    return tmp_path / "ours"


def verified(path: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, list[str]]:
    """The exit code of `verify`, and its lines but for the last one."""
    capsys.readouterr()
    code = demos("verify", path)
    return code, capsys.readouterr().out.splitlines()[:-1]


def missing(files: list[Path], other: list[Path]) -> None:
    files[1].unlink()


def last_missing(files: list[Path], other: list[Path]) -> None:
    files[3].unlink()


def copied(files: list[Path], other: list[Path]) -> None:
    shutil.copy(files[1], files[1].with_name("000004" + files[1].name[6:]))


def renumbered(files: list[Path], other: list[Path]) -> None:
    files[1].rename(files[1].with_name("000007" + files[1].name[6:]))


def swapped_numbers(files: list[Path], other: list[Path]) -> None:
    files[1].rename(files[1].with_name("000002" + files[1].name[6:]))
    files[2].rename(files[2].with_name("000001" + files[2].name[6:]))


def renamed(files: list[Path], other: list[Path]) -> None:
    files[1].rename(files[1].with_name("best.parquet"))


def exchanged(files: list[Path], other: list[Path]) -> None:
    files[1].unlink()
    shutil.copy(other[1], files[1].with_name(other[1].name))


def exchanged_under_its_name(files: list[Path], other: list[Path]) -> None:
    shutil.copy(other[1], files[1])


def added(files: list[Path], other: list[Path]) -> None:
    shutil.copy(other[1], files[1].with_name("000004" + other[1].name[6:]))


def linked(files: list[Path], other: list[Path]) -> None:
    files[1].unlink()
    files[1].symlink_to(other[1])


def linked_folder(files: list[Path], other: list[Path]) -> None:
    folder = files[0].parent
    folder.rename(folder.with_name("elsewhere"))
    folder.symlink_to("elsewhere")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (missing, ["episode 1: 000001-* is missing"]),
        (last_missing, ["episode 3: 000003-* is missing"]),
        (copied, ["000004-* is a copy of episode 1"]),
        (renumbered, ["episode 1: 000001-* is missing",
                      "000007-* is episode 1 under another name"]),
        (swapped_numbers, ["episode 1: *", "episode 2: *",
                           "000001-* is episode 2 under another name",
                           "000002-* is episode 1 under another name"]),
        (renamed, ["episode 1: 000001-* is missing", "best.parquet is not listed in dataset.json"]),
        (exchanged, ["episode 1: 000001-* is missing", "000001-* is not listed in dataset.json"]),
        (exchanged_under_its_name, ["episode 1: 000001-* was truncated or changed since*"]),
        (added, ["000004-* is not listed in dataset.json"]),
        (linked, ["episode 1: 000001-* is a symbolic link, which is not followed"]),
        (linked_folder, ["episode 0: *", "episode 1: *", "episode 2: *",
                         "episode 3: *'episodes' is a symbolic link, which is not followed"]),
    ],
    ids=lambda each: getattr(each, "__name__", ""),
)  # fmt: skip
def test_what_is_not_as_it_was_recorded_is_a_line_each(
    ours: Path,
    change: Callable[[list[Path], list[Path]], None],
    said: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert verified(ours, capsys) == (0, [])
    change(Dataset.open(ours).files(), Dataset.open(ours.parent / "other").files())
    code, lines = verified(ours, capsys)
    assert code == 1 and len(lines) == len(said)
    for line, expected in zip(lines, said, strict=True):
        for part in expected.split("*"):
            assert part in line
    # What the list has lost can be accepted, and a copy of the whole ones can be made.
    if change is not linked_folder:
        assert demos("seal", ours) == 0
        still_wrong = change in (exchanged_under_its_name, linked, renamed)
        assert verified(ours, capsys)[0] == still_wrong


def test_no_flipped_bit_of_what_a_dataset_says_goes_unseen(ours: Path) -> None:
    path, rng = ours / "dataset.json", random.Random(0)
    whole = path.read_bytes()
    for place in rng.sample(range(len(whole)), 300):
        path.write_bytes(
            whole[:place] + bytes([whole[place] ^ 1 << rng.randrange(8)]) + whole[place + 1 :]
        )
        with pytest.raises(UserError, match=r"^[^\n]+$"):
            Dataset.open(ours)
            # A space that became another one changes nothing.
            assert json.loads(path.read_bytes()) != json.loads(whole)
            raise UserError("the same")


@pytest.mark.parametrize("name", ["policy", "license", "commit", "created"])
def test_a_changed_text_is_named_and_can_be_accepted(
    ours: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    rewritten(ours, lambda values: values.update({name: "somebody else"}), sealed=False)
    code = demos("verify", ours)
    said = capsys.readouterr().out
    assert code == 1 and "was changed since it was written" in said and said.count("\n") == 1
    assert demos("stats", ours) == 2
    assert f"`python -m demos seal {ours}` accepts it" in capsys.readouterr().err
    assert demos("seal", ours) == 0 and demos("verify", ours) == 0
    assert getattr(Dataset.open(ours).metadata, name) == "somebody else"


def test_a_list_that_names_anything_else_is_refused(ours: Path) -> None:
    for name in ("../../etc/passwd", "000001-0123456789abcdef.parquet\0", "x", "a" * 9_000):
        rewritten(ours, lambda values, name=name: values["episodes"].append(name))
        with pytest.raises(UserError, match=r"is not the name of an episode's file$"):
            Dataset.open(ours)
        rewritten(ours, lambda values: values["episodes"].pop())
    rewritten(ours, lambda values: values["episodes"].append(values["episodes"][0]))
    assert "lists 000000-" in Dataset.open(ours).problems()[0]


def test_datasets_of_the_first_format_are_read_and_verified_and_say_so(
    ours: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = [path.read_bytes() for path in Dataset.open(ours).files()]
    of_format_1(ours)
    assert [path.read_bytes() for path in Dataset.open(ours).files()] == before
    code, lines = verified(ours, capsys)
    assert code == 0 and lines[0].startswith("the dataset has format 1, without a digest")
    Dataset.open(ours).files()[1].unlink()
    code, lines = verified(ours, capsys)
    assert code == 1 and "the file of number 000001 is missing" in lines
    shutil.copy(Dataset.open(ours).files()[0], ours / "episodes/000000-0123456789abcdef.parquet")
    (ours / "episodes/999999999-0123456789abcdef.parquet").write_bytes(b"")
    assert Dataset.open(ours).problems() == [
        "the file of number 000001 is missing",
        "the files of numbers 000004 to 999999998 are missing",
        "2 files have the number 000000",
    ]
    assert demos("seal", ours) == 0 and Dataset.open(ours).listed


def test_what_is_appended_to_a_dataset_of_the_first_format_makes_it_one_of_the_second(
    tmp_path: Path,
) -> None:
    kept = dataset(tmp_path / "d")
    kept.append(episode())
    of_format_1(tmp_path / "d")
    old = Dataset.open(tmp_path / "d")
    assert not old.listed
    old.append(episode(10))
    again = Dataset.open(tmp_path / "d")
    assert again.listed and [len(each) for each in again.episodes()] == [300, 10]


@pytest.mark.parametrize("name", shipped())
def test_the_shipped_ones_list_their_episodes(name: str) -> None:
    assert Dataset.open(shipped()[name]).listed and not Dataset.open(shipped()[name]).problems()


class KilledError(BaseException):
    """Stands for the end of the process, which no handler sees."""


OPERATIONS = ("open", "replace", "rename", "unlink", "fsync")


def survivors(path: Path, act: Callable[[Dataset], object], most: int = 60) -> list[list[int]]:
    """What `act` leaves of a dataset when it is killed before its first, second, ... operation on
    the disk: the lengths of its episodes, as they are read and as the next recording finds them."""
    whole, left = path.with_name("whole"), []
    shutil.copytree(path, whole)
    for count in range(most):
        shutil.rmtree(path)
        shutil.copytree(whole, path)
        child = os.fork()
        if child == 0:
            killed_at(count)
            act(Dataset.open(path))
            os._exit(0)
        ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert Dataset.open(path).problems() == []
        left.append([len(each) for each in Dataset.open(path).episodes()])
        Dataset.open(path).append(episode(77))
        assert [len(each) for each in Dataset.open(path).episodes()] == [*left[-1], 77]
        assert not list((path / "episodes").glob(f"{files.TEMPORARY}*"))
        if ended == 0:
            return left
    raise AssertionError(f"it has more than {most} operations")


def killed_at(count: int) -> None:
    """This process ends before its operation on the disk of that number."""
    left = iter(range(count, -1, -1))

    def counted(operation: Callable[..., object]) -> Callable[..., object]:
        def counting(*args: object, **kwargs: object) -> object:
            if next(left) == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return operation(*args, **kwargs)

        return counting

    for name in OPERATIONS:
        setattr(os, name, counted(getattr(os, name)))
    files.open = counted(open)  # pyright: ignore[reportAttributeAccessIssue]


def test_an_append_that_is_killed_costs_at_most_its_episode(tmp_path: Path) -> None:
    kept = dataset(tmp_path / "d")
    for steps in (10, 20):
        kept.append(episode(steps))
    left = survivors(tmp_path / "d", lambda it: it.append(episode(30)))
    assert left[0] == [10, 20] and left[-1] == [10, 20, 30] and len(left) > 8
    assert all(each in ([10, 20], [10, 20, 30]) for each in left)


def test_a_drop_that_is_killed_drops_all_or_nothing(tmp_path: Path) -> None:
    kept = dataset(tmp_path / "d")
    for steps in (10, 20, 30, 40):
        kept.append(episode(steps))
    left = survivors(tmp_path / "d", lambda it: it.drop([1, 3]))
    assert left[0] == [10, 20, 30, 40] and left[-1] == [10, 30] and len(left) > 8
    assert all(each in ([10, 20, 30, 40], [10, 30]) for each in left)


def test_a_new_dataset_that_is_killed_is_not_there(ours: Path, tmp_path: Path) -> None:
    for count in range(100):
        child = os.fork()
        if child == 0:
            killed_at(count)
            demos("filter", ours, "--out", tmp_path / "new")
            os._exit(0)
        if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0:
            break
        if (tmp_path / "new").exists():
            assert len(Dataset.open(tmp_path / "new").episodes()) == 4
            shutil.rmtree(tmp_path / "new")
    assert count > 8 and len(Dataset.open(tmp_path / "new").episodes()) == 4


def test_a_recording_that_is_killed_at_any_time_is_a_dataset(tmp_path: Path) -> None:
    """Kill -9 a real process, a little later each time."""
    command = [sys.executable, "-m", "demos", "record", "--env", "toy/Chain-v0"]
    command += ["--episodes", "100000", "--num-envs", "1", "--out"]
    counts = []
    for attempt in range(3):
        path = tmp_path / str(attempt)
        process = subprocess.Popen([*command, str(path)], stdout=subprocess.DEVNULL)
        while not (path / "dataset.json").exists() or not Dataset.open(path).files():
            time.sleep(0.01)
        time.sleep(0.05 * attempt)
        process.kill()
        process.wait()
        kept = Dataset.open(path)
        counts.append(len(kept.episodes()))
        assert kept.problems() == []
    assert all(counts)


def test_what_another_process_appended_is_kept(tmp_path: Path) -> None:
    first = dataset(tmp_path / "d")
    second = Dataset.open(tmp_path / "d")
    first.append(episode(10))
    second.append(episode(20))
    assert [len(each) for each in Dataset.open(tmp_path / "d").episodes()] == [10, 20]


def test_episodes_without_a_dataset_are_not_taken_over(tmp_path: Path) -> None:
    kept = dataset(tmp_path / "d")
    kept.append(episode())
    (tmp_path / "d" / dataset_module.FILE).unlink()
    with pytest.raises(UserError, match="has 1 episodes already, but"):
        dataset(tmp_path / "d")
