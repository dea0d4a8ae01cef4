"""The records that users get back: embeddings and predictions with their origin."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from .errors import InputError

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Embeddings:
    """Embeddings of a batch and where they came from.

    Attributes:
        vectors: float32 [B, D], unit length, on the CPU.
        ids: B names: the path as given, the sample's id, or None.
        metas: B mappings, each what the loader reports about its input.
        modality: of every row.
        model, revision, processor: which model, weights and preprocessing made them.
    """

    vectors: Tensor
    ids: tuple[str | None, ...]
    metas: tuple[Mapping[str, Any], ...]
    modality: str
    model: str
    revision: str
    processor: str

    def __len__(self) -> int:
        return len(self.vectors)


@dataclass(frozen=True)
class Prediction:
    """The answer for one input.

    Attributes:
        label: the most probable label, as the caller spelled it.
        score: its probability.
        scores: {label: probability} in the caller's order; sums to 1 for softmax models.
        id: the path as given, the sample's id, or None.
        meta: what the loader reports about the input.
        model, revision, processor: which model, weights and preprocessing answered.
    """

    label: str
    score: float
    scores: Mapping[str, float]
    id: str | None
    meta: Mapping[str, Any]
    model: str
    revision: str
    processor: str

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Failure:
    """An input that could not be used, and why."""

    id: str
    error: str

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)


def comparable(left: Embeddings | Tensor, right: Embeddings | Tensor) -> tuple[Tensor, Tensor]:
    """Return the vectors [B1, D] and [B2, D] of two sets of embeddings that may be compared.

    Raises:
        InputError: they come from different models or have different widths.
    """
    makers = {
        (one.model, one.revision, one.processor) for one in (left, right) if isinstance(one, Embeddings)
    }
    if len(makers) > 1:
        raise InputError(
            f"These embeddings come from different models: {' and '.join(map(str, sorted(makers)))}."
        )
    first, second = (one.vectors if isinstance(one, Embeddings) else one for one in (left, right))
    if first.ndim != 2 or second.ndim != 2 or first.shape[1] != second.shape[1]:
        raise InputError(f"Expected [B1, D] and [B2, D], got {list(first.shape)} and {list(second.shape)}.")
    return first, second
