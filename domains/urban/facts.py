"""What can be measured of a patch of satellite imagery without a model, and captions that say it.

A caption claims things of a patch: its land use ("forest"), a family of land uses ("water"), or what the
pixels show ("dark", "green", "smooth"). Because each claim is known, a caption can be held against patches
it was not written for: :func:`read_eurosat` keeps the claims, :mod:`.claims` trains with them.

Measures are taken of the picture as people see it, in [0, 1]. One larger than 64 pixels a side is first
averaged down to that, the size of a Sentinel-2 patch of 640 m that the thresholds were chosen on (EuroSAT
RGB; a fifth to a third of its patches lie beyond each).
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ...core import claims as claims_core
from ...core.claims import Caption
from ...core.errors import InputError, nearest

SIDE = 64
"""Pixels a side at which measures are taken."""

WORDS: dict[str, tuple[str, ...]] = {
    "dark": ("dark", "dim", "dark colored"),
    "bright": ("bright", "light", "pale"),
    "green": ("green", "greenish", "green colored"),
    "brown": ("brown", "tan", "earth colored", "bare"),
    "blue": ("blue", "bluish", "blue colored"),
    "gray": ("gray", "grey", "grayish"),
    "smooth": ("smooth", "plain", "featureless"),
    "busy": ("busy", "rough", "finely detailed"),
    "uniform": ("uniform", "even", "homogeneous"),
    "patchy": ("patchy", "varied", "mixed"),
    "spotted": ("speckled", "spotted"),
}
"""{fact: adjectives}. Facts of one group exclude each other; see :class:`Facts`."""

NOUNS: dict[str, tuple[str, ...]] = {
    "AnnualCrop": ("field", "cropland", "arable land", "crop field", "farm field", "crops"),
    "Forest": ("forest", "woodland", "woods", "wood", "trees"),
    "HerbaceousVegetation": (
        "shrubland",
        "scrub",
        "scrubland",
        "brush",
        "wild vegetation",
        "natural grassland",
    ),
    "Highway": ("highway", "motorway", "road", "area with a highway", "area with a road"),
    "Industrial": ("industrial area", "factory site", "warehouses", "factories", "industrial buildings"),
    "Pasture": ("pasture", "meadow", "grazing land", "pasture land"),
    "PermanentCrop": ("orchard", "vineyard", "plantation", "orchards", "permanent crops"),
    "Residential": ("residential area", "houses", "suburb", "housing", "neighborhood", "homes"),
    "River": ("river", "river bank", "stream", "area with a river"),
    "SeaLake": ("lake", "sea", "open water", "sea water"),
}
"""{EuroSAT class: nouns that an adjective can stand before}."""

FAMILIES: dict[str, tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]] = {
    "water": (
        ("River", "SeaLake"),
        (),
        ("water", "a body of water", "water body", "a water surface", "blue water"),
    ),
    "buildings": (
        ("Industrial", "Residential"),
        ("Highway",),
        ("buildings", "a built-up area", "a town", "a city", "an urban area", "many buildings", "roofs"),
    ),
    "farming": (
        ("AnnualCrop", "PermanentCrop"),
        ("Pasture", "Highway", "River"),
        ("farmland", "agriculture", "agricultural land", "cultivated land", "farms"),
    ),
    "vegetation": (
        ("Forest", "HerbaceousVegetation", "Pasture"),
        ("AnnualCrop", "PermanentCrop", "Highway", "River"),
        ("vegetation", "plants", "countryside", "nature", "green vegetation"),
    ),
}
"""{family: (classes that belong to it, classes that may show it, words)}."""

PLACES = ("area", "land", "patch", "ground", "scene", "place", "terrain", "tile")
"""What a caption without a class calls a patch."""

UNCOUNTED = frozenset(
    {"woods", "trees", "scrub", "brush", "wood", "housing", "ground", "terrain", "wild vegetation"}
    | {"cropland", "arable land", "scrubland", "shrubland", "woodland", "grazing land", "pasture land"}
    | {"natural grassland", "open water", "sea water", "land", "crops", "permanent crops", "warehouses"}
    | {"factories", "industrial buildings", "orchards", "houses", "homes"}
)
"""Nouns and places that take no "a"."""

FRAMES = (
    "{}",
    "{}",
    "{}",
    "a satellite image of {}",
    "a satellite photo of {}",
    "satellite view of {}",
    "an aerial view of {}",
    "{} from above",
    "this is {}",
    "this shows {}",
)
"""Sentences around the words of a caption."""

TERMS: tuple[str, ...] = (*NOUNS, *FAMILIES, *WORDS)
"""Everything a caption can claim, in the order of the bits of :func:`bits_of`."""

_LUMA = (0.299, 0.587, 0.114)
_SLACK = {"brightness": 0.03, "color": 0.015, "texture": 0.2, "layout": 0.2, "spots": 0.5}


@dataclass(frozen=True)
class Facts:
    """Measures of one patch and the words they amount to.

    Attributes:
        brightness: mean luma (ITU-R 601) in [0, 1]: ``dark`` below 0.25, ``bright`` above 0.45.
        red, green, blue: mean of each channel. ``blue`` where blue is over green by 0.055 and over red by
            0.08; else ``green`` where green is over red by 0.07; ``brown`` where red is over green or over
            blue by 0.02 and not below either by that much; ``gray`` where red is below green by no more than
            0.05 and none of the others holds. Haze makes satellite pictures bluish: neutral ground has
            blue over red by about 0.05.
        edges: mean absolute difference of luma between neighboring pixels: ``smooth`` below 0.010, ``busy``
            above 0.033.
        spread: standard deviation of the means of 8 x 8 blocks, averaged over channels: ``uniform`` below
            0.02, ``patchy`` above 0.075.
        spots: share of pixels with luma above 0.75: ``spotted`` from 0.02 to 0.35, bright roofs and tanks.
        holds: words that are true. may_hold: those and the words that a small change would make true.
    """

    brightness: float
    red: float
    green: float
    blue: float
    edges: float
    spread: float
    spots: float

    @property
    def holds(self) -> frozenset[str]:
        """The words that are true of the patch."""
        return self._words(slack=0.0)

    @property
    def may_hold(self) -> frozenset[str]:
        """The words that are true or nearly so: no caption with one of them is wrong."""
        return self._words(slack=1.0) | self.holds

    def _words(self, *, slack: float) -> frozenset[str]:
        light, tint = slack * _SLACK["brightness"], slack * _SLACK["color"]
        fine, coarse, dots = (1 + slack * _SLACK[name] for name in ("texture", "layout", "spots"))
        over_green, over_blue = self.red - self.green, self.red - self.blue
        blue = self.blue - self.green > 0.055 - tint and -over_blue > 0.08 - tint
        green = -over_green > 0.07 - tint
        brown = max(over_green, over_blue) > 0.02 - tint and min(over_green, over_blue) > -0.02 - tint
        gray = over_green > -0.05 - tint
        if not slack:
            green, gray = green and not blue, gray and not (blue or brown)
        else:
            gray = gray and max(over_green, over_blue) < 0.02 + tint
        found = {
            "dark": self.brightness < 0.25 + light,
            "bright": self.brightness > 0.45 - light,
            "green": green,
            "brown": brown,
            "blue": blue,
            "gray": gray,
            "smooth": self.edges < 0.010 * fine,
            "busy": self.edges > 0.033 / fine,
            "uniform": self.spread < 0.02 * coarse,
            "patchy": self.spread > 0.075 / coarse,
            "spotted": 0.02 / dots < self.spots < 0.35 * dots,
        }
        return frozenset(word for word, is_true in found.items() if is_true)


def facts_of(image: Tensor) -> Facts:
    """Return the measures of one patch.

    Args:
        image: float32 [3, H, W] in [0, 1], at least 2 x 2; larger than 64 x 64 is averaged down to it.

    Raises:
        InputError: another shape or type, values that are not finite or not in [0, 1].

    Example:
        >>> sorted(facts_of(torch.tensor([0.1, 0.2, 0.15]).view(3, 1, 1).expand(3, 64, 64)).holds)
        ['dark', 'green', 'smooth', 'uniform']
    """
    if image.ndim != 3 or image.shape[0] != 3 or min(image.shape[1:]) < 2 or not image.is_floating_point():
        raise InputError(
            f"Facts are measured of float [3, H, W] of at least 2 x 2 pixels, got {image.dtype} "
            f"{list(image.shape)}."
        )
    low, high = (float(bound) for bound in image.aminmax())
    if not (low >= -1e-3 and high <= 1 + 1e-3):
        raise InputError(
            f"Facts are measured of values in [0, 1], got {low:g} to {high:g}. Scale them first."
        )
    pixels = image.float()[None]
    size = (min(SIDE, image.shape[1]), min(SIDE, image.shape[2]))
    if tuple(image.shape[1:]) != size:
        pixels = F.interpolate(pixels, size, mode="area")
    luma = (pixels * torch.tensor(_LUMA).view(1, 3, 1, 1)).sum(1)
    across = (luma[..., 1:] - luma[..., :-1]).abs().mean()
    down = (luma[..., 1:, :] - luma[..., :-1, :]).abs().mean()
    blocks = F.adaptive_avg_pool2d(pixels, (min(8, size[0]), min(8, size[1])))
    red, green, blue = pixels.mean((0, 2, 3)).tolist()
    return Facts(
        brightness=float(luma.mean()),
        red=red,
        green=green,
        blue=blue,
        edges=float((across + down) / 2),
        spread=float(blocks.flatten(2).std(2, correction=0).mean()),
        spots=float((luma > 0.75).float().mean()),
    )


def fact_words(facts: Facts) -> tuple[str, ...]:
    """Return the words that are true of a patch, in the order of :data:`WORDS`."""
    return tuple(word for word in WORDS if word in facts.holds)


def captions_of(label: str | None, facts: Facts, *, count: int = 6, seed: int | str = 0) -> tuple[str, ...]:
    """Return captions of one patch, the same ones for the same arguments.

    Args:
        label: EuroSAT class (``"Forest"``), or None for captions on the facts alone.
        facts: of the pixels.
        count: how many different captions to return; fewer when there are not so many.
        seed: which ones.

    Raises:
        InputError: a label that is no class, or a count below 1.

    Example:
        >>> dark = Facts(0.2, 0.15, 0.25, 0.28, edges=0.007, spread=0.01, spots=0.0)
        >>> captions_of("Forest", dark, count=2)
        ('smooth woodland', 'this is even, dim, greenish land')
    """
    return tuple(caption.text for caption in claimed_captions(label, facts, count=count, seed=seed))


def claimed_captions(
    label: str | None, facts: Facts, *, count: int = 6, seed: int | str = 0
) -> tuple[Caption, ...]:
    """Return what :func:`captions_of` does, each with its claims.

    Half of them are on the facts alone. Of the others, which name the class, one in five names its family.

    Raises:
        InputError: as :func:`captions_of`.
    """
    if label is not None and label not in NOUNS:
        raise InputError(
            f"{label!r} is no class of EuroSAT; they are {', '.join(NOUNS)}.{nearest(label, NOUNS)}"
        )
    if count < 1:
        raise InputError(f"count is {count}; ask for at least one caption.")
    draw = random.Random(f"{label}:{seed}")
    words = fact_words(facts)
    found: dict[str, Caption] = {}
    for attempt in range(8 * count):
        named = label is not None and (attempt % 2 == 0 or not words)
        said = draw.sample(words, k=min(len(words), draw.choice((1, 1, 2, 2, 3))))
        caption = _named(str(label), said, draw) if named else _unnamed(said, draw)
        found.setdefault(caption.text, caption)
        if len(found) == count:
            break
    return tuple(found.values())


def claims_held(label: str | None, facts: Facts) -> tuple[frozenset[str], frozenset[str]]:
    """Return what is true of a patch, and that together with what may be.

    A caption is right for the patch when all it claims is in the first, wrong when something of it is
    not in the second, and otherwise undecided.
    """
    holds, may = set(facts.holds), set(facts.may_hold)
    if label is None:
        may |= {*NOUNS, *FAMILIES}
    else:
        holds.add(label)
        holds |= {family for family, (members, _, _) in FAMILIES.items() if label in members}
        may |= {family for family, (_, maybe, _) in FAMILIES.items() if label in maybe}
    return frozenset(holds), frozenset(holds | may)


def bits_of(claims: frozenset[str]) -> int:
    """Return a set of :data:`TERMS` as bits of one integer; see :func:`core.claims.bits_of`."""
    return claims_core.bits_of(claims, TERMS)


def family_captions(label: str) -> Mapping[str, tuple[str, ...]]:
    """Return {family: words} of the families that a class belongs to."""
    return {name: words for name, (members, _, words) in FAMILIES.items() if label in members}


def _named(label: str, said: list[str], draw: random.Random) -> Caption:
    """Return a caption with the class or a family of it, and up to three facts."""
    families = family_captions(label)
    if families and draw.random() < 0.2:
        name = draw.choice(sorted(families))
        # Adjectives agree with a place; families are named as they are.
        text = draw.choice(families[name])
        return Caption(_framed(text, draw), frozenset((name,)))
    noun = draw.choice(NOUNS[label])
    adjectives = [draw.choice(WORDS[word]) for word in said]
    text = _joined(adjectives, noun, draw)
    return Caption(_framed(text, draw), frozenset((label, *said)))


def _unnamed(said: list[str], draw: random.Random) -> Caption:
    if not said:
        return Caption(_framed(draw.choice(PLACES), draw), frozenset())
    adjectives = [draw.choice(WORDS[word]) for word in said]
    return Caption(_framed(_joined(adjectives, draw.choice(PLACES), draw), draw), frozenset(said))


def _joined(adjectives: list[str], noun: str, draw: random.Random) -> str:
    before = draw.random() < 0.8
    words = draw.choice((", ", " ", " and ")).join(adjectives)
    text = f"{words} {noun}" if adjectives and before else noun
    if noun not in UNCOUNTED and draw.random() < 0.6:
        is_vowel = text[0] in "aeiou" and not text.startswith("uniform")
        text = f"{'an' if is_vowel else 'a'} {text}"
    return text if before or not adjectives else f"{text}, {words}"


def _framed(text: str, draw: random.Random) -> str:
    return draw.choice(FRAMES).replace("{}", text)
