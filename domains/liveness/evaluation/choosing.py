"""Which presentations are judged, which find the threshold, and what the threshold is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

from ....core.errors import ConfigError, DataError
from ..calibration.threshold import Threshold
from ..metrics.iso import IsoReport
from ..metrics.literature import auc, live_labels
from ..metrics.thresholds import Choice, Rule, choose, parse_rule, settle
from ..protocols.aliases import canonical_dataset
from ..protocols.entry import UNNAMED, Entry, Split
from ..protocols.subjects import check_disjoint
from .origins import ReportThreshold, from_choice, from_stored, one_system
from .table import Columns, ScoredPresentation, columns_of

Ruling: TypeAlias = "Threshold | Rule | str | float"
"""A stored threshold, a rule, its text, a mode, or a number."""


@dataclass(frozen=True)
class Chosen:
    """A threshold and the presentations it is applied to.

    Attributes:
        rows: that are judged. values: their margins or scores, on the scale of the threshold.
        development: rates on the set that found it; None for one that was given.
        development_auc: of that set.
        notes: what was left out, and on which scale presentations are compared.
    """

    threshold: ReportThreshold
    rows: Sequence[ScoredPresentation]
    values: Sequence[float | None]
    development: IsoReport | None
    development_auc: float | None
    notes: tuple[str, ...]


def choose_threshold(
    scored: Sequence[ScoredPresentation],
    ruling: Ruling,
    dev: Sequence[ScoredPresentation] | None = None,
) -> Chosen:
    """Return the threshold of a ruling, and the presentations to judge with it.

    Raises:
        ConfigError: no such rule, or a number that is none.
        DataError: no presentations; a rule without a development set; a set of one class; subjects or
            presentations in both sets; scores of two systems, or a threshold of another system.
    """
    test, held, notes = split_rows(scored)
    if dev is not None:
        if held:
            notes.append(f"{len(held):,} presentations of the split dev are left out: dev was given apart.")
        held = [row for row in dev if row.split == "dev"] or list(dev)
    stored = ruling if isinstance(ruling, Threshold) else None
    fingerprint = one_system(test, held, stored=stored)
    if held:
        refuse_shared(held, test)
    columns, found = columns_of(test), None
    if isinstance(ruling, Threshold):
        applied = from_stored(ruling, margins=columns.margins is not None)
        of_threshold = set(map(canonical_dataset, ruling.dataset.split("+")))
        same = sorted(
            {one for row in test if (one := row.dataset) and canonical_dataset(one) in of_threshold}
        )
        if same:
            notes.append(
                f"The threshold was found on presentations of {', '.join(same)} too; nothing here "
                "shows that no subject is in both sets."
            )
    else:
        rule = _rule(ruling)
        if rule.needs_dev:
            found = _Found.on(rule, held, margins=columns.margins is not None)
            applied = from_choice(found.choice, found.source, fingerprint)
        else:
            choice = choose(rule, columns.scores, columns.species, margins=columns.margins)
            applied = from_choice(choice, "the test set itself" if rule.oracle else "given", fingerprint)
    if dev is not None and found is None:
        notes.append(f"The development set was not used: the threshold is {applied.rule}.")
    by_margin = applied.compared == "margin" and columns.margins is not None
    return Chosen(
        threshold=applied,
        rows=test,
        values=columns.margins if by_margin and columns.margins is not None else columns.scores,
        development=None if found is None else found.choice.report,
        development_auc=None if found is None else found.auc,
        notes=(*notes, *_told_apart(columns, applied)),
    )


@dataclass(frozen=True)
class _Found:
    """What a rule found on a development set; ``auc`` is None where a class got no response."""

    choice: Choice
    source: str
    auc: float | None

    @classmethod
    def on(cls, rule: Rule, dev: Sequence[ScoredPresentation], *, margins: bool) -> _Found:
        if not dev:
            raise DataError(
                f"The rule {rule} needs a development set, and there is none. Give presentations of the "
                "split dev, or a development set apart; or decide at fixed=0.5, or with a stored threshold."
            )
        columns = columns_of(dev)
        # A threshold on margins could not be applied to a test set that has none.
        margins_of = columns.margins if margins else None
        choice = _settled(choose(rule, columns.scores, columns.species, margins=margins_of), margins_of)
        names = sorted({row.dataset for row in dev if row.dataset})
        source = f"development set of {', '.join(names)}" if names else "development set"
        values = margins_of or columns.scores
        known = any(value is not None for value in values)
        return cls(choice, source, auc(values, live_labels(columns.species)) if known else None)


def _settled(choice: Choice, margins: Sequence[float | None] | None) -> Choice:
    """Return a choice whose margin also takes the presentation that it was found by when scored again.

    Scores without margins stay as they are: a table of another system is compared as it was printed.
    """
    if choice.margin is None or margins is None:
        return choice
    margin = settle(choice.margin, margins)
    return replace(choice, margin=margin, report=replace(choice.report, threshold=margin))


def split_rows(
    rows: Sequence[ScoredPresentation],
) -> tuple[list[ScoredPresentation], list[ScoredPresentation], list[str]]:
    """Return (test, dev, notes): the presentations to judge, and those that may find the threshold.

    Without any of the split ``test``, those of the only split there is are judged.

    Raises:
        DataError: there are none, or several splits and none is called test.
    """
    if not rows:
        raise DataError("There are no presentations to judge.")
    by_split: dict[str, list[ScoredPresentation]] = {}
    for row in rows:
        by_split.setdefault(row.split, []).append(row)
    if "test" not in by_split and len(by_split) > 1:
        raise DataError(
            f"No presentation is of the split test; splits: {', '.join(sorted(by_split))}. Name the one to "
            "judge test."
        )
    if "test" not in by_split:
        only = next(iter(by_split))
        note = [f"All presentations are of the split {only}; it is judged as the test set."] if only else []
        return list(rows), [], note
    left = sum(len(part) for name, part in by_split.items() if name not in ("test", "dev"))
    notes = [f"{left:,} presentations of other splits than test and dev are left out."] if left else []
    return by_split["test"], by_split.get("dev", []), notes


def refuse_shared(dev: Sequence[ScoredPresentation], test: Sequence[ScoredPresentation]) -> None:
    """Refuse subjects or presentations that stand in both sets.

    Raises:
        DataError: names them.
    """
    check_disjoint(
        [
            *(_entry(row, "dev", index) for index, row in enumerate(dev)),
            *(_entry(row, "test", index) for index, row in enumerate(test)),
        ]
    )


def _entry(row: ScoredPresentation, split: Split, index: int) -> Entry:
    return Entry(
        # Files were compared when the manifest was read; here each has a name of its own.
        path=Path(f"{split}-{index}"),
        video_id=row.id,
        label="live" if row.is_live else "attack",
        species=row.species,
        subject=row.subject or None,
        split=split,
        dataset=row.dataset or UNNAMED,
    )


def _rule(ruling: Rule | str | float) -> Rule:
    if isinstance(ruling, bool) or not isinstance(ruling, (Rule, str, int, float)):
        raise ConfigError(
            f"The threshold is {ruling!r:.60}; expected a rule, a mode, a number or a Threshold."
        )
    return Rule("fixed", float(ruling)) if isinstance(ruling, (int, float)) else parse_rule(ruling)


def _told_apart(columns: Columns, applied: ReportThreshold) -> list[str]:
    """Return a note where the scale decides: scores that are equal while their margins differ."""
    if applied.compared != "margin" or columns.margins is None:
        return []
    differ = sum(
        (score >= applied.value) != (margin >= applied.applied)
        for score, margin in zip(columns.scores, columns.margins, strict=True)
        if score is not None and margin is not None
    )
    if not differ:
        return []
    return [
        f"{differ:,} presentations have the score of the threshold and are told apart by their margins: "
        "recount with the column margin."
    ]
