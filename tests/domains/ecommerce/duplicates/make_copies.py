"""Pictures, what shops do to copies of them, and an encoder that sees pixels and words."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageEnhance, ImageOps
from torch import Tensor
from verticlip.core.index.base import Identity
from verticlip.domains.ecommerce.encoders.fusing import Fusion, fuse
from verticlip.domains.ecommerce.encoders.product import ProductVectors

SIDE, WORDS = 6, 36
DIM = 3 * SIDE * SIDE + WORDS


class PixelEncoder:
    """A picture is its colors in a coarse grid, a text its words: no learning, but what is alike is alike."""

    context_length = 64

    def __init__(self) -> None:
        self.fusion = Fusion()

    @property
    def identity(self) -> Identity:
        return Identity("pixels", "1", "1", DIM)

    @property
    def dim(self) -> int:
        return DIM

    def count_tokens(self, text: str) -> int:
        return len(text.split()) + 2

    def prepare_image(self, source: object) -> Tensor:
        handle = io.BytesIO(source) if isinstance(source, bytes) else str(source)
        with Image.open(handle) as image:
            small = image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BOX)
        pixels = np.asarray(small, dtype=np.float32).ravel()
        vector = np.zeros(DIM, np.float32)
        vector[: 3 * SIDE * SIDE] = pixels - pixels.mean() + 1.0  # also a blank picture has a direction
        return torch.from_numpy(vector / max(1e-6, float(np.linalg.norm(vector))))

    def encode(
        self,
        images: Sequence[Tensor | None],
        texts: Sequence[str | None],
        *,
        categories: Sequence[str | None] | None = None,
        batch_size: int = 32,
    ) -> ProductVectors:
        empty = torch.zeros(DIM)
        image = torch.stack([empty if one is None else one for one in images])
        text = torch.stack([empty if one is None else _words(one) for one in texts])
        has_image = torch.tensor([one is not None for one in images])
        has_text = torch.tensor([one is not None for one in texts])
        shares = self.fusion.shares(len(images), categories)
        product = fuse(image, text, shares, {"image": has_image, "text": has_text})
        return ProductVectors(image, text, product, has_image, has_text)


def _words(text: str) -> Tensor:
    vector = torch.zeros(DIM)
    for word in text.lower().replace(",", " ").split():
        vector[3 * SIDE * SIDE + hashlib.sha256(word.encode()).digest()[0] % WORDS] += 1
    return vector / vector.norm().clamp(min=1e-6)


def photo(seed: int, side: int = 144) -> Image.Image:
    """Return a smooth colored picture with a shape in it; every seed looks different."""
    rng = np.random.default_rng(seed)
    ground = Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8))
    image = ground.resize((side, side), Image.Resampling.BICUBIC)
    low, high = np.sort(rng.integers(5, side - 5, (2, 2)), axis=0).tolist()
    ImageDraw.Draw(image).rectangle((*low, *high), fill=tuple(rng.integers(0, 256, 3).tolist()))
    return image


def jpeg(image: Image.Image, quality: int = 90) -> bytes:
    """Return a picture as JPEG."""
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def _marked(image: Image.Image) -> Image.Image:
    copy = image.copy()
    place = (int(image.width * 0.1), int(image.height * 0.85))
    ImageDraw.Draw(copy).text(place, "shop.example", fill="white")
    return copy


def _cropped(image: Image.Image) -> Image.Image:
    left, top = int(image.width * 0.025), int(image.height * 0.025)
    return image.crop((left, top, image.width - left, image.height - top))


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "saved again": lambda image: Image.open(io.BytesIO(jpeg(image, 40))).convert("RGB"),
    "half the size": lambda image: image.resize((image.width // 2, image.height // 2)),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.2),
    "cropped 5 %": _cropped,
    "watermark": _marked,
    "mirrored": ImageOps.mirror,
}
"""What shops do to a picture."""


def write(folder: Path, name: str, content: bytes) -> str:
    """Write a picture file and return its name."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)
    return name
