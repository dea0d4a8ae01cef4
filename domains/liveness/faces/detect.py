"""Finding faces. The package brings no detector's weights; without any, pictures are crops already."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np

from ....core.errors import ConfigError, DependencyError, WeightsError, nearest, require
from .onnx_header import read_header
from .picture import check_picture

VARIABLE = "VERTICLIP_YUNET"
"""Environment variable with the path of YuNet's file."""
_FILE = "face_detection_yunet_2026may.onnx (OpenCV 5) or face_detection_yunet_2023mar.onnx (OpenCV 4)"
_HOW = (
    f'The detector needs "verticlip[liveness]" and the model file {_FILE}, MIT licence, from '
    f"models/face_detection_yunet of the OpenCV Zoo. Give it by detector_path (--yunet FILE) or {VARIABLE}, "
    'or pass pictures that are face crops already with detector="none".'
)
_MAX_BYTES = 64 * 1024**2
"""YuNet has 0.2 MB; anything near this is another file."""


_OUTPUTS = {f"{name}_{stride}" for name in ("cls", "obj", "bbox", "kps") for stride in (8, 16, 32)}
_DARK, _MOST_GAIN = 60.0, 16.0
"""Mean pixel under which a picture without a face is looked at again, and its largest multiplier then."""
_LEVEL = threading.RLock()


@dataclass(frozen=True, eq=False)
class Face:
    """A face in a picture.

    Attributes:
        box: half-open (x1, y1, x2, y2) in pixels of the picture; it may leave the picture.
        score: of the detector, in [0, 1].
        landmarks: float32 [5, 2], (x, y) of right eye, left eye, tip of the nose, right and left corner of
            the mouth, or None. Right is the person's right, which a camera shows on the left.
    """

    box: tuple[float, float, float, float]
    score: float = 1.0
    landmarks: np.ndarray | None = None

    @property
    def width(self) -> float:
        """Pixels."""
        return self.box[2] - self.box[0]

    @property
    def height(self) -> float:
        """Pixels."""
        return self.box[3] - self.box[1]

    @property
    def area(self) -> float:
        """Square pixels."""
        return self.width * self.height

    @property
    def eye_distance(self) -> float | None:
        """Pixels between the eyes, or None without landmarks."""
        if self.landmarks is None:
            return None
        return float(np.hypot(*(self.landmarks[1] - self.landmarks[0])))


@runtime_checkable
class FaceDetector(Protocol):
    """What any face detector offers; pass an object of your own to use another one.

    Attributes:
        name: short, for reports.
        digest: hexadecimal; of the detector's file and settings. What runs the file is no part of it: another
            version of OpenCV may move a box by a fraction of a pixel.
    """

    name: str
    digest: str

    def detect(self, picture: np.ndarray) -> list[Face]:
        """Return the faces of a picture uint8 [H, W, 3] RGB, the largest first; called by several threads."""
        ...


def by_area(faces: list[Face]) -> list[Face]:
    """Return faces the largest first; equal ones by score, then from left to right and top to bottom."""
    return sorted(faces, key=lambda face: (-face.area, -face.score, face.box))


