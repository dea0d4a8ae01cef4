"""Finding the duplicates of a catalogue: pairs from every stage, joined into groups with their evidence."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from ..catalog.filters import resolved
from .joining import Joiner, Link
from .listing import Listing, read_listing, variant_differences
from .prints import PRINTS_FILE, Print, collect_prints
from .report import REASONS, DuplicateReport, Group, Pair, Reason, Refusal, Variant
from .settings import FOLDER, DuplicateSettings
from .stages import (
    Place,
    cosines_of,
    near_pictures,
    neighbors,
    same_pictures,
    same_titles,
    vectors_of,
)

if TYPE_CHECKING:
    from ....core.index.base import VectorIndex
    from ....core.index.filters import Where

Progress = Callable[[str, int, int], None]
"""Called with (what is done, how many, of how many)."""
_STRENGTH = {reason: rank for rank, reason in enumerate(REASONS)}


class Products(Protocol):
    """The part of :class:`..catalog.catalog.Catalog` that is looked at."""

    folder: Path

    @property
    def index(self) -> VectorIndex:
        """Vectors and fields of all products."""
        ...


@dataclass
class _Found:
    """Evidence so far: {pair: reasons}, {pair: bits}, and what a reader must know."""

    reasons: defaultdict[Place, set[Reason]] = field(default_factory=lambda: defaultdict(set))
    bits: dict[Place, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def add(self, pairs: Sequence[Place], reason: Reason, bits: Sequence[int] = ()) -> None:
        for pair in pairs:
            self.reasons[pair].add(reason)
        self.bits |= {
            pair: min(one, self.bits.get(pair, one)) for pair, one in zip(pairs, bits, strict=False)
        }


def find_duplicates(
    catalog: Products,
    settings: DuplicateSettings | None = None,
    *,
    where: Where | str | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> DuplicateReport:
    """Return the groups of products that are one, with the evidence; nothing is changed.

    Pictures are read once and remembered beside the catalogue. The same catalogue gives the same report.

    Args:
        catalog: needs no model.
        settings: None takes the defaults, whose thresholds nobody has measured: fit your own, see
            :func:`.fitting.fit_thresholds`.
        where: only among products that fit.
        workers: threads that read pictures.
        progress: told what is being done.

    Raises:
        InputError: an unknown field in ``where``.

    Example:
        >>> report = find_duplicates(catalog)  # doctest: +SKIP
        >>> report.groups[0].canonical, report.groups[0].duplicates  # doctest: +SKIP
        ('A-17', ('A-17-copy', 'Z-4'))
    """
    settings = settings or DuplicateSettings()
    index = catalog.index
    condition = resolved(where, index.schema)
    listing = read_listing(index, settings.variant_attributes, condition)
    found = _Found()
    if not settings.thresholds.is_fitted and settings.embedding:
        found.notes.append(
            "Nobody has measured the thresholds on these products. Label pairs and fit them before you trust "
            "or merge what only the vectors say."
        )
    if settings.exact or settings.perceptual:
        _by_pictures(catalog, listing, settings, found, workers, progress)
    if settings.embedding:
        _by_vectors(index, listing, settings, found, condition, progress)
    return _report(index, listing, settings, found)


def _by_pictures(
    catalog: Products,
    listing: Listing,
    settings: DuplicateSettings,
    found: _Found,
    workers: int | None,
    progress: Progress | None,
) -> None:
    """Add what pictures and titles say."""
    prints = _prints(catalog, listing, found, workers, progress)
    blank = {listing.sha256[place] for place, one in prints.items() if one.is_flat}
    if settings.exact:
        files = [None if key in blank else key for key in listing.sha256]
        pixels = [
            prints[place].pixels if place in prints and not prints[place].is_flat else None
            for place in range(len(listing))
        ]
        kinds: tuple[tuple[Reason, Sequence[str | None]], ...] = (
            ("same_file", files),
            ("same_pixels", pixels),
        )
        passed = 0
        for reason, keys in kinds:
            pairs, placeholders = same_pictures(keys, listing, settings.shared_by)
            found.add(pairs, reason)
            passed = max(passed, placeholders)
        if passed:
            found.notes.append(
                f"{passed:,} pictures are shared by more than {settings.shared_by} products of different "
                "titles and were taken for placeholders."
            )
        has_picture = np.array([key is not None for key in files], dtype=bool)
        found.add(same_titles(listing, has_picture, settings), "same_title")
        prints = _without_placeholders(prints, listing, settings)
    if blank:
        found.notes.append(f"{len(blank):,} pictures are blank and prove nothing.")
    if settings.perceptual:
        found.add(*_with_reason(near_pictures(prints, listing, settings), "similar_picture"))
        if settings.mirrored:
            turned, bits = near_pictures(prints, listing, settings, mirrored=True)
            new = [(pair, one) for pair, one in zip(turned, bits, strict=True) if pair not in found.reasons]
            found.add([pair for pair, _ in new], "mirrored_picture", [one for _, one in new])


def _with_reason(
    near: tuple[list[Place], list[int]], reason: Reason
) -> tuple[list[Place], Reason, list[int]]:
    return near[0], reason, near[1]


def _without_placeholders(
    prints: Mapping[int, Print], listing: Listing, settings: DuplicateSettings
) -> dict[int, Print]:
    """Leave out pictures that very many products of different titles share."""
    homes: defaultdict[str, list[int]] = defaultdict(list)
    for place, one in prints.items():
        homes[one.pixels].append(place)
    kept = dict(prints)
    for members in homes.values():
        titles = {listing.titles[place] for place in members}
        if len(members) > settings.shared_by and len(titles) > len(members) / 2:
            for place in members:
                del kept[place]
    return kept


def _prints(
    catalog: Products, listing: Listing, found: _Found, workers: int | None, progress: Progress | None
) -> dict[int, Print]:
    """Return {position: fingerprint} of the products whose picture can be read."""
    wanted = {
        key: Path(file)
        for key, file in zip(listing.sha256, listing.files, strict=True)
        if key is not None and file is not None
    }
    prints, failed = collect_prints(
        wanted,
        catalog.folder / FOLDER / PRINTS_FILE,
        workers=workers,
        progress=None if progress is None else lambda done, total: progress("pictures", done, total),
    )
    if failed:
        found.notes.append(
            f"{len(failed):,} pictures could not be read and were compared by their vectors only; the first: "
            f"{failed[0].error}"
        )
    gone = sum(
        key is not None and file is None for key, file in zip(listing.sha256, listing.files, strict=True)
    )
    if gone:
        found.notes.append(
            f"The pictures of {gone:,} products are not files (fetched, or from a table); they were compared "
            "by their bytes and vectors only."
        )
    return {
        place: prints[key] for place, key in enumerate(listing.sha256) if key is not None and key in prints
    }


def _by_vectors(
    index: VectorIndex,
    listing: Listing,
    settings: DuplicateSettings,
    found: _Found,
    where: Where | None,
    progress: Progress | None,
) -> None:
    """Add what the vectors say."""
    told = None if progress is None else lambda done, total: progress("vectors", done, total)
    pairs, _ = neighbors(index, listing, settings, where=where, progress=told)
    image = cosines_of(index, listing, pairs, "image")
    text = cosines_of(index, listing, pairs, "text")
    with np.errstate(invalid="ignore"):  # NaN where there is no picture or text: not alike
        alike = (image >= settings.thresholds.image) | (text >= settings.thresholds.text)
    found.add([pair for pair, yes in zip(pairs, alike.tolist(), strict=True) if yes], "similar_product")


def _report(
    index: VectorIndex, listing: Listing, settings: DuplicateSettings, found: _Found
) -> DuplicateReport:
    """Join the pairs and tell what became of them."""
    places = sorted(found.reasons)
    evidence = _evidence(index, listing, places, found)
    vectors, _, row_of = vectors_of(index, listing, {place for pair in places for place in pair}, "product")
    row_places = sorted(row_of)
    values = [
        {name: compared for name, (compared, _) in listing.variants[place].items()} for place in row_places
    ]
    joiner = Joiner(vectors, values)
    variants: list[Variant] = []
    refused: list[tuple[Place, Refusal]] = []
    joined: list[Place] = []
    for pair in sorted(places, key=lambda one: _order(evidence[one], one)):
        differs = variant_differences(listing.variants[pair[0]], listing.variants[pair[1]])
        if differs:
            variants.append(Variant(evidence[pair], differs))
            continue
        least = _chain_least(found.reasons[pair], settings)
        outcome, mean = joiner.join(Link(row_of[pair[0]], row_of[pair[1]], least))
        if outcome in ("joined", "together"):
            joined.append(pair)
        elif outcome in ("chain", "variant"):
            refused.append((pair, Refusal(evidence[pair], outcome, mean)))
    groups = _groups(joiner.groups(), row_places, listing, joined, evidence, settings)
    home = {one: group.canonical for group in groups for one in group.members}
    # A link that was refused early may lie inside a group that others have joined since.
    apart = [one for _, one in refused if home.get(one.pair.first, 0) != home.get(one.pair.second, 1)]
    return DuplicateReport(
        version=index.version,
        made_by=index.identity,
        settings=settings,
        products=len(listing),
        groups=tuple(groups),
        variants=tuple(sorted(variants, key=lambda one: (one.pair.first, one.pair.second))),
        refused=tuple(sorted(apart, key=lambda one: (one.pair.first, one.pair.second))),
        notes=tuple(found.notes),
    )


def _chain_least(reasons: set[Reason], settings: DuplicateSettings) -> float | None:
    """Return how alike groups must be that this evidence joins; None where that does not matter."""
    if reasons & {"same_file", "same_pixels"}:
        return None
    return settings.vector_chain_least if reasons == {"similar_product"} else settings.chain_least


def _evidence(
    index: VectorIndex, listing: Listing, places: Sequence[Place], found: _Found
) -> dict[Place, Pair]:
    """Return what is known of each pair, with all three cosines."""
    by_view = {view: cosines_of(index, listing, places, view) for view in ("product", "image", "text")}
    return {
        pair: Pair(
            first=listing.ids[pair[0]],
            second=listing.ids[pair[1]],
            reasons=tuple(sorted(found.reasons[pair], key=_STRENGTH.__getitem__)),
            bits=found.bits.get(pair),
            **{view: _number(values[row]) for view, values in by_view.items()},
        )
        for row, pair in enumerate(places)
    }


def _number(value: np.float32) -> float | None:
    return None if math.isnan(value) else round(float(value), 4)


def _order(pair: Pair, place: Place) -> tuple[int, int, float, Place]:
    """Strongest evidence first: what kind it is, bits, cosine, and the ids where all are equal."""
    bits = 64 if pair.bits is None else pair.bits
    return _STRENGTH[pair.reasons[0]], bits, -(pair.product or 0.0), place


def _groups(
    members: Sequence[Sequence[int]],
    row_places: Sequence[int],
    listing: Listing,
    joined: Sequence[Place],
    evidence: Mapping[Place, Pair],
    settings: DuplicateSettings,
) -> list[Group]:
    group_of = {row_places[row]: number for number, rows in enumerate(members) for row in rows}
    pairs: defaultdict[int, list[Pair]] = defaultdict(list)
    for pair in sorted(joined):
        pairs[group_of[pair[0]]].append(evidence[pair])
    standing = {mark for mark in listing.marks if mark is not None}
    groups = []
    for number, rows in enumerate(members):
        places = [row_places[row] for row in rows]
        first = min(places, key=lambda place: _rank(place, listing, standing, settings))
        others = [listing.ids[place] for place in places if place != first]
        canonical = listing.ids[first]
        groups.append(Group(canonical, (canonical, *others), tuple(pairs[number])))
    return sorted(groups, key=lambda group: (-len(group.members), group.canonical))


def _rank(
    place: int, listing: Listing, standing: set[str], settings: DuplicateSettings
) -> tuple[bool, float, float, str]:
    """Return a key that is least for the product that stands for its group.

    One that stands for others already goes on doing so: a second run changes nothing that need not change.
    """
    updated = listing.updated[place]
    age = math.inf if updated is None else updated
    filled = -float(listing.filled[place])
    first, second = (age, filled) if settings.keep == "oldest" else (filled, age)
    name = listing.ids[place]
    return name not in standing, first, second, name
