"""Colours that are told apart with every common form of colour blindness, and on grey prints by legend."""

from __future__ import annotations

import colorsys

_CLASSES = (
    "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#332288",
    "#882255", "#44AA99", "#999933", "#AA4499", "#661100", "#6699CC", "#117733", "#DDCC77",
)  # fmt: skip
"""Okabe and Ito's palette, then those of Tol's "muted" that are far from it."""

INK, MISSING = "#333333", "#555555"
"""Text and lines; hatching of places without a value."""
VALUES = "viridis"
"""Colour map of numbers: even steps of lightness, readable in grey."""


def class_colors(count: int) -> list[tuple[int, int, int]]:
    """Return a colour (red, green, blue from 0 to 255) per class.

    The first sixteen are fixed; further ones repeat them, lighter and darker, and need their numbers to be
    told apart.
    """
    found: list[tuple[int, int, int]] = []
    for place in range(count):
        text = _CLASSES[place % len(_CLASSES)]
        red, green, blue = (int(text[start : start + 2], 16) for start in (1, 3, 5))
        turn = place // len(_CLASSES)
        if turn:
            hue, light, full = colorsys.rgb_to_hls(red / 255, green / 255, blue / 255)
            light = 0.25 + 0.6 * ((light + turn * 0.37) % 1.0)
            red, green, blue = (round(255 * one) for one in colorsys.hls_to_rgb(hue, light, full))
        found.append((red, green, blue))
    return found


def as_hex(color: tuple[int, int, int]) -> str:
    """Return "#rrggbb"."""
    return "#{:02x}{:02x}{:02x}".format(*color)
