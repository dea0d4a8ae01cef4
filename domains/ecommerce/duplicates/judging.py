"""What groups do with labelled pairs: they act on more than the thresholds that were fitted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ....core.errors import InputError
from .fitting import LabelledPair, held_out
from .report import DuplicateReport


def judge_groups(report: DuplicateReport, pairs: Sequence[LabelledPair], *, seed: int = 0) -> DuplicateReport:
    """Return a report whose thresholds also say what its groups do with held-out pairs.

    Thresholds are fitted to pairs that vectors take one by one. What is merged is a group, which also holds
    pairs that nobody compared and joins by pictures and titles. Only pairs that had no part in choosing the
    thresholds are counted; pairs of a group that no candidate was, nobody has labelled.

    Args:
        report: found with thresholds that were fitted to these pairs.
        pairs: all of them, as given to :func:`.fitting.fit_thresholds`.
        seed: the one given there.

    Raises:
        InputError: the thresholds of the report are not fitted.
    """
    thresholds = report.settings.thresholds
    if thresholds.fit is None:
        raise InputError("The report was found with thresholds that were not fitted; fit them first.")
    home = {one: group.canonical for group in report.groups for one in group.members}
    joined = [pair for pair in held_out(pairs, seed) if home.get(pair.first, 0) == home.get(pair.second, 1)]
    wrong = sum(not pair.is_duplicate for pair in joined)
    fit = thresholds.fit.model_copy(update={"joined": len(joined), "joined_wrong": wrong})
    judged = thresholds.model_copy(update={"fit": fit})
    return replace(report, settings=report.settings.model_copy(update={"thresholds": judged}))
