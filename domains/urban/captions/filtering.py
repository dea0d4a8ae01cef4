"""Leaving out captions that say nothing, what is wrong, or the same thing too often; every rule counted.

Rules apply in this order: keywords of tiles, keywords of captions, number of words, likeness to the picture,
repeats in the corpus. A tile goes when nothing of it is left.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from ....core.config import Config, read_config
from ....core.errors import ConfigError, nearest
from ....core.files import write_json_atomic

Captions = Mapping[str, Sequence[str]]
"""{picture: its captions}."""
Likeness = Callable[[Captions], "Mapping[str, Sequence[float]]"]
"""From captions to the cosine of each with its picture; NaN where there is none to be had."""

RULES = ("tile_keywords", "caption_keywords", "min_words", "max_words", "min_similarity", "max_repeats")
"""Names under which a report counts, in the order the rules apply."""


class FilterRules(Config):
    """What a filter leaves out; a file of rules has these keys, all of them optional."""

    tile_keywords: tuple[str, ...] = ()
    """A tile goes with all of its captions when one of them has one of these words or phrases."""
    caption_keywords: tuple[str, ...] = ()
    """A caption with one of these words or phrases goes."""
    match: Literal["word", "substring"] = "word"
    """``word``: "ocean" is not found in "oceans"; ``substring``: anywhere, also inside of a word."""
    case_sensitive: bool = False
    min_words: int | None = Field(default=None, ge=1)
    max_words: int | None = Field(default=None, ge=1)
    min_similarity: float | None = Field(default=None, ge=-1, le=1)
    """Least cosine of a caption with its picture, by a CLIP model that the filter is given."""
    max_repeats: int | None = Field(default=None, ge=1)
    """Most captions of the corpus that read the same; the first ones stay. Case and white space count."""

    @field_validator("tile_keywords", "caption_keywords")
    @classmethod
    def _say_something(cls, words: tuple[str, ...]) -> tuple[str, ...]:
        if any(not word.strip() for word in words):
            raise ValueError("an empty keyword would be found everywhere; remove it")
        return words

    @model_validator(mode="after")
    def _words_agree(self) -> FilterRules:
        if self.min_words and self.max_words and self.min_words > self.max_words:
            raise ValueError(f"min_words {self.min_words} is over max_words {self.max_words}")
        return self


RECIPES: Mapping[str, FilterRules] = {
    "urbanclip": FilterRules(tile_keywords=("ocean",), match="substring", case_sensitive=True),
    "clean": FilterRules(min_words=3, max_words=60, max_repeats=50),
}
"""Rules by name. ``urbanclip`` is the one rule of the published corpora: open water, the whole tile.
``clean`` is ours, for what captioners write: scraps, endless lists, and one sentence for thousands of tiles.

