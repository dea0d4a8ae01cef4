"""The model card: written from what training recorded, never by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..core.config import ModelConfig, ProcessorConfig, parse_config, read_config, read_yaml
from ..core.errors import ConfigError
from ..core.files import CONFIG_FILE, PROCESSOR_FILE, read_json, write_text_atomic
from ..core.recipe import Recipe
from ..core.registry import ROOMS, room
from ..core.task_data import ScoreWords

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
    words = _words(config)
    shown = {
        "load_as": config.name,
        "context": processor.text.context_length if processor.text else "-",
        "classes": len(metrics["classes"]),
        "reads": _reads(processor),
        "use": _task_use(metrics, config),
        **words,
    }
    kinds = _kinds(folder, recipe, metrics)
    return _fill(
        "card",
        **words | {"pipeline": metrics.get("pipeline_tag", words["pipeline"])},
        licence=config.licence.lower(),
        tags=f", {config.domain}" if config.domain else "",
        # JSON is YAML that nothing in the text can end.
        header="".join(
            f"{key}: {json.dumps(text)}\n" for key, text in metrics.get("card_header", {}).items()
        ),
        name=config.name,
        summary=_sentence(recipe.summary or config.name),
        description=config.description,
        use=_fill(_USE[kinds[0]], **shown),
        data=_data_rows(recipe, metrics),
        results="\n".join([*(_results(kind, metrics, words) for kind in kinds), *_further(metrics, words)]),
        recipe=recipe.name,
        digest=metrics["recipe"],
        steps=f"{metrics['steps']:,}",
        device=run["device"],
        minutes=round(run["seconds"] / 60),
        parameters=f"{run['parameters']:,}",
        stored=recipe.save_dtype,
        beginning=_beginning(metrics),
    )


_USE = {
    "zero_shot": "use_prompts",
    "retrieval": "use_pairs",
    "classifier": "use_head",
    "task": "use_task",
}

_WORDS = {
    "image": {
        "sample": "image",
        "a_sample": "an image",
        "samples": "images",
        "modality": "image",
        "Modality": "Image",
        "file": "scan.png",
        "pipeline": "zero-shot-image-classification",
        "validation": (
            "Validation is the sources' own validation part where there is one; otherwise groups of "
            "near-identical images\n(64-bit difference hash) were kept on one side of a random split. It is "
            "drawn like the training images, so expect\nless on images from other scanners and sites."
        ),
    },
    "audio": {
        "sample": "recording",
        "a_sample": "a recording",
        "samples": "recordings",
        "modality": "audio",
        "Modality": "Audio",
        "file": "clip.wav",
        "pipeline": "audio-classification",
        "validation": (
            "Validation is the sources' own validation part where there is one; otherwise equal recordings, "
            "and those of one\ngroup, were kept on one side of a random split. It is drawn like the training "
            "recordings, so expect less on\nrecordings of other microphones and rooms."
        ),
    },
}
"""How a card speaks of samples, by the modality of the model; a domain may have words of its own."""


def _words(config: ModelConfig) -> dict[str, str]:
    """Return the words for what a model is about: the first of its modalities that is not text."""
    found = [name for name in config.towers if name in _WORDS]
    # A part without towers (a vocoder) is of its domain.
    words = _WORDS[found[0] if found else "audio" if config.domain == "audio" else "image"]
    return {**words, **(room(config.domain).card_words if config.domain in ROOMS else {})}


def _reads(processor: ProcessorConfig) -> str:
    """Return how the model reads a sample, as the beginning of a sentence."""
    if processor.image is not None:
        return f"Images are read as {processor.image.size} x {processor.image.size}"
    if processor.audio is not None:
        audio = processor.audio
        return (
            f"Recordings are read at {audio.sampling_rate} Hz in windows of {audio.window_s:g} s (a longer "
            "one gets the mean\nof its windows)"
        )
    return "Samples are read as they are"


def _task_use(metrics: dict[str, Any], config: ModelConfig) -> str:
    """Return how a model of a domain's task is used: as a command, where the task's facts give one."""
    if "command" not in metrics:
        return f'```python\nimport verticlip\n\nmodel = verticlip.from_pretrained("{config.name}")\n```'
    return f"```bash\n{metrics['command'].replace('MODEL', config.name)}\n```"


def _fill(template: str, **values: Any) -> str:
    return (TEMPLATES / f"{template}.md").read_text(encoding="utf-8").format(**values)


def _kinds(folder: Path, recipe: Recipe, metrics: dict[str, Any]) -> list[str]:
    """Return how the model was judged; what comes first says how it is used."""
    if recipe.task is not None:
        return ["task"]
    if (folder / "head").is_dir():
        return ["classifier"]
    reports = metrics["validation"]["sources"].values()
    found = [
        kind
        for kind, key in (("zero_shot", "balanced_accuracy"), ("retrieval", "texts"))
        if any(key in report for report in reports)
    ]
    return found or ["zero_shot"]


def _results(kind: str, metrics: dict[str, Any], words: dict[str, str]) -> str:
    """Return the results section of one kind of evaluation."""
    if kind == "task":
        return _task_results(metrics)
    validation, classes = metrics["validation"], len(metrics["classes"])
    values = {
        "classes": classes,
        "baseline": f"{metrics['baseline']['score']:.3f}",
        "chance": f"{validation['chance']:.3f}",
        **words,
    }
    sources = validation["sources"]
    if kind == "retrieval":
        sources = {name: report for name, report in sources.items() if "texts" in report}
        ways = [report[way] for report in sources.values() for way in _ways(words)]
        found = {key for way in ways for key in way if key.startswith("recall@")}
        depths = sorted(found, key=lambda key: int(key.partition("@")[2]))
        rows = [
            row for name, report in sources.items() for row in _retrieval_rows(name, report, depths, words)
        ]
        merged = any(report.get("duplicates") == "merge" for report in sources.values())
        named = {"depths": " | ".join(depths), "rule": " | ".join("---" for _ in depths)}
        named["convention"] = (_MERGED if merged else _SEPARATE).format(**words)
        return _fill(
            "results_retrieval", rows="\n".join(rows), score=f"{validation['score']:.3f}", **named, **values
        )
    rows = [
        _result_row(name, report, words["samples"])
        for name, report in sources.items()
        if "accuracy" in report
    ]
    return _fill(f"results_{kind}", rows="\n".join(rows), across=f"{validation['across'] or 0:.3f}", **values)


def _further(metrics: dict[str, Any], words: dict[str, str]) -> list[str]:
    """Return the section of what was measured after training, by name; empty when nothing was."""
    found = metrics.get("further", {}).get("summary", {})
    if not found:
        return []
    rows = [
        f"| {name} | {_interval(value if isinstance(value, dict) else {**_NO_BOUNDS, 'value': value})} |"
        for name, value in found.items()
    ]
    notes = metrics["further"].get("notes", "")
    return [_fill("results_further", rows="\n".join(rows), **words), *([f"{notes}\n"] if notes else [])]


_NO_BOUNDS = {"low": None, "high": None}


def _task_results(metrics: dict[str, Any]) -> str:
    """Return the results section of a task: its score by source, beside what it is compared with."""
    words, validation = ScoreWords.of(metrics), metrics["validation"]
    rows = [
        f"| {name} | {_plain(report['score'], words)} | {_plain(report.get('chance'), words)} |"
        for name, report in validation.get("sources", {}).items()
        if "score" in report
    ]
    return _fill(
        "results_task",
        score_name=words.name,
        chance_name=words.chance,
        rows="\n".join(rows) or f"| all | {_plain(validation['score'], words)} | - |",
        score=words.value(validation["score"]),
        baseline=words.value(metrics["baseline"]["score"]),
        chance=words.value(validation["chance"]),
    )


def _plain(number: float | dict[str, float | None] | None, words: ScoreWords) -> str:
    """Return a number with its unit, or an estimate with its interval and the unit."""
    if isinstance(number, dict):
        return f"{_interval(number)} {words.unit}".rstrip()
    return "-" if number is None else words.value(number)


def _ways(words: dict[str, str]) -> tuple[str, str]:
    return f"{words['modality']}_to_text", f"text_to_{words['modality']}"


_MERGED = "captions that read the same are one text, which is right for every {sample} that has it."
_SEPARATE = "only {a_sample}'s own captions count as right."


def _retrieval_rows(name: str, report: dict[str, Any], depths: list[str], words: dict[str, str]) -> list[str]:
    rows = []
    for way in _ways(words):
        found = report[way]
        cells = [_interval(found.get(depth)) for depth in depths]
        counts = [f"{report[key]:,}" for key in (words["samples"], "texts")]
        cells += [_interval(found["median_rank"], "{:.1f}"), *counts]
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
    words = _WORDS[metrics.get("modality", "image")]
    rows = []
    for probe in metrics["probes"]:
        report = probe["report"]
        cells = (
            f"{100 * probe['fraction']:g} %",
            f"{probe['training_' + words['samples']]:,}",
            f"{probe['mean']['balanced_accuracy']:.3f}",
            _interval(report["balanced_accuracy"]),
            _interval(report["auc"]),
            ", ".join(f"{c:g}" for c in probe["c"]),
        )
        rows.append(f"| {' | '.join(cells)} |")
    return _fill(
        "probe",
        **words,
        notice=" Not a medical device." if recipe.domain in (None, "medical") else "",
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


def _result_row(name: str, report: dict[str, Any], samples: str) -> str:
    cells = [
        _interval(report[key])
        for key in ("accuracy", "balanced_accuracy", "macro_f1", "auc", "calibration_error")
    ]
    return f"| {name} | {' | '.join(cells)} | {report[samples]:,} |"


def _interval(estimate: dict[str, float | None] | None, form: str = "{:.3f}") -> str:
    """Return a value with its interval; a bound that is not defined is left out."""
    if estimate is None or estimate["value"] is None:
        return "-"
    value = form.format(estimate["value"])
    if estimate["low"] is None or estimate["high"] is None:
        return value
    return f"{value} ({form.format(estimate['low'])} to {form.format(estimate['high'])})"
