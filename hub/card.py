"""The model card: written from what training recorded, never by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..core.config import ModelConfig, ProcessorConfig, parse_config, read_config, read_yaml
from ..core.errors import ConfigError
from ..core.files import CONFIG_FILE, PROCESSOR_FILE, read_json, write_text_atomic
from ..core.recipe import Recipe

TEMPLATE = Path(__file__).parent / "templates" / "card.md"
CARD = "README.md"


def render_card(folder: str | Path) -> str:
    """Return the card of a model folder that training wrote.

    Args:
        folder: has config.json, processor.json, recipe.yaml, metrics.json and model.safetensors.

    Raises:
        ConfigError: a file is missing, or the licence or description is: a card without them is refused.
    """
    folder = Path(folder)
    config = read_config(ModelConfig, folder / CONFIG_FILE)
    processor = read_config(ProcessorConfig, folder / PROCESSOR_FILE)
    metrics = read_json(folder / "metrics.json")
    recipe = parse_config(Recipe, read_yaml(folder / "recipe.yaml"), source="recipe.yaml")
    for word in ("licence", "description"):
        if not getattr(config, word):
            raise ConfigError(
                f"{folder}: config.json has no {word}; a card needs one. Set model.{word} in the recipe."
            )
    validation, run = metrics["validation"], metrics["run"]
    return TEMPLATE.read_text(encoding="utf-8").format(
        licence=config.licence.lower(),
        tags=f", {config.domain}" if config.domain else "",
        name=config.name,
        summary=_sentence(recipe.summary or config.name),
        description=config.description,
        load_as=config.name,
        size=processor.image.size if processor.image else "-",
        context=processor.text.context_length if processor.text else "-",
        data=_data_rows(recipe, metrics),
        results="\n".join(_result_row(name, report) for name, report in validation["sources"].items()),
        classes=len(metrics["classes"]),
        across=f"{validation['across']:.3f}",
        baseline=f"{metrics['baseline']['score']:.3f}",
        chance=f"{validation['chance']:.3f}",
        recipe=recipe.name,
        digest=metrics["recipe"],
        steps=f"{metrics['steps']:,}",
        device=run["device"],
        minutes=round(run["seconds"] / 60),
        parameters=f"{run['parameters']:,}",
        stored=recipe.save_dtype,
    )


def write_card(folder: str | Path) -> Path:
    """Write the card of a model folder as ``README.md`` and return its path."""
    path = Path(folder) / CARD
    write_text_atomic(path, render_card(folder))
    return path


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:].rstrip(".") + "."


def _data_rows(recipe: Recipe, metrics: dict[str, Any]) -> str:
    counts = metrics["source_splits"]
    return "\n".join(
        f"| {source.name} | {source.origin or '-'} | {source.licence or '-'} "
        f"| {counts[source.name].get('train', 0):,} | {counts[source.name].get('val', 0):,} |"
        for source in recipe.data.sources
    )


def _result_row(name: str, report: dict[str, Any]) -> str:
    cells = [
        _interval(report[key])
        for key in ("accuracy", "balanced_accuracy", "macro_f1", "auc", "calibration_error")
    ]
    return f"| {name} | {' | '.join(cells)} | {report['images']:,} |"


def _interval(estimate: dict[str, float] | None) -> str:
    if estimate is None:
        return "-"
    return f"{estimate['value']:.3f} ({estimate['low']:.3f} to {estimate['high']:.3f})"
