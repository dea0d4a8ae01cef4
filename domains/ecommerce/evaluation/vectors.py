"""Vectors of the products, pictures and texts of an evaluation, each encoded once."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ....core.answer_each import answer_each, check_batch_size
from ....core.answers import Failure
from ....core.metrics.graded import GradedRankings
from ....core.metrics.ranking import top_k
from ....core.processing import Processor
from ..encoders.product import ProductEncoder
from ..loaders.image import load_image

if TYPE_CHECKING:
    from ....core.handle import ModelHandle

Picture = Path | bytes | Callable[[], Any] | None
"""A picture, or what gives one when it is needed."""
Progress = Callable[[int, int], None]
"""Told (done, all) of the pictures."""


@dataclass(frozen=True)
class EvaluationEncoder:
    """A model as published evaluations use it: texts longer than it reads are cut, and counted.

    Attributes:
        model: whose texts are cut. encoder: on top of it.
        batch_size: pictures per call of the network. progress: told of the pictures.
        show_paths: messages name whole paths.
    """

    model: ModelHandle
    encoder: ProductEncoder
    batch_size: int = 8
    progress: Progress | None = None
    show_paths: bool = False

    @classmethod
    def of(
        cls,
        model: ModelHandle,
        *,
        batch_size: int = 8,
        progress: Progress | None = None,
        show_paths: bool = False,
    ) -> EvaluationEncoder:
        """Return the encoder of a model.

        Raises:
            ConfigError: a batch size below 1, or a model without pictures or texts.
        """
        check_batch_size(batch_size)
        ProductEncoder(model)  # refuses what has no picture or no text
        text = model.processor.config.text
        if text is not None and text.overlong == "error":
            model = copy.copy(model)
            config = model.processor.config.model_copy(
                update={"text": text.model_copy(update={"overlong": "truncate"})}
            )
            model.processor = Processor(config, model.processor.tokenizer_json, limits=model.limits)
        return cls(model, ProductEncoder(model), batch_size, progress, show_paths)

    @property
    def origin(self) -> dict[str, str]:
        """What results carry of the model."""
        return {
            "model": self.model.id,
            "revision": self.model.revision,
            "processor": self.model.processor.fingerprint,
        }

    def texts(self, texts: Sequence[str]) -> tuple[Tensor, int]:
        """Return (unit vectors float32 [N, D], how many texts were cut); equal texts are encoded once."""
        places: dict[str, int] = {}
        rows = [places.setdefault(text, len(places)) for text in texts]
        if not rows:
            return torch.zeros(0, self.encoder.dim), 0
        unique = list(places)
        counts = self.model.processor.count_tokens(unique)
        long = {text for text, count in zip(unique, counts, strict=True) if count > self._room}
        vectors = self.encoder.encode([None] * len(unique), unique, batch_size=64).text
        return vectors[rows], sum(text in long for text in texts)

    def pictures(self, pictures: Sequence[Picture], names: Sequence[str]) -> PictureVectors:
        """Return the vectors of pictures that are read ahead by threads; those that cannot be are told."""
        there = [place for place, picture in enumerate(pictures) if picture is not None]
        vectors = torch.zeros(len(pictures), self.encoder.dim)
        present = torch.zeros(len(pictures), dtype=torch.bool)
        failures: list[Failure] = []
        answers = answer_each(
            there,
            lambda place, _: self._prepared(pictures[place]),
            lambda prepared: list(self.encoder.encode_images(prepared)),
            batch_size=self.batch_size,
            name=lambda place, _: names[place],
        )
        for done, (place, (_, answer)) in enumerate(zip(there, answers, strict=True), start=1):
            if isinstance(answer, Failure):
                failures.append(answer)
            else:
                vectors[place], present[place] = answer, True
            if self.progress is not None and (done % self.batch_size == 0 or done == len(there)):
                self.progress(done, len(there))
        return PictureVectors(vectors, present, tuple(failures))

    def both(self, pictures: Sequence[Picture], texts: Sequence[str]) -> Tensor:
        """Return the vectors of pictures with words as one product; float32 [N, D].

        Raises:
            InputError: a picture that cannot be read.
        """
        rows = []
        for start in range(0, len(texts), self.batch_size):
            part = slice(start, start + self.batch_size)
            prepared = [self._prepared(one) for one in pictures[part]]
            rows.append(self.encoder.encode(prepared, list(texts[part])).product)
        return torch.cat(rows) if rows else torch.zeros(0, self.encoder.dim)

    def _prepared(self, picture: Picture) -> Tensor:
        source: Any = picture() if callable(picture) else picture
        if isinstance(source, (Path, bytes)):
            # Published sets hold pictures that a catalogue would refuse: KAGL's are 60 pixels wide.
            source = load_image(source, limits=self.model.limits, show_paths=self.show_paths, shortest_side=1)
        return self.encoder.prepare_image(source)

    @property
    def _room(self) -> int:
        return self.encoder.context_length


@dataclass(frozen=True, eq=False)
class PictureVectors:
    """Vectors of N pictures.

    Attributes:
        vectors: float32 [N, D], unit length; zeros where there is none.
        present: bool [N]. failures: pictures that are there and cannot be used.
    """

    vectors: Tensor
    present: Tensor
    failures: tuple[Failure, ...]


def rank(queries: Mapping[str, Tensor], gallery: Tensor, ids: Sequence[str], k: int) -> dict[str, list[str]]:
    """Return {query: ids of its k nearest documents}, equal ones by id.

    Args:
        queries: {query: float [D], unit length}. gallery: float [G, D]. ids: G different ids.
        k: at least 1; no more than there are documents are returned.
    """
    if not queries:
        return {}
    order = sorted(range(len(ids)), key=lambda place: ids[place])
    named = [ids[place] for place in order]
    rows, _ = top_k(torch.stack(list(queries.values())), gallery[order], min(k, len(ids)))
    return {query: [named[place] for place in row] for query, row in zip(queries, rows.tolist(), strict=True)}


def graded(ranked: Mapping[str, Sequence[str]], judged: Mapping[str, Mapping[str, float]]) -> GradedRankings:
    """Return rankings of the judged queries; see :class:`core.metrics.graded.GradedRankings`."""
    return GradedRankings.from_lists(ranked, judged)
