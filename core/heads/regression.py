"""Ridge regression on frozen embeddings, with predictions in the unit of the targets.

The one implementation of ridge here: :func:`ridge_path` serves every room that fits one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from pydantic import Field
from torch import Tensor

from ..config import Config
from ..errors import InputError
from ..types import Modality, Outputs
from .base import (
    Validation,
    apply_linear,
    as_embeddings,
    candidates,
    check_names,
    parse_head,
    pick,
    standardization,
)
from .targets import TargetKind, to_log

ALPHA_GRID = tuple(10.0**power for power in range(-3, 6))
"""Ridge penalties tried by :meth:`RegressionHead.fit`, on standardized features."""


class RegressionConfig(Config):
    """``head.json`` of a :class:`RegressionHead`."""

    kind: Literal["regression"] = "regression"
    modality: Modality = "image"
    target_names: tuple[str, ...] = Field(min_length=1)
    transform: TargetKind = "standardize"
    alpha: float = Field(ge=0)


class RegressionHead:
    """Ridge regression from embeddings to M numbers in their own units.

    The fit is linear in the transformed target; ``scores`` undoes the transform. ``log`` and
    ``log1p`` targets are standardized after the logarithm.

    Args:
        weight: float [M, D]. bias: float [M], both in the unit of the log for ``log`` and ``log1p``.
        target_names: M answer keys.
        transform: how targets were changed before the fit.
        alpha: ridge penalty it was fitted with, recorded only.
        modality: whose embeddings ``__call__`` reads.
    """

    kind: ClassVar[str] = "regression"

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor,
        target_names: Sequence[str],
        *,
        transform: TargetKind = "standardize",
        alpha: float,
        modality: Modality = "image",
    ) -> None:
        self.weight = weight.float()
        self.bias = bias.float()
        self.target_names = tuple(target_names)
        self.transform: TargetKind = transform
        self.alpha = alpha
        self.modality: Modality = modality

    @classmethod
    def fit(
        cls,
        embeddings: Tensor,
        targets: ArrayLike,
        target_names: Sequence[str],
        *,
        transform: TargetKind = "standardize",
        alpha: float | None = None,
        validation: Validation | None = None,
        modality: Modality = "image",
    ) -> RegressionHead:
        """Return a fitted head.

        Args:
            embeddings: float [N, D]. targets: float [N] or [N, M].
            target_names: M answer keys.
            transform: ``none``; ``standardize`` (mean 0, deviation 1); ``log`` (targets above 0);
                ``log1p`` (targets of 0 or more).
            alpha: ridge penalty on standardized features, or None to choose it by ``validation``.
            validation: (embeddings, targets) for choosing among ``ALPHA_GRID`` by the squared error
                of the transformed targets; the larger penalty wins a tie.
            modality: whose embeddings the head will read.

        Raises:
            InputError: shapes disagree, targets are outside the range of the transform or constant,
                or neither ``alpha`` nor ``validation`` is given.
        """
        features = as_embeddings(embeddings).cpu().numpy().astype(np.float64)
        table = _target_table(targets, len(features), len(target_names))
        values = to_log(table, transform, name="targets")
        center, width = np.zeros(values.shape[1]), np.ones(values.shape[1])
        if transform != "none":
            center, width = values.mean(axis=0), values.std(axis=0)
            if (width == 0).any():
                constant = target_names[int(np.flatnonzero(width == 0)[0])]
                raise InputError(f"Target {constant!r} is constant over the training rows; drop it.")
        tried: list[tuple[float, RegressionHead]] = []
        penalties = sorted(candidates(alpha, validation, ALPHA_GRID, "alpha"), reverse=True)
        slopes, offsets = ridge_path(features, (values - center) / width, penalties)
        for penalty, slope, offset in zip(penalties, slopes, offsets, strict=True):
            head = cls(
                torch.from_numpy(slope * width[:, None]),
                torch.from_numpy(offset * width + center),
                target_names,
                transform=transform,
                alpha=penalty,
                modality=modality,
            )
            if validation is None:
                return head
            wanted = _target_table(validation[1], len(validation[0]), len(target_names))
            predicted = apply_linear(validation[0], head.weight, head.bias).cpu().numpy()
            error = predicted - to_log(wanted, transform, name="validation targets")
            tried.append((float(((error / width) ** 2).mean()), head))
        return min(tried, key=lambda pair: pair[0])[1]

    def scores(self, embeddings: Tensor) -> Tensor:
        """Return predictions float32 [B, M] in the unit of the targets; those of ``log1p`` are 0 or more."""
        values = apply_linear(embeddings, self.weight, self.bias)
        if self.transform == "log":
            return values.exp()
        return values.expm1().clamp(min=0) if self.transform == "log1p" else values

    def __call__(self, outputs: Outputs) -> dict[str, Tensor]:
        """Return ``predictions`` float32 [B, M]."""
        return {"predictions": self.scores(pick(outputs, self.modality))}

    def to_config(self) -> dict[str, Any]:
        """Return everything but the tensors."""
        return RegressionConfig(
            modality=self.modality, target_names=self.target_names, transform=self.transform, alpha=self.alpha
        ).model_dump(mode="json")

    def tensors(self) -> dict[str, Tensor]:
        """Return ``weight`` [M, D] and ``bias`` [M]."""
        return {"weight": self.weight, "bias": self.bias}

    @classmethod
    def from_config(cls, config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> RegressionHead:
        """Return the head that :meth:`to_config` and :meth:`tensors` describe."""
        parsed = parse_head(RegressionConfig, config, tensors, {"weight": ("M", "D"), "bias": ("M",)})
        check_names(parsed.target_names, len(tensors["bias"]))
        return cls(
            tensors["weight"],
            tensors["bias"],
            parsed.target_names,
            transform=parsed.transform,
            alpha=parsed.alpha,
            modality=parsed.modality,
        )


def _target_table(targets: ArrayLike, rows: int, names: int) -> NDArray[np.float64]:
    """Return targets float64 [N, M] after checking shape and finiteness."""
    table = np.asarray(targets, dtype=np.float64)
    table = table[:, None] if table.ndim == 1 else table
    if table.shape != (rows, names):
        raise InputError(f"targets must be [{rows} rows, {names} names], got {np.shape(targets)}.")
    if not np.isfinite(table).all():
        row = int(np.flatnonzero(~np.isfinite(table).all(axis=1))[0])
        raise InputError(f"targets: row {row} is not finite.")
    return table


def ridge_path(
    features: NDArray[np.floating], targets: NDArray[np.float64], alphas: Sequence[float]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return ridge regressions for A penalties from one decomposition of the features.

    Args:
        features: float [N, D], standardized inside; the answer reads them as given.
        targets: float64 [N, M].
        alphas: A penalties above 0, on standardized features.

    Returns:
        weights float64 [A, M, D] and biases float64 [A, M]: ``features @ weight.T + bias``.
    """
    table = np.asarray(features, dtype=np.float64)
    mean, spread = standardization(table)
    table = (table - mean) / spread
    center = targets.mean(axis=0)
    # The smaller of the two Gram matrices: rows may be fewer or more than dimensions.
    wide = table.shape[1] > table.shape[0]
    values, vectors = np.linalg.eigh(table @ table.T if wide else table.T @ table)
    projected = vectors.T @ (targets - center if wide else table.T @ (targets - center))
    # Directions without any features say nothing, and their eigenvalues are noise of either sign.
    held = values > values[-1] * len(values) * np.finfo(np.float64).eps
    weights = np.empty((len(alphas), targets.shape[1], table.shape[1]))
    for weight, alpha in zip(weights, alphas, strict=True):
        shrunk = vectors[:, held] @ (projected[held] / (values[held, None] + alpha))
        weight[:] = (table.T @ shrunk if wide else shrunk).T / spread
    return weights, center - weights @ mean
