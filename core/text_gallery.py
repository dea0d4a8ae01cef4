"""Texts to rank against images: encoded whole or by sentence, scored in tiles."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from .errors import ConfigError, InputError
from .sentences import sentences

if TYPE_CHECKING:
    from .handle import ModelHandle

LongText = Literal["error", "max", "mean"]
"""``error`` refuses a text over the model's limit. ``max`` and ``mean`` split every text into sentences: a
text scores as its best sentence, or as the mean of its sentences' unit vectors."""

_TILE = 4_000_000
"""Scores held at once."""


@dataclass(frozen=True)
class TextGallery:
    """Texts that images are compared with.

    Attributes:
        vectors: float32 [S, D], unit length.
        text_of: int64 [S], whose vector it is where a text has several, else None.
        count: number of texts.
    """

    vectors: Tensor
    text_of: Tensor | None
    count: int

    def tiles(self, images: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """Yield (image rows, scores float32 [rows, texts]); exact whatever the size of the tiles."""
        columns = self.vectors.double().T
        height = max(1, _TILE // max(1, columns.shape[1]))
        for start in range(0, len(images), height):
            rows = slice(start, min(start + height, len(images)))
            scores = (images[rows].double() @ columns).float()
            if self.text_of is not None:
                index = self.text_of[None].expand_as(scores)
                scores = torch.full((len(scores), self.count), -2.0).scatter_reduce(1, index, scores, "amax")
            yield rows, scores

    def chosen(self, texts: Sequence[int]) -> TextGallery:
        """Return the gallery of these texts, in this order; one may stand several times."""
        if self.text_of is None:
            return TextGallery(self.vectors[torch.tensor(texts)], None, len(texts))
        # The vectors of a text stand together, in the order of the texts.
        ends = torch.bincount(self.text_of, minlength=self.count).cumsum(0).tolist()
        parts = [torch.arange(ends[text - 1] if text else 0, ends[text]) for text in texts]
        owner = torch.tensor([position for position, part in enumerate(parts) for _ in part])
        return TextGallery(self.vectors[torch.cat(parts)], owner, len(texts))


def encode_texts(model: ModelHandle, texts: Sequence[str], long_text: LongText) -> TextGallery:
    """Return texts ready to be ranked.

    Raises:
        ConfigError: an unknown way to handle long texts.
        InputError: a text, or a sentence of it, over the model's limit.
    """
    if long_text not in ("error", "max", "mean"):
        raise ConfigError(f"long_text is 'error', 'max' or 'mean', got {long_text!r}.")
    encode: Callable[[list[str]], Tensor] = lambda batch: model.embed(batch, modality="text").vectors  # noqa: E731
    if long_text == "error":
        try:
            return TextGallery(encode(list(texts)), None, len(texts))
        except InputError as error:
            raise InputError(
                f"{error} Or score reports by their sentences: long_text='max' or 'mean' (--long-text)."
            ) from error
    parts = [sentences(text, ends=".!?;", lines=True) or [text] for text in texts]
    owner = torch.tensor([position for position, part in enumerate(parts) for _ in part])
    try:
        vectors = encode([sentence for part in parts for sentence in part])
    except InputError as error:
        raise InputError(
            f"Even a single sentence is too long: {error} Break it with a line end, or leave the text out."
        ) from error
    if long_text == "max":
        return TextGallery(vectors, owner, len(texts))
    sums = torch.zeros(len(texts), vectors.shape[1]).index_add_(0, owner, vectors)
    return TextGallery(F.normalize(sums, dim=-1), None, len(texts))


def best_ranks(
    images: Tensor, gallery: TextGallery, matches: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the 0-based rank of the best match of each image and of each text.

    Two passes over the scores: the first finds the best match, the second counts what stands before it.
    """
    count = gallery.count
    linked = torch.from_numpy(matches)
    image_best, text_best = torch.full((len(images),), -3.0), torch.full((count,), -3.0)
    image_id = torch.zeros(len(images), dtype=torch.int64)
    text_id = torch.zeros(count, dtype=torch.int64)
    for rows, scores in gallery.tiles(images):
        inside_tile = linked[(linked[:, 0] >= rows.start) & (linked[:, 0] < rows.stop)]
        for (image, text), score in zip(
            inside_tile.tolist(),
            scores[inside_tile[:, 0] - rows.start, inside_tile[:, 1]].tolist(),
            strict=True,
        ):
            # Matches come in ascending order, so that the first of equals is kept.
            if score > image_best[image]:
                image_best[image], image_id[image] = score, text
            if score > text_best[text]:
                text_best[text], text_id[text] = score, image
    image_rank = torch.zeros(len(images), dtype=torch.int64)
    text_rank = torch.zeros(count, dtype=torch.int64)
    text_ids = torch.arange(count)[None]
    for rows, scores in gallery.tiles(images):
        best, own = image_best[rows, None], image_id[rows, None]
        image_rank[rows] = ((scores > best) | ((scores == best) & (text_ids < own))).sum(dim=1)
        image_ids = torch.arange(rows.start, rows.stop)[:, None]
        text_rank += ((scores > text_best) | ((scores == text_best) & (image_ids < text_id))).sum(dim=0)
    return image_rank.numpy(), text_rank.numpy()
