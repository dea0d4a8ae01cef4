"""Same-style pairs of Alibaba.com (eSSPR): which of the other suppliers' products is the same?

A row is a product that was looked at (trigger), one that was found (recall), and a label. Every direction
compares one side of the trigger with one side of all recall products: i picture, t title, m both. A product
whose picture is gone stays in the directions of titles.

Reference: Chen et al. 2023, arXiv 2302.05093; benchen4395/esspr_alibaba.com.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from ....core.data.tables import json_rows
from ....core.errors import ConfigError, DataError, nearest
from ....core.files import read_json
from ....core.limits import DEFAULT, Limits
from ....core.metrics.bootstrap import Bootstrap
from ....core.metrics.ranking import Positives, positive_ranks
from ....core.metrics.retrieval import QueryMetrics
from ..encoders.fusing import Fusion, fuse_fields
from .documents import local_picture
from .published_results import results
from .results import ProtocolResult, TaskResult
from .vectors import EvaluationEncoder

COLUMNS = (
    "cate_lv1_name", "cate_name", "trigger_id", "tirgger_title", "recall_id", "recall_title", "trigger_img",
    "recall_img", "label",
)  # fmt: skip
"""Columns of the published file in their order; the fourth is spelt so there."""
DIRECTIONS = ("i-i", "i-t", "i-m", "t-i", "t-t", "t-m", "m-m")
DEPTHS = (1, 5, 10, 20)
_SHARES = Fusion().shares(1)[0]
_VIEWS = {"i": "image", "t": "text", "m": "product"}
_ALSO = {"trigger_title": "tirgger_title"}
_YES = {"1", "1.0", "true", "yes", "positive"}
Side = Literal["trigger", "recall"]


@dataclass(frozen=True)
class PairRow:
    """One labelled pair; ids and titles as in the file, pictures as links. ``same``: the label."""

    trigger: str
    trigger_title: str
    trigger_link: str
    recall: str
    recall_title: str
    recall_link: str
    same: bool


@dataclass(frozen=True)
class EssprData:
    """Labelled pairs and where their pictures are. ``name``: of the file."""

    name: str
    rows: tuple[PairRow, ...]
    images: Path


def read_esspr(path: str | Path, images: str | Path, *, limits: Limits = DEFAULT) -> EssprData:
    """Return labelled pairs.

    Args:
        path: JSON with a list of rows (objects, or lists in the order of :data:`COLUMNS`), with
            ``{"columns", "data"}``, or with one row per line.
        images: folder of the pictures, called as the last part of their link or as the product's id.

    Raises:
        DataError: another kind of file, a column that is missing, or no row.
    """
    path = Path(path)
    limits.check("file_bytes", path.stat().st_size if path.is_file() else 0, what=f"{path.name}: bytes")
    rows = [_pair(row, f"{path.name} row {number}") for number, row in enumerate(_raw(path, limits), start=1)]
    if not rows:
        raise DataError(f"{path.name}: no rows.")
    return EssprData(path.stem, tuple(rows), Path(images))


def _raw(path: Path, limits: Limits) -> list[Mapping[str, Any]]:
    if path.suffix.lower() == ".jsonl":
        return [row for _, row in json_rows(path, limits)]
    try:
        content = read_json(path, limits=limits)
    except ConfigError:
        # The Hub keeps tables as one JSON object per line, whatever they are called.
        return [row for _, row in json_rows(path, limits)]
    columns: Sequence[str] = COLUMNS
    if isinstance(content, dict) and "data" in content:
        columns, content = content.get("columns", COLUMNS), content["data"]
    elif isinstance(content, dict):
        lists = [value for value in content.values() if isinstance(value, list)]
        content = lists[0] if len(lists) == 1 else [content]
    if not isinstance(content, list):
        raise DataError(f"{path.name}: expected a list of rows, got {type(content).__name__}.")
    return [dict(zip(columns, row, strict=False)) if isinstance(row, list) else row for row in content]


def _pair(row: Mapping[str, Any], where: str) -> PairRow:
    if not isinstance(row, Mapping):
        raise DataError(f"{where}: expected an object, got {type(row).__name__}.")
    named = {_ALSO.get(name, name): value for name, value in row.items()}
    for column in COLUMNS[2:]:
        if column not in named:
            raise DataError(f"{where}: no column {column!r}.{nearest(column, named)}")

    def cell(column: str) -> str:
        return "" if named[column] is None else str(named[column]).strip()

    if not cell("trigger_id") or not cell("recall_id"):
        raise DataError(f"{where}: a pair needs trigger_id and recall_id.")
    return PairRow(
        cell("trigger_id"),
        cell("tirgger_title"),
        cell("trigger_img"),
        cell("recall_id"),
        cell("recall_title"),
        cell("recall_img"),
        cell("label").lower() in _YES,
    )


def evaluate_esspr(
    encoder: EvaluationEncoder, data: EssprData, *, directions: Sequence[str] = DIRECTIONS
) -> ProtocolResult:
    """Measure a model on labelled pairs, one row of the table per direction.

    The candidates of a query are all recall products with that side. Queries without a right answer among
    them are left out and counted.

    Raises:
        ConfigError: an unknown direction. DataError: no direction has a query.
    """
    for direction in directions:
        if direction not in DIRECTIONS:
            raise ConfigError(
                f"No direction {direction!r}; there are: {', '.join(DIRECTIONS)}."
                f"{nearest(direction, DIRECTIONS)}"
            )
    sides = {side: _products(data, side) for side in ("trigger", "recall")}
    found, missing, failures, images, cut = {}, [], [], 0, 0
    for side, products in sides.items():
        links = {name: local_picture(data.images, name, link) for name, (_, link) in products.items()}
        missing += [name for name, (_, link) in products.items() if link and links[name] is None]
        pictures = encoder.pictures([links[name] for name in products], list(products))
        said = torch.tensor([bool(title) for title, _ in products.values()], dtype=torch.bool)
        texts = torch.zeros_like(pictures.vectors)
        texts[said], more = encoder.texts([title for title, _ in products.values() if title])
        failures += pictures.failures
        images, cut = images + int(pictures.present.sum()), cut + more
        parts = {"image": (pictures.vectors, pictures.present), "text": (texts, said)}
        found[side] = {
            **parts,
            "product": (fuse_fields(list(parts.values()), _SHARES), pictures.present & said),
        }
    tasks, notes = [], []
    for direction in directions:
        task, lost = _direction(direction, data, sides, found)
        if task is not None:
            tasks.append(task)
        if lost:
            notes.append(f"{direction}: {lost} queries have no right answer with that side; left out.")
    if not tasks:
        raise DataError(
            f"{data.name}: no direction has a query with a right answer; check labels and pictures."
        )
    notes += [f"{cut} titles are longer than the model reads; only their beginning counts."] if cut else []
    notes += ["The published pool of candidates is not stated; here it is all recall products of the file."]
    return ProtocolResult(
        "esspr",
        data.name,
        tuple(tasks),
        images,
        sum(bool(title) for products in sides.values() for title, _ in products.values()),
        tuple(failures),
        tuple(missing),
        tuple(notes),
        {**encoder.origin, "pairs": str(len(data.rows))},
    )


def _products(data: EssprData, side: Side) -> dict[str, tuple[str, str]]:
    """Return {id: (title, link)} of one side, the first that is given of each."""
    found: dict[str, tuple[str, str]] = {}
    for row in data.rows:
        name, title, link = (
            (row.trigger, row.trigger_title, row.trigger_link)
            if side == "trigger"
            else (row.recall, row.recall_title, row.recall_link)
        )
        known = found.get(name, ("", ""))
        found[name] = (known[0] or title, known[1] or link)
    return found


def _direction(
    direction: str,
    data: EssprData,
    sides: Mapping[str, Mapping[str, tuple[str, str]]],
    found: Mapping[str, Mapping[str, tuple[Tensor, Tensor]]],
) -> tuple[TaskResult | None, int]:
    """Return (the measured direction, or None without queries; queries without a right answer)."""
    asked, given = (_VIEWS[letter] for letter in direction.split("-"))
    queries, has_query = found["trigger"][asked]
    gallery, has_document = found["recall"][given]
    # In the order of ids, which decides among equal scores.
    listed = sorted((name, row) for row, name in enumerate(sides["recall"]) if bool(has_document[row]))
    places = {name: place for place, (name, _) in enumerate(listed)}
    right: dict[str, set[int]] = {}
    for row in data.rows:
        if row.same and row.recall in places and row.recall != row.trigger:
            right.setdefault(row.trigger, set()).add(places[row.recall])
    usable = [(name, row) for row, name in enumerate(sides["trigger"]) if bool(has_query[row])]
    asking = [(name, row) for name, row in usable if name in right]
    if not asking:
        return None, len(usable)
    positives = Positives.from_lists([sorted(right[name]) for name, _ in asking])
    ranks = positive_ranks(
        queries[[row for _, row in asking]],
        gallery[[row for _, row in listed]],
        positives,
        # A listing is no answer to itself.
        exclude=torch.tensor([places.get(name, -1) for name, _ in asking]),
    )
    measured = QueryMetrics.from_ranks(ranks, positives)
    bootstrap = Bootstrap(len(asking))
    metrics = {"MRR": bootstrap.mean(measured.reciprocal_rank())}
    metrics |= {f"hit_recall@{k}": bootstrap.mean(measured.hit_recall_at(k)) for k in DEPTHS}
    said: dict[str, dict[str, float]] = {}
    for one in results("esspr", task=direction):
        said.setdefault(one.model, {})[one.metric] = one.value
    return TaskResult(direction, len(asking), len(listed), metrics, said), len(usable) - len(asking)
