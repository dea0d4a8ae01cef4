"""Captions for photos of garments, composed of the kind of garment and of measured facts.

A caption claims things: the kind ("dress"), a family of kinds ("top"), or what the pixels show ("red",
"striped"). Because each claim is known, a caption can be held against photos it was not written for:
:func:`.readers.read_clothing` keeps the claims, :mod:`.claims` trains with them.
"""

from __future__ import annotations

import random
from collections.abc import Mapping

from ...core import claims as claims_core
from ...core.claims import Caption
from ...core.errors import InputError, nearest
from .facts import COLORS, FACTS, PATTERNS, Facts

WORDS: dict[str, tuple[str, ...]] = {
    **{color: (color,) for color in COLORS},
    "gray": ("gray", "grey"),
    "navy": ("navy", "navy blue"),
    "purple": ("purple", "violet"),
    "beige": ("beige", "cream colored", "tan"),
    "multicolored": ("multicolored", "colorful", "multicolor"),
    "dark": ("dark", "dark colored"),
    "light": ("light", "light colored", "pale"),
    "plain": ("plain", "solid", "plain colored"),
    "striped": ("striped", "stripy"),
    "patterned": ("patterned", "printed"),
}
"""{fact: adjectives}."""

NOUNS: dict[str, tuple[str, ...]] = {
    "dress": ("dress", "gown", "frock"),
    "hat": ("hat", "cap", "headwear"),
    "longsleeve": ("longsleeve", "long sleeve top", "long-sleeved top", "sweater", "pullover", "jumper"),
    "outwear": ("outwear", "outerwear", "jacket", "coat"),
    "pants": ("pants", "trousers", "pair of pants", "pair of trousers"),
    "shirt": ("shirt", "button-up shirt", "blouse"),
    "shoes": ("shoes", "footwear", "pair of shoes"),
    "shorts": ("shorts", "pair of shorts", "short pants"),
    "skirt": ("skirt", "miniskirt"),
    "t-shirt": ("t-shirt", "tee", "tshirt", "T shirt", "tee shirt"),
}
"""{kind of garment, as folders of the clothing data set: nouns an adjective can stand before}."""

FAMILIES: dict[str, tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]] = {
    "top": (("longsleeve", "shirt", "t-shirt"), ("outwear", "dress"), ("top", "upper garment")),
    "bottoms": (("pants", "shorts", "skirt"), ("dress",), ("bottoms", "lower garment")),
}
"""{family: (kinds that belong to it, kinds that may, nouns)}."""

GARMENTS = ("garment", "piece of clothing", "clothing", "clothes", "item", "product")
"""What a caption that leaves the kind open calls a garment."""

UNCOUNTED = frozenset(
    {"headwear", "outwear", "outerwear", "pants", "trousers", "shoes", "footwear", "shorts", "short pants"}
    | {"bottoms", "clothing", "clothes"}
)
"""Nouns that take no "a"."""

FRAMES = (
    "{}", "{}", "{}", "{}", "a photo of {}", "a picture of {}", "product photo of {}", "this is {}",
    "{} for sale",
)  # fmt: skip
"""Sentences around the words of a caption."""

TERMS: tuple[str, ...] = (*NOUNS, *FAMILIES, *FACTS)
"""Everything a caption can claim, in the order of the bits of :func:`bits_of`."""


def captions_of(
    kind: str | None, facts: Facts, *, count: int = 6, seed: int | str = 0
) -> tuple[Caption, ...]:
    """Return different captions of one photo, the same ones for the same arguments.

    A third leaves the kind open and says facts alone; of the others, one in eight names the family.

    Args:
        kind: of :data:`NOUNS`, or None for captions on the facts alone.
        facts: of the pixels.
        count: how many; fewer when there are not so many.
        seed: which ones.

    Raises:
        InputError: an unknown kind, or a count below 1.

    Example:
        >>> shares = {color: float(color == "red") for color in COLORS}
        >>> red = Facts(shares, lightness=45.0, detail=5.0, direction=0.1, found=0.8)
        >>> [caption.text for caption in captions_of("dress", red, count=2)]
        ['product photo of a red gown', 'red product']
    """
    if kind is not None and kind not in NOUNS:
        raise InputError(
            f"{kind!r} is no kind of garment here; they are {', '.join(NOUNS)}.{nearest(kind, NOUNS)}"
        )
    if count < 1:
        raise InputError(f"count is {count}; ask for at least one caption.")
    draw = random.Random(f"{kind}:{seed}")
    found: dict[str, Caption] = {}
    for attempt in range(8 * count):
        named = kind is not None and attempt % 3 != 1
        caption = _drawn(kind if named else None, facts, draw)
        found.setdefault(caption.text, caption)
        if len(found) == count:
            break
    return tuple(found.values())


