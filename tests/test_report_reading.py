"""Runs in every state that a directory can be in: shown as such, never a crash."""

from __future__ import annotations

import csv
import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from socket import gethostname

import numpy as np
import pytest

from agents.report import __main__ as command
from agents.report import content, demonstrations, page
from agents.report.content import assemble
from agents.report.grouping import grouped, variant_names
from agents.report.reading import Reader, RunRecord, find, read_run
from benchmarks.report_page import make_run, make_runs
from envs import UserError, locks

NAME = "ALE-Pong-v5__ppo__1__20260101-000004"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    make_runs(tmp_path, 12, 200)
    return tmp_path


def one(root: Path) -> RunRecord:
    return read_run(root / NAME, root)


def shown(root: Path) -> dict:
    """The page's data, which must also be what a page can hold."""
    data = assemble("test", *Reader(root).read(), []).data
    assert "</script>" not in page.inert(data)
    return data


def test_a_whole_run_is_read(root: Path):
    run = one(root)
    assert (run.algo, run.env_id, run.seed, run.frameskip) == ("ppo", "ALE/Pong-v5", 1, 4)
    assert run.protocol == "ALE/Pong-v5, sticky 0.25, frameskip 4"
    assert run.problems == ()
    assert run.state() == "finished"
    assert run.score is not None and run.score.final and run.score.episodes == 30
    assert run.last[0] == 10_000_000


def test_a_line_that_is_being_written_is_no_damage(root: Path):
    with (root / NAME / "metrics.jsonl").open("a") as file:
        file.write('{"step": 10000001, "ti')
    assert one(root).problems == ()


def test_damaged_lines_are_left_out_and_counted(root: Path):
    before = len(one(root).series["charts/SPS"])
    with (root / NAME / "metrics.jsonl").open("ab") as file:
        file.write(b'{"step": 1\n\xff\xfe\n[1, 2]\n{"step": "x", "time": 1}\n\n' + b"[" * 100_000)
        file.write(b'\n{"step": NaN, "time": 1, "charts/SPS": 5}\n')
        file.write(b'{"step": 1e400, "time": 1, "charts/SPS": 5}\n')
        file.write(b'{"step": 5, "time": 1, "charts/SPS": "fast", "a": true, "b": null}\n')
        file.write(b'{"step": 5, "time": 1, "charts/SPS": Infinity, "c": 1%s}\n' % (b"0" * 400))
    run = one(root)
    assert run.problems == (
        "metrics.jsonl: 7 damaged lines left out",
        "metrics.jsonl: 2 values beyond 1e+100 left out",
    )
    assert len(run.series["charts/SPS"]) == before
    assert not {"a", "b", "c"} & run.series.keys()
    shown(root)


def test_a_run_in_progress_is_running_and_later_stopped(root: Path):
    (root / NAME / "eval.json").unlink()
    metrics = root / NAME / "metrics.jsonl"
    metrics.write_bytes(b"".join(metrics.read_bytes().splitlines(True)[:50]))
    run = one(root)
    assert run.state() == "running"
    assert run.state(now=run.written + 3600) == "stopped"
    assert run.score is not None and not run.score.final


def unfinished(root: Path) -> RunRecord:
    (root / NAME / "eval.json").unlink()
    metrics = root / NAME / "metrics.jsonl"
    metrics.write_bytes(b"".join(metrics.read_bytes().splitlines(True)[:50]))
    return one(root)


def test_a_run_whose_process_has_ended_is_not_running(root: Path):
    run = unfinished(root)
    with locks.alone(run.path):
        assert run.state(now=run.written + 3600) == "running"
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    (run.path / locks.NAME).write_text(json.dumps({"pid": process.pid, "host": gethostname()}))
    assert run.state() == "stopped"
    # Another process has got the number since.
    (run.path / locks.NAME).write_text(json.dumps({"pid": os.getpid(), "host": gethostname()}))
    os.utime(run.path / locks.NAME, (1e9, 1e9))
    assert run.state() == "stopped"


@pytest.mark.parametrize(
    "text", ["", "{", '{"pid": "x"}', '{"pid": 1e30, "host": "h"}', '{"pid": 1, "host": "else"}']
)
def test_a_lock_that_says_nothing_leaves_it_to_the_time(root: Path, text: str):
    run = unfinished(root)
    (run.path / locks.NAME).write_text(text)
    assert run.state() == "running"
    assert run.state(now=run.written + 3600) == "stopped"


def test_a_lock_with_an_absurd_number_is_of_no_process(root: Path):
    run = unfinished(root)
    for pid in (-1, 2**40, 2**63):
        (run.path / locks.NAME).write_text(json.dumps({"pid": pid, "host": gethostname()}))
        assert run.state() == "stopped"


