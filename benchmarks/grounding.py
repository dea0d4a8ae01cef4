"""Phrase grounding of many images against the published one-image path, BioViL with random weights.

The peer is written the way the paper's toolbox works: for every image the phrase is tokenized and
encoded again, the map is smoothed with scipy and spread over the pixels of that one image. Both
sides start from decoded 8-bit images and end with a map per image in its own pixels.

Reference: microsoft/hi-ml, ``health_multimodal/vlp/inference_engine.py``.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from ..core.config import ImageProcessing
from ..core.errors import VerticlipError, require
from ..domains.medical.biovil.model import BioViL
from ..domains.medical.tasks.grounding import ground
from ..facade import Model
from .models import BERT_BASE_SIZE, make_phrases, random_model
from .runner import Workload

GATE = 1.0
LARGEST_DIFFERENCE = 1e-4
_SIGMA = 1.5


def build(quick: bool) -> Model:
    """Return BioViL's sizes with random weights; a smaller picture when ``quick``."""
    side, short = (160, 170) if quick else (480, 512)
    processing = ImageProcessing(
        size=side,
        short_side=short,
        interpolation="bilinear",
        resampler="pillow",
        mean=(0.0,) * 3,
        std=(1.0,) * 3,
    )
    image = {"backend": "timm", "architecture": "resnet50", "projection": "mlp", "projection_hidden": 128}
    text = {**BERT_BASE_SIZE, "projection": "mlp", "projection_hidden": 128, "dropout": 0.25}
    settings = {"architecture": "biovil", "domain": "medical", "options": {"masked_words": False}}
    return random_model(image, text, processing, embed_dim=128, build=BioViL, **settings)


def make_images(count: int, side: int) -> list[np.ndarray]:
    """Return ``count`` seeded 8-bit grey images, each of its own size around ``side``."""
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (side + 8 * k, side + 40), dtype=np.uint8) for k in range(count)]


@torch.inference_mode()
def ground_one(model: Model, image: np.ndarray, phrase: str) -> np.ndarray:
    """Return the map float64 [H, W] of one image and phrase, NaN outside the crop, in the published way."""
    from PIL import Image
    from scipy import ndimage

    processing: Any = model.processor.config.image
    height, width = image.shape
    scale = processing.short_side / min(height, width)
    long = int(processing.short_side * max(height, width) / min(height, width))
    size = (processing.short_side, long) if height >= width else (long, processing.short_side)
    resized = Image.fromarray(image).resize(size, Image.Resampling.BILINEAR)
    left, top = (round((length - processing.size) / 2) for length in resized.size)
    crop = resized.crop((left, top, left + processing.size, top + processing.size))
    pixels = torch.from_numpy(np.asarray(crop).copy()).float().div(255).expand(1, 3, -1, -1)
    network: Any = model.network
    patches = F.normalize(network.image_states({"pixels": pixels}).projected, dim=1)[0]
    text = F.normalize(network.embed("text", model.processor("text", [phrase]))[0], dim=-1)[0]
    similarity = torch.einsum("dhw,d->hw", patches, text).numpy()
    smooth = torch.from_numpy(ndimage.gaussian_filter(similarity, sigma=(_SIGMA, _SIGMA), order=0))
    side = int(processing.size / scale)
    spread = F.interpolate(smooth[None, None], (side, side), mode="bilinear", align_corners=False)[0, 0]
    across, down = width - side, height - side
    around = ((down // 2, down - down // 2), (across // 2, across - across // 2))
    return np.pad(spread.double().numpy(), around, constant_values=np.nan)


def ground_each(model: Model, images: list[np.ndarray], phrase: str) -> list[np.ndarray]:
    """Return the peer's maps, one image after the other."""
    return [ground_one(model, image, phrase) for image in images]


def check(model: Model, images: list[np.ndarray], phrase: str) -> dict[str, float]:
    """Return the largest difference of the maps; raise when it is more than rounding."""
    ours = [maps[0].values.numpy() for maps in ground(model, images, phrase)]
    worst = 0.0
    for one, other in zip(ours, ground_each(model, images, phrase), strict=True):
        if one.shape != other.shape or not np.array_equal(np.isnan(one), np.isnan(other)):
            raise VerticlipError(f"The maps cover different pixels: {one.shape} and {other.shape}.")
        worst = max(worst, float(np.nanmax(np.abs(one - other))))
    if not worst <= LARGEST_DIFFERENCE:
        raise VerticlipError(f"The maps differ by {worst:.2g}; the comparison is not fair.")
    return {"largest_difference": worst}


def workloads(quick: bool = False) -> list[Workload]:
    """Return the one comparison: eight images (two small ones when ``quick``), one phrase."""
    require("scipy.ndimage", extra="medical")
    model, phrase = build(quick), make_phrases(1)[0]
    images = make_images(2, 170) if quick else make_images(8, 512)
    return [
        Workload(
            f"grounding, {len(images)} images, one phrase",
            partial(ground, model, images, phrase),
            partial(ground_each, model, images, phrase),
            "hi-ml's path, one image at a time",
            GATE,
            partial(check, model, images, phrase),
        )
    ]
