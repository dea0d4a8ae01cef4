"""Three ways to find pairs of products that may be one; each returns pairs of positions in a listing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from itertools import combinations, pairwise, product
from typing import TYPE_CHECKING

import numpy as np

from ....core.data.perceptual import near_hashes
from .listing import Listing
from .prints import Print, look_alike, looks

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ....core.index.base import Identity, VectorIndex
    from ....core.index.filters import Where
    from .settings import DuplicateSettings

Place = tuple[int, int]
"""Positions of two products, the lower one first."""
_ALL_PAIRS = 50
"""Up to so many products that share something, each is a pair with each; beyond it, neighbors are."""
_ROWS = 4096


def same_pictures(
    keys: Sequence[Hashable | None], listing: Listing, shared_by: int
) -> tuple[list[Place], int]:
    """Return pairs of products with equal keys, and how many keys were passed by as placeholders.

    Args:
        keys: what names the picture of each product, None where it has none.
        shared_by: a picture that more products have, most of them under other titles, proves nothing.
    """
    pairs: list[Place] = []
    placeholders = 0
    for members in _shared(keys):
        titles = {listing.titles[place] for place in members}
        if len(members) > shared_by and len(titles) > len(members) / 2:
            placeholders += 1
        else:
            pairs.extend(_linked(members, listing))
    return pairs, placeholders


def same_titles(listing: Listing, has_picture: NDArray[np.bool_], settings: DuplicateSettings) -> list[Place]:
    """Return pairs of equal titles where one has no picture that could tell them apart.

    Two products with a picture each are told apart by them: ``Blue dress`` is not one product. Category and
    brand must agree where both are known.
    """
    keys = [title if len(title.split()) >= settings.title_words else None for title in listing.titles]
    pairs: list[Place] = []
    for members in _shared(keys):
        if len(members) <= settings.shared_by:
            pairs.extend(
                (one, two)
                for one, two in combinations(members, 2)
                if not (has_picture[one] and has_picture[two])
                and _agree(listing.categories[one], listing.categories[two])
                and _agree(listing.brands[one], listing.brands[two])
            )
    return pairs


def near_pictures(
    prints: Mapping[int, Print], listing: Listing, settings: DuplicateSettings, *, mirrored: bool = False
) -> tuple[list[Place], list[int]]:
    """Return pairs of products whose pictures are nearly the same, and the bits they differ in.

    Args:
        prints: {position: fingerprint}.
        mirrored: compare with pictures turned left to right instead; those that are alike as they are too
            are left out, or every symmetrical picture would be a pair of both kinds.
    """
    places = [place for place, one in sorted(prints.items()) if not one.is_flat]
    if not places:
        return [], []
    own = np.array([prints[place].hash for place in places], dtype=np.uint64)
    hashes, inverse = np.unique(own, return_inverse=True)
    members: list[list[int]] = [[] for _ in hashes]
    for row, number in enumerate(inverse.tolist()):
        members[number].append(row)
    if mirrored:
        turned = np.array([prints[place].mirrored for place in places], dtype=np.uint64)
        other, other_inverse = np.unique(turned, return_inverse=True)
        others: list[list[int]] = [[] for _ in other]
        for row, number in enumerate(other_inverse.tolist()):
            others[number].append(row)
        near, bits = near_hashes(hashes, settings.bits, other)
    else:
        others = members
        near, bits = near_hashes(hashes, settings.bits)
    rows, distances = _expanded(near.tolist(), bits.tolist(), members, others)
    if not mirrored:
        same = [pair for group in members if len(group) > 1 for pair in _linked(group, listing, places)]
        rows, distances = rows + same, distances + [0] * len(same)
    best: dict[Place, int] = {}
    for (one, two), distance in zip(rows, distances, strict=True):
        if one != two:
            key = (min(one, two), max(one, two))
            best[key] = min(distance, best.get(key, 64))
    kept = _confirmed(
        sorted(best), [prints[place] for place in places], mirrored=mirrored, on=settings.confirm
    )
    return [(places[one], places[two]) for one, two in kept], [best[pair] for pair in kept]


def _confirmed(rows: list[Place], prints: list[Print], *, mirrored: bool, on: bool) -> list[Place]:
    """Keep the pairs whose light and color agree too."""
    if not on:
        return rows
    kept: list[Place] = []
    for start in range(0, len(rows), _ROWS):
        part = rows[start : start + _ROWS]
        first = looks([prints[one] for one, _ in part])
        second = looks([prints[two] for _, two in part])
        alike = look_alike(first, second[:, :, ::-1] if mirrored else second)
        kept.extend(pair for pair, yes in zip(part, alike.tolist(), strict=True) if yes)
    return kept


def neighbors(
    index: VectorIndex,
    listing: Listing,
    settings: DuplicateSettings,
    *,
    made_by: Identity | None = None,
    where: Where | None = None,
    floor: float | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[list[Place], list[float]]:
    """Return pairs of products that are among each other's nearest, and the cosines of their vectors.

    Args:
        floor: least cosine; None takes the one of the settings.
        where: the filter that the listing was read with.
        progress: called with (products searched for, all products).
    """
    least = settings.thresholds.product if floor is None else floor
    found: list[NDArray[np.int64]] = []
    cosines: list[NDArray[np.float32]] = []
    total, done = len(listing), 0
    for rows in index.scan(columns=[], views=("product",), where=where):
        queries = rows.vectors["product"]
        there = rows.present.get("product", np.ones(len(rows.ids), bool))
        names = [name for name, is_there in zip(rows.ids, there.tolist(), strict=True) if is_there]
        hits = index.search(
            np.ascontiguousarray(queries[there]),
            settings.neighbors + 1,  # itself is among them
            view="product",
            where=where,
            made_by=made_by,
        )
        for name, hit in zip(names, hits, strict=True):
            own = listing.place[name]
            near = np.flatnonzero(hit.scores >= least)
            places = np.array([listing.place.get(hit.ids[one], own) for one in near.tolist()], dtype=np.int64)
            other = places != own
            found.append(own * total + places[other])
            cosines.append(hit.scores[near][other])
        done += len(rows.ids)
        if progress is not None:
            progress(done, total)
    if not found:
        return [], []
    keys, scores = np.concatenate(found), np.concatenate(cosines)
    rows_, columns = np.divmod(keys, max(1, total))
    mutual = np.isin(columns * total + rows_, keys) & (rows_ < columns)
    order = np.argsort(keys[mutual], kind="stable")
    pairs = np.stack([rows_[mutual], columns[mutual]], axis=1)[order].tolist()
    if settings.same_category:
        same = [_agree(listing.categories[one], listing.categories[two]) for one, two in pairs]
    else:
        same = [True] * len(pairs)
    kept = scores[mutual][order].tolist()
    return (
        [(one, two) for (one, two), yes in zip(pairs, same, strict=True) if yes],
        [score for score, yes in zip(kept, same, strict=True) if yes],
    )


def cosines_of(
    index: VectorIndex, listing: Listing, pairs: Sequence[Place], view: str
) -> NDArray[np.float32]:
    """Return the cosine of each pair in one view, float32 [P]; NaN where one has no such vector."""
    if not pairs:
        return np.empty(0, np.float32)
    vectors, there, row_of = vectors_of(index, listing, {place for pair in pairs for place in pair}, view)
    rows = np.array([[row_of[one], row_of[two]] for one, two in pairs])
    result = np.empty(len(pairs), np.float32)
    for start in range(0, len(pairs), _ROWS):
        part = slice(start, start + _ROWS)
        result[part] = (vectors[rows[part, 0]] * vectors[rows[part, 1]]).sum(axis=1)
    result[~(there[rows[:, 0]] & there[rows[:, 1]])] = np.nan
    return result


def vectors_of(
    index: VectorIndex, listing: Listing, places: Iterable[int], view: str
) -> tuple[NDArray[np.float32], NDArray[np.bool_], dict[int, int]]:
    """Return vectors float32 [R, D], which are there bool [R], and {position: row}."""
    wanted = sorted(places)
    row_of = {place: row for row, place in enumerate(wanted)}
    vectors = np.zeros((len(wanted), index.identity.dim), np.float32)
    there = np.zeros(len(wanted), bool)
    for start in range(0, len(wanted), _ROWS):
        part = wanted[start : start + _ROWS]
        rows = index.get([listing.ids[place] for place in part], columns=[], views=(view,))
        target = [row_of[listing.place[name]] for name in rows.ids]
        vectors[target] = rows.vectors[view]
        there[target] = rows.present.get(view, np.ones(len(rows.ids), bool))
    return vectors, there, row_of


def _shared(keys: Sequence[Hashable | None]) -> Iterable[list[int]]:
    """Yield positions of equal keys, at least two."""
    homes: defaultdict[Hashable, list[int]] = defaultdict(list)
    for place, key in enumerate(keys):
        if key:
            homes[key].append(place)
    return (members for members in homes.values() if len(members) > 1)


def _linked(members: Sequence[int], listing: Listing, places: Sequence[int] | None = None) -> list[Place]:
    """Return pairs that join products which share something: all, or of very many those side by side.

    Side by side are products of equal color and size, so that a red one of many does not stand between two
    blue ones and keep them apart.
    """
    if len(members) <= _ALL_PAIRS:
        return list(combinations(sorted(members), 2))

    def variant(member: int) -> list[tuple[str, str]]:
        known = listing.variants[member if places is None else places[member]]
        return sorted((name, value) for name, (value, _) in known.items())

    ordered = sorted(members, key=lambda member: (variant(member), member))
    return [(min(pair), max(pair)) for pair in pairwise(ordered)]


def _expanded(
    near: Sequence[Sequence[int]], bits: Sequence[int], left: list[list[int]], right: list[list[int]]
) -> tuple[list[Place], list[int]]:
    """Return pairs of rows from pairs of hashes; of hashes that very many share, the first ones."""
    rows: list[Place] = []
    distances: list[int] = []
    for (one, two), distance in zip(near, bits, strict=True):
        found = list(product(left[one][:_ALL_PAIRS], right[two][:_ALL_PAIRS]))
        rows.extend(found)
        distances.extend([distance] * len(found))
    return rows, distances


def _agree(first: str, second: str) -> bool:
    """Whether two words are the same, as far as both are known."""
    return not first or not second or first == second
