"""The curves of a training run: its evaluation rows as panels of lines."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .task_data import ScoreWords

Line = tuple[list[float], list[float]]


def run_curves(rows: list[dict[str, Any]], words: ScoreWords | None = None) -> dict[str, dict[str, Line]]:
    """Return {panel: {line: (steps, values)}}: scores by source and, once there is one, the loss.

    Args:
        rows: evaluations, step 0 first.
        words: how a task speaks of its score; None for the scores of retrieval.
    """
    words = words or ScoreWords()
    score = "mean recall of retrieval" if words.name == "score" else words.name
    score = f"{score} ({words.unit})" if words.unit else score

    def line(value: Callable[[dict[str, Any]], float | None]) -> Line:
        points = [(row["step"], value(row)) for row in rows if value(row) is not None]
        return [step for step, _ in points], [number for _, number in points if number is not None]

    panels: dict[str, dict[str, Line]] = {}
    first = rows[0]["sources"]
    for key, title in (("balanced_accuracy", "balanced accuracy"), ("score", score)):
        lines = {
            name: line(lambda row, name=name, key=key: row["sources"][name][key])
            for name in first
            if key in first[name]
        }
        if lines and key == "score":
            lines[words.chance] = line(lambda row, names=tuple(lines): _mean_chance(row, names))
        if lines:
            panels[f"{title}, validation"] = lines
    if not panels:
        panels[f"{score}, validation"] = {
            "all": line(lambda row: row["score"]),
            words.chance: line(lambda row: row["chance"]),
        }
    losses = {"training": "train_loss", "validation": "valid_loss"}
    if any(row["train_loss"] is not None for row in rows):
        curves = {name: line(lambda row, key=key: row.get(key)) for name, key in losses.items()}
        # A validation part that is too small for a batch has no loss at all.
        panels["loss"] = {name: curve for name, curve in curves.items() if curve[0]}
    return panels


def _mean_chance(row: dict[str, Any], names: tuple[str, ...]) -> float:
    """Return the mean chance of these sources; that of the row may count other measures too."""
    chances = [row["sources"][name].get("chance", row["chance"]) for name in names]
    return sum(chances) / len(chances)
