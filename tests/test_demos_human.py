"""A person records: keys are actions, the game waits where it should, and only whole games stay."""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from test_demos_cli import demos

import envs
from demos import human
from demos.dataset import Dataset
from demos.episode import Episode
from demos.keys import Controls, controls_of, digits
from demos.replaying import Moment
from demos.verification import verify
from demos.window import Keys, Window, window
from envs import EnvSpec, Tape, UserError
from envs.action_names import action_name
from envs.backends import open_pool
from envs.tapes import tape_seed


class Scripted:
    """A person who does what is written, and quits at its end."""

    def __init__(self, *script: Keys):
        self.script, self.shown = list(script), list[Moment]()

    def show(self, moment: Moment) -> None:
        self.shown.append(moment)

    def wait(self) -> Keys:
        return self.script.pop(0) if self.script else Keys(closed=True)

    @property
    def said(self) -> list[str]:
        return [" ".join(each.lines) for each in self.shown]


def strike(*keys: str) -> Keys:
    return Keys(held=keys, struck=keys)


def controls(env_id: str) -> Controls:
    return controls_of(envs.spec(env_id), envs.spaces_of(env_id)[1])


def sit(env: str | EnvSpec, *script: Keys, deaf_s: float = 0.0) -> tuple[list[Episode], Scripted]:
    spec = envs.spec(env) if isinstance(env, str) else env
    screen = Scripted(*script)
    pool = open_pool(spec, 1, 1, rgb=True)
    keys = controls_of(spec, pool.single_action_space)
    try:
        return list(human.games(spec, pool, keys, screen, 5, deaf_s)), screen
    finally:
        pool.close()


IDLE, SAVE, DISCARD = Keys(), strike("s"), strike("backspace")
GAME = [strike("0")] * 6


@pytest.mark.parametrize(
    ("env_id", "held", "action"),
    [
        ("Pong", (), "NOOP"),
        ("Pong", ("e",), "NOOP"),
        ("Pong", ("d",), "RIGHT"),
        ("Pong", ("right", "space"), "RIGHTFIRE"),
        ("Pong", ("space", "a"), "LEFTFIRE"),
        ("Pong", ("left", "right"), "RIGHT"),
        ("Pong", ("right", "left", "space"), "LEFTFIRE"),
        ("Pong", ("up",), "NOOP"),
        ("Breakout", ("left", "space"), "FIRE"),
        ("Seaquest", ("up", "right", "space"), "UPRIGHTFIRE"),
        ("MountainCar-v0", (), "1"),
        ("MountainCar-v0", ("left",), "0"),
        ("MountainCar-v0", ("right",), "2"),
        ("MountainCar-v0", ("d",), "2"),
        ("Acrobot-v1", (), "1"),
        ("Acrobot-v1", ("right",), "2"),
        ("LunarLander-v3", ("up",), "2"),
        ("toy/Identity-v0", ("3",), "3"),
    ],
)
def test_keys_are_actions(env_id: str, held: tuple[str, ...], action: str) -> None:
    if env_id == "LunarLander-v3":
        pytest.importorskip("Box2D")
    played = controls(env_id).action(Keys(held=held, struck=held))
    assert action_name(envs.spec(env_id), played) == action


def test_a_key_that_was_only_tapped_counts() -> None:
    assert controls("Breakout").action(Keys(struck=("space",))) == 1


def test_a_game_without_an_action_that_does_nothing_waits_for_a_key() -> None:
    cartpole = controls("CartPole-v1")
    assert cartpole.action(IDLE) is None
    assert cartpole.action(Keys(held=("left",))) is None, "it was struck before"
    assert cartpole.action(Keys(held=("left",), repeated=("left",))) == 0
    assert cartpole.action(Keys(held=("left", "right"), struck=("right",))) == 1
    assert cartpole.action(strike("x")) is None


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (spaces.Box(-1, 1, (2,)), "its action space is Box, and it has no get_keys_to_action"),
        (spaces.Discrete(11), "its actions are 0 to 10, but the keys are 0 to 9"),
        (spaces.Discrete(2, start=-1), "its actions are -1 to 0, but the keys"),
    ],
)
def test_actions_that_keys_cannot_play_are_said(space: Any, message: str) -> None:
    with pytest.raises(UserError) as caught:
        digits(envs.spec("Pendulum-v1"), space)
    assert message in str(caught.value) and "cannot play Pendulum-v1" in str(caught.value)


