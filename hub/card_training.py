"""How a model was trained, on what machine, and what that took."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..core.energy import estimate_energy
from ..core.recipe import Recipe
from .card_facts import CardFacts
from .card_text import bounds, cell, code, fenced, inline, one_line, table


def training(facts: CardFacts) -> str:
    """Return the run as a table, and the command that repeats it."""
    recipe, metrics = facts.recipe, facts.metrics
    if recipe is None or metrics is None:
        return ""
    run = metrics["run"]
    rows = [
        ["recipe", f"{code(recipe.name)}, digest {code(metrics['recipe'])}, stored here as `recipe.yaml`"],
        ["objective", code(recipe.objective.name)],
        [
            "optimizer",
            f"{code(recipe.optim.name)}, learning rate {recipe.optim.lr:g}, {code(recipe.optim.schedule)} "
            "schedule",
        ],
        ["batch", f"{recipe.batch_size:,}, precision {code(recipe.precision)}, seed {recipe.seed}"],
        [
            "steps",
            f"{metrics['steps']:,}, at most {recipe.epochs:,} epochs; the {_selected(recipe)} model was kept",
        ],
        ["parameters", _parameters(run)],
        ["stored as", stored_as(facts)],
        *resources(run),
    ]
    again = f"verticlip train run {recipe.name} --data DATA --out runs/again"
    return (
        f"{table(['what', 'value'], rows)}{_beginning(metrics)}\n\nTo train it again, with the sources below "
        "`DATA` at the paths that the recipe names:\n\n"
        f"{fenced('bash', [again])}"
    )


def resources(run: Mapping[str, Any], seconds: float | None = None) -> list[list[str]]:
    """Return rows of hardware, time, software, energy and emissions; what is not recorded says so."""
    took = float(run.get("seconds", -1.0 if seconds is None else seconds))
    device = one_line(run.get("device", ""))
    versions = {key: value for key, value in run.get("versions", {}).items() if key != "system"}
    versions = versions or ({"torch": run["torch"]} if run.get("torch") else {})
    rows = [
        [
            "hardware",
            cell(", ".join(filter(None, (device, one_line(run.get("versions", {}).get("system", "")))))),
        ],
        ["time", f"{_minutes(took)}, evaluations included" if took >= 0 else "not recorded"],
        ["date", cell(run.get("date") or "not recorded")],
        ["software", cell(", ".join(f"{key} {value}" for key, value in versions.items()) or "not recorded")],
    ]
    estimate = estimate_energy(device, took)
    if estimate is None:
        return [*rows, ["energy and CO2", "no estimate: device or time is not known"]]
    low, high = bounds(*(1000 * kwh for kwh in estimate.kwh))
    dirt = bounds(*estimate.grams)
    return [
        *rows,
        [
            "energy",
            f"{low} to {high} Wh, estimated, not metered: this run alone, not those that chose its settings",
        ],
        ["CO2 equivalent", f"{dirt[0]} to {dirt[1]} g, estimated"],
        ["assumed for both", cell(estimate.assumption)],
    ]


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.0f} minutes" if seconds >= 90 else f"{seconds:.0f} seconds"


def _selected(recipe: Recipe) -> str:
    return {"best": "best", "last": "last"}.get(recipe.evaluation.select, "lowest-loss")


def _parameters(run: Mapping[str, Any]) -> str:
    trained = run.get("trainable")
    return f"{run['parameters']:,}" + (f", of which {trained:,} were trained" if trained else "")


def _beginning(metrics: Mapping[str, Any]) -> str:
    """Return a sentence on the weights that training began with, or nothing."""
    start = metrics.get("start")
    if start is None:
        return ""
    adapted = metrics.get("adapted")
    low_rank = f" Low-rank changes of {len(adapted)} weights were trained and added." if adapted else ""
    return f"\n\nTraining began with {code(start['id'])} ({inline(start['revision'])}).{low_rank}"


def stored_as(facts: CardFacts) -> str:
    """Return the format of the weights file and what its tensors hold."""
    held = ", ".join(f"{count:,} {kind}" for kind, count in facts.weights.numbers.items())
    return f"safetensors, {facts.weights.tensors:,} tensors: {held} numbers (statistics of layers included)"
