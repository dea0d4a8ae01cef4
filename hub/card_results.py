"""What a card says of how good a model is: tables of what evaluation recorded."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any, TypeGuard

from ..core.recipe import Recipe
from ..core.task_data import ScoreWords
from .card_text import cell, inline, prose, table

Report = Mapping[str, Any]

_CLASSIFIED = (
    ("accuracy", "accuracy", "accuracy"),
    ("balanced_accuracy", "balanced_accuracy", "balanced accuracy"),
    ("macro_f1", "f1", "macro-F1"),
    ("auc", "roc_auc", "AUC"),
    ("calibration_error", "expected_calibration_error", "calibration error"),
)
"""(key of a report, its name on the Hub, its name in a card)."""


@dataclass(frozen=True)
class ScoreRow:
    """One figure of one source.

    Attributes:
        metric: as the Hub calls it. name: for people. count: of samples. interval: 95 %.
    """

    source: str
    origin: str
    metric: str
    name: str
    value: float
    interval: tuple[float, float] | None = None
    count: int | None = None


def kinds_of(metrics: Report, recipe: Recipe | None, *, has_head: bool) -> list[str]:
    """Return how the model was judged; what comes first says how it is used."""
    if recipe is not None and recipe.task is not None:
        return ["task"]
    if has_head:
        return ["classifier"]
    reports = metrics["validation"]["sources"].values()
    found = [
        kind
        for kind, key in (("zero_shot", "balanced_accuracy"), ("retrieval", "texts"))
        if any(key in report for report in reports)
    ]
    return found or ["zero_shot"]


def score_rows(metrics: Report, recipe: Recipe | None, words: Mapping[str, str]) -> list[ScoreRow]:
    """Return the figures of all sources, in the order of the recipe, for the metadata."""
    origins = {source.name: source.origin for source in recipe.data.sources} if recipe else {}
    rows: list[ScoreRow] = []
    for name, report in ordered(metrics.get("validation", {}).get("sources", {}), recipe):
        count = report.get(words["samples"])
        figures = [(*one, report[one[0]]) for one in _CLASSIFIED if one[0] in report]
        for way in ways(words):
            depths = sorted(_depths(report.get(way, {})))
            figures += [
                (
                    way,
                    f"recall_at_{depth}",
                    f"recall@{depth}, {way.replace('_', ' ')}",
                    report[way][f"recall@{depth}"],
                )
                for depth in depths
            ]
        if "score" in report and (not figures or metrics.get("score_name")):
            spoken = ScoreWords.of(metrics)
            shown = f"{spoken.name} ({spoken.unit})" if spoken.unit else spoken.name
            word = re.sub(r"[^a-z0-9]+", "_", spoken.name.lower()).strip("_") or "score"
            figures.insert(0, ("score", word, shown, _with_interval(report, metrics)))
        for _, metric, label, estimate in figures:
            value, interval = _numbers(estimate)
            if value is not None:
                rows.append(
                    ScoreRow(name, origins.get(name, ""), metric, label, value, interval, _whole(count))
                )
    return rows


def _whole(count: Any) -> int | None:
    return count if isinstance(count, int) else None


def _numbers(estimate: Any) -> tuple[float | None, tuple[float, float] | None]:
    """Return the value and the interval of a number or an estimate; what is not finite is left out."""
    if isinstance(estimate, Mapping):
        value, low, high = (estimate.get(key) for key in ("value", "low", "high"))
        interval = (float(low), float(high)) if _is_number(low) and _is_number(high) else None
        return (float(value) if _is_number(value) else None), interval
    return (float(estimate) if _is_number(estimate) else None), None


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and isfinite(value)


def ordered(sources: Mapping[str, Any], recipe: Recipe | None) -> list[tuple[str, Any]]:
    """Return the reports of sources in the order of the recipe, others after them."""
    names = [source.name for source in recipe.data.sources] if recipe else []
    first = [name for name in names if name in sources]
    return [(name, sources[name]) for name in [*first, *(n for n in sources if n not in first)]]


def results(kind: str, metrics: Report, recipe: Recipe | None, words: Mapping[str, str]) -> str:
    """Return what one kind of evaluation found."""
    if kind == "task":
        return _task(metrics, recipe)
    if kind == "retrieval":
        return _retrieval(metrics, recipe, words)
    return _classified(kind, metrics, recipe, words)


def _classified(kind: str, metrics: Report, recipe: Recipe | None, words: Mapping[str, str]) -> str:
    validation, before = metrics["validation"], metrics["baseline"]
    head = ["source", *(label for _, _, label in _CLASSIFIED), "chance", "before training", words["samples"]]
    rows = []
    for name, report in ordered(validation["sources"], recipe):
        if "accuracy" not in report:
            continue
        untrained = before.get("sources", {}).get(name, {}).get("balanced_accuracy")
        classes = len(report.get("class_names", ()))
        rows.append(
            [
                cell(name),
                *(interval(report.get(key)) for key, _, _ in _CLASSIFIED),
                f"{1 / classes:.3f}" if classes else "-",
                interval(untrained),
                f"{report.get(words['samples'], 0):,}",
            ]
        )
    said = {
        "zero_shot": "Text prompts alone, each source among its own classes.",
        "classifier": f"The trained classification head, among all {len(metrics['classes'])} classes.",
    }[kind]
    across = validation.get("across")
    among = (
        f"Among all {len(metrics['classes'])} classes of all sources at once: accuracy {across:.3f}. "
        if kind == "zero_shot" and across is not None
        else ""
    )
    return (
        f"{said} In brackets: 95 % bootstrap intervals. `chance` and `before training` (the same model with "
        f"random or starting weights) are balanced accuracies.\n\n{table(head, rows)}\n\n{among}Mean "
        f"balanced accuracy {validation['score']:.3f}; before training {before['score']:.3f}, chance "
        f"{validation['chance']:.3f}. Per-class figures and the confusion matrices are in `metrics.json`."
    )


def ways(words: Mapping[str, str]) -> tuple[str, str]:
    """Return the two directions of retrieval, as reports call them."""
    return f"{words['modality']}_to_text", f"text_to_{words['modality']}"


def _depths(report: Mapping[str, Any]) -> set[int]:
    return {int(key.partition("@")[2]) for key in report if key.startswith("recall@")}


def _retrieval(metrics: Report, recipe: Recipe | None, words: Mapping[str, str]) -> str:
    validation = metrics["validation"]
    sources = [(name, one) for name, one in ordered(validation["sources"], recipe) if "texts" in one]
    depths = sorted({depth for _, one in sources for way in ways(words) for depth in _depths(one[way])})
    head = ["source", "direction", *(f"recall@{depth}" for depth in depths), "median rank"]
    rows = []
    for name, report in sources:
        for way in ways(words):
            found = report[way]
            cells = [interval(found.get(f"recall@{depth}")) for depth in depths]
            counts = [f"{report[key]:,}" for key in (words["samples"], "texts")]
            rows.append(
                [cell(name), way.replace("_", " "), *cells, interval(found["median_rank"], "{:.1f}"), *counts]
            )
    merged = any(report.get("duplicates") == "merge" for _, report in sources)
    convention = (_MERGED if merged else _SEPARATE).format(**words)
    shown = table([*head, words["samples"], "texts"], rows)
    return (
        f"{words['Modality']}-text retrieval among the validation pairs of each source; {convention} In "
        f"brackets: 95 % bootstrap intervals; ranks count from 1.\n\n{shown}\n\n"
        f"Mean recall over both directions and all depths: {validation['score']:.3f}; before training "
        f"{metrics['baseline']['score']:.3f}, in a random order {validation['chance']:.3f}."
    )


_MERGED = "captions that read the same are one text, which is right for every {sample} that has it."
_SEPARATE = "only {a_sample}'s own captions count as right."


def _with_interval(report: Report, metrics: Report) -> Any:
    """Return the score of a source; a run's interval is that of its only source."""
    validation = metrics["validation"]
    if len(validation.get("sources", {})) == 1 and isinstance(validation.get("score_interval"), Mapping):
        return validation["score_interval"]
    return report["score"]


