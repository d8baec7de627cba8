"""The page in a real browser: what a person does, and what a hostile name cannot do."""

from __future__ import annotations

import io
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import demonstrations
from PIL import Image

from agents.report import page
from agents.report.__main__ import Arguments, maker
from benchmarks.browser import browser, chromium, until
from benchmarks.report_page import make_runs
from envs import video
from envs.text import plain

pytest.importorskip("playwright", reason="the page's tests need Playwright")
if chromium() is None:
    pytest.skip(
        "the page's tests need Chromium, or its name in JOYSTICK_CHROMIUM", allow_module_level=True
    )

HOSTILE = "<img src=x onerror=hacked()>'\"&amp;</script><script>hacked()</script>\u2028${hacked()}"
PPO = "ALE-Pong-v5__ppo__1__20260101-000004"
BREAKOUT = "ALE-Breakout-v5__ppo__1__20260101-000008"
DQN = "ALE-Pong-v5__dqn__1__20260101-000004"


@pytest.fixture(scope="module")
def chrome() -> Iterator[Any]:
    with browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 runs, of which one has a film and one a hostile everything."""
    root = tmp_path_factory.mktemp("<b>runs")
    make_runs(root, 24, 120)
    frames = np.random.default_rng(0).integers(0, 255, (40, 64, 48, 3)).astype(np.uint8)
    video.write(root / PPO / "videos" / "000000001000.mp4", frames, fps=20)
    with (root / PPO / "metrics.jsonl").open("a") as file:
        file.write('{"step": 10000001, "time": 20000.0, "charts/memory_gb": 2.5}\n')
    hostile = root / HOSTILE.replace("/", "÷").replace("\u2028", "")
    (root / DQN).rename(hostile)
    saved = json.loads((hostile / "config.json").read_text())
    saved |= {"algo": HOSTILE}
    saved["config"] |= {"env_id": HOSTILE, "tags": [HOSTILE], HOSTILE: HOSTILE, "__proto__": "x"}
    saved["env_spec"] |= {"env_id": HOSTILE}
    (hostile / "config.json").write_text(json.dumps(saved))
    with (hostile / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"step": 10_000_001, "time": 9e4, HOSTILE: 1.0}) + "\n")
    return root


@pytest.fixture(scope="module")
def file(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    demos = str(demonstrations("toy/Catch-v0"))
    content = maker(Arguments(runs=runs, demos=(demos,), demo_films=1))()
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(page.build(content, film_mb=8), "utf-8")
    return path


class Tab:
    """A tab that keeps what went wrong in it."""

    def __init__(self, chrome: Any, **options: Any):
        defaults = {"viewport": {"width": 1366, "height": 860}, "color_scheme": "light"}
        self.context = chrome.new_context(**{**defaults, **options})
        self.page = self.context.new_page()
        self.wrong: list[str] = []
        self.requests: list[str] = []
        self.page.expose_function("hacked", lambda: self.wrong.append("hacked"))
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("dialog", lambda dialog: self.wrong.append(dialog.message))
        self.page.on("console", lambda said: said.type == "error" and self.wrong.append(said.text))
        self.page.on("request", lambda request: self.requests.append(request.url))

    def open(self, url: str) -> Any:
        self.page.goto(url)
        self.page.wait_for_selector("#table tbody tr")
        return self.page

    def shown_runs(self) -> list[str]:
        return self.page.locator("#table tbody .name").all_text_contents()

    def drawn(self, section: str) -> None:
        self.page.locator(f"#{section}").scroll_into_view_if_needed()
        self.page.wait_for_selector(f"#{section} .main-svg")


@pytest.fixture
def tab(chrome: Any, file: Path) -> Iterator[Tab]:
    opened = Tab(chrome)
    opened.open(file.as_uri())
    yield opened
    opened.context.close()
    assert opened.wrong == []
    outside = [url for url in opened.requests if not url.startswith(("file:", "blob:", "data:"))]
    assert outside == []


def test_the_filter_keeps_what_matches_all_words(tab: Tab):
    assert len(tab.shown_runs()) == 24
    tab.page.fill("#filter", "pong PPO")
    assert len(tab.shown_runs()) == 2
    tab.page.fill("#filter", "seed=1 breakout")
    assert len(tab.shown_runs()) == 3
    tab.page.fill("#filter", "no such run")
    assert tab.page.get_by_text("No run matches the filter.").is_visible()
    tab.page.fill("#filter", "")
    tab.page.get_by_label("Environment", exact=True).select_option("ALE/Seaquest-v5")
    assert len(tab.shown_runs()) == 6
    assert tab.page.locator("#panels figure").count() == 1


def test_a_reload_keeps_the_filter_and_the_order(tab: Tab):
    tab.page.fill("#filter", "agent=ppo")
    tab.page.click('[data-sort="score"]')
    tab.page.get_by_label("Environment", exact=True).select_option("ALE/Pong-v5")
    before = tab.shown_runs()
    tab.page.click("#nav a >> nth=1")
    tab.page.reload()
    tab.page.wait_for_selector("#table tbody tr")
    assert tab.shown_runs() == before
    assert tab.page.input_value("#filter") == "agent=ppo"
    assert tab.page.locator('th[aria-sort="ascending"]').inner_text().startswith("Return")


def test_a_table_is_sorted_by_its_headings(tab: Tab):
    tab.page.click('[data-sort="human"]')
    shares = [
        float(text.rstrip("%").replace(",", ""))
        for text in tab.page.locator('[data-name="human"]').all_text_contents()
    ]
    assert shares == sorted(shares)
    tab.page.click('[data-sort="human"]')
    assert tab.page.locator('th[aria-sort="descending"]').inner_text().startswith("Human")


def test_chosen_runs_are_compared_line_by_line_and_setting_by_setting(tab: Tab):
    for name in (PPO, PPO.replace("__1__", "__2__")):
        tab.page.check(f'[aria-label="Compare {name}"]')
    tab.page.click("#compare")
    assert len(tab.shown_runs()) == 2
    legend = tab.page.locator("#legend .label").all_text_contents()
    assert legend == ["Pong-v5 · ppo · seed 1", "Pong-v5 · ppo · seed 2"]
    assert tab.page.locator("#differences tbody tr").all_text_contents() == ["seed12"]
    tab.drawn("curves")
    assert tab.page.locator("#panels .scatterlayer .trace").count() == 2
    tab.page.click("#legend button >> nth=0")
    until(tab.page, "document.querySelectorAll('#panels .scatterlayer .trace').length === 1")
    tab.page.click("#compare")
    assert len(tab.shown_runs()) == 24


def test_curves_go_by_steps_frames_and_wall_clock(tab: Tab):
    tab.page.get_by_label("Environment", exact=True).select_option("ALE/Breakout-v5")
    tab.drawn("curves")
    titles = []
    for axis in ("steps", "frames", "seconds"):
        tab.page.click(f'[data-value="{axis}"]')
        tab.page.wait_for_timeout(200)
        titles.append(tab.page.locator("#panels .xtitle").text_content())
    assert titles == ["environment steps", "emulated frames", "wall clock (hours)"]


def test_hovering_tells_the_mean_its_interval_and_its_runs(tab: Tab):
    tab.page.get_by_label("Environment", exact=True).select_option("ALE/Breakout-v5")
    tab.drawn("curves")
    box = tab.page.locator("#panels .nsewdrag").first.bounding_box()
    tab.page.mouse.move(box["x"] + box["width"] * 0.7, box["y"] + box["height"] / 2, steps=3)
    tab.page.wait_for_selector("#panels .hoverlayer text")
    told = "".join(tab.page.locator("#panels .hoverlayer").all_text_contents())
    assert "runs: 2" in told
    assert "ppo" in told


def test_a_film_plays(tab: Tab):
    tab.page.locator("#films video").first.scroll_into_view_if_needed()
    until(tab.page, "document.querySelector('#films video').readyState >= 2")
    tab.page.evaluate("document.querySelector('#films video').play()")
    until(tab.page, "document.querySelector('#films video').currentTime > 0.2")
    assert tab.page.evaluate("document.querySelector('#films video').videoWidth") == 48
    # Its weights are of step 1,000, at which nothing was evaluated.
    assert tab.page.locator("#films .result").inner_text() == "not scored"


def test_a_demonstration_is_scrubbed_step_by_step(tab: Tab):
    # Shipped demonstrations are shown beside the recorded one, which comes first.
    recorded = tab.page.locator("#demos article").first
    slider = recorded.locator(".scrub")
    slider.scroll_into_view_if_needed()
    until(tab.page, "document.querySelector('#demos video').readyState >= 1")
    slider.focus()
    tab.page.keyboard.press("ArrowRight")
    tab.page.keyboard.press("ArrowRight")
    assert recorded.locator(".caption").inner_text().startswith("step 2 of ")
    fps = 30
    until(
        tab.page,
        f"Math.abs(document.querySelector('#demos video').currentTime - 2.5 / {fps}) < 0.01",
    )
    tab.page.keyboard.press("End")
    assert "action none" not in recorded.locator(".caption").inner_text()
    recorded.get_by_label("One step back").click()
    tab.drawn("demos")
    assert tab.page.locator("#demos .bars .point").count() >= 2


def test_speed_and_memory_are_shown_where_they_are_recorded(tab: Tab):
    tab.page.fill("#filter", "pong ppo")
    tab.drawn("speed")
    until(tab.page, "document.querySelectorAll('#speed .main-svg').length > 2")
    titles = tab.page.locator("#speed .xtitle").all_text_contents()
    assert titles == ["environment steps a second", "resident memory (GB)"]
    assert tab.page.locator("#speed .point").count() == 3
    ticks = tab.page.locator("#speed .xtick").all_text_contents()
    assert not [tick for tick in ticks if tick.endswith("m")]


def test_the_theme_is_chosen_and_remembered(tab: Tab):
    ground = "getComputedStyle(document.body).backgroundColor"
    light = tab.page.evaluate(ground)
    tab.page.click("#theme")
    assert tab.page.inner_text("#theme") == "Theme: light"
    tab.page.click("#theme")
    assert tab.page.evaluate(ground) != light
    tab.drawn("curves")
    paper = tab.page.locator("#panels .main-svg").first.evaluate("e => e.style.background")
    assert paper == "rgb(28, 33, 38)"
    tab.page.reload()
    assert tab.page.inner_text("#theme") == "Theme: dark"
    assert tab.page.evaluate(ground) != light


def test_a_dark_system_gets_a_dark_page(chrome: Any, file: Path):
    dark = Tab(chrome, color_scheme="dark")
    shown = dark.open(file.as_uri())
    assert shown.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 23, 26)"
    dark.context.close()


def test_everything_is_reached_by_keys(tab: Tab):
    focused = "document.activeElement.id || document.activeElement.getAttribute('aria-label')"
    tab.page.keyboard.press("Tab")
    assert tab.page.evaluate("document.activeElement.className") == "skip"
    tab.page.keyboard.press("/")
    assert tab.page.evaluate(focused) == "filter"
    tab.page.keyboard.type("pong ppo")
    assert len(tab.shown_runs()) == 2
    for _ in range(20):
        tab.page.keyboard.press("Tab")
        if str(tab.page.evaluate(focused)).startswith("Compare "):
            break
    tab.page.keyboard.press("Space")
    tab.page.keyboard.press("Tab")
    tab.page.keyboard.press("Space")
    assert tab.page.inner_text("#compare") == "Compare 2 runs"
    tab.page.focus("#compare")
    tab.page.keyboard.press("Enter")
    assert tab.page.evaluate(focused) == "compare"
    legend = "#legend button >> nth=1"
    tab.page.focus(legend)
    for pressed in ("false", "true"):
        tab.page.keyboard.press("Space")
        assert tab.page.get_attribute(legend, "aria-pressed") == pressed
    tab.page.focus("#filter")
    tab.page.keyboard.press("Escape")
    assert tab.page.input_value("#filter") == ""


def test_on_a_phone_nothing_is_wider_than_the_screen(chrome: Any, file: Path):
    size = {"width": 390, "height": 844}
    phone = Tab(chrome, viewport=size, is_mobile=True, has_touch=True)
    shown = phone.open(file.as_uri())
    for section in ("runs", "curves", "scores", "speed", "settings", "films", "demos"):
        shown.locator(f"#{section}").scroll_into_view_if_needed()
        shown.wait_for_timeout(100)
    assert shown.evaluate("document.documentElement.scrollWidth") <= 390
    shown.tap("#legend button >> nth=0")
    assert shown.get_attribute("#legend button >> nth=0", "aria-pressed") == "false"
    phone.context.close()
    assert phone.wrong == []


def test_names_of_any_length_leave_the_page_as_wide_as_the_screen(chrome: Any, tmp_path: Path):
    make_runs(tmp_path, 6, 60)
    for number, run in enumerate(sorted(tmp_path.iterdir())):
        long = f"{number}" + "x" * 10_000
        saved = json.loads((run / "config.json").read_text())
        saved["algo"] = saved["env_spec"]["env_id"] = long
        saved["config"] |= {"env_id": long, long: long}
        (run / "config.json").write_text(json.dumps(saved))
        with (run / "metrics.jsonl").open("a") as file:
            file.write(json.dumps({"step": 10_000_001, "time": 9e4, long: 1.797e308}) + "\n")
            file.write(json.dumps({"step": 10_000_001, "time": 9e4, "charts/SPS": 1e100}) + "\n")
    page_file = tmp_path / "report.html"
    page_file.write_text(page.build(maker(Arguments(runs=tmp_path))(), film_mb=0), "utf-8")
    for width in (390, 1366):
        tab = Tab(chrome, viewport={"width": width, "height": 844})
        shown = tab.open(page_file.as_uri())
        for section in ("runs", "curves", "scores", "speed", "settings"):
            shown.locator(f"#{section}").scroll_into_view_if_needed()
            shown.wait_for_timeout(100)
        assert shown.evaluate("document.documentElement.scrollWidth") <= width
        tab.context.close()
        assert tab.wrong == []


def test_hostile_names_are_text_wherever_they_are_shown(tab: Tab):
    assert plain(HOSTILE) in tab.page.locator('[data-name="env"]').all_text_contents()
    tab.page.get_by_label("Agent", exact=True).select_option(plain(HOSTILE))
    tab.page.get_by_label("Metric").select_option(plain(HOSTILE))
    tab.drawn("curves")
    box = tab.page.locator("#panels .nsewdrag").first.bounding_box()
    tab.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, steps=3)
    tab.page.get_by_label("Metric").select_option("eval/return_mean")
    tab.page.click('[data-value="runs"]')
    for section in ("scores", "speed", "settings"):
        tab.page.locator(f"#{section}").scroll_into_view_if_needed()
        tab.page.wait_for_timeout(150)
    assert tab.page.locator("img, #panels image, iframe, object").count() == 0
    assert tab.page.locator("script").count() == len(
        tab.page.locator("head script, body > script").all()
    )


def test_a_script_that_gets_in_does_not_run(chrome: Any, file: Path):
    tab = Tab(chrome)
    shown = tab.open(file.as_uri())
    shown.evaluate("""() => {
        const script = document.createElement('script');
        script.textContent = 'hacked()';
        document.body.append(script);
        const host = document.createElement('div');
        host.innerHTML = '<img src="data:," onerror="hacked()">';
        document.body.append(host);
    }""")
    shown.wait_for_timeout(300)
    tab.context.close()
    assert "hacked" not in tab.wrong
    assert any("Content Security Policy" in each for each in tab.wrong)


def test_plots_are_saved_as_png_svg_and_csv(tab: Tab):
    tab.page.get_by_label("Environment", exact=True).select_option("ALE/Breakout-v5")
    tab.drawn("curves")
    saved = {}
    for kind in ("PNG", "SVG", "CSV"):
        with tab.page.expect_download() as download:
            tab.page.click(f'#panels button[title="Save as {kind}"]')
        saved[kind] = Path(download.value.path()).read_bytes()
        assert download.value.suggested_filename.endswith(f".{kind.lower()}")
    picture = Image.open(io.BytesIO(saved["PNG"]))
    assert picture.size == (1920, 1080)
    assert len(picture.convert("RGB").getcolors(1 << 24) or []) > 50
    assert saved["SVG"].startswith(b"<svg") and b"environment steps" in saved["SVG"]
    head, first, *rest = saved["CSV"].decode().splitlines()
    assert head == "environment,metric,series,along,x,value,low,high,runs"
    assert first.startswith('"ALE/Breakout-v5, sticky 0.25, frameskip 4",eval/return_mean,a2c,')
    assert len(rest) > 20


@pytest.fixture(scope="module")
def training(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few runs, of which one has a film."""
    root = tmp_path_factory.mktemp("runs")
    make_runs(root, 6, 60)
    frames = np.zeros((20, 64, 48, 3), np.uint8)
    video.write(root / PPO / "videos" / "000000001000.mp4", frames, fps=20)
    return root


