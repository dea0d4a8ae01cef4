"""Zero-shot results of product models on public labelled sets.

A photo belongs to the class whose vector has the largest cosine with its own. ``model`` asks with the model's
own prompts, ``plain`` asks every model alike: "a photo of a dress".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ....core.data.labelled import Folders
from ....core.errors import ConfigError, nearest
from ....core.labelled_sets import LabelledSet
from ....core.limits import DEFAULT, Limits
from ....core.prompts import PromptSet
from ....core.set_evaluation import Found, SetProtocol, measure_all, measure_set, read_rows
from ....core.set_results import Ensemble, SetResult, SetTable, bank_prompts, prompts_in_order
from .published_results import accuracies

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

DOMAIN = "ecommerce"
PROTOCOLS = {
    "model": "the model's own prompts, where it has them for these classes",
    "plain": "a photo of a ..., the same words for every model",
}
"""{name: what it does}."""


@dataclass(frozen=True)
class EvaluationSet(LabelledSet):
    """A labelled public set.

    Attributes:
        words: {class: how it is asked for in plain words}; a class that is not there is asked for by name.
        protocols: names of :data:`PROTOCOLS`.
    """

    words: tuple[tuple[str, str], ...] = ()
    protocols: tuple[str, ...] = tuple(PROTOCOLS)

    def plain_prompts(self) -> PromptSet:
        """Return one sentence per class, alike for every model."""
        words = {name: (dict(self.words).get(name, name),) for name in self.classes}
        return PromptSet(name=f"{self.name}-plain", classes=words, templates=("a photo of a {}",))


def _folders(classes: Sequence[str], *under: str) -> Folders:
    return Folders({name: name for name in classes}, under)


_GARMENTS = (
    "dress", "hat", "longsleeve", "outwear", "pants", "shirt", "shoes", "shorts", "skirt", "t-shirt",
)  # fmt: skip
_MNIST = (
    "T-shirt", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip

_SETS = (
    EvaluationSet(
        "clothing",
        "product photo",
        _GARMENTS,
        (_folders(_GARMENTS, "validation"),),
        "Clothing dataset (small), CC0: the folders validation/<class>.",
        images=341,
        caution="ecommerce/tiny was trained on the train part: other photos of the same collection.",
        words=(("longsleeve", "long-sleeved top"), ("outwear", "jacket"), ("pants", "pair of pants")),
    ),
    EvaluationSet(
        "fashion-mnist",
        "product photo",
        _MNIST,
        (_folders(_MNIST, "test"),),
        "Fashion-MNIST (MIT) as one folder of PNG files per class: test/<class>.",
        images=10_000,
        caution="28 x 28 gray pixels, far from what models of product photos see.",
    ),
)
_BY_NAME = {one.name: one for one in _SETS}


def names() -> tuple[str, ...]:
    """Return the names of the sets."""
    return tuple(_BY_NAME)


def evaluation_set(name: str) -> EvaluationSet:
    """Return a set by name.

    Raises:
        ConfigError: there is none; the nearest name is given.
    """
    if name not in _BY_NAME:
        raise ConfigError(
            f"No evaluation set {name!r}; there are: {', '.join(_BY_NAME)}.{nearest(name, _BY_NAME)}"
        )
    return _BY_NAME[name]


def published(name: str) -> list[dict[str, str | float]]:
    """Return what authors report on a set, as plain values; nothing of it was measured with this package."""
    return [one.to_dict() for one in accuracies(name)]


def read_prompt_bank(path: str | Path, name: str, *, limits: Limits = DEFAULT) -> PromptSet:
    """Return the prompts of one set from a JSON file ``{set: {class: [sentences]}}``.

    Raises:
        ConfigError: not such a file, or classes that are not those of the set.
    """
    return bank_prompts(path, name, evaluation_set(name).classes, limits=limits)


def read_set(name: str, root: str | Path, *, limits: Limits = DEFAULT) -> Found:
    """Return (rows, layout) of a set below ``root``, which may also hold it in a folder of its name.

    Raises:
        ConfigError: no such set. DataError: none of the layouts is there.
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
        name: one of :func:`names`, for example ``clothing``.
        root: folder with the set's files; or what :func:`read_set` found there.
        out: folder for ``report.json`` and ``confusion.png``; None writes nothing.
        prompts: one class per class of the set, instead of a protocol.
        protocol: one of :data:`PROTOCOLS`; None takes the model's own prompts where they fit, else ``plain``.
        scoring: how prompts become one vector; None is ``unit``.
        options: ``batch_size``, ``progress`` and those of the domain's loader, as
            :func:`verticlip.core.embed_each.embed_images` takes them.

    Raises:
        ConfigError: no such set or protocol, prompts and a protocol, or prompts for other classes.
        DataError: no files of the set, or none that can be used.

    Example:
        >>> evaluate_set(model, "clothing", "data/clothing").percent()["accuracy"]  # doctest: +SKIP
    """
    one = evaluation_set(name)
    by, chosen = _prompts(model, one, prompts, protocol)
    if model.config.domain == DOMAIN:
        # Published sets hold pictures that a catalogue would refuse, of 28 pixels.
        options = {"shortest_side": 1, **options}
    return measure_set(model, one, root, SetProtocol(by, chosen, scoring or "unit"), out=out, **options)


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
    """Measure a model on every set whose files are below ``root``; arguments as :func:`evaluate_set`.

    Returns:
        Results and, for sets without files or with damaged ones, why they are missing.

    Raises:
        ConfigError: no such set or protocol. DataError: no set has files.
    """
    _check_protocol(protocol)

    def measure(name: str, found: Found, place: Path | None) -> SetResult:
        return evaluate_set(model, name, found, out=place, protocol=protocol, scoring=scoring, **options)

    wanted = map(evaluation_set, names() if sets is None else sets)
    return measure_all(wanted, root, measure, out=out, limits=model.limits)


def _prompts(
    model: ModelHandle, one: EvaluationSet, prompts: PromptSet | None, protocol: str | None
) -> tuple[str, PromptSet]:
    """Return (name of the protocol, prompts in the order of the set)."""
    _check_protocol(protocol)
    if prompts is not None:
        if protocol is not None:
            raise ConfigError(f"Give prompts or the protocol {protocol!r}, not both.")
        return "own", prompts_in_order(prompts, one.name, one.classes)
    own = model.prompts
    if protocol == "model" and own is None:
        raise ConfigError(f"{model.id} has no prompts of its own; use the protocol 'plain'.")
    if protocol != "plain" and own is not None:
        try:
            return "model", prompts_in_order(own, one.name, one.classes)
        except ConfigError:
            if protocol == "model":
                raise
    return "plain", prompts_in_order(one.plain_prompts(), one.name, one.classes)


def _check_protocol(protocol: str | None) -> None:
    if protocol is not None and protocol not in PROTOCOLS:
        raise ConfigError(
            f"No protocol {protocol!r}; there are: {', '.join(PROTOCOLS)}.{nearest(protocol, PROTOCOLS)}"
        )
