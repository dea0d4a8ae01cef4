"""What every simulated scene is drawn with: fields, lattices, outlines, warps; float32, light linear."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ....core.errors import require

Field = NDArray[np.floating]
"""float32 [H, W] or [H, W, 3]."""

SUPER = 2
"""Canvas pixels per pixel of the final picture: fine patterns exist before a sensor samples them."""

GAMMA = 2.2


def to_light(pixels: NDArray[np.uint8]) -> Field:
    """Return linear light in [0, 1] of uint8 pixels."""
    table = (np.arange(256, dtype=np.float32) / 255.0) ** GAMMA
    return table[pixels]


def to_code(light: Field) -> Field:
    """Return display values in [0, 1] of linear light."""
    return np.clip(light, 0.0, 1.0) ** np.float32(1.0 / GAMMA)


def blur(field: Field, sigma: float) -> Field:
    """Return ``field`` after a Gaussian of ``sigma`` canvas pixels."""
    if sigma < 0.15:
        return field
    cv2 = require("cv2", extra="liveness")
    return cv2.GaussianBlur(field, (0, 0), float(sigma), borderType=cv2.BORDER_REFLECT_101)


def resized(field: Field, height: int, width: int) -> Field:
    """Return ``field`` at another size: area means when smaller, cubic when larger."""
    cv2 = require("cv2", extra="liveness")
    smaller = height * width < field.shape[0] * field.shape[1]
    way = cv2.INTER_AREA if smaller else cv2.INTER_CUBIC
    return cv2.resize(field, (int(width), int(height)), interpolation=way)


def coordinates(height: int, width: int) -> tuple[Field, Field]:
    """Return x and y in [-0.5, 0.5] of the longer side, float32 [H, W] each, 0 in the middle."""
    longest = max(height, width)
    y = (np.arange(height, dtype=np.float32) - height / 2) / longest
    x = (np.arange(width, dtype=np.float32) - width / 2) / longest
    return np.broadcast_to(x[None, :], (height, width)), np.broadcast_to(y[:, None], (height, width))


def cloud(rng: np.random.Generator, height: int, width: int, *, cells: float, octaves: int = 3) -> Field:
    """Return smooth noise [H, W] of mean 0 and deviation 1; ``cells`` bumps along the longer side."""
    total = np.zeros((height, width), np.float32)
    longest = max(height, width)
    for octave in range(octaves):
        across = cells * 2**octave
        rows = max(2, round(height * across / longest))
        columns = max(2, round(width * across / longest))
        if rows > height or columns > width:
            rows, columns = height, width
        small = rng.standard_normal((rows, columns)).astype(np.float32)
        total += resized(small, height, width) * 0.55**octave
    return (total - total.mean()) / max(float(total.std()), 1e-6)


def grains(rng: np.random.Generator, height: int, width: int, *, size: float = 1.0) -> Field:
    """Return fine noise [H, W] of deviation 1, its grains about ``size`` canvas pixels."""
    fine = blur(rng.standard_normal((height, width)).astype(np.float32), 0.5 * size)
    return fine / max(float(fine.std()), 1e-6)


def lattice(
    height: int, width: int, pitch: float, *, angle_deg: float, bulge: float = 0.0, phase: float = 0.0
) -> tuple[Field, Field]:
    """Return the coordinates u, v [H, W] of a lattice in periods.

    Args:
        height: canvas rows.
        width: canvas columns.
        pitch: pixels of the final picture per period.
        angle_deg: how it is turned.
        bulge: how much its period grows from the middle to the rim, as lenses and bent panels make it.
        phase: shift in periods.
    """
    x, y = coordinates(height, width)
    longest = max(height, width)
    growth = (1.0 + bulge * 4.0 * (x * x + y * y)) * np.float32(longest / (pitch * SUPER))
    cosine, sine = math.cos(math.radians(angle_deg)), math.sin(math.radians(angle_deg))
    return (cosine * x + sine * y) * growth + phase, (cosine * y - sine * x) * growth + phase


def warp(light: Field, matrix: NDArray[np.float64], *, fill: float | None = None) -> Field:
    """Return ``light`` under a homography from source to target pixels; outside mirrored, or ``fill``."""
    cv2 = require("cv2", extra="liveness")
    mode = cv2.BORDER_REFLECT_101 if fill is None else cv2.BORDER_CONSTANT
    height, width = light.shape[:2]
    value = (fill or 0.0,) * 3
    return cv2.warpPerspective(
        light, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=mode, borderValue=value
    )


def pose(
    rng: np.random.Generator,
    height: int,
    width: int,
    *,
    turn_deg: float,
    share: float = 1.0,
    keystone: float = 0.0,
) -> NDArray[np.float64]:
    """Return the homography of a picture held before the camera: turned, scaled, out of square."""
    cv2 = require("cv2", extra="liveness")
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    middle = np.array([width / 2, height / 2], np.float32)
    cosine, sine = math.cos(math.radians(turn_deg)), math.sin(math.radians(turn_deg))
    turn = np.array([[cosine, sine], [-sine, cosine]], np.float32)
    moved = ((corners - middle) @ turn) * share + middle
    moved += rng.uniform(-1.0, 1.0, (4, 2)).astype(np.float32) * keystone * max(height, width)
    return cv2.getPerspectiveTransform(corners, moved.astype(np.float32))


def outline(
    kind: str,
    rng: np.random.Generator,
    height: int,
    width: int,
    *,
    share: float,
    shift: tuple[float, float] = (0, 0),
) -> Field:
    """Return a mask [H, W] with a hard edge, 1 inside an outline whose axes are ``share`` of the sides.

    Args:
        kind: ellipse, polygon, torn, rounded, portrait, or box.
        rng: of its irregularities.
        height: canvas rows.
        width: canvas columns.
        share: of each side.
        shift: where its middle lies, in shares of the sides from the middle.
    """
    x = (np.arange(width, dtype=np.float32)[None, :] / width - 0.5 - shift[0]) * 2 / share
    y = (np.arange(height, dtype=np.float32)[:, None] / height - 0.5 - shift[1]) * 2 / share
    if kind == "box":
        inside = (abs(x) < 1) & (abs(y) < 1)
    elif kind == "ellipse":
        inside = x * x + y * y < 1
    elif kind == "rounded":
        inside = x**4 + y**4 < 1
    elif kind == "portrait":
        head = (x / 0.62) ** 2 + ((y + 0.35) / 0.65) ** 2 < 1
        shoulders = (x / 1.0) ** 2 + ((y - 1.0) / 0.75) ** 2 < 1
        inside = head | (shoulders & (y < 1.0))
    else:
        angle = np.arctan2(y, x)
        distance = np.hypot(x, y)
        corners = 7 if kind == "polygon" else 72
        rough = rng.uniform(0.78, 1.05, corners) if kind == "polygon" else _torn(rng, corners)
        knots = np.linspace(-np.pi, np.pi, corners + 1)
        radius = np.interp(angle, knots, np.append(rough, rough[0])).astype(np.float32)
        inside = distance < radius
    return inside.astype(np.float32)


def _torn(rng: np.random.Generator, corners: int) -> NDArray[np.float64]:
    """Return radii of a torn edge: slow waves with small teeth."""
    turn = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    waves = sum(rng.normal(0, 0.05) * np.cos(turn * n + rng.uniform(0, 6.28)) for n in range(2, 6))
    return np.clip(0.92 + waves + rng.normal(0, 0.018, corners), 0.6, 1.1)


def widened(mask: Field, pixels: float) -> Field:
    """Return a mask grown by ``pixels`` of the final picture."""
    cv2 = require("cv2", extra="liveness")
    radius = max(1, round(pixels * SUPER))
    # A square is many times faster than a disk, and corners of wide rims are rounded later.
    shape = cv2.MORPH_ELLIPSE if radius <= 10 else cv2.MORPH_RECT
    return cv2.dilate(mask, cv2.getStructuringElement(shape, (2 * radius + 1, 2 * radius + 1)))


def shifted(mask: Field, x_px: float, y_px: float) -> Field:
    """Return a mask moved by pixels of the final picture; what comes in is 0."""
    cv2 = require("cv2", extra="liveness")
    matrix = np.array([[1, 0, x_px * SUPER], [0, 1, y_px * SUPER]], np.float64)
    return cv2.warpAffine(mask, matrix, (mask.shape[1], mask.shape[0]))


def over(top: Field, mask: Field, below: Field) -> Field:
    """Return ``top`` where ``mask`` [H, W] is 1 and ``below`` where it is 0."""
    return below + mask[..., None] * (top - below)


def surroundings(rng: np.random.Generator, height: int, width: int) -> Field:
    """Return what lies behind things: a wall, cloth, wood or a blurred room, as light [H, W, 3]."""
    base = rng.uniform(0.03, 0.75) * (1.0 + rng.normal(0.0, 0.16, 3))
    field = np.broadcast_to(np.clip(base, 0.01, 0.95).astype(np.float32), (height, width, 3)).copy()
    kind = int(rng.integers(4))
    if kind == 1:
        u, _ = lattice(height, width, rng.uniform(6, 30), angle_deg=rng.uniform(0, 180))
        wave = np.cos(2 * np.pi * (u + 0.15 * cloud(rng, height, width, cells=3)))
        field *= (1.0 + rng.uniform(0.05, 0.2) * wave)[..., None]
    elif kind == 2:
        rough = cloud(rng, height, width, cells=40, octaves=3)
        field *= (1.0 + rng.uniform(0.03, 0.12) * rough)[..., None]
    elif kind == 3:
        for channel in range(3):
            field[..., channel] *= 1.0 + 0.22 * cloud(rng, height, width, cells=3, octaves=2)
    field *= (1.0 + rng.uniform(0.05, 0.25) * cloud(rng, height, width, cells=2, octaves=2))[..., None]
    return np.clip(field, 0.004, 1.0).astype(np.float32)


def shine(rng: np.random.Generator, height: int, width: int, strength: float) -> Field:
    """Return light [H, W, 1] of a lamp or window mirrored by something glossy."""
    x, y = coordinates(height, width)
    angle = rng.uniform(0, math.pi)
    shift_x, shift_y = rng.uniform(-0.4, 0.4, 2)
    along = (x - shift_x) * math.cos(angle) + (y - shift_y) * math.sin(angle)
    across = (y - shift_y) * math.cos(angle) - (x - shift_x) * math.sin(angle)
    long, short = rng.uniform(0.15, 0.9), rng.uniform(0.03, 0.2)
    sharp = rng.choice([1.0, 1.0, 4.0])
    spot = np.exp(-(((along / long) ** 2 + (across / short) ** 2) ** sharp))
    return (strength * spot).astype(np.float32)[..., None]
