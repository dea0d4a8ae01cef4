"""Where a model comes from and what it may be used for: licence, recipe and metrics, or its sources."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from ..core import registry
from ..core.config import parse_config
from ..core.errors import VerticlipError
from ..core.files import (
    CARD_FILE,
    CONFIG_FILE,
    LICENCE_FILE,
    METRICS_FILE,
    RECIPE_FILE,
    WEIGHTS_FILE,
)
from .conversions import CONVERSION_FILE
from .folder_facts import Finding, FolderFacts
from .licences import (
    OTHER,
    UNKNOWN,
    forbids_changes,
    hub_licence,
    is_known,
    is_non_commercial,
    nearest_licence,
)


def origin_problems(facts: FolderFacts) -> Iterator[Finding]:
    """Yield what is missing or wrong about licence and origin of a model."""
    yield from _licence(facts)
    if RECIPE_FILE not in facts.files and CONVERSION_FILE not in facts.files:
        yield Finding(
            "origin",
            "",
            "Nothing says where the weights come from: no recipe.yaml of a training run and no "
            "conversion.json of converted weights.",
            "Publish the folder that training or converting wrote.",
        )
    if CONVERSION_FILE in facts.files:
        yield from _conversion(facts)
    if RECIPE_FILE in facts.files:
        yield from _trained(facts)


def _licence(facts: FolderFacts) -> Iterator[Finding]:
    raw = facts.decoded(CONFIG_FILE)
    stated = raw.get("licence") if isinstance(raw, dict) else None
    if not isinstance(stated, str) or not stated.strip():
        yield Finding(
            "licence-missing", CONFIG_FILE, "No licence is stated.", "Set 'licence' to an SPDX identifier."
        )
        return
    licence = hub_licence(stated)
    header = facts.card_header or {}
    if licence == UNKNOWN:
        yield Finding(
            "licence-unknown",
            CONFIG_FILE,
            "The licence is 'unknown': nobody may pass these weights on.",
            "Ask their authors. Weights without a licence cannot be published.",
        )
    elif not is_known(licence):
        yield Finding(
            "licence-unknown",
            CONFIG_FILE,
            f"The Hub knows no licence {stated!r:.60}.{nearest_licence(licence)}",
            "Use one of its identifiers, or 'other' with license_name and license_link in the card.",
        )
    elif licence == OTHER and not (header.get("license_name") and header.get("license_link")):
        yield Finding(
            "licence-unknown",
            CARD_FILE,
            "The licence is 'other' and the card does not say which.",
            "Give license_name and license_link in the card.",
        )
    elif is_non_commercial(licence):
        yield Finding(
            "licence-non-commercial",
            CONFIG_FILE,
            f"{stated} forbids commercial use.",
            "Nothing to do; the card says so.",
            "notice",
        )
    if facts.card_header is not None and hub_licence(str(header.get("license", ""))) != licence:
        yield Finding(
            "licence-differs",
            CARD_FILE,
            f"The card says license {header.get('license')!r:.60}, {CONFIG_FILE} says {stated!r:.60}.",
            "Write the card again: verticlip hub card FOLDER",
        )
    if licence == OTHER and LICENCE_FILE not in facts.files:
        yield Finding(
            "licence-text",
            LICENCE_FILE,
            "There is no text of the licence.",
            f"Add it as {LICENCE_FILE}.",
            "notice",
        )


def _trained(facts: FolderFacts) -> Iterator[Finding]:
    """A training run: its recipe, and metrics of that recipe with a baseline and intervals."""
    from ..core.recipe import Recipe

    again = "Publish the folder that training wrote."
    digest = None
    try:
        recipe = parse_config(Recipe, facts.decoded(RECIPE_FILE), source=RECIPE_FILE)
        digest = recipe.digest
        for source in recipe.data.sources:
            if not source.licence or not source.origin:
                yield Finding(
                    "data-licence",
                    RECIPE_FILE,
                    f"Source {source.name!r:.60} of the training data has no licence or no origin.",
                    "State both in the recipe; the card shows them.",
                    "notice",
                )
            elif (
                is_non_commercial(source.licence)
                and facts.config
                and not is_non_commercial(facts.config.licence)
            ):
                yield Finding(
                    "data-licence",
                    RECIPE_FILE,
                    f"Source {source.name!r:.60} is under {source.licence:.40}, which forbids commercial "
                    "use; the weights allow it.",
                    "Make sure that you may do that.",
                    "notice",
                )
    except VerticlipError as error:
        yield Finding("recipe", RECIPE_FILE, str(error), again)
    metrics = facts.decoded(METRICS_FILE)
    if not isinstance(metrics, Mapping):
        if METRICS_FILE not in facts.files:
            yield Finding("metrics-missing", METRICS_FILE, "A trained model has no metrics.", again)
        return
    if digest is not None and metrics.get("recipe") != digest:
        yield Finding(
            "metrics-recipe", METRICS_FILE, "They are those of another recipe than recipe.yaml.", again
        )
    for part, what in (("validation", "result"), ("baseline", "baseline")):
        score = metrics[part].get("score") if isinstance(metrics.get(part), Mapping) else None
        if not _is_number(score):
            yield Finding(
                f"metrics-{part}", METRICS_FILE, f"There is no {what}: {part}.score is no number.", again
            )
    if not _has_interval(metrics):
        yield Finding(
            "metrics-interval",
            METRICS_FILE,
            "No figure has an interval, so nobody can tell how sure it is.",
            "Evaluate again; a value needs low and high beside it.",
        )


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _has_interval(value: Any, depth: int = 0) -> bool:
    """Return whether any figure has bounds: ``low`` and ``high``, or a pair called ``interval...``."""
    if depth > 64:
        return False
    if isinstance(value, Mapping):
        if _is_number(value.get("low")) and _is_number(value.get("high")):
            return True
        return any(
            (
                str(key).startswith("interval")
                and isinstance(inner, list)
                and len(inner) == 2
                and all(map(_is_number, inner))
            )
            or _has_interval(inner, depth + 1)
            for key, inner in value.items()
        )
    return isinstance(value, list) and any(_has_interval(inner, depth + 1) for inner in value)


def _conversion(facts: FolderFacts) -> Iterator[Finding]:
    """Converted weights: what they were made from, and that nothing was changed since."""
    again = "Publish the folder that converting wrote."
    raw = facts.decoded(CONVERSION_FILE)
    if not isinstance(raw, Mapping):
        return
    sources = raw.get("files")
    named = [one for one in sources if isinstance(one, Mapping)] if isinstance(sources, list) else []
    if not named or not all(one.get("name") and _is_hash(one.get("sha256")) for one in named):
        yield Finding(
            "conversion",
            CONVERSION_FILE,
            "It does not name the files it was made from, with their SHA-256.",
            again,
        )
    if raw.get("unverified"):
        yield Finding(
            "conversion-unverified",
            CONVERSION_FILE,
            "The files it was made from were compared with no hash.",
            "Make sure that they are the published ones.",
            "notice",
        )
    written = raw.get("written")
    written = written if isinstance(written, Mapping) else {}
    changed = [
        name for name, digest in written.items() if name in facts.files and facts.files[name].sha256 != digest
    ]
    if WEIGHTS_FILE not in written or changed:
        what = (
            f"These were changed since: {', '.join(changed)}."
            if changed
            else "It states no hash of the weights."
        )
        yield Finding("conversion-changed", CONVERSION_FILE, what, "Convert the files again.")
    licence = facts.config.licence if facts.config else ""
    spec = registry.models().get(str(raw.get("model", "")))
    if spec is not None and hub_licence(spec.licence) != hub_licence(licence):
        yield Finding(
            "licence-differs",
            CONFIG_FILE,
            f"{spec.name} is under {spec.licence}; the config says {licence!r:.60}.",
            "The licence of somebody else's weights cannot be changed.",
        )
    if spec is not None and isinstance(spec.weights, registry.PublishedWeights) and spec.weights.gated:
        yield Finding(
            "gated",
            CONVERSION_FILE,
            "The authors of these weights grant access one by one.",
            "Add --private; with their consent, make it public on its page afterwards.",
            "notice" if facts.private else "error",
        )
    if forbids_changes(licence):
        yield Finding(
            "licence-no-changes",
            CONFIG_FILE,
            f"{licence} forbids passing on changed versions; a change of format alone is none.",
            "Make sure that the licence allows it.",
            "notice",
        )


def _is_hash(value: object) -> bool:
    return isinstance(value, str) and len(value) == 64 and set(value) <= set("0123456789abcdef")
