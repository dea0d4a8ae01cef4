"""Identity cards with a foreign photo: fine lines and text, a pasted portrait, laminate that mirrors."""

from __future__ import annotations

import math

import numpy as np

from ....core.errors import require
from .ranges import Draw
from .raster import (
    SUPER,
    Field,
    blur,
    cloud,
    coordinates,
    grains,
    lattice,
    outline,
    over,
    pose,
    resized,
    shifted,
    shine,
    warp,
    widened,
)

LETTERS = "ABCDEFGHIJKLMNOPRSTUVWZ0123456789<"


def card(light: Field, draw: Draw) -> Field:
    """Return a card with ``light`` [H, W, 3] pasted where its own portrait was."""
    rng = draw.rng
    height, width = light.shape[:2]
    blank = _blank(height, width, draw)
    share = draw.number("share")
    place = (float(rng.uniform(-0.5, 0.5)) * (1 - share), float(rng.uniform(-0.5, 0.5)) * (1 - share))
    # The portrait that was there first: its frame looks out where the new photo does not cover it.
    frame = outline("box", rng, height, width, share=share * rng.uniform(0.97, 1.06), shift=place)
    blank = over(blank * rng.uniform(0.75, 0.92), frame, blank)
    return _paste(light, blank, share, place, draw)


def patch(light: Field, draw: Draw) -> Field:
    """Return the picture with a piece of another one pasted in its middle."""
    rng = draw.rng
    height, width = light.shape[:2]
    share = draw.number("patch")
    place = (float(rng.uniform(-0.15, 0.15)), float(rng.uniform(-0.15, 0.15)))
    donor = light[:, ::-1] if rng.random() < 0.5 else np.rot90(light, 2)
    keep = rng.uniform(0.45, 0.8)
    top, left = (int(rng.integers(0, max(1, round(n * (1 - keep))))) for n in (height, width))
    donor = donor[top : top + round(height * keep), left : left + round(width * keep)]
    return _paste(resized(np.ascontiguousarray(donor), height, width), light, share, place, draw)


def _paste(photo: Field, below: Field, share: float, place: tuple[float, float], draw: Draw) -> Field:
    """Return ``photo`` scaled to ``share`` of the sides and pasted on ``below``, laminate over both."""
    rng = draw.rng
    height, width = below.shape[:2]
    tilt = draw.number("tilt_deg")
    matrix = pose(rng, height, width, turn_deg=tilt, share=share, keystone=0.006)
    move = np.eye(3)
    move[0, 2], move[1, 2] = place[0] * width, place[1] * height
    matrix = move @ matrix
    tint = draw.number("tint")
    soft = blur(photo, draw.number("softness") * SUPER / share)
    soft = soft * (1.0 + tint * rng.uniform(-1.0, 1.0, 3)).astype(np.float32)
    mask = warp(np.ones((height, width), np.float32), matrix, fill=0.0)
    pasted = warp(soft.astype(np.float32), matrix, fill=0.0)
    angle, dark = rng.uniform(0, 2 * math.pi), 0.0 if draw.chance("flat") else draw.number("shadow")
    drop = 1.6
    cut = widened(mask, draw.number("rim")) if draw.chance("rim") else mask
    shadow = blur(shifted(cut, drop * math.cos(angle), drop * math.sin(angle)), drop * SUPER * 0.7)
    scene = below * (1.0 - dark * shadow)[..., None]
    if cut is not mask:
        scene = over(np.full_like(scene, rng.uniform(0.6, 0.9)), cut, scene)
    scene = over(pasted, mask, scene)
    if draw.chance("stamp"):
        scene = _stamped(scene, rng)
    if draw.chance("laminate"):
        scene = scene + shine(rng, height, width, draw.number("glare"))
        scene = scene * (1.0 + 0.05 * _rainbow(height, width, rng))
    return scene.astype(np.float32)


def _blank(height: int, width: int, draw: Draw) -> Field:
    """Return a card without portrait: a pale ground, fine waves, lines of text."""
    cv2 = require("cv2", extra="liveness")
    rng = draw.rng
    ground = (rng.uniform(0.45, 0.8) * (1.0 + rng.uniform(-0.18, 0.18, 3))).astype(np.float32)
    field = np.broadcast_to(ground, (height, width, 3)) * (
        1.0 + 0.05 * cloud(rng, height, width, cells=3)[..., None]
    )
    period = draw.number("line_period")
    for _ in range(2):
        u, v = lattice(height, width, period, angle_deg=float(rng.uniform(0, 180)))
        bow = 0.8 * np.sin(v * rng.uniform(0.15, 0.5) + rng.uniform(0, 6.28))
        line = np.clip(1.0 - abs(((u + bow) % 1.0) - 0.5) * period * SUPER / 1.6, 0.0, 1.0)
        color = rng.uniform(0.35, 0.95, 3).astype(np.float32)
        field = field * (1.0 - 0.45 * line[..., None] * (1.0 - color))
    ink = np.full((height, width), 255, np.uint8)
    size = rng.uniform(0.35, 0.7) * max(height, width) / 448
    step = max(12, round(34 * size))
    for baseline in range(step, height + step, round(step * rng.uniform(1.1, 1.8))):
        words = "".join(rng.choice(list(LETTERS), int(rng.integers(4, 30))))
        start = (int(rng.integers(-10, max(1, width // 3))), baseline)
        cv2.putText(
            ink, words, start, cv2.FONT_HERSHEY_SIMPLEX, size, 0, max(1, round(size * 2)), cv2.LINE_AA
        )
    field = field * (0.12 + 0.88 * ink.astype(np.float32) / 255)[..., None]
    return (field * (1.0 + 0.01 * grains(rng, height, width))[..., None]).astype(np.float32)


def _stamped(scene: Field, rng: np.random.Generator) -> Field:
    """Return ``scene`` with rings of colored ink across it."""
    height, width = scene.shape[:2]
    x, y = coordinates(height, width)
    distance = np.hypot(x - rng.uniform(-0.3, 0.3), y - rng.uniform(-0.3, 0.3))
    radius = rng.uniform(0.08, 0.2)
    rings = np.exp(-(((distance - radius) / 0.008) ** 2)) + np.exp(
        -(((distance - 0.75 * radius) / 0.004) ** 2)
    )
    color = rng.choice([[0.1, 0.15, 0.6], [0.6, 0.08, 0.12], [0.1, 0.4, 0.2]]).astype(np.float32)
    return scene * (1.0 - 0.7 * np.clip(rings, 0, 1)[..., None] * (1.0 - color))


def _rainbow(height: int, width: int, rng: np.random.Generator) -> Field:
    """Return the colors [H, W, 3] that a hologram film adds, around 0."""
    u, _ = lattice(height, width, rng.uniform(20, 60), angle_deg=float(rng.uniform(0, 180)))
    u = u + 0.3 * cloud(rng, height, width, cells=4)
    return np.stack([np.cos(2 * np.pi * (u + n / 3)) for n in range(3)], axis=2).astype(np.float32)
