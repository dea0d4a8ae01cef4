"""The metadata at the top of a card, as the Hub reads it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from ..core.energy import estimate_energy
from ..core.files import LICENCE_FILE
from ..core.names import is_commit, is_repository
from ..core.registry import PublishedWeights, models
from .card_facts import CardFacts
from .card_results import score_rows
from .card_text import bounds, one_line
from .licences import OTHER, hub_licence, is_known

PIPELINES = frozenset(
    {
        "zero-shot-image-classification", "image-classification", "image-feature-extraction",
        "feature-extraction", "sentence-similarity", "text-classification", "audio-classification",
        "audio-to-audio", "text-to-audio", "text-to-speech", "voice-activity-detection",
        "video-classification", "zero-shot-object-detection", "image-segmentation", "object-detection",
        "image-to-text", "image-text-to-text", "visual-document-retrieval", "text-ranking",
        "tabular-regression", "other",
    }
)  # fmt: skip
"""Tasks of the Hub that a model here can have."""

_ARCHITECTURE_PIPELINES = {
    "bigvgan": "audio-to-audio",
    "clipsep": "audio-to-audio",
    "clipsonic": "text-to-audio",
    "diffusion_prior": "feature-extraction",
}

_KEY = re.compile(r"[a-z][a-z0-9_]{0,39}")


def metadata(facts: CardFacts) -> dict[str, Any]:
    """Return the metadata of a model's card; every text in it is one line."""
    config, metrics = facts.config, facts.metrics or {}
    tags = ["verticlip", kind_tag(facts), config.domain or "", config.architecture]
    found: dict[str, Any] = {
        **licence_fields(facts),
        "library_name": "verticlip",
        "pipeline_tag": pipeline_of(facts),
        "tags": list(dict.fromkeys(tag for tag in tags if tag)),
        "language": list(metrics.get("language", ())) or list(facts.recipe.language if facts.recipe else ()),
        "datasets": [source.dataset for source in facts.recipe.data.sources if source.dataset]
        if facts.recipe
        else [],
        "base_model": base_models(facts),
        "metrics": [],
        **_extra((facts.metrics or facts.conversion or {}).get("card_header", {})),
    }
    if facts.metrics is not None:
        rows = score_rows(facts.metrics, facts.recipe, facts.words)
        # Names of https://huggingface.co/metrics only; model-index may have any.
        found["metrics"] = [
            name for name in ("accuracy", "f1", "roc_auc") if any(r.metric == name for r in rows)
        ]
        found["co2_eq_emissions"] = emissions(facts.metrics, started="start" in facts.metrics)
        found["model-index"] = model_index(config.name, found["pipeline_tag"], rows)
    return {key: value for key, value in clean(found).items() if value not in ([], "", None)}


def header_text(fields: Mapping[str, Any]) -> str:
    """Return metadata as the block that a card begins with."""
    # The writer quotes what YAML would read as something else; one line each, nothing can end the block.
    body = yaml.safe_dump(clean(dict(fields)), sort_keys=False, allow_unicode=True, width=1_000_000)
    return f"---\n{body}---\n"


def clean(value: Any) -> Any:
    """Return plain data whose texts are one line without control characters."""
    if isinstance(value, str):
        return one_line(value)
    if isinstance(value, Mapping):
        return {one_line(key): clean(one) for key, one in value.items()}
    if isinstance(value, Sequence):
        return [clean(one) for one in value]
    return value


def licence_fields(facts: CardFacts) -> dict[str, str]:
    """Return ``license`` as the Hub knows it, or ``other`` with a name and the file of its text."""
    licence = facts.config.licence
    if is_known(licence) and hub_licence(licence) != OTHER:
        return {"license": hub_licence(licence)}
    text = facts.folder / LICENCE_FILE
    if hub_licence(licence) == OTHER and text.is_file():
        # The title of its text is the only name it has.
        with text.open(encoding="utf-8", errors="replace") as lines:
            licence = next((line for line in lines if line.strip()), licence)
    return {"license": OTHER, "license_name": _as_identifier(licence) or OTHER, "license_link": LICENCE_FILE}


