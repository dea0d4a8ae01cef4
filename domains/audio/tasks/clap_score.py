"""CLAP score: how well sounds fit the texts they were asked for, in the space of a named model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ....core.errors import InputError
from ..metrics.frechet import embedded

if TYPE_CHECKING:
    from ....core.handle import ModelHandle


@dataclass(frozen=True)
class ClapScore:
    """Agreement of sounds and texts.

    Attributes:
        mean: of the cosines. each: cosine of every pair. model: name and revision of the judge.
        contrast: mean minus the mean over all wrong pairings of different texts; 0 is no better than chance.
            None where there is one text only.
    """

    mean: float
    each: tuple[float, ...]
    model: str
    contrast: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)


def clap_score(
    model: ModelHandle, files: Sequence[str | Path], texts: Sequence[str], *, batch_size: int = 8
) -> ClapScore:
    """Return the mean cosine between recordings and the texts they belong to.

    Numbers of different models cannot be compared: every model has a scale of its own, which is why the
    contrast with wrong texts is given too. A judge that also drove the generation is a lenient one.

    Args:
        model: embeds sound and text, such as LAION-CLAP.
        files: sound files. texts: one per file.
        batch_size: recordings per call of the network.

    Raises:
        InputError: the model lacks a tower, the lists differ or are empty, or a file cannot be read.

    Reference: Huang et al., "Make-An-Audio", 2023; Wu et al., "Large-Scale Contrastive Language-Audio
    Pretraining", 2023.
    """
    for modality in ("audio", "text"):
        if modality not in model.network.modalities:
            raise InputError(f"{model.id} has no {modality} tower; the score needs audio and text.")
    if len(files) != len(texts) or not files:
        raise InputError(
            f"Expected as many texts as recordings, at least one; got {len(files)} and {len(texts)}."
        )
    heard = embedded(model, files, batch_size=batch_size)
    return score_of(model, heard, texts)


def score_of(model: ModelHandle, heard: Tensor, texts: Sequence[str]) -> ClapScore:
    """Return the score of unit embeddings float32 [N, D] of N recordings; see :func:`clap_score`."""
    different = list(dict.fromkeys(texts))
    cosines = heard @ model.embed(different, modality="text").vectors.T
    rows = [different.index(text) for text in texts]
    each = [float(cosines[number, row]) for number, row in enumerate(rows)]
    mean = sum(each) / len(each)
    contrast = None
    if len(different) > 1:
        wrong = float(cosines.sum()) - sum(each)
        contrast = mean - wrong / (cosines.numel() - len(each))
    return ClapScore(mean, tuple(each), f"{model.id}@{model.revision}", contrast)
