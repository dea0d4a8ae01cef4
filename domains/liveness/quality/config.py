"""The gates of a picture and their limits."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from ....core.config_base import Config, Probability
from ....core.errors import nearest

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Luma = Annotated[float, Field(ge=0.0, le=255.0)]
Degrees = Annotated[float, Field(gt=0.0, le=180.0)]

GATES = (
    "face_count",
    "face_size",
    "eye_distance",
    "face_share",
    "face_inside",
    "crop_scale",
    "sharpness",
    "luma",
    "clipped",
    "yaw",
    "pitch",
    "roll",
    "occlusion",
    "usable_frames",
    "frame_variety",
    "frame_sizes",
    "frame_rates",
)
"""Names of all checks."""
_BLOCKING = (
    "face_count",
    "face_size",
    "eye_distance",
    "face_share",
    "face_inside",
    "sharpness",
    "yaw",
    "pitch",
    "roll",
    "occlusion",
    "usable_frames",
)


class QualityConfig(Config):
    """Limits of every gate; None switches one off.

    The defaults are choices of this project, not of a standard, after the limits that users of the small
    published models state (turned by less than 30 degrees, whole face visible). Measure the share of
    presentations without an answer (APNRR, BPNRR) on your own captures before you change them.
    """

    face_count: int | None = Field(default=1, ge=1)
    """Faces that are large enough (see ``face_size``), exactly this many."""
    face_size: float | None = Field(default=80.0, gt=0)
    """Least shorter side of the detector's box, in pixels; of a pre-cropped picture, its own shorter side."""
    eye_distance: float | None = Field(default=40.0, gt=0)
    """Least distance between the eyes, in pixels."""
    face_share: tuple[Share, Share] | None = (0.03, 0.80)
    """Least and greatest area of the box as a share of the picture."""
    face_inside: Share | None = 0.90
    """Least share of the crop, as enlarged by the model's scale, that lies in the picture."""
    crop_scale: Share | None = 0.5
    """Least share of the scale of a crop that is moved inside the picture (MiniFASNet's rule): a face that
    fills the picture leaves room for less, and a model made for the surroundings sees fewer of them."""
    sharpness: float | None = Field(default=60.0, ge=0)
    """Least variance of the Laplacian of the grey face, brought to 112 x 112 pixels. Reported only, whatever
    ``blocking`` says, of a face up to twice as bright as one that ``luma`` calls dark: the variance falls
    with the square of the light, and cameras smooth what they amplify."""
    luma: tuple[Luma, Luma] | None = (40.0, 220.0)
    """Least and greatest mean brightness of the face, from 0 to 255."""
    clipped: Share | None = 0.20
    """Greatest share of the face's pixels that are all black or all white."""
    yaw: Degrees | None = 30.0
    """Greatest turn to either side, in degrees."""
    pitch: Degrees | None = 25.0
    """Greatest turn up or down, in degrees."""
    roll: Degrees | None = 30.0
    """Greatest tilt in the picture, in degrees."""
    occlusion: Probability | None = None
    """Greatest share of the face that is covered, where a model of your own measures it; off by default."""
    min_frames_still: int = Field(default=1, ge=1)
    """Usable frames that a still picture needs."""
    min_frames_video: int = Field(default=3, ge=1)
    """Usable frames that a film needs; fewer where fewer were asked for (FLIP scores two)."""
    frame_variety: bool = True
    """Tell when all frames of a film are the same to the last bit: a still picture in place of a camera."""
    frame_sizes: bool = True
    """Tell when the frames of a presentation differ in size."""
    frame_rates: bool = True
    """Tell when the films of a presentation differ in frame rate."""
    blocking: tuple[str, ...] = _BLOCKING
    """Gates that, when failed, leave a presentation without an answer (non-response). The others are reported
    beside the answer. Exposure is not among them: a dark frame may be an attack (``low_light_presentation``),
    so the model judges it and the report says both."""

    @model_validator(mode="after")
    def _agrees(self) -> QualityConfig:
        for name in ("face_share", "luma"):
            limits = getattr(self, name)
            if limits is not None and limits[0] >= limits[1]:
                raise ValueError(f"{name} runs from low to high, got {list(limits)}")
        for name in self.blocking:
            if name not in GATES:
                raise ValueError(f"blocking names the unknown gate {name!r}.{nearest(name, GATES)}")
        return self
