"""Retrieval metrics of ranked lists whose answers have grades: what trec_eval counts, and two of user models.

A list may stop early: documents beyond it were not found. Lists come from :func:`rank_documents` or from an
index; among equal scores the lower id comes first (trec_eval puts the higher one first).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .bootstrap import Bootstrap, Estimate

Floats = NDArray[np.float64]

AVERAGED = (1, 10)
"""Depths whose mean leaderboards of products publish."""
RBP_PERSISTENCE = 0.9
"""Chance that a user looks at the next answer."""


def rank_documents(scores: Mapping[str, float], k: int | None = None) -> list[str]:
    """Return document ids by falling score, equal ones by id; the first k, or all.

    Raises:
        InputError: a score that is not a number.
    """
    for name, score in scores.items():
        if score != score:
            raise InputError(f"The score of document {name!r} is not a number.")
    return sorted(scores, key=lambda name: (-scores[name], name))[:k]


@dataclass(frozen=True, eq=False)
class GradedRankings:
    """Q ranked lists with the grades of what stands in them.

    Attributes:
        grades: float64 [Q, K], grade at each rank; 0 where a document is no answer or the list has ended.
        judged: Q arrays of all grades above 0, falling; none is empty.
    """

    grades: Floats
    judged: tuple[Floats, ...]

    @classmethod
    def from_lists(
        cls, ranked: Mapping[str, Sequence[str]], judged: Mapping[str, Mapping[str, float]]
    ) -> GradedRankings:
        """Return the lists of all judged queries, in the order of ``judged``.

        Args:
            ranked: {query: document ids, best first}; a query that is not there found nothing.
            judged: {query: {document: grade of 0 or more}}.

        Raises:
            InputError: no query, one without a grade above 0, a grade below 0 or not finite, a document
                twice in one list, or a list of a query that was not judged.
        """
        if not judged:
            raise InputError("There are no queries to evaluate; expected at least one.")
        strange = [query for query in ranked if query not in judged]
        if strange:
            raise InputError(f"Query {strange[0]!r:.80} has a list and no judgements; leave it out.")
        rows, ideal = [], []
        for query, grades in judged.items():
            best = [grade for grade in grades.values() if grade > 0]
            wrong = [name for name, grade in grades.items() if not 0 <= grade < float("inf")]
            if wrong:
                raise InputError(
                    f"Query {query!r:.80}: document {wrong[0]!r} has grade {grades[wrong[0]]}; "
                    "grades are 0 or more."
                )
            if not best:
                raise InputError(f"Query {query!r:.80} has no right answer; leave such queries out.")
            found = ranked.get(query, ())
            if len(set(found)) != len(found):
                raise InputError(f"Query {query!r:.80} lists a document twice.")
            rows.append([float(grades.get(name, 0.0)) for name in found])
            ideal.append(np.array(sorted(best, reverse=True), dtype=np.float64))
        table = np.zeros((len(rows), max(1, *map(len, rows)) if rows else 1))
        for place, row in enumerate(rows):
            table[place, : len(row)] = row
        return cls(table, tuple(ideal))

    def __len__(self) -> int:
        return len(self.judged)

    @property
    def counts(self) -> Floats:
        """Right answers of each query, float [Q]."""
        return np.array([len(grades) for grades in self.judged], dtype=np.float64)

    @property
    def best(self) -> Floats:
        """Highest grade of each query, float [Q]."""
        return np.array([grades[0] for grades in self.judged])

    def precision_at(self, k: int) -> Floats:
        """Right answers among the first k, over k; float [Q]."""
        return self._hits(k) / k

    def recall_at(self, k: int) -> Floats:
        """Right answers among the first k, over all right answers; float [Q]."""
        return self._hits(k) / self.counts

    def hit_recall_at(self, k: int) -> Floats:
        """1 where at least one right answer is among the first k; float [Q]."""
        return (self._hits(k) > 0).astype(np.float64)

    def average_precision(self, k: int) -> Floats:
        """Sum of the precisions at the right answers among the first k, over all right answers; float [Q].

        This is trec_eval's ``map_cut``; other definitions divide by min(k, answers).
        """
        right = self.grades[:, :k] > 0
        precision = np.cumsum(right, axis=1) / np.arange(1, right.shape[1] + 1)
        return (precision * right).sum(axis=1) / self.counts

    def ndcg(self, k: int) -> Floats:
        """Discounted gain over that of the best order, with the grade itself as gain; float [Q].

        Reference: Järvelin and Kekäläinen 2002; trec_eval's ``ndcg_cut``.
        """
        kept = self.grades[:, :k]
        gain = (kept / np.log2(np.arange(kept.shape[1]) + 2.0)).sum(axis=1)
        ideal = [(one[:k] / np.log2(np.arange(len(one[:k])) + 2.0)).sum() for one in self.judged]
        return gain / np.array(ideal)

    def reciprocal_rank(self, depth: int | None = None) -> Floats:
        """One over the rank of the first right answer, 0 where none is in the list (or its depth); [Q]."""
        right = self.grades[:, :depth] > 0
        return np.where(right.any(axis=1), 1.0 / (right.argmax(axis=1) + 1), 0.0)

    def expected_reciprocal_rank(self) -> Floats:
        """One over the rank where a user who reads down the list stops, expected; float [Q].

        A user stops at a grade g with chance ``(2^g - 1) / 2^best`` of the query's best grade. With grades up
        to 100 only those within a few of the best one count.

        Reference: Chapelle et al. 2009.
        """
        best = self.best[:, None]
        stop = np.where(self.grades > 0, np.exp2(self.grades - best) - np.exp2(-best), 0.0)
        reached = np.cumprod(1.0 - stop, axis=1)
        before = np.concatenate([np.ones((len(stop), 1)), reached[:, :-1]], axis=1)
        return (before * stop / np.arange(1, stop.shape[1] + 1)).sum(axis=1)

    def rank_biased_precision(self, persistence: float = RBP_PERSISTENCE) -> Floats:
        """Share of the best grade that a user gathers who goes on with chance ``persistence``; float [Q].

        ``(1 - p) sum_r p^(r - 1) grade_r / best``.

        Reference: Moffat and Zobel 2008.
        """
        if not 0 <= persistence < 1:
            raise InputError(f"persistence must be from 0 to below 1, got {persistence}.")
        weights = persistence ** np.arange(self.grades.shape[1])
        return (1 - persistence) * (self.grades / self.best[:, None] * weights).sum(axis=1)

    def _hits(self, k: int) -> Floats:
        return (self.grades[:, :k] > 0).sum(axis=1).astype(np.float64)


@dataclass(frozen=True)
class GradedReport:
    """Every metric with its 95 % bootstrap interval over queries.

    ``average_recall`` and ``average_precision`` are the means of recall and of precision at depths 1 and 10,
    as the published leaderboards of products have them; where these are not among the depths, over all.
    """

    queries: int
    recall: dict[int, Estimate]
    precision: dict[int, Estimate]
    mean_average_precision: dict[int, Estimate]
    ndcg: dict[int, Estimate]
    average_recall: Estimate
    average_precision: Estimate
    mrr: Estimate
    err: Estimate
    rbp: Estimate
    depth: int
    seed: int

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON, one key per metric and depth: ``"recall@10"``."""
        cut = {
            f"{name}@{k}": value.to_dict()
            for name in ("recall", "precision", "mean_average_precision", "ndcg")
            for k, value in getattr(self, name).items()
        }
        whole = {
            name: getattr(self, name).to_dict()
            for name in ("average_recall", "average_precision", "mrr", "err", "rbp")
        }
        return {"queries": self.queries, "depth": self.depth, "seed": self.seed, **cut, **whole}


