"""Films: MP4 files of pictures."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from envs.files import aside, settle
from envs.spec import EnvSpec


def fps_of(spec: EnvSpec) -> int:
    """Frames per second at which one frame a step plays in real time."""
    return 60 // spec.frameskip if spec.family == "atari" else 30


def write(path: Path, frames: Iterable[np.ndarray], fps: int) -> Path:
    """Write RGB uint8 (H, W, 3) frames as H.264; the file appears only when it is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = aside(path)
    try:
        with av.open(str(temporary), "w", format="mp4") as container:
            stream = container.add_stream("libx264", rate=Fraction(fps))
            stream.pix_fmt = "yuv420p"
            stream.options = {"crf": "20", "preset": "veryfast"}
            for image in frames:
                # yuv420p halves both sides, so they must be even.
                image = np.ascontiguousarray(
                    image[: image.shape[0] // 2 * 2, : image.shape[1] // 2 * 2]
                )
                if not stream.codec_context.is_open:
                    stream.height, stream.width = image.shape[:2]
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            container.mux(stream.encode())
        settle(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path
