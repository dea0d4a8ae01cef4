"""Which presentations a threshold may be chosen on, and how they are scored."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ....core.answers import Failure
from ....core.errors import DataError
from ..evaluation.scoring import score_entries
from ..evaluation.table import ScoredPresentation
from ..protocols.entry import SPLITS, Entry
from ..protocols.manifest import read_manifest
from ..protocols.subjects import check_disjoint

if TYPE_CHECKING:
    from ..detector import LivenessDetector

_SHOWN = 3


def development_entries(
    dev: str | Path | Sequence[Entry], test: str | Path | Sequence[Entry] | None = None
) -> list[Entry]:
    """Return the presentations of the split ``dev``, after a look at who else is in the data.

    Args:
        dev: a manifest or entries; other splits in it are compared and then left out.
        test: a manifest or entries of another set, in which nobody of ``dev`` may be.

    Raises:
        DataError: no presentation of that split, or a subject, video or file on both sides.
    """
    entries = _entries(dev)
    chosen = [entry for entry in entries if entry.split == "dev"]
    if not chosen:
        counts = [(split, sum(entry.split == split for entry in entries)) for split in SPLITS]
        found = ", ".join(f"{split} {count:,}" for split, count in counts if count) or "nothing"
        raise DataError(
            f"No presentation is in split dev (found: {found}). A threshold is chosen on presentations that "
            "are neither trained nor tested on: mark them dev in the column split."
        )
    others = []
    if test is not None:
        given = _entries(test)
        tested = [entry for entry in given if entry.split == "test"] or given
        others = [replace(entry, split="test") for entry in tested]
    # Shots may show people who are tested; that nobody of dev trains by one is looked at all the same.
    check_disjoint([*entries, *others], few_shot=True)
    return chosen


def score_development(
    detector: LivenessDetector,
    entries: Sequence[Entry],
    *,
    batch_size: int = 8,
    progress: Callable[[int, int], None] | None = None,
) -> list[ScoredPresentation]:
    """Return the presentations with their margins.

    Raises:
        DataError: a presentation cannot be read. Leaving it out would choose a threshold on what is left.
    """
    failures: list[Failure] = []
    scored = score_entries(detector, entries, batch_size=batch_size, failures=failures, progress=progress)
    if failures:
        named = "; ".join(f"{one.id}: {one.error}" for one in failures[:_SHOWN])
        raise DataError(
            f"{len(failures):,} of {len(entries):,} presentations cannot be read, first: "
            f"{named} Mend them or take them out of the manifest; none is left out silently."
        )
    return scored


def name_of(entries: Sequence[Entry]) -> str:
    """Return the data sets of the entries as one name."""
    return "+".join(sorted({entry.dataset for entry in entries}))


def _entries(given: str | Path | Sequence[Entry]) -> list[Entry]:
    return read_manifest(given) if isinstance(given, (str, Path)) else list(given)
