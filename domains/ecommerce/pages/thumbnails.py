"""Small pictures that travel inside a page: drawn anew, so that nothing of the file comes along."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ....core.errors import ConfigError

if TYPE_CHECKING:
    from PIL.Image import Image

_MAX_RATIO = 4
"""Longer than four times its width, a strip of pixels says nothing as a thumbnail; its middle does."""
_QUALITIES = (82, 70, 55, 40, 25)


@dataclass(frozen=True)
class Thumbnail:
    """A picture inside a page.

    Attributes:
        uri: ``data:`` URI. width, height: pixels.
    """

    uri: str
    width: int
    height: int


@dataclass(frozen=True)
class ThumbnailSize:
    """How large thumbnails are.

    Attributes:
        side: longer side in pixels. file_bytes: most bytes of one, before it becomes text.
    """

    side: int = 280
    file_bytes: int = 24_000

    def __post_init__(self) -> None:
        if self.side < 16 or self.file_bytes < 1_000:
            raise ConfigError(
                f"A thumbnail has a side of at least 16 pixels and at least 1,000 bytes, got {self.side} and "
                f"{self.file_bytes}."
            )


def size_for(count: int, *, page_bytes: int = 12_000_000) -> ThumbnailSize:
    """Return how large ``count`` thumbnails may be so that a page stays below ``page_bytes``."""
    each = int(page_bytes * 3 / 4 / max(count, 1))  # as text, four bytes stand for three
    for side, enough in ((280, 24_000), (200, 12_000), (140, 6_000)):
        if each >= enough:
            return ThumbnailSize(side, enough)
    return ThumbnailSize(96, max(1_000, min(each, 3_000)))


def thumbnail(image: Image, size: ThumbnailSize | None = None) -> Thumbnail:
    """Return a picture as a small JPEG without metadata, transparency over white.

    Args:
        image: any mode; shrunk, never enlarged. One far from square is cut to its middle.
        size: longer side and bytes; quality and then the side give way until it fits.
    """
    size = size or ThumbnailSize()
    small = _bare(image, size.side)
    while True:
        for quality in _QUALITIES:
            buffer = io.BytesIO()
            small.save(buffer, "JPEG", quality=quality, optimize=True)
            if buffer.tell() <= size.file_bytes:
                uri = "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
                return Thumbnail(uri, small.width, small.height)
        small = small.reduce(2)


def thumbnail_or_none(
    load: Callable[[], Image | None], size: ThumbnailSize | None = None
) -> Thumbnail | None:
    """Return the thumbnail of what ``load`` gives, or None where there is no picture that can be read.

    A page of results is worth having when one of its files has gone or broken since.
    """
    try:
        image = load()
        return None if image is None else thumbnail(image, size)
    except (OSError, ValueError, SyntaxError, EOFError):  # what Pillow and our own loader raise
        return None


def _bare(image: Image, side: int) -> Image:
    """Return the pixels alone in RGB: a copy of a picture keeps its comments and profile."""
    from PIL import Image as Images
    from PIL import ImageOps

    image = ImageOps.exif_transpose(image)
    width, height = image.size
    if max(width, height) > _MAX_RATIO * min(width, height):
        kept = _MAX_RATIO * min(width, height)
        left, top = max(0, (width - kept) // 2), max(0, (height - kept) // 2)
        image = image.crop((left, top, min(width, left + kept), min(height, top + kept)))
    if image.mode not in ("RGB", "L"):
        image = image.convert("RGBA")
    image.thumbnail((side, side), Images.Resampling.BICUBIC)
    paper = Images.new("RGB", image.size, "white")
    paper.paste(image, mask=image if image.mode == "RGBA" else None)
    return paper
