"""A report as a page of text: the table an evaluator of presentation attack detection expects."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from ....core.console import shown
from ..metrics.iso import IsoReport, Rate

if TYPE_CHECKING:
    from .breakdown import Breakdown
    from .report import LivenessReport

Row = tuple[str, ...]

_WIDTH = 108


def percent(value: float | None) -> str:
    """Return a rate in percent, or a dash for one that is not known."""
    return "-" if value is None else f"{100 * value:.2f} %"


def summary(report: LivenessReport) -> str:
    """Return the report as text, warnings first."""
    return "\n".join(shown(line) for line in _lines(report)) + "\n"


def _wrapped(text: str, *, indent: str = "  ") -> list[str]:
    """Return a sentence as lines that fit a terminal, those after the first indented further."""
    return textwrap.wrap(
        text, _WIDTH, initial_indent=indent, subsequent_indent=f"{indent}  ", break_long_words=False
    )


def _lines(report: LivenessReport) -> Iterator[str]:
    for warning in report.warnings:
        yield from _wrapped(f"WARNING: {warning}", indent="")
    if report.warnings:
        yield ""
    yield report.system or "Presentation attack detection"
    yield from _wrapped(f"judged on   {_judged(report)}")
    yield from _wrapped(f"threshold   {_threshold(report)}")
    yield from _wrapped(f"setting     {report.zero_shot.says}")
    yield ""
    yield from _table(("", "n", "errors", "rate", "95 % bound", "non-response"), list(_iso_rows(report)))
    yield from _bounding(report.iso)
    yield ""
    yield from _table(("", "value", "95 % interval"), list(_figures(report)))
    yield from _wrapped(report.intervals.says)
    if report.oracle is not None:
        yield ""
        yield "Oracle figures: thresholds of this very set. Not to be put beside the figures above."
        yield from _table(("", "value", ""), list(_oracle(report)))
    for part in ([report.datasets] if len(report.datasets.parts) > 1 else []) + list(report.groups.values()):
        yield ""
        yield from _broken_down(part)
    if report.worst:
        yield ""
        yield from _table(
            ("wrongly decided", "species", "score"),
            [(f"{one.error}: {one.path}", one.species, f"{one.score:.4g}") for one in report.worst],
        )
    if report.notes:
        yield ""
    for note in report.notes:
        yield from _wrapped(f"note: {note}", indent="")


def _judged(report: LivenessReport) -> str:
    names = [name for name in report.datasets.parts if not name.startswith("(")]
    people = "subjects not known" if report.subjects is None else f"{report.subjects:,} subjects"
    return f"{', '.join(names) or 'unnamed set'}: {len(report.rows):,} presentations, {people}"


def _threshold(report: LivenessReport) -> str:
    threshold = report.threshold
    margin = "" if threshold.margin is None else f" (log-odds {threshold.margin:.4f})"
    mode = f" = {threshold.mode}" if threshold.mode else ""
    attacks = sum(n for name, n in threshold.counts.items() if name != "bona_fide")
    counted = (
        f", {threshold.counts.get('bona_fide', 0):,} bona fide and {attacks:,} attack presentations"
        if report.development is not None
        else ""
    )
    return f"{threshold.value:.6g}{margin}, {threshold.rule}{mode}: {threshold.source}{counted}"


def _iso_rows(report: LivenessReport) -> Iterator[Row]:
    iso = report.iso
    for name, rate in iso.apcer.items():
        yield _iso_row(f"APCER {name}", rate, iso.apnrr[name])
    if iso.worst_species is not None and len(iso.apcer) > 1:
        worst = iso.worst_species
        yield _iso_row(f"max APCER ({worst})", iso.apcer[worst], iso.apnrr[worst], iso.apcer_max_upper)
    if iso.bpcer.n:
        yield _iso_row("BPCER bona_fide", iso.bpcer, iso.bpnrr)


def _iso_row(name: str, rate: Rate, missing: Rate, upper: float | None = None) -> Row:
    bound = f"<= {percent(rate.upper if upper is None else upper)}"
    return name, f"{rate.n:,}", f"{rate.errors:,}", percent(rate.value), bound, percent(missing.value)


def _bounding(iso: IsoReport) -> list[str]:
    """Return a sentence on where the bound of max APCER comes from, where it is not the worst species'."""
    name = iso.bounding_species
    if name is None or name == iso.worst_species:
        return []
    return _wrapped(
        f"max APCER is bounded by {name} (n={iso.apcer[name].n:,}), the species with the largest bound: so "
        "few presentations leave more room than the errors that were seen elsewhere."
    )


def _figures(report: LivenessReport) -> Iterator[Row]:
    iso, pooled = report.iso, report.pooled
    exact = {"bpcer": iso.bpcer.interval} if iso.bpcer.n else {}
    figures = {
        "max APCER": ("apcer_max", iso.apcer_max),
        "BPCER": ("bpcer", iso.bpcer.value),
        "ACER (of max APCER)": ("acer_max", iso.acer_max),
        "ACER pooled": ("acer_pooled", iso.acer_pooled),
        "HTER (pooled, of responses)": ("hter", None if pooled is None else pooled.hter),
        "AUC": ("auc", report.auc),
    }
    for name, (key, value) in figures.items():
        if value is None:
            continue
        drawn = report.intervals.interval(key)
        known = drawn or exact.get(key)
        ends = "" if known is None else f"{percent(known[0])} to {percent(known[1])}"
        yield name, percent(value), ends if drawn or not ends else f"{ends} (exact)"


def _oracle(report: LivenessReport) -> Iterator[Row]:
    oracle = report.oracle
    if oracle is None:
        return
    yield "EER", percent(oracle.eer), f"at {oracle.threshold:.6g}"
    if oracle.scan_eer is not None and oracle.scan_threshold is not None:
        yield "EER by FLIP's scan", percent(oracle.scan_eer), f"at {oracle.scan_threshold:.4f}"
    yield "TPR at FPR = 1 %", percent(oracle.tpr_at_fpr_1pct), ""
    for point, at in oracle.bpcer_at_apcer.items():
        yield f"BPCER{point}", percent(at.bpcer.value), f"max APCER {percent(at.apcer_max)}"


def _broken_down(part: Breakdown) -> Iterator[str]:
    rows = [
        (
            name,
            f"{iso.bpcer.n:,}",
            percent(iso.bpcer.value),
            f"<= {percent(iso.bpcer.upper)}" if iso.bpcer.n else "",
            f"{iso.apcer_pooled.n:,}",
            percent(iso.apcer_max),
            _worst(iso),
        )
        for name, iso in part.parts.items()
    ]
    yield from _table(
        (part.column, "bona fides", "BPCER", "95 % bound", "attacks", "max APCER", "worst"), rows
    )
    for finding in part.findings:
        yield from _wrapped(finding)


def _worst(iso: IsoReport) -> str:
    """Return the species behind a maximum with its counts: 1 of 1 is no 100 %."""
    name = iso.worst_species
    return "" if name is None else f"{name} {iso.apcer[name].errors:,}/{iso.apcer[name].n:,}"


def _table(header: Sequence[str], rows: Sequence[Row]) -> Iterator[str]:
    """Yield aligned lines; numbers to the right, the first column to the left."""
    table = [tuple(header), *rows]
    widths = [max(len(row[column]) for row in table) for column in range(len(header))]
    for row in table:
        cells = [
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield ("  " + "  ".join(cells)).rstrip()