def test_the_keys_of_each_action_are_listed() -> None:
    assert "  RIGHTFIRE: d+space, right+space" in str(controls("Pong")).splitlines()


def test_a_saved_game_can_be_proved_and_is_what_was_played() -> None:
    script = [strike(key) for key in "012012"]
    (it,), screen = sit("toy/Catch-v0", *script, SAVE)
    assert it.actions.tolist() == [0, 1, 2, 0, 1, 2] and it.policy == "human"
    assert it.seed == tape_seed(5, 0, 0) and it.terminated
    assert verify(it) is None
    pictures = list(envs.render(it.tape))
    assert all(np.array_equal(a.picture, b) for a, b in zip(screen.shown, pictures, strict=False))
    assert "GAME OVER s saves, d discards, q quits" in screen.said[6]


def test_an_atari_game_can_be_played_until_it_is_cut_off_and_proved() -> None:
    short = dataclasses.replace(envs.spec("Pong"), max_episode_frames=400)
    (it,), _ = sit(short, strike("p"), *[IDLE, strike("right")] * 60, SAVE)
    assert verify(it) is None and not it.terminated
    assert set(it.actions.tolist()) == {0, 2} and it.actions.dtype == np.uint8


def test_a_pause_stops_the_game() -> None:
    script = [strike("1"), strike("p"), IDLE, strike("p"), strike("1")]
    _, screen = sit("toy/Catch-v0", *script)
    steps = [each.split()[1] for each in screen.said]
    assert steps == ["0", "1", "1", "1", "1", "2"]
    assert (
        "PAUSED" in screen.said[0] and "PAUSED" in screen.said[2] and "p pauses" in screen.said[1]
    )


def test_a_discarded_game_leaves_nothing_and_another_begins() -> None:
    (it,), _ = sit("toy/Catch-v0", *GAME, DISCARD, *GAME, SAVE)
    assert it.seed == tape_seed(5, 0, 1)
    none, _ = sit("toy/Catch-v0", *GAME, strike("d"), *GAME)
    assert none == []


def test_a_game_that_is_not_over_can_be_discarded_or_gone_on_with_but_not_saved() -> None:
    stop = strike("return")
    (it,), screen = sit("toy/Catch-v0", *GAME[:3], stop, SAVE, stop, *GAME[3:], SAVE)
    assert len(it) == 6 and it.seed == tape_seed(5, 0, 0)
    assert "Only whole games are kept enter goes on, d discards" in screen.said[4]
    (it,), _ = sit("toy/Catch-v0", *GAME[:3], stop, strike("d"), *GAME, SAVE)
    assert len(it) == 6 and it.seed == tape_seed(5, 0, 1)


def test_keys_that_were_meant_for_the_game_do_not_throw_it_away() -> None:
    games, screen = sit("toy/Catch-v0", *GAME, strike("d"), SAVE, deaf_s=60)
    assert games == [] and screen.said[-1].startswith("step 6")


@pytest.mark.parametrize("how", [strike("q"), strike("escape"), Keys(closed=True)])
def test_who_quits_keeps_the_games_before(how: Keys) -> None:
    games, screen = sit("toy/Catch-v0", *GAME, SAVE, *GAME[:2], how, *GAME, SAVE)
    assert len(games) == 1 and screen.script


def test_a_game_that_does_not_replay_is_refused() -> None:
    spec = envs.spec("toy/Catch-v0")
    pool = open_pool(spec, 1, 1, rgb=True)
    game = human.Game(spec, pool, 3)
    while not game.over:
        game.step(0)
    assert verify(human.proved(game)) is None
    game.rewards[2] = 1.0
    with pytest.raises(UserError, match="does not replay from seed and actions"):
        human.proved(game)


