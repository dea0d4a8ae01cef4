"""Presentations to a batch: changed pictures, what they are, and what the objective reads beside that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ....core.captions import CaptionPool
from ....core.data import Record
from ....core.processing import Processor
from ....core.stores import ImageStore
from ....core.types import Batch
from ..minifasnet.spectrum import fourier_target
from ..models.flip_mcl import VIEWS, PromptViews, draw_prompt_views
from ..objectives.category import LIVE
from ..objectives.flip import PROMPT_VIEWS
from ..taxonomy import Taxonomy
from .changes import Changes, simclr_view

FOURIER = "fourier_target"
"""Key of ``batch.extras``: float32 [B, 1, h, w]; see :mod:`..objectives.fourier`."""


@dataclass(frozen=True)
class Wanted:
    """What a batch holds beside pictures, labels and ``live``.

    Attributes:
        views: two more views of each picture.
        prompt_views: how two subsets of the texts of each row's category are drawn; None draws none.
        text: one text of each row's category, drawn anew each time.
        fourier_size: rows and columns of the spectra; None makes none.
    """

    views: bool = False
    prompt_views: PromptViews | None = None
    text: bool = False
    fourier_size: tuple[int, int] | None = None


class PresentationCollate:
    """Records to a batch; everything random is drawn from the generator that comes with them.

    Args:
        categories: {id: class index, -1 where unknown}. live: {id: whether it is bona fide}.
        store: of their frames. processor: of the model.
        taxonomy: of the model. changes: of training pictures. wanted: what the objective reads.
    """

    def __init__(
        self,
        categories: Mapping[str, int],
        live: Mapping[str, bool],
        store: ImageStore,
        processor: Processor,
        *,
        taxonomy: Taxonomy,
        changes: Changes,
        wanted: Wanted,
    ) -> None:
        self._categories, self._live = categories, live
        self._store, self._processor = store, processor
        self._taxonomy, self._changes, self._wanted = taxonomy, changes, wanted
        self._texts = None
        if wanted.text:
            self._texts = CaptionPool([one.texts for one in taxonomy.categories], processor)

    def __call__(self, records: Sequence[Record], generator: torch.Generator) -> Batch:
        """Return a training batch: a random frame of each presentation, randomly changed."""
        return self._batch(records, generator, train=True)

    def held_out(self, records: Sequence[Record], generator: torch.Generator) -> Batch:
        """Return a batch of first frames as they are; only what the objective itself draws is random."""
        return self._batch(records, generator, train=False)

    def _batch(self, records: Sequence[Record], generator: torch.Generator, *, train: bool) -> Batch:
        frames = self._store.draw(records, generator if train else None)
        shared = self._changes.shared(frames, generator) if train else frames
        own = self._changes.own(shared, generator) if train else frames
        labels = torch.tensor([self._categories[record.id] for record in records])
        live = torch.tensor([int(self._live[record.id]) for record in records])
        inputs: dict[str, dict[str, Tensor]] = {"image": self._finished(own)}
        extras = {LIVE: live}
        if self._wanted.views:
            for view in VIEWS:
                extras[view] = self._finished(simclr_view(shared, generator))["pixels"]
        if self._wanted.prompt_views is not None:
            drawn = draw_prompt_views(
                labels, self._taxonomy.counts, generator=generator, mode=self._wanted.prompt_views
            )
            extras |= dict(zip(PROMPT_VIEWS, drawn, strict=True))
        if self._texts is not None:
            inputs["text"] = self._texts.draw(labels, generator)
        if self._wanted.fourier_size is not None:
            # Of the picture as it was taken: the texture of paper and screens is what the branch learns.
            extras[FOURIER] = fourier_target(frames, self._wanted.fourier_size)
        return Batch(inputs, labels, tuple(record.id for record in records), extras)

    def _finished(self, pictures: Tensor) -> dict[str, Tensor]:
        finished = self._processor.finish_images(pictures)
        return {name: one.contiguous(memory_format=torch.channels_last) for name, one in finished.items()}