def test_the_shipped_demonstrations_of_an_environment_are_shown(tmp_path: Path):
    make_runs(tmp_path, 1, 20)
    (run,) = read_run_of(tmp_path)
    assert run.env_id == "ALE/Breakout-v5"
    names = [path.name for path in demonstrations.shown(tmp_path, (), [run])]
    assert names == ["breakout-expert-v1"]
    learned = replace(run, config={"demos": "pong-expert-v1"})
    auto = replace(run, config={"demos": "auto"})
    given = ("cartpole-expert-v1", "breakout-expert-v1")
    names = [path.name for path in demonstrations.shown(tmp_path, given, [learned, auto])]
    assert names == ["cartpole-expert-v1", "breakout-expert-v1", "pong-expert-v1"]


def read_run_of(root: Path) -> list[RunRecord]:
    return Reader(root).read()[0]


def test_a_run_that_has_just_begun_is_there(root: Path):
    begun = root / "CartPole-v1__dqn__3__20260101-120000"
    begun.mkdir()
    run = read_run(begun, root)
    assert run.problems == ("config.json is missing",)
    assert run.state() == "damaged"
    assert [each["name"] for each in shown(root)["runs"] if each["state"] == "damaged"] == [
        begun.name
    ]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '"x"',
        "[" * 100_000,
        '{"joystick": 2, "algo": 5, "config": [], "env_spec": 3}',
    ],
)
def test_a_damaged_config_is_said_and_its_curves_stay(root: Path, text: str):
    (root / NAME / "config.json").write_text(text)
    run = one(root)
    assert run.state() == "damaged"
    assert any("config.json" in each for each in run.problems)
    assert "charts/SPS" in run.series
    assert len(shown(root)["runs"]) == 12


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("frameskip", "4"),
        ("frameskip", -1),
        ("env_id", ["x"]),
        ("env_id", None),
        ("unknown", 1),
        ("family", "neither"),
        ("rom_md5", "\ud800"),
    ],
)
def test_a_spec_that_makes_no_sense_is_no_crash(root: Path, field: str, value: object):
    saved = json.loads((root / NAME / "config.json").read_text())
    saved["env_spec"][field] = value
    saved["config"] |= {"seed": "seven", "total_steps": "many", "nested": {"\ud800": [1]}}
    (root / NAME / "config.json").write_text(json.dumps(saved))
    assert len(shown(root)["runs"]) == 12


@pytest.mark.parametrize("text", ["{", "[]", '{"eval/return_mean": "high"}', '{"returns": 3}'])
def test_a_damaged_score_is_said_and_the_last_evaluation_is_taken(root: Path, text: str):
    (root / NAME / "eval.json").write_text(text)
    run = one(root)
    assert any("eval.json" in each for each in run.problems)
    assert run.score is not None and not run.score.final


def test_a_foreign_directory_is_named_and_left_alone(root: Path):
    (root / "holiday" / "photos").mkdir(parents=True)
    (root / "holiday" / "config.json").write_text('{"color": "blue"}')
    (root / "loop").symlink_to(root)
    runs, foreign = find(root)
    assert len(runs) == 12
    assert [path.name for path in foreign] == ["holiday", "loop"]
    assert shown(root)["foreign"] == ["holiday", "loop"]


def test_runs_in_folders_are_found_and_a_run_itself_may_be_given(root: Path):
    (root / "sweep" / "one").mkdir(parents=True)
    (root / NAME).rename(root / "sweep" / "one" / NAME)
    names = {run.name for run in Reader(root).read()[0]}
    assert f"sweep/one/{NAME}" in names and len(names) == 12
    ((single,), foreign) = Reader(root / "sweep" / "one" / NAME).read()
    assert (single.name, foreign) == (NAME, [])


def test_a_video_that_goes_away_is_said_and_not_in_the_page(root: Path):
    (root / NAME / "videos").mkdir()
    film = root / NAME / "videos" / "000000000100.mp4"
    film.write_bytes(b"film")
    made = assemble("test", *Reader(root).read(), [])
    film.unlink()
    text = page.build(made, film_mb=8)
    assert '"films":[""]' in text
    assert 'id="film-0"' not in text


def test_films_beyond_the_limit_stay_outside_newest_first(root: Path):
    (root / NAME / "videos").mkdir()
    for step in (1, 2, 3):
        (root / NAME / "videos" / f"{step:012d}.mp4").write_bytes(bytes([step]) * 400_000)
    made = assemble("test", *Reader(root).read(), [])
    run = next(each for each in made.data["runs"] if each["videos"])
    assert [each["name"][:12] for each in run["videos"]] == [f"{n:012d}" for n in (1, 2, 3)]
    inside = page.values(made, dict(page._within(made.films, 900_000)), 0)["films"]
    assert [inside[each["film"]] for each in run["videos"]] == ["", "page", "page"]


