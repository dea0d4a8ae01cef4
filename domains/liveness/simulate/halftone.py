"""Printing: dots of ink in rotated screens, the gamut of inks, and paper."""

from __future__ import annotations

import math

import numpy as np

from ....core.errors import require
from .raster import SUPER, Field, blur, cloud, grains, lattice, to_code, to_light

TURNS_DEG = (15.0, 75.0, 0.0, 45.0)
"""Angles of the screens of cyan, magenta, yellow and black against each other."""

INKS = np.array([[0.09, 0.55, 0.80], [0.70, 0.09, 0.38], [0.93, 0.80, 0.09]], np.float32)
"""Light that cyan, magenta and yellow ink on paper give back."""


def spots(
    kind: str, height: int, width: int, *, pitch: float, angle_deg: float, rng: np.random.Generator
) -> Field:
    """Return thresholds [H, W] in about [0, 1]: where ink falls first as a tone grows darker.

    Args:
        kind: round, line, cross, diamond: clustered dots; dither: an ordered matrix; noise: scattered dots.
        height: canvas rows.
        width: canvas columns.
        pitch: pixels of the final picture per period.
        angle_deg: of the screen.
        rng: of phases and of ``noise``.
    """
    if kind == "noise":
        fine = grains(rng, height, width, size=max(pitch * SUPER * 0.3, 0.5))
        return (0.5 + 0.5 * np.tanh(0.9 * fine)).astype(np.float32)
    u, v = lattice(height, width, pitch, angle_deg=angle_deg, phase=float(rng.uniform(0, 1)))
    if kind == "dither":
        bayer = (
            np.array([[0, 8, 2, 10], [12, 4, 14, 6], [3, 11, 1, 9], [15, 7, 13, 5]], np.float32) / 16 + 1 / 32
        )
        return bayer[np.floor(v * 4).astype(np.int64) % 4, np.floor(u * 4).astype(np.int64) % 4]
    waves_u, waves_v = np.cos(2 * np.pi * u), np.cos(2 * np.pi * v)
    if kind == "line":
        return 0.5 - 0.5 * waves_u * np.float32(0.96)
    if kind == "cross":
        return (0.5 - 0.5 * np.maximum(waves_u, waves_v) * 0.96).astype(np.float32)
    if kind == "diamond":
        triangle_u, triangle_v = abs((u % 1) - 0.5) * 2, abs((v % 1) - 0.5) * 2
        return (0.5 * (triangle_u + triangle_v)).astype(np.float32)
    return (0.5 - 0.25 * (waves_u + waves_v)).astype(np.float32)


def printed(
    light: Field,
    *,
    kind: str,
    pitch: float,
    contrast: float,
    rng: np.random.Generator,
    hardness: float = 6.0,
    angle_deg: float = 0.0,
    black: float = 0.06,
    gamut: float = 0.85,
    one_ink: bool = False,
) -> Field:
    """Return the light [H, W, 3] that a print of ``light`` gives back, on white paper.

    Args:
        light: picture, linear.
        kind: see :func:`spots`.
        pitch: of the dots, in pixels of the final picture.
        contrast: share of the tone that is made of dots; the rest is as a print seen from afar.
        rng: of phases.
        hardness: of the dots' edges.
        angle_deg: of the sheet.
        black: light of full ink.
        gamut: share of the saturation that inks reach.
        one_ink: black alone.
    """
    height, width = light.shape[:2]
    code = to_code(light)
    grey = code @ np.array([0.299, 0.587, 0.114], np.float32)
    code = grey[..., None] + (0.0 if one_ink else gamut) * (code - grey[..., None])
    tone = np.clip(1.0 - code, 0.0, 1.0)
    ink = tone.min(axis=2) * (1.0 if one_ink else 0.6)
    soft = np.clip(1.0 - tone, 0.0, 1.0) ** np.float32(2.2) * (1.0 - black) + black
    dots = np.ones((height, width, 3), np.float32)
    names = range(3, 4) if one_ink else range(4)
    for channel in names:
        cover = ink if channel == 3 else np.clip((tone[..., channel] - ink) / (1.0 - 0.75 * ink), 0.0, 1.0)
        threshold = spots(kind, height, width, pitch=pitch, angle_deg=angle_deg + TURNS_DEG[channel], rng=rng)
        # Reflectance of a covered share a is 1 - a: tones in code values need fewer dots than 1 - code.
        share = 1.0 - (1.0 - cover) ** np.float32(1.6)
        covered = 1.0 / (1.0 + np.exp(np.clip(-hardness * 2.0 * (share - threshold) * 2.0, -30, 30)))
        covered = np.where(share < 0.02, 0.0, np.where(share > 0.98, 1.0, covered)).astype(np.float32)
        left = np.full(3, black, np.float32) if channel == 3 else np.maximum(INKS[channel], black)
        dots *= 1.0 - covered[..., None] * (1.0 - left)
    return (soft + contrast * (dots - soft)).astype(np.float32)


def paper(rng: np.random.Generator, height: int, width: int, grain: float) -> Field:
    """Return what paper does to light [H, W, 3]: fibers, clouds and a tint, around 1."""
    fibers = 0.6 * grains(rng, height, width, size=1.2) + 0.6 * cloud(rng, height, width, cells=60, octaves=2)
    waves = cloud(rng, height, width, cells=2, octaves=2) * min(grain * 1.5, 0.04)
    tint = 1.0 + rng.normal(0.0, 0.018, 3).astype(np.float32)
    return ((1.0 + grain * fibers + waves)[..., None] * tint).astype(np.float32)


def bands(rng: np.random.Generator, height: int, width: int) -> Field:
    """Return the stripes [H, W, 1] that the passes of an ink jet leave, around 1."""
    u, _ = lattice(height, width, rng.uniform(5, 18), angle_deg=90.0 + rng.normal(0, 2))
    teeth = blur((np.cos(2 * np.pi * u) > 0.85).astype(np.float32), 0.8)
    return (1.0 - rng.uniform(0.03, 0.12) * teeth)[..., None].astype(np.float32)


def coded(light: Field, quality: int, *, shift: tuple[int, int] = (0, 0)) -> Field:
    """Return ``light`` [H, W, 3] after a round of JPEG whose blocks begin at ``shift``."""
    cv2 = require("cv2", extra="liveness")
    pixels = np.round(to_code(light) * 255).astype(np.uint8)
    down, across = shift
    padded = np.pad(pixels, ((down, 0), (across, 0), (0, 0)), mode="edge")
    _, data = cv2.imencode(".jpg", padded[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, int(quality)])
    back = cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1]
    return to_light(np.ascontiguousarray(back[down:, across:]))


def curled(light: Field, amount: float, angle_deg: float) -> Field:
    """Return ``light`` with rows bowed by ``amount`` of the longer side across a direction."""
    cv2 = require("cv2", extra="liveness")
    height, width = light.shape[:2]
    longest = max(height, width)
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    cosine, sine = math.cos(math.radians(angle_deg)), math.sin(math.radians(angle_deg))
    along = ((columns - width / 2) * cosine + (rows - height / 2) * sine) / longest
    bow = (amount * longest * np.cos(np.pi * along)).astype(np.float32)
    return cv2.remap(
        light,
        (columns - bow * sine).astype(np.float32),
        (rows + bow * cosine).astype(np.float32),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REFLECT_101,
    )
