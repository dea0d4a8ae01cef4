"""The model card: written from what training recorded, never by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..core.config import ModelConfig, ProcessorConfig, parse_config, read_config, read_yaml
from ..core.errors import ConfigError
from ..core.files import CONFIG_FILE, PROCESSOR_FILE, read_json, write_text_atomic
from ..core.recipe import Recipe

TEMPLATES = Path(__file__).parent / "templates"
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
    run = metrics["run"]
    shown = {
        "load_as": config.name,
        "size": processor.image.size if processor.image else "-",
        "context": processor.text.context_length if processor.text else "-",
        "classes": len(metrics["classes"]),
    }
    kinds = _kinds(folder, metrics)
    return _fill(
        "card",
        licence=config.licence.lower(),
        tags=f", {config.domain}" if config.domain else "",
        name=config.name,
        summary=_sentence(recipe.summary or config.name),
        description=config.description,
        use=_fill(_USE[kinds[0]], **shown),
        data=_data_rows(recipe, metrics),
        results="\n".join(_results(kind, metrics) for kind in kinds),
        recipe=recipe.name,
        digest=metrics["recipe"],
        steps=f"{metrics['steps']:,}",
        device=run["device"],
        minutes=round(run["seconds"] / 60),
        parameters=f"{run['parameters']:,}",
        stored=recipe.save_dtype,
        beginning=_beginning(metrics),
    )


_USE = {"zero_shot": "use_prompts", "retrieval": "use_pairs", "classifier": "use_head"}


def _fill(template: str, **values: Any) -> str:
    return (TEMPLATES / f"{template}.md").read_text(encoding="utf-8").format(**values)


def _kinds(folder: Path, metrics: dict[str, Any]) -> list[str]:
    """Return how the model was judged; what comes first says how it is used."""
    if (folder / "head").is_dir():
        return ["classifier"]
    reports = metrics["validation"]["sources"].values()
    found = [
        kind
        for kind, key in (("zero_shot", "balanced_accuracy"), ("retrieval", "image_to_text"))
        if any(key in report for report in reports)
    ]
    return found or ["zero_shot"]


def _results(kind: str, metrics: dict[str, Any]) -> str:
    """Return the results section of one kind of evaluation."""
    validation, classes = metrics["validation"], len(metrics["classes"])
    values = {
        "classes": classes,
        "baseline": f"{metrics['baseline']['score']:.3f}",
        "chance": f"{validation['chance']:.3f}",
    }
    sources = validation["sources"]
    if kind == "retrieval":
        sources = {name: report for name, report in sources.items() if "image_to_text" in report}
        ways = [report[way] for report in sources.values() for way in ("image_to_text", "text_to_image")]
        found = {key for way in ways for key in way if key.startswith("recall@")}
        depths = sorted(found, key=lambda key: int(key.partition("@")[2]))
        rows = [row for name, report in sources.items() for row in _retrieval_rows(name, report, depths)]
        merged = any(report.get("duplicates") == "merge" for report in sources.values())
        named = {"depths": " | ".join(depths), "rule": " | ".join("---" for _ in depths)}
        named["convention"] = _MERGED if merged else _SEPARATE
        return _fill(
            "results_retrieval", rows="\n".join(rows), score=f"{validation['score']:.3f}", **named, **values
        )
    rows = [_result_row(name, report) for name, report in sources.items() if "accuracy" in report]
    return _fill(f"results_{kind}", rows="\n".join(rows), across=f"{validation['across'] or 0:.3f}", **values)


_MERGED = "captions that read the same are one text, which is right for every image that has it."
_SEPARATE = "only an image's own captions count as right."


def _retrieval_rows(name: str, report: dict[str, Any], depths: list[str]) -> list[str]:
    rows = []
    for way in ("image_to_text", "text_to_image"):
        found = report[way]
        cells = [_interval(found.get(depth)) for depth in depths]
        cells += [_interval(found["median_rank"], "{:.1f}"), f"{report['images']:,}", f"{report['texts']:,}"]
        rows.append(f"| {name} | {way.replace('_', ' ')} | {' | '.join(cells)} |")
    return rows


def _beginning(metrics: dict[str, Any]) -> str:
    """Return a sentence on the weights that training began with, or nothing."""
    start = metrics.get("start")
    if start is None:
        return ""
    adapted = metrics.get("adapted")
    low_rank = f" Low-rank changes of {len(adapted)} weights were trained and added." if adapted else ""
    return f" Training began with `{start['id']}` ({start['revision']}).{low_rank}"


def render_probe_card(folder: str | Path) -> str:
    """Return the card of the run folder of a probe: metrics.json and recipe.yaml are read."""
    folder = Path(folder)
    metrics = read_json(folder / "metrics.json")
    recipe = parse_config(Recipe, read_yaml(folder / "recipe.yaml"), source="recipe.yaml")
    rows = []
    for probe in metrics["probes"]:
        report = probe["report"]
        cells = (
            f"{100 * probe['fraction']:g} %",
            f"{probe['training_images']:,}",
            f"{probe['mean']['balanced_accuracy']:.3f}",
            _interval(report["balanced_accuracy"]),
            _interval(report["auc"]),
            ", ".join(f"{c:g}" for c in probe["c"]),
        )
        rows.append(f"| {' | '.join(cells)} |")
    return _fill(
        "probe",
        name=recipe.name,
        summary=_sentence(recipe.summary or recipe.name),
        model=metrics["start"]["id"],
        revision=metrics["start"]["revision"],
        classes=", ".join(metrics["classes"]),
        data=_data_rows(recipe, metrics),
        chance=f"{metrics['chance']:.3f}",
        rows="\n".join(rows),
        recipe=recipe.name,
        digest=metrics["recipe"],
    )


def write_card(folder: str | Path) -> Path:
    """Write the card of a model folder as ``README.md`` and return its path."""
    path = Path(folder) / CARD
    write_text_atomic(path, render_card(folder))
    return path


def write_probe_card(folder: str | Path) -> Path:
    """Write the card of a probe beside its head, in the ``head`` folder of a run, and return its path."""
    path = Path(folder) / "head" / CARD
    write_text_atomic(path, render_probe_card(folder))
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


def _interval(estimate: dict[str, float | None] | None, form: str = "{:.3f}") -> str:
    """Return a value with its interval; a bound that is not defined is left out."""
    if estimate is None or estimate["value"] is None:
        return "-"
    value = form.format(estimate["value"])
    if estimate["low"] is None or estimate["high"] is None:
        return value
    return f"{value} ({form.format(estimate['low'])} to {form.format(estimate['high'])})"
