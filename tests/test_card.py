"""Model cards: what they tell, that names stay text, and an upload to a Hub that is a stub."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import run_tiny

from agents import card
from agents.core.launch import parse
from agents.core.run import Run
from agents.report.reading import read_run
from envs.text import plain

hub = pytest.importorskip("huggingface_hub")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A small real run with evaluated weights, a score and a film."""
    args = ("--env", "CartPole-v1", "--total-steps", "128", "--gamma", "0.9", "--seed", "7")
    made = run_tiny(tmp_path_factory.mktemp("runs"), "ppo", *args, "--final-eval-episodes", "2")
    (made.path / "videos").mkdir(exist_ok=True)
    (made.path / "videos" / "000000000128.mp4").write_bytes(b"film")
    return made


def told(run: Run) -> str:
    with pytest.raises(SystemExit, match="0"):
        card.main([str(run.path)])
    return (run.path / "README.md").read_text()


def front(text: str) -> dict[str, Any]:
    """The front matter, whose values are JSON."""
    lines = text.split("---\n")[1].splitlines()
    return {name: json.loads(value) for name, _, value in (each.partition(": ") for each in lines)}


def test_a_card_tells_score_protocol_settings_and_film(run: Run):
    text = told(run)
    score = json.loads((run.path / "eval.json").read_text())
    header = front(text)
    assert header["pipeline_tag"] == "reinforcement-learning"
    assert "CartPole-v1" in header["tags"]
    (result,) = header["model-index"][0]["results"]
    assert result["metrics"][0]["value"].startswith(f"{score['eval/return_mean']:.2f}")
    assert "| Whole episodes | 2 |" in text
    assert "| Protocol | CartPole-v1 |" in text
    assert '"gamma": 0.9' in text
    assert '<video src="videos/000000000128.mp4"' in text


def test_the_command_of_a_card_asks_for_the_same_run(run: Run):
    from agents import ppo

    command = card.command(read_run(run.path, run.path))
    assert command.startswith("python -m agents.ppo --env CartPole-v1")
    config, _ = parse(ppo, shlex.split(command)[3:])
    again = json.loads(json.dumps(vars(config), default=str))
    assert card.told(again) == card.told(run.config()["config"])


def test_a_run_without_score_or_film_has_a_card(tmp_path: Path):
    made = run_tiny(tmp_path, "ppo", "--env", "CartPole-v1", "--total-steps", "64")
    (made.path / "eval.json").unlink(missing_ok=True)
    (made.path / "metrics.jsonl").write_text('{"step": 64, "ti')
    text = told(made)
    assert "It has not been evaluated." in text
    assert "<video" not in text


def test_hostile_names_stay_text(run: Run, tmp_path: Path):
    hostile = "x\n---\ntags: [evil]\n<script>hacked()</script> ```\n[a](javascript:b) |"
    saved = run.config()
    saved["algo"] = hostile
    saved["config"]["demos"] = "```\n<b>"
    saved["env_spec"]["env_id"] = saved["config"]["env_id"] = hostile
    (tmp_path / "config.json").write_text(json.dumps(saved))
    (tmp_path / "eval.json").write_bytes((run.path / "eval.json").read_bytes())
    text = told(Run.open(tmp_path))
    # A name has one line wherever it is shown.
    assert front(text)["tags"][2:] == [plain(hostile)] * 2
    body = text.split("---\n", 2)[2]
    outside = "".join(body.split("````")[::2])
    assert "<script>" not in outside
    assert "](javascript" not in outside.replace("\\[a\\](", "")


class Hub:
    """What `push` asks of the Hub."""

    def __init__(self) -> None:
        self.repositories: list[tuple[str, bool]] = []
        self.files: dict[str, bytes] = {}

    def create_repo(self, name: str, private: bool, exist_ok: bool) -> SimpleNamespace:
        assert exist_ok
        self.repositories.append((name, private))
        return SimpleNamespace(repo_id=f"me/{name}")

    def create_commit(self, name: str, operations: list[Any], commit_message: str) -> Any:
        assert name.startswith("me/") and "ppo" in commit_message
        for each in operations:
            data = each.path_or_fileobj
            self.files[each.path_in_repo] = (
                data if isinstance(data, bytes) else Path(data).read_bytes()
            )
        return SimpleNamespace(commit_url="https://hub.example/commit/1")


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Hub:
    made = Hub()
    monkeypatch.setattr(hub, "HfApi", lambda: made)
    monkeypatch.setattr(hub, "get_token", lambda: "a token")
    return made


def test_a_push_uploads_what_it_takes_to_play(
    run: Run, stub: Hub, capsys: pytest.CaptureFixture[str]
):
    with pytest.raises(SystemExit, match="0"):
        card.main([str(run.path), "--push", "pole", "--private"])
    assert stub.repositories == [("pole", True)]
    names = set(stub.files)
    assert names >= {"README.md", "config.json", "eval.json", "replay.mp4"}
    assert "videos/000000000128.mp4" in names
    assert any(name.startswith("best/") and name.endswith(".safetensors") for name in names)
    assert not any(name.startswith(("checkpoints/", "wandb")) for name in names)
    assert stub.files["README.md"] == (run.path / "README.md").read_bytes()
    assert "pushed https://hub.example/commit/1" in capsys.readouterr().out


def test_nobody_is_logged_in(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(hub, "get_token", lambda: None)
    monkeypatch.setattr(hub, "HfApi", lambda: pytest.fail("asked the Hub"))
    with pytest.raises(SystemExit, match="2"):
        card.main([str(run.path), "--push", "pole"])
    assert "run `hf auth login`" in capsys.readouterr().err


def test_a_hub_that_refuses_is_one_line(
    run: Run, stub: Hub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def refuse(*_: Any, **__: Any) -> None:
        raise hub.errors.HFValidationError("a name has no blanks\nmore")

    monkeypatch.setattr(stub, "create_repo", refuse)
    with pytest.raises(SystemExit, match="2"):
        card.main([str(run.path), "--push", "p o l e"])
    assert capsys.readouterr().err == "error: --push p o l e: a name has no blanks\n"


def test_a_directory_that_is_no_run_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit, match="2"):
        card.main([str(tmp_path)])
    assert capsys.readouterr().err.startswith(f"error: no run directory at {tmp_path}")
