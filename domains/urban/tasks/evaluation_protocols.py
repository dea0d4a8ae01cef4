"""How the class names of a public set are asked for: the protocols of published zero-shot results.

Templates, and the rules for class names, are facts of each protocol: another wording gives other numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ....core.errors import ConfigError, nearest
from ....core.prompts import PromptSet, prompt_set
from ....core.set_results import Ensemble

if TYPE_CHECKING:
    from .evaluation_catalogue import EvaluationSet

_GEORSCLIP_NOUNS = ("remote sensing image", "aerial image", "satellite image")
_GEORSCLIP_KINDS = (
    "low resolution", "bad", "cropped", "bright", "dark", "close-up", "black and white", "jpeg corrupted",
    "blurry", "good",
)  # fmt: skip
_GEORSCLIP_THINGS = ("large", "nice", "small", "weird", "cool")

_CLIP_BENCHMARK = {
    "eurosat": (
        "a centered satellite photo of {}.",
        "a centered satellite photo of a {}.",
        "a centered satellite photo of the {}.",
    ),
    # Misspelled there, and therefore here.
    "resisc45": (
        "a sattelite image of {}",
        "an aerial view of {}",
        "a sattelite photo of {}",
        "{} from above",
    ),
}
_CLIP_BENCHMARK_EUROSAT = {
    "AnnualCrop": "annual crop land",
    "Forest": "forest",
    "HerbaceousVegetation": "brushland or shrubland",
    "Highway": "highway or road",
    "Industrial": "industrial buildings or commercial buildings",
    "Pasture": "pasture land",
    "PermanentCrop": "permanent crop land",
    "Residential": "residential buildings or homes or apartments",
    "River": "river",
    "SeaLake": "lake or sea",
}


@dataclass(frozen=True)
class EvaluationProtocol:
    """A way to ask for classes.

    Attributes:
        name: what users call it.
        summary: what it does, on one line.
        ensemble: how the prompts of a class become one vector; see :data:`core.set_results.Ensemble`.
        note: what keeps a result from being exactly comparable, or "".
    """

    name: str
    summary: str
    ensemble: Ensemble
    note: str = ""


PROTOCOLS = {
    one.name: one
    for one in (
        EvaluationProtocol(
            "skyscript",
            "two templates; prompts normalized, then averaged",
            "unit",
            "The class names are plain ones: SkyScript's own lists come with its data, not with its code.",
        ),
        EvaluationProtocol(
            "georsclip",
            "105 templates; folder names in lower case; prompts averaged as they are, then normalized",
            "raw",
            "Class names are those of the set's folders; how the authors' archive spells them is not known.",
        ),
        EvaluationProtocol(
            "clip_benchmark",
            "the templates and class names of CLIP_benchmark; prompts normalized first",
            "unit",
        ),
        EvaluationProtocol(
            "rsicd", "one sentence with the category of the file name, as CLIP-rsicd is evaluated", "unit"
        ),
    )
}
"""{name: protocol}."""


def georsclip_templates() -> tuple[str, ...]:
    """Return the 105 templates: 35 each for a remote sensing, an aerial and a satellite image.

    Reference: om-ai-lab/RS5M, zero-shot inference.
    """
    found: list[str] = []
    for noun in _GEORSCLIP_NOUNS:
        article = "an" if noun[0] == "a" else "a"
        seen = f"{article} {noun} of"
        found += [f"{seen} many {{}}.", f"{seen} a {{}}.", f"{seen} the {{}}."]
        found += [f"{seen} the hard to see {{}}.", f"{seen} a hard to see {{}}."]
        found += [f"a {kind} {noun} of {the} {{}}." for kind in _GEORSCLIP_KINDS for the in ("the", "a")]
        found += [f"{seen} {the} {thing} {{}}." for thing in _GEORSCLIP_THINGS for the in ("the", "a")]
    return tuple(found)


def georsclip_name(name: str) -> str:
    """Return a class name as that protocol asks for it: lower case, no underscore and no slash."""
    return name.replace("_", " ").replace("/", " ").lower()


def protocol_of(one: EvaluationSet, name: str | None) -> EvaluationProtocol:
    """Return a protocol of a set; None takes its first.

    Raises:
        ConfigError: no such protocol, or none for this set.
    """
    if name is None:
        return PROTOCOLS[one.protocols[0]]
    if name not in one.protocols:
        raise ConfigError(
            f"{one.name} has no protocol {name!r}; it has: {', '.join(one.protocols)}."
            f"{nearest(name, one.protocols)}"
        )
    return PROTOCOLS[name]


def protocol_prompts(one: EvaluationSet, protocol: EvaluationProtocol) -> PromptSet:
    """Return what a protocol says about each class of a set."""
    if protocol.name == "skyscript":
        return prompt_set(f"urban/{one.name}")
    if protocol.name == "georsclip":
        words = {name: georsclip_name(name) for name in one.classes}
        templates = georsclip_templates()
    elif protocol.name == "clip_benchmark":
        # Where that benchmark has no names of its own, it takes those of the set as they are.
        words = _CLIP_BENCHMARK_EUROSAT if one.name == "eurosat" else {name: name for name in one.classes}
        templates = _CLIP_BENCHMARK[one.name]
    else:
        words, templates = {name: name for name in one.classes}, ("An aerial photograph of {}",)
    return PromptSet(
        name=f"{one.name} by {protocol.name}",
        classes={name: (words[name],) for name in one.classes},
        templates=templates,
    )
