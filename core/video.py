"""Films through PyAV: what their header says, and their pictures in order, upright."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from .containers import ODD_ERRORS, open_container, reason_of
from .errors import InputError, require
from .limits import DEFAULT, Limits
from .media_source import ByteSource, Source, compressed_kind, describe, open_source
from .truncation import missing_share

_SOUND_ONLY = "Give a film."
_SOUNDS = (b"RIFF", b"fLaC", b"OggS", b"FORM", b"caff", b".snd")


@dataclass(frozen=True)
class VideoInfo:
    """What the header of a film says.

    Attributes:
        height, width: pixels, as stored. duration_s: of the picture. fps: frames per second, 0 if unknown.
        container, codec: by content. has_audio: whether there is a sound track.
    """

    height: int
    width: int
    duration_s: float
    fps: float
    container: str
    codec: str
    has_audio: bool


@contextlib.contextmanager
def open_film(
    source: ByteSource,
    *,
    limits: Limits = DEFAULT,
    show_paths: bool = False,
    extra: str = "video",
    sound_only: str = _SOUND_ONLY,
    allow_truncated: bool = False,
) -> Iterator[Film]:
    """Yield an open film.

    Args:
        source: MP4, MOV, WebM, MKV, AVI, FLV, MPEG ... as a path, bytes or a binary file object.
        limits: ceilings on file size, pixels of a frame and seconds.
        show_paths: let error messages name the whole path instead of the file name.
        extra: of verticlip, that brings PyAV to the caller's room.
        sound_only: what to do about a file without a picture; a sentence that ends the message.
        allow_truncated: open a film that was cut off; ``Film.missing`` says so.

    Raises:
        InputError: missing, no film, damaged, cut off, or sound only. LimitError: over a ceiling.
        DependencyError: PyAV is not installed.
    """
    opening = open_source(source, limits=limits, show_paths=show_paths, what="film")
    demuxer = compressed_kind(opening.head())
    if demuxer is None:
        raise InputError(_not_a_film(opening))
    with opening.open() as stream:
        missing = missing_share(stream, opening.size)
        if missing is not None and not allow_truncated:
            raise InputError(
                f"{opening.name}: the file is damaged or cut off: {100 * missing:.3g} % of the film that its "
                "header announces is missing. Copy or download it again."
            )
        with open_container(stream, demuxer, opening.name, extra=extra) as container:
            yield Film(
                container, demuxer[1], opening, limits, missing=missing, extra=extra, sound_only=sound_only
            )


def probe_video(
    source: ByteSource,
    *,
    limits: Limits = DEFAULT,
    show_paths: bool = False,
    sound_only: str = _SOUND_ONLY,
) -> VideoInfo:
    """Return what the header of a film says; nothing is decoded.

    The arguments are those of :func:`open_film`.

    Raises:
        InputError: missing, no film, damaged, or sound only. LimitError: over a ceiling.
        DependencyError: PyAV is not installed.
    """
    with open_film(source, limits=limits, show_paths=show_paths, sound_only=sound_only) as film:
        return film.info


class Film:
    """The picture of an open container; :func:`open_film` makes it.

    Attributes:
        name: for messages.
        source: where its bytes come from.
        info: what the header says.
        missing: share of the announced bytes that is not in the file, or None for a whole file.
    """

    def __init__(
        self,
        container: Any,
        words: str,
        source: Source,
        limits: Limits,
        *,
        missing: float | None = None,
        extra: str = "video",
        sound_only: str = _SOUND_ONLY,
    ) -> None:
        name = source.name
        # A cover picture is stored as a film of one frame.
        pictures = [
            stream
            for stream in container.streams.video
            if not _is_cover(stream) and stream.codec_context is not None
        ]
        if not pictures:
            raise InputError(f"{name}: the {words} file has no picture, only sound. {sound_only}")
        self._extra = extra
        self._container, self.source, self.name, self.missing = container, source, name, missing
        self._track = track = pictures[0]
        self._origin_s = float((track.start_time or 0) * track.time_base)
        limits.check("pixels", track.width * track.height, what=f"{name}: pixels of a frame")
        duration_s = float(track.duration * track.time_base) if track.duration else 0.0
        if not duration_s:
            duration_s = (container.duration or 0) / 1e6
        limits.check("seconds", duration_s, what=f"{name}: seconds")
        self.info = VideoInfo(
            int(track.height),
            int(track.width),
            duration_s,
            float(track.average_rate or 0),
            words,
            str(track.codec.name),
            bool(container.streams.audio),
        )

    def decoded(self, start_s: float = 0.0) -> Iterator[tuple[float, Any]]:
        """Yield (seconds, frame of PyAV) from the key frame before ``start_s``; 0 is the beginning.

        Frames without a time are left out.

        Raises:
            InputError: the film is damaged from here on.
        """
        av = require("av", extra=self._extra)
        offset = int((start_s + self._origin_s) / self._track.time_base) if start_s else 0
        with self._told():
            # A stream without an index cannot go back; at its beginning it stands already.
            with contextlib.suppress(*(() if start_s else (av.error.FFmpegError,))):
                self._container.seek(offset, stream=self._track, backward=True)
            for frame in self._container.decode(self._track):
                if frame.pts is not None:
                    yield float(frame.pts * frame.time_base) - self._origin_s, frame

    def frames(self) -> Iterator[tuple[float, Any]]:
        """Yield (seconds, frame of PyAV) of a film just opened, every frame in the order it is shown.

        A frame without a time gets the one its number and the frame rate give. Frames that the decoder marks
        as damaged are part of the film.

        Raises:
            InputError: the film is damaged from here on.
        """
        with self._told():
            for index, frame in enumerate(self._container.decode(self._track)):
                if frame.pts is None:
                    yield index / self.info.fps if self.info.fps else 0.0, frame
                else:
                    yield float(frame.pts * frame.time_base) - self._origin_s, frame

    def count_frames(self) -> int:
        """Return how many coded frames a film just opened has; nothing is decoded.

        Of a damaged film, those before the damage that the container shows. Edit lists and broken streams may
        give other numbers of decoded frames.
        """
        count = 0
        # What can be read of a damaged film counts; who decodes it will be told.
        with contextlib.suppress(InputError), self._told():
            for packet in self._container.demux(self._track):
                count += bool(packet.size)
        return count

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """Tell damage in our words."""
        av = require("av", extra=self._extra)
        try:
            yield
        except (av.error.FFmpegError, *ODD_ERRORS) as error:
            raise InputError(
                f"{self.name}: the film is damaged or cut off ({reason_of(error)}). "
                "Copy or download it again."
            ) from error


def picture_of(frame: Any) -> np.ndarray:
    """Return a decoded frame of PyAV as uint8 [H, W, 3], RGB, upright as its film says."""
    return upright(frame.to_ndarray(format="rgb24"), int(getattr(frame, "rotation", 0) or 0))


def upright(picture: np.ndarray, degrees: int) -> np.ndarray:
    """Return a picture [H, W, 3] turned counterclockwise by a multiple of 90 degrees, as its film says."""
    return np.rot90(picture, k=round(degrees / 90) % 4)


def is_film(source: str | os.PathLike[str]) -> bool:
    """Return whether a file's first bytes are those of a container that may hold a film."""
    try:
        with open(source, "rb") as stream:
            return compressed_kind(stream.read(400)) is not None
    except (OSError, ValueError):  # ValueError: a name with a NUL in it
        return False


def _not_a_film(source: Source) -> str:
    head = source.head()
    content = "a recording without a picture" if head[:4] in _SOUNDS else describe(head)
    return (
        f"{source.name}: not a film; the content looks like {content}. "
        "Readable: MP4, MOV, WebM, MKV, AVI, FLV, WMV, MPEG."
    )


def _is_cover(stream: Any) -> bool:
    return "attached_pic" in str(getattr(stream, "disposition", "")).lower()
