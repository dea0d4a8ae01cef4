"""Captions whose claims are known, and pictures in class folders that get them.

A room measures facts of a picture and composes captions of them. What each caption claims, what holds of the
picture and what may hold are kept as bits of integers, so that :mod:`.objectives.claims` can hold a caption
against pictures that it was not written for.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from torch import Tensor

from .data.files import files_below
from .errors import ConfigError, DataError, InputError, nearest
from .images import load_image
from .limits import DEFAULT, Limits
from .pixels import to_pixels
from .prompts import PromptSet, normalize_label

Record = dict[str, Any]
"""{"id", "path", "label", "split", "group", "locator"}; with captions also {"text", "extras"}."""

Facts = TypeVar("Facts")
Told = TypeVar("Told", contravariant=True)
_SPLITS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


@dataclass(frozen=True)
class Caption:
    """A text and the terms that it claims of a picture."""

    text: str
    claims: frozenset[str]


def bits_of(claims: frozenset[str], terms: Sequence[str]) -> int:
    """Return a set of terms as bits of one integer, in the order of ``terms``.

    Raises:
        InputError: a word that is no term.
    """
    unknown = sorted(claims - set(terms))
    if unknown:
        raise InputError(f"{unknown[0]!r} is nothing a caption can claim.{nearest(unknown[0], terms)}")
    return sum(1 << place for place, term in enumerate(terms) if term in claims)


class ComposeCaptions(Protocol[Told]):
    """Composes different captions of one picture, the same ones for the same arguments."""

    def __call__(self, label: str, facts: Told, /, *, count: int, seed: str) -> tuple[Caption, ...]:
        """Return at most ``count`` captions of a picture of a class."""
        ...


@dataclass(frozen=True)
class Wording(Generic[Facts]):
    """How a room puts pictures into words.

    Attributes:
        terms: everything a caption can claim.
        measure: facts of pixels [3, H, W]. compose: captions of a class and facts.
        hold: what is true of a picture of a class with such facts, and that together with what may be.
        prompts: folder of prompt sets.
    """

    terms: tuple[str, ...]
    measure: Callable[[Tensor], Facts]
    compose: ComposeCaptions[Facts]
    hold: Callable[[str, Facts], tuple[frozenset[str], frozenset[str]]]
    prompts: Path


@dataclass(frozen=True)
class Captions:
    """Which captions every picture gets.

    Attributes:
        composed: how many of its class and facts; 0 reads labels only, without opening a picture.
        of_class: how many sentences of a prompt set beside them, drawn for each picture.
        prompts: name of that prompt set. seed: of all draws.
        by_file: draws go by the name of the file alone: the same picture has the same captions in any folder.

    Raises:
        ConfigError: a negative number, or sentences of the class alone.
    """

    composed: int
    of_class: int = 0
    prompts: str = "tiny"
    seed: int = 0
    by_file: bool = False

    def __post_init__(self) -> None:
        if min(self.composed, self.of_class) < 0 or (self.of_class and not self.composed):
            raise ConfigError(
                f"captions {self.composed}, class_captions {self.of_class}: numbers from 0, class captions "
                "only beside captions (for classes alone say captions: prompts)."
            )


@dataclass(frozen=True)
class ClassFolders:
    """Pictures that lie in ``CLASS/``, where the split is left open, or in ``SPLIT/CLASS/``.

    Attributes:
        what: is read, for messages: ``photos of clothes``; the first word is what one file is called.
        classes: names of the folders. suffixes: of the files, in lower case.
    """

    what: str
    classes: tuple[str, ...]
    suffixes: tuple[str, ...]

    def records(self, path: Path) -> list[Record]:
        """Return one record per picture, in the order of the paths.

        Raises:
            DataError: no such folder, no pictures, a folder that is no class, or both layouts at once.
        """
        things = self.what.split()[0]
        if not path.is_dir():
            raise DataError(
                f"{path.name}: no such folder of {things}. Give the folder that holds the class folders."
            )
        names = [name for name in files_below(path) if name.lower().endswith(self.suffixes)]
        if not names:
            raise DataError(f"{path.name}: no {things} here ({', '.join(self.suffixes)}).")
        records = [self._record(path, name) for name in names]
        if len({record["split"] is None for record in records}) > 1:
            raise DataError(
                f"{path.name}: class folders and split folders lie beside each other. Keep one layout."
            )
        return records

    def _record(self, path: Path, name: str) -> Record:
        folders = name.split("/")[:-1]
        split = _SPLITS.get(folders[0].lower()) if len(folders) == 2 else None
        if len(folders) != (1 if split is None else 2) or folders[-1] not in self.classes:
            found = folders[-1] if folders else ""
            raise DataError(
                f"{name}: {self.what} lie in CLASS/ or in SPLIT/CLASS/, with classes "
                f"{', '.join(self.classes)}.{nearest(found, self.classes)}"
            )
        return {
            "id": name.rpartition(".")[0],
            "path": str(path / name),
            "label": folders[-1],
            "split": split,
            "group": None,
            "locator": None,
        }


def read_described(
    path: str | Path,
    folders: ClassFolders,
    wording: Wording[Facts],
    captions: Captions,
    *,
    limits: Limits = DEFAULT,
) -> list[Record]:
    """Return one record per picture, with captions where they are asked for; in the order of the paths.

    What the captions claim, what holds and what may hold is in ``extras``, as bits.

    Raises:
        DataError: as :meth:`ClassFolders.records`, or a picture that cannot be read.
        ConfigError: an unknown prompt set, or one that lacks a class.
    """
    records = folders.records(Path(path))
    if not captions.composed:
        return records
    sentences: Mapping[str, list[str]] = {}
    if captions.of_class:
        sentences = _sentences(wording.prompts, captions.prompts, folders.classes)

    def described(record: Record) -> Record:
        return _described(record, wording, captions, sentences, limits)

    # Decoding and small tensor work release the interpreter lock for most of their time.
    with ThreadPoolExecutor(max_workers=4) as pool:
        return list(pool.map(described, records))


def _sentences(folder: Path, name: str, classes: Sequence[str]) -> dict[str, list[str]]:
    """Return {class: sentences} of a prompt set of the room that knows every class."""
    file = folder / f"{name}.yaml"
    if not file.is_file():
        known = sorted(one.stem for one in folder.glob("*.yaml"))
        raise ConfigError(
            f"No prompt set {name!r} in the room; it has {', '.join(known)}.{nearest(name, known)}"
        )
    found = PromptSet.load(file)
    known_as = {normalize_label(word): key for key, words in found.classes.items() for word in (key, *words)}
    lacking = [label for label in classes if normalize_label(label) not in known_as]
    if lacking:
        raise ConfigError(f"Prompt set {name!r} has no class that is also called {lacking[0]!r}.")
    return {label: found.texts(known_as[normalize_label(label)]) for label in classes}


def _described(
    record: Record,
    wording: Wording[Facts],
    captions: Captions,
    sentences: Mapping[str, list[str]],
    limits: Limits,
) -> Record:
    """Return a record with captions and with the bits of what they claim and of what holds."""
    label = str(record["label"])
    try:
        facts = wording.measure(to_pixels(load_image(record["path"], limits=limits), name=record["id"]))
    except OSError as error:
        raise DataError(f"{record['id']}: cannot be read ({error.strerror}).") from error
    own = f"{captions.seed}:{record['id'].rpartition('/')[2] if captions.by_file else record['id']}"
    found = list(wording.compose(label, facts, count=captions.composed, seed=own))
    if captions.of_class:
        known = sentences[label]
        chosen = random.Random(own).sample(known, k=min(captions.of_class, len(known)))
        found += [Caption(text, frozenset((label,))) for text in chosen]
    holds, may = wording.hold(label, facts)
    # A text that both draws gave counts once, with what the composed one claims.
    claims = {caption.text: bits_of(caption.claims, wording.terms) for caption in reversed(found)}
    extras = {"claims": claims, "holds": bits_of(holds, wording.terms), "may": bits_of(may, wording.terms)}
    return {**record, "text": list(claims), "extras": extras}
