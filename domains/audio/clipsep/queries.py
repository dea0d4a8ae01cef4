"""What training asks the separator with: captions, pictures, labels or given vectors, all computed once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from ....core.errors import ConfigError, DataError
from ....core.inference import encode_by_length
from ....core.model import ContrastiveModel
from ....core.processing import Processor
from ....core.prompts import PromptSet
from ..loaders.embedding_cache import EmbeddingCache, write_cache
from .mixing import Slot


class FrameEmbeddings(Protocol):
    """Embeddings of frames by record id."""

    def __getitem__(self, key: str, /) -> Tensor:
        """Return float32 [frames, D] of a record."""
        ...


Encode = Callable[[str, Mapping[str, Tensor]], Tensor]
"""From a modality and its inputs to queries float32 [B, D]."""
_AROUND = 1
"""Frames on each side of the middle one that an image query is the mean of."""
_AT_ONCE = 32


class Queries(Protocol):
    """Gives a query for each slot of each mixture."""

    def draw(self, slots: Sequence[Sequence[Slot]], generator: torch.Generator | None) -> Tensor:
        """Return float32 [B, N, D], or int64 [B, N] for labels; without a generator always the same."""
        ...


def encoder(network: ContrastiveModel, *, normalize: bool) -> Encode:
    """Return a function from inputs to queries by a frozen network's towers."""

    def encode(modality: str, inputs: Mapping[str, Tensor]) -> Tensor:
        was_training = network.training
        network.eval()
        try:
            with torch.inference_mode():
                vectors = network.encode(modality, inputs, normalize=normalize)
        finally:
            network.train(was_training)
        return vectors.float().clone()

    return encode


class TextQueries:
    """A random caption of the slot's label; without a generator the mean of all of them.

    Args:
        prompts: captions of each label. labels: those that occur.
        processor: turns captions into tokens. encode: see :func:`encoder`.

    Raises:
        ConfigError: a label has no captions.
    """

    def __init__(
        self, prompts: PromptSet, labels: Sequence[str], *, processor: Processor, encode: Encode
    ) -> None:
        self._captions: dict[str, Tensor] = {}
        self._means: dict[str, Tensor] = {}
        for label in labels:
            if label not in prompts.classes:
                raise ConfigError(f"Prompt set {prompts.name!r} has no captions for label {label!r}.")
            texts = prompts.texts(label)
            vectors = encode_by_length(lambda part: encode("text", part), processor("text", texts))
            self._captions[label] = vectors
            weights = torch.tensor(prompts.text_weights(label), dtype=vectors.dtype)
            self._means[label] = weights @ vectors

    def draw(self, slots: Sequence[Sequence[Slot]], generator: torch.Generator | None) -> Tensor:
        """Return float32 [B, N, D]."""
        return torch.stack([torch.stack([self._one(slot, generator) for slot in row]) for row in slots])

    def _one(self, slot: Slot, generator: torch.Generator | None) -> Tensor:
        label = str(slot.record.label)
        if generator is None:
            return self._means[label]
        own = self._captions[label]
        return own[int(torch.randint(len(own), (1,), generator=generator))]


class ImageQueries:
    """The mean of the embeddings of three frames around the middle of the sound, as they leave the tower.

    Args:
        frames: {record id: embeddings float32 [frames, D]}, in order of time; a dict or a cache on disk.

    Reference: Dong et al. 2023, CLIPSep, section 4.
    """

    def __init__(self, frames: FrameEmbeddings) -> None:
        self._frames = frames

    def draw(self, slots: Sequence[Sequence[Slot]], generator: torch.Generator | None) -> Tensor:
        """Return float32 [B, N, D]."""
        return torch.stack([torch.stack([self._one(slot) for slot in row]) for row in slots])

    def _one(self, slot: Slot) -> Tensor:
        own = self._frames[slot.record.id]
        middle = max(slot.center, 1) - 1
        first = min(max(middle - _AROUND, 0), max(len(own) - 1 - 2 * _AROUND, 0))
        return own[first : first + 2 * _AROUND + 1].mean(dim=0)


def embed_frames(
    paths: Mapping[str, Sequence[str]],
    load: Callable[[str], object],
    *,
    processor: Processor,
    encode: Encode,
    cache: Path | None = None,
    identity: Mapping[str, str] | None = None,
) -> FrameEmbeddings:
    """Return the embeddings float32 [frames, D] of the frames of each record; a frozen tower needs them once.

    Args:
        paths: {record id: frame files in order of time}.
        load: from a file to a sample. processor, encode: see :class:`TextQueries`.
        cache: folder to keep them in; a run that was interrupted goes on there. None keeps them in memory.
        identity: what makes embeddings equal: model, revision, processor.

    Raises:
        DataError: frames of some records cannot be read. ConfigError: the cache is of another model.
    """

    def embed(files: Sequence[str]) -> Tensor:
        parts = [
            encode("image", processor("image", [load(path) for path in files[start : start + _AT_ONCE]]))
            for start in range(0, len(files), _AT_ONCE)
        ]
        return torch.cat(parts)

    if cache is None:
        return {name: embed(files) for name, files in paths.items()}
    made = write_cache(list(paths.items()), embed, cache, identity=identity or {}, half=False)
    if made.failures:
        name, reason = next(iter(made.failures.items()))
        raise DataError(
            f"{len(made.failures)} records have frames that cannot be read, first {name}: {reason}"
        )
    return EmbeddingCache(cache)


class HybridQueries:
    """Image queries for one half of the batches and text queries for the other, drawn at random.

    The reference takes turns by the number of the step; a coin for each batch does the same and lets an
    interrupted run go on exactly. Without a generator the queries are texts, as users give them.
    """

    def __init__(self, image: Queries, text: Queries) -> None:
        self._image, self._text = image, text

    def draw(self, slots: Sequence[Sequence[Slot]], generator: torch.Generator | None) -> Tensor:
        """Return float32 [B, N, D]."""
        by_image = generator is not None and float(torch.rand((), generator=generator)) < 0.5
        return (self._image if by_image else self._text).draw(slots, generator)


class LabelQueries:
    """The row of the slot's label in the model's table."""

    def __init__(self, labels: Sequence[str]) -> None:
        self._rows = {label: row for row, label in enumerate(labels)}

    def draw(self, slots: Sequence[Sequence[Slot]], generator: torch.Generator | None) -> Tensor:
        """Return int64 [B, N].

        Raises:
            ConfigError: a label that the table does not have.
        """
        for row in slots:
            for slot in row:
                if str(slot.record.label) not in self._rows:
                    raise ConfigError(
                        f"Label {slot.record.label!r} is none of the model's {len(self._rows)}."
                    )
        return torch.tensor([[self._rows[str(slot.record.label)] for slot in row] for row in slots])


class VectorQueries:
    """A given vector for each label: sentence embeddings of the kind ``bert``.

    Args:
        vectors: {label: float32 [D]}.
    """

    def __init__(self, vectors: Mapping[str, Tensor]) -> None:
        self._vectors = vectors

    def draw(self, slots: Sequence[Sequence[Slot]], generator: torch.Generator | None) -> Tensor:
        """Return float32 [B, N, D].

        Raises:
            ConfigError: a label without a vector.
        """
        for row in slots:
            for slot in row:
                if str(slot.record.label) not in self._vectors:
                    raise ConfigError(f"The query vectors have none for label {slot.record.label!r}.")
        return torch.stack(
            [torch.stack([self._vectors[str(slot.record.label)] for slot in row]) for row in slots]
        )
