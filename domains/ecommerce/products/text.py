"""The text of a product that a model reads: made of its attributes, the most telling first.

Reference: product search keeps what decides whether two listings are one style near the front, because
text towers read 64 or 77 tokens and no more.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from pydantic import Field, field_validator

from ....core.config_base import Config
from ....core.errors import ConfigError, nearest
from .cleaning import PROMOTIONS, clean, words_of
from .offer import tells_of_the_offer
from .record import Attribute, Product

TEXT_VERSION = 2
"""Raised when the same product and template give another text."""

Part = Literal["brand", "title", "color", "material", "category", "gender", "description"]
"""What a group may hold; price and supplier change without the product and are not among them."""

CountTokens = Callable[[str], int]
"""From a text to the number of tokens that a model makes of it."""


@dataclass(frozen=True)
class ProductText:
    """The text of a product.

    Attributes:
        text: may be empty where a product has no words.
        truncated_fields: fields and attributes that did not fit, wholly or in part.
        tokens: of the text, as the model counts.
    """

    text: str
    truncated_fields: tuple[str, ...] = ()
    tokens: int = 0


class TextTemplate(Config):
    """How the text of a product is put together.

    Groups of fields are separated by commas and attributes follow behind a semicolon, as in ``Acme Air dress,
    red cotton Dresses, women; pattern striped``. A field is left out when it is empty or when the text
    before it has all of its words. Model numbers stay as they are written.

    Example:
        >>> product = Product("1", title="Acme Air <b>dress</b>", brand="ACME", color="red", price=9.0)
        >>> TextTemplate.preset("fashion").text(product, lambda text: len(text.split())).text
        'Acme Air dress, red'
    """

    name: str = Field(default="general", min_length=1)
    groups: tuple[tuple[Part, ...], ...] = (
        ("brand", "title"),
        ("color", "material", "category"),
        ("gender",),
    )
    """Fields in order of importance; those of a group are separated by spaces."""
    attributes: tuple[str, ...] = ()
    """Attributes that come first, in this order; no case, spaces or signs count."""
    other_attributes: bool = True
    """Whether the remaining attributes follow, in order of their names."""
    without: tuple[str, ...] = ()
    """Attributes that are left out."""
    most_attributes: int = Field(default=8, ge=0)
    attributes_first: bool = False
    """Whether attributes come right behind the first group."""
    title_tokens: int = Field(default=40, ge=1)
    """Longest title; it is cut between words."""
    promotions: tuple[str, ...] = PROMOTIONS
    """Phrases that are taken out."""

    @field_validator("groups")
    @classmethod
    def _names_a_field_once(cls, groups: tuple[tuple[Part, ...], ...]) -> tuple[tuple[Part, ...], ...]:
        parts = [part for group in groups for part in group]
        if len(set(parts)) != len(parts) or not parts:
            raise ValueError("groups name at least one field, and none twice")
        return groups

    @classmethod
    def preset(cls, name: str) -> TextTemplate:
        """Return a template by name: fashion, general or hardware.

        Raises:
            ConfigError: there is none of that name.
        """
        if name not in _PRESETS:
            raise ConfigError(
                f"There is no text template {name!r}.{nearest(name, _PRESETS)} Known: {', '.join(_PRESETS)}."
            )
        return _PRESETS[name]

    @property
    def fingerprint(self) -> str:
        """First 16 hex digits of a SHA-256: equal where the same products give the same texts."""
        content = json.dumps(
            [TEXT_VERSION, self.model_dump(mode="json", exclude={"name"})], sort_keys=True, ensure_ascii=False
        )
        return hashlib.sha256(content.encode()).hexdigest()[:16]

    def text(self, product: Product, count_tokens: CountTokens, *, max_tokens: int = 64) -> ProductText:
        """Return the text of a product, at most ``max_tokens`` long.

        The title is cut to :attr:`title_tokens`; any other field is in it whole or not at all.

        Args:
            product: whose fields are read; price and supplier are not.
            count_tokens: of the model that will read the text, marks of start and end included.
            max_tokens: that the model reads.

        Raises:
            ConfigError: ``max_tokens`` leaves no room for a word.
        """
        overhead = count_tokens("")
        if max_tokens <= overhead:
            raise ConfigError(
                f"max_tokens is {max_tokens}; the model needs more than {overhead} for its own marks."
            )
        line = _Line(count_tokens, max_tokens)
        for place, group in enumerate(self.groups):
            for position, part in enumerate(group):
                self._add(line, product, part, " " if position and line.has_group(place) else ", ", place)
            if self.attributes_first and place == 0:
                self._add_attributes(line, product)
        if not self.attributes_first:
            self._add_attributes(line, product)
        return ProductText(line.text, tuple(line.cut), count_tokens(line.text) if line.text else 0)

    def _add(self, line: _Line, product: Product, part: Part, separator: str, group: int) -> None:
        value = product.category_leaf if part == "category" else getattr(product, part)
        cleaned = clean(value, self.promotions) if value else ""
        if part == "brand" and _has_words(clean(product.title or "", self.promotions), cleaned):
            # The title spells the brand in its own place and case.
            return
        if part == "title":
            fitting = min(self.title_tokens + line.overhead, line.room_for_title())
            whole, cleaned = cleaned, cut_to(cleaned, line.count, fitting)
            if cleaned != whole:
                line.cut.append(part)
        line.add(part, cleaned, separator, group)

    def _add_attributes(self, line: _Line, product: Product) -> None:
        separator, count = "; ", 0
        for name in self._chosen(product):
            words = clean(_as_words(name, product.attributes[name]), self.promotions)
            if not words:
                continue
            if count == self.most_attributes:
                line.cut.append(name)
            elif line.add(name, words, separator, -1, told_by=_value_words(product.attributes[name])):
                separator, count = ", ", count + 1

    def _chosen(self, product: Product) -> list[str]:
        """Return the names of the attributes in the order they are told."""
        left_out = {_plain(name) for name in self.without}
        by_name: dict[str, str] = {}
        for name in sorted(product.attributes):
            plain = _plain(name)
            if plain and plain not in left_out and not tells_of_the_offer(name):
                by_name.setdefault(plain, name)
        first = [by_name.pop(plain) for one in self.attributes if (plain := _plain(one)) in by_name]
        return [*first, *by_name.values()] if self.other_attributes else first


class _Line:
    """A text that grows by whole fields while they fit."""

    def __init__(self, count: CountTokens, ceiling: int) -> None:
        self.count, self.ceiling = count, ceiling
        self.overhead = count("")
        self.text = ""
        self.cut: list[str] = []
        self._words: set[str] = set()
        self._groups: set[int] = set()

    def room_for_title(self) -> int:
        return self.ceiling - (self.count(self.text + " ") - self.overhead if self.text else 0)

    def has_group(self, group: int) -> bool:
        return group in self._groups

    def add(
        self, name: str, value: str, separator: str, group: int, told_by: list[str] | None = None
    ) -> bool:
        """Add a value unless its words are there already; note it where it does not fit."""
        words = words_of(value)
        if not words or set(told_by or words) <= self._words:
            return False
        longer = f"{self.text}{separator}{value}" if self.text else value
        if self.count(longer) > self.ceiling:
            if name not in self.cut:
                self.cut.append(name)
            return False
        self.text = longer
        self._words.update(words)
        self._groups.add(group)
        return True


def cut_to(text: str, count_tokens: CountTokens, most: int) -> str:
    """Return the longest start of a text of at most ``most`` tokens, cut between words.

    A first word that is longer by itself, as in languages written without spaces, is cut between letters.
    """
    if not text or (len(text) <= 64 * most and count_tokens(text) <= most):
        return text
    # A word is at least one token: more of them than tokens cannot fit, however long the text is.
    words = text[: 64 * most].split(" ")[:most]
    kept = _most_that_fit(len(words), lambda number: count_tokens(" ".join(words[:number])) <= most)
    if kept:
        return " ".join(words[:kept]).rstrip(" ,;|-–")
    first = words[0]
    return first[: _most_that_fit(len(first), lambda number: count_tokens(first[:number]) <= most)]


def _most_that_fit(top: int, fits: Callable[[int], bool]) -> int:
    low, high = 0, top
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low


def _plain(name: str) -> str:
    return "".join(words_of(name))


def _has_words(text: str, value: str) -> bool:
    words = words_of(value)
    return bool(words) and set(words) <= set(words_of(text))


def _value_words(value: Attribute) -> list[str] | None:
    """Return the words that tell an attribute by themselves; a number or yes needs its name."""
    return None if isinstance(value, (bool, float, int)) else words_of(value) or None


def _as_words(name: str, value: Attribute) -> str:
    name = name.rsplit(".", 1)[-1].replace("_", " ").strip()
    if isinstance(value, bool):
        return name if value else f"no {name}"
    if isinstance(value, (int, float)):
        return f"{name} {value:g}"
    return f"{name} {value}"


_PRESETS = {
    "general": TextTemplate(),
    "fashion": TextTemplate(
        name="fashion",
        attributes=(
            "pattern",
            "style",
            "fit",
            "neckline",
            "sleeve length",
            "length",
            "season",
            "occasion",
            "usage",
        ),
    ),
    "hardware": TextTemplate(
        name="hardware",
        groups=(("brand", "title"), ("category",), ("material", "color"), ("gender",)),
        attributes=(
            "model",
            "model number",
            "mpn",
            "part number",
            "type",
            "voltage",
            "power",
            "capacity",
            "diameter",
            "thread",
            "size",
            "dimensions",
            "length",
            "weight",
        ),
        most_attributes=12,
        attributes_first=True,
    ),
}
"""Templates by vertical; in hardware, model and measures decide what is the same style."""
