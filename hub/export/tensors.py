"""What every export writes and refuses alike: tensors, and steps of preprocessing that only we have."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from ...core.checkpoint import is_finite
from ...core.config import ImageProcessing
from ...core.errors import WeightsError
from ...core.layouts.exported import NotExpressible


def write_tensors(state: Mapping[str, Tensor], path: Path) -> None:
    """Write {name: tensor} as safetensors.

    Raises:
        WeightsError: a value is not finite.
    """
    from safetensors.torch import save_file

    for name, tensor in state.items():
        if not is_finite(tensor):
            raise WeightsError(f"{name} has non-finite values. Nothing was written.")
    whole = {name: _alone(tensor.detach().cpu()) for name, tensor in state.items()}
    save_file(whole, path, metadata={"format": "pt"})


def _alone(tensor: Tensor) -> Tensor:
    """Return a tensor that shares its memory with no other one of a file; most are that already."""
    if tensor.is_contiguous() and tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size():
        return tensor
    return tensor.clone(memory_format=torch.contiguous_format)


def need_image(config: ImageProcessing | None) -> ImageProcessing:
    """Return the settings of pictures; :class:`NotExpressible` where there are none."""
    if config is None:
        raise NotExpressible("its processor prepares no pictures.")
    return config


def refuse_picture(config: ImageProcessing, library: str) -> None:
    """Raise :class:`NotExpressible` for a step of ours that no other library has."""
    steps = {
        "takes one channel": config.channels != 3,
        "trims dark borders": config.trim_border > 0,
        "stretches the values of each picture": config.stretch is not None,
        "takes each picture's own mean and deviation": config.standardize is not None,
    }
    for step, present in steps.items():
        if present:
            raise NotExpressible(f"its preprocessing {step}; that of {library} cannot.")
