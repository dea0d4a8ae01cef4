"""Frames and sound of films, through PyAV; one frame by seeking, many by decoding once."""

from __future__ import annotations

import importlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, Literal

import numpy as np
import torch
from torch import Tensor

from ....core.errors import ConfigError, DependencyError, InputError, require
from ....core.limits import DEFAULT, Limits
from ....core.media_source import ByteSource
from ....core.types import Sample
from ....core.video import Film, open_film, picture_of
from .audio import load_audio

_TORCHCODEC = (
    "torchcodec is installed but cannot decode ({}); it needs the FFmpeg libraries 4 to 9 of the system. "
    "Install them or use decoder='pyav', which brings its own."
)
_NO_TORCHCODEC = (
    "decoder='torchcodec' needs torchcodec, which is not installed and no extra brings. Run: pip install "
    "torchcodec, or use decoder='pyav'."
)
_ROUNDING_S = 1e-6
"""A frame that begins when it is asked for is on screen."""
_SEEK_S = 3.0
"""From here on it is cheaper to jump to the key frame before a frame than to decode what lies between."""


@dataclass(frozen=True)
class Frames:
    """Frames of a film.

    Attributes:
        pixels: uint8 [N, 3, H, W], RGB.
        times_s: the N times asked for; each frame is the one on screen then.
    """

    pixels: Tensor
    times_s: tuple[float, ...]


def extract_frames(
    source: ByteSource,
    *,
    fps: float = 1.0,
    size: int | None = 224,
    times: Sequence[float] | None = None,
    decoder: Literal["pyav", "torchcodec"] = "pyav",
    limits: Limits = DEFAULT,
    show_paths: bool = False,
) -> Frames:
    """Return frames of a film, one for each 1 / ``fps`` seconds, taken from the middle of each.

    A film of 10 s gives ten frames at 0.5, 1.5 ... 9.5 s. Phone videos are turned upright.

    Example::

        frames = extract_frames("dog.mp4")                       # uint8 [N, 3, 224, 224]
        stills = extract_frames("dog.mp4", times=[2.0, 7.5], size=None)

    Args:
        source: MP4, MOV, WebM, MKV, AVI, FLV, MPEG ... as a path, bytes or a binary file object.
        fps: frames per second of film; ignored with ``times``.
        size: short side by bicubic interpolation, then a centre crop to a square; None keeps the picture.
        times: exact times in seconds, in any order.
        decoder: ``torchcodec`` where it is installed with FFmpeg libraries it can use; pixels may differ by a
            rounding from those of ``pyav``, so it is never chosen by itself.
        limits: ``pixels`` of one frame, ``frames``, ``decoded_bytes`` of the result, ``file_bytes``.
        show_paths: let error messages name the whole path instead of the file name.

    Raises:
        InputError: no film, no picture, damaged or cut off before a frame, or a time outside of it.
        LimitError: over a ceiling. ConfigError: ``fps`` or ``size`` is not positive.
        DependencyError: PyAV, or the ``decoder`` asked for, is not installed.
    """
    if not (math.isfinite(fps) and fps > 0):
        raise ConfigError(f"fps is over 0, got {fps!r}.")
    if decoder not in ("pyav", "torchcodec"):
        raise ConfigError(f"decoder is 'pyav' or 'torchcodec', got {decoder!r}.")
    if size is not None and size < 1:
        raise ConfigError(f"size is at least 1 pixel, got {size!r}.")
    with open_film(source, limits=limits, show_paths=show_paths, sound_only="Use load_audio.") as film:
        wanted = _times(film, fps) if times is None else tuple(float(time) for time in times)
        limits.check("frames", len(wanted), what=f"{film.name}: frames")
        height, width = (film.info.height, film.info.width) if size is None else (size, size)
        limits.check(
            "decoded_bytes", 3 * height * width * len(wanted), what=f"{film.name}: bytes of the frames"
        )
        _check_times(film, wanted)
        if decoder == "pyav":
            return Frames(_take(film, wanted, size), wanted)
    # Only now, as a file object has one place to read from.
    with film.source.open() as stream:
        pixels = [fit_picture(picture, size) for picture in _by_torchcodec(stream, film.name, wanted)]
    return Frames(_stacked(pixels, film.name), wanted)


def _by_torchcodec(stream: BinaryIO, name: str, times: Sequence[float]) -> Iterator[np.ndarray]:
    """Yield uint8 [H, W, 3] for each time.

    It gets no name of a file: FFmpeg would take some for protocols, and follow what playlists name.
    """
    # Without FFmpeg libraries it imports and then fails, with a RuntimeError; on damaged films likewise.
    try:
        decoders = importlib.import_module("torchcodec.decoders")
    except ModuleNotFoundError as error:
        raise DependencyError(_NO_TORCHCODEC) from error
    except (ImportError, RuntimeError, OSError) as error:
        raise DependencyError(_TORCHCODEC.format(type(error).__name__)) from error
    try:
        found = decoders.VideoDecoder(stream, dimension_order="NHWC")
        batch = found.get_frames_played_at(seconds=list(times)).data
    except (RuntimeError, OSError, ValueError, IndexError) as error:
        if "libtorchcodec" in str(error) or isinstance(error, OSError):
            raise DependencyError(_TORCHCODEC.format(type(error).__name__)) from error
        raise InputError(f"{name}: torchcodec cannot decode the film ({error}).") from error
    yield from batch.cpu().numpy()


