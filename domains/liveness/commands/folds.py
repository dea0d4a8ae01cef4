"""``verticlip liveness folds``: the mean over folds or seeds of reports that were written before."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ....core.commandline import Json
from ....core.console import print_json, print_table, say


def folds(
    reports: Annotated[list[Path], typer.Argument(help="Folders or report.json files of `evaluate`.")],
    as_json: Json = False,
) -> None:
    """Average reports over folds or seeds.

    Mean and sample standard deviation of every figure, oracle figures apart.
    """
    from ..evaluation.folds import over_folds, read_report

    found = over_folds([read_report(path) for path in reports])
    if as_json:
        print_json([found.to_dict()])
        return
    kept = dict(found.at_threshold) | ({} if found.auc is None else {"auc": found.auc})
    for heading, figures in ((f"at threshold {found.rule}", kept), ("oracle thresholds", found.oracle)):
        rows = [
            (name, f"{100 * one.mean:.2f} %", f"{100 * one.deviation:.2f}", str(one.runs))
            for name, one in figures.items()
        ]
        if rows:
            print_table((heading, "mean", "deviation", "runs"), rows)
    if found.oracle_threshold:
        say("All thresholds were taken from the test sets (oracle): optimistic bounds.")
