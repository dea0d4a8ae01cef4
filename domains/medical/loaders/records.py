"""What the medical loaders return, and the options they take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from numbers import Integral, Real
from typing import Any, Literal

import numpy as np
import torch

from ....core.errors import ConfigError, nearest
from ....core.types import Sample
from .errors import FrameError
from .geometry import Geometry

STEPS = ("color", "rescale", "padding", "window", "invert")
NORMALIZATIONS = ("unit", "xrv", "hi-ml")


class Meta(dict[str, Any]):
    """Allow-listed facts about an image by name; ``meta.units`` reads like ``meta["units"]``."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"meta has no {name!r}; it has: {', '.join(self) or 'nothing'}.") from None


@dataclass(frozen=True)
class ImageOptions:
    """How one image is loaded. Every field may be given to ``load_image`` by keyword.

    Attributes:
        window: "default" (the rule of the modality in ``windows.json``), a preset name, "header",
            "header:1", (center, width), (center, width, function), "multi" (three channels), "full"
            (whole stored range), "minmax", "percentile:LOW,HIGH", or None for modality values (HU
            for CT) without window and inversion.
        frame: frame number from 0, for [C, H, W].
        frames: "all", a slice or numbers, for [T, C, H, W].
        channels: 1 (luma of a colour image), 3 (repeat a grey one) or None (as stored).
        box: (x0, y0, x1, y1) crop in pixels of the file, before any resize.
        size: (height, width) after the crop, antialiased bilinear.
        index, array: row and array name of an ``.npz`` file.
        normalize: "unit", "xrv" (torchxrayvision's [-1024, 1024], ignores rescale) or "hi-ml" (BioViL:
            256 grey levels between the image's own extremes, one channel; see :mod:`.himl`).
        percentiles: with "hi-ml": (low, high) in percent in place of the extremes.
        parity: with "hi-ml": take the stored values as they are, as the reference does: no rescale,
            window, inversion, palette or EXIF orientation, and alpha counts among the extremes.
        skip: steps to leave out, of "color", "rescale", "padding", "window", "invert".
        prefer_lut: where a header has a VOI table and a window, the table wins.
        force: read DICOM without preamble or transfer syntax.
        strict: refuse a header that declares less than the file holds.
        icc: convert colour to sRGB with the embedded profile.
        show_paths: name files in messages instead of a salted hash.
    """

    window: Any = "default"
    frame: int | None = None
    frames: Any = None
    channels: Literal[1, 3] | None = None
    box: tuple[int, int, int, int] | None = None
    size: tuple[int, int] | None = None
    index: int | None = None
    array: str | None = None
    normalize: Literal["unit", "xrv", "hi-ml"] = "unit"
    percentiles: tuple[float, float] | None = None
    parity: bool = False
    skip: tuple[str, ...] = ()
    prefer_lut: bool = True
    force: bool = False
    strict: bool = True
    icc: bool = False
    show_paths: bool = False

    def __post_init__(self) -> None:
        self._check_types()
        for step in self.skip:
            if step not in STEPS:
                raise ConfigError(
                    f"Unknown step {step!r} in skip; known: {', '.join(STEPS)}.{nearest(step, STEPS)}"
                )
        if self.channels not in (None, 1, 3):
            raise ConfigError(f"channels must be 1, 3 or None, got {self.channels!r}.")
        if self.normalize not in NORMALIZATIONS:
            hint = nearest(str(self.normalize), NORMALIZATIONS)
            raise ConfigError(f"normalize must be 'unit', 'xrv' or 'hi-ml', got {self.normalize!r}.{hint}")
        if self.normalize != "hi-ml" and (self.parity or self.percentiles is not None):
            raise ConfigError("parity and percentiles belong to normalize='hi-ml'. Pass that as well.")
        if self.parity and self.window not in ("default", None):
            raise ConfigError("parity=True takes the stored values and no window. Leave one of them out.")
        if self.percentiles is not None and (
            len(self.percentiles) != 2 or not 0 <= self.percentiles[0] < self.percentiles[1] <= 100
        ):
            raise ConfigError(f"percentiles must be (low, high) within 0 to 100, got {self.percentiles!r}.")
        if self.frame is not None and self.frames is not None:
            raise ConfigError("Give frame= (one image) or frames= (a stack of frames), not both.")
        if self.size is not None and (len(self.size) != 2 or min(self.size) < 1):
            raise ConfigError(f"size must be (height, width) of at least 1, got {self.size!r}.")

    def _check_types(self) -> None:
        for name in ("frame", "index"):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, Integral)):
                raise ConfigError(f"{name} must be a whole number or None, got {value!r}.")
        for name in ("prefer_lut", "force", "strict", "icc", "show_paths", "parity"):
            if not isinstance(getattr(self, name), (bool, np.bool_)):
                raise ConfigError(f"{name} must be true or false, got {getattr(self, name)!r}.")
        for name in ("box", "size", "percentiles"):
            value = getattr(self, name)
            if value is not None and not (_is_list(value) and all(isinstance(v, Real) for v in value)):
                raise ConfigError(f"{name} must be a list of numbers, got {value!r}.")
        if not _is_list(self.skip):
            raise ConfigError(f"skip must be a list of steps such as ['window'], got {self.skip!r}.")

    def with_(self, **changes: Any) -> ImageOptions:
        """Return a copy with some fields changed; unknown names raise ``ConfigError``."""
        known = [item.name for item in fields(self)]
        for name in changes:
            if name not in known:
                raise ConfigError(
                    f"Unknown option {name!r}; known: {', '.join(known)}.{nearest(name, known)}"
                )
        return replace(self, **changes)