def _task(metrics: Report, recipe: Recipe | None) -> str:
    """Return a task's score by source, beside what it is compared with, and by class where it is recorded."""
    words, validation = ScoreWords.of(metrics), metrics["validation"]
    before = metrics["baseline"].get("sources", {})
    head = ["source", cell(words.name), cell(words.chance), "before training"]
    rows = [
        [
            cell(name),
            _plain(_with_interval(report, metrics), words),
            _plain(report.get("chance"), words),
            _plain(before.get(name, {}).get("score"), words),
        ]
        for name, report in ordered(validation.get("sources", {}), recipe)
        if "score" in report
    ]
    rows = rows or [
        [
            "all",
            *(
                _plain(one, words)
                for one in (validation["score"], validation["chance"], metrics["baseline"]["score"])
            ),
        ]
    ]
    means = [
        _plain(one, words)
        for one in (validation["score"], metrics["baseline"]["score"], validation["chance"])
    ]
    parts = [
        "On the validation part of each source; in brackets, where they were recorded, 95 % intervals.",
        table(head, rows),
        f"Mean: {means[0]}; before training {means[1]}; {inline(words.chance)} {means[2]}. All figures are "
        "in `metrics.json`.",
    ]
    for name, report in [*ordered(validation.get("sources", {}), recipe), ("", validation)]:
        by_class = {key: value for key, value in _mapping(report.get("classes")).items() if _is_number(value)}
        if by_class:
            title = f"class of {name}" if name else "class"
            parts.append(table([cell(title), cell(words.name)], _plain_rows(by_class, words)))
            break
    conditions = {
        key: value for key, value in _mapping(validation.get("conditions")).items() if _is_number(value)
    }
    if conditions:
        parts.append(table(["condition", cell(words.name)], _plain_rows(conditions, words)))
    return "\n\n".join(parts)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _plain_rows(figures: Mapping[str, Any], words: ScoreWords) -> Iterable[Sequence[str]]:
    return [[cell(name), _plain(value, words)] for name, value in figures.items()]


def _plain(value: Any, words: ScoreWords) -> str:
    """Return a number with its unit, or an estimate with its interval and the unit."""
    if value is None:
        return "-"
    return f"{interval(value)} {inline(words.unit)}".rstrip()


def interval(estimate: Any, form: str = "{:.3f}") -> str:
    """Return a value with its interval; a bound that is not defined is left out."""
    value, bounds = _numbers(estimate)
    if value is None:
        return "-"
    if bounds is None:
        return form.format(value)
    return f"{form.format(value)} ({form.format(bounds[0])} to {form.format(bounds[1])})"


def further(metrics: Report, words: Mapping[str, str]) -> str:
    """Return what was measured after training, in the order it was measured in, or nothing."""
    found = metrics.get("further", {})
    summary = found.get("summary", {})
    if not summary:
        return ""
    known = [name for name in found.get("order", ()) if name in summary]
    names = [*known, *(name for name in summary if name not in known)]
    rows = [[cell(name), interval(summary[name])] for name in names]
    said = (
        f"Further figures on the validation {words['samples']}, in full in `metrics.json` under `further`; "
        "in brackets, where they were recorded, 95 % intervals."
    )
    parts = [said, table(["what", "value"], rows)]
    if found.get("notes"):
        parts.append(prose(str(found["notes"])))
    return "\n\n".join(parts)
