"""Retrieval metrics over queries: recall, mean average precision, MRR, nDCG and ranks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ..errors import InputError
from .bootstrap import Bootstrap, Estimate
from .ranking import Positives, image_text_ranks, positive_ranks

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class QueryMetrics:
    """Metrics of each query, from the 0-based ranks of its positives.

    Attributes:
        ranks: int64 [P], ascending within a query.
        positives: the answers; ``positives.offsets`` says whose rank is whose. A positive that was
            not found may carry any rank beyond the depths that are asked for.
    """

    ranks: Ints
    positives: Positives

    @classmethod
    def from_ranks(cls, ranks: Ints, positives: Positives) -> QueryMetrics:
        """Return the metrics of ranks given in the order of ``positives.ids``."""
        query_of = np.repeat(np.arange(len(positives.counts)), positives.counts)
        return cls(ranks[np.lexsort((ranks, query_of))], positives)

    @property
    def best_rank(self) -> Ints:
        """0-based rank of the first positive, int64 [Q]."""
        return self.ranks[self.positives.offsets[:-1]]

    def hits_at(self, k: int) -> Floats:
        """Number of positives among the first k, float [Q]."""
        return self._sum(self.ranks < k)

    def recall_at(self, k: int) -> Floats:
        """Found positives over all positives, float [Q]."""
        return self.hits_at(k) / self.positives.counts

    def hit_recall_at(self, k: int) -> Floats:
        """1 where at least one positive is among the first k, float [Q]."""
        return (self.best_rank < k).astype(np.float64)

    def precision_at(self, k: int) -> Floats:
        """Found positives over k, float [Q]."""
        return self.hits_at(k) / k

    def reciprocal_rank(self, depth: int | None = None) -> Floats:
        """One over the 1-based rank of the first positive, 0 when it is beyond ``depth``, float [Q]."""
        found = True if depth is None else self.best_rank < depth
        return np.where(found, 1.0 / (self.best_rank + 1), 0.0)

    def average_precision(self, k: int | None = None) -> Floats:
        """Average precision of the whole ranking, or of its first k, float [Q].

        ``AP@k = sum over found positives of precision at their rank / min(positives, k)``.

        Reference: INQUIRE, Vendrow et al. 2024 (AP@k normalized by the reachable positives).
        """
        offsets, counts = self.positives.offsets, self.positives.counts
        number = np.arange(len(self.ranks)) - np.repeat(offsets[:-1], counts) + 1
        precision = number / (self.ranks + 1.0)
        if k is None:
            return self._sum(precision) / counts
        return self._sum(np.where(self.ranks < k, precision, 0.0)) / np.minimum(counts, k)

    def ndcg(self, k: int) -> Floats:
        """Normalized discounted cumulative gain with gain 1 per positive, float [Q].

        All positives, found or not, are in the ideal list, cut at k.

        Reference: Järvelin and Kekäläinen 2002.
        """
        gains = np.where(self.ranks < k, 1.0 / np.log2(self.ranks + 2.0), 0.0)
        ideal = np.cumsum(1.0 / np.log2(np.arange(k) + 2.0))
        return self._sum(gains) / ideal[np.minimum(self.positives.counts, k) - 1]

    def _sum(self, values: NDArray[Any]) -> Floats:
        return np.add.reduceat(values.astype(np.float64), self.positives.offsets[:-1])


@dataclass(frozen=True)
class RetrievalReport:
    """How well queries find their positives in a gallery.

    ``hit_recall[k]``: at least one positive among the first k. ``recall[k]``: found positives over
    all positives. Both are called "recall@k" in the literature. Ranks are 1-based, of the first
    positive. ``seed`` is that of the bootstrap over queries.
    """

    queries: int
    gallery: int
    hit_recall: dict[int, Estimate]
    recall: dict[int, Estimate]
    ndcg: dict[int, Estimate]
    mean_average_precision: Estimate
    mrr: Estimate
    median_rank: Estimate
    mean_rank: Estimate
    seed: int

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON, one key per metric and depth: ``"recall@5"``."""
        cut = {
            f"{name}@{k}": value.to_dict()
            for name in ("hit_recall", "recall", "ndcg")
            for k, value in getattr(self, name).items()
        }
        whole = {
            name: getattr(self, name).to_dict()
            for name in ("mean_average_precision", "mrr", "median_rank", "mean_rank")
        }
        return {"queries": self.queries, "gallery": self.gallery, "seed": self.seed, **cut, **whole}


