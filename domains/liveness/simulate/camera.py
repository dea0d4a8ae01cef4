"""The camera that takes every picture, bona fide or attack: optics, sensor, tone, sharpening, encoding.

Both classes draw from the same values, so neither blur, noise nor compression tells them apart.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ....core.errors import require
from .ranges import Draw
from .raster import SUPER, Field, blur, coordinates, pose, to_code, warp


def framed(light: Field, draw: Draw) -> Field:
    """Return ``light`` [H, W, 3] held by hand: turned and out of square by a little."""
    height, width = light.shape[:2]
    turn = draw.number("rotation_deg")
    grow = 1.0 + 0.9 * abs(math.sin(math.radians(turn))) + draw.number("keystone")
    matrix = pose(draw.rng, height, width, turn_deg=turn, share=grow, keystone=draw.number("keystone"))
    return warp(light, matrix)


def take(light: Field, size: tuple[int, int], draw: Draw) -> NDArray[np.uint8]:
    """Return the picture uint8 [H, W, 3] that a camera takes of ``light``.

    Args:
        light: the scene, linear, float32 [SUPER * H, SUPER * W, 3].
        size: H and W.
        draw: of the camera.
    """
    rng = draw.rng
    if draw.chance("untouched"):
        return quantized(sampled(light, size, fill=1.0))
    light = blur(light, draw.number("blur") * SUPER)
    if draw.chance("motion"):
        light = _moved(light, draw.number("motion") * SUPER, float(rng.uniform(0, math.pi)))
    light = sampled(light, size, fill=draw.number("fill"))
    height, width = size
    light = light * draw.number("exposure") * _white(draw.number("warmth"))
    x, y = coordinates(height, width)
    angle = rng.uniform(0, 2 * math.pi)
    slope = draw.number("shade") * (x * math.cos(angle) + y * math.sin(angle))
    if draw.chance("vignette"):
        slope = slope - draw.number("shade") * (x * x + y * y) * 2
    light = light * (1.0 + slope)[..., None]
    level = draw.number("noise")
    light = noisy(light, rng, shot=level, read=0.3 * level)
    if draw.chance("sensor"):
        light = mosaic(light)
    code = to_code(light)
    amount = draw.number("sharpening")
    code = code + amount * (code - blur(code, 1.0))
    return np.round(np.clip(code, 0.0, 1.0) * 255).astype(np.uint8)


def sampled(light: Field, size: tuple[int, int], *, fill: float) -> Field:
    """Return ``light`` at ``size``; ``fill`` is the share of a sensor's cell that sees light."""
    cv2 = require("cv2", extra="liveness")
    height, width = size
    mean = cv2.resize(light, (width, height), interpolation=cv2.INTER_AREA)
    if fill >= 1.0:
        return mean
    points = light[::SUPER, ::SUPER][:height, :width]
    return mean + (1.0 - fill) * (points - mean)


def noisy(light: Field, rng: np.random.Generator, *, shot: float, read: float) -> Field:
    """Return ``light`` with noise: ``shot`` grows with the root of the light, ``read`` is always there."""
    deviation = np.sqrt(shot * shot * np.clip(light, 0.0, None) + read * read * 0.1)
    return (light + deviation * rng.standard_normal(light.shape, dtype=np.float32)).astype(np.float32)


def mosaic(light: Field) -> Field:
    """Return ``light`` as a sensor with one color per pixel sees it, the other colors filled in."""
    cv2 = require("cv2", extra="liveness")
    height, width = light.shape[:2]
    values = (to_code(light) * 65535).astype(np.uint16)
    raw = values[..., 1].copy()
    raw[0::2, 0::2] = values[0::2, 0::2, 0]
    raw[1::2, 1::2] = values[1::2, 1::2, 2]
    if height < 4 or width < 4:
        return light
    # OpenCV names the pattern by its second row and column: red first is BayerBG.
    code = cv2.cvtColor(raw, cv2.COLOR_BayerBG2RGB).astype(np.float32) / 65535
    return (code ** np.float32(2.2)).astype(np.float32)


def quantized(light: Field) -> NDArray[np.uint8]:
    """Return uint8 pixels of linear light."""
    return np.round(to_code(light) * 255).astype(np.uint8)


def encode(pixels: NDArray[np.uint8], quality: int) -> bytes:
    """Return ``pixels`` [H, W, 3] as a JPEG file."""
    cv2 = require("cv2", extra="liveness")
    _, data = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, int(quality)])
    return data.tobytes()


def decode(data: bytes) -> NDArray[np.uint8]:
    """Return the pixels uint8 [H, W, 3] of a JPEG file of :func:`encode`."""
    cv2 = require("cv2", extra="liveness")
    return np.ascontiguousarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[..., ::-1])


def _white(warmth: float) -> Field:
    """Return gains of red, green and blue; positive is warmer."""
    return np.array([1.0 + warmth, 1.0, 1.0 - warmth], np.float32)


def _moved(light: Field, length: float, angle: float) -> Field:
    """Return ``light`` smeared along a line of ``length`` canvas pixels."""
    cv2 = require("cv2", extra="liveness")
    reach = max(1, math.ceil(length / 2))
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1), np.float32)
    for place in np.linspace(-length / 2, length / 2, 4 * reach + 1):
        row, column = round(reach + place * math.sin(angle)), round(reach + place * math.cos(angle))
        kernel[row, column] += 1.0
    return cv2.filter2D(light, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REFLECT_101)
