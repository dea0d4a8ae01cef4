"""A fast encoder, tables of products, and what a catalogue holds as plain values."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from verticlip.core.errors import InputError
from verticlip.core.index.base import Identity
from verticlip.domains.ecommerce.catalog.catalog import Catalog
from verticlip.domains.ecommerce.encoders.fusing import Fusion, fuse
from verticlip.domains.ecommerce.encoders.product import ProductVectors

DIM = 16


def direction(content: bytes) -> Tensor:
    """Return a unit vector float32 [DIM] that depends on nothing but the content."""
    seed = int.from_bytes(hashlib.sha256(content).digest()[:8], "little")
    vector = np.random.default_rng(seed).standard_normal(DIM).astype(np.float32)
    return torch.from_numpy(vector / np.linalg.norm(vector))


class HashEncoder:
    """Vectors from hashes: equal words or pictures are equal, all else is unrelated."""

    context_length = 64

    def __init__(self, name: str = "hash") -> None:
        self.name, self.fusion = name, Fusion()
        self.prepared: list[bytes] = []
        self.encoded = 0

    @property
    def identity(self) -> Identity:
        return Identity(self.name, "r1", "p1", DIM)

    @property
    def dim(self) -> int:
        return DIM

    def count_tokens(self, text: str) -> int:
        return len(text.split()) + 2

    def prepare_image(self, source: object) -> Tensor:
        content = source if isinstance(source, bytes) else Path(str(source)).read_bytes()
        if content.startswith(b"bad"):
            raise InputError("the image is damaged. Save it again.")
        self.prepared.append(content)
        return direction(content)

    def encode(
        self,
        images: Sequence[Tensor | None],
        texts: Sequence[str | None],
        *,
        categories: Sequence[str | None] | None = None,
        batch_size: int = 32,
    ) -> ProductVectors:
        self.encoded += len(images)
        empty = torch.zeros(DIM)
        for text in texts:
            if text is not None and "poison" in text:
                raise InputError("the text cannot be encoded.")
        image = torch.stack([empty if one is None else one for one in images])
        text = torch.stack([empty if one is None else direction(one.encode()) for one in texts])
        has_image = torch.tensor([one is not None for one in images])
        has_text = torch.tensor([one is not None for one in texts])
        shares = self.fusion.shares(len(images), categories)
        product = fuse(image, text, shares, {"image": has_image, "text": has_text})
        return ProductVectors(image, text, product, has_image, has_text)


def picture(color: tuple[int, int, int] = (200, 30, 30), side: int = 80) -> bytes:
    """Return a PNG of one color."""
    buffer = io.BytesIO()
    Image.new("RGB", (side, side), color).save(buffer, "PNG")
    return buffer.getvalue()


def row(number: int, **changes: object) -> dict[str, object]:
    """Return a row of the table."""
    return {
        "id": f"P{number:05d}",
        "title": f"Item {number}",
        "category": ("Clothing > Dress", "Clothing > Shirt")[number % 2],
        "price": 5.0 + number,
        "image": f"img/{number}.png",
        "attributes": {"sleeve": ("long", "short")[number % 2], "size": number % 40, "new": number % 3 == 0},
        **changes,
    }


def write_rows(table: Path, rows: Sequence[dict[str, object]]) -> Path:
    """Write rows as JSON lines."""
    table.write_text("".join(json.dumps(one) + "\n" for one in rows), encoding="utf-8")
    return table


def content_of(catalog: Catalog) -> dict[str, object]:
    """Return everything a catalogue holds, to compare two of them."""
    found: dict[str, object] = {}
    if not len(catalog):
        return found
    for rows in catalog.index.scan(views=("image", "text", "product")):
        for place, (name, cells) in enumerate(zip(rows.ids, rows.payload.to_pylist(), strict=True)):
            vectors = {
                view: rows.vectors[view][place].tobytes() if rows.present[view][place] else None
                for view in ("image", "text", "product")
            }
            assert name not in found
            found[name] = (cells, vectors)
    return found
