"""A model folder as training leaves it, without training: made-up figures, a header instead of weights."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import yaml
from verticlip.core.files import read_json, write_json_atomic, write_text_atomic
from verticlip.core.recipe import Recipe


def estimate(value: float) -> dict[str, float]:
    """Return a figure with an interval."""
    return {"value": value, "low": value - 0.1, "high": value + 0.1, "n": 40}


def classified(value: float) -> dict[str, Any]:
    """Return the report of one source."""
    keys = ("accuracy", "balanced_accuracy", "macro_f1", "auc", "calibration_error")
    return {**{key: estimate(value) for key in keys}, "images": 40, "class_names": ["red", "blue"]}


def recipe_of(config: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """Return a recipe of one source for a model config."""
    source = {"name": "shapes", "path": "photos", "licence": "CC-BY-4.0", "origin": "Drawn shapes"}
    return {
        "name": "test/shapes",
        "summary": "tells shapes apart",
        "model": config,
        "image": {"size": 16},
        "text": {"context_length": 16},
        "prompts": "random",
        "data": {"sources": [source]},
        "optim": {"lr": 0.001},
        "batch_size": 8,
        "epochs": 2,
        **changes,
    }


def metrics_of(recipe: Recipe, **changes: Any) -> dict[str, Any]:
    """Return metrics as training records them, for every source of the recipe."""
    names = [source.name for source in recipe.data.sources]
    return {
        "recipe": recipe.digest,
        "data": "0123456789abcdef",
        "steps": 1200,
        "run": {
            "device": "2 CPU threads",
            "seconds": 3600.0,
            "parameters": 12345,
            "torch": "2.14.1",
            "date": "2026-01-02T03:04:05+00:00",
            "versions": {"python": "3.11.7", "system": "Linux x86_64", "verticlip": "0.1.0"},
        },
        "classes": ["red", "blue"],
        "source_splits": {name: {"train": 90, "val": 40} for name in names},
        "source_files": {name: {"files": 130, "bytes": 5, "sha256": "ab" * 32, "by": "content"} for name in names},
        "validation": {
            "score": 0.8, "chance": 0.5, "across": 0.7, "sources": {name: classified(0.8) for name in names},
        },
        "baseline": {
            "score": 0.5, "chance": 0.5, "sources": {name: {"balanced_accuracy": 0.5} for name in names},
        },
        **changes,
    }  # fmt: skip


def make_card_folder(
    source: Path,
    folder: Path,
    *,
    config: dict[str, Any] | None = None,
    recipe: dict[str, Any] | None = None,
    metrics: dict[str, Any] | None = None,
) -> Path:
    """Copy a model folder and add the records of a run; each argument changes one record."""
    if not folder.exists():
        shutil.copytree(source, folder)
    stated = {**read_json(source / "config.json"), "description": "Random weights.", **(config or {})}
    write_json_atomic(folder / "config.json", stated)
    raw = recipe_of(stated, **(recipe or {}))
    write_text_atomic(folder / "recipe.yaml", yaml.safe_dump(raw, sort_keys=False, allow_unicode=True))
    write_json_atomic(folder / "metrics.json", metrics_of(Recipe.model_validate(raw), **(metrics or {})))
    return folder
