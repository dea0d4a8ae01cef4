"""Recordings and films of a few kilobytes, fabricated."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np


def tone(seconds: float = 1.0, rate: int = 16_000, hz: float = 440.0, *, channels: int = 1, seed: int = 0):
    """Return float32 [C, T]: a tone, a third higher in each further channel, with a little noise."""
    time = np.arange(round(seconds * rate)) / rate
    rows = [0.4 * np.sin(2 * np.pi * hz * 1.25**index * time) for index in range(channels)]
    noise = np.random.default_rng(seed).standard_normal((channels, len(time)))
    return (np.stack(rows) + 0.02 * noise).clip(-1, 1).astype(np.float32)


def encode(values: np.ndarray, rate: int = 16_000, form: str = "WAV", subtype: str | None = None) -> bytes:
    """Return the bytes of a file that holds float [T] or [C, T]."""
    import soundfile

    held = io.BytesIO()
    soundfile.write(held, np.atleast_2d(values).T, rate, format=form, subtype=subtype)
    return held.getvalue()


def picture(index: int, height: int, width: int) -> np.ndarray:
    """Return uint8 [H, W, 3] that is bright in proportion to ``index``, with a marked left half."""
    pixels = np.full((height, width, 3), min(255, 10 * (index % 25) + 5), np.uint8)
    pixels[:, : width // 2, 0] = 255 - pixels[:, : width // 2, 0]
    return pixels


def film(
    path: Path,
    *,
    seconds: float = 3.0,
    fps: int = 10,
    size: tuple[int, int] = (48, 64),
    sound: np.ndarray | None = None,
    rate: int = 16_000,
    video: bool = True,
) -> Path:
    """Write an MP4 (or what the suffix says) whose frame i is ``picture(i)``; ``sound`` float [C, T] or none."""
    import av

    names = {".webm": ("libvpx-vp9", "libopus"), ".avi": ("mpeg4", "libmp3lame"), ".m4a": ("", "aac")}
    coder, sounder = names.get(path.suffix, ("libx264", "aac"))
    with av.open(str(path), "w") as container:
        track = None
        if video:
            track = container.add_stream(coder, rate=fps)
            track.height, track.width, track.pix_fmt = *size, "yuv420p"
        voice = None
        if sound is not None:
            sound = np.atleast_2d(sound)
            layout = "mono" if len(sound) == 1 else "stereo"
            voice = container.add_stream(sounder, rate=rate, layout=layout)
        if track is not None:
            for index in range(round(seconds * fps)):
                frame = av.VideoFrame.from_ndarray(picture(index, *size), format="rgb24")
                container.mux(track.encode(frame))
            container.mux(track.encode())
        if voice is not None:
            convert = av.AudioResampler(format=voice.format.name, layout=voice.layout.name, rate=rate)
            block = av.AudioFrame.from_ndarray(
                np.ascontiguousarray(sound), format="fltp", layout=voice.layout.name
            )
            block.sample_rate, block.pts = rate, 0
            for part in [*convert.resample(block), *convert.resample(None)]:
                container.mux(voice.encode(part))
            container.mux(voice.encode())
    return path
