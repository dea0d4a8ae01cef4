"""Splits that depend on ids and seed only, never on the order of files."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

from ..errors import ConfigError, DataError
from .manifest import Manifest, Record


def split(
    manifest: Manifest,
    fractions: Mapping[str, float],
    *,
    seed: int = 0,
    by: Literal["group", "record"] = "group",
    stratify: bool = True,
) -> Manifest:
    """Return the manifest with every row assigned to a split; earlier splits are overwritten.

    Units (groups, or rows without one) are ordered by a hash of seed and id and dealt to the split
    that is furthest below its share, within each class when ``stratify``. A unit counts for the
    class most of its rows have.

    Args:
        manifest: rows to split.
        fractions: {split: share}; shares are above 0 and sum to 1.
        seed: another seed, another split.
        by: ``group`` keeps rows of a group together; ``record`` ignores groups.
        stratify: keep class shares equal across splits as far as whole units allow.

    Raises:
        ConfigError: shares are not positive or do not sum to 1.
        DataError: a split would be empty.

    Example:
        >>> split(manifest, {"train": 0.8, "val": 0.2}, seed=1)  # doctest: +SKIP
    """
    if not fractions or min(fractions.values()) <= 0 or abs(sum(fractions.values()) - 1) > 1e-6:
        raise ConfigError(f"fractions must be above 0 and sum to 1, got {dict(fractions)}.")
    units: defaultdict[str, list[Record]] = defaultdict(list)
    for record in manifest.records:
        # The prefix keeps an id from meaning the same unit as an equal group name.
        grouped = by == "group" and record.group is not None
        units[f"group:{record.group}" if grouped else f"id:{record.id}"].append(record)
    strata: defaultdict[str, list[str]] = defaultdict(list)
    for unit, members in units.items():
        labels = Counter(record.label or "" for record in members)
        majority = min(labels, key=lambda label: (-labels[label], label))
        strata[majority if stratify else ""].append(unit)
    chosen: dict[str, str] = {}
    for members in strata.values():
        members.sort(key=lambda unit: hashlib.sha256(f"{seed}:{unit}".encode()).digest())
        total = sum(len(units[unit]) for unit in members)
        wanted = {name: share * total for name, share in fractions.items()}
        for unit in members:
            # Rounding keeps float noise from deciding between equal needs; then the first name wins.
            name = max(wanted, key=lambda name: round(wanted[name], 9))
            wanted[name] -= len(units[unit])
            chosen.update((record.id, name) for record in units[unit])
    empty = [name for name in fractions if name not in set(chosen.values())]
    if empty:
        raise DataError(
            f"Split {empty[0]!r} would be empty: {len(units)} units ({by}) are too few for {dict(fractions)}."
        )
    return replace(
        manifest, records=tuple(replace(record, split=chosen[record.id]) for record in manifest.records)
    )
