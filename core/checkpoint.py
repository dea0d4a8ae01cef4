"""Weights on disk: safetensors only, written atomically, loaded strictly."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from .errors import WeightsError
from .files import atomic_path
from .tensor_header import read_header


def save_weights(module: nn.Module, path: str | Path, *, dtype: torch.dtype | None = None) -> None:
    """Write the state of ``module`` as safetensors through a temporary name.

    Args:
        dtype: cast floating tensors to this type (``torch.float16`` halves the file); integers stay.

    Raises:
        WeightsError: a tensor is not finite, in the module or after the cast.
    """
    from safetensors.torch import save_file

    state: dict[str, Tensor] = {}
    for key, tensor in module.state_dict().items():
        value = tensor.detach().cpu()
        if dtype is not None and value.is_floating_point():
            value = value.to(dtype)
        if not is_finite(value):
            raise WeightsError(
                f"{Path(path).name}: tensor {key!r} has non-finite values; nothing was written."
            )
        state[key] = value.clone(memory_format=torch.contiguous_format)
    with atomic_path(path) as temporary:
        save_file(state, temporary, metadata={"format": "pt"})


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """Return {name: tensor} of a safetensors file, memory-mapped.

    Raises:
        WeightsError: missing, damaged, a name twice, or non-finite values.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"{path}: no such file. A weights folder needs model.safetensors.")
    try:
        read_header(path)
        state = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise WeightsError(f"{path.name}: not a whole safetensors file ({error}). Fetch it again.") from error
    for key, tensor in state.items():
        if not is_finite(tensor):
            raise WeightsError(f"{path.name}: tensor {key!r} has NaN or infinite values. Use another copy.")
    return state


def is_finite(tensor: Tensor) -> bool:
    """Return whether no value is NaN or infinite; the extremes tell, without a mask of the tensor's size."""
    if not tensor.is_floating_point() or not tensor.numel():
        return True
    low, high = tensor.aminmax()
    return bool(torch.isfinite(low) & torch.isfinite(high))


def load_strict(module: nn.Module, state: Mapping[str, Tensor], *, source: str) -> None:
    """Load ``state`` into ``module``; every name and shape must agree.

    Half-precision tensors are widened to the type of the parameter they fill. Works for modules
    built on the ``meta`` device.

    Raises:
        WeightsError: lists the first missing, unexpected and misshapen tensors.
    """
    wanted = module.state_dict()
    missing = sorted(set(wanted) - set(state))
    unexpected = sorted(set(state) - set(wanted))
    wrong = [
        f"{key} {tuple(state[key].shape)} instead of {tuple(wanted[key].shape)}"
        for key in wanted
        if key in state and state[key].shape != wanted[key].shape
    ]
    problems = [
        f"{len(names)} {word} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
        for word, names in (("missing", missing), ("unexpected", unexpected), ("of another shape", wrong))
        if names
    ]
    if problems:
        raise WeightsError(
            f"{source}: tensors do not fit the config: {'; '.join(problems)}. "
            "The weights and config.json belong to different models."
        )
    cast = {key: state[key].to(wanted[key].dtype) for key in wanted}
    module.load_state_dict(cast, strict=True, assign=True)
    left = [name for name, tensor in (*module.named_parameters(), *module.named_buffers()) if tensor.is_meta]
    if left:
        raise WeightsError(f"{source}: no value for {left[0]!r}, which is not part of the saved state.")
