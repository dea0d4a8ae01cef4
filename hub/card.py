"""The model card: written from what training, evaluation or conversion recorded, never by hand."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..core.config import parse_config, read_yaml
from ..core.errors import ConfigError, VerticlipError
from ..core.files import CARD_FILE, CONFIG_FILE, METRICS_FILE, RECIPE_FILE, read_json, write_text_atomic
from ..core.recipe import Recipe
from ..core.registry import models
from . import card_sections as sections
from .card_check import problems_of
from .card_facts import WORDS, CardFacts, domain_words, read_facts
from .card_header import base_models_of, emissions, header_text, metadata, model_index
from .card_results import ScoreRow, further, interval, kinds_of, results
from .card_text import block, cell, code, fenced, inline, one_line, sentence, table
from .card_training import resources, training
from .conversions import CONVERSION_FILE
from .licences import hub_licence, is_known


def render_card(folder: str | Path) -> str:
    """Return the card of a model folder that training or conversion wrote.

    Args:
        folder: has config.json, processor.json and model.safetensors, and recipe.yaml with metrics.json, or
            conversion.json.

    Raises:
        ConfigError: a record is missing or damaged, or the licence or description is: a card without them is
            refused; so is a licence that is no name.
        WeightsError: the weights are not a safetensors file.
    """
    facts = read_facts(folder)
    config = facts.config
    with _whole_records(Path(folder), METRICS_FILE if facts.metrics is not None else CONVERSION_FILE):
        body = _trained(facts) if facts.metrics is not None else _converted(facts)
        header = header_text(metadata(facts))
    return (
        sections.fill(
            "card",
            header=header,
            name=inline(config.name),
            opening=_opening(facts),
            sections=_joined(body),
        )
        + "\n"
    )


def _opening(facts: CardFacts) -> str:
    """Return the summary and the description; one that repeats the other stands alone."""
    said = facts.recipe.summary if facts.recipe else facts.spec.summary if facts.spec else ""
    summary, description = sentence(said or facts.config.name), one_line(facts.config.description)
    if description.lower().startswith(summary.rstrip(".").lower()):
        return f"**{inline(description)}**"
    return f"{block(summary)}\n\n**{inline(description)}**"


@contextlib.contextmanager
def _whole_records(folder: Path, name: str) -> Iterator[None]:
    """Turn what a damaged record makes the sections raise into a sentence about the record."""
    try:
        yield
    except VerticlipError:
        raise
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        raise ConfigError(
            f"{folder}: {name} is not whole ({type(error).__name__}: {str(error)[:120]}). Take the file that "
            "training or conversion wrote."
        ) from error


def _joined(body: Mapping[str, str]) -> str:
    return "\n\n".join(f"## {title}\n\n{text}" for title, text in body.items() if text)


def _trained(facts: CardFacts) -> dict[str, str]:
    metrics, recipe, words = facts.metrics or {}, facts.recipe, facts.words
    if recipe is None:
        return {}
    kinds = kinds_of(metrics, recipe, has_head=facts.classifies)
    found = [*(results(kind, metrics, recipe, words) for kind in kinds), further(metrics, words)]
    return {
        "Intended use": sections.intended_use(facts),
        "Use": sections.use(facts, kinds[0]),
        "Answers": sections.answers(facts),
        "Data": sections.data(recipe, metrics, words),
        "Results on validation": "\n\n".join(part for part in found if part),
        "Limits": sections.limits(facts, kinds[0]),
        "Training": training(facts),
        **_closing(facts),
    }


def _converted(facts: CardFacts) -> dict[str, str]:
    return {
        "Intended use": sections.intended_use(facts),
        "Use": sections.use(facts, "zero_shot"),
        "Answers": sections.answers(facts),
        "Origin": sections.origin(facts),
        "Results": sections.checks(facts),
        "Limits": sections.limits(facts, "zero_shot"),
        **_closing(facts),
    }


def _closing(facts: CardFacts) -> dict[str, str]:
    return {
        "Files": sections.files(facts),
        "Licence": sections.licence(facts),
        "Citation": sections.citation(facts),
    }


def render_probe_card(folder: str | Path) -> str:
    """Return the card of the run folder of a probe: metrics.json and recipe.yaml are read.

    Raises:
        ConfigError: one of them is missing or damaged.
    """
    folder = Path(folder)
    metrics = read_json(folder / METRICS_FILE)
    recipe = parse_config(Recipe, read_yaml(folder / RECIPE_FILE), source=RECIPE_FILE)
    with _whole_records(folder, METRICS_FILE):
        return _probe_card(recipe, metrics)


def _probe_card(recipe: Recipe, metrics: Mapping[str, Any]) -> str:
    words = WORDS[metrics.get("modality", "image")]
    start = metrics["start"]
    body = {
        "Intended use": block(sentence(recipe.intended_use or _probe_use(words, len(metrics["classes"])))),
        "Use": fenced("bash", [f"verticlip classify {words['file']} --head FOLDER"])
        + f"\n\nClasses: {', '.join(inline(name) for name in metrics['classes'])}.",
        "Data": sections.data(recipe, metrics, words),
        "Results on validation": _probe_results(metrics, words),
        "Limits": _probe_limits(recipe, words),
        "Training": _probe_training(recipe, metrics),
    }
    return (
        sections.fill(
            "probe",
            header=header_text(_probe_metadata(recipe, metrics, words)),
            name=inline(recipe.name),
            summary=block(sentence(recipe.summary or recipe.name)),
            model=code(start["id"]),
            revision=inline(start["revision"]),
            sections=_joined(body),
        )
        + "\n"
    )


def _probe_use(words: Mapping[str, str], classes: int) -> str:
    samples = words["samples"]
    return f"Telling {classes} classes of {samples} apart, on {samples} like those of its training"


def _probe_limits(recipe: Recipe, words: Mapping[str, str]) -> str:
    own = domain_words(recipe.domain)
    said = [f"It answers with one of its classes also for {words['samples']} of a kind it has never seen."]
    if recipe.domain in (None, "medical"):
        said.append("Not a medical device.")
    said += [*recipe.limits, *(own[word] for word in ("out_of_scope", "limits") if own.get(word))]
    return "\n".join(f"- {inline(one)}" for one in said)


def _probe_results(metrics: Mapping[str, Any], words: Mapping[str, str]) -> str:
    samples = words["samples"]
    head = [
        "share of labels",
        f"training {samples}",
        "balanced accuracy, mean",
        "first draw",
        "AUC, first draw",
        "C",
    ]
    rows = [
        [
            f"{100 * probe['fraction']:g} %",
            f"{probe['training_' + samples]:,}",
            interval(probe["mean"]["balanced_accuracy"]),
            interval(probe["report"]["balanced_accuracy"]),
            interval(probe["report"]["auc"]),
            cell(", ".join(f"{c:g}" for c in probe["c"])),
        ]
        for probe in metrics["probes"]
    ]
    return (
        "Logistic regression on frozen embeddings; where a share of the labels was drawn several times, the "
        "mean over the draws, and the 95 % bootstrap interval of the first. Chance is "
        f"{metrics['chance']:.3f}.\n\n{table(head, rows)}"
    )


def _probe_training(recipe: Recipe, metrics: Mapping[str, Any]) -> str:
    rows = [
        ["recipe", f"{code(recipe.name)}, digest {code(metrics['recipe'])}"],
        *resources(metrics.get("run", {}), metrics.get("seconds")),
    ]
    return table(["what", "value"], rows)


def _probe_metadata(recipe: Recipe, metrics: Mapping[str, Any], words: Mapping[str, str]) -> dict[str, Any]:
    start = metrics["start"]
    spec = models().get(start["id"])
    report = metrics["probes"][-1]["report"]
    names = (
        ("accuracy", "accuracy", "accuracy"),
        ("balanced_accuracy", "balanced_accuracy", "balanced accuracy"),
    )
    rows = [
        ScoreRow(source.name, source.origin, metric, label, float(report[key]["value"]))
        for source in recipe.data.sources[:1]
        for key, metric, label in names
        if len(recipe.data.sources) == 1 and isinstance(report.get(key), Mapping)
    ]
    found: dict[str, Any] = {
        "license": hub_licence(spec.licence) if spec is not None and is_known(spec.licence) else "",
        "library_name": "verticlip",
        "pipeline_tag": words["classify"],
        "tags": [tag for tag in ("verticlip", "linear-probe", recipe.domain) if tag],
        "language": list(recipe.language),
        "base_model": base_models_of(start),
        "metrics": ["accuracy"] if rows else [],
        "co2_eq_emissions": emissions(metrics, started=True),
        "model-index": model_index(recipe.name, words["classify"], rows),
    }
    return {key: value for key, value in found.items() if value not in ([], "", None)}


def write_card(folder: str | Path) -> Path:
    """Write the card of a model folder as ``README.md`` and return its path."""
    path = Path(folder) / CARD_FILE
    write_text_atomic(path, render_card(folder))
    return path


def write_probe_card(folder: str | Path) -> Path:
    """Write the card of a probe beside its head, in the ``head`` folder of a run, and return its path."""
    path = Path(folder) / "head" / CARD_FILE
    write_text_atomic(path, render_probe_card(folder))
    return path


def is_probe_run(folder: str | Path) -> bool:
    """Return whether a folder is the run folder of a linear probe, whose card lies beside its head."""
    path = Path(folder) / METRICS_FILE
    if (Path(folder) / CONFIG_FILE).exists() or not path.is_file():
        return False
    found = read_json(path)
    return isinstance(found, dict) and "probes" in found


def check_card(text: str, folder: str | Path) -> list[str]:
    """Return what is wrong with a card, a sentence each: nothing for the one that :func:`render_card` gives.

    Metadata has to be what the Hub accepts, every section has to be there, and all of it has to agree with
    the records in the folder. A section ``## Note`` at the end is its owner's and may say anything.

    Raises:
        ConfigError, WeightsError: as :func:`render_card`, where the folder gives no card at all.
    """
    return problems_of(text, render_probe_card(folder) if is_probe_run(folder) else render_card(folder))
