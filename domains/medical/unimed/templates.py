"""Captions from labels without a language model: sentence patterns filled by modality, anatomy and label."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from ....core.prompts import normalize_label, prompt_words

MODALITIES: dict[str, tuple[str, ...]] = {
    "x-ray": ("X-ray", "radiograph", "plain film", "projection radiograph"),
    "ct": ("CT scan", "computed tomography image", "CT slice", "CT"),
    "mri": ("MRI", "MR image", "magnetic resonance image", "MRI slice"),
    "ultrasound": ("ultrasound image", "sonogram", "ultrasound scan", "echographic view"),
    "histopathology": (
        "histology image",
        "stained tissue section",
        "histopathology slide",
        "microscopic field",
    ),
    "fundus": (
        "fundus photograph",
        "retinal image",
        "colour fundus image",
        "photograph of the ocular fundus",
    ),
    "dermatoscopy": ("dermatoscopic image", "dermoscopy image", "close-up of the skin lesion"),
    "mammography": ("mammogram", "mammography view"),
    "microscopy": ("microscopy image", "microscope view", "photomicrograph"),
    "endoscopy": ("endoscopic image", "endoscopy frame"),
}
"""{modality: what a caption calls an image of it}; the first is the usual name."""

_ALIASES = {
    "xray": "x-ray", "x ray": "x-ray", "cxr": "x-ray", "radiography": "x-ray", "radiograph": "x-ray",
    "computed tomography": "ct", "ct scan": "ct", "mr": "mri", "magnetic resonance imaging": "mri",
    "us": "ultrasound", "sonography": "ultrasound", "pathology": "histopathology",
    "histology": "histopathology", "retina": "fundus", "retinal fundus": "fundus",
    "fundus photography": "fundus", "dermoscopy": "dermatoscopy",
}  # fmt: skip

NORMAL = frozenset(
    {"normal", "healthy", "no finding", "no findings", "no abnormality", "negative", "unremarkable"}
)
"""Labels that say that nothing was found; such images get sentences of their own."""

_FINDING = (
    "{A} {image}{of} showing {label}.",
    "{A} {image}{of} with {label}.",
    "{Image}{of}: {label}.",
    "Findings on this {image}{of} are consistent with {label}.",
    "{Label} on {a} {image}{of}.",
    "{Label}, {image}{of}.",
    "This {image}{of} demonstrates {label}.",
    "Visible on this {image}{of}: {label}.",
    "The appearance of this {image}{of} is that of {label}.",
    "Impression: {label} ({image}{of}).",
    "{Label} as seen on {a} {image}{of}.",
    "{A} {image}{of} taken in a case of {label}.",
    "An example of {label} on {a} {image}{of}.",
    "{Image}{of} read as {label}.",
    "Typical picture of {label} on {a} {image}{of}.",
    "{Label}.",
)
_NOTHING = (
    "{A} {image}{of} without abnormality.",
    "{A} normal {image}{of}.",
    "{Image}{of}: no abnormal finding.",
    "No abnormality is seen on this {image}{of}.",
    "This {image}{of} is unremarkable.",
    "Normal appearance on {a} {image}{of}.",
    "The {image}{of} shows no sign of disease.",
    "Impression: nothing abnormal ({image}{of}).",
    "{A} {image}{of} taken in a healthy case.",
    "{Image}{of} read as normal.",
    "An example of a normal {image}{of}.",
    "Negative {image}{of}.",
)

_NORMAL_PHRASES = (
    "without abnormality", "no abnormal finding", "no abnormality", "nothing abnormal", "no sign of disease",
    "normal appearance", "normal", "unremarkable", "healthy", "negative",
)  # fmt: skip
"""What the sentences above say instead of a finding."""


@dataclass(frozen=True)
class CaptionRequest:
    """What captions are wanted for.

    Attributes:
        labels: the image's labels, all of them together; at least one.
        modality: "CT", "MRI", "X-ray" ...; "" says nothing about it.
        anatomy: "chest", "brain" ...; "" says nothing about it.
        count: how many.
    """

    labels: tuple[str, ...]
    modality: str = ""
    anatomy: str = ""
    count: int = 10

    @property
    def prompt(self) -> str:
        """The request in words, for a language model."""
        findings = join_labels(self.labels)
        what = " ".join(word for word in (self.modality, "image") if word)
        where = f" of the {self.anatomy}" if self.anatomy else ""
        return (
            f"Write {self.count} different short captions, one sentence each, for a medical {what}{where} "
            f"whose label is: {findings}. State nothing that the label does not say: no side, size, age or "
            "history. Vary wording and sentence form. Give one caption per line and nothing else."
        )


class TemplateCaptions:
    """Writes captions from sentence patterns; the same request and seed give the same captions.

    Args:
        seed: changes the choice and the order.

    Example:
        >>> write = TemplateCaptions(seed=0)
        >>> len(write(CaptionRequest(("glioma",), modality="MRI", anatomy="brain", count=3)))
        3
    """

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    def __call__(self, request: CaptionRequest) -> list[str]:
        """Return up to ``request.count`` different captions; there are about forty per request."""
        key = f"{self.seed}|{request.modality}|{request.anatomy}|{'|'.join(sorted(request.labels))}"
        generator = random.Random(key)
        normal = all(normalize_label(label) in NORMAL for label in request.labels)
        patterns = list(_NOTHING if normal else _FINDING)
        generator.shuffle(patterns)
        names = modality_names(request.modality)
        found: dict[str, None] = {}
        # Every pattern is used once before one comes again with another name of the modality.
        for turn in range(len(names)):
            for number, pattern in enumerate(patterns):
                found.setdefault(_fill(pattern, request, names[(turn + number) % len(names)]))
        return list(found)[: request.count]


def modality_names(modality: str) -> tuple[str, ...]:
    """Return what captions call an image of ``modality``; one that is not known stands for itself."""
    word = " ".join(modality.replace("_", " ").split()).casefold()
    names = MODALITIES.get(_ALIASES.get(word, word))
    return names or ((modality,) if word else ("image", "medical image"))


def concept_phrases(request: CaptionRequest) -> list[str]:
    """Return the words of the concepts that captions of a request are about, without those it lacks.

    These are the findings, or what says that there is none, every name of the modality, and the anatomy.
    They are meant to be looked up in a caption, see ``conceptclip.spans.match_phrases``.
    """
    found = [
        _as_noun(prompt_words(label)) for label in request.labels if normalize_label(label) not in NORMAL
    ]
    modality = modality_names(request.modality) if request.modality else ()
    anatomy = (" ".join(request.anatomy.split()),) if request.anatomy else ()
    return list(dict.fromkeys((*(found or _NORMAL_PHRASES), *modality, *anatomy)))


def join_labels(labels: Sequence[str]) -> str:
    """Return labels as they read inside a sentence: ``a``, ``a and b``, ``a, b and c``."""
    words = [_as_noun(prompt_words(label)) for label in labels]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _fill(pattern: str, request: CaptionRequest, image: str) -> str:
    label = join_labels(request.labels)
    article = _article("normal" if "{A} normal" in pattern else image)
    anatomy = " ".join(request.anatomy.split())
    return pattern.format(
        image=image,
        Image=_capital(image),
        a=article,
        A=_capital(article),
        of=f" of the {anatomy}" if anatomy else "",
        label=label,
        Label=_capital(label),
    )


def _as_noun(label: str) -> str:
    """Return a label without the capitals of a heading; acronyms (MCL, T2) and names within keep theirs."""
    words = label.split(" ")
    if all(word.istitle() or not word.isalpha() for word in words):
        return label.lower()
    # Nobody's acronym is this long: a label in capitals throughout.
    return " ".join(word.lower() if word.isupper() and len(word) > 5 else word for word in words)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _article(noun: str) -> str:
    """Return "a" or "an" by sound: letters that are read out (MRI, X-ray) count as their names."""
    word = noun.split(" ", 1)[0]
    # A word of capitals is spelled out; so is the X of an X-ray.
    if word.isupper() or word.startswith("X-"):
        return "an" if word[0] in "AEFHILMNORSX" else "a"
    return "an" if word[0].lower() in "aeiou" else "a"
