"""What stands for a published model in the sweep: its authors' files, at a size that a test can afford."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor
from verticlip.core.registry import ModelSpec, PublishedWeights

GOLDEN = Path(__file__).resolve().parents[2] / "golden"

Maker = Callable[[ModelSpec, Path], dict[str, Path]]
"""(what the registry says, folder) -> {role: file}, in the layout that the authors publish."""


@dataclass(frozen=True)
class Specimen:
    """A registered model at reduced size.

    Attributes:
        kind: names what other libraries and runtimes can make of it; see ``KINDS`` in ``kinds.py``. The
            first model of a kind is exported for all of them.
        make: writes the files; None for a model that is part of the package and taken as it is.
        sizes: options of the converter beside those of the registry: sizes that the published tensors have
            and small ones cannot, or that only the published sizes imply.
        dimension: width of its joint space where that is not the published one.
    """

    kind: str
    make: Maker | None = None
    sizes: Mapping[str, Any] = field(default_factory=dict)
    dimension: int | None = None


def published(spec: ModelSpec) -> PublishedWeights:
    """Return where a model's files are."""
    assert isinstance(spec.weights, PublishedWeights), spec.name
    return spec.weights


def place(spec: ModelSpec, folder: Path, role: str) -> Path:
    """Return where the file of a role goes: under the name that its authors gave it."""
    name = next(file.name for file in published(spec).files if file.role == role)
    return folder / Path(name).name


def put(spec: ModelSpec, folder: Path, state: Mapping[str, Tensor], role: str = "weights") -> Path:
    """Write tensors in the container that the name of the published file stands for."""
    path = place(spec, folder, role)
    state = {name: tensor.detach().contiguous().clone() for name, tensor in state.items()}
    if path.suffix == ".safetensors":
        save_file(state, path)
    elif path.name.startswith("epoch_"):
        trained = {"epoch": 20, "state_dict": {f"module.{name}": one for name, one in state.items()}}
        torch.save({**trained, "optimizer": {"lr": 1e-5}}, path)
    else:
        entry = published(spec).options.get("entry")
        torch.save({entry: state} if entry else state, path)
    return path
