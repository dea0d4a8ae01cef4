"""Exact ranking: top-k and ranks of the positives, in tiles, independent of the tile size.

The score of a pair is its dot product accumulated in float64 and rounded to float32. Among equal
scores the lower id comes first, so results never depend on how the work was cut, and a collapsed
model (all embeddings equal) is ranked by id instead of being given every hit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import InputError
from ..limits import MiB

_LOW = 2**32 - 1
_FLIP = 2**31 - 1


@dataclass(frozen=True, eq=False)
class Positives:
    """Which gallery items answer which query; every query has at least one.

    Attributes:
        offsets: int64 [Q + 1]; the positives of query q are ``ids[offsets[q]:offsets[q + 1]]``.
        ids: int64 [P] gallery ids, ascending within a query.
    """

    offsets: NDArray[np.int64]
    ids: NDArray[np.int64]

    @classmethod
    def from_lists(cls, lists: Sequence[Sequence[int]]) -> Positives:
        """Return the positives given as one list of gallery ids per query.

        Raises:
            InputError: a query has no positive, or one twice.
        """
        for query, ids in enumerate(lists):
            if not len(ids):
                raise InputError(f"Query {query} has no positive in the gallery; leave such queries out.")
            if len(set(ids)) != len(ids):
                raise InputError(f"Query {query} lists a positive twice: {sorted(ids)[:10]}.")
        counts = np.array([0, *(len(ids) for ids in lists)], dtype=np.int64)
        flat = np.array([item for ids in lists for item in sorted(ids)], dtype=np.int64)
        return cls(np.cumsum(counts), flat)

    @classmethod
    def from_groups(
        cls, query_groups: Sequence[object], gallery_groups: Sequence[object], *, same: bool = False
    ) -> Positives:
        """Return the positives as the gallery items with the group id of the query.

        Args:
            query_groups: Q ids (class, product, image of a caption).
            gallery_groups: G ids.
            same: queries and gallery are the same items; an item is not its own positive.
        """
        members: dict[object, list[int]] = {}
        for item, group in enumerate(gallery_groups):
            members.setdefault(group, []).append(item)
        return cls.from_lists(
            [
                [item for item in members.get(group, []) if not (same and item == query)]
                for query, group in enumerate(query_groups)
            ]
        )

    @property
    def counts(self) -> NDArray[np.int64]:
        """Number of positives of each query, int64 [Q]."""
        return np.diff(self.offsets)


def top_k(
    queries: Tensor, gallery: Tensor, k: int, *, tile_bytes: int = 32 * MiB, exclude: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return (ids int64 [Q, k], scores float32 [Q, k]) of the k best gallery items, best first.

    Args:
        queries: float [Q, D], unit length for cosines.
        gallery: float [G, D].
        k: from 1 to G (G - 1 with ``exclude``).
        tile_bytes: size of one tile of scores; working memory is a few times that. No effect on the result.
        exclude: int64 [Q], one gallery id per query that is left out (the query itself).

    Raises:
        InputError: shapes disagree, k is out of range, a value is not finite.
    """
    _check_pair(queries, gallery, exclude)
    most = len(gallery) - (exclude is not None)
    if not 1 <= k <= most:
        raise InputError(f"k must be from 1 to {most} (the gallery size), got {k}.")
    best = []
    gallery_rows = max(k, min(len(gallery), 8192))
    for rows in _slices(len(queries), gallery_rows, tile_bytes):
        running = queries.new_empty((rows.stop - rows.start, 0), dtype=torch.int64)
        for start in range(0, len(gallery), gallery_rows):
            columns = slice(start, min(start + gallery_rows, len(gallery)))
            keys = _tile_keys(queries[rows], gallery[columns], start)
            if exclude is not None:
                _drop(keys, exclude[rows] - start)
            merged = torch.cat([running, keys], dim=1)
            running = merged.topk(min(k, merged.shape[1]), dim=1).values
        best.append(running)
    if not best:
        return queries.new_empty((0, k), dtype=torch.int64), queries.new_empty((0, k), dtype=torch.float32)
    keys = torch.cat(best)
    return _LOW - (keys & _LOW), _score_of(keys)


