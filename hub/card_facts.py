"""What a card is written from: the records in a model folder, read and checked once."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from ..core.config import ModelConfig, ProcessorConfig, parse_config, read_config, read_yaml
from ..core.errors import ConfigError
from ..core.files import (
    CONFIG_FILE,
    LICENCE_FILE,
    METRICS_FILE,
    OPTIONAL_FILES,
    PROCESSOR_FILE,
    RECIPE_FILE,
    REQUIRED_FILES,
    WEIGHTS_FILE,
    read_json,
    sha256_of,
)
from ..core.names import is_sha256
from ..core.recipe import Recipe
from ..core.registry import ROOMS, ModelSpec, WeightsRef, models, room
from ..core.tensor_header import read_header
from .conversions import CONVERSION_FILE

_LICENCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+ _-]{0,79}")


@dataclass(frozen=True)
class Weights:
    """What a safetensors file holds, as its header says: no tensor is read.

    Attributes:
        numbers: {dtype in words: how many numbers}. tensors: how many tensors.
    """

    numbers: Mapping[str, int]
    tensors: int


@dataclass(frozen=True)
class CardFacts:
    """The records of one model folder.

    Attributes:
        metrics, recipe: of a model that was trained here, else None.
        conversion: of somebody else's weights, else None.
        spec: the registered model of that name, if there is one.
        words: how its domain speaks of samples. files: {file that loading reads: (bytes, SHA-256)}.
    """

    folder: Path
    config: ModelConfig
    processor: ProcessorConfig
    metrics: Mapping[str, Any] | None
    recipe: Recipe | None
    conversion: Mapping[str, Any] | None
    spec: ModelSpec | None
    words: Mapping[str, str]
    files: Mapping[str, tuple[int, str]]
    weights: Weights

    @property
    def load_as(self) -> str:
        """What a user writes to load it: the registered name, or a word for the repository of the card."""
        return self.config.name if self.is_registered else "ORG/NAME"

    @property
    def is_registered(self) -> bool:
        """Whether this is the registered model of its name, and no other run of the same recipe."""
        if self.spec is None:
            return False
        if isinstance(self.spec.weights, WeightsRef):
            return self.spec.weights.files.get(WEIGHTS_FILE) == self.files[WEIGHTS_FILE][1]
        found = self.conversion or {}
        return found.get("model") == self.spec.name and not found.get("variant")

    @property
    def classifies(self) -> bool:
        """Whether a head was trained with it; the head's own folder may be elsewhere."""
        return self.recipe is not None and self.recipe.task is None and self.recipe.classifies


def read_facts(folder: str | Path) -> CardFacts:
    """Return the records of a model folder.

    Raises:
        ConfigError: nothing says where the weights come from; a record is missing or damaged; no licence, or
            one that is no licence's name; no description.
        WeightsError: the weights are not a safetensors file.
    """
    folder = Path(folder)
    config = read_config(ModelConfig, folder / CONFIG_FILE)
    processor = read_config(ProcessorConfig, folder / PROCESSOR_FILE)
    metrics = recipe = conversion = None
    if (folder / METRICS_FILE).is_file():
        metrics = _mapping(folder, METRICS_FILE)
        recipe = parse_config(Recipe, read_yaml(folder / RECIPE_FILE), source=RECIPE_FILE)
    elif (folder / CONVERSION_FILE).is_file():
        conversion = _mapping(folder, CONVERSION_FILE)
    else:
        raise ConfigError(
            f"{folder}: neither {METRICS_FILE} nor {CONVERSION_FILE}, so nothing says where the weights come "
            "from; a card needs one. Training writes the first, conversion the second."
        )
    check_words(config, str(folder))
    return CardFacts(
        folder=folder,
        config=config,
        processor=processor,
        metrics=metrics,
        recipe=recipe,
        conversion=conversion,
        spec=models().get(config.name),
        words=words_of(config),
        files=_files(folder, conversion),
        weights=_weights(folder / WEIGHTS_FILE),
    )


