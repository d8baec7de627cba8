"""Builds the page: one HTML file that fetches nothing and never runs text from a run.

The data is JSON in an element that browsers do not run; films are Base64 in similar elements. A
content security policy allows only the page's two scripts and its style, by their hashes.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import math
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from agents.report.content import Content, Film
from envs.files import is_directory, is_regular, read_regular

ASSETS = Path(__file__).with_name("assets")
LIBRARY = "plotly-basic.min.js"
SCRIPTS = (
    "dom.js",
    "plots.js",
    "runs.js",
    "curves.js",
    "scores.js",
    "choices.js",
    "films.js",
    "address.js",
    "main.js",
)
TYPES = {".webm": "video/webm"}
MEGABYTE = 1_000_000
MOST_FILM_BYTES = 1 << 30
"""Largest film that is served."""


def build(content: Content, film_mb: float, *, seconds_between_reads: float = 0.0) -> str:
    """Returns the page as HTML.

    Args:
        content: the content of the page.
        film_mb: largest size of all films in the page, in megabytes; the page names the others.
        seconds_between_reads: interval of a served page, which gets films and new data from its
            server. 0 makes a page without a server.
    """
    live = seconds_between_reads > 0
    films = {} if live else dict(_within(content.films, int(film_mb * MEGABYTE)))
    parts = {
        "TITLE": html.escape(f"{content.data['title']} · Joystick"),
        "POLICY": policy(live),
        "STYLE": style(),
        "LIBRARY": library(),
        "SCRIPT": script(),
        "DATA": inert(values(content, films, seconds_between_reads)),
        "FILMS": "\n".join(
            f'<script type="text/plain" id="film-{number}">{base64.b64encode(film).decode()}'
            "</script>"
            for number, film in films.items()
        ),
    }
    pieces = (ASSETS / "page.html").read_text("utf-8").split("@@")
    return "".join(parts[piece] if i % 2 else piece for i, piece in enumerate(pieces))


def values(
    content: Content, films: Mapping[int, bytes], seconds_between_reads: float
) -> dict[str, Any]:
    """The page's data; "films" holds the place of each film: "page", "server", or "" for none."""
    live = seconds_between_reads > 0
    where = ["server" if live else "page" if i in films else "" for i in range(len(content.films))]
    types = [type_of(film) for film in content.films]
    return content.data | {"films": where, "types": types, "read_every": seconds_between_reads}


def inert(plain: Any) -> str:
    """JSON that cannot end the script element around it.

    It is ASCII, so it holds no separator of lines.
    """
    try:
        text = json.dumps(plain, allow_nan=False, separators=(",", ":"))
    except ValueError:
        # A number that is not finite must not prevent the page.
        text = json.dumps(finite(plain), allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def finite(value: Any) -> Any:
    """The JSON value with null in place of NaN and infinities, which JSON lacks."""
    if isinstance(value, dict):
        return {name: finite(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def policy(live: bool) -> str:
    """The content security policy, which forbids everything that it does not name."""
    # Plotly adds an empty style element and fills it through the DOM.
    styles = f"'{_hash(style())}' '{_hash('')}'"
    return "; ".join(
        [
            "default-src 'none'",
            f"script-src '{_hash(library())}' '{_hash(script())}'",
            f"style-src {styles}",
            "img-src data: blob:",
            "media-src blob:" + (" 'self'" if live else ""),
            *(["connect-src 'self'"] if live else []),
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


@cache
def library() -> str:
    """The script of the plotting library."""
    return (ASSETS / LIBRARY).read_text("utf-8")


@cache
def script() -> str:
    """The page's own script."""
    parts = [(ASSETS / name).read_text("utf-8") for name in SCRIPTS]
    return '"use strict";\n(() => {\n' + "\n".join(parts) + "})();\n"


@cache
def style() -> str:
    """The page's style sheet."""
    return (ASSETS / "page.css").read_text("utf-8")


def type_of(film: Film) -> str:
    """The media type of a film."""
    return "video/mp4" if isinstance(film, bytes) else TYPES.get(film.suffix, "video/mp4")


def read_film(film: Film, most: int) -> bytes:
    """The bytes of a film; b"" if its file is missing, larger than `most` bytes, or a link."""
    if isinstance(film, bytes):
        return film
    if not is_film(film):
        return b""
    try:
        return read_regular(film, most)
    except OSError:
        return b""


def is_film(path: Path) -> bool:
    """Whether a film can be shown: a regular file of at most `MOST_FILM_BYTES`, not in a link."""
    regular = is_directory(path.parent) and is_regular(path)
    return regular and 0 < _size(path) <= MOST_FILM_BYTES


def _within(films: list[Film], most: int) -> Iterator[tuple[int, bytes]]:
    """Yields the first films that fit into `most` bytes, with their numbers."""
    for number, film in enumerate(films):
        size = len(film) if isinstance(film, bytes) else _size(film)
        data = read_film(film, most) if 0 < size <= most else b""
        if data:
            most -= len(data)
            yield number, data


def _size(film: Path) -> int:
    try:
        return film.lstat().st_size
    except OSError:
        return 0
