"""`--help` fits the terminal, and says of each setting what it is and its default."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from test_command_line import COMMANDS

from agents import watch
from agents.core.training import help
from agents.core.training.algorithms import algorithm, algorithms
from agents.core.training.launch import main
from agents.core.types.settings import flag, names, schedules
from demos import __main__ as demos

DEMOS = ("record", "verify", "replay", "stats", "list", "filter", "split", "merge", "drop")
DEMOS += ("seal", "card", "export", "import")


@pytest.fixture(autouse=True)
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


def printed(
    capsys: pytest.CaptureFixture[str], command: Callable[[list[str]], None], *words: str
) -> str:
    with pytest.raises(SystemExit) as exit_info:
        command([*words, "--help"])
    assert exit_info.value.code == 0
    return capsys.readouterr().out


def of(capsys: pytest.CaptureFixture[str], algo: str, *words: str) -> str:
    return printed(capsys, lambda args: main(algo, args), *words)


def too_long(text: str, columns: int = 80) -> list[str]:
    return [line for line in text.splitlines() if len(line) > columns]


def entries(text: str) -> Iterator[tuple[str, str, str]]:
    """(title, flag, what follows it) of each setting."""
    for group in re.split(r"\n\n(?=\S[^\n]*:\n  --)", text)[1:]:
        title, _, rows = group.partition(":\n")
        for row in re.split(r"\n(?=  --)", rows.rstrip()):
            term, rest = row.split(maxsplit=1)
            yield title, term.replace("--[no-]", "--"), " ".join(rest.split())


def defaults(text: str) -> dict[str, str]:
    """The defaults that a help names, by flag."""
    return {name: rest[rest.rindex("[") + 1 : -1] for _, name, rest in entries(text)}


@pytest.mark.parametrize("preset", [None, "control"])
@pytest.mark.parametrize("algo", algorithms())
def test_no_line_of_an_algorithms_help_is_longer_than_the_terminal(
    algo: str, preset: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    text = of(capsys, algo, *(["--preset", preset] if preset else []))
    assert too_long(text) == []


@pytest.mark.parametrize("algo", algorithms())
def test_a_wider_terminal_has_fewer_lines(
    algo: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    narrow = of(capsys, algo)
    monkeypatch.setenv("COLUMNS", "120")
    wide = of(capsys, algo)
    assert too_long(wide, 120) == []
    assert too_long(wide) != []
    assert wide.count("\n") < narrow.count("\n")


@pytest.mark.parametrize("command", [*COMMANDS, watch.main])
def test_no_line_of_a_tools_help_is_longer_than_the_terminal(
    command: Callable[[list[str]], None], capsys: pytest.CaptureFixture[str]
) -> None:
    text = printed(capsys, command)
    assert text.startswith("usage: ")
    assert "<description>" not in text
    assert too_long(text) == []


@pytest.mark.parametrize("name", DEMOS)
def test_no_line_of_the_help_of_demos_is_longer_than_the_terminal(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert too_long(printed(capsys, demos.main, name)) == []


@pytest.mark.parametrize("algo", algorithms())
def test_every_setting_is_in_one_titled_group_and_no_absent_one_is(
    algo: str, capsys: pytest.CaptureFixture[str]
) -> None:
    config = algorithm(algo).Config
    shown = [(title, name) for title, name, _ in entries(of(capsys, algo))]
    assert sorted(name for _, name in shown) == sorted(map(flag, names(config)))
    assert all(title for title, _ in shown)
    absent = [field.name for field in dataclasses.fields(config) if not field.init]
    assert {flag(name) for name in absent}.isdisjoint(name for _, name in shown)


@pytest.mark.parametrize("algo", algorithms())
def test_a_setting_stays_with_its_part_where_an_algorithm_has_another_default(algo: str) -> None:
    module = algorithm(algo)
    groups = help.groups(module.Config, algo)
    title_of = {name: title for title, settings in groups.items() for name in settings}
    titles = [*groups]
    assert titles[:2] == ["Run", "Environment"]
    assert titles[-1] == (title_of[OWN[algo]] if algo in OWN else "Learning")
    assert title_of["learning_rate"] == title_of["max_grad_norm"] == "Optimizer"
    assert title_of["layer_norm"] == "Network"
    assert title_of["env_id"] == title_of["frameskip"] == "Environment"
    assert title_of["seed"] == title_of["preset"] == "Run"


OWN = {
    "a2c": "entropy_coefficient",
    "bc": "dropout",
    "c51": "num_atoms",
    "dagger": "beta",
    "dqfd": "margin",
    "dqn": "action_gap",
    "gail": "reward",
    "iq_learn": "temperature",
    "iq_sac": "penalty",
    "iqn": "num_fractions",
    "ppo": "epochs",
    "pqn": "q_lambda",
    "qr_dqn": "num_quantiles",
    "sac": "alpha",
    "td3": "target_noise",
}
"""A setting that no other algorithm shares a part with; REINFORCE and SQIL have none."""


@pytest.mark.parametrize("algo", algorithms())
def test_every_setting_has_its_explanation(algo: str, capsys: pytest.CaptureFixture[str]) -> None:
    for _, name, rest in entries(of(capsys, algo)):
        assert re.search(r"\w{2,}.*\w{2,}.*[.)] \[[^\]]+\]$", rest), (name, rest)


def test_a_setting_is_called_alike_in_every_algorithm() -> None:
    terms: dict[str, set[str]] = {}
    for algo in algorithms():
        module = algorithm(algo)
        for name in {*names(module.Config)} - {"preset"}:
            terms.setdefault(name, set()).add(help.term(module, name))
    assert [each for each in terms.values() if len(each) > 1] == []
    assert terms["total_steps"] == {"--total-steps STEPS"}
    assert terms["ema_updates"] == {"--ema-updates UPDATES"}
    assert terms["horizon_steps"] == {"--horizon-steps STEPS"}
    assert terms["env_kwargs"] == {"--env-kwargs NAME=VALUE|JSON"}
    assert terms["optimizer"] == {"--optimizer {adam,radam,rmsprop,nature_rmsprop}"}
    assert terms["video"] == {"--[no-]video"}


@pytest.mark.parametrize("algo", algorithms())
def test_schedules_are_explained_once(algo: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = of(capsys, algo)
    assert text.count("START..END") == 1
    for name in schedules(algorithm(algo).Config):
        assert re.search(rf"{flag(name)} SCHEDULE\b", text)


def expected(config: Any) -> dict[str, str]:
    return {flag(name): help.shown(getattr(config, name)) for name in names(type(config))}


@pytest.mark.parametrize("algo", algorithms())
def test_the_defaults_are_those_of_the_environments_preset(
    algo: str, capsys: pytest.CaptureFixture[str]
) -> None:
    presets = algorithm(algo).PRESETS
    control = dataclasses.replace(presets["control"], preset="control", env_id="CartPole-v1")
    text = of(capsys, algo, "--env", "CartPole-v1")
    assert defaults(text) == expected(control)
    assert "preset control for CartPole-v1" in text
    assert defaults(text) != defaults(of(capsys, algo, "--device", "cpu"))


@pytest.mark.parametrize(
    ("algo", "preset"), [(algo, each) for algo in algorithms() for each in algorithm(algo).PRESETS]
)
def test_the_defaults_are_those_of_the_preset(
    algo: str, preset: str, capsys: pytest.CaptureFixture[str]
) -> None:
    config = dataclasses.replace(algorithm(algo).PRESETS[preset], preset=preset)
    text = of(capsys, algo, "--preset", preset)
    assert defaults(text) == expected(config)
    assert "`--env X --help` and `--preset P --help` show the defaults of X and of P." in text


def test_a_default_is_shown_as_a_person_reads_it() -> None:
    values = (True, False, None, "", (), {}, ("a", "b"), {"gravity": -5.0}, 3, 1e-5)
    shown = ["yes", "no", *["unset"] * 4, "a b", "gravity=-5.0", "3", "1e-05"]
    assert [help.shown(value) for value in values] == shown


@dataclasses.dataclass
class Documented:
    inline: int = 1  # Beside it.
    # Above it,
    # in two lines.
    above: str = "# not this"
    below: tuple[int, ...] = (
        1,
        2,
    )
    """Below it,
    in two lines."""
    without: int = 2


def test_the_explanation_is_the_comment_or_docstring() -> None:
    assert help.documented(Documented) == {
        "inline": "Beside it.",
        "above": "Above it, in two lines.",
        "below": "Below it, in two lines.",
        "without": "",
    }


def test_an_algorithm_is_imported_without_what_its_help_does_not_need() -> None:
    """SciPy's statistics alone take 0.7 s."""
    lines = "import sys, agents.dqn; print([each for each in NAMES if each in sys.modules])"
    code = f"NAMES = ['scipy.stats', 'wandb', 'matplotlib']; {lines}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")
