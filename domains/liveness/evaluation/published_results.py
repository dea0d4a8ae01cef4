"""What papers report, to lay one's own run beside. Plain data.

Every value is its source's own, in percent as printed; none was measured with this package. All of FLIP's
figures were taken at the equal-error threshold of the target test set, from the checkpoint with the lowest
error on that same set, averaged over five seeds: they are oracle figures (optimistic bounds) and belong
beside one's own oracle figures, never beside an error rate at a threshold from a development set.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ....core.errors import ConfigError, nearest
from ..protocols.aliases import canonical_dataset
from ..protocols.flip import LETTERS

if TYPE_CHECKING:
    from .report import LivenessReport

Metric = Literal["hter", "auc", "tpr_at_fpr_1pct"]

SOURCE = "FLIP, arXiv 2309.16649 (ICCV 2023), tables of the paper"
"""Of every row; CLIPC8 (arXiv 2311.17583) has no figure here, because its tables could not be read."""


@dataclass(frozen=True)
class PublishedResult:
    """One reported number.

    Attributes:
        method: the paper's name, with ``5-shot`` where five target samples per class were trained on.
        protocol: ``flip-1`` (leave one of MCIO out), ``flip-2`` (of WCS), ``flip-3`` (single source).
        direction: sources, an arrow, target, as in ``OCI->M``; ``average`` over the protocol.
        metric: ``hter``, ``auc`` or ``tpr_at_fpr_1pct``. value: percent.
        oracle_threshold: always true here, see the module.
        note: what to know about the number.
    """

    method: str
    protocol: str
    direction: str
    metric: Metric
    value: float
    oracle_threshold: bool = True
    note: str = ""

    def to_dict(self) -> dict[str, str | float | bool]:
        """Return plain values for JSON."""
        return {**vars(self), "source": SOURCE}


_METRICS: tuple[Metric, ...] = ("hter", "auc", "tpr_at_fpr_1pct")
_MCIO = ("OCI->M", "OMI->C", "OCM->I", "ICM->O")
_WCS = ("CS->W", "SW->C", "CW->S")
_SINGLE = (
    "C->I", "C->M", "C->O", "I->C", "I->M", "I->O", "M->C", "M->I", "M->O", "O->C", "O->I", "O->M", "average",
)  # fmt: skip

_PROTOCOL_1 = {
    "ViT (ECCV 22)": "1.58 99.68 96.67 5.70 98.91 88.57 9.25 97.15 51.54 7.47 98.42 69.30 6.00",
    "DiVT-M": "2.86 99.14 - 8.67 96.62 - 3.71 99.29 - 13.06 94.04 - 7.07",
    "SSDG-R": "7.38 97.17 - 10.44 95.94 - 11.71 96.59 - 15.61 91.54 - 11.28",
    "SSAN-R": "6.67 98.75 - 10.00 96.67 - 8.88 96.79 - 13.72 93.63 - 9.80",
    "FLIP-V": "3.79 99.31 87.99 1.27 99.75 95.85 4.71 98.80 75.84 4.15 98.76 66.47 3.48",
    "FLIP-IT": "5.27 98.41 79.33 0.44 99.98 99.86 2.94 99.42 84.62 3.61 99.15 84.76 3.06",
    "FLIP-MCL": "4.95 98.11 74.67 0.54 99.98 100.00 4.25 99.07 84.62 2.31 99.63 92.28 3.01",
    "5-shot ViT": "3.42 98.60 95.00 1.98 99.75 94.00 2.31 99.75 87.69 7.34 97.77 66.90 3.76",
    "5-shot ViTAF*": "2.92 99.62 91.66 1.40 99.92 98.57 1.64 99.64 91.53 5.39 98.67 76.05 3.31",
}
_PROTOCOL_2 = {
    "ViT 0-shot": "7.98 97.97 73.61 11.13 95.46 47.59 13.35 94.13 49.97 10.82",
    "FLIP-V": "6.13 97.84 50.26 10.89 95.82 53.93 12.48 94.43 53.00 9.83",
    "FLIP-IT": "4.89 98.65 59.14 10.04 96.48 59.4 15.68 91.83 43.27 10.2",
    "FLIP-MCL": "4.46 99.16 83.86 9.66 96.69 59.00 11.71 95.21 57.98 8.61",
    "5-shot ViT": "4.30 99.16 83.55 7.69 97.66 68.33 12.26 94.40 42.59 6.06",
    "5-shot ViTAF*": "2.91 99.71 92.65 6.00 98.55 78.56 11.60 95.03 60.12 5.12",
}
_PROTOCOL_3 = {
    "FLIP-V": "15.08 13.73 12.34 4.30 9.68 7.87 0.56 3.96 4.79 2.09 5.01 6.00 7.12",
    "FLIP-IT": "12.33 15.18 7.98 1.12 8.37 6.98 0.19 5.21 4.96 0.16 4.27 5.63 6.03",
    "FLIP-MCL": "10.57 7.15 3.91 0.68 7.22 4.22 0.19 5.88 3.95 0.19 5.69 8.40 4.84",
    "CDFTN-L": "1.7 8.1 29.9 11.9 9.6 29.9 8.8 1.3 25.6 19.1 5.8 6.3 13.2",
}
_NOTES = {
    ("flip-1", "5-shot ViTAF*", "average"): "printed; the mean of the row is 2.84",
    ("flip-2", "5-shot ViT", "average"): "printed; the mean of the row is 8.08",
    ("flip-2", "5-shot ViTAF*", "average"): "printed; the mean of the row is 6.84",
}


def _triples(protocol: str, table: dict[str, str], directions: Sequence[str]) -> list[PublishedResult]:
    """Return the results of rows of (HTER, AUC, TPR) per direction and an average HTER; "-" = not printed."""
    cells: list[tuple[str, Metric]] = [(direction, one) for direction in directions for one in _METRICS]
    cells.append(("average", "hter"))
    return _rows(protocol, table, cells)


def _rows(protocol: str, table: dict[str, str], cells: Sequence[tuple[str, Metric]]) -> list[PublishedResult]:
    return [
        PublishedResult(
            method,
            protocol,
            direction,
            metric,
            float(word),
            note=_NOTES.get((protocol, method, direction), ""),
        )
        for method, words in table.items()
        for (direction, metric), word in zip(cells, words.split(), strict=True)
        if word != "-"
    ]


PUBLISHED_RESULTS: tuple[PublishedResult, ...] = (
    *_triples("flip-1", _PROTOCOL_1, _MCIO),
    *_triples("flip-2", _PROTOCOL_2, _WCS),
    *_rows("flip-3", _PROTOCOL_3, [(direction, "hter") for direction in _SINGLE]),
)
"""Every reported number."""

DIRECTIONS: tuple[str, ...] = tuple(dict.fromkeys(one.direction for one in PUBLISHED_RESULTS))
"""What :func:`beside` can be asked for."""


@dataclass(frozen=True)
class Comparison:
    """A line of a comparison, in percent; None where a number is not known.

    Attributes:
        method: of the paper, or the report's system.
        hter_oracle, tpr_at_fpr_1pct: at thresholds of the test set itself.
        auc: of all thresholds.
        hter_dev: at a threshold of a development set, or given; papers here have none.
        note: why the line may not be compared with the others; empty where nothing speaks against it.
    """

    method: str
    hter_oracle: float | None = None
    auc: float | None = None
    tpr_at_fpr_1pct: float | None = None
    hter_dev: float | None = None
    note: str = ""

    def to_dict(self) -> dict[str, str | float | None]:
        """Return plain values for JSON."""
        return dict(vars(self))


def beside(report: LivenessReport, direction: str) -> list[Comparison]:
    """Return the published results of a direction such as ``OCI->M`` or ``OCI-M``, the report as last line.

    The two ways of thresholding have columns of their own. The report's oracle HTER is by the papers' scan of
    probabilities; its line says so where it was judged on another data set than the direction's target.

    Raises:
        ConfigError: no result has this direction.
    """
    # A shell takes ">" for itself.
    direction = next((one for one in DIRECTIONS if one.replace(">", "") == direction), direction)
    if direction not in DIRECTIONS:
        raise ConfigError(
            f"No published result for {direction!r}.{nearest(direction, DIRECTIONS)} There are: "
            f"{', '.join(DIRECTIONS)}."
        )
    found: dict[str, dict[str, float]] = {}
    for one in PUBLISHED_RESULTS:
        if one.direction == direction:
            name = "hter_oracle" if one.metric == "hter" else one.metric
            method = f"{one.method} ({one.protocol})" if direction == "average" else one.method
            found.setdefault(method, {})[name] = one.value
    oracle, pooled = report.oracle, report.pooled
    scanned = None if oracle is None else oracle.scan_eer if oracle.scan_eer is not None else oracle.eer
    own = Comparison(
        method=report.system or "this report",
        hter_oracle=_percent(scanned),
        auc=_percent(report.auc),
        tpr_at_fpr_1pct=_percent(None if oracle is None else oracle.tpr_at_fpr_1pct),
        hter_dev=None if report.threshold.oracle_threshold or pooled is None else _percent(pooled.hter),
        note=_other_target(report, direction),
    )
    theirs = [
        Comparison(method, values.get("hter_oracle"), values.get("auc"), values.get("tpr_at_fpr_1pct"))
        for method, values in found.items()
    ]
    return [*theirs, own]


def _other_target(report: LivenessReport, direction: str) -> str:
    """Return what to know where a report was not judged on the target of a direction, by canonical names."""
    if direction == "average":
        return "the average is over several targets; a report is of one set of presentations"
    # C and S of the WCS benchmark are other sets than the C of MCIO.
    benchmark = "WCS" if direction in _WCS else "MCIO"
    target = canonical_dataset(LETTERS[benchmark][direction[-1]])
    judged = {row.dataset for row in report.rows}
    if {canonical_dataset(name) for name in judged} == {target}:
        return ""
    named = ", ".join(sorted(name for name in judged if name)) or "a set without a name"
    return f"judged on {named}; the target of {direction} is {target}, so the figures are of different data"


def _percent(value: float | None) -> float | None:
    return None if value is None else 100 * value