@pytest.fixture
def person(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Somebody at a window without a display, who does a thing after each picture."""
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    monkeypatch.setattr("envs.screens._chosen_here", False)
    pygame = pytest.importorskip("pygame")
    monkeypatch.setattr(human, "DEAF_S", 0.0)
    shows = Window.show

    def sits(*script: str | None) -> None:
        left = list(script)

        def show(self: Window, moment: Moment) -> None:
            shows(self, moment)
            key = left.pop(0) if left else "q"
            if key == "ctrl-c":
                raise KeyboardInterrupt
            if key is not None:
                for kind in (pygame.KEYDOWN, pygame.KEYUP):
                    pygame.event.post(pygame.event.Event(kind, key=pygame.key.key_code(key)))

        monkeypatch.setattr(Window, "show", show)

    return sits


def human_record(out: Path, *args: object, env_id: str = "toy/Catch-v0") -> int:
    return demos(
        "record", "--env", env_id, "--policy", "human", "--speed", 100, "--out", out, *args
    )


def test_a_person_records_a_dataset(
    tmp_path: Path, person: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    person(*"012012", "s", *"000000", "backspace", *"222222", "s", "1", "q")
    assert human_record(tmp_path / "d") == 0
    said = capsys.readouterr().out
    assert "2 episodes in" in said and "0: 0" in said
    kept = Dataset.open(tmp_path / "d")
    assert kept.metadata.policy == "human"
    assert [each.actions.tolist() for each in kept.episodes()] == [[0, 1, 2] * 2, [2] * 6]
    assert demos("verify", tmp_path / "d") == 0


def test_the_window_stays_when_the_next_game_begins(
    tmp_path: Path, person: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    import pygame

    opened: list[object] = []
    set_mode = pygame.display.set_mode
    monkeypatch.setattr(
        pygame.display, "set_mode", lambda *args: opened.append(args) or set_mode(*args)
    )
    fall = ["right"] * 10
    person(*fall, "s", *fall, "s")
    human_record(tmp_path / "d", "--episodes", 2, env_id="CartPole-v1")
    assert len(opened) == 1
    assert len(Dataset.open(tmp_path / "d").files()) == 2


def test_games_below_the_least_return_are_not_kept(
    tmp_path: Path, person: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    person(*"000000", "s")
    assert human_record(tmp_path / "d", "--min-return", 2) == 0
    said = capsys.readouterr().out
    assert "is below --min-return 2" in said and "no episode was kept" in said


@pytest.mark.parametrize("last", ["q", "ctrl-c"])
def test_who_keeps_nothing_leaves_no_dataset(
    tmp_path: Path, person: Callable[..., None], last: str
) -> None:
    person("0", "0", last)
    assert human_record(tmp_path / "d") == 0
    assert not (tmp_path / "d").exists()


def test_ctrl_c_keeps_the_games_before(tmp_path: Path, person: Callable[..., None]) -> None:
    person(*"000000", "s", "0", "ctrl-c")
    assert human_record(tmp_path / "d") == 0
    assert len(Dataset.open(tmp_path / "d").episodes()) == 1


def test_what_a_person_cannot_play_is_one_line_and_leaves_nothing(
    tmp_path: Path,
    person: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    person()
    for env_id, message in {
        "toy/Target-v0": "a person cannot play toy/Target-v0: its action space is Box",
        "Nothing-v0": "unknown environment 'Nothing-v0'",
    }.items():
        assert human_record(tmp_path / "d", env_id=env_id) == 2
        said = capsys.readouterr().err
        assert message in said and said.count("\n") == 1
    monkeypatch.setitem(sys.modules, "pygame", None)
    assert human_record(tmp_path / "d") == 2
    assert "a window needs pygame: pip install -e '.[classic]'" in capsys.readouterr().err
    assert not (tmp_path / "d").exists()


def test_a_window_says_which_keys_are_held_struck_and_repeated(
    person: Callable[..., None],
) -> None:
    import pygame

    def post(kind: int, **about: int) -> None:
        pygame.event.post(pygame.event.Event(kind, **about))

    with window("keys", fps=1000) as screen:
        post(pygame.KEYDOWN, key=pygame.K_LEFT)
        post(pygame.KEYDOWN, key=pygame.K_SPACE)
        assert screen.wait() == Keys(("left", "space"), ("left", "space"))
        assert screen.wait() == Keys(("left", "space"))
        post(pygame.KEYDOWN, key=pygame.K_LEFT)
        post(pygame.KEYUP, key=pygame.K_SPACE)
        assert screen.wait() == Keys(("left",), repeated=("left",))
        post(pygame.KEYDOWN, key=pygame.K_p)
        post(pygame.KEYUP, key=pygame.K_p)
        assert screen.wait() == Keys(("left",), ("p",))
        post(pygame.WINDOWFOCUSLOST)
        assert screen.wait() == Keys()


BLIND = ("XDG_RUNTIME_DIR", "DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER")


def at_a_shell(out: Path, env_id: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A person's `demos record --policy human` in a process of its own."""
    kept = {name: value for name, value in os.environ.items() if name not in BLIND}
    command = [sys.executable, "-m", "demos", "record", "--policy", "human"]
    return subprocess.run(
        [*command, "--env", env_id, "--out", str(out)],
        env=kept | environment,
        capture_output=True,
        text=True,
        timeout=240,
    )


@pytest.mark.skipif(sys.platform != "linux", reason="others always have a display")
@pytest.mark.parametrize("env_id", ["CartPole-v1", "toy/Catch-v0", "Pong"])
@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({}, "error: no window can be opened, there is no display: connect with ssh -X, or use"),
        ({"DISPLAY": ":987"}, "error: no window can be opened ("),
        ({"SDL_VIDEODRIVER": "x11"}, "error: no window can be opened ("),
        ({"SDL_VIDEODRIVER": "nonsense"}, "error: no window can be opened ("),
    ],
    ids=["none", "stale", "x11", "nonsense"],
)
def test_a_person_without_a_display_is_told_so_before_anything_is_made(
    tmp_path: Path, env_id: str, environment: dict[str, str], message: str
) -> None:
    pytest.importorskip("pygame")
    done = at_a_shell(tmp_path / "d", env_id, **environment)
    assert done.returncode == 2
    assert message in done.stderr and done.stderr.count("\n") == 1, done.stderr
    assert "--policy script:module:function plays instead" in done.stderr
    assert done.stdout == "" and list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform != "linux", reason="others always have a display")
