"""Films whose frames say their own number by their brightness."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np

STEP = 4
"""Brightness between one frame and the next."""
_CODERS = {".webm": "libvpx-vp9", ".avi": "mpeg4", ".mkv": "libx264", ".mp4": "libx264", ".ts": "mpeg2video"}


def shade(number: int) -> int:
    """Return the brightness of a frame."""
    return 20 + STEP * (number % 50)


def picture(number: int, height: int = 48, width: int = 64) -> np.ndarray:
    """Return uint8 [H, W, 3]: even brightness, and a red mark in the upper left quarter."""
    frame = np.full((height, width, 3), shade(number), np.uint8)
    frame[: height // 2, : width // 2] = (220, 20, 20)
    return frame


def numbers(frames: Sequence[np.ndarray]) -> list[int]:
    """Return which frame each is, by the brightness of its lower right quarter."""
    found = []
    for frame in frames:
        height, width = frame.shape[:2]
        found.append(round((float(frame[height // 2 + 4 :, width // 2 + 4 :].mean()) - 20) / STEP))
    return found


def film(
    path: Path,
    count: int,
    *,
    fps: int = 25,
    size: tuple[int, int] = (48, 64),
    times_ms: Sequence[int] | None = None,
    same: bool = False,
    options: dict[str, str] | None = None,
    key_frames: int = 12,
) -> Path:
    """Write a film of ``count`` frames ``picture(0)``, ``picture(1)`` ...; ``times_ms`` says when each is shown."""
    import av

    with av.open(str(path), "w", options=options or {}) as container:
        track = container.add_stream(_CODERS[path.suffix], rate=fps)
        track.height, track.width, track.pix_fmt = *size, "yuv420p"
        track.codec_context.gop_size, track.codec_context.bit_rate = key_frames, 4_000_000
        if times_ms is not None:
            track.codec_context.time_base = Fraction(1, 1000)
        for index in range(count):
            frame = av.VideoFrame.from_ndarray(picture(0 if same else index, *size), format="rgb24")
            if times_ms is not None:
                frame.pts, frame.time_base = times_ms[index], Fraction(1, 1000)
            container.mux(track.encode(frame))
        container.mux(track.encode())
    return path


def turn(path: Path, quarters: int) -> Path:
    """Write into an MP4 that its picture is shown turned clockwise by quarters."""
    data = bytearray(path.read_bytes())
    one = 0x10000
    cos, sin = [(one, 0), (0, one), (-one, 0), (0, -one)][quarters % 4]
    # The matrix stands 40 bytes behind the name of the track header of version 0.
    place = data.index(b"tkhd") + 4 + 40
    data[place : place + 36] = struct.pack(">9i", cos, sin, 0, -sin, cos, 0, 0, 0, 0x40000000)
    path.write_bytes(data)
    return path
