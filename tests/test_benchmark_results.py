"""Every result file that a document names exists, and a document names every result file."""

from __future__ import annotations

import csv
import json
import re
from fnmatch import fnmatchcase
from pathlib import Path

from benchmarks import machine

ROOT = Path(__file__).parents[1]
FILES = {file.name for file in machine.RESULTS.glob("*.json")}


def documents() -> list[Path]:
    readmes = [ROOT / "README.md", ROOT / "benchmarks" / "README.md"]
    return [*readmes, *sorted((ROOT / "docs").rglob("*.md"))]


def named_in(text: str) -> set[str]:
    """Result files that a text names between backticks, `*`, `[12]` and `{a,b}` spelled out."""
    names = re.findall(r"`(?:benchmarks/results/)?([^`\s/]+\.json)`", text)
    dated = [name for name in names if re.search(r"-(20\d{6}|\*)", name)]
    return {spelled for name in dated for spelled in spelled_out(name)}


def spelled_out(name: str) -> list[str]:
    """`a-b` and `a-c` for `a-{b,c}`."""
    before, brace, rest = name.partition("{")
    if not brace:
        return [name]
    choices, _, after = rest.partition("}")
    return [f"{before}{each}{tail}" for each in choices.split(",") for tail in spelled_out(after)]


def history() -> list[dict[str, str]]:
    with (machine.RESULTS / "history.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_patterns_are_spelled_out() -> None:
    assert named_in("`fuzz-*.json`, `speed-{ppo,a2c}-[12]-20261122.json` and `dataset.json`") == {
        "fuzz-*.json",
        "speed-ppo-[12]-20261122.json",
        "speed-a2c-[12]-20261122.json",
    }


def test_every_result_file_that_a_document_names_exists_or_is_in_the_history() -> None:
    known = FILES | {line["source"] for line in history()}
    missing = [
        (str(document.relative_to(ROOT)), name)
        for document in documents()
        for name in sorted(named_in(document.read_text("utf-8")))
        if not any(fnmatchcase(file, name) for file in known)
    ]
    assert missing == []


def test_the_measuring_page_names_only_files_that_are_kept() -> None:
    names = named_in((ROOT / "benchmarks" / "README.md").read_text("utf-8"))
    assert sorted(name for name in names if not any(fnmatchcase(f, name) for f in FILES)) == []


def test_a_document_names_every_result_file() -> None:
    names = {name for document in documents() for name in named_in(document.read_text("utf-8"))}
    unnamed = [file for file in FILES if not any(fnmatchcase(file, name) for name in names)]
    assert sorted(unnamed) == [], "name it in benchmarks/README.md, or replace it by history.csv"


def test_a_result_file_tells_its_command_and_machine() -> None:
    for file in sorted(FILES):
        record = json.loads((machine.RESULTS / file).read_text("utf-8"))
        assert record["command"].startswith("python "), file
        assert {"date", "cpu", "commit"} <= record["machine"].keys(), file
        assert record["result"], file


def test_each_line_of_the_history_is_complete_and_in_order() -> None:
    lines = history()
    assert list(lines[0]) == [
        *("date", "commit", "cpu", "command", "what", "metric", "value", "source"),
    ]
    for line in lines:
        assert all(line.values()), line
        float(line["value"])
    dates = [line["date"] for line in lines]
    assert dates == sorted(dates)


def test_a_result_file_has_few_lines(tmp_path: Path) -> None:
    curve = [[step, step / 7, -20.5] for step in range(1000)]
    result = {"training_curve": curve, "nested": {"empty": [], "text": "x" * 200, "none": None}}
    path = machine.write_result("speed", result, tmp_path)
    text = path.read_text("utf-8")
    assert json.loads(text)["result"] == result
    assert len(text.splitlines()) < 500
    curve_lines = [line for line in text.splitlines() if line.strip().startswith("[")]
    assert max(map(len, curve_lines)) <= machine.WIDTH + 1