def retrieval_report(
    queries: Tensor,
    gallery: Tensor,
    positives: Positives,
    *,
    ks: Sequence[int] = (1, 5, 10),
    exclude: Tensor | None = None,
    groups: Sequence[Any] | None = None,
    seed: int = 0,
) -> RetrievalReport:
    """Return all retrieval metrics with 95 % bootstrap intervals over queries.

    Args:
        queries: float [Q, D], unit length. gallery: float [G, D], unit length.
        positives: answers of each query; a query without any is refused.
        ks: depths, 1 or more.
        exclude: int64 [Q], gallery id left out per query (the query itself, when it is in the gallery).
        groups: Q ids to resample instead of queries.
        seed: of the bootstrap.

    Example:
        >>> labels = [0, 0, 1, 1]
        >>> positives = Positives.from_groups(labels, labels, same=True)
        >>> report = retrieval_report(x, x, positives, ks=(1,), exclude=torch.arange(4))  # doctest: +SKIP
    """
    _check_depths(ks)
    ranks = positive_ranks(queries, gallery, positives, exclude=exclude)
    metrics = QueryMetrics.from_ranks(ranks, positives)
    bootstrap = Bootstrap(len(queries), groups=groups, seed=seed)
    best = metrics.best_rank + 1
    return RetrievalReport(
        queries=len(queries),
        gallery=len(gallery),
        hit_recall={k: bootstrap.mean(metrics.hit_recall_at(k)) for k in ks},
        recall={k: bootstrap.mean(metrics.recall_at(k)) for k in ks},
        ndcg={k: bootstrap.mean(metrics.ndcg(k)) for k in ks},
        mean_average_precision=bootstrap.mean(metrics.average_precision()),
        mrr=bootstrap.mean(metrics.reciprocal_rank()),
        median_rank=bootstrap.median(best),
        mean_rank=bootstrap.mean(best),
        seed=seed,
    )


@dataclass(frozen=True)
class Direction:
    """One direction of image-text retrieval; ranks are 1-based, of the best positive."""

    recall: dict[int, Estimate]
    mrr: Estimate
    median_rank: Estimate
    mean_rank: Estimate

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        cut = {f"recall@{k}": value.to_dict() for k, value in self.recall.items()}
        whole = {name: getattr(self, name).to_dict() for name in ("mrr", "median_rank", "mean_rank")}
        return {**cut, **whole}


@dataclass(frozen=True)
class ImageTextReport:
    """Image-text retrieval in both directions; ``rsum`` adds all recalls in percent."""

    images: int
    texts: int
    image_to_text: Direction
    text_to_image: Direction
    rsum: float
    seed: int

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "images": self.images,
            "texts": self.texts,
            "seed": self.seed,
            "rsum": self.rsum,
            "image_to_text": self.image_to_text.to_dict(),
            "text_to_image": self.text_to_image.to_dict(),
        }


def image_text_report(
    images: Tensor, texts: Tensor, image_of_text: Tensor, *, ks: Sequence[int] = (1, 5, 10), seed: int = 0
) -> ImageTextReport:
    """Return recall@k, MRR, median and mean rank of image-text retrieval in both directions.

    An image counts as found when any of its texts is among the first k. Intervals of both
    directions resample images, because the texts of one image are not independent.

    Args:
        images: float [N, D], unit length. texts: float [M, D], unit length.
        image_of_text: int64 [M], the image each text describes.
        ks: depths. seed: of the bootstrap.
    """
    _check_depths(ks)
    image_ranks, text_ranks = image_text_ranks(images, texts, image_of_text)
    image_side = _direction(image_ranks, Bootstrap(len(images), seed=seed), ks)
    owners = image_of_text.tolist()
    text_side = _direction(text_ranks, Bootstrap(len(texts), groups=owners, seed=seed), ks)
    recalls = [estimate.value for side in (image_side, text_side) for estimate in side.recall.values()]
    return ImageTextReport(len(images), len(texts), image_side, text_side, 100 * sum(recalls), seed)


def _direction(ranks: Ints, bootstrap: Bootstrap, ks: Sequence[int]) -> Direction:
    return Direction(
        recall={k: bootstrap.mean(ranks < k) for k in ks},
        mrr=bootstrap.mean(1.0 / (ranks + 1)),
        median_rank=bootstrap.median(ranks + 1),
        mean_rank=bootstrap.mean(ranks + 1),
    )


def _check_depths(ks: Sequence[int]) -> None:
    if not ks or min(ks) < 1:
        raise InputError(f"ks must be depths of 1 or more, got {list(ks)}.")
