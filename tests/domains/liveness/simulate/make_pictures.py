"""Drawn pictures to simulate with: smooth shapes on a ground, with some texture, none of a person."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFilter


def drawn(seed: int, *, height: int = 160, width: int = 120) -> np.ndarray:
    """Return a picture uint8 [H, W, 3] of a few soft-edged shapes."""
    rng = np.random.default_rng(seed)
    image = Image.new("RGB", (width, height), tuple(int(v) for v in rng.integers(90, 220, 3)))
    pen = ImageDraw.Draw(image)
    for _ in range(6):
        x, y = int(rng.integers(0, width)), int(rng.integers(0, height))
        reach = int(rng.integers(10, width // 2))
        color = tuple(int(v) for v in rng.integers(20, 250, 3))
        pen.ellipse((x - reach, y - reach, x + reach, y + reach), fill=color)
    soft = np.asarray(image.filter(ImageFilter.GaussianBlur(1.0)), np.float32)
    return np.clip(soft + rng.normal(0, 3, soft.shape), 0, 255).astype(np.uint8)


def save(folder, count: int, *, seed: int = 0) -> None:
    """Write drawn pictures into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        Image.fromarray(drawn(seed + number)).save(folder / f"{number:03}.png")
