"""Many queries to a Qdrant collection in one request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .base import Hits
from .exact import scores_of
from .qdrant_filter import key_of
from .qdrant_points import ID, asked
from .ties import SPARE, settled

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray
    from qdrant_client import QdrantClient

_POINTS = 4096
"""Rows that one request may ask for; each comes with its vector."""


def nearest_points(
    client: QdrantClient,
    collection: str,
    queries: NDArray[np.float32],
    k: int,
    *,
    asking: Mapping[str, Any],
    exact: bool,
) -> list[Hits]:
    """Return the k best points of each query by their exact scores; equal scores rank by id.

    Args:
        queries: float32 [Q, D]. k: at least 0.
        asking: ``using``, ``filter`` and ``params`` of a request.
        exact: the server compares all rows; ties at the end are asked for until all are known.
    """
    found = [Hits((), np.empty(0, np.float32))] * len(queries)
    left, fetch = list(range(len(queries))) if k else [], k + SPARE
    while left:
        again, at_once = [], max(1, _POINTS // fetch)
        for start in range(0, len(left), at_once):
            some = left[start : start + at_once]
            for place, points in zip(
                some, _asked(client, collection, queries[some], fetch, asking), strict=True
            ):
                hits = _ranked(points, queries[place], k, asking["using"], complete=not exact, fetch=fetch)
                if hits is None:
                    again.append(place)
                else:
                    found[place] = hits
        left, fetch = again, fetch * 4
    return found


def _asked(
    client: QdrantClient,
    collection: str,
    queries: NDArray[np.float32],
    fetch: int,
    asking: Mapping[str, Any],
) -> list[list[Any]]:
    from qdrant_client import models

    requests = [
        models.QueryRequest(
            query=query, limit=fetch, with_payload=[key_of(ID)], with_vector=[asking["using"]], **asking
        )
        for query in queries.tolist()
    ]
    return [one.points for one in asked(client.query_batch_points, collection, requests)]


def _ranked(
    points: list[Any], query: NDArray[np.float32], k: int, view: str, *, complete: bool, fetch: int
) -> Hits | None:
    if not points:
        return Hits((), np.empty(0, np.float32))
    scores = scores_of(np.array([point.vector[view] for point in points], np.float32), query)
    coarse = np.array([point.score for point in points], np.float32)
    ids = [point.payload[ID] for point in points]
    return settled(ids, scores, coarse, k, complete=complete or len(ids) < fetch)
