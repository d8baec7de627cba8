"""Writes pictures as PNG files, and films as MP4 or GIF files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from fractions import Fraction
from io import BytesIO
from pathlib import Path

import av
import numpy as np
from av import VideoFrame
from av.container import OutputContainer
from av.filter import Graph
from PIL import Image

from envs.errors import UserError
from envs.files import aside, settle, write_atomically
from envs.spec import EnvSpec

MAX_GIF_FPS = 50
"""Largest rate of a GIF; viewers slow a GIF with a higher rate down to 10 frames per second."""


MOST_PIXELS = 16_384
"""Longest side of a film, the limit of H.264 encoders."""


SLOWEST_FPS = 1.0
"""Smallest rate of a film. If a step lasts longer than a second, the film is faster than the game.
"""


def fps_of(spec: EnvSpec) -> float:
    """The rate, in frames per second, at which one frame per step plays in real time.

    It is at least `SLOWEST_FPS`.
    """
    return max(60 / spec.frameskip, SLOWEST_FPS) if spec.family == "atari" else 30.0


def write(path: Path, frames: Iterable[np.ndarray], fps: float) -> Path:
    """Writes RGB uint8 (H, W, 3) frames as a film; the file appears only when it is complete.

    The ending of the name chooses the format: .mp4 is H.264, .gif is a GIF that preserves up to 256
    colors a frame.

    Raises:
        UserError: the name has another ending, or a frame is not a picture of the same size.
    """
    if path.suffix not in ENCODERS:
        raise UserError(f"{path}: a film's name must end in {' or '.join(ENCODERS)}")
    path.parent.mkdir(parents=True, exist_ok=True)
    frames = alike(frames)
    temporary = aside(path)
    try:
        with av.open(str(temporary), "w", format=path.suffix[1:]) as container:
            ENCODERS[path.suffix](container, frames, Fraction(fps).limit_denominator(1000))
        settle(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def alike(frames: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Yields the frames of a film and checks that all are pictures of one size.

    Raises:
        UserError: a frame is not a picture or has another size, or there is no frame.
    """
    first = None
    for frame in frames:
        require_picture(frame)
        first = first or frame.shape
        if frame.shape != first:
            raise UserError(f"the picture's size changes from {first[:2]} to {frame.shape[:2]}")
        yield frame
    if first is None:
        raise UserError("there is no picture")


def require_picture(frame: object) -> None:
    """Raises a UserError if a frame is not an RGB uint8 (H, W, 3) array that can be filmed."""
    if not isinstance(frame, np.ndarray):
        raise UserError(f"a picture is {type(frame).__name__}, but must be an array (H, W, 3)")
    if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8:
        raise UserError(f"a picture is {frame.dtype} {frame.shape}, but must be uint8 (H, W, 3)")
    height, width = frame.shape[:2]
    if not 2 <= min(height, width) <= max(height, width) <= MOST_PIXELS:
        allowed = f"2 to {MOST_PIXELS:,} each way can be filmed"
        raise UserError(f"a picture has {width:,} x {height:,} pixels, {allowed}")


_WITHOUT_DISPLAY = "without a display set MUJOCO_GL=egl, or MUJOCO_GL=osmesa"

CURES = {
    "OpenGL": _WITHOUT_DISPLAY,
    "gladLoadGL": _WITHOUT_DISPLAY,
    "GLFW": _WITHOUT_DISPLAY,
    "glfw": _WITHOUT_DISPLAY,
    "EGL": "this machine has no EGL; MUJOCO_GL=osmesa needs none",
    "OSMesa": "install libosmesa6, or set MUJOCO_GL=egl",
    "pygame": 'pip install "gymnasium[classic-control]"',
    "Box2D": 'pip install "gymnasium[box2d]"',
    "seaborn": "pip install seaborn",
}
"""The way out of an error, by a word of its message; the first word found counts."""


def cure(error: Exception) -> str:
    """Says in one line why there is no film, and the way out if it is known."""
    said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    line = (said.strip().splitlines() or [""])[0] or type(error).__name__
    known = next((help for word, help in CURES.items() if word in str(error)), None)
    return line if known is None or known in line else f"{line}; {known}"


def write_picture(path: Path, picture: np.ndarray) -> Path:
    """Writes an RGB uint8 (H, W, 3) picture as PNG; the file appears only when it is complete."""
    data = BytesIO()
    Image.fromarray(picture).save(data, "png")
    write_atomically(path, data.getvalue())
    return path


def _encode_mp4(container: OutputContainer, frames: Iterable[np.ndarray], fps: Fraction) -> None:
    stream = container.add_stream("libx264", rate=fps)
    stream.pix_fmt = "yuv420p"
    stream.options = {"crf": "20", "preset": "veryfast"}
    for image in frames:
        # yuv420p halves both sides, so they must be even.
        image = np.ascontiguousarray(image[: image.shape[0] // 2 * 2, : image.shape[1] // 2 * 2])
        if not stream.codec_context.is_open:
            stream.height, stream.width = image.shape[:2]
        container.mux(stream.encode(VideoFrame.from_ndarray(image, format="rgb24")))
    container.mux(stream.encode())


def _encode_gif(container: OutputContainer, frames: Iterable[np.ndarray], fps: Fraction) -> None:
    stream = container.add_stream("gif", rate=min(fps, Fraction(MAX_GIF_FPS)))
    stream.pix_fmt = "pal8"
    for frame in _reduced(frames, fps):
        if not stream.codec_context.is_open:
            stream.height = frame.height
            stream.width = frame.width
        container.mux(stream.encode(frame))
    container.mux(stream.encode())


def _reduced(frames: Iterable[np.ndarray], fps: Fraction) -> Iterator[VideoFrame]:
    """Yields the frames, each with its own palette, at no more than the largest rate of a GIF."""
    graph = None
    for index, image in enumerate(frames):
        frame = VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
        frame.pts = index
        frame.time_base = 1 / fps
        graph = graph or _palettes(frame, fps)
        graph.push(frame)
        yield from _ready(graph)
    if graph:
        graph.push(None)
        yield from _ready(graph)


def _palettes(frame: VideoFrame, fps: Fraction) -> Graph:
    graph = Graph()
    last = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=1 / fps
    )
    if fps > MAX_GIF_FPS:
        rate = graph.add("fps", f"{MAX_GIF_FPS}:eof_action=pass")
        last.link_to(rate)
        last = rate
    split, generate = graph.add("split"), graph.add("palettegen", "stats_mode=single")
    use, sink = graph.add("paletteuse", "new=1:dither=none"), graph.add("buffersink")
    last.link_to(split)
    split.link_to(generate, 0, 0)
    split.link_to(use, 1, 0)
    generate.link_to(use, 0, 1)
    use.link_to(sink)
    graph.configure()
    return graph


def _ready(graph: Graph) -> Iterator[VideoFrame]:
    with suppress(BlockingIOError, EOFError):
        while True:
            frame = graph.pull()
            assert isinstance(frame, VideoFrame)
            yield frame


ENCODERS = {".mp4": _encode_mp4, ".gif": _encode_gif}
"""The function that writes a film, by the ending of the film's name."""
