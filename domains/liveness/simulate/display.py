"""Displays: a grid of pixels and their colors against the sensor's, fringes, glow and mirrored lamps."""

from __future__ import annotations

import numpy as np

from .ranges import Draw
from .raster import Field, coordinates, lattice, shine

PHASES = {
    "rgb": (0.0, 1 / 3, 2 / 3),
    "bgr": (2 / 3, 1 / 3, 0.0),
    "pairs": (0.0, 0.5, 0.0),
    "delta": (0.0, 1 / 3, 2 / 3),
    "grey": (0.0, 0.0, 0.0),
}
"""Where red, green and blue begin within a pixel, as shares of it; see :func:`grid`."""


def grid(layout: str, height: int, width: int, draw: Draw, *, rows: bool) -> Field:
    """Return the pattern [H, W, 3] of a panel's pixels, mean about 1.

    ``pairs`` has green twice as often as red and blue, ``delta`` shifts every second row by half a pixel,
    ``grey`` has no colors (seen from afar, or a monochrome panel).
    """
    rng = draw.rng
    turn, bulge = draw.number("turn_deg"), draw.number("bulge")
    pitch = draw.number("pitch")
    # Panels lie across or along, and the sensor's own pixels nearly parallel to them.
    u, v = lattice(height, width, pitch, angle_deg=turn, bulge=bulge, phase=float(rng.uniform(0, 1)))
    if rng.random() < 0.3:
        u, v = v, u
    if layout == "delta":
        u = u + 0.5 * (np.floor(v) % 2)
    sharp = rng.uniform(0.8, 2.2)
    pattern = np.empty((height, width, 3), np.float32)
    row = 0.5 + 0.5 * np.cos(2 * np.pi * v)
    for channel, phase in enumerate(PHASES[layout]):
        periods = u * 2 if layout == "pairs" and channel == 1 else u
        stripe = (0.5 + 0.5 * np.cos(2 * np.pi * (periods - phase))) ** sharp
        pattern[..., channel] = stripe * (0.35 + 0.65 * row if rows else 1.0)
    return pattern / np.maximum(pattern.mean(axis=(0, 1)), 1e-3)


def fringes(height: int, width: int, draw: Draw) -> Field:
    """Return colored fringes [H, W, 3] around 0, to which two grids of nearly one pitch beat."""
    rng = draw.rng
    field = np.zeros((height, width, 3), np.float32)
    for _ in range(int(rng.integers(1, 3))):
        u, v = lattice(
            height,
            width,
            draw.number("fringe_period"),
            angle_deg=float(rng.uniform(0, 180)),
            bulge=float(rng.uniform(-0.4, 0.4)) if rng.random() < 0.6 else 0.0,
        )
        spread = rng.choice([0.0, 0.08, 1 / 3])
        crossed = rng.random() < 0.35
        loose = draw.chance("loose")
        for channel in range(3):
            if loose and channel:
                u, v = lattice(
                    height,
                    width,
                    draw.number("fringe_period"),
                    angle_deg=float(rng.uniform(0, 180)),
                    phase=float(rng.uniform(0, 1)),
                )
            wave = np.cos(2 * np.pi * (u + channel * spread))
            field[..., channel] += wave * np.cos(2 * np.pi * v) if crossed else wave
    return draw.number("fringe") * field


def shown(light: Field, draw: Draw) -> Field:
    """Return the light [H, W, 3] of a display that shows ``light``; ``draw`` is of such a family."""
    rng = draw.rng
    height, width = light.shape[:2]
    emitted = np.clip(light, 0.0, 1.0) ** np.float32(draw.number("gamma"))
    blue = draw.number("blue")
    emitted = emitted * np.array([1.0 - blue, 1.0 - 0.3 * blue, 1.0 + blue], np.float32)
    has_grid, has_fringes = draw.chance("grid"), draw.chance("fringes")
    if has_grid or not has_fringes:
        pattern = grid(draw.word("layout"), height, width, draw, rows=draw.chance("rows"))
        emitted = emitted * (1.0 + draw.number("contrast") * (pattern - 1.0))
    if has_fringes:
        beat = fringes(height, width, draw)
        emitted = emitted * (1.0 + beat) + 0.06 * beat
    if draw.chance("refresh"):
        _, y = coordinates(height, width)
        count, phase = rng.uniform(1.0, 6.0), rng.uniform(0, 6.28)
        emitted = emitted * (1.0 + rng.uniform(0.06, 0.25) * np.cos(2 * np.pi * count * y + phase))[..., None]
    # Black of a display is never dark: light leaks through, and the room mirrors in the glass.
    emitted = emitted + draw.number("backlight") * np.array([0.9, 1.0, 1.15], np.float32)
    if draw.chance("glare"):
        emitted = emitted + shine(rng, height, width, draw.number("glare"))
    return np.maximum(emitted, 0.0).astype(np.float32)
