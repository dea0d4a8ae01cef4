"""Error rates of parts of a test set: data sets, and groups that the manifest names."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ....core.errors import ConfigError, nearest
from ..metrics.iso import IsoReport, Rate, iso_report
from .table import ScoredPresentation

MANY_VALUES = 20
"""A column of more values is no grouping; it is left out unless it was asked for."""

NO_VALUE = "(not stated)"


@dataclass(frozen=True)
class Breakdown:
    """Rates at one threshold for every value of a column.

    Attributes:
        column: of the manifest. parts: {value: rates}. findings: what may be said about the differences.
    """

    column: str
    parts: Mapping[str, IsoReport]
    findings: tuple[str, ...]

    def to_dict(self) -> dict[str, object]:
        """Return plain values for JSON."""
        return {
            "parts": {name: part.to_dict() for name, part in self.parts.items()},
            "findings": list(self.findings),
        }


def group_columns(
    rows: Sequence[ScoredPresentation], wanted: Sequence[str] | None
) -> tuple[list[str], list[str]]:
    """Return (columns to break down by, notes on those left out).

    Args:
        wanted: names; None takes every group column with few values.

    Raises:
        ConfigError: no presentation has such a column.
    """
    present = sorted({name for row in rows for name in row.groups})
    if wanted is not None:
        for name in wanted:
            if name not in present:
                raise ConfigError(
                    f"No presentation has a group {name!r}.{nearest(name, present)} Groups: "
                    f"{', '.join(present) or 'none; further columns of the manifest are groups'}."
                )
        return list(dict.fromkeys(wanted)), []
    kept, notes = [], []
    for name in present:
        values = {row.groups.get(name, NO_VALUE) for row in rows}
        if len(values) > MANY_VALUES:
            notes.append(f"The column {name} has {len(values):,} values and was not broken down by.")
        elif len(values) > 1:
            kept.append(name)
    return kept, notes


def break_down(
    rows: Sequence[ScoredPresentation],
    values: Sequence[float | None],
    threshold: float,
    column: str,
) -> Breakdown:
    """Return the rates of every value of a group column; presentations without one are a part too."""
    return _break_down(rows, values, threshold, column, lambda row: row.groups.get(column, NO_VALUE))


def by_dataset(
    rows: Sequence[ScoredPresentation], values: Sequence[float | None], threshold: float
) -> Breakdown:
    """Return the rates of every data set."""
    return _break_down(rows, values, threshold, "dataset", lambda row: row.dataset or NO_VALUE)


def _break_down(
    rows: Sequence[ScoredPresentation],
    values: Sequence[float | None],
    threshold: float,
    column: str,
    of: Callable[[ScoredPresentation], str],
) -> Breakdown:
    members: dict[str, list[int]] = {}
    for index, row in enumerate(rows):
        members.setdefault(of(row), []).append(index)
    parts = {
        name: iso_report(
            [values[i] for i in members[name]], [rows[i].species for i in members[name]], threshold
        )
        for name in sorted(members)
    }
    findings = [
        *_compare(column, "BPCER", {name: part.bpcer for name, part in parts.items()}),
        # Where everybody got a response, a sentence on it would say nothing.
        *(
            _compare(column, "BPNRR", {name: part.bpnrr for name, part in parts.items()})
            if any(part.bpnrr.errors for part in parts.values())
            else ()
        ),
        *_compare(column, "pooled APCER", {name: part.apcer_pooled for name, part in parts.items()}),
    ]
    return Breakdown(column, parts, tuple(findings))


def _compare(column: str, what: str, rates: Mapping[str, Rate]) -> list[str]:
    """Return a sentence on the largest difference, where at least two parts have the rate."""
    known = {name: rate for name, rate in rates.items() if rate.n}
    if len(known) < 2:
        return []
    low = min(known, key=lambda name: (known[name].value or 0.0, name))
    high = max(known, key=lambda name: (known[name].value or 0.0, name))
    smallest = min(known.values(), key=lambda rate: rate.n)
    if known[low].value == known[high].value:
        if not known[high].errors:
            bound = 100 * smallest.upper
            return [
                f"{column}: {what} is 0 % in every part; of the smallest (n={smallest.n:,}) this shows only "
                f"that it is below {bound:.2g} % (95 %). It is no evidence of equality."
            ]
        return [f"{column}: {what} is the same in every part; with so few presentations that is no evidence."]
    spread = f"{column}: {what} runs from {_said(low, known[low])} to {_said(high, known[high])}"
    if known[low].interval[1] >= known[high].interval[0]:
        return [
            f"{spread}; the exact 95 % intervals overlap. This is no evidence of a difference, and none of "
            "equality."
        ]
    several = " Of many parts, some differ by chance." if len(known) > 2 else ""
    return [
        f"{spread}; the exact 95 % intervals do not overlap: chance alone hardly explains the difference. "
        f"Presentations of one subject are alike: check how many subjects there are.{several}"
    ]


def _said(name: str, rate: Rate) -> str:
    return f"{100 * (rate.value or 0.0):.2f} % ({name}, {rate.errors:,} of {rate.n:,})"