class YuNet:
    """The YuNet detector through OpenCV's ``FaceDetectorYN``.

    One object may be used by many threads at once. Treat the file like a program, and take it from its
    authors: what is cut off, incomplete or another network is refused, but OpenCV's reader was not made for
    content that is meant to break it. ``sha256`` says which file gave an answer.

    Example::

        faces = YuNet("face_detection_yunet_2023mar.onnx").detect(picture)
        faces[0].box, faces[0].landmarks

    Args:
        path: of the ONNX file; None takes the environment variable VERTICLIP_YUNET.
        score_threshold: least score of a face.
        nms_threshold: overlap (IoU) above which the weaker of two boxes is dropped.
        top_k: most boxes looked at before overlaps are dropped.
        max_side: pictures with a longer side are scaled down to it before detection, and boxes back. The
            network is made for faces of about 10 to 300 pixels: with 640, a face that fills a phone picture
            is within them, and so is one of 80 pixels in a picture of 4,000.
        lift_dark: look a second time, at a brighter copy, where a dark picture shows no face. An attack in
            the dark should reach the model instead of ending as "no face"; crops are cut from the picture as
            it is.

    Raises:
        WeightsError: no file is given, or it is missing, damaged or no YuNet.
        ConfigError: a setting is out of range. DependencyError: OpenCV is not installed.

    Reference:
        Wu, Peng, Yu: YuNet, a tiny millisecond-level face detector, 2023.
    """

    name = "yunet"

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        score_threshold: float = 0.6,
        nms_threshold: float = 0.3,
        top_k: int = 5000,
        max_side: int = 640,
        lift_dark: bool = True,
    ) -> None:
        for setting, value in (("score_threshold", score_threshold), ("nms_threshold", nms_threshold)):
            if not 0 < value <= 1:
                raise ConfigError(f"{setting} is over 0 and at most 1, got {value!r}.")
        for setting, value in (("top_k", top_k), ("max_side", max_side)):
            if value < 1:
                raise ConfigError(f"{setting} is at least 1, got {value!r}.")
        self._settings = (score_threshold, nms_threshold, top_k)
        self._max_side, self._lift_dark = max_side, lift_dark
        content, self._called = _read_model(path)
        declared = _check_model(content, self._called)
        self.sha256 = hashlib.sha256(content).hexdigest()
        stated = json.dumps([self.name, self.sha256, *self._settings, max_side, lift_dark])
        self.digest = hashlib.sha256(stated.encode()).hexdigest()
        self._content = np.frombuffer(content, np.uint8)
        # OpenCV's detector holds the size of its input: each is used by one thread at a time.
        self._idle: list[Any] = []
        self._lock = threading.Lock()
        self._fixed = self._probe(declared)

    def detect(self, picture: np.ndarray) -> list[Face]:
        """Return the faces of a picture uint8 [H, W, 3] RGB, the largest first.

        Raises:
            InputError: it is no such picture.
        """
        check_picture(picture)
        cv2 = _opencv()
        height, width = picture.shape[:2]
        limit = self._max_side if self._fixed is None else min(self._max_side, *self._fixed)
        shrink = min(1.0, limit / max(height, width))
        small = cv2.cvtColor(np.ascontiguousarray(picture), cv2.COLOR_RGB2BGR)
        if shrink < 1:
            size = (max(1, round(width * shrink)), max(1, round(height * shrink)))
            small = cv2.resize(small, size, interpolation=cv2.INTER_AREA)
        back = (width / small.shape[1], height / small.shape[0])
        with self._borrowed() as detector:
            rows = _detect(cv2, detector, small, self._fixed)
            if self._lift_dark and not len(rows) and (lifted := _lifted(small)) is not None:
                rows = _detect(cv2, detector, lifted, self._fixed)
        return by_area([face for row in rows if (face := _face(row, back)) is not None])

    @contextmanager
    def _borrowed(self) -> Iterator[Any]:
        with self._lock:
            detector = self._idle.pop() if self._idle else None
        if detector is None:
            detector = self._create()
        yield detector
        # Not after an error: a detector that failed may be left in any state.
        with self._lock:
            self._idle.append(detector)

    def _create(self) -> Any:
        cv2 = _opencv()
        score, nms, top_k = self._settings
        nothing = np.zeros(0, np.uint8)
        with _quiet(cv2):
            return cv2.FaceDetectorYN.create("onnx", self._content, nothing, (320, 320), score, nms, top_k)

    def _probe(self, fixed: tuple[int, int] | None) -> tuple[int, int] | None:
        """Return the only size (width, height) the network takes, or None when it takes all; try it out."""
        cv2 = _opencv()
        refusal: Exception | None = None
        # Some engines run a file of a fixed size at any size, some at that one only.
        for size in (None, fixed) if fixed else (None,):
            try:
                with _quiet(cv2):
                    detector = self._create()
                    for shape in ((96, 160), (224, 64)):
                        _detect(cv2, detector, np.zeros((*shape, 3), np.uint8), size)
            except (cv2.error, MemoryError, ValueError) as error:
                refusal = error
                continue
            self._idle.append(detector)
            return size
        raise WeightsError(
            f"{self._called}: OpenCV {cv2.__version__} cannot run this file as YuNet. {_HOW}"
        ) from refusal


def open_detector(
    detector: FaceDetector | Literal["yunet", "none"], path: str | os.PathLike[str] | None = None
) -> FaceDetector | None:
    """Return a detector, or None for ``"none"``: pictures are face crops already.

    Args:
        detector: a name, or an object with ``name``, ``digest`` and ``detect``.
        path: of the model file of ``"yunet"``; None takes VERTICLIP_YUNET.

    Raises:
        ConfigError: an unknown name, an object that is no detector, or a path nobody reads.
        WeightsError, DependencyError: see :class:`YuNet`.
    """
    if isinstance(detector, str):
        if detector == "yunet":
            return YuNet(path)
        if detector != "none":
            raise ConfigError(
                f"Unknown face detector {detector!r}; known: yunet, none."
                f"{nearest(detector, ('yunet', 'none'))}"
            )
        if path is not None:
            raise ConfigError('A detector file was given, but detector is "none". Pass detector="yunet".')
        return None
    if not isinstance(detector, FaceDetector):
        raise ConfigError(
            f"{type(detector).__name__!r} is no face detector: it needs name, digest and detect(picture)."
        )
    if path is not None:
        raise ConfigError("A detector file was given beside a detector object; give one of them.")
    return detector