def check_words(config: ModelConfig, where: str) -> None:
    """Raise ``ConfigError`` when a config lacks what every card needs."""
    for word in ("licence", "description"):
        if not getattr(config, word).strip():
            raise ConfigError(
                f"{where}: config.json has no {word}; a card needs one. Set model.{word} in the recipe."
            )
    if not _LICENCE.fullmatch(config.licence):
        raise ConfigError(
            f"{where}: licence {config.licence[:80]!r} is no name of a licence. Write its SPDX identifier, "
            f"such as Apache-2.0, or a name of letters, digits and .+-_ with its text in {LICENCE_FILE}."
        )


def _mapping(folder: Path, name: str) -> dict[str, Any]:
    found = read_json(folder / name)
    if not isinstance(found, dict):
        raise ConfigError(f"{folder}: {name} holds no mapping. Write it by training or conversion.")
    return found


def _files(folder: Path, conversion: Mapping[str, Any] | None) -> dict[str, tuple[int, str]]:
    """Return size and hash of what loading reads; gigabytes that conversion hashed are not read again."""
    written = (conversion or {}).get("written", {})
    known = {name: text for name, text in written.items() if is_sha256(str(text))}
    return {
        name: ((folder / name).stat().st_size, known.get(name) or sha256_of(folder / name))
        for name in (*REQUIRED_FILES, *OPTIONAL_FILES)
        if (folder / name).is_file()
    }


_TYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "BOOL": "bool"}


def _weights(path: Path) -> Weights:
    if not path.is_file():
        raise ConfigError(f"{path}: no such file.")
    tensors = read_header(path).tensors
    numbers: Counter[str] = Counter()
    for stored, shape in tensors.values():
        numbers[_TYPES.get(stored, stored.lower().replace("i", "int", 1))] += prod(shape)
    return Weights(dict(numbers.most_common()), len(tensors))


WORDS: Mapping[str, Mapping[str, str]] = {
    "image": {
        "sample": "image",
        "a_sample": "an image",
        "samples": "images",
        "modality": "image",
        "Modality": "Image",
        "file": "picture.png",
        "pipeline": "zero-shot-image-classification",
        "classify": "image-classification",
        "validation": (
            "Validation is the sources' own validation part where there is one; otherwise groups of "
            "near-identical images (64-bit difference hash) were kept on one side of a random split. It is "
            "drawn like the training images, so expect less on images from other scanners and sites."
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
        "classify": "audio-classification",
        "validation": (
            "Validation is the sources' own validation part where there is one; otherwise equal recordings, "
            "and those of one group, were kept on one side of a random split. It is drawn like the training "
            "recordings, so expect less on recordings of other microphones and rooms."
        ),
    },
    "text": {
        "sample": "text",
        "a_sample": "a text",
        "samples": "texts",
        "modality": "text",
        "Modality": "Text",
        "file": "a sentence",
        "pipeline": "feature-extraction",
        "classify": "text-classification",
        "validation": "Validation is the sources' own validation part where there is one.",
    },
}
"""How a card speaks of samples, by the modality of the model; a domain may have words of its own."""


def words_of(config: ModelConfig) -> dict[str, str]:
    """Return the words for what a model is about: the first of its modalities that is not text."""
    found = [name for name in config.towers if name in WORDS and name != "text"]
    found = found or [name for name in config.towers if name in WORDS]
    home = "audio" if config.domain == "audio" else "image"
    # A part without towers (a vocoder) is of its domain.
    words, own = WORDS[found[0] if found else home], domain_words(config.domain)
    # The file that a domain names is one of its own samples: no picture for a CLIP among models of sound.
    return {**words, **own, "file": own.get("file", words["file"]) if words is WORDS[home] else words["file"]}


def domain_words(domain: str | None) -> Mapping[str, str]:
    """Return what cards of a domain say in words of its own."""
    return room(domain).card_words if domain in ROOMS and domain else {}