def extract_audio(
    source: ByteSource,
    *,
    rate: int | None = None,
    limits: Limits = DEFAULT,
    show_paths: bool = False,
    **options: Any,
) -> Sample:
    """Return the first sound track of a film; see :func:`.audio.load_audio`, which does it.

    FFmpeg's own program may give a few samples more or less at the ends, and rounds differently.
    """
    return load_audio(source, rate=rate, limits=limits, show_paths=show_paths, **options)


def _times(film: Film, fps: float) -> tuple[float, ...]:
    """Return the middle of each 1 / fps seconds; at least one time."""
    count = max(1, math.floor(film.info.duration_s * fps + 0.5))
    last = max(0.0, film.info.duration_s)
    return tuple(min((index + 0.5) / fps, last) for index in range(count))


def _check_times(film: Film, times: Sequence[float]) -> None:
    """Raise for a time outside of the film."""
    for time in times:
        # The last frame stays on screen until the next would come.
        if not 0 <= time <= film.info.duration_s + _ROUNDING_S:
            raise InputError(
                f"{film.name}: no frame at {time:g} s; the film has {film.info.duration_s:.6g} s."
            )


def _take(film: Film, times: Sequence[float], size: int | None) -> Tensor:
    """Return uint8 [N, 3, H, W]: for each time the frame on screen."""
    found: dict[int, np.ndarray] = {}
    cursor = _Cursor(film)
    for index in sorted(range(len(times)), key=lambda position: times[position]):
        found[index] = fit_picture(picture_of(cursor.at(times[index])), size)
    return _stacked([found[index] for index in range(len(times))], film.name)


class _Cursor:
    """Goes through a film forwards and remembers the frame on screen."""

    def __init__(self, film: Film) -> None:
        self._film = film
        self._frames: Iterator[tuple[float, Any]] | None = None
        self._shown: tuple[float, Any] | None = None
        self._next: tuple[float, Any] | None = None

    def _start(self, time: float) -> None:
        """Stand at a frame that is on screen at or before ``time``."""
        for start_s in (time, 0.0) if time > _SEEK_S else (0.0,):
            self._frames = self._film.decoded(start_s)
            self._shown = self._next = next(self._frames, None)
            # Without an index a jump may land behind the frame, or nowhere.
            if self._shown is not None and self._shown[0] <= time:
                return

    def at(self, time: float) -> Any:
        """Return the frame on screen at a time, no earlier than the one before it."""
        time += _ROUNDING_S
        if self._frames is None or (self._shown is not None and time - self._shown[0] > _SEEK_S):
            self._start(time)
        is_over = False
        while self._frames is not None and (self._next is None or self._next[0] <= time):
            following = next(self._frames, None)
            is_over = following is None
            if following is None:
                break
            self._shown, self._next = self._next or following, following
        # Where the frame after it is already known, the one on screen is the one before.
        shown = self._next if self._next is not None and self._next[0] <= time else self._shown
        if shown is None:
            raise InputError(
                f"{self._film.name}: no frame can be decoded at {time:g} s of "
                f"{self._film.info.duration_s:.6g} s; the film is damaged or cut off. Copy it again."
            )
        # A slide may stay for minutes, but at the end of the film a long stay is a cut.
        gap = time - shown[0]
        if is_over and gap > max(1.0, 4.0 / self._film.info.fps if self._film.info.fps else 1.0):
            raise InputError(
                f"{self._film.name}: the picture stops at {shown[0]:.6g} s, {gap:.3g} s before the frame "
                "asked for; the film is damaged or cut off. Copy or download it again."
            )
        self._shown = shown
        return shown[1]


def fit_picture(picture: np.ndarray, size: int | None) -> np.ndarray:
    """Return uint8 [size, size, 3] of a picture [H, W, 3], or the picture itself without a size."""
    return picture if size is None else center_square(picture, size)


def _stacked(pictures: Sequence[np.ndarray], name: str) -> Tensor:
    """Return uint8 [N, 3, H, W]."""
    if len({picture.shape for picture in pictures}) > 1:
        raise InputError(f"{name}: the size of the picture changes within the film. Pass size=.")
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous()


def center_square(picture: np.ndarray, size: int) -> np.ndarray:
    """Return uint8 [size, size, 3]: short side by Pillow's bicubic filter, then the middle.

    Reference: CLIPSep stores its frames like this (bicubic, 224).
    """
    require("PIL", extra="audio")
    from PIL import Image

    height, width = picture.shape[:2]
    scale = size / min(height, width)
    new = (max(size, int(width * scale)), max(size, int(height * scale)))
    image = Image.fromarray(np.ascontiguousarray(picture)).resize(new, Image.Resampling.BICUBIC)
    left, top = round((new[0] - size) / 2), round((new[1] - size) / 2)
    return np.asarray(image)[top : top + size, left : left + size]
