"""Model cards: what they tell, that names stay text, and an upload to a Hub that is a stub."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import run_tiny

from agents import card
from agents.core.runs import artifacts
from agents.core.runs.run import Run
from agents.core.training.arguments import parse
from agents.core.training.config import to_json
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
    config = parse(ppo, shlex.split(command)[3:]).config
    again = json.loads(json.dumps(to_json(config), default=str))
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


def test_a_hub_and_a_tracker_get_the_same_of_a_run(run: Run, stub: Hub):
    """What a person put beside the weights stays here."""
    (best,) = (run.path / "best").iterdir()
    (best / "notes.txt").write_text("my own")
    (run.path / "best" / "mine").mkdir()
    (run.path / "best" / "mine" / "key").write_text("my own")
    with pytest.raises(SystemExit, match="0"):
        card.main([str(run.path), "--push", "pole"])
    of_card = {"README.md", "replay.mp4", "videos/000000000128.mp4"}
    assert set(stub.files) - of_card == set(artifacts.model(run, {}).files)
    assert b"my own" not in stub.files.values()


def test_a_score_of_other_weights_is_not_uploaded_with_the_best(run: Run):
    score = (run.path / "eval.json").read_bytes()
    try:
        for change in ({"checkpoint_step": 64}, {"checkpoint_step": None}, {}):
            other = json.loads(score) | change
            (run.path / "eval.json").write_text(json.dumps(other))
            assert (run.path / "eval.json" in run.shared_files()) == (change == {})
    finally:
        (run.path / "eval.json").write_bytes(score)


def test_weights_that_are_damaged_or_missing_are_not_pushed(
    tmp_path: Path, run: Run, stub: Hub, capsys: pytest.CaptureFixture[str]
):
    shutil.copytree(run.path, tmp_path / "copy")
    (file,) = tmp_path.glob("copy/best/*/weights.safetensors")
    for damage in (lambda: file.write_bytes(b"damaged"), lambda: shutil.rmtree(file.parents[1])):
        damage()
        with pytest.raises(SystemExit, match="2"):
            card.main([str(tmp_path / "copy"), "--push", "pole"])
        line = capsys.readouterr().err.splitlines()[-1]
        assert line.startswith("error: --push pole:") and "has no intact best weights" in line
    assert not stub.files and not stub.repositories


def test_the_film_of_a_card_is_of_the_weights_that_were_scored(run: Run, tmp_path: Path):
    copy = Run(tmp_path / "copy", run.algo)
    shutil.copytree(run.path, copy.path)
    (copy.path / "videos" / "000000000064.mp4").write_bytes(b"of the scored weights")
    score = json.loads((copy.path / "eval.json").read_text())
    for step, shown in ((64, 64), (128, 128), (96, 128)):
        (copy.path / "eval.json").write_text(json.dumps(score | {"checkpoint_step": step}))
        text = told(copy)
        assert f'<video src="videos/{shown:012d}.mp4"' in text
        assert f"The weights of step {shown:,} play." in text


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
