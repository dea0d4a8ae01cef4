"""A small shop whose pairs are known: one shape and color in two drawings under two titles."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
from PIL import Image

COLORS = {"red": (200, 30, 30), "green": (30, 160, 60), "blue": (40, 60, 200), "black": (25, 25, 25)}
SHAPES = ("round", "square", "striped", "ring")
SUPPLIERS = (("{color} {shape} mug", "acme"), ("mug {shape} in {color}, ceramic", "bolt"))


def draw(shape: str, color: tuple[int, int, int], rng: np.random.Generator) -> Image.Image:
    """Return a picture of 72 pixels with the shape anywhere near the middle."""
    rows, columns = np.mgrid[:72, :72] - rng.integers(30, 42, 2)[:, None, None]
    size = rng.integers(18, 26)
    distance = np.hypot(rows, columns)
    inside = {
        "round": distance < size,
        "square": np.maximum(abs(rows), abs(columns)) < size,
        "striped": (np.maximum(abs(rows), abs(columns)) < size) & (rows // 5 % 2 == 0),
        "ring": (distance < size) & (distance > size / 2),
    }[shape]
    picture = np.where(inside[..., None], color, 235) + rng.integers(-12, 12, (72, 72, 3))
    return Image.fromarray(picture.clip(0, 255).astype(np.uint8))


def make_shop(folder: Path, *, styles: int = 32, seed: int = 0, missing: bool = False) -> Path:
    """Write pairs.csv, products.csv and pictures of ``styles`` styles in two listings each."""
    rng = np.random.default_rng(seed)
    (folder / "images").mkdir(parents=True)
    products, pairs = [], []
    kinds = [(shape, color) for shape in SHAPES for color in COLORS]
    for style in range(styles):
        shape, color = kinds[style % len(kinds)]
        mark = f"no {style:03d}"
        for side, (title, brand) in enumerate(SUPPLIERS):
            name = f"images/{style:03d}{'ab'[side]}.png"
            draw(shape, COLORS[color], rng).save(folder / name)
            products.append(
                {
                    "id": f"{style:03d}{'ab'[side]}",
                    "title": f"{title.format(shape=shape, color=color)} {mark}",
                    "category": f"Home > Mugs > {shape}",
                    "brand": brand,
                    "image": name,
                    "attributes": json.dumps({"finish": "matt" if style % 2 else "gloss"}),
                }
            )
        pairs.append({"left_id": f"{style:03d}a", "right_id": f"{style:03d}b", "weight": 1 + style % 100})
    if missing:
        products[0]["image"] = ""
        products[3]["image"] = "images/gone.png"
        products[5]["title"] = ""
    for name, rows in (("products", products), ("pairs", pairs)):
        with (folder / f"{name}.csv").open("w", newline="", encoding="utf-8") as handle:
            writer = csv.DictWriter(handle, fieldnames=list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    return folder