def graded_report(rankings: GradedRankings, *, ks: Sequence[int] = (1, 10), seed: int = 0) -> GradedReport:
    """Return all metrics of ranked lists.

    Args:
        rankings: of the queries; MRR, ERR and RBP look at the whole lists, ``depth`` deep.
        ks: depths of the others, 1 or more.
        seed: of the bootstrap.

    Raises:
        InputError: a depth below 1, or none.
    """
    if not ks or min(ks) < 1:
        raise InputError(f"ks must be depths of 1 or more, got {list(ks)}.")
    bootstrap = Bootstrap(len(rankings), seed=seed)
    recall, precision = ([of(k) for k in ks] for of in (rankings.recall_at, rankings.precision_at))
    averaged = AVERAGED if set(AVERAGED) <= set(ks) else tuple(ks)
    return GradedReport(
        queries=len(rankings),
        recall={k: bootstrap.mean(values) for k, values in zip(ks, recall, strict=True)},
        precision={k: bootstrap.mean(values) for k, values in zip(ks, precision, strict=True)},
        mean_average_precision={k: bootstrap.mean(rankings.average_precision(k)) for k in ks},
        ndcg={k: bootstrap.mean(rankings.ndcg(k)) for k in ks},
        average_recall=bootstrap.mean(np.mean([rankings.recall_at(k) for k in averaged], axis=0)),
        average_precision=bootstrap.mean(np.mean([rankings.precision_at(k) for k in averaged], axis=0)),
        mrr=bootstrap.mean(rankings.reciprocal_rank()),
        err=bootstrap.mean(rankings.expected_reciprocal_rank()),
        rbp=bootstrap.mean(rankings.rank_biased_precision()),
        depth=rankings.grades.shape[1],
        seed=seed,
    )
