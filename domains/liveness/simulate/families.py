"""The families of simulated attacks: what stands before the camera instead of the scene itself."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from ....core.errors import require
from .camera import noisy
from .display import shown
from .document import card, patch
from .halftone import bands, coded, curled, paper, printed
from .ranges import Draw
from .raster import (
    SUPER,
    Field,
    blur,
    cloud,
    coordinates,
    outline,
    over,
    pose,
    resized,
    shifted,
    shine,
    surroundings,
    warp,
    widened,
)

Family = Callable[[Field, Draw], Field]
"""From the light of a picture, float32 [H, W, 3] on the canvas, to that of the attack."""


def print_photo(light: Field, draw: Draw) -> Field:
    """A print, filling the frame or held before something else."""
    rng = draw.rng
    height, width = light.shape[:2]
    sheet = printed(
        light,
        kind=draw.word("spot"),
        pitch=draw.number("pitch"),
        contrast=0.0 if draw.chance("fine") else draw.number("contrast"),
        rng=rng,
        hardness=draw.number("hardness"),
        angle_deg=draw.number("angle_deg"),
        black=draw.number("ink_black"),
        gamut=draw.number("gamut"),
        one_ink=draw.chance("black_only"),
    )
    if draw.chance("bands"):
        sheet = sheet * bands(rng, height, width)
    if draw.chance("border"):
        margin = draw.number("margin")
        inside = outline("box", rng, height, width, share=1.0 - margin)
        sheet = over(sheet, inside, np.full_like(sheet, 0.86))
    sheet = sheet * paper(rng, height, width, draw.number("grain"))
    sheet = curled(sheet, draw.number("curl"), float(rng.uniform(0, 180)))
    if draw.chance("surround"):
        sheet = _before(sheet, draw, share=float(rng.uniform(0.8, 0.94)), drop=3.0)
    if draw.chance("shine"):
        sheet = sheet + shine(rng, height, width, float(rng.uniform(0.1, 0.5)))
    return sheet


def screen(light: Field, draw: Draw) -> Field:
    """A display that fills the frame."""
    return shown(light, draw)


def bezel(light: Field, draw: Draw) -> Field:
    """A device in the frame: its display, its edge, and what is behind it."""
    rng = draw.rng
    height, width = light.shape[:2]
    share, edge = draw.number("share"), draw.number("edge")
    panel = shown(light, draw)
    matrix = pose(rng, height, width, turn_deg=draw.number("turn_deg"), share=share, keystone=0.015)
    panel = warp(panel, matrix, fill=0.0)
    flat = np.ones((height, width), np.float32)
    glass = warp(flat, matrix, fill=0.0)
    body = flat if draw.chance("whole") else widened(glass, edge * max(height, width) / SUPER)
    corner = draw.number("corner") * max(height, width)
    if corner > 1.0:
        body = (blur(body, corner) > 0.5).astype(np.float32)
    tone = rng.uniform(0.5, 0.85) if draw.chance("light_frame") else rng.uniform(0.004, 0.03)
    frame = np.full((height, width, 3), tone, np.float32)
    rim = np.clip(widened(body, 0.7) - body, 0, 1)
    behind = surroundings(rng, height, width)
    scene = behind * (1.0 - 0.4 * blur(shifted(body, 2.0, 3.0), 6.0))[..., None]
    scene = over(np.full_like(frame, rng.uniform(0.05, 0.4)), rim, scene)
    scene = over(frame, body, scene)
    return over(panel, glass, scene)


def replay(light: Field, draw: Draw) -> Field:
    """A compressed video on a display."""
    rng = draw.rng
    height, width = light.shape[:2]
    shrink = draw.number("shrink") / SUPER
    small = resized(light, max(16, round(height * shrink)), max(16, round(width * shrink)))
    if draw.chance("smear"):
        small = _guessed_blocks(small, rng)
    small = coded(np.clip(small, 0, 1), round(draw.number("quality")))
    if draw.chance("twice"):
        shift = (int(rng.integers(1, 8)), int(rng.integers(1, 8)))
        # The same draw, 8 higher: train 11 to 16 and 21 to 25, test 17 to 20.
        small = coded(small, round(draw.number("quality")) + 8, shift=shift)
    video = np.clip(resized(small, height, width), 0, 1)
    return video if draw.chance("plain") else shown(video, draw)


def low_light(light: Field, draw: Draw) -> Field:
    """The scene itself with hardly any light; the sensor's noise is added at the canvas."""
    rng = draw.rng
    height, width = light.shape[:2]
    cast = draw.number("cast")
    dim = light * draw.number("exposure") * np.array([1 + cast, 1 - 0.1 * abs(cast), 1 - cast], np.float32)
    if draw.chance("lamp"):
        x, y = coordinates(height, width)
        shift_x, shift_y = rng.uniform(-0.5, 0.5, 2)
        near = np.exp(-(((x - shift_x) ** 2 + (y - shift_y) ** 2) / rng.uniform(0.05, 0.3)))
        dim = dim * (0.45 + 1.2 * near)[..., None]
    # Noise of a pixel of the final picture: on the canvas each of its parts has SUPER times as much.
    dim = noisy(dim, rng, shot=draw.number("shot") * SUPER, read=draw.number("read") * SUPER)
    if draw.chance("denoised"):
        dim = blur(dim, rng.uniform(0.8, 1.6) * SUPER)
    if draw.chance("lifted"):
        dim = dim * draw.number("lift")
    return np.maximum(dim, 0.0)


