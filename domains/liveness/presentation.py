"""From what a camera captured to what the model takes: frames, faces, gates, crops. No model is asked."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...core.errors import InputError
from ...core.limits import DEFAULT, Limits
from .cropped import check_cropped_as
from .faces.crop import CropConfig, crop_box, crop_face
from .frames.media import Media, read_media
from .quality.checks import Check, blocks, check_reach, checks_after, checks_before
from .quality.config import QualityConfig
from .quality.frame_checks import checks_of_frames, frames_needed

if TYPE_CHECKING:
    import numpy as np

    from .faces.detect import Face, FaceDetector
    from .frames.sampling import Sampling


@dataclass(frozen=True, eq=False)
class View:
    """One frame and what is to be judged of it.

    Attributes:
        index, time_s: of the frame in its file.
        faces: found, largest first; empty for a pre-cropped picture.
        face: the one that is judged; None for a pre-cropped picture.
        checks: every gate of this frame.
        crops: one picture per crop setting of the model; None where a gate before the model failed.
        box: half-open (x1, y1, x2, y2), what the widest crop shows of the frame.
        size: (height, width) of the frame.
        pixels: the frame, where it is kept.
    """

    index: int
    time_s: float | None
    faces: tuple[Face, ...]
    face: Face | None
    checks: tuple[Check, ...]
    crops: tuple[np.ndarray, ...] | None
    box: tuple[int, int, int, int]
    size: tuple[int, int]
    pixels: np.ndarray | None = None

    @property
    def usable(self) -> bool:
        """Whether the decision may rest on it."""
        return self.crops is not None and not blocks(self.checks)


@dataclass(frozen=True, eq=False)
class Presentation:
    """One presentation, ready for the model.

    Attributes:
        name: as results and failures call it.
        views: its frames.
        checks: gates of the presentation as a whole.
        frames_needed: usable frames that a decision needs.
        notes: what was wrong with files of which something could be read.
        timings_ms: {stage: milliseconds}.
    """

    name: str
    views: tuple[View, ...]
    checks: tuple[Check, ...]
    frames_needed: int
    notes: tuple[str, ...]
    timings_ms: dict[str, float]

    @property
    def judged(self) -> list[View]:
        """Frames that the model sees."""
        return [view for view in self.views if view.crops is not None]

    @property
    def excluded(self) -> dict[str, int]:
        """{name of a failed check that blocks: frames it left out}."""
        failed = (check.name for view in self.views for check in view.checks if blocks([check]))
        return dict(Counter(failed))


@dataclass(frozen=True)
class Intake:
    """How captures become presentations.

    Attributes:
        crops: of the model. detector: None takes every picture for a face crop.
        quality: gates. sampling: frames of films. limits: ceilings.
    """

    crops: tuple[CropConfig, ...]
    detector: FaceDetector | None
    quality: QualityConfig
    sampling: Sampling
    limits: Limits = DEFAULT

    def present(self, item: Any, name: str, *, keep_frames: bool = False) -> Presentation:
        """Return the presentation of files, arrays or a manifest's entry. Called from several threads.

        Raises:
            InputError: it cannot be read, is too large, or was cropped with other settings.
        """
        timings: dict[str, float] = {}
        given = _files_of(item)
        for path in [given] if isinstance(given, (str, Path)) else _paths_in(given):
            check_cropped_as(path, self.crops, detects=self.detector is not None)
        with _timed(timings, "read"):
            media = read_media(given, self.sampling, limits=self.limits, name=name)
        views = tuple(
            self._view(media, position, timings, keep_frames=keep_frames)
            for position in range(len(media.frames))
        )
        with _timed(timings, "quality"):
            checks = checks_of_frames(media, [view.usable for view in views], self.quality)
            needed = frames_needed(media, self.quality)
        if "usable_frames" not in self.quality.blocking:
            needed = 1
        return Presentation(name, views, tuple(checks), needed, media.warnings, timings)

    def _view(self, media: Media, position: int, timings: dict[str, float], *, keep_frames: bool) -> View:
        picture = media.frames[position]
        with _timed(timings, "detect"):
            faces = None if self.detector is None else _faces_in(picture, self.detector)
        with _timed(timings, "quality"):
            checks, face = checks_before(picture, faces, self._widest_border, self.quality)
            if face is not None:
                checks = [
                    *checks,
                    *check_reach(face, self.crops, (picture.shape[0], picture.shape[1]), self.quality),
                ]
            # Without a face there is nothing to cut, whichever gates are switched off.
            is_judged = not blocks(checks) and (faces is None or face is not None)
            if is_judged:
                checks = [*checks, *checks_after(picture, face, self.quality)]
        with _timed(timings, "crop"):
            crops = tuple(crop_face(picture, face, crop) for crop in self.crops) if is_judged else None
        return View(
            index=media.indices[position],
            time_s=media.times_s[position],
            faces=tuple(faces or ()),
            face=face,
            checks=tuple(checks),
            crops=crops,
            box=self._seen(picture, face),
            size=(picture.shape[0], picture.shape[1]),
            pixels=picture if keep_frames else None,
        )

    @property
    def _widest_border(self) -> float | None:
        """Scale whose crop has to lie in the picture; None where the model sees whole pictures only."""
        # A crop that is moved inside never leaves the picture; the face itself still has to be in it.
        scales = [1.0 if crop.shift else crop.scale for crop in self.crops if crop.scale is not None]
        return max(scales, default=None)

    def _seen(self, picture: np.ndarray, face: Face | None) -> tuple[int, int, int, int]:
        """Return the box around all crops, inside the picture."""
        height, width = picture.shape[:2]
        if face is None:
            return 0, 0, width, height
        boxes = [crop_box(face, crop, height, width) for crop in self.crops]
        x1, y1 = (max(0, min(box[side] for box in boxes)) for side in (0, 1))
        x2, y2 = (min(end, max(box[side] for box in boxes)) for side, end in ((2, width), (3, height)))
        return (x1, y1, x2, y2) if x1 < x2 and y1 < y2 else (0, 0, width, height)


def name_of_item(item: Any, position: int) -> str:
    """Return what results and failures call an item: its path, the id of an entry, or its place."""
    if isinstance(item, (str, Path)):
        return str(item)
    called = getattr(item, "id", None)
    if isinstance(called, str):
        return called
    paths = _paths_in(item) if isinstance(item, Sequence) else []
    return str(paths[0]) if paths else f"item {position}"


def _faces_in(picture: np.ndarray, detector: FaceDetector) -> list[Face]:
    """Return what a detector, of this package or of anybody, found in a picture.

    Raises:
        InputError: a box without area or landmarks that are no five points: gates could not judge them.
    """
    # OpenCV's detectors say None where there is no face. Passed on, it would say "a face crop already".
    found = detector.detect(picture)
    faces = [] if found is None else list(found)
    for face in faces:
        points = face.landmarks
        if not (all(map(math.isfinite, face.box)) and face.width > 0 and face.height > 0):
            raise InputError(
                f"The face detector {detector.name!r} gave the box {face.box}; expected (x1, y1, x2, y2) in "
                "pixels with x1 < x2 and y1 < y2."
            )
        if points is not None and (points.shape != (5, 2) or not all(map(math.isfinite, points.flat))):
            raise InputError(
                f"The face detector {detector.name!r} gave landmarks of shape {points.shape}; expected "
                "[5, 2] finite numbers, or None."
            )
    return faces


def _files_of(item: Any) -> Any:
    """Return what is read of an item: the files of an entry, else the item itself."""
    frames, path = getattr(item, "frames", None), getattr(item, "path", None)
    if path is None or isinstance(item, (str, Path)):
        return item
    return tuple(frames) if frames else path


def _paths_in(item: Any) -> list[str | Path]:
    return [one for one in item if isinstance(one, (str, Path))] if isinstance(item, (list, tuple)) else []


@contextmanager
def _timed(timings: dict[str, float], stage: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    timings[stage] = timings.get(stage, 0.0) + (time.perf_counter() - start) * 1e3
