"""What a retrieval protocol measured: one row per task or direction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ....core.answers import Failure
from ....core.files import write_json_atomic
from ....core.metrics.bootstrap import Estimate


@dataclass(frozen=True)
class TaskResult:
    """One task or direction.

    Attributes:
        name: of the task: ``text-to-image``, ``i-m``, ``dress``.
        queries, documents: how many were ranked.
        metrics: {name as in the published tables: value with its 95 % interval over queries}.
        published: {model: {metric: value}} that authors report of the same task.
    """

    name: str
    queries: int
    documents: int
    metrics: Mapping[str, Estimate]
    published: Mapping[str, Mapping[str, float]]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "task": self.name,
            "queries": self.queries,
            "documents": self.documents,
            "metrics": {name: value.to_dict() for name, value in self.metrics.items()},
            "published": {model: dict(values) for model, values in self.published.items()},
        }


@dataclass(frozen=True)
class ProtocolResult:
    """A model by one protocol on one data set.

    Attributes:
        protocol: name. data: of the data set.
        tasks: in the order of the published tables; an average of tasks has no interval.
        images, texts: how many different ones were encoded.
        failures: pictures that cannot be used. missing: those that are not there.
        notes: what to know before comparing the numbers.
        origin: model, revision and processor, and what else the numbers depend on.
    """

    protocol: str
    data: str
    tasks: tuple[TaskResult, ...]
    images: int
    texts: int
    failures: tuple[Failure, ...]
    missing: tuple[str, ...]
    notes: tuple[str, ...]
    origin: Mapping[str, str]

    def table(self) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
        """Return (header, rows) for people: a line for each task and metric, published ones beside it."""
        own = self.origin.get("model", "")
        rows = []
        for task in self.tasks:
            for metric, value in task.metrics.items():
                said = task.published.get(own, {}).get(metric)
                shown = f"{value.value:.4f}" if value.low != value.low else str(value)
                rows.append(
                    (task.name, metric, shown, f"{task.queries:,}", "" if said is None else f"{said:g}")
                )
        if any(row[-1] for row in rows):
            return ("task", "metric", "value", "queries", "published"), rows
        return ("task", "metric", "value", "queries"), [row[:-1] for row in rows]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            **self.origin,
            "task": "retrieval",
            "protocol": self.protocol,
            "data": self.data,
            "images": self.images,
            "texts": self.texts,
            "tasks": [task.to_dict() for task in self.tasks],
            "notes": list(self.notes),
            "missing": list(self.missing),
            "failed": [failure.to_dict() for failure in self.failures],
        }


def write_result(result: ProtocolResult, out: str | Path) -> Path:
    """Write ``retrieval.json`` into a folder and return its path."""
    path = Path(out) / "retrieval.json"
    write_json_atomic(path, result.to_dict())
    return path
