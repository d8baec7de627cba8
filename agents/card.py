"""`python -m agents.card runs/<run>` writes a model card for the Hugging Face Hub, README.md.

The card has the score with its protocol, the settings, the command that repeats the training, and a
film. --push NAME uploads the card, the best weights, the config, the score and the film. It needs
pip install -e ".[hub]" and `hf auth login`.
"""

from __future__ import annotations

import json
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from agents.core.runs.run import Run
from agents.core.training import algorithms, arguments
from agents.core.training.config import to_json
from agents.report.reading import RunRecord, Score, read_run, step_of
from demos.dataset import write
from envs import EnvSpec, UserError, command_line
from envs.catalog import require_trusted
from envs.entry import command as one_line_errors
from envs.errors import first_line
from envs.files import is_directory, is_regular
from envs.output import tell
from envs.scores import reference_scores

NOT_TOLD = {"runs_dir", "wandb", "group", "tags"}
"""Settings that a card leaves out, because they concern only the training machine."""


@dataclass(frozen=True, kw_only=True)
class Arguments:
    run: tyro.conf.Positional[Path]  # Directory of the run.
    out: Path | None = None  # File to write the card to; None is README.md in the run.
    push: str = ""  # Repository of the Hub to upload to, "name" or "organization/name".
    private: bool = False  # Make a new repository of --push private.
    license: str = "mit"  # License of the weights, as the Hub spells it.


def card(record: RunRecord, game: str | None, license: str) -> str:
    """Returns the card as Markdown with a YAML header.

    Args:
        record: the run.
        game: the Atari game as `EnvSpec.game`, for the reference scores; None for none.
        license: license of the weights.
    """
    score = record.score
    shown = film_of(record)
    lines = [
        f"# {inline(record.algo)} on {inline(record.protocol)}",
        f"Trained with Joystick for {record.last[0]:,.0f} steps"
        + (f" ({record.last[0] * record.frameskip:,.0f} frames)" if record.frameskip > 1 else "")
        + ".",
        "## Score",
        scores(record, score, reference_scores(game)) if score else "It has not been evaluated.",
        *(["## Film", film(shown)] if shown else []),
        "## Train it again",
        fenced("bash", command(record)),
        "## Settings",
        fenced("json", json.dumps(told(record.config), indent=2)),
    ]
    return f"---\n{header(record, license)}---\n" + "\n\n".join(lines) + "\n"


def header(record: RunRecord, license: str) -> str:
    """The YAML front matter. Its values are JSON, which is YAML and quotes any name safely."""
    values: dict[str, Any] = {
        "library_name": "joystick",
        "license": license,
        "pipeline_tag": "reinforcement-learning",
        "tags": ["reinforcement-learning", "joystick", record.algo, record.env_id],
    }
    score = record.score
    if score:
        interval = "" if score.ci95 is None else f" +/- {score.ci95:.2f}"
        dataset = {"name": record.protocol, "type": record.env_id}
        metrics = [
            {"type": "mean_reward", "name": "mean return", "value": f"{score.mean:.2f}{interval}"}
        ]
        result = {
            "task": {"type": "reinforcement-learning", "name": "reinforcement-learning"},
            "dataset": dataset,
            "metrics": metrics,
        }
        values["model-index"] = [{"name": record.algo, "results": [result]}]
    return "".join(f"{name}: {json.dumps(value)}\n" for name, value in values.items())


def scores(record: RunRecord, score: Score, known: dict[str, float]) -> str:
    """A table of the score, its protocol, and the scores to compare it with."""
    interval = "" if score.ci95 is None else f" ± {score.ci95:.2f} (95%)"
    human = "" if score.human is None else f"{score.human:.1%}"
    kind = "" if score.final else ", an evaluation during training"
    rows = {
        "Mean return": f"{score.mean:.2f}{interval}",
        "Human-normalized": human,
        "Whole episodes": "" if score.episodes is None else f"{score.episodes}{kind}",
        "Exploration": score.how,
        "Protocol": inline(record.protocol),
        "Weights of step": f"{score.step:,}",
        **{f"Mean return, {who}": f"{value:g}" for who, value in known.items()},
    }
    told = "".join(f"| {name} | {value} |\n" for name, value in rows.items() if value)
    return f"| | |\n|---|---|\n{told}".rstrip()


def film_of(record: RunRecord) -> Path | None:
    """The film of the scored weights, or else the newest film, or None."""
    scored = record.score and record.score.step
    return next(
        (path for path in record.videos if step_of(path) == scored),
        next(reversed(record.videos), None),
    )


def film(path: Path) -> str:
    """The HTML of a film in the run's folder, and the step of its weights."""
    step = step_of(path)
    said = "" if step is None else f"\n\nThe weights of step {step:,} play."
    return f'<video src="{path.parent.name}/{path.name}" controls muted></video>{said}'


def told(config: dict[str, Any]) -> dict[str, Any]:
    """The settings that the card shows."""
    return {name: value for name, value in config.items() if name not in NOT_TOLD}