def id_card(light: Field, draw: Draw) -> Field:
    """A card whose portrait is another photo, or the picture with a patch pasted on it."""
    return patch(light, draw) if draw.chance("patch") else card(light, draw)


def cut_out(light: Field, draw: Draw) -> Field:
    """A photo cut along an outline, with or without holes for the eyes, before something else."""
    rng = draw.rng
    height, width = light.shape[:2]
    sheet = _sheet(light, draw)
    share = draw.number("share")
    shape = outline(draw.word("outline"), rng, height, width, share=share)
    cut = widened(shape, draw.number("rim")) if draw.chance("rim") else shape
    white = np.full_like(sheet, 0.85) * paper(rng, height, width, draw.number("grain"))
    drop, dark = draw.number("drop"), 0.0 if draw.chance("flat") else draw.number("shadow")
    angle = rng.uniform(0, 2 * math.pi)
    away = (drop * math.cos(angle), drop * math.sin(angle))
    behind = _ground(height, width, draw)
    scene = behind * (1.0 - dark * blur(shifted(cut, *away), drop * SUPER * 0.5))[..., None]
    scene = over(white, blur(cut, 0.6), scene)
    scene = over(sheet, blur(shape, 0.6), scene)
    if draw.chance("holes"):
        scene = _with_holes(scene, behind, draw, away)
    return scene


