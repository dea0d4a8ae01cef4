"""Zero-shot results of satellite models on public sets, by the protocols of the published tables.

An image belongs to the class whose vector has the largest cosine with its own. What a class is asked for
with, and how its prompts become one vector, is the protocol: see :mod:`.evaluation_protocols`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ....core.errors import ConfigError
from ....core.limits import DEFAULT, Limits
from ....core.prompts import PromptSet
from ....core.set_evaluation import Found, SetProtocol, measure_all, measure_set, read_rows
from ....core.set_results import Ensemble, SetResult, SetTable, bank_prompts
from .evaluation_catalogue import EvaluationSet, evaluation_set, names
from .evaluation_catalogue import sets as all_sets
from .evaluation_protocols import PROTOCOLS, protocol_of, protocol_prompts
from .published_results import accuracy_note, published_accuracies

if TYPE_CHECKING:
    from ....core.handle import ModelHandle

__all__ = [
    "PROTOCOLS",
    "EvaluationSet",
    "evaluate_all",
    "evaluate_set",
    "evaluation_set",
    "names",
    "published",
    "read_prompt_bank",
    "read_set",
]


def published(name: str) -> list[dict[str, str | float]]:
    """Return what authors report on a set, as plain values; nothing of it was measured with this package."""
    return [one.to_dict() for one in published_accuracies(name)]


def read_prompt_bank(path: str | Path, name: str, *, limits: Limits = DEFAULT) -> PromptSet:
    """Return the prompts of one set from a JSON file ``{set: {class: [sentences]}}``.

    Raises:
        ConfigError: not such a file, or classes that are not those of the set.
    """
    return bank_prompts(path, name, evaluation_set(name).classes, limits=limits)


def read_set(name: str, root: str | Path, *, limits: Limits = DEFAULT) -> Found:
    """Return (rows, layout) of a set below ``root``, which may also hold it in a folder of its name.

    Raises:
        ConfigError: no such set. DataError: none of the layouts is there, or a damaged file.
    """
    return read_rows(evaluation_set(name), root, limits=limits)


def evaluate_set(
    model: ModelHandle,
    name: str,
    root: str | Path | Found,
    *,
    out: str | Path | None = None,
    prompts: PromptSet | None = None,
    protocol: str | None = None,
    scoring: Ensemble | None = None,
    **options: Any,
) -> SetResult:
    """Measure a model on a public set.

    Args:
        model: with an image and a text tower.
        name: one of :func:`names`, for example ``eurosat``.
        root: folder with the set's files, or one that holds them in a folder called ``name``; or what
            :func:`read_set` found there.
        out: folder for ``report.json`` and ``confusion.png``; None writes nothing.
        prompts: one class per class of the set, in any order, instead of a protocol.
        protocol: one of the set's; None takes its first.
        scoring: how prompts become one vector; None takes the protocol's way.
        options: ``batch_size``, ``progress`` (told (done, all) of the images) and those of the domain's
            loader, as :func:`verticlip.core.embed_each.embed_images` takes them.

    Raises:
        ConfigError: no such set or protocol, prompts and a protocol, or prompts for other classes.
        DataError: no files of the set; the message names those that are looked for.

    Example:
        >>> result = evaluate_set(model, "eurosat", "data/EuroSAT")  # doctest: +SKIP
        >>> result.percent()["accuracy"]  # doctest: +SKIP

    Reference: protocols of Zhang et al. 2024 (RS5M), Wang et al. 2024 (SkyScript), LAION-AI/CLIP_benchmark.
    """
    one = evaluation_set(name)
    if prompts is not None and protocol is not None:
        raise ConfigError(f"Give prompts or the protocol {protocol!r}, not both: a protocol brings its own.")
    by = protocol_of(one, protocol)
    chosen = protocol_prompts(one, by) if prompts is None else prompts
    ensemble = scoring or ("unit" if prompts is not None else by.ensemble)
    # The published way and another ensemble of the same prompts are not the same protocol.
    if prompts is not None or ensemble != by.ensemble:
        asked = SetProtocol("own", chosen, ensemble)
    else:
        own = (by.note,) if by.note else ()
        asked = SetProtocol(by.name, chosen, ensemble, (*own, *accuracy_note(model.id, one.name, by.name)))
    return measure_set(model, one, root, asked, out=out, **options)


def evaluate_all(
    model: ModelHandle,
    root: str | Path,
    *,
    sets: Sequence[str] | None = None,
    out: str | Path | None = None,
    protocol: str | None = None,
    scoring: Ensemble | None = None,
    **options: Any,
) -> SetTable:
    """Measure a model on every set whose files are below ``root``.

    Args:
        root: holds the sets in folders of their names.
        sets: which; None takes all that have the protocol.
        out: folder for one folder per set and ``table.json``.
        protocol: of all sets; None takes the first of each.
        scoring, options: as in :func:`evaluate_set`.

    Returns:
        Results and, for sets without files or with damaged ones, why they are missing.

    Raises:
        ConfigError: no such set, or no such protocol.
        DataError: no set has files.
    """
    if protocol is not None and protocol not in PROTOCOLS:
        raise ConfigError(f"No protocol {protocol!r}; there are: {', '.join(PROTOCOLS)}.")
    known = all_sets()
    with_protocol = [one.name for one in known.values() if protocol is None or protocol in one.protocols]

    def measure(name: str, found: Found, place: Path | None) -> SetResult:
        return evaluate_set(model, name, found, out=place, protocol=protocol, scoring=scoring, **options)

    wanted = map(evaluation_set, with_protocol if sets is None else sets)
    return measure_all(wanted, root, measure, out=out, limits=model.limits)