def command(record: RunRecord) -> str:
    """The command that repeats the training.

    It has the settings that differ from the defaults of the environment. For an unknown algorithm,
    it has all settings.
    """
    config = told(record.config)
    env_id = str(config.get("env_id", record.env_id))
    try:
        module = algorithms.algorithm(record.algo)
        # The name comes from a file, which must not import a module.
        require_trusted(env_id)
        default = arguments.preset(module, "auto", env_id, str(config.get("device", "auto")))
        usual = to_json(default)
    except (UserError, TypeError):
        usual = {}
    flags = ["--env", env_id]
    for name, value in config.items():
        if usual and name not in usual:
            # The current version has no such setting.
            continue
        same = name in usual and plain(usual[name]) == value
        if name == "learning_rate" and isinstance(usual.get(name), str) and not same:
            value = constant_text(value)
        if name == "seed" or (name != "env_id" and not same):
            flags += flag(name, value)
    return shlex.join(["python", "-m", f"agents.{record.algo}", *flags])


def constant_text(value: Any) -> Any:
    """A number as a constant schedule; a plain number would keep the shape of the default."""
    return f"{value}..{value}" if isinstance(value, int | float) else value


def plain(value: Any) -> Any:
    """A setting with the types that JSON preserves."""
    return json.loads(json.dumps(value, default=str))


def flag(name: str, value: Any) -> list[str]:
    """A setting as the words of a command line."""
    dashed = name.replace("_", "-")
    if isinstance(value, bool):
        return [f"--{dashed}" if value else f"--no-{dashed}"]
    values = value if isinstance(value, list) else [value]
    return [f"--{dashed}", *map(str, values)]


def inline(text: str) -> str:
    """Text on one line, escaped for Markdown and HTML."""
    line = " ".join(text.split())
    return "".join(f"\\{c}" if c in "\\`*[]|#!~$" else ESCAPES.get(c, c) for c in line)


ESCAPES = {"<": "&lt;", ">": "&gt;", "&": "&amp;"}


def fenced(language: str, text: str) -> str:
    """A Markdown block of code, with a fence longer than any fence in the text."""
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}{language}\n{text}\n{fence}"


def push(run: Run, record: RunRecord, text: str, repository: str, private: bool) -> str:
    """Uploads card, best weights, config, score and film as one commit; returns its address.

    Raises:
        UserError: huggingface_hub is not installed, the user is not logged in, the run has no best
            weights, or the Hub refuses.
    """
    try:
        import huggingface_hub as hub
    except ImportError:
        raise UserError("--push needs huggingface_hub: pip install -e '.[hub]'") from None
    if hub.get_token() is None:
        raise UserError("--push: not logged in to the Hugging Face Hub: run `hf auth login`")
    shared = run.shared_files()
    if not shared:
        raise UserError(
            f"--push {repository}: {run.path} has no intact best weights; evaluations in training"
            " save them, so --resume the run with --eval-every-steps"
        )
    files = {"README.md": text.encode()}
    files |= {path.relative_to(run.path).as_posix(): path for path in shared}
    shown = film_of(record)
    if shown and is_regular(shown) and is_directory(run.path / "videos"):
        # The Hub shows a file of this name beside the card.
        files["replay.mp4"] = shown
        files[f"videos/{shown.name}"] = shown
    operations = [
        hub.CommitOperationAdd(name, data if isinstance(data, bytes) else str(data))
        for name, data in files.items()
    ]
    api = hub.HfApi()
    try:
        made = api.create_repo(repository, private=private, exist_ok=True).repo_id
        message = f"{record.algo} on {record.protocol}"
        return str(api.create_commit(made, operations, commit_message=message).commit_url)
    except (hub.errors.HfHubHTTPError, hub.errors.HFValidationError, OSError) as error:
        first = first_line(error)
        raise UserError(f"--push {repository}: {first}") from None


def game_of(run: Run) -> str | None:
    """The game whose published scores compare with the run's; None without one, or if damaged."""
    try:
        return EnvSpec.from_json(run.config()["env_spec"]).scored_game
    except (UserError, KeyError, TypeError, AttributeError):
        return None


def write_card(arguments: Arguments) -> None:
    """Writes the card, and uploads it with `--push`."""
    run = Run.open(arguments.run)
    record = read_run(run.path, run.path)
    text = card(record, game_of(run), arguments.license)
    out = arguments.out or run.path / "README.md"
    write(out, text.encode())
    tell(f"wrote {out}")
    if arguments.push:
        tell(f"pushed {push(run, record, text, arguments.push, arguments.private)}")


def main(args: list[str] | None = None) -> None:
    """Runs the command and exits; the exit code is 2 on bad input."""
    with one_line_errors():
        arguments = command_line.parse(
            Arguments, args=args, prog="python -m agents.card", description=__doc__
        )
        write_card(arguments)
    sys.exit(0)


if __name__ == "__main__":
    main()