def test_a_film_says_the_score_of_the_weights_that_play_in_it(root: Path):
    run = one(root)
    evaluations = run.series["eval/return_mean"]
    early, middle = int(evaluations.step[0]), int(evaluations.step[4])
    (root / NAME / "videos").mkdir()
    for name in (f"{early:012d}", f"{middle:012d}", "000000000003", f"{10**7:012d}", "holiday"):
        (root / NAME / "videos" / f"{name}.mp4").write_bytes(b"film")
    (root / NAME / "eval.json").write_text(
        json.dumps({"eval/return_mean": 77.5, "checkpoint_step": middle, "episodes": 30})
    )
    videos = next(each for each in shown(root)["runs"] if each["videos"])["videos"]
    said = {each["name"].removesuffix(".mp4"): each["score"] for each in videos}
    assert said["000000000003"] is None
    assert said["holiday"] is None
    assert said[f"{early:012d}"]["mean"] == evaluations.value[0]
    assert not said[f"{early:012d}"]["final"]
    assert (said[f"{middle:012d}"]["mean"], said[f"{middle:012d}"]["episodes"]) == (77.5, 30)
    assert said[f"{10**7:012d}"]["mean"] == evaluations.value[-1]


@pytest.mark.parametrize("value", [sys.float_info.max, -sys.float_info.max, 1e308, 1e100, -1e100])
@pytest.mark.parametrize("name", ["step", "time", "charts/SPS", "eval/return_mean", "x"])
def test_no_number_is_too_large_for_the_page(root: Path, name: str, value: float):
    record = {"step": 10**7 + 1, "time": 2e4, name: value}
    lines = [record, record | {"step": 10**7 + 2, name: -value}]
    for run in sorted(root.iterdir())[:5]:
        with (run / "metrics.jsonl").open("a") as file:
            file.writelines(json.dumps(line) + "\n" for line in lines)
    scored = {"eval/return_mean": value, "eval/human_normalized": -value, "episodes": value}
    (root / NAME / "eval.json").write_text(json.dumps(scored | {"checkpoint_step": value}))
    numbers = list(numbers_in(shown(root)))
    # What a plot computes with them, an axis from one to the other and steps in frames, is finite.
    assert all(math.isfinite(16 * number) for number in numbers)
    assert max(numbers) - min(numbers) <= 1e101


def numbers_in(value: object) -> Iterator[float]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for each in value:
            yield from numbers_in(each)
    elif isinstance(value, int | float):
        yield value


def test_a_number_that_json_lacks_does_not_lose_the_page():
    assert json.loads(page.inert({"a": [1.5, float("nan")], "b": (float("inf"),)})) == {
        "a": [1.5, None],
        "b": [None],
    }


@pytest.mark.parametrize("where", ["algo", "env_id", "setting", "value", "metric", "directory"])
def test_long_names_are_cut_and_stay_different(tmp_path: Path, where: str):
    root = tmp_path
    make_runs(root, 24, 20)
    for number, run in enumerate(sorted(root.glob("*Pong*ppo*"))):
        text = "x" * (100 if where == "directory" else 10_000) + str(number)
        saved = json.loads((run / "config.json").read_text())
        if where == "algo":
            saved["algo"] = text
        elif where == "env_id":
            saved["env_spec"]["env_id"] = saved["config"]["env_id"] = text
        elif where == "setting":
            saved["config"][text] = 1
        elif where == "value":
            saved["config"] |= {"note": text}
        (run / "config.json").write_text(json.dumps(saved))
        if where == "metric":
            with (run / "metrics.jsonl").open("a") as file:
                file.write(json.dumps({"step": 10**7 + 1, "time": 2e4, text: 1.0}) + "\n")
        if where == "directory":
            (root / text / text).mkdir(parents=True)
            run.rename(root / text / text / run.name)
    data = shown(root)
    assert max(map(len, texts_in(data))) <= 200
    assert len({run["name"] for run in data["runs"]}) == len(data["runs"]) == 24
    # The two seeds of one agent and game are one group no more.
    differ = where in ("algo", "env_id", "setting", "value")
    assert len(data["groups"]) == (13 if differ else 12)
    if where in ("algo", "env_id"):
        name = where.removesuffix("_id")
        assert len({run[name] for run in data["runs"] if "x" * 50 in run[name]}) == 2
    if where == "metric":
        assert len([name for name in data["metrics"] if "xxx" in name]) == 2


