"""Where loaded pixels come from: the size of the input, every crop and resize, and millimetres."""

from __future__ import annotations

from dataclasses import dataclass, replace

from .errors import GeometryError
from .header import Header


@dataclass(frozen=True)
class Geometry:
    """Path from input pixels to loaded pixels.

    Attributes:
        original_size: (height, width) in the file, after any EXIF rotation.
        steps: ("crop", x0, y0, x1, y1) and ("resize", height, width) in the order applied.
        spacing_mm: (between rows, between columns) of the file's own pixels, or None when the file
            does not say.
        spacing_source: the element the spacing was read from, or None.
        position_mm: position of the first pixel centre in patient space (LPS), or None.
        orientation: six direction cosines (along a row, then down a column), or None.
    """

    original_size: tuple[int, int]
    steps: tuple[tuple[str | float, ...], ...] = ()
    spacing_mm: tuple[float, float] | None = None
    spacing_source: str | None = None
    position_mm: tuple[float, ...] | None = None
    orientation: tuple[float, ...] | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Current (height, width)."""
        height, width = self.original_size
        for step in self.steps:
            if step[0] == "crop":
                _, x0, y0, x1, y1 = step
                height, width = int(y1) - int(y0), int(x1) - int(x0)
            elif step[0] == "resize":
                height, width = int(step[1]), int(step[2])
        return height, width

    def crop(self, box: tuple[int, int, int, int]) -> Geometry:
        """Return the geometry after keeping pixels x0 <= x < x1, y0 <= y < y1 of the current image."""
        return replace(self, steps=(*self.steps, ("crop", *box)))

    def resize(self, size: tuple[int, int]) -> Geometry:
        """Return the geometry after resizing the current image to (height, width)."""
        return replace(self, steps=(*self.steps, ("resize", *size)))

    def opaque(self, name: str) -> Geometry:
        """Return the geometry after a transform whose mapping is unknown; points cannot be mapped back."""
        return replace(self, steps=(*self.steps, (name,)))

    def to_original(self, x: float, y: float) -> tuple[float, float]:
        """Return the file's pixel coordinates of a point in the loaded pixels.

        Coordinates count from the outer edge of the first pixel, so a pixel centre is at 0.5.

        Raises:
            GeometryError: a transform was applied whose mapping is not known.
        """
        sizes = [self.original_size]
        for count in range(1, len(self.steps) + 1):
            sizes.append(replace(self, steps=self.steps[:count]).size)
        for step, before in zip(reversed(self.steps), reversed(sizes[:-1]), strict=True):
            if step[0] == "crop":
                x, y = x + float(step[1]), y + float(step[2])
            elif step[0] == "resize":
                x, y = x * before[1] / float(step[2]), y * before[0] / float(step[1])
            else:
                raise GeometryError(
                    f"The step {step[0]!r} has no known inverse. Use box= and size= of load_image, "
                    "whose mapping is recorded."
                )
        return x, y


def check_box(box: tuple[float, ...], size: tuple[int, int], label: str) -> tuple[int, int, int, int]:
    """Return ``box`` as whole pixels inside an image of (height, width).

    Raises:
        GeometryError: not four whole numbers, empty, or outside the image.
    """
    height, width = size
    if len(box) != 4 or any(int(value) != value for value in box):
        raise GeometryError(f"{label}: box must be four whole numbers (x0, y0, x1, y1), got {tuple(box)}.")
    x0, y0, x1, y1 = (int(value) for value in box)
    if not (0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height):
        raise GeometryError(
            f"{label}: box {(x0, y0, x1, y1)} is not inside the image (width {width}, height {height}). "
            "Give 0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height."
        )
    return x0, y0, x1, y1


def functional_group(header: Header, sequence: str, frame: int) -> Header | None:
    """Return the item of a functional group for one frame of an enhanced object, else None.

    Per-frame groups win over shared ones (PS3.3 C.7.6.16).
    """
    frames = header.items("PerFrameFunctionalGroupsSequence")
    groups = [frames[frame]] if frame < len(frames) else []
    for group in groups + header.items("SharedFunctionalGroupsSequence")[:1]:
        items = group.items(sequence)
        if items:
            return items[0]
    return None


def spacing_2d(header: Header, frame: int = 0) -> tuple[tuple[float, float] | None, str | None]:
    """Return ((between rows, between columns) in mm, the element used), or (None, None).

    ``PixelSpacing`` with a calibration type is reported as such; spacing at the detector
    (``ImagerPixelSpacing``) is never mixed with it. Ultrasound regions are used when they give
    centimetres in both directions and there is only one scale.
    """
    measures = functional_group(header, "PixelMeasuresSequence", frame)
    if measures is not None and (values := measures.numbers("PixelSpacing", 2)):
        return (values[0], values[1]), "PixelMeasuresSequence"
    for keyword in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"):
        if values := header.numbers(keyword, 2):
            kind = header.get("PixelSpacingCalibrationType") if keyword == "PixelSpacing" else None
            calibrated = kind if kind in ("GEOMETRY", "FIDUCIAL") else None
            return (values[0], values[1]), f"{keyword} ({calibrated})" if calibrated else keyword
    scales = {
        (10.0 * abs(region.get("PhysicalDeltaY")), 10.0 * abs(region.get("PhysicalDeltaX")))
        for region in header.items("SequenceOfUltrasoundRegions")
        if region.get("PhysicalUnitsXDirection") == 3 == region.get("PhysicalUnitsYDirection")
        and region.get("PhysicalDeltaX") and region.get("PhysicalDeltaY")
    }  # fmt: skip
    return (scales.pop(), "SequenceOfUltrasoundRegions") if len(scales) == 1 else (None, None)


def plane(header: Header, frame: int = 0) -> tuple[tuple[float, ...] | None, tuple[float, ...] | None]:
    """Return (position [3], orientation [6]) of a frame in mm, LPS; None where the file does not say."""
    position = functional_group(header, "PlanePositionSequence", frame) or header
    orientation = functional_group(header, "PlaneOrientationSequence", frame) or header
    return position.numbers("ImagePositionPatient", 3), orientation.numbers("ImageOrientationPatient", 6)
