"""The curves of a training run: its evaluation rows as panels of lines."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Line = tuple[list[float], list[float]]


def run_curves(rows: list[dict[str, Any]]) -> dict[str, dict[str, Line]]:
    """Return {panel: {line: (steps, values)}}: scores by source and, once there is one, the loss."""

    def line(value: Callable[[dict[str, Any]], float | None]) -> Line:
        points = [(row["step"], value(row)) for row in rows if value(row) is not None]
        return [step for step, _ in points], [number for _, number in points if number is not None]

    panels: dict[str, dict[str, Line]] = {}
    first = rows[0]["sources"]
    for key, title in (("balanced_accuracy", "balanced accuracy"), ("score", "mean recall of retrieval")):
        lines = {
            name: line(lambda row, name=name, key=key: row["sources"][name][key])
            for name in first
            if key in first[name]
        }
        if lines and key == "score":
            lines["chance"] = line(lambda row, names=tuple(lines): _mean_chance(row, names))
        if lines:
            panels[f"{title}, validation"] = lines
    losses = {"training": "train_loss", "validation": "valid_loss"}
    if any(row["train_loss"] is not None for row in rows):
        panels["loss"] = {name: line(lambda row, key=key: row.get(key)) for name, key in losses.items()}
    return panels


def _mean_chance(row: dict[str, Any], names: tuple[str, ...]) -> float:
    """Return the mean chance of these sources; that of the row may count other measures too."""
    return sum(row["sources"][name]["chance"] for name in names) / len(names)