def _opencv() -> ModuleType:
    cv2 = require("cv2", extra="liveness")
    # A build without its dnn or objdetect module imports without them.
    if not hasattr(cv2, "FaceDetectorYN"):
        raise DependencyError(
            f"OpenCV {cv2.__version__} has no FaceDetectorYN. "
            'Run: pip install --upgrade "opencv-python-headless>=4.10"'
        )
    return cv2


def _read_model(path: str | os.PathLike[str] | None) -> tuple[bytes, str]:
    """Return the bytes of a YuNet file and what messages call it."""
    origin = "detector_path"
    if path is None:
        path, origin = os.environ.get(VARIABLE) or None, VARIABLE
    if path is None:
        raise WeightsError(f"No face detector file is given. {_HOW}")
    path = Path(path)
    called = f"{path} (from {origin})"
    if not path.is_file():
        raise WeightsError(f"{called}: {'is a folder' if path.is_dir() else 'no such file'}. {_HOW}")
    if path.stat().st_size > _MAX_BYTES:
        raise WeightsError(f"{called}: {path.stat().st_size:,} bytes are not YuNet, which has 0.2 MB. {_HOW}")
    content = path.read_bytes()
    return content, called


def _check_model(content: bytes, called: str) -> tuple[int, int] | None:
    """Return the size (width, height) a file declares for its input, or None where it is left open."""
    if content.startswith(b"version https://git-lfs"):
        raise WeightsError(
            f"{called}: a Git LFS pointer, not the file itself. Fetch it with `git lfs pull`. {_HOW}"
        )
    try:
        header = read_header(content)
    except ValueError as error:
        raise WeightsError(f"{called}: not a whole ONNX file: {error}. {_HOW}") from error
    missing = sorted(_OUTPUTS - set(header.outputs))
    if missing:
        raise WeightsError(
            f"{called}: an ONNX file, but not YuNet in its form since 2023: it lacks the outputs "
            f"{', '.join(missing)}. {_HOW}"
        )
    sizes = [shape for _, shape in header.inputs if len(shape) == 4]
    if not sizes or sizes[0][2] is None or sizes[0][3] is None:
        return None
    return sizes[0][3], sizes[0][2]


def _detect(cv2: ModuleType, detector: Any, picture: np.ndarray, fixed: tuple[int, int] | None) -> np.ndarray:
    """Return float32 [N, 15] in pixels of ``picture`` uint8 [h, w, 3] BGR."""
    height, width = picture.shape[:2]
    if fixed is not None:
        picture = cv2.copyMakeBorder(
            picture, 0, fixed[1] - height, 0, fixed[0] - width, cv2.BORDER_CONSTANT, value=(0, 0, 0)
        )
    detector.setInputSize((picture.shape[1], picture.shape[0]))
    rows = detector.detect(picture)[1]
    return np.zeros((0, 15), np.float32) if rows is None else np.asarray(rows, np.float32).reshape(-1, 15)


def _lifted(picture: np.ndarray) -> np.ndarray | None:
    """Return a dark picture multiplied up to full range, or None for one that is not dark or is black."""
    if float(picture.mean()) >= _DARK:
        return None
    bright = float(np.percentile(picture, 99))
    if bright < 1:
        return None
    gain = min(_MOST_GAIN, 250 / bright)
    return np.minimum(picture * np.float32(gain), 255).astype(np.uint8)


def _face(row: np.ndarray, back: tuple[float, float]) -> Face | None:
    """Return a face from x, y, w, h, five points and the score; None where a number is not one."""
    if not np.isfinite(row).all() or row[2] <= 0 or row[3] <= 0:
        return None
    x, y, w, h = (float(value) for value in row[:4])
    points = row[4:14].reshape(5, 2) * np.asarray(back, np.float32)
    box = (x * back[0], y * back[1], (x + w) * back[0], (y + h) * back[1])
    return Face(box, min(1.0, float(row[14])), points.astype(np.float32))


@contextmanager
def _quiet(cv2: ModuleType) -> Iterator[None]:
    """Keep OpenCV from telling the terminal about its engines while a network is read and tried out."""
    levels = getattr(getattr(cv2, "utils", None), "logging", None)
    if levels is None:
        yield
        return
    # The level is the process's: two threads must not take each other's for the one to go back to.
    with _LEVEL:
        before = levels.getLogLevel()
        levels.setLogLevel(levels.LOG_LEVEL_SILENT)
        try:
            yield
        finally:
            levels.setLogLevel(before)
