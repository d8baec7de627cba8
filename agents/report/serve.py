"""Serves the page on 127.0.0.1 and keeps it up to date while runs write."""

from __future__ import annotations

import hashlib
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from agents.report import page
from agents.report.content import Content
from envs import UserError
from envs.output import tell

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

HOST = "127.0.0.1"

HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}

MISSING = "--serve needs starlette and uvicorn: pip install -e '.[report]'"

SHARE = 0.1
"""Largest share of the time that is spent on reading runs, so that training is not slowed."""


class Source:
    """The served content; one thread at a time makes it anew, at most every so many seconds."""

    def __init__(self, make: Callable[[], Content], seconds: float):
        self._make = make
        self._pause = seconds
        self._seconds = seconds
        self._lock = threading.Lock()
        self._made = -float("inf")
        self._content: Content | None = None

    def content(self) -> Content:
        """The current content, at most some seconds old."""
        with self._lock:
            if self._content is None or time.monotonic() - self._made > self._pause:
                start = time.monotonic()
                self._content = self._make()
                self._made = time.monotonic()
                self._pause = max(self._seconds, (self._made - start) / SHARE)
            return self._content


def application(make: Callable[[], Content], seconds: float, folder: Path) -> Starlette:
    """Returns the web application: the page, its data, and its films by number, not by path.

    Args:
        make: reads the runs.
        seconds: smallest time between two readings.
        folder: directory for films that are not files yet.

    Raises:
        UserError: starlette is not installed.
    """
    try:
        from starlette.applications import Starlette
        from starlette.middleware import Middleware
        from starlette.middleware.trustedhost import TrustedHostMiddleware
        from starlette.responses import FileResponse, HTMLResponse, Response
        from starlette.routing import Route
    except ImportError:
        raise UserError(MISSING) from None
    source = Source(make, seconds)

    def whole_page(_: Request) -> Response:
        text = page.build(source.content(), 0, seconds_between_reads=seconds)
        return HTMLResponse(text, headers=HEADERS)

    def data(request: Request) -> Response:
        values = page.values(source.content(), {}, seconds)
        # Another time of reading alone is not a change.
        news = page.inert(values | {"made": ""}).encode()
        headers = {**HEADERS, "ETag": f'"{hashlib.blake2b(news, digest_size=12).hexdigest()}"'}
        if request.headers.get("if-none-match") == headers["ETag"]:
            return Response(status_code=304, headers=headers)
        return Response(page.inert(values), media_type="application/json", headers=headers)

    def film(request: Request) -> Response:
        films = source.content().films
        number = request.path_params["number"]
        path = on_disk(films[number], folder) if number < len(films) else None
        # A FIFO or a link may have replaced the film.
        if path is None or not page.is_film(path):
            return Response("no such film", status_code=404, headers=HEADERS)
        return FileResponse(path, media_type=page.type_of(path), headers=HEADERS)

    return Starlette(
        routes=[
            Route("/", whole_page),
            Route("/data.json", data),
            Route("/film/{number:int}", film),
        ],
        # Another site must not read the page through a host name that resolves to this address.
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"])],
    )


def on_disk(film: Path | bytes, folder: Path) -> Path:
    """The file of a film, because a server can send parts of a file, which seeking needs."""
    if isinstance(film, Path):
        return film
    path = folder / f"{hashlib.blake2b(film, digest_size=12).hexdigest()}.mp4"
    if not path.exists():
        path.write_bytes(film)
    return path


def serve(make: Callable[[], Content], port: int, seconds: float) -> None:
    """Serves the page until Ctrl-C.

    Raises:
        UserError: a package is missing, or the port is taken.
    """
    try:
        import uvicorn
    except ImportError:
        raise UserError(MISSING) from None
    with tempfile.TemporaryDirectory() as folder:
        app = application(make, seconds, Path(folder))
        config = uvicorn.Config(app, host=HOST, port=port, log_level="warning", access_log=False)
        try:
            listener = config.bind_socket()
        except SystemExit:
            raise UserError(f"--port {port}: the port is taken, choose another") from None
        with listener:
            tell(f"http://{HOST}:{listener.getsockname()[1]} (Ctrl-C ends it)")
            uvicorn.Server(config).run([listener])