def bent(light: Field, draw: Draw) -> Field:
    """A photo bent around an axis, or folded, before something else."""
    cv2 = require("cv2", extra="liveness")
    rng = draw.rng
    height, width = light.shape[:2]
    sheet = _sheet(light, draw)
    bend, share = draw.number("bend"), draw.number("share")
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    angle = math.radians(draw.number("axis_deg") + (90.0 if rng.random() < 0.4 else 0.0))
    x, y = columns - width / 2, rows - height / 2
    across, along = x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)
    half = (abs(width * math.cos(angle)) + abs(height * math.sin(angle))) / 2 * share
    # A sheet on a cylinder: equal steps on the paper are sines before the camera.
    place = np.clip(across / half * math.sin(bend), -0.999, 0.999)
    turn = np.arcsin(place) / bend
    depth = np.cos(turn * bend)
    if draw.chance("fold"):
        turn = across / half
        depth = np.where(across > half * rng.uniform(-0.4, 0.4), math.cos(bend) * 1.0, 1.0).astype(np.float32)
        depth = blur(depth.astype(np.float32), 2.0)
    near = share * (1.0 + 0.12 * (depth - 0.7))
    source_across = turn * (abs(width * math.cos(angle)) + abs(height * math.sin(angle))) / 2
    source_along = along / near
    map_x = source_across * math.cos(angle) - source_along * math.sin(angle) + width / 2
    map_y = source_across * math.sin(angle) + source_along * math.cos(angle) + height / 2
    inside = (map_x >= 0) & (map_x < width - 1) & (map_y >= 0) & (map_y < height - 1)
    inside &= abs(across) < half
    paper_seen = cv2.remap(
        sheet,
        map_x.astype(np.float32),
        map_y.astype(np.float32),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REFLECT_101,
    )
    side = rng.uniform(-0.9, 0.9)
    lit = np.clip(0.35 + 0.65 * (depth * math.cos(side) + np.sin(turn * bend) * math.sin(side)), 0.1, 1.3)
    paper_seen = paper_seen * lit[..., None]
    if draw.chance("shine"):
        line = np.exp(-(((turn - rng.uniform(-0.5, 0.5)) / rng.uniform(0.06, 0.2)) ** 2))
        paper_seen = paper_seen + draw.number("glare") * line.astype(np.float32)[..., None]
    mask = inside.astype(np.float32)
    behind = _ground(height, width, draw)
    behind = behind * (1.0 - draw.number("shadow") * blur(shifted(mask, 2.0, 4.0), 10.0))[..., None]
    return over(paper_seen.astype(np.float32), blur(mask, 0.6), behind)


def composite(light: Field, draw: Draw) -> Field:
    """The picture with regions of another place in it, edited before it is presented."""
    scene = light
    for _ in range(2 if draw.chance("several") else 1):
        scene = _put_in(scene, light, draw)
    return scene


FAMILIES: dict[str, Family] = {
    "print": print_photo,
    "screen": screen,
    "bezel": bezel,
    "replay": replay,
    "low_light": low_light,
    "id_card": id_card,
    "cut_out": cut_out,
    "bent": bent,
    "composite": composite,
}
"""{family of ranges.yaml: what makes it}."""


def _sheet(light: Field, draw: Draw) -> Field:
    """Return ``light`` on paper, mostly with dots that can be seen."""
    rng = draw.rng
    height, width = light.shape[:2]
    contrast = draw.number("contrast") if draw.chance("dots") else 0.0
    sheet = printed(light, kind="round", pitch=draw.number("pitch"), contrast=contrast, rng=rng)
    return sheet * paper(rng, height, width, draw.number("grain"))


def _ground(height: int, width: int, draw: Draw) -> Field:
    """Return what is behind a photo: one color and nothing else, or what rooms have."""
    if not draw.chance("plain_ground"):
        return surroundings(draw.rng, height, width)
    color = draw.rng.uniform(0.02, 0.8, 3).astype(np.float32)
    return np.broadcast_to(color, (height, width, 3)).copy()


def _before(sheet: Field, draw: Draw, *, share: float, drop: float) -> Field:
    """Return a sheet held before something else."""
    rng = draw.rng
    height, width = sheet.shape[:2]
    matrix = pose(rng, height, width, turn_deg=float(rng.normal(0, 3)), share=share, keystone=0.015)
    mask = warp(np.ones((height, width), np.float32), matrix, fill=0.0)
    behind = surroundings(rng, height, width)
    dark = blur(shifted(mask, drop, drop), drop * SUPER)
    return over(warp(sheet, matrix, fill=0.0), mask, behind * (1.0 - 0.4 * dark)[..., None])


