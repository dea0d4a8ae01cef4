"""What a presentation can be: categories of attack beside the live person, as data.

A taxonomy is a YAML file of categories, each with the sentences that describe it to a text encoder and the
sentence that an operator reads. Its order is the order of classes everywhere: of logits, of labels in
training and of reports.

Reference: ISO/IEC 30107-3 (presentation, bona fide, attack, species); CLIPC8, arXiv 2311.17583, whose
abstract names four of the attack categories of the default taxonomy; the others are this project's.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from ...core.config import Config, parse_config, read_yaml
from ...core.errors import ConfigError, nearest
from ...core.files import read_json
from ...core.limits import DEFAULT, Limits
from ...core.prompts import PromptSet

BONA_FIDE = "bona_fide"
"""Species of a live person; every other species is one of attack instruments."""

LIVE_NAMES = ("live", "real", "genuine", BONA_FIDE, "bonafide", "bona fide", "bona-fide")
"""What a live presentation is called; none of them can be the species of an attack."""

_ID = re.compile(r"[a-z0-9_]+")
_FOLDER = Path(__file__).parent / "taxonomies"


class Category(Config):
    """One kind of presentation.

    Attributes:
        id: what results and labels call it.
        kind: whether it is a live person or an attack.
        species: the group that error rates are counted in; ``bona_fide`` for every live category.
        texts: sentences that describe a picture of it; their embeddings are averaged.
        explanation: what an operator is told when the model decides for it.
        source: who says that the category exists: ``abstract`` of a paper, ``project`` ...
    """

    id: str
    kind: Literal["live", "attack"]
    species: str
    texts: tuple[str, ...]
    explanation: str = ""
    source: str = "project"

    @field_validator("id", "species")
    @classmethod
    def _plain_word(cls, word: str) -> str:
        if not _ID.fullmatch(word):
            raise ValueError(f"only small letters, digits and '_' are allowed, got {word!r}")
        return word

    @field_validator("texts", mode="before")
    @classmethod
    def _is_a_list(cls, texts: Any) -> Any:
        if isinstance(texts, str):
            raise ValueError(f"needs a list of texts, got the single text {texts[:60]!r}")
        return texts

    @field_validator("texts")
    @classmethod
    def _says_something(cls, texts: tuple[str, ...]) -> tuple[str, ...]:
        if not texts or not all(text.strip() for text in texts):
            raise ValueError(f"needs at least one text and no empty one, got {list(texts)}")
        return texts

    @model_validator(mode="after")
    def _species_fits(self) -> Category:
        if (self.kind == "live") != (self.species == BONA_FIDE):
            raise ValueError(
                f"category {self.id!r} is of kind {self.kind!r} and species {self.species!r}; live "
                f"categories are of species {BONA_FIDE!r}, and no attack is"
            )
        if self.kind == "attack" and self.species.lower() in LIVE_NAMES:
            raise ValueError(
                f"category {self.id!r} is an attack of species {self.species!r}, which reads as a live one; "
                "name the instrument, such as print"
            )
        return self


class Taxonomy(Config):
    """Categories in class order: at least one live and one attack category.

    Example:
        >>> taxonomy = load_taxonomy("binary")
        >>> taxonomy.ids, taxonomy.live
        (('spoof', 'live'), (1,))
    """

    name: str = Field(pattern=r"^[a-z0-9_-]+$")
    categories: tuple[Category, ...]

    @model_validator(mode="after")
    def _complete(self) -> Taxonomy:
        seen: set[str] = set()
        for category in self.categories:
            if category.id in seen:
                raise ValueError(f"category {category.id!r} is there twice; give one of them another id")
            seen.add(category.id)
        for kind in ("live", "attack"):
            if not any(category.kind == kind for category in self.categories):
                there = ", ".join(repr(category.id) for category in self.categories) or "none"
                raise ValueError(f"no category of kind {kind!r} among {there}; add one")
        return self

    @property
    def ids(self) -> tuple[str, ...]:
        """Names of the K categories, in class order."""
        return tuple(category.id for category in self.categories)

    @property
    def live(self) -> tuple[int, ...]:
        """Indices of the live categories."""
        return tuple(index for index, one in enumerate(self.categories) if one.kind == "live")

    @property
    def attacks(self) -> tuple[int, ...]:
        """Indices of the attack categories."""
        return tuple(index for index, one in enumerate(self.categories) if one.kind == "attack")

    @property
    def counts(self) -> tuple[int, ...]:
        """Number of texts of each category."""
        return tuple(len(category.texts) for category in self.categories)

    @property
    def texts(self) -> tuple[str, ...]:
        """Every text, category by category."""
        return tuple(text for category in self.categories for text in category.texts)

    @cached_property
    def digest(self) -> str:
        """16 hex digits of all that a score depends on: ids, kinds and texts, in order.

        Explanations, species and sources can be reworded without making a threshold invalid.
        """
        content = [[one.id, one.kind, list(one.texts)] for one in self.categories]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]

    def index(self, category: str) -> int:
        """Return the class index of a category.

        Raises:
            ConfigError: there is none of that id; the nearest one is named.
        """
        if category not in self.ids:
            raise ConfigError(
                f"Taxonomy {self.name!r} has no category {category!r}.{nearest(category, self.ids)} "
                f"It has: {', '.join(self.ids)}."
            )
        return self.ids.index(category)

    def category(self, category: str) -> Category:
        """Return a category by its id; raises as :meth:`index`."""
        return self.categories[self.index(category)]

    def species_of(self, category: str) -> str:
        """Return the species of a category; raises as :meth:`index`."""
        return self.category(category).species

    def prompts(self) -> PromptSet:
        """Return the texts as a prompt set, for zero-shot classification with any model.

        There each text counts with unit length; :mod:`.models` averages the embeddings as they are.
        """
        return PromptSet(
            name=self.name,
            classes={one.id: (one.id.replace("_", " "),) for one in self.categories},
            prompts={one.id: one.texts for one in self.categories},
        )


def parse_taxonomy(raw: Any, *, source: str) -> Taxonomy:
    """Return the taxonomy of plain data, as JSON and YAML files hold it.

    Args:
        raw: a mapping with ``name`` and ``categories``.
        source: what messages call it.

    Raises:
        ConfigError: unknown keys, a bad value or a broken rule; the category is named.
    """
    entries = raw.get("categories") if isinstance(raw, Mapping) else None
    if isinstance(raw, Mapping) and "categories" in raw and not isinstance(entries, list):
        raise ConfigError(f"{source}: categories: expected a list of them, got {type(entries).__name__}.")
    if isinstance(entries, list):
        for number, entry in enumerate(entries, start=1):
            known = isinstance(entry, Mapping) and isinstance(entry.get("id"), str) and entry["id"]
            parse_config(Category, entry, source=f"{source}: category {repr(known) if known else number}")
    return parse_config(Taxonomy, raw, source=source)


def load_taxonomy(name: str | Path | Taxonomy, *, limits: Limits = DEFAULT) -> Taxonomy:
    """Return a taxonomy of this package by name, or the one in a YAML or JSON file.

    Args:
        name: ``default`` (live and eight kinds of attack), ``binary`` (spoof and live), or a path that ends
            in .yaml, .yml or .json; a taxonomy is returned as it is.
        limits: ceilings on the size of the file and the length of a text.

    Raises:
        ConfigError: no such taxonomy, or as :func:`parse_taxonomy`.
        LimitError: file, number of categories or a text over its limit.

    Example:
        >>> load_taxonomy("default").species_of("screen_replay")
        'display'
    """
    if isinstance(name, Taxonomy):
        return name
    path = Path(name)
    if path.suffix.lower() not in (".yaml", ".yml", ".json"):
        known = taxonomy_names()
        if str(name) not in known:
            raise ConfigError(
                f"No taxonomy called {str(name)!r}.{nearest(str(name), known)} There are: "
                f"{', '.join(known)}; a file has to end in .yaml, .yml or .json."
            )
        path = _FOLDER / f"{name}.yaml"
    read = read_json if path.suffix.lower() == ".json" else read_yaml
    taxonomy = parse_taxonomy(read(path, limits=limits), source=path.name)
    limits.check("labels", len(taxonomy.categories), what=f"{path.name}: categories")
    for one in taxonomy.categories:
        longest = max(map(len, one.texts))
        limits.check("text_chars", longest, what=f"{path.name}: category {one.id!r}: characters of a text")
    return taxonomy


def taxonomy_names() -> tuple[str, ...]:
    """Return the names of the taxonomies of this package."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.yaml")))