@pytest.fixture
def server(training: Path) -> Iterator[str]:
    uvicorn = pytest.importorskip("uvicorn")
    from agents.report.serve import application

    make = maker(
        Arguments(runs=training, demos=(str(demonstrations("toy/Catch-v0")),), demo_films=1)
    )
    folder = training.parent / "films"
    folder.mkdir(exist_ok=True)
    app = application(make, 1.0, folder)
    served = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error"))
    thread = threading.Thread(target=served.run)
    thread.start()
    while not served.started:
        assert thread.is_alive()
    (socket,) = served.servers[0].sockets
    yield f"http://127.0.0.1:{socket.getsockname()[1]}/"
    served.should_exit = True
    thread.join()


def test_a_served_page_plays_films_and_takes_news_in(chrome: Any, server: str, training: Path):
    tab = Tab(chrome)
    shown = tab.open(server)
    shown.fill("#filter", "breakout ppo")
    shown.check(f'[aria-label="Compare {BREAKOUT}"]')
    steps = shown.locator('tr:has-text("ppo__1__") [data-name="step"]')
    assert steps.inner_text() == "10M"
    with (training / BREAKOUT / "metrics.jsonl").open("a") as file:
        file.write('{"step": 12000000, "time": 20000.0, "charts/SPS": 100.0}\n')
    until(shown, "document.querySelector('#table').textContent.includes('12M')")
    assert shown.input_value("#filter") == "breakout ppo"
    assert shown.locator("#table input:checked").count() == 1
    shown.fill("#filter", "")
    for section in ("films", "demos"):
        shown.locator(f"#{section} video").first.scroll_into_view_if_needed()
        until(shown, f"document.querySelector('#{section} video').readyState >= 1")
    tab.context.close()
    assert tab.wrong == []
    assert {url.split("/")[2] for url in tab.requests} == {server.split("/")[2]}


def test_the_server_answers_only_by_its_own_names_and_numbers(server: str):
    from urllib.error import HTTPError
    from urllib.request import Request, urlopen

    def ask(path: str, **headers: str) -> Any:
        return urlopen(Request(server + path, headers=headers))

    part = ask("film/0", Range="bytes=0-99")
    assert (part.status, len(part.read())) == (206, 100)
    tag = ask("data.json").headers["ETag"]
    time.sleep(1.1)
    refused = {"film/99": 404, "film/..%2F..%2Fetc%2Fpasswd": 404, "config.json": 404}
    for path, status in refused.items():
        with pytest.raises(HTTPError) as error:
            ask(path)
        assert error.value.code == status
    with pytest.raises(HTTPError) as error:
        ask("data.json", **{"If-None-Match": tag})
    assert error.value.code == 304
    with pytest.raises(HTTPError) as error:
        ask("", Host="evil.example")
    assert error.value.code == 400
