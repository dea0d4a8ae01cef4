"""Networks of the benchmarks as ONNX files, by the exporter that needs no further package."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from ..core.errors import DependencyError, require


def write_onnx(
    network: nn.Module,
    example: Tensor,
    path: Path,
    *,
    inputs: str,
    outputs: Sequence[str],
    open_axes: Mapping[str, Mapping[int, str]],
) -> Path:
    """Write ``network`` as it answers ``example``, and return the path.

    Args:
        inputs, outputs: names. open_axes: {name: {axis: word}} of sizes that may change.

    Raises:
        DependencyError: onnx is missing, or this PyTorch has no such exporter any more.
    """
    require("onnx", extra="export")
    with warnings.catch_warnings():
        # It announces its successor at every call.
        warnings.simplefilter("ignore")
        try:
            torch.onnx.export(
                network,
                (example,),
                path,
                input_names=[inputs],
                output_names=list(outputs),
                dynamic_axes={name: dict(axes) for name, axes in open_axes.items()},
                dynamo=False,
            )
        except (TypeError, AttributeError) as error:
            raise DependencyError(
                f"torch {torch.__version__} exports to ONNX in another way ({error}). "
                "The benchmark was written for torch 2.14."
            ) from error
    return path
