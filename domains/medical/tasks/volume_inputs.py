"""Volumes given to the verbs that every model has: one embedding per series folder or NIfTI file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ....core.errors import ConfigError, InputError, nearest
from ....core.types import Sample
from ..loaders.errors import MedicalImageError
from ..loaders.image import identify
from .volume_slices import SliceStack, VolumeSource, choose_slices, open_volume
from .volumes import VolumeOptions, stored_window

if TYPE_CHECKING:
    from ....core.handle import ModelHandle

_OPTIONS = ("window", "axis", "slices", "frame", "on_gap", "show_paths")
"""Fields of :class:`~.volumes.VolumeOptions` that say what is seen, not how scores are joined."""
_BATCH = 8


def is_volume(model: ModelHandle | None, path: str | Path) -> bool:
    """Return whether a path is a folder or a NIfTI file, for any model; a missing one is neither.

    A multi-frame DICOM file counts as an image: its frames may be a film as well as a stack, so the
    caller names a frame, or asks ``verticlip medical volume``.
    """
    path = Path(path)
    if path.is_dir():
        return True
    try:
        return path.is_file() and identify(path) == "nifti"
    except MedicalImageError:
        return False  # whatever reads the file says what is wrong with it, and calls it by its name


@dataclass(frozen=True, eq=False)
class VolumeSlices:
    """A volume that was read, and the slices of it that are seen.

    Attributes:
        stack: the pictures, drawn when they are asked for. indices: those that show something.
    """

    stack: SliceStack
    indices: tuple[int, ...]


def read_volume(model: ModelHandle, path: str | Path, **options: Any) -> tuple[VolumeSlices, dict[str, Any]]:
    """Return a volume whose slices can be embedded, and what will be seen; the network is not called.

    Slices that show nothing are left out. Scores per slice, and the slices that speak for a label, are
    what :func:`~.volumes.classify_volume` gives.

    Args:
        model: whose window and limits hold.
        path: a folder of DICOM slices or a NIfTI file.
        options: window, axis, slices, frame, on_gap and show_paths of :class:`~.volumes.VolumeOptions`.

    Raises:
        MedicalImageError: missing slices, mixed series, a damaged file.
        InputError: no slice shows anything.
        ConfigError: an option that volumes do not have.
    """
    for name in options:
        if name not in _OPTIONS:
            raise ConfigError(
                f"A volume has no option {name!r}; it has: {', '.join(_OPTIONS)}.{nearest(name, _OPTIONS)}"
            )
    chosen = VolumeOptions(**options)
    window = stored_window(model) if chosen.window is None else chosen.window
    reading = VolumeSource(chosen.frame, chosen.on_gap, chosen.show_paths)
    volume, values, shown = open_volume(path, window, reading, limits=model.limits)
    stack = SliceStack(volume, chosen.axis, values, limits=model.limits)
    indices = choose_slices(chosen.slices, len(stack))
    seen = tuple(index for index in indices if not stack.is_empty(stack[index]))
    if not seen:
        name = str(path) if chosen.show_paths else "the volume"
        raise InputError(
            f"{name}: none of {len(indices)} {chosen.axis} slices shows anything. Choose another window."
        )
    meta = {"slices": len(seen), "axis": chosen.axis, "window": shown, "spacing_mm": volume.spacing}
    return VolumeSlices(stack, seen), meta | ({"notes": volume.notes} if volume.notes else {})


def embed_slices(model: ModelHandle, volume: VolumeSlices) -> Tensor:
    """Return the mean direction of a volume's slices, float32 [D], unit; one batch of pictures at a time."""
    total = torch.zeros(model.config.embed_dim)
    for start in range(0, len(volume.indices), _BATCH):
        pictures = [volume.stack[index] for index in volume.indices[start : start + _BATCH]]
        samples = [Sample(picture, "image") for picture in pictures]
        total += model.embed(samples, modality="image", batch_size=_BATCH).vectors.sum(dim=0)
    return F.normalize(total, dim=0)


def embed_volume(model: ModelHandle, path: str | Path, **options: Any) -> tuple[Tensor, dict[str, Any]]:
    """Return the mean direction of a volume's slices, float32 [D], unit, and what was seen.

    Arguments and errors as in :func:`read_volume`.
    """
    volume, meta = read_volume(model, path, **options)
    return embed_slices(model, volume), meta
