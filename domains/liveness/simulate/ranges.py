"""From what simulated presentations are drawn: intervals and words of two parts that never meet."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from ....core.config import parse_config, read_yaml
from ....core.config_base import Config, Probability
from ....core.errors import ConfigError, nearest

Part = Literal["train", "test"]
PARTS: tuple[Part, ...] = ("train", "test")

Interval = tuple[float, float]


class Range(Config):
    """The values of a parameter in each part: intervals, or words."""

    train: tuple[Interval, ...] | tuple[str, ...] = Field(min_length=1)
    test: tuple[Interval, ...] | tuple[str, ...] = Field(min_length=1)

    @property
    def is_number(self) -> bool:
        """Whether values are numbers."""
        return not isinstance(self.train[0], str)

    @model_validator(mode="after")
    def _apart(self) -> Range:
        if isinstance(self.train[0], str) != isinstance(self.test[0], str):
            raise ValueError("train and test must both be intervals, or both words")
        if not self.is_number:
            both = sorted(set(self.train) & set(self.test), key=str)
            if both:
                raise ValueError(
                    f"{', '.join(map(str, both))} is in train and in test; a word belongs to one"
                )
            return self
        own = [(low, high, part) for part in PARTS for low, high in self.intervals(part)]
        for low, high, part in own:
            if low > high:
                raise ValueError(f"{part}: [{low}, {high}] ends before it begins")
        own.sort()
        for (_, end, first), (start, _, second) in itertools.pairwise(own):
            if start <= end:
                raise ValueError(
                    f"an interval of {first} reaches {end} and one of {second} begins at {start}; "
                    "intervals must be apart"
                )
        return self

    def intervals(self, part: Part) -> tuple[Interval, ...]:
        """Return the intervals of ``part``; empty for words."""
        return tuple(each for each in getattr(self, part) if not isinstance(each, str))

    def words(self, part: Part) -> tuple[str, ...]:
        """Return the words of ``part``; empty for numbers."""
        return tuple(each for each in getattr(self, part) if isinstance(each, str))


class Drawn(Config):
    """Parameters and chances of one thing that is simulated."""

    parameters: dict[str, Range]
    chances: dict[str, Probability] = Field(default_factory=dict)


class FamilyRanges(Drawn):
    """A family of attacks as data."""

    category: str = Field(pattern=r"^[a-z0-9_]+$")
    """Id in the default taxonomy."""
    about: str = Field(min_length=1)
    strength: str
    """The parameter that says how visible an attack of this family is."""
    stronger: Literal["higher", "lower"]

    @model_validator(mode="after")
    def _strength_known(self) -> FamilyRanges:
        if self.strength not in self.parameters or not self.parameters[self.strength].is_number:
            raise ValueError(f"strength {self.strength!r} is no parameter with intervals")
        return self


class Ranges(Config):
    """Everything that simulated presentations are drawn from."""

    camera: Drawn
    """What every picture goes through, bona fide or attack, with the same values."""
    families: dict[str, FamilyRanges] = Field(min_length=1)

    def family(self, name: str) -> FamilyRanges:
        """Return a family by name.

        Raises:
            ConfigError: there is no such family.
        """
        if name not in self.families:
            raise ConfigError(
                f"No family of simulated attacks is called {name!r}.{nearest(name, self.families)} "
                f"Known: {', '.join(self.families)}."
            )
        return self.families[name]


@lru_cache(maxsize=1)
def load_ranges() -> Ranges:
    """Return the ranges of this package, from ``ranges.yaml``."""
    path = Path(__file__).with_name("ranges.yaml")
    return parse_config(Ranges, read_yaml(path), source=path.name)


class Draw:
    """Values of one simulated presentation, each drawn when it is asked for and remembered.

    Args:
        given: what to draw from.
        part: "train" or "test".
        rng: the only source of randomness.
    """

    def __init__(self, given: Drawn, part: Part, rng: np.random.Generator) -> None:
        self.given, self.rng = given, rng
        self.part: Part = part
        self.values: dict[str, float | str | bool] = {}

    def number(self, name: str) -> float:
        """Return a number uniform over the intervals of the part, by their length."""
        if name not in self.values:
            intervals = self.given.parameters[name].intervals(self.part)
            place = self.rng.uniform(0.0, sum(high - low for low, high in intervals))
            for low, high in intervals:
                if place <= high - low:
                    break
                place -= high - low
            self.values[name] = float(min(low + place, high))
        return float(self.values[name])

    def word(self, name: str) -> str:
        """Return one of the words of the part, each as likely."""
        if name not in self.values:
            words = self.given.parameters[name].words(self.part)
            self.values[name] = words[int(self.rng.integers(len(words)))]
        return str(self.values[name])

    def chance(self, name: str) -> bool:
        """Return whether something is there, by its chance."""
        if name not in self.values:
            self.values[name] = bool(self.rng.random() < self.given.chances[name])
        return bool(self.values[name])


def strength_of(family: FamilyRanges, part: Part, values: Mapping[str, float | str | bool]) -> float:
    """Return where the drawn strength lies among the values of its part: 0 hardly visible, 1 plainly."""
    intervals = family.parameters[family.strength].intervals(part)
    value = float(values[family.strength])
    below = sum(min(max(value - low, 0.0), high - low) for low, high in intervals)
    share = below / max(sum(high - low for low, high in intervals), 1e-12)
    return share if family.stronger == "higher" else 1.0 - share


def check_part(part: str) -> Part:
    """Return ``part`` if there is one of this name.

    Raises:
        ConfigError: there is none.
    """
    for known in PARTS:
        if part == known:
            return known
    raise ConfigError(f"Part {part!r} is not train or test.{nearest(part, PARTS)}")


def check_families(names: Sequence[str]) -> tuple[str, ...]:
    """Return ``names``, or all families for none.

    Raises:
        ConfigError: an unknown family.
    """
    ranges = load_ranges()
    for name in names:
        ranges.family(name)
    return tuple(names) or tuple(ranges.families)
