"""Pictures, and films of them: PNG, MP4 and GIF files."""

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
"""Viewers play a GIF of shorter delays than 1/50 s at 10 frames per second."""


MOST_PIXELS = 16_384
"""Of a film's side: what H.264 encoders take."""


SLOWEST_FPS = 1.0
"""Where a step takes longer than a second, a film of one frame a step is faster than the game."""


def fps_of(spec: EnvSpec) -> float:
    """Frames per second at which one frame a step plays in real time, at least `SLOWEST_FPS`."""
    return max(60 / spec.frameskip, SLOWEST_FPS) if spec.family == "atari" else 30.0


def write(path: Path, frames: Iterable[np.ndarray], fps: float) -> Path:
    """Write RGB uint8 (H, W, 3) frames; the file appears only when it is whole.

    A name in .mp4 is H.264, and one in .gif a GIF that keeps up to 256 colors a frame as they are.

    Raises:
        UserError: another ending.
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
    """The frames of a film, as long as each is a picture of the first one's size.

    Raises:
        UserError: one is no picture or of another size, or there is none.
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
    """Passes for an RGB uint8 (H, W, 3) array that can be filmed; a UserError says what it is."""
    if not isinstance(frame, np.ndarray):
        raise UserError(f"a picture is {type(frame).__name__}, it must be an array (H, W, 3)")
    if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8:
        raise UserError(f"a picture is {frame.dtype} {frame.shape}, it must be uint8 (H, W, 3)")
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
"""What helps, by a word of the error; the first word that is found counts."""


def cure(error: Exception) -> str:
    """One line of why there is no film, with what helps where that is known."""
    said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    line = (said.strip().splitlines() or [""])[0] or type(error).__name__
    known = next((help for word, help in CURES.items() if word in str(error)), None)
    return line if known is None or known in line else f"{line}; {known}"


def write_picture(path: Path, picture: np.ndarray) -> Path:
    """Write an RGB uint8 (H, W, 3) picture as PNG; the file appears only when it is whole."""
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
            stream.height, stream.width = frame.height, frame.width
        container.mux(stream.encode(frame))
    container.mux(stream.encode())


def _reduced(frames: Iterable[np.ndarray], fps: Fraction) -> Iterator[VideoFrame]:
    """The frames, each in a palette of its own, and so many of them as a GIF can show."""
    graph = None
    for index, image in enumerate(frames):
        frame = VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
        frame.pts, frame.time_base = index, 1 / fps
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
"""What writes a film, by the ending of its name."""
