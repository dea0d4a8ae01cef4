"""Small drawn pictures that stand for presentations: ovals, dotted ones (print), striped ones (display)."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

SPECIES = ("bona_fide", "print", "display")


def draw(species: str, generator: np.random.Generator, side: int = 48) -> np.ndarray:
    """Return one picture, uint8 [side, side, 3]."""
    rows, columns = np.mgrid[0:side, 0:side] / side
    center, radius = generator.uniform(0.4, 0.6, 2), generator.uniform(0.25, 0.4, 2)
    inside = ((rows - center[0]) / radius[0]) ** 2 + ((columns - center[1]) / radius[1]) ** 2 < 1
    low, high = generator.uniform(0.1, 0.7, 3), generator.uniform(0.1, 0.7, 3)
    picture = np.where(inside[..., None], high, low) * (0.8 + 0.2 * rows[..., None])
    if species == "print":
        picture = picture * (0.7 + 0.6 * ((np.indices((side, side)).sum(0) // 2) % 2))[..., None]
    elif species == "display":
        picture = picture * (0.7 + 0.6 * ((np.arange(side) // 3) % 2))[None, :, None]
    return (picture.clip(0, 1) * 255).astype(np.uint8)


def make_set(
    folder: Path,
    *,
    dataset: str = "drawn",
    subjects: int = 12,
    splits: Sequence[str] = ("train", "train", "train", "dev"),
    species: Sequence[str] = SPECIES,
    frames: int = 1,
    name: str = "manifest.csv",
    seed: int = 0,
    columns: Sequence[str] = ("path", "video_id", "label", "species", "subject", "split", "dataset"),
) -> Path:
    """Write pictures and a manifest: every subject once per species, splits by turns; return the manifest."""
    generator = np.random.default_rng(seed)
    (folder / dataset).mkdir(parents=True, exist_ok=True)
    rows = []
    for subject in range(subjects):
        for kind in species:
            video = f"{subject:02d}_{kind}"
            for frame in range(frames):
                path = f"{dataset}/{video}_{frame}.png"
                Image.fromarray(draw(kind, generator)).save(folder / path)
                rows.append(
                    {
                        "path": path,
                        "video_id": video,
                        "label": "live" if kind == "bona_fide" else "attack",
                        "species": kind,
                        "subject": f"s{subject:02d}",
                        "split": splits[subject % len(splits)],
                        "dataset": dataset,
                    }
                )
    with (folder / name).open("w", newline="") as handle:
        writer = csv.DictWriter(handle, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    return folder / name
