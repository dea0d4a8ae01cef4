"""Merging what was found: duplicates are marked, never removed unless asked, and marks come off again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Protocol

from ....core.errors import ConfigError, InputError, nearest
from .grouping import Products
from .report import DuplicateReport

if TYPE_CHECKING:
    from ....core.index.base import Change, VectorIndex


class Mergeable(Products, Protocol):
    """The part of :class:`..catalog.catalog.Catalog` that a merge writes through."""

    def mark_duplicates(self, of: Mapping[str, str | None], *, version: int | None = None) -> Change:
        """Set or take off marks as one version."""
        ...

    def delete(self, which: Sequence[str], *, version: int | None = None) -> Change:
        """Take products out as one version."""
        ...


@dataclass(frozen=True)
class Merge:
    """What a merge did, or would do.

    Attributes:
        marked: products that got a mark, or another one. kept: that had the right one already.
        unmarked: whose mark named a product that is gone, or that stands for itself now.
        deleted: products taken out. dry_run: nothing was written.
        version: of the catalogue afterwards.
    """

    marked: int
    kept: int
    unmarked: int
    deleted: int
    dry_run: bool
    version: int

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)


def merge(
    catalog: Mergeable, report: DuplicateReport, *, delete: bool = False, dry_run: bool = False
) -> Merge:
    """Mark the duplicates of a report with the product that stands for each; ``unmerge`` undoes it.

    Products keep all their fields and stay in the catalogue; searches may leave marked ones out. Marks whose
    product is gone are taken off, so that nothing is hidden behind something that is not there. A run that is
    killed leaves the marks as they were before, or all of them; run again, it changes nothing twice.

    Args:
        report: of the catalogue's present version.
        delete: take the duplicates out instead, for good.
        dry_run: only say what would be done.

    Raises:
        ConfigError: the catalogue has changed since the report, or another process is writing.
    """
    now = catalog.index.version
    if report.version != now:
        raise ConfigError(
            f"The report is of version {report.version} of the catalogue, which is at {now} now. Find "
            "duplicates again, then merge."
        )
    wanted = report.marks()
    ids, present = marks_of(catalog.index)
    gone = set(wanted) if delete else set()
    changes = _changes(wanted, ids, present, gone)
    marked = sum(value is not None for value in changes.values())
    kept = sum(present.get(one) == target for one, target in wanted.items()) if not delete else 0
    version = report.version
    if not dry_run:
        if changes:
            # Before anything is taken out: what stood behind a duplicate must stand behind its product.
            version = catalog.mark_duplicates(changes, version=version).version
        if gone:
            version = catalog.delete(sorted(gone), version=version).version
    return Merge(marked, kept, len(changes) - marked, len(gone), dry_run, version)


def unmerge(catalog: Mergeable, ids: Sequence[str] | None = None, *, dry_run: bool = False) -> Merge:
    """Take marks off and return how many.

    Args:
        ids: products whose marks come off: marked ones, or ones that others are marked as duplicates of.
            None takes off all.
        dry_run: only say what would be done.

    Raises:
        InputError: a product that has no mark and is named by none.
    """
    _, present = marks_of(catalog.index)
    if ids is not None:
        known = set(present) | set(present.values())
        for one in ids:
            if one not in known:
                raise InputError(f"{one!r} is no duplicate and has none.{nearest(one, known)}")
        chosen = set(ids)
        present = {one: target for one, target in present.items() if {one, target} & chosen}
    version = catalog.index.version
    if present and not dry_run:
        version = catalog.mark_duplicates(dict.fromkeys(present), version=version).version
    return Merge(0, 0, len(present), 0, dry_run, version)


def marks_of(index: VectorIndex) -> tuple[set[str], dict[str, str]]:
    """Return all ids, and {id: product it is marked as a duplicate of}."""
    ids: set[str] = set()
    marks: dict[str, str] = {}
    for rows in index.scan(columns=["duplicate_of"]):
        ids.update(rows.ids)
        targets = rows.payload.column("duplicate_of").to_pylist()
        marks.update(
            (name, target) for name, target in zip(rows.ids, targets, strict=True) if target is not None
        )
    return ids, marks


def _changes(
    wanted: Mapping[str, str], ids: set[str], present: Mapping[str, str], gone: set[str]
) -> dict[str, str | None]:
    """Return {id: mark it gets, or None where its mark comes off}; only what differs, never what goes.

    A mark names a product that has none itself, so that nobody needs to follow marks.
    """
    new = {one: target for one, target in present.items() if target in ids}
    new |= wanted
    for target in wanted.values():
        new.pop(target, None)
    changes: dict[str, str | None] = {}
    for one in set(new) | set(present):
        target = new.get(one)
        seen = {one}
        while target is not None and target in new and target not in seen:
            seen.add(target)
            target = new[target]
        if target == one:
            target = None
        if one not in gone and target != present.get(one):
            changes[one] = target
    return dict(sorted(changes.items()))
