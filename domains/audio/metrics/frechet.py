"""Frechet audio distance: how far generated sounds as a whole are from real ones, in a named embedding.

A distance says nothing without its embedding and its number of sounds: every result carries both. VGGish,
the embedding of the first publication, is not part of this package; on environmental sound it hardly
agrees with listeners (arXiv 2403.17508). Any audio model of this package serves: ``audio/clap-htsat-unfused``
for numbers to compare, the small tagger for tests.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ....core.answers import Failure
from ....core.errors import InputError

if TYPE_CHECKING:
    from ....core.handle import ModelHandle

_log = logging.getLogger(__name__)
_POINTS = 15
"""Sizes that an extrapolation is fitted through."""


@dataclass(frozen=True)
class Gaussian:
    """A set of embeddings as its moments: mean float64 [D], covariance float64 [D, D], count."""

    mean: Tensor
    covariance: Tensor
    count: int

    @classmethod
    def of(cls, embeddings: Tensor) -> Gaussian:
        """Return the moments of embeddings float [N, D]; the covariance is the unbiased one.

        Raises:
            InputError: fewer than two rows, another shape, or values that are not finite.
        """
        if embeddings.ndim != 2 or len(embeddings) < 2:
            raise InputError(
                f"A distance needs embeddings [N, D] with N of at least 2, got {list(embeddings.shape)}."
            )
        if not torch.isfinite(embeddings).all():
            raise InputError("Embeddings with NaN or infinite values have no distance.")
        values = embeddings.detach().cpu().double()
        mean = values.mean(dim=0)
        centered = values - mean
        return cls(mean, centered.T @ centered / (len(values) - 1), len(values))


def frechet_distance(first: Gaussian, second: Gaussian) -> float:
    """Return |m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^1/2), at least 0.

    The trace of the root is the sum of the roots of the eigenvalues of S1^1/2 S2 S1^1/2, which is symmetric:
    no complex part, and sets smaller than the dimension are no special case.

    Raises:
        InputError: embeddings of different widths.

    Reference: Dowson and Landau, "The Frechet Distance between Multivariate Normal Distributions", 1982;
    Kilgour et al., "Frechet Audio Distance", 2019.
    """
    if first.mean.shape != second.mean.shape:
        raise InputError(
            f"Embeddings of {len(first.mean)} and {len(second.mean)} values cannot be compared. "
            "Use one model."
        )
    values, vectors = torch.linalg.eigh(first.covariance)
    root = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    inner = root @ second.covariance @ root
    shared = torch.linalg.eigvalsh((inner + inner.T) / 2).clamp(min=0).sqrt().sum()
    apart = (first.mean - second.mean).square().sum()
    total = apart + first.covariance.trace() + second.covariance.trace() - 2 * shared
    return max(0.0, float(total))


@dataclass(frozen=True)
class FrechetReport:
    """A distance with what it takes to read it.

    Attributes:
        distance: between all real and all generated sounds.
        infinite: extrapolated to endlessly many generated sounds, or None where there are too few to try.
        fit: squared correlation of the extrapolation; low values mean that it says little.
        embedding: model and revision of the embedding. width: its values.
        real, generated: numbers of sounds.
        warning: why the number is to be read with care, or empty.
    """

    distance: float
    infinite: float | None
    fit: float | None
    embedding: str
    width: int
    real: int
    generated: int
    warning: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)


def frechet_report(
    real: Tensor, generated: Tensor, *, embedding: str, extrapolate: bool = True, seed: int = 0
) -> FrechetReport:
    """Return the distance of two sets of embeddings and what small sets add to it.

    A set of n has a distance of about d + c / n: d is found by a line through the distances of random
    subsets over 1 / n.

    Args:
        real: float [N, D]. generated: float [M, D].
        embedding: what they were made with, by name.
        extrapolate: estimate the distance of endlessly many generated sounds.
        seed: of the subsets.

    Raises:
        InputError: as :class:`Gaussian` and :func:`frechet_distance`.

    Reference: Gui et al., "Adapting Frechet Audio Distance for Generative Music Evaluation", arXiv
    2311.01616.
    """
    base, width = Gaussian.of(real), real.shape[1]
    distance = frechet_distance(base, Gaussian.of(generated))
    infinite = fit = None
    if extrapolate and len(generated) >= 2 * _POINTS:
        infinite, fit = _extrapolated(base, generated, seed)
    smallest = min(len(real), len(generated))
    warning = ""
    if smallest <= width:
        warning = (
            f"{smallest} sounds cannot fill {width} dimensions: the distance is far too high and may only be "
            "compared with others of exactly these numbers"
        )
        _log.warning("Frechet distance: %s.", warning)
    return FrechetReport(distance, infinite, fit, embedding, width, len(real), len(generated), warning)


def _extrapolated(base: Gaussian, generated: Tensor, seed: int) -> tuple[float, float]:
    """Return (distance at endless size, squared correlation of the line)."""
    generator = torch.Generator().manual_seed(seed)
    count = len(generated)
    sizes = torch.linspace(max(2, count // 4), count, _POINTS).round().long().tolist()
    distances = []
    for size in sizes:
        rows = torch.randperm(count, generator=generator)[:size]
        distances.append(frechet_distance(base, Gaussian.of(generated[rows])))
    x = 1.0 / torch.tensor(sizes, dtype=torch.float64)
    y = torch.tensor(distances, dtype=torch.float64)
    dx, dy = x - x.mean(), y - y.mean()
    slope = float((dx * dy).sum() / dx.square().sum())
    spread = float(dx.square().sum() * dy.square().sum())
    fit = float((dx * dy).sum()) ** 2 / spread if spread else 1.0
    return float(y.mean()) - slope * float(x.mean()), fit


def frechet_audio_distance(
    model: ModelHandle,
    real: Sequence[str | Path],
    generated: Sequence[str | Path],
    *,
    extrapolate: bool = True,
    batch_size: int = 8,
) -> FrechetReport:
    """Return the Frechet distance between real and generated recordings in the space of ``model``.

    Args:
        model: any model with an audio tower; its name stands in the report.
        real, generated: sound files, at least two of each.
        extrapolate: as in :func:`frechet_report`.
        batch_size: recordings per call of the network.

    Raises:
        InputError: the model hears nothing, too few files, or a file that cannot be read.
    """
    if "audio" not in model.network.modalities:
        raise InputError(
            f"{model.id} has no audio tower. Use a model that embeds sound, such as audio/tiny-tagger."
        )
    for what, files in (("real", real), ("generated", generated)):
        if len(files) < 2:
            raise InputError(f"{len(files)} {what} recordings have no distribution. Pass two or more.")
    first, second = (embedded(model, files, batch_size=batch_size) for files in (real, generated))
    return frechet_report(first, second, embedding=f"{model.id}@{model.revision}", extrapolate=extrapolate)


def embedded(model: ModelHandle, files: Sequence[str | Path], *, batch_size: int = 8) -> Tensor:
    """Return unit embeddings float32 [N, D] of sound files.

    Raises:
        InputError: one of them cannot be read.
    """
    rows = []
    paths = [Path(file) for file in files]
    for path, found in zip(
        paths, model.embed_each(paths, modality="audio", batch_size=batch_size), strict=True
    ):
        if isinstance(found, Failure):
            raise InputError(found.error if path.name in found.error else f"{path.name}: {found.error}")
        rows.append(found.vectors[0])
    return torch.stack(rows)