@dataclass(frozen=True)
class MedicalImage(Sample):
    """One loaded image.

    ``value`` (also ``pixels``): float32 [C, H, W] in [0, 1], or [T, C, H, W] when frames were asked
    for; modality units (HU for CT) when loaded with ``window=None``.

    Attributes:
        geometry: original size and every crop and resize, so that masks and heat maps map back.
        history: the steps applied, in order.
        mask: bool [H, W] or [T, H, W] of padding pixels at the original size, or None.
    """

    geometry: Geometry = field(default_factory=lambda: Geometry((0, 0)))
    history: tuple[str, ...] = ()
    mask: torch.Tensor | None = None

    @property
    def pixels(self) -> torch.Tensor:
        """The image tensor, the same object as ``value``."""
        return self.value

    def __repr__(self) -> str:
        return f"MedicalImage(pixels={list(self.pixels.shape)}, steps={list(self.history)})"


@dataclass(frozen=True)
class MedicalVolume(Sample):
    """One loaded volume.

    ``value`` (also ``pixels``): float32 [1, D, H, W], in modality units unless a window was given.

    Attributes:
        affine: float64 [4, 4], voxel (column i, row j, slice k) to millimetres. Note the order: the
            tensor is indexed [0, k, j, i].
        space: "LPS" (DICOM) or "RAS" (NIfTI), the axes of the millimetres.
        history: the steps applied, in order.
        notes: what the user should know: gantry tilt, kept gaps, slices left out.
    """

    affine: np.ndarray = field(default_factory=lambda: np.eye(4))
    space: Literal["LPS", "RAS"] = "LPS"
    history: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def pixels(self) -> torch.Tensor:
        """The volume tensor, the same object as ``value``."""
        return self.value

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Millimetres between columns, between rows, between slices."""
        columns, rows, slices = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(columns), float(rows), float(slices)

    def to_space(self, space: Literal["LPS", "RAS"]) -> MedicalVolume:
        """Return the same voxels with the affine in the other convention."""
        if space not in ("LPS", "RAS"):
            raise ConfigError(f"space must be 'LPS' or 'RAS', got {space!r}.")
        if space == self.space:
            return self
        return replace(self, affine=np.diag([-1.0, -1.0, 1.0, 1.0]) @ self.affine, space=space)

    def slice(self, index: int, *, axis: Literal["axial", "coronal", "sagittal"] = "axial") -> torch.Tensor:
        """Return float32 [1, H, W], one slice across the voxel axis closest to the anatomical ``axis``.

        Raises:
            ConfigError: unknown axis name or index outside the volume.
        """
        names = {"sagittal": 0, "coronal": 1, "axial": 2}
        if axis not in names:
            raise ConfigError(f"axis must be one of {', '.join(names)}, got {axis!r}.{nearest(axis, names)}")
        directions = np.abs(self.affine[:3, :3] / np.linalg.norm(self.affine[:3, :3], axis=0))
        dimension = 3 - int(directions[names[axis]].argmax())
        if not 0 <= index < self.pixels.shape[dimension]:
            raise ConfigError(f"slice {index} asked for, the {axis} axis has {self.pixels.shape[dimension]}.")
        return self.pixels.select(dimension, index)

    def __repr__(self) -> str:
        spacing = "x".join(f"{value:g}" for value in self.spacing)
        return f"MedicalVolume(pixels={list(self.pixels.shape)}, spacing_mm={spacing}, space={self.space})"


def _is_list(value: Any) -> bool:
    return isinstance(value, (Sequence, np.ndarray)) and not isinstance(value, (str, bytes))


def choose_frames(options: ImageOptions, count: int, label: str) -> Sequence[int]:
    """Return the frame numbers that the options ask for in a file of ``count`` frames.

    Raises:
        FrameError: several frames and none asked for, or a number outside the file.
    """
    if options.frames is None and options.frame is None:
        if count > 1:
            raise FrameError(
                f"{label}: holds {count} frames. Pass frame=0 for one image or frames='all' for a stack."
            )
        return [0]
    if options.frame is not None:
        chosen: Sequence[int] = [options.frame]
    elif isinstance(options.frames, slice):
        chosen = range(*options.frames.indices(count))
    elif isinstance(options.frames, str):
        if options.frames != "all":
            raise FrameError(f"{label}: frames must be 'all', a slice or numbers, got {options.frames!r}.")
        chosen = range(count)
    else:
        try:
            chosen = [int(index) for index in options.frames or ()]
        except (TypeError, ValueError):
            raise FrameError(
                f"{label}: frames must be 'all', a slice or numbers, got {options.frames!r}."
            ) from None
    if not chosen or not all(0 <= index < count for index in chosen):
        raise FrameError(f"{label}: frames outside the file asked for; it has {count} (0 to {count - 1}).")
    return chosen