def claims_held(kind: str | None, facts: Facts) -> tuple[frozenset[str], frozenset[str]]:
    """Return what is true of a photo, and that together with what may be.

    A caption is right for the photo when all it claims is in the first, wrong when something of it is not in
    the second, and otherwise undecided.
    """
    holds, may = set(facts.holds), set(facts.may_hold)
    if kind is None:
        may |= {*NOUNS, *FAMILIES}
    else:
        holds.add(kind)
        holds |= set(family_nouns(kind))
        may |= {family for family, (_, maybe, _) in FAMILIES.items() if kind in maybe}
    return frozenset(holds), frozenset(holds | may)


def family_nouns(kind: str) -> Mapping[str, tuple[str, ...]]:
    """Return {family: nouns} of the families that a kind belongs to."""
    return {name: nouns for name, (members, _, nouns) in FAMILIES.items() if kind in members}


def bits_of(claims: frozenset[str]) -> int:
    """Return a set of :data:`TERMS` as bits of one integer; see :func:`core.claims.bits_of`."""
    return claims_core.bits_of(claims, TERMS)


def _drawn(kind: str | None, facts: Facts, draw: random.Random) -> Caption:
    said = _facts_to_say(facts, draw, at_least=0 if kind else 1)
    claims = set(said)
    noun = draw.choice(GARMENTS)
    if kind is not None:
        families = family_nouns(kind)
        if families and draw.random() < 0.125:
            name = draw.choice(sorted(families))
            noun, term = draw.choice(families[name]), name
        else:
            noun, term = draw.choice(NOUNS[kind]), kind
        claims.add(term)
    return Caption(draw.choice(FRAMES).replace("{}", _phrase(said, noun, draw)), frozenset(claims))


def _facts_to_say(facts: Facts, draw: random.Random, *, at_least: int) -> list[str]:
    """Return facts in the order in which people say them: pattern, shade, colors."""
    holds = facts.holds
    patterns = [word for word in PATTERNS if word in holds and draw.random() < 0.5]
    # The larger share first: "white and navy".
    colors = sorted(
        (word for word in COLORS if word in holds and not (word == "blue" and "navy" in holds)),
        key=lambda word: -facts.shares[word],
    )
    if facts.shares["blue"] < 0.3 and "navy" in holds and draw.random() < 0.5:
        colors = ["blue" if word == "navy" else word for word in colors]
    if len(colors) > 1 and draw.random() < 0.5:
        colors = [draw.choice(colors)]
    if not colors and "multicolored" in holds:
        colors = ["multicolored"]
    if draw.random() < 0.2 and at_least == 0:
        colors = []
    shades = [word for word in ("dark", "light") if word in holds and draw.random() < 0.4]
    if colors and colors[0] in ("black", "white", "navy", "multicolored"):
        shades = []
    said = [*patterns, *shades, *colors]
    return said or [word for word in FACTS if word in holds and at_least][:1]


def _phrase(said: list[str], noun: str, draw: random.Random) -> str:
    words = [draw.choice(WORDS[word]) for word in said]
    colors = [place for place, word in enumerate(said) if word in COLORS]
    if len(colors) > 1:
        words = [*words[: colors[0]], " and ".join(words[place] for place in colors)]
    adjectives = " ".join(words)
    before = draw.random() < 0.85 or not words
    text = f"{adjectives} {noun}" if before and words else noun
    if noun not in UNCOUNTED and draw.random() < 0.6:
        text = f"{'an' if text[0] in 'aeiou' else 'a'} {text}"
    return text if before else f"{text}, {adjectives}"
