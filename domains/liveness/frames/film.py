"""The frames of one film that a sampling asks for, exact to the frame, and what was wrong with it."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np

from ....core.errors import InputError, LimitError
from ....core.limits import DEFAULT, Limits
from ....core.media_source import ByteSource
from ....core.video import Film, open_film, picture_of
from .sampling import Sampling

_ROUNDING_S = 1e-6
"""A frame that is shown this much too early belongs to the step that begins then."""


@dataclass(frozen=True, eq=False)
class FilmFrames:
    """Frames of one film.

    Attributes:
        frames: uint8 [H, W, 3] each, RGB, upright.
        indices: of each in the film. times_s: of each, from its first frame on.
        total: frames that the film has, as far as it can be read. fps: of its header, 0 if unknown.
        warnings: damage that left something to read.
    """

    frames: tuple[np.ndarray, ...]
    indices: tuple[int, ...]
    times_s: tuple[float, ...]
    total: int
    fps: float
    warnings: tuple[str, ...]


def read_film(
    source: ByteSource, sampling: Sampling, *, limits: Limits = DEFAULT, show_paths: bool = False
) -> FilmFrames:
    """Return the frames of a film that are asked for.

    The film is decoded from its beginning, so that frame 6 is the seventh that is shown, whatever the frame
    rate does and wherever the key frames are. A damaged or cut off film gives the frames before the damage
    and a warning.

    Args:
        source: a path, bytes or a binary file object that can be read twice.
        sampling: which frames.
        limits: ceilings on the file, pixels, seconds, frames and decoded bytes.
        show_paths: let error messages name the whole path instead of the file name.

    Raises:
        InputError: no film, sound only, or not one frame can be read. LimitError: over a ceiling.
        DependencyError: PyAV is not installed.
    """

    reading = _Reading(source, sampling, limits, show_paths)
    if sampling.kind in ("every", "all"):
        step = sampling.seconds if sampling.kind == "every" else 1.0
        # Multiplied and not added up: rounding must not grow with the length of the film.
        places = (number * step for number in itertools.count())
        return reading.take(places, by_time=sampling.kind == "every")
    with reading.opened() as film:
        total = film.count_frames()
        limits.check("frames", total, what=f"{film.name}: frames")
    wanted = sampling.indices(max(1, total), what=film.name)
    found = reading.take(wanted, total=total)
    if len(found.frames) < len(wanted):
        # The container announced more frames than can be decoded: choose again among those that can.
        found = reading.take(sampling.indices(found.total, what=film.name), total=found.total)
    return found


@dataclass(frozen=True)
class _Reading:
    """A film that is opened once for each time it is gone through."""

    source: ByteSource
    sampling: Sampling
    limits: Limits
    show_paths: bool

    def opened(self) -> AbstractContextManager[Film]:
        return open_film(
            self.source,
            limits=self.limits,
            show_paths=self.show_paths,
            extra="liveness",
            sound_only="Give a film or a picture.",
            allow_truncated=True,
        )

    def take(self, places: Iterable[float], *, by_time: bool = False, total: int | None = None) -> FilmFrames:
        """Return, for each place, the first whole frame at or after it.

        Args:
            places: indices or, ``by_time``, seconds; ascending.
            total: frames of the film where they were counted; None goes through all of it.

        Raises:
            InputError: not one frame can be decoded. LimitError: over a ceiling.
        """
        with self.opened() as film:
            taken = _Taken(film.name, self.sampling, self.limits)
            targets = iter(places)
            target = next(targets, None)
            ended = True
            for index, (seconds, frame) in enumerate(taken.whole(film)):
                self.limits.check("frames", index + 1, what=f"{film.name}: frames")
                place = seconds if by_time else index
                if target is None or place < target - _ROUNDING_S or getattr(frame, "is_corrupt", False):
                    continue
                taken.add(index, seconds, frame)
                while target is not None and target <= place + _ROUNDING_S:
                    target = next(targets, None)
                if target is None:
                    ended = False
                    break
            if not taken.frames:
                raise InputError(
                    f"{film.name}: no frame of the film can be decoded. {' '.join(taken.warnings)}".rstrip()
                )
            count = taken.count if ended or total is None else total
            return FilmFrames(
                tuple(taken.frames),
                tuple(taken.indices),
                tuple(taken.times_s),
                count,
                film.info.fps,
                taken.told(film.missing),
            )


class _Taken:
    """The frames taken so far."""

    def __init__(self, name: str, sampling: Sampling, limits: Limits) -> None:
        self._name, self._sampling, self._limits = name, sampling, limits
        self.frames: list[np.ndarray] = []
        self.indices: list[int] = []
        self.times_s: list[float] = []
        self.warnings: list[str] = []
        self.count = self._held = self._corrupt = 0

    def whole(self, film: Film) -> Iterator[tuple[float, Any]]:
        """Yield the frames up to the end or the damage, and remember what was wrong."""
        try:
            for seconds, frame in film.frames():
                self.count += 1
                self._corrupt += bool(getattr(frame, "is_corrupt", False))
                yield seconds, frame
        except LimitError:
            raise
        except InputError as error:
            self.warnings.append(str(error))

    def add(self, index: int, seconds: float, frame: Any) -> None:
        """Keep a frame.

        Raises:
            LimitError: too many, or too large.
        """
        self._sampling.check_ceiling(len(self.frames) + 1, what=self._name)
        self._limits.check("pixels", frame.width * frame.height, what=f"{self._name}: pixels of a frame")
        self._held += 3 * frame.width * frame.height
        self._limits.check("decoded_bytes", self._held, what=f"{self._name}: bytes of the frames")
        self.frames.append(np.ascontiguousarray(picture_of(frame)))
        self.indices.append(index)
        self.times_s.append(seconds)

    def told(self, missing: float | None) -> tuple[str, ...]:
        """Return what was wrong with the film."""
        found = list(self.warnings)
        if missing is not None and not found:
            found.append(
                f"{self._name}: the film is cut off; {100 * missing:.3g} % of what its header announces "
                "is missing."
            )
        if self._corrupt:
            found.append(f"{self._name}: {self._corrupt} damaged frames were left out.")
        if found:
            found.append(f"{self._name}: {self.count} frames could be read.")
        return tuple(found)
