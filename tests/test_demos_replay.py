"""Watching an episode: nothing of it is hidden, it keeps time, and it ends when one wants."""

from __future__ import annotations

import dataclasses
import io
import os
import pty
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import av
import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from test_demos import dataset, episode, played
from test_demos_cli import demos

import envs
from demos import terminal
from demos.commands.replaying import usual_target, watch
from demos.dataset import Dataset
from demos.policies import RandomPolicy
from demos.recording import record
from demos.replaying import Moment, captioned, fitting, font, moments, one_episode
from demos.window import window
from envs import UserError, video

HANG_SECONDS = 60
"""What takes longer hangs. A busy machine is slow."""

DOT = Moment(np.full((4, 4, 3), 200, np.uint8), ("step 1", "action 2"))


@pytest.fixture
def unseen(monkeypatch: pytest.MonkeyPatch):
    """pygame with a window that needs no display."""
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    monkeypatch.setattr("envs.screens._chosen_here", False)
    return pytest.importorskip("pygame")


@pytest.fixture(scope="module")
def catch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three recorded games of 6 steps."""
    path = tmp_path_factory.mktemp("replay") / "catch"
    kept = dataset(path, envs.spec("toy/Catch-v0"))
    for each in played("toy/Catch-v0", 3):
        kept.append(each)
    return path


def test_each_step_is_shown_with_its_action_and_the_return_so_far() -> None:
    short = dataclasses.replace(envs.spec("Pong"), max_episode_frames=600)
    (pong,) = record(short, RandomPolicy(spaces.Discrete(6), 0), 1, 0, 1)
    shown = list(moments(pong))
    assert len(shown) == len(pong) + 1
    assert shown[0].lines == (f"step 0 of {len(pong)}   return 0", "action none yet")
    names = ("NOOP", "FIRE", "RIGHT", "LEFT", "RIGHTFIRE", "LEFTFIRE")
    assert [each.lines[1] for each in shown[1:]] == [f"action {names[a]}" for a in pong.actions]
    assert shown[-1].lines[0] == f"step {len(pong)} of {len(pong)}   return {pong.score:g}"
    assert all(each.picture.shape == (210, 160, 3) for each in shown)


@pytest.mark.parametrize(
    ("env_id", "pattern"), [("toy/Target-v0", r"-?\d\.\d\d"), ("toy/Pair-v0", r"[012] [0123]")]
)
def test_actions_without_names_are_shown_as_numbers(env_id: str, pattern: str) -> None:
    (it,) = played(env_id, 1, 1)
    assert all(re.fullmatch(f"action {pattern}", each.lines[1]) for each in [*moments(it)][1:])


@settings(deadline=None)
@given(height=st.integers(1, 700), width=st.integers(1, 700))
def test_no_pixel_is_hidden_by_the_text(height: int, width: int) -> None:
    rng = np.random.default_rng(height * 1000 + width)
    picture = rng.integers(256, size=(height, width, 3)).astype(np.uint8)
    drawn = captioned(Moment(picture, ("a", "b")))
    factor = max(1, 480 // max(height, width))
    left = (drawn.shape[1] - factor * width) // 2
    body = drawn[: factor * height, left : left + factor * width]
    assert np.array_equal(body[::factor, ::factor], picture)
    assert np.array_equal(body[factor - 1 :: factor, factor - 1 :: factor], picture)
    assert drawn.shape[0] % 2 == drawn.shape[1] % 2 == 0
    assert (drawn[factor * height :] > 128).any(), "the text is below"


def test_a_line_that_is_too_long_is_cut_where_one_sees_it() -> None:
    assert fitting("step 1", 100) == "step 1"
    cut = fitting("0.123 " * 40, 100)
    assert cut.endswith("…") and 80 < font().getlength(cut) <= 100


@pytest.mark.parametrize("ending", [".mp4", ".gif"])
def test_a_film_has_every_step_at_the_right_speed(
    catch: Path, tmp_path: Path, ending: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "films" / f"catch{ending}"
    assert demos("replay", catch, "--episode", 1, "--to", path, "--speed", 0.5) == 0
    assert "15 steps a second" in capsys.readouterr().out
    with av.open(str(path)) as film:
        decoded = list(film.decode(video=0))
    assert [frame.time for frame in decoded] == pytest.approx(np.arange(7) / 15, abs=0.01)
    frames = [frame.to_ndarray(format="rgb24") for frame in decoded]
    expected = [captioned(each) for each in moments(Dataset.open(catch).episodes()[1])]
    assert frames[0].shape == expected[0].shape
    error = np.abs(np.subtract(frames, expected, dtype=np.int16))
    # H.264 blurs, and a GIF keeps its colors.
    assert error.max() <= 1 if ending == ".gif" else error.mean() < 3


def test_a_gif_that_is_too_fast_for_viewers_leaves_frames_out(tmp_path: Path) -> None:
    frames = [np.full((8, 8, 3), 4 * i, np.uint8) for i in range(60)]
    video.write(tmp_path / "fast.gif", iter(frames), fps=120)
    with av.open(str(tmp_path / "fast.gif")) as film:
        assert sum(1 for _ in film.decode(video=0)) == 25


def test_the_terminal_has_two_pixels_a_character() -> None:
    red, blue = (255, 0, 0), (0, 0, 255)
    moment = Moment(np.array([[red, red], [blue, red]], np.uint8), ("step 1", "action 2"))
    out = io.StringIO()
    console = Console(
        file=out, force_terminal=True, color_system="truecolor", width=2, height=3, _environ={}
    )
    console.print(terminal.HalfBlocks(moment))
    above_and_below = "\x1b[38;2;{};{};{};48;2;{};{};{}m▀\x1b[0m".format
    assert out.getvalue().startswith(above_and_below(*red, *blue) + above_and_below(*red, *red))
    assert "st\nac" in out.getvalue()


@pytest.mark.parametrize(
    ("size", "cells"), [((210, 160), (24, 37)), ((160, 210), (24, 63)), ((10, 400), (1, 80))]
)
def test_a_picture_keeps_its_shape_on_the_terminal(
    size: tuple[int, int], cells: tuple[int, int]
) -> None:
    fitted = terminal.fitted(np.zeros((*size, 3), np.uint8), columns=80, rows=24)
    assert fitted.shape == (*cells, 2, 3)


@pytest.mark.parametrize(("typed", "ends"), [(b"q", True), (b"\x1b", True), (b"\x1b[A", False)])
def test_keys_end_it_on_the_terminal(
    typed: bytes, ends: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = pty.openpty()
    shown: list[int] = []

    def some_moments() -> Iterator[Moment]:
        for i in range(20):
            shown.append(i)
            if i == 3:
                os.write(ours, typed)
            yield DOT

    with os.fdopen(theirs) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        terminal.play(some_moments(), 50, Console(file=io.StringIO(), force_terminal=True))
    os.close(ours)
    assert (len(shown) < 20) == ends


def test_steps_are_shown_in_real_time(unseen) -> None:
    start = time.perf_counter()
    watch([DOT] * 10, "ten", fps=50)
    assert 0.2 <= time.perf_counter() - start < HANG_SECONDS
    start = time.perf_counter()
    terminal.play([DOT] * 10, 50, Console(file=io.StringIO(), force_terminal=True))
    assert 0.2 <= time.perf_counter() - start < HANG_SECONDS


@pytest.mark.parametrize("how", ["q", "escape", "window"])
def test_a_window_is_closed_by_keys_or_by_its_cross(unseen, how: str) -> None:
    key = {"q": unseen.K_q, "escape": unseen.K_ESCAPE, "window": 0}[how]
    kind = unseen.QUIT if how == "window" else unseen.KEYDOWN
    shown: list[int] = []

    def some_moments() -> Iterator[Moment]:
        for i in range(20):
            shown.append(i)
            if i == 3:
                unseen.event.post(unseen.event.Event(kind, key=key))
            yield DOT

    watch(some_moments(), "twenty", fps=1000)
    assert len(shown) == 4
    assert not unseen.display.get_init()


def test_a_key_ends_even_a_slow_film_at_once(unseen) -> None:
    with window("slow", fps=0.01) as screen:
        screen.show(DOT)
        unseen.event.post(unseen.event.Event(unseen.KEYDOWN, key=unseen.K_q))
        start = time.perf_counter()
        assert screen.wait().quits
        # A frame of this film lasts 100 seconds.
        assert time.perf_counter() - start < HANG_SECONDS


def test_an_environment_that_ends_pygame_leaves_the_window_open(unseen) -> None:
    with window("open", fps=1000) as screen:
        screen.show(DOT)
        list(moments(played("CartPole-v1", 1, 1)[0]))
        unseen.quit()
        assert unseen.display.get_surface() is not None
        screen.show(DOT)
    assert not unseen.display.get_init()


def test_a_picture_fits_a_window_of_any_shape(unseen) -> None:
    with window("wide", fps=1000) as screen:
        unseen.display.set_mode((2000, 300), unseen.RESIZABLE)
        screen.show(DOT)
        surface = unseen.display.get_surface()
        edge, middle = (surface.get_at((x, 100))[:3] for x in (5, 1000))
    assert edge == (0, 0, 0) and middle == (200, 200, 200)


def test_a_window_or_the_terminal_is_where_it_is_shown(
    catch: Path, unseen, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert demos("replay", catch, "--to", "window", "--speed", 100) == 0
    for name in ("SDL_VIDEODRIVER", "DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    assert demos("replay", catch) == 2
    assert "there is neither a display nor a terminal" in capsys.readouterr().err
    assert demos("replay", catch, "--to", "terminal") == 2
    assert "the output is not a terminal" in capsys.readouterr().err
    monkeypatch.setenv("DISPLAY", ":0")
    assert usual_target() == "window"
    # A server's profile often has it, for the sake of pictures.
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert usual_target() == "terminal"


def test_ctrl_c_ends_it(catch: Path, unseen, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("demos.window.Window.wait", interrupted)
    assert demos("replay", catch, "--to", "window") == 0
    assert not unseen.display.get_init()


def test_a_film_that_is_stopped_leaves_no_file(
    catch: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_: Moment) -> np.ndarray:
        raise KeyboardInterrupt

    monkeypatch.setattr("demos.commands.replaying.captioned", interrupted)
    assert demos("replay", catch, "--to", tmp_path / "x.mp4") == 130
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform != "linux", reason="others always have a display")
def test_no_display_and_no_pygame_are_said_in_a_line(
    catch: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("pygame")
    for name in ("SDL_VIDEODRIVER", "DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    assert demos("replay", catch, "--to", "window") == 2
    said = capfd.readouterr().err
    assert "there is no display: connect with ssh -X, or use a machine with a display, or" in said
    assert "--to terminal, or --to FILE.mp4" in said and said.count("\n") == 1
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setitem(sys.modules, "pygame", None)
    assert demos("replay", catch, "--to", "window") == 2
    assert "a window needs pygame: pip install -e '.[classic]'" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--to", "x.mp4", "--episode", "3"), "catch, allowed are 0 to 2"),
        (("--to", "x.mp4", "--episode", "-1"), "there is no episode -1 in"),
        (("--to", "x.avi"), "--to x.avi: allowed are window, terminal, FILE.mp4, FILE.gif"),
        (("--to", "windw"), "FILE.gif; did you mean 'window'?"),
        (("--to", "/proc/nowhere/x.mp4"), "/proc/nowhere/x.mp4 cannot be written: "),
        (("--to", "x.mp4", "--speed", "0"), "--speed 0: must be between 0.01 and 100"),
        (("--to", "x.mp4", "--speed", "nan"), "--speed nan: must be a finite number"),
    ],
)
def test_what_cannot_be_shown_is_one_line(
    catch: Path,
    args: tuple[str, ...],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert demos("replay", catch, *args) == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_episode_is_named_and_the_others_can_be_seen(tmp_path: Path) -> None:
    kept = dataset(tmp_path / "d", envs.spec("toy/Catch-v0"))
    with pytest.raises(UserError, match="has no episodes"):
        one_episode(kept, 0)
    for each in played("toy/Catch-v0", 2):
        kept.append(each)
    path = kept.files()[0]
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"episode 0 of .* is damaged: .* was truncated or changed"):
        one_episode(kept, 0)
    assert len(list(moments(one_episode(kept, 1)))) == 7


class Blind(gymnasium.Env):
    """An environment that nobody can see."""

    observation_space, action_space = spaces.Box(0, 1, (1,)), spaces.Discrete(2)

    def __init__(self, render_mode: str | None = None) -> None:
        del render_mode


@pytest.mark.filterwarnings("ignore:.*render_mode")
def test_an_environment_without_pictures_is_said_in_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gymnasium.register("test/Blind-v0", Blind)
    try:
        spec = envs.spec("test/Blind-v0")
        dataset(tmp_path / "d", spec).append(episode(5, spec))
        assert demos("replay", tmp_path / "d", "--to", tmp_path / "x.gif") == 2
        assert (
            "test/Blind-v0 cannot be rendered: it has no render mode 'rgb_array'"
            in capsys.readouterr().err
        )
        assert not (tmp_path / "x.gif").exists()
    finally:
        del gymnasium.registry["test/Blind-v0"]
