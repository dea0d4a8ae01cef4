"""Image-text retrieval where several texts may belong to an image and several images to a text.

Captions made from labels repeat, and so do images that stand on several rows. Here each different one
is ranked once, every row adds a match, and a query has found when any of its matches is among the
first k. Chance is that of a random order of the same gallery with the same matches.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ..errors import InputError
from .bootstrap import Bootstrap, Estimate
from .ranking import Positives, positive_ranks
from .retrieval import Direction, QueryMetrics

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Matches:
    """Which images and texts belong together.

    Attributes:
        image_rows: int64 [N], a row of the data for each image that is ranked.
        texts: M texts that are ranked.
        links: int64 [L, 2], (image, text) by position in the two, each pair once.
    """

    image_rows: Ints
    texts: tuple[str, ...]
    links: Ints

    @classmethod
    def separate(cls, texts: Sequence[Sequence[str]]) -> Matches:
        """Return the matches of rows that count for themselves: equal texts are wrong for each other."""
        flat = [(row, text) for row, own in enumerate(texts) for text in own]
        links = np.array([(row, position) for position, (row, _) in enumerate(flat)], dtype=np.int64)
        return cls(np.arange(len(texts)), tuple(text for _, text in flat), links)

    @classmethod
    def merged(cls, images: Sequence[Hashable], texts: Sequence[Sequence[str]]) -> Matches:
        """Return the matches of rows whose equal images, and equal texts, are one.

        Args:
            images: one key per row; equal keys are one image.
            texts: the texts of each row; those that read the same, white space aside, are one.
        """
        image_at: dict[Hashable, int] = {}
        text_at: dict[str, int] = {}
        spelled: list[str] = []
        rows: list[int] = []
        links: set[tuple[int, int]] = set()
        for row, (key, own) in enumerate(zip(images, texts, strict=True)):
            image = image_at.setdefault(key, len(image_at))
            if image == len(rows):
                rows.append(row)
            for text in own:
                position = text_at.setdefault(" ".join(text.split()), len(text_at))
                if position == len(spelled):
                    spelled.append(text)
                links.add((image, position))
        return cls(np.array(rows), tuple(spelled), np.array(sorted(links), dtype=np.int64).reshape(-1, 2))


@dataclass(frozen=True)
class MatchedReport:
    """Retrieval in both directions, next to chance.

    Attributes:
        images, texts: how many were ranked.
        score: mean recall over both directions and their depths, with an interval over images.
        chance: the same for a random order, exact.
        image_to_text, text_to_image: recall at each depth at which a random order could fail, and ranks.
        chances: {"image_to_text": {k: recall of a random order}, "text_to_image": ...}.
    """

    images: int
    texts: int
    score: Estimate
    chance: float
    image_to_text: Direction
    text_to_image: Direction
    chances: dict[str, dict[int, float]]

    def to_dict(self, *, details: bool = True) -> dict[str, Any]:
        """Return plain values for JSON; with ``details`` each number with its interval."""
        ways = {"image_to_text": self.image_to_text, "text_to_image": self.text_to_image}
        return {
            "score": self.score.value,
            "chance": self.chance,
            "images": self.images,
            "texts": self.texts,
            **({"score_interval": self.score.to_dict()} if details else {}),
            **{name: way.to_dict() if details else _values(way) for name, way in ways.items()},
            "chances": {
                name: {f"recall@{k}": value for k, value in found.items()}
                for name, found in self.chances.items()
            },
        }


def matched_report(
    images: Tensor,
    texts: Tensor,
    links: Ints,
    *,
    ks: Sequence[int] = (1, 5, 10),
    seed: int = 0,
    resamples: int = 1000,
) -> MatchedReport:
    """Return recall@k and ranks of the best match in both directions, next to chance.

    All intervals resample images; a text goes with the first image it belongs to.

    Args:
        images: float [N, D], unit length. texts: float [M, D], unit length.
        links: int64 [L, 2], the (image, text) pairs that belong together; each image and text has one.
        ks: depths, 1 or more; those at which every order succeeds are left out, except when all are.
        seed, resamples: of the bootstrap; 0 resamples leave the intervals undefined.

    Raises:
        InputError: no depth, or one below 1; an image or text without a match.
    """
    if not ks or min(ks) < 1:
        raise InputError(f"ks must be depths of 1 or more, got {list(ks)}.")
    text_first = links[np.lexsort((links[:, 1], links[:, 0]))]
    image_first = links[np.lexsort((links[:, 0], links[:, 1]))]
    of_image = _positives(text_first[:, 0], text_first[:, 1], len(images), "Image")
    of_text = _positives(image_first[:, 1], image_first[:, 0], len(texts), "Text")
    owners = of_text.ids[of_text.offsets[:-1]]
    best = {
        "image_to_text": _best_ranks(images, texts, of_image),
        "text_to_image": _best_ranks(texts, images, of_text),
    }
    chances = {
        "image_to_text": _chances(of_image, len(texts), ks),
        "text_to_image": _chances(of_text, len(images), ks),
    }
    plans = {
        "image_to_text": Bootstrap(len(images), seed=seed, resamples=resamples),
        "text_to_image": Bootstrap(len(texts), groups=owners, seed=seed, resamples=resamples),
    }
    ways = {
        way: Direction(
            recall={k: plans[way].mean(ranks < k) for k in chances[way]},
            mrr=plans[way].mean(1.0 / (ranks + 1)),
            median_rank=plans[way].median(ranks + 1),
            mean_rank=plans[way].mean(ranks + 1),
        )
        for way, ranks in best.items()
    }
    hits = {way: np.stack([ranks < k for k in chances[way]]).sum(0) for way, ranks in best.items()}
    depths = sum(len(found) for found in chances.values())

    def score(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        return _joint_score(weights, owners, hits) / depths

    return MatchedReport(
        images=len(images),
        texts=len(texts),
        score=plans["image_to_text"].estimate(score),
        chance=sum(value for found in chances.values() for value in found.values()) / depths,
        image_to_text=ways["image_to_text"],
        text_to_image=ways["text_to_image"],
        chances=chances,
    )


def _joint_score(weights: NDArray[np.float64], owners: Ints, hits: Mapping[str, Ints]) -> NDArray[np.float64]:
    """Return the sum of both directions' mean hits for each row of image weights float64 [R, N]."""
    of_texts = weights[:, owners]
    with np.errstate(invalid="ignore"):
        by_text = of_texts @ hits["text_to_image"] / of_texts.sum(axis=1)
    return weights @ hits["image_to_text"] / weights.sum(axis=1) + by_text