Reference: siruzhong/UrbanCLIP-Dataset-Toolkit, keyword filter.
"""


@dataclass(frozen=True)
class FilterReport:
    """What a filter did.

    Attributes:
        rules: those that applied.
        tiles, captions: (before, after).
        removed: {rule: captions that it removed}. keywords: {keyword: captions that have it}.
        dropped: {picture: the rule that took its last caption}.
        unscored: captions without a likeness: their picture cannot be read, or they are too long for the
            model. They count under ``min_similarity``.
    """

    rules: FilterRules
    tiles: tuple[int, int]
    captions: tuple[int, int]
    removed: Mapping[str, int] = field(default_factory=dict)
    keywords: Mapping[str, int] = field(default_factory=dict)
    dropped: Mapping[str, str] = field(default_factory=dict)
    unscored: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "rules": self.rules.model_dump(mode="json", exclude_defaults=True),
            "tiles": {"before": self.tiles[0], "after": self.tiles[1]},
            "captions": {"before": self.captions[0], "after": self.captions[1]},
            "removed_captions": dict(self.removed),
            "dropped_tiles_by_rule": dict(Counter(self.dropped.values())),
            "keywords": dict(self.keywords),
            "unscored": self.unscored,
            "dropped_tiles": dict(self.dropped),
        }

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> FilterReport:
        """Return the report that :meth:`to_dict` gave."""
        return cls(
            rules=FilterRules.model_validate(raw["rules"]),
            tiles=(raw["tiles"]["before"], raw["tiles"]["after"]),
            captions=(raw["captions"]["before"], raw["captions"]["after"]),
            removed=raw["removed_captions"],
            keywords=raw["keywords"],
            dropped=raw["dropped_tiles"],
            unscored=raw["unscored"],
        )

    def save(self, path: str | Path) -> None:
        """Write :meth:`to_dict` as JSON through a temporary name."""
        write_json_atomic(path, self.to_dict())


class CaptionFilter:
    """Rules, ready to apply to any number of captions.

    Args:
        rules: what goes; None takes those of ``recipe``.
        recipe: a name of :data:`RECIPES`.
        likeness: what ``min_similarity`` is measured with; see :func:`.likeness.image_text_likeness`.

    Raises:
        ConfigError: an unknown recipe, both or neither of ``rules`` and ``recipe``, or ``min_similarity``
            without ``likeness``.

    Example:
        >>> captions = {"a.jpg": ["An ocean.", "A pier."], "b.jpg": ["A park."]}
        >>> kept, report = CaptionFilter(recipe="urbanclip")(captions)
        >>> kept, report.removed["tile_keywords"]
        ({'b.jpg': ('A park.',)}, 2)
    """

    def __init__(
        self,
        rules: FilterRules | None = None,
        *,
        recipe: str | None = None,
        likeness: Likeness | None = None,
    ) -> None:
        if (rules is None) == (recipe is None):
            raise ConfigError("A caption filter takes rules or the name of a recipe, one of the two.")
        if recipe is not None and recipe not in RECIPES:
            raise ConfigError(
                f"No caption filter called {recipe!r}.{nearest(recipe, RECIPES)} Known: "
                f"{', '.join(RECIPES)}; a YAML file of rules works too."
            )
        self.rules = rules if rules is not None else RECIPES[str(recipe)]
        if self.rules.min_similarity is not None and likeness is None:
            raise ConfigError(
                f"min_similarity {self.rules.min_similarity:g} needs a model that compares captions with "
                "pictures. Name one, or leave min_similarity out."
            )
        self._likeness = likeness
        self._in_tile = _finders(self.rules.tile_keywords, self.rules)
        self._in_caption = _finders(self.rules.caption_keywords, self.rules)

    @classmethod
    def read(cls, name_or_path: str | Path, *, likeness: Likeness | None = None) -> CaptionFilter:
        """Return the filter of a recipe's name, or of a YAML or JSON file of :class:`FilterRules`.

        Raises:
            ConfigError: unknown name, unreadable file, unknown key, or a value out of range.
        """
        path = Path(name_or_path)
        if path.suffix.lower() not in {".yaml", ".yml", ".json"}:
            return cls(recipe=str(name_or_path), likeness=likeness)
        return cls(read_config(FilterRules, path), likeness=likeness)

    def __call__(self, captions: Captions) -> tuple[dict[str, tuple[str, ...]], FilterReport]:
        """Return the captions that stay, in the order given, and what became of the others."""
        run = _Run(captions)
        self._by_keywords(run)
        self._by_words(run)
        self._by_likeness(run)
        self._by_repeats(run)
        return run.kept, FilterReport(
            rules=self.rules,
            tiles=(len(captions), len(run.kept)),
            captions=(sum(map(len, captions.values())), sum(map(len, run.kept.values()))),
            removed={
                rule: run.removed[rule] for rule in RULES if getattr(self.rules, rule) not in (None, ())
            },
            keywords={
                word: run.keywords[word] for word in (*self.rules.tile_keywords, *self.rules.caption_keywords)
            },
            dropped=run.dropped,
            unscored=run.unscored,
        )

    def _by_keywords(self, run: _Run) -> None:
        for image, texts in run.items():
            found = [{word for word, is_in in self._in_tile.items() if is_in(text)} for text in texts]
            run.keywords.update(word for words in found for word in words)
            if any(found):
                run.keep(image, (), "tile_keywords")
        for image, texts in run.items():
            found = [{word for word, is_in in self._in_caption.items() if is_in(text)} for text in texts]
            run.keywords.update(word for words in found for word in words)
            run.keep(image, _where(texts, [not words for words in found]), "caption_keywords")

    def _by_words(self, run: _Run) -> None:
        least, most = self.rules.min_words or 0, self.rules.max_words or math.inf
        for image, texts in run.items():
            run.keep(image, [text for text in texts if len(text.split()) >= least], "min_words")
        for image, texts in run.items():
            run.keep(image, [text for text in texts if len(text.split()) <= most], "max_words")

    def _by_likeness(self, run: _Run) -> None:
        if self.rules.min_similarity is None or self._likeness is None or not run.kept:
            return
        least = self.rules.min_similarity
        scores = self._likeness(dict(run.kept))
        for image, texts in run.items():
            run.unscored += sum(math.isnan(score) for score in scores[image])
            # A comparison with NaN is false: what cannot be scored goes.
            run.keep(image, _where(texts, [score >= least for score in scores[image]]), "min_similarity")

    def _by_repeats(self, run: _Run) -> None:
        if self.rules.max_repeats is None:
            return
        seen: Counter[str] = Counter()
        for image, texts in run.items():
            stays: list[str] = []
            for text in texts:
                seen[text] += 1
                stays += [text] * (seen[text] <= self.rules.max_repeats)
            run.keep(image, stays, "max_repeats")


class _Run:
    """Captions that are left so far, and counts."""

    def __init__(self, captions: Captions) -> None:
        self.kept = {image: tuple(texts) for image, texts in captions.items()}
        self.removed: Counter[str] = Counter()
        self.keywords: Counter[str] = Counter()
        self.dropped: dict[str, str] = {}
        self.unscored = 0

    def items(self) -> list[tuple[str, tuple[str, ...]]]:
        return list(self.kept.items())

    def keep(self, image: str, texts: Sequence[str], rule: str) -> None:
        """Leave a tile only ``texts`` of its captions; without any it goes."""
        self.removed[rule] += len(self.kept[image]) - len(texts)
        if texts:
            self.kept[image] = tuple(texts)
        elif self.kept.pop(image):
            self.dropped[image] = rule


def _where(texts: Sequence[str], stays: Sequence[bool]) -> list[str]:
    return [text for text, stay in zip(texts, stays, strict=True) if stay]


def _finders(words: Sequence[str], rules: FilterRules) -> dict[str, Callable[[str], bool]]:
    """Return {keyword: whether a text has it}."""
    found: dict[str, Callable[[str], bool]] = {}
    for word in words:
        # Words of a phrase may stand on two lines.
        pattern = r"\s+".join(map(re.escape, word.split())) if rules.match == "word" else re.escape(word)
        if rules.match == "word":
            pattern = rf"(?<!\w){pattern}(?!\w)"
        compiled = re.compile(pattern, 0 if rules.case_sensitive else re.IGNORECASE)
        found[word] = lambda text, compiled=compiled: compiled.search(text) is not None
    return found
