"""Products that are in a catalogue twice: found with evidence, shown, marked, and unmarked again."""

from __future__ import annotations

from ....core.lazy import lazy_names

_HOMES = {
    "Candidate": "labels",
    "DuplicateReport": "report",
    "DuplicateSettings": "settings",
    "Group": "report",
    "LabelledPair": "fitting",
    "Merge": "merging",
    "Pair": "report",
    "Thresholds": "settings",
    "candidates": "labels",
    "find_duplicates": "grouping",
    "fit_thresholds": "fitting",
    "held_out": "fitting",
    "judge_groups": "judging",
    "load_thresholds": "settings",
    "measured": "labels",
    "merge": "merging",
    "read_labels": "labels",
    "save_thresholds": "settings",
    "unmerge": "merging",
    "write_candidates": "labels",
}

__all__ = sorted(_HOMES)  # pyright: ignore[reportUnsupportedDunderAll]

__getattr__ = lazy_names(__name__, _HOMES)
