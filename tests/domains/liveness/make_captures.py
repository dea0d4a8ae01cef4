"""Captures for the tests of the detector: drawn textures, and a face detector that is told what to find."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from verticlip.domains.liveness.faces.detect import Face

POINTS = np.array([[-35, -40], [35, -40], [0, 0], [-29, 41], [29, 41]], np.float32)


def texture(seed: int = 0, side: int = 120, *, low: int = 60, high: int = 200) -> np.ndarray:
    """Return uint8 [side, side, 3]: sharp grain of even brightness that passes every gate."""
    grain = np.random.default_rng(seed).integers(low, high, (side // 4, side // 4, 3), np.uint8)
    return grain.repeat(4, axis=0).repeat(4, axis=1)


def flat(side: int = 120, value: int = 120) -> np.ndarray:
    """Return a picture without any detail."""
    return np.full((side, side, 3), value, np.uint8)


def face_at(x: float, y: float, side: float = 120.0) -> Face:
    """Return a frontal face centred at a point."""
    half = side / 2
    return Face(
        (x - half, y - half, x + half, y + half), 0.9, (POINTS * side / 200 + [x, y]).astype(np.float32)
    )


class Told:
    """A face detector that finds what it was told, whatever the picture."""

    name, digest = "told", "0123456789abcdef0123"

    def __init__(self, *faces: Face) -> None:
        self.faces = list(faces)

    def detect(self, picture: np.ndarray) -> list[Face]:
        """Return the faces."""
        return sorted(self.faces, key=lambda face: -face.area)


def write_set(folder: Path, *, subjects: int = 6, split: str = "dev", first: int = 0) -> Path:
    """Write pictures and a manifest: of each subject one bona fide, one print and one display; return it."""
    rows = ["path,label,species,subject,split,dataset"]
    for subject in range(first, first + subjects):
        for number, species in enumerate(("bona_fide", "print", "display")):
            name = f"{split}{subject}-{species}.png"
            Image.fromarray(texture(subject * 3 + number)).save(folder / name)
            label = "live" if species == "bona_fide" else "attack"
            rows.append(f"{name},{label},{species},s{subject},{split},drawn")
    path = folder / f"{split}.csv"
    path.write_text("\n".join(rows) + "\n")
    return path
