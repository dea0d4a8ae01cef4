"""Colours that are told apart with every common form of colour blindness, and on grey prints by legend."""

from __future__ import annotations

import colorsys
import re
from collections.abc import Sequence

_CLASSES = (
    "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#332288",
    "#882255", "#44AA99", "#999933", "#AA4499", "#661100", "#6699CC", "#117733", "#DDCC77",
)  # fmt: skip
"""Okabe and Ito's palette, then those of Tol's "muted" that are far from it."""

_USUAL = (
    ("#0B4F9E", r"sea|lake|ocean|water\w*|reservoir|wetland"),
    ("#56B4E9", r"river|stream|canal"),
    ("#00573F", r"forest\w*|wood\w*|tree|jungle"),
    ("#A6D854", r"pasture|grass\w*|meadow|park|lawn"),
    ("#009E73", r"vegetation|herbaceous|shrub\w*|bush|scrub"),
    ("#E69F00", r"permanent crop\w*|orchard|vineyard|plantation"),
    ("#F0E442", r"crop\w*|farm\w*|field|agricultur\w*"),
    ("#CC79A7", r"industr\w*|commercial|factory|warehouse|port|airport"),
    ("#D55E00", r"residential|housing|house|home|town|city|urban|village|building"),
    ("#4D4D4D", r"highway|road|street|rail\w*|parking"),
    ("#C8A878", r"bare\w*|sand|desert|rock|beach|soil|quarry"),
    ("#DDE7EE", r"snow|ice|glacier|cloud"),
)
"""What maps of land use show in which colour everywhere: water is blue. Their lightness differs as well."""

INK, MISSING = "#333333", "#555555"
"""Text and lines; hatching of places without a value."""
VALUES = "viridis"
"""Colour map of numbers: even steps of lightness, readable in grey."""


def class_colors(classes: int | Sequence[str]) -> list[tuple[int, int, int]]:
    """Return a colour (red, green, blue from 0 to 255) per class.

    Args:
        classes: how many, or their names: those of land use get the colour that maps show them in. Beyond
            sixteen, colours repeat lighter and darker, and need a legend to be told apart.
    """
    names = [""] * classes if isinstance(classes, int) else [name.lower() for name in classes]
    chosen: list[str | None] = []
    for name in names:
        usual = [color for color, words in _USUAL if re.search(rf"\b(?:{words})s?\b", name)]
        chosen.append(next((color for color in usual if color not in chosen), None))
    free = [color for color in _CLASSES if color not in chosen]
    others = iter(range(len(names)))
    return [_rgb(color) if color else _turned(free, next(others)) for color in chosen]


def _turned(palette: Sequence[str], place: int) -> tuple[int, int, int]:
    """Return a colour of a palette, on its second and further rounds lighter or darker."""
    red, green, blue = _rgb(palette[place % len(palette)])
    turn = place // len(palette)
    if turn:
        hue, light, full = colorsys.rgb_to_hls(red / 255, green / 255, blue / 255)
        light = 0.25 + 0.6 * ((light + turn * 0.37) % 1.0)
        red, green, blue = (round(255 * one) for one in colorsys.hls_to_rgb(hue, light, full))
    return red, green, blue


def _rgb(text: str) -> tuple[int, int, int]:
    return int(text[1:3], 16), int(text[3:5], 16), int(text[5:7], 16)


def as_hex(color: tuple[int, int, int]) -> str:
    """Return "#rrggbb"."""
    return "#{:02x}{:02x}{:02x}".format(*color)