def positive_ranks(
    queries: Tensor,
    gallery: Tensor,
    positives: Positives,
    *,
    exclude: Tensor | None = None,
    tile_bytes: int = 32 * MiB,
) -> NDArray[np.int64]:
    """Return the 0-based rank of every positive, int64 [P], in the order of ``positives.ids``.

    Args:
        queries: float [Q, D]. gallery: float [G, D].
        positives: the answers of the Q queries.
        exclude: int64 [Q], a gallery id per query that takes no rank (the query itself).
        tile_bytes: size of one tile of scores; working memory is a few times that. No effect on the result.

    Raises:
        InputError: shapes disagree, a positive is outside the gallery or is excluded.
    """
    _check_pair(queries, gallery, exclude)
    if len(positives.counts) != len(queries):
        raise InputError(f"positives has {len(positives.counts)} queries, embeddings have {len(queries)}.")
    if positives.ids.min() < 0 or positives.ids.max() >= len(gallery):
        raise InputError(f"Positive id {positives.ids.max()} is outside the gallery of {len(gallery)}.")
    ids = torch.from_numpy(positives.ids).to(queries.device)
    query_of = torch.from_numpy(np.repeat(np.arange(len(queries)), positives.counts)).to(queries.device)
    if exclude is not None and bool((ids == exclude[query_of]).any()):
        raise InputError("A query's excluded id is among its positives; build them with same=True.")
    ranks = torch.empty_like(ids)
    for rows in _slices(len(queries), len(gallery), tile_bytes):
        keys = _tile_keys(queries[rows], gallery, 0)
        if exclude is not None:
            _drop(keys, exclude[rows])
        first, last = (int(positives.offsets[edge]) for edge in (rows.start, rows.stop))
        local = query_of[first:last] - rows.start
        wanted = keys[local, ids[first:last]]
        order = keys.sort(dim=1).values
        for start in range(0, len(wanted), len(order)):
            block = slice(start, start + len(order))
            place = torch.searchsorted(order[local[block]], wanted[block, None])
            ranks[first + start : first + start + len(place)] = len(gallery) - 1 - place[:, 0]
    return ranks.cpu().numpy()


def rank_of_best(scores: Tensor, right: Tensor) -> Tensor:
    """Return the 0-based rank of the best of some items under each of S scorings, int64 [S].

    For scores that are at hand; of embeddings see :func:`positive_ranks`.

    Args:
        scores: float [S, G], without NaN; an item that is no candidate has ``-inf``.
        right: int64 [R] ids of the items, at least one.
    """
    own = scores[:, right]
    best = own.amax(dim=1, keepdim=True)
    # Among equal scores the lower id comes first.
    first = torch.where(own == best, right, scores.shape[1]).amin(dim=1, keepdim=True)
    places = torch.arange(scores.shape[1], device=scores.device)
    return ((scores > best) | ((scores == best) & (places < first))).sum(dim=1)