def test_pictures_that_were_drawn_unseen_are_no_persons_wish(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("pygame")
    for name in BLIND:
        monkeypatch.delenv(name, raising=False)
    tape = Tape(envs.spec("CartPole-v1"), 0, np.array([0, 1]))
    assert len(list(envs.render(tape))) == 3
    assert os.environ["SDL_VIDEODRIVER"] == "dummy"
    assert human_record(tmp_path / "d", env_id="CartPole-v1") == 2
    assert "there is no display" in capsys.readouterr().err
    assert not (tmp_path / "d").exists()


def test_a_person_who_wishes_for_no_window_is_told_that_they_see_none(
    tmp_path: Path, person: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    person("q")
    assert human_record(tmp_path / "d", env_id="CartPole-v1") == 0
    assert "SDL_VIDEODRIVER=dummy shows no window: unset it to play" in capsys.readouterr().out


def test_a_window_that_is_closed_by_its_cross_keeps_the_games_before(
    tmp_path: Path, person: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    import pygame

    person(*"012012", "s", "1")
    shows = Window.show

    def crossed(self: Window, moment: Moment) -> None:
        shows(self, moment)
        if moment.lines[0].startswith("step 1 ") and "1 saved" in moment.lines[0]:
            pygame.event.post(pygame.event.Event(pygame.QUIT))

    monkeypatch.setattr(Window, "show", crossed)
    assert human_record(tmp_path / "d") == 0
    assert len(Dataset.open(tmp_path / "d").episodes()) == 1


@pytest.mark.skipif(shutil.which("Xvfb") is None, reason="needs Xvfb")
def test_a_person_with_a_display_plays_in_its_window(tmp_path: Path) -> None:
    pytest.importorskip("pygame")
    code = (
        "import sys, pygame\n"
        "from demos.window import Window\n"
        "from demos.__main__ import main\n"
        "shows = Window.show\n"
        "def show(self, moment):\n"
        "    shows(self, moment)\n"
        "    print(pygame.display.get_driver())\n"
        "    pygame.event.post(pygame.event.Event(pygame.KEYDOWN, key=pygame.K_q))\n"
        "Window.show = show\n"
        "main(['record', '--policy', 'human', '--env', 'CartPole-v1', '--out', sys.argv[1]])\n"
    )
    kept = {name: value for name, value in os.environ.items() if name not in BLIND}
    reading, writing = os.pipe()
    with subprocess.Popen(
        ["Xvfb", "-displayfd", str(writing)], pass_fds=[writing], stderr=subprocess.DEVNULL
    ) as server:
        os.close(writing)
        # The server writes the number and its line's end apart, and dies where nobody reads both.
        with open(reading) as pipe:
            display = f":{pipe.readline().strip()}"
        try:
            done = subprocess.run(
                [sys.executable, "-c", code, str(tmp_path / "d")],
                env=kept | {"DISPLAY": display},
                capture_output=True,
                text=True,
                timeout=240,
            )
        finally:
            server.terminate()
    assert "\nx11\nno episode was kept\n" in done.stdout, done.stderr
    assert done.returncode == 0
