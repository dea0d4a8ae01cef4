"""What every head offers, and heads on disk: ``head.json`` beside ``head.safetensors``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from ..checkpoint import read_weights
from ..config import Config, parse_config
from ..errors import ConfigError, InputError, WeightsError, nearest
from ..files import atomic_path, read_json, write_json_atomic
from ..limits import DEFAULT, Limits
from ..types import Modality, Outputs


class Head(Protocol):
    """Turns unit embeddings into answers.

    Attributes:
        kind: name in ``head.json``.
        modality: whose embeddings ``__call__`` reads from ``Outputs``.
    """

    kind: ClassVar[str]
    modality: Modality

    def __call__(self, outputs: Outputs) -> dict[str, Tensor]:
        """Return named answers [B, ...] for the embeddings in ``outputs``."""
        ...

    def scores(self, embeddings: Tensor) -> Tensor:
        """Return the main answer for embeddings float [B, D]."""
        ...

    def to_config(self) -> dict[str, Any]:
        """Return everything but the tensors, as plain values with ``kind``."""
        ...

    def tensors(self) -> dict[str, Tensor]:
        """Return the fitted tensors by name."""
        ...

    @classmethod
    def from_config(cls, config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Head:
        """Return the head that :meth:`to_config` and :meth:`tensors` describe."""
        ...


def save_head(head: Head, folder: str | Path) -> None:
    """Write ``head.safetensors`` and ``head.json`` into ``folder``, each through a temporary name."""
    from safetensors.torch import save_file

    folder = Path(folder)
    with atomic_path(folder / "head.safetensors") as temporary:
        save_file({name: tensor.cpu().contiguous() for name, tensor in head.tensors().items()}, temporary)
    write_json_atomic(folder / "head.json", head.to_config())


def load_head(folder: str | Path, *, limits: Limits = DEFAULT) -> Head:
    """Read the head that :func:`save_head` wrote.

    Raises:
        ConfigError: ``head.json`` is missing, malformed or names an unknown kind of head.
        WeightsError: tensors are missing, damaged or do not fit the config.
    """
    from .bottleneck import ConceptBottleneck
    from .classifiers import KNN, LinearProbe
    from .mil import AttentionMIL
    from .regression import RegressionHead
    from .zero_shot import ZeroShotHead

    kinds: dict[str, type[Head]] = {
        head.kind: head
        for head in (ZeroShotHead, LinearProbe, KNN, RegressionHead, AttentionMIL, ConceptBottleneck)
    }
    folder = Path(folder)
    config = read_json(folder / "head.json", limits=limits)
    kind = config.get("kind") if isinstance(config, dict) else None
    if kind not in kinds:
        raise ConfigError(
            f"{folder / 'head.json'}: unknown head {kind!r}; known: {', '.join(kinds)}."
            f"{nearest(str(kind), kinds)}"
        )
    return kinds[kind].from_config(config, read_weights(folder / "head.safetensors"))


C = TypeVar("C", bound=Config)


def parse_head(
    cls: type[C],
    config: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    shapes: Mapping[str, tuple[str, ...]],
) -> C:
    """Validate a head's config and that its tensors have the named dimensions.

    Args:
        shapes: {tensor: dimension names}; equal names must have equal sizes, across tensors too.
    """
    parsed = parse_config(cls, config, source="head.json")
    if set(tensors) != set(shapes):
        raise WeightsError(f"head.safetensors holds {sorted(tensors)}, expected {sorted(shapes)}.")
    sizes: dict[str, int] = {}
    for name, dimensions in shapes.items():
        shape = tuple(tensors[name].shape)
        fits = len(shape) == len(dimensions)
        if not fits or any(
            sizes.setdefault(dim, size) != size for dim, size in zip(dimensions, shape, strict=True)
        ):
            raise WeightsError(
                f"head.safetensors: {name!r} has shape {shape}, expected [{', '.join(dimensions)}] "
                f"with {sizes}."
            )
    return parsed


def as_embeddings(embeddings: Tensor, *, width: int | None = None) -> Tensor:
    """Return ``embeddings`` as float32 [B, D] after checking shape and finiteness.

    Raises:
        InputError: not [B, D], another width than the head was made for, or non-finite values.
    """
    if embeddings.ndim != 2 or (width is not None and embeddings.shape[1] != width):
        raise InputError(
            f"Embeddings must be [B, {width or 'D'}], got {tuple(embeddings.shape)}. "
            "A head only fits the model it was made with."
        )
    finite = torch.isfinite(embeddings).all(dim=1)
    if not bool(finite.all()):
        raise InputError(f"Embedding of row {int((~finite).nonzero()[0])} is not finite.")
    return embeddings.float()


def pick(outputs: Outputs, modality: str) -> Tensor:
    """Return the embeddings of ``modality``.

    Raises:
        InputError: the outputs hold none.
    """
    if modality not in outputs.embeddings:
        raise InputError(
            f"This head reads {modality!r} embeddings; the outputs hold "
            f"{', '.join(outputs.embeddings) or 'none'}."
        )
    return outputs.embeddings[modality]


def apply_linear(embeddings: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return ``e W^T + b`` float32 [B, K] of embeddings [B, D], weight [K, D] and bias [K], where ``e`` is.

    Raises:
        InputError: not [B, D], or non-finite values.
    """
    embeddings = as_embeddings(embeddings, width=weight.shape[1])
    return embeddings @ weight.T.to(embeddings.device) + bias.to(embeddings.device)


Validation = tuple[Tensor, ArrayLike]
"""Embeddings [M, D] and targets [M] that a fit may choose its regularization by."""


def candidates(
    value: float | None, validation: Validation | None, grid: Sequence[float], name: str
) -> Sequence[float]:
    """Return the regularization values to try: the given one, or the grid when there is validation data.

    Raises:
        InputError: there is neither, or both.
    """
    if (value is None) == (validation is None):
        raise InputError(
            f"Give either {name}= or validation=(embeddings, targets) to choose it by, not both."
        )
    if value is not None and value <= 0:
        raise InputError(f"{name} must be above 0, got {value}.")
    return grid if value is None else (value,)


def standardization(features: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return mean [D] and deviation [D] of features [N, D]; constant features get deviation 1."""
    deviation = features.std(axis=0)
    return features.mean(axis=0), np.where(deviation > 1e-8, deviation, 1.0)


def check_names(names: Sequence[str], count: int) -> None:
    """Raise ``WeightsError`` unless a stored head has one name per output."""
    if len(names) != count:
        raise WeightsError(f"head.json names {len(names)} outputs, head.safetensors has {count}.")