def _with_holes(scene: Field, behind: Field, draw: Draw, away: tuple[float, float]) -> Field:
    """Return ``scene`` with two holes through which what is behind can be seen, in the shade of the paper."""
    rng = draw.rng
    height, width = scene.shape[:2]
    size = draw.number("hole")
    apart, up = rng.uniform(0.09, 0.15), rng.uniform(0.02, 0.16)
    holes = np.zeros((height, width), np.float32)
    x, y = coordinates(height, width)
    for side in (-1, 1):
        flat = rng.uniform(0.5, 0.9)
        holes = np.maximum(holes, (((x - side * apart) / size) ** 2 + ((y + up) / (size * flat)) ** 2 < 1))
    holes = holes.astype(np.float32)
    tone = behind if rng.random() < 0.5 else behind * 0 + rng.uniform(0.05, 0.6, 3).astype(np.float32)
    tone = tone * (1.0 + 0.1 * cloud(rng, height, width, cells=12))[..., None]
    shade = 1.0 - draw.number("shadow") * blur(1.0 - shifted(holes, away[0] / 2, away[1] / 2), 2.0)
    scene = over(np.full_like(scene, 0.8), widened(holes, 0.6), scene)
    return over((tone * shade[..., None]).astype(np.float32), holes, scene)


def _guessed_blocks(light: Field, rng: np.random.Generator) -> Field:
    """Return ``light`` with blocks taken from beside them, as motion vectors without enough bits leave it."""
    height, width = light.shape[:2]
    out = light.copy()
    side = int(rng.choice([8, 16]))
    for _ in range(int(rng.integers(6, 30))):
        if height <= side * 2 or width <= side * 2:
            break
        top, left = (int(rng.integers(0, n - side)) for n in (height, width))
        from_top = int(np.clip(top + rng.integers(-5, 6), 0, height - side))
        from_left = int(np.clip(left + rng.integers(-5, 6), 0, width - side))
        out[top : top + side, left : left + side] = light[
            from_top : from_top + side, from_left : from_left + side
        ]
    return out


def _put_in(scene: Field, light: Field, draw: Draw) -> Field:
    """Return ``scene`` with one region of ``light``, from elsewhere and of another tone and grain."""
    rng = draw.rng
    height, width = scene.shape[:2]
    share = draw.number("share")
    donor = light[:, ::-1] if draw.chance("mirrored") else light[::-1]
    donor = np.roll(
        donor, (int(rng.integers(height // 6, height // 2)), int(rng.integers(0, width // 2))), (0, 1)
    )
    donor = blur(_coded_small(np.clip(donor, 0, 1), draw), draw.number("softness"))
    sign = rng.choice([-1.0, 1.0])
    gains = (1.0 + 2.0 * draw.number("tone")) ** sign
    tint = 1.0 + draw.number("tone") * 0.5 * rng.uniform(-1.0, 1.0, 3)
    donor = donor * (gains * tint).astype(np.float32)
    donor = noisy(donor, rng, shot=draw.number("grain") * SUPER, read=0.3 * draw.number("grain") * SUPER)
    shift = (float(rng.uniform(-0.18, 0.18)), float(rng.uniform(-0.18, 0.18)))
    mask = outline(draw.word("outline"), rng, height, width, share=share, shift=shift)
    feather = 0.0 if draw.chance("hard_edge") else draw.number("feather")
    put = over(donor.astype(np.float32), blur(mask, feather * SUPER), scene)
    if not draw.chance("seam"):
        return put
    # Cutting tools leave a line of the donor's ground along the edge, lighter or darker than both sides.
    seam = blur(widened(mask, 0.6) - mask, 0.6) * draw.number("seam")
    return over(np.full_like(put, 0.9 if rng.random() < 0.5 else 0.01), np.clip(seam, 0, 1), put)


def _coded_small(light: Field, draw: Draw) -> Field:
    """Return ``light`` from a small, strongly compressed file, as pictures from the network are."""
    height, width = light.shape[:2]
    small = resized(light, max(16, round(height / SUPER / 1.3)), max(16, round(width / SUPER / 1.3)))
    coded_once = coded(np.clip(small, 0, 1), round(draw.number("quality")))
    return np.clip(resized(coded_once, height, width), 0, 1)
