"""Drawn pictures of things on a table: material for the worked example, without a person in it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ....core.errors import require
from ....core.files import atomic_path

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw

_SIDE = 288
_WORDS = ("MAPLE", "No. 7", "HARBOR", "TEA", "1 kg", "LIGHT", "ATLAS", "PAPER", "NORTH", "OPEN")

Color = tuple[int, int, int]


def write_drawings(folder: Path, count: int, *, seed: int) -> list[Path]:
    """Write drawings as JPEG files ``000.jpg`` ... and return them; those that are there are kept.

    Args:
        folder: made when missing.
        count: of drawings, each of another arrangement of things.
        seed: of all of them; two seeds share no drawing.
    """
    image = require("PIL.Image", extra="liveness")
    files = [folder / f"{number:03d}.jpg" for number in range(count)]
    for number, file in enumerate(files):
        if not file.is_file():
            with atomic_path(file) as temporary:
                image.fromarray(drawing(seed, number)).save(temporary, format="JPEG", quality=92)
    return files


def drawing(seed: int, number: int) -> NDArray[np.uint8]:
    """Return one drawing uint8 [288, 288, 3], RGB: a wall, a table and three to five things on it."""
    image = require("PIL.Image", extra="liveness")
    draw = require("PIL.ImageDraw", extra="liveness")
    effects = require("PIL.ImageFilter", extra="liveness")
    rng = np.random.default_rng([seed, number])
    canvas = image.fromarray(_room(rng))
    for place in np.sort(rng.uniform(30, _SIDE - 30, rng.integers(3, 6))):
        width, height = rng.integers(36, 84), rng.integers(50, 130)
        foot = int(rng.integers(195, 262))
        left, top = int(place - width / 2), foot - int(height)
        shadow = image.new("L", canvas.size, 0)
        draw.Draw(shadow).ellipse((left - 8, foot - 10, left + width + 22, foot + 12), fill=130)
        dark = image.new("RGB", canvas.size, (18, 16, 14))
        canvas = image.composite(dark, canvas, shadow.filter(effects.GaussianBlur(6)))
        _thing(draw.Draw(canvas), rng, (left, top, left + int(width), foot))
    return _lit(np.asarray(canvas, np.float32), rng)


def _color(rng: np.random.Generator, low: int = 40, high: int = 225) -> Color:
    red, green, blue = (int(value) for value in rng.integers(low, high, 3))
    return red, green, blue


def _room(rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return a plastered wall above a wooden table."""
    rows, columns = np.mgrid[:_SIDE, :_SIDE].astype(np.float32)
    edge = rng.integers(150, 200)
    wall = np.array(_color(rng, 120, 220), np.float32) * (0.8 + 0.3 * columns[..., None] / _SIDE)
    grain = np.sin(rows / rng.uniform(1.5, 4) + 2 * np.sin(columns / rng.uniform(30, 70)))
    wood = np.array((150, 105, 66), np.float32) * rng.uniform(0.6, 1.3) + 12 * grain[..., None]
    room = np.where(rows[..., None] < edge, wall, wood)
    return np.clip(room + rng.normal(0, 6, (_SIDE, _SIDE, 1)), 0, 255).astype(np.uint8)


def _thing(pen: ImageDraw, rng: np.random.Generator, box: tuple[int, int, int, int]) -> None:
    """Draw a carton, a jar, a book or a ball into a box (left, top, right, bottom)."""
    left, top, right, bottom = box
    kind, color = rng.integers(4), _color(rng)
    lighter: Color = (min(255, color[0] + 45), min(255, color[1] + 45), min(255, color[2] + 45))
    if kind == 0:
        pen.rectangle(box, fill=color, outline=(30, 30, 30))
        pen.polygon(
            [(right, top), (right + 12, top - 8), (right + 12, bottom - 8), (right, bottom)], fill=lighter
        )
    elif kind == 1:
        pen.rounded_rectangle(box, radius=14, fill=color, outline=(35, 35, 35))
        pen.rounded_rectangle((left + 4, top - 8, right - 4, top + 6), radius=4, fill=lighter)
        pen.line((left + 9, top + 14, left + 9, bottom - 12), fill=(245, 245, 245), width=3)
    elif kind == 2:
        for number, level in enumerate(range(bottom - 12, top, -14)):
            shade = color if number % 2 else lighter
            pen.rectangle((left - number % 3 * 3, level, right + number % 2 * 4, level + 12), fill=shade)
            pen.line((left, level + 6, right, level + 6), fill=(235, 230, 215))
    else:
        size = min(right - left, bottom - top)
        pen.ellipse((left, bottom - size, left + size, bottom), fill=color, outline=(30, 30, 30))
        pen.ellipse(
            (left + size * 0.2, bottom - size * 0.85, left + size * 0.45, bottom - size * 0.6), fill=lighter
        )
        return
    if kind != 2:
        middle = (top + bottom) // 2
        pen.rectangle((left + 5, middle - 9, right - 5, middle + 9), fill=(240, 236, 225))
        pen.text((left + 8, middle - 6), str(rng.choice(_WORDS)), fill=(25, 25, 25))
        for step in range(top + 6, middle - 12, 7):
            pen.line((left + 4, step, right - 4, step), fill=lighter)


def _lit(picture: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return the picture under a lamp from one side, with a little sensor noise."""
    rows, columns = np.mgrid[:_SIDE, :_SIDE].astype(np.float32) / _SIDE
    column, row = rng.uniform(0, 1, 2)
    light = 1.15 - 0.5 * np.hypot(columns - column, rows - row * 0.5)
    noise = rng.normal(0, 3, picture.shape)
    return np.clip(picture * light[..., None] + noise, 0, 255).astype(np.uint8)