def random_hit_recall(counts: Sequence[int], gallery: int, k: int) -> float:
    """Return the expected hit recall@k of a random order.

    A query with m matches in a gallery of G misses with probability C(G - m, k) / C(G, k).

    Args:
        counts: matches of each query, from 1 to ``gallery``.
        gallery: G. k: depth; from G on, every order succeeds.
    """
    if k >= gallery:
        return 1.0
    whole = math.comb(gallery, k)
    misses = sum(times * math.comb(gallery - own, k) / whole for own, times in Counter(counts).items())
    return 1 - misses / len(counts)


def _positives(queries: Ints, answers: Ints, count: int, what: str) -> Positives:
    """Return positives of pairs that are sorted by query and answer."""
    counts = np.bincount(queries, minlength=count)
    if len(counts) > count or not counts.all():
        alone = int(np.flatnonzero(counts == 0)[0]) if not counts.all() else count
        raise InputError(f"{what} {alone} has no match here; leave it out.")
    return Positives(np.concatenate([[0], np.cumsum(counts)]), answers)


def _best_ranks(queries: Tensor, gallery: Tensor, positives: Positives) -> Ints:
    ranks = positive_ranks(queries, gallery, positives)
    return QueryMetrics.from_ranks(ranks, positives).best_rank


def _chances(positives: Positives, gallery: int, ks: Sequence[int]) -> dict[int, float]:
    """Return {k: chance} for the depths at which a random order can fail, or of the first of them."""
    counts = positives.counts.tolist()
    found = {k: random_hit_recall(counts, gallery, k) for k in sorted(set(ks))}
    fewest = min(counts)
    return {k: value for k, value in found.items() if k <= gallery - fewest} or {min(ks): found[min(ks)]}


def _values(way: Direction) -> dict[str, float]:
    recalls = {f"recall@{k}": estimate.value for k, estimate in way.recall.items()}
    return {**recalls, "median_rank": way.median_rank.value}
