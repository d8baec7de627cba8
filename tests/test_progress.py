"""Progress of long work: silent at first, and where nobody asked for it."""

from __future__ import annotations

import pytest

from envs import progress


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each item takes a second."""
    seconds = iter(range(1_000))
    monkeypatch.setattr(progress.time, "monotonic", lambda: float(next(seconds)))


@pytest.mark.usefixtures("slow")
def test_without_a_terminal_it_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.showing():
        assert list(progress.watched("abcdef", 6, "replaying")) == [*"abcdef"]
    assert capsys.readouterr().err == "replaying: step 1 of 6, about 10 s left\n"


@pytest.mark.usefixtures("slow")
def test_on_a_terminal_it_is_a_bar_that_goes_away(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with progress.showing():
        list(progress.watched("abc", 3, "replaying"))
    said = capsys.readouterr().err
    assert said.count("\r") == 3
    assert "[##########--------------------] replaying: step 1 of 3" in said
    assert said.endswith("\r\x1b[K")
    assert "\n" not in said


@pytest.mark.usefixtures("slow")
@pytest.mark.parametrize("wanted", [None, False])
def test_it_is_silent_where_nobody_asked(
    capsys: pytest.CaptureFixture[str], wanted: bool | None
) -> None:
    if wanted is None:
        assert list(progress.watched("abc", 3, "replaying")) == [*"abc"]
    else:
        with progress.showing(wanted):
            list(progress.watched("abc", 3, "replaying"))
    assert capsys.readouterr().err == ""


def test_quick_work_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.showing():
        list(progress.watched(range(100), 100, "replaying"))
    assert capsys.readouterr().err == ""