def licence_named(licence: str) -> dict[str, str]:
    """Return ``license`` as the Hub knows it, or ``other`` with a name; nothing for a licence without one."""
    if is_known(licence) and hub_licence(licence) != OTHER:
        return {"license": hub_licence(licence)}
    name = _as_identifier(licence)
    return {"license": OTHER, "license_name": name} if name else {}


def _as_identifier(licence: str) -> str:
    return re.sub(r"[^a-z0-9.+]+", "-", licence.lower()).strip("-")[:60]


def kind_tag(facts: CardFacts) -> str:
    """Return the tag that says how the model came about."""
    if facts.conversion is not None:
        return "converted"
    if facts.recipe is not None and facts.recipe.task is not None:
        return facts.recipe.task.replace("_", "-")
    if facts.classifies:
        return "classifier"
    return "contrastive"


def pipeline_of(facts: CardFacts) -> str:
    """Return the Hub's word for what the model does."""
    said = (facts.metrics or {}).get("pipeline_tag")
    if said in PIPELINES:
        return str(said)
    config, words = facts.config, facts.words
    if config.architecture in _ARCHITECTURE_PIPELINES:
        return _ARCHITECTURE_PIPELINES[config.architecture]
    if facts.classifies or "text" not in config.towers:
        return words["classify"]
    return words["pipeline"]


def base_models(facts: CardFacts) -> list[str]:
    """Return the Hub repositories that the weights come from; a start that is not on the Hub is none."""
    if facts.conversion is not None:
        files = facts.conversion.get("files", ())
        named = [file.get("repo_id", "") for file in files if file.get("commit")]
    else:
        return base_models_of((facts.metrics or {}).get("start", {}))
    return list(dict.fromkeys(name for name in named if is_repository(name)))


def base_models_of(start: Mapping[str, Any]) -> list[str]:
    """Return the repositories of a start: those of a registered model, or itself when it has a commit."""
    name, revision = str(start.get("id", "")), str(start.get("revision", ""))
    spec = models().get(name)
    if spec is None:
        named = [name] if is_commit(revision) else []
    elif isinstance(spec.weights, PublishedWeights):
        named = [file.repo_id for file in spec.weights.files if file.repo_id and file.role != "vocab"]
    else:
        named = [spec.weights.repo_id] if spec.weights.repo_id else []
    return list(dict.fromkeys(name for name in named if is_repository(name)))


def emissions(metrics: Mapping[str, Any], *, started: bool) -> dict[str, Any] | None:
    """Return what training emitted as the Hub has it: one number, the upper end of the estimate."""
    run = metrics.get("run", {})
    estimate = estimate_energy(
        str(run.get("device", "")), float(run.get("seconds", metrics.get("seconds", -1)))
    )
    if estimate is None:
        return None
    low, high = bounds(*estimate.grams)
    return {
        "emissions": float(high),
        "source": f"estimated after training, not metered: {low} to {high} g; {estimate.assumption}",
        "training_type": "fine-tuning" if started else "pre-training",
        "hardware_used": str(run["device"]),
    }


def model_index(name: str, task: str, rows: Sequence[Any]) -> list[dict[str, Any]]:
    """Return figures as the Hub's ``model-index``; ``args`` hold the interval and the size of the sample."""
    sources: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        args: dict[str, Any] = {}
        if row.interval is not None:
            args["interval_95"] = [round(bound, 4) for bound in row.interval]
        if row.count is not None:
            args["samples"] = row.count
        one = {
            "type": row.metric,
            "value": round(row.value, 4),
            "name": row.name,
            **({"args": args} if args else {}),
        }
        sources.setdefault((row.source, row.origin or row.source), []).append(one)
    results = [
        {
            "task": {"type": task},
            "dataset": {"name": f"{origin}, validation part" if origin != source else origin, "type": source},
            "metrics": found,
        }
        for (source, origin), found in sources.items()
    ]
    return [{"name": name, "results": results}] if results else []


def _extra(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a task adds to the header; it cannot take the place of what stands there anyway."""
    taken = {"license", "license_name", "license_link", "library_name", "pipeline_tag", "tags", "language"}
    taken |= {
        "datasets",
        "base_model",
        "metrics",
        "co2_eq_emissions",
        "inference",
        "gated",
        "extra_gated_prompt",
    }
    return {key: value for key, value in fields.items() if _KEY.fullmatch(key) and key not in taken and value}