def texts_in(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        yield from texts_in([*value, *value.values()])
    elif isinstance(value, list | tuple):
        for each in value:
            yield from texts_in(each)
    elif isinstance(value, str):
        yield value


def test_no_control_or_direction_character_reaches_the_page(root: Path):
    saved = json.loads((root / NAME / "config.json").read_text())
    saved |= {"algo": "a\x1b[2J\u202e", "config": saved["config"] | {"\x9b": "\u2066\n"}}
    (root / NAME / "config.json").write_text(json.dumps(saved))
    everything = "".join(texts_in(shown(root)))
    assert not set("\x1b\x9b\n\u202e\u2066") & set(everything)


def test_only_what_has_changed_is_read_again(root: Path):
    reader = Reader(root)
    before = {run.name: run for run in reader.read()[0]}
    with (root / NAME / "metrics.jsonl").open("a") as file:
        file.write('{"step": 10000001, "time": 1, "charts/SPS": 5}\n')
    after = {run.name: run for run in reader.read()[0]}
    assert [name for name in after if after[name] is not before[name]] == [NAME]


def test_no_directory_is_one_line_and_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    with pytest.raises(SystemExit, match="2"):
        command.main([str(tmp_path / "nothing")])
    assert capsys.readouterr().err == f"error: no directory at {tmp_path / 'nothing'}\n"


def test_a_wrong_name_of_demonstrations_is_a_user_error(tmp_path: Path):
    with pytest.raises(UserError, match="did you mean 'pong-expert-v1'"):
        command.maker(command.Arguments(runs=tmp_path, demos=("pong-expert",)))


def test_an_empty_directory_makes_a_page(tmp_path: Path):
    with pytest.raises(SystemExit, match="0"):
        command.main([str(tmp_path), "-o", str(tmp_path / "page.html")])
    assert (tmp_path / "page.html").stat().st_size > 1_000_000


def test_seeds_are_one_group_and_other_settings_another(root: Path):
    make_runs(root / "more", 12, 20, seed=1)
    path = root / "more" / NAME
    saved = json.loads((path / "config.json").read_text())
    saved["config"] |= {"learning_rate": 0.001, "seed": 9}
    (path / "config.json").write_text(json.dumps(saved))
    runs = Reader(root).read()[0]
    groups = grouped(runs)
    sizes = {group.variant: len(group.runs) for group in groups if "Pong" in group.protocol}
    assert sizes == {"a2c": 2, "dqn": 2, "ppo": 1, "ppo, learning_rate 0.001": 1}


def test_variants_with_many_differences_keep_different_names():
    usual = dict.fromkeys("abcde", "0")
    names = variant_names("ppo", [usual, usual, usual | dict.fromkeys("abcd", "1"),
                                  usual | dict.fromkeys("abce", "1")])  # fmt: skip
    assert len(set(names)) == 3
    assert names[0] == names[1] == "ppo"


def test_pages_hold_so_many_points_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    make_runs(tmp_path, 24, 800)
    monkeypatch.setattr(content, "POINTS", 12_000)
    curves = shown(tmp_path)["curves"]
    points = sum(len(curve[0]) for of_runs in curves.values() for curve in of_runs.values())
    assert 6_000 < points <= 12_000


def test_csv_has_every_value_and_no_formula(root: Path):
    hostile = root / "=cmd()|'!A0__ppo__1__20260101-000000"
    (root / NAME).rename(hostile)
    with pytest.raises(SystemExit, match="0"):
        command.main([str(root), "--csv", str(root / "curves.csv")])
    with (root / "curves.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    runs = Reader(root).read()[0]
    assert len(rows) == sum(len(series) for run in runs for series in run.series.values())
    assert {row["run"][0] for row in rows} == {"A", "'"}
    row = next(row for row in rows if row["metric"] == "charts/SPS")
    assert float(row["frames"]) == 4 * float(row["step"])


def test_tensorboard_files_have_the_values(root: Path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    single = root / NAME
    with pytest.raises(SystemExit, match="0"):
        command.main([str(single), "--tensorboard", str(root / "tb")])
    events = EventAccumulator(str(root / "tb" / NAME)).Reload()
    expected = one(root).series["eval/return_mean"]
    found = events.Scalars("eval/return_mean")
    assert [event.step for event in found] == expected.step.tolist()
    assert [event.value for event in found] == pytest.approx(expected.value.tolist(), rel=1e-6)
    with pytest.raises(SystemExit, match="2"):
        command.main([str(single), "--tensorboard", str(root / "tb")])


def test_a_page_is_whole_or_absent(root: Path, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit, match="2"):
        command.main([str(root / NAME), "-o", str(root / "no" / "page.html")])
    assert "cannot be written" in capsys.readouterr().err


def test_a_name_that_is_no_text_is_shown(tmp_path: Path):
    path = make_run(tmp_path, "Pong", "ppo", 1, 50, np.random.default_rng(0))
    os.rename(path, os.fsencode(tmp_path) + b"/bad\xff__ppo__1__20260101-000004")
    assert shown(tmp_path)["runs"][0]["name"] == "bad?__ppo__1__20260101-000004"