def image_text_ranks(
    images: Tensor, texts: Tensor, image_of_text: Tensor, *, tile_bytes: int = 16 * MiB
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return 0-based ranks (image to best text int64 [N], text to its image int64 [M]) in one pass.

    Scores are scanned in float32, counting those clearly above the positive's; the few pairs within
    rounding distance are decided by their float64 score and id. Each matrix product serves both
    directions.

    Args:
        images: float [N, D], unit length. texts: float [M, D], unit length.
        image_of_text: int64 [M], the image each text describes; every image has at least one text.
        tile_bytes: size of one tile of scores; working memory is a few times that. No effect on the result.

    Raises:
        InputError: shapes disagree, or an image has no text.
    """
    _check_pair(images, texts, None)
    if image_of_text.shape != (len(texts),):
        raise InputError(
            f"image_of_text has shape {tuple(image_of_text.shape)}; expected ({len(texts)},), one per text."
        )
    if int(image_of_text.min()) < 0 or int(image_of_text.max()) >= len(images):
        raise InputError(f"image_of_text must lie in [0, {len(images)}).")
    missing = torch.bincount(image_of_text, minlength=len(images)) == 0
    if bool(missing.any()):
        raise InputError(f"Image {int(missing.nonzero()[0])} has no text; leave such images out.")
    text_ids = torch.arange(len(texts), device=texts.device)
    score = _pair_scores(images, texts, image_of_text, text_ids)
    text_key = _key(score, image_of_text)
    image_key = torch.full((len(images),), torch.iinfo(torch.int64).min, device=images.device)
    image_key.scatter_reduce_(0, image_of_text, _key(score, text_ids), "amax")
    image_score = _score_of(image_key)
    # Far above the error of a float32 dot product of unit vectors, far below real score gaps.
    tolerance = 1e-5 * float(images.norm(dim=1).max() * texts.norm(dim=1).max())
    image_rank, text_rank = torch.zeros_like(image_key), torch.zeros_like(text_key)
    # A lowered matmul precision (TF32, bf16) would break the tolerance.
    exact = torch.get_float32_matmul_precision() == "highest"
    columns = (texts.float() if exact else texts.double()).T
    for rows in _slices(len(images), len(texts), tile_bytes):
        tile = images[rows].to(columns.dtype) @ columns
        clear, close_image, close_text = _compare(tile, image_score[rows, None], tolerance)
        image_rank[rows] += clear.sum(dim=1)
        keys = _key(_close_scores(images[rows], texts, close_image, close_text), close_text)
        image_rank[rows].index_add_(0, close_image, (keys > image_key[rows][close_image]).long())

        clear, close_image, close_text = _compare(tile, score[None], tolerance)
        text_rank += clear.sum(dim=0)
        keys = _key(_close_scores(images[rows], texts, close_image, close_text), close_image + rows.start)
        text_rank.index_add_(0, close_text, (keys > text_key[close_text]).long())
    return image_rank.cpu().numpy(), text_rank.cpu().numpy()


def _compare(tile: Tensor, threshold: Tensor, tolerance: float) -> tuple[Tensor, Tensor, Tensor]:
    """Mask of scores clearly above ``threshold``, and (row, column) of those too close to call."""
    margin = tile - threshold
    clear = margin > tolerance
    rows, columns = (margin.abs_() <= tolerance).nonzero(as_tuple=True)
    return clear, rows, columns


def _close_scores(left: Tensor, right: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    # One matrix product beats gathering once a large part of the tile is in question.
    if len(rows) > len(left) * len(right) // 64:
        return (left.double() @ right.double().T).float()[rows, columns]
    return _pair_scores(left, right, rows, columns)


def _pair_scores(left: Tensor, right: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Scores float32 [P] of the pairs (left[rows[p]], right[columns[p]])."""
    blocks = [
        (left[i].double() * right[j].double()).sum(dim=1).float()
        for i, j in zip(rows.split(8192), columns.split(8192), strict=True)
    ]
    return torch.cat(blocks) if blocks else left.new_empty(0, dtype=torch.float32)


def _key(score: Tensor, ids: Tensor) -> Tensor:
    """One int64 per (float32 score, id) that sorts by score and, at equal scores, lower id higher."""
    bits = (score + 0.0).view(torch.int32).long()
    ordered = torch.where(bits < 0, bits ^ _FLIP, bits)
    return (ordered << 32) + (_LOW - ids)


def _score_of(keys: Tensor) -> Tensor:
    ordered = keys >> 32
    return torch.where(ordered < 0, ordered ^ _FLIP, ordered).int().view(torch.float32)


def _tile_keys(queries: Tensor, gallery: Tensor, first_id: int) -> Tensor:
    scores = (queries.double() @ gallery.double().T).float()
    return _key(scores, torch.arange(first_id, first_id + len(gallery), device=gallery.device))


def _drop(keys: Tensor, columns: Tensor) -> None:
    """Put the excluded column of each row last; columns outside this tile are left alone."""
    rows = ((columns >= 0) & (columns < keys.shape[1])).nonzero()[:, 0]
    keys[rows, columns[rows]] = torch.iinfo(torch.int64).min


def _slices(count: int, width: int, tile_bytes: int) -> Iterator[slice]:
    """Row ranges whose tile of float32 scores stays within ``tile_bytes``."""
    height = max(1, tile_bytes // (4 * max(1, width)))
    for start in range(0, count, height):
        yield slice(start, min(start + height, count))


def _check_pair(left: Tensor, right: Tensor, exclude: Tensor | None) -> None:
    if left.ndim != 2 or right.ndim != 2 or left.shape[1] != right.shape[1]:
        raise InputError(
            f"Embeddings must be [Q, D] and [G, D] of one dimension; got {tuple(left.shape)} and "
            f"{tuple(right.shape)}."
        )
    if not len(right):
        raise InputError("The gallery is empty; expected at least one embedding.")
    for name, values in (("first", left), ("second", right)):
        finite = torch.isfinite(values).all(dim=1)
        if not bool(finite.all()):
            raise InputError(f"Row {int((~finite).nonzero()[0])} of the {name} embeddings is not finite.")
    if exclude is not None and exclude.shape != (len(left),):
        raise InputError(f"exclude has shape {tuple(exclude.shape)}; expected ({len(left)},), one per query.")
