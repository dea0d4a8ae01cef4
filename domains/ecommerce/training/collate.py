"""Pairs to batches: both products, and the left one once more, transformed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ....core.data import Record
from ....core.processing import Processor
from ....core.types import Batch
from .stock import Stock, TrainingPair


class PairCollate:
    """Records to a batch of pairs, as :mod:`..encoders.views` says what it holds.

    Args:
        pairs: {id of a record: pair}. stock: their products.
        processor: of the model, with the augmentation of both products.
        changed: the same with that of the transformed product.
        sides: what the objective reads. token_drop: share of tokens that a transformed text loses.
    """

    def __init__(
        self,
        pairs: Mapping[str, TrainingPair],
        stock: Stock,
        processor: Processor,
        *,
        changed: Processor,
        sides: Sequence[str],
        token_drop: float,
    ) -> None:
        self._pairs, self._stock = pairs, stock
        self._processor, self._changed = processor, changed
        self._sides, self._token_drop = tuple(sides), token_drop

    def __call__(self, records: Sequence[Record], generator: torch.Generator) -> Batch:
        """Return a training batch; everything random is drawn from ``generator``."""
        return self._batch(records, generator, train=True)

    def held_out(self, records: Sequence[Record], generator: torch.Generator) -> Batch:
        """Return a batch whose products are as they are, but for the transformed one."""
        return self._batch(records, generator, train=False)

    def _batch(self, records: Sequence[Record], generator: torch.Generator, *, train: bool) -> Batch:
        pairs = [self._pairs[record.id] for record in records]
        inputs: dict[str, dict[str, Tensor]] = {}
        extras: dict[str, Tensor] = {
            "group": torch.tensor([pair.group for pair in pairs]),
            "query": _numbered([pair.left for pair in pairs]),
            "scores": torch.tensor([pair.weight for pair in pairs]),
        }
        for side in self._sides:
            names = [pair.left if side in ("", "changed_") else pair.right for pair in pairs]
            change = side == "changed_"
            images, has_image = self._stock.images(names)
            texts, has_text = self._stock.texts(names)
            processor = self._changed if change else self._processor
            inputs[f"{side}image"] = processor.finish_images(
                images, train=train or change, generator=generator
            )
            words = processor("text", texts)
            if change:
                words = drop_tokens(words, self._token_drop, pad_id=_pad_id(processor), generator=generator)
            inputs[f"{side}text"] = words
            extras |= {f"{side}has_image": has_image, f"{side}has_text": has_text}
        return Batch(inputs, None, tuple(record.id for record in records), extras)


def drop_tokens(
    inputs: Mapping[str, Tensor], share: float, *, pad_id: int, generator: torch.Generator
) -> dict[str, Tensor]:
    """Return text inputs without a random share of their tokens; the first and the last one stay.

    Args:
        inputs: ``input_ids`` and ``attention_mask`` int64 [B, L], padded at the end.
        share: chance of each token to go. pad_id: what fills the end.

    Returns:
        The same shapes; of a text that would lose all of its words, one stays.
    """
    ids, mask = inputs["input_ids"], inputs["attention_mask"].bool()
    places = torch.arange(ids.shape[1]).expand_as(ids)
    inner = mask & (places > 0) & (places < mask.sum(dim=1, keepdim=True) - 1)
    draws = torch.rand(ids.shape, generator=generator)
    dropped = inner & (draws < share)
    # The luckiest word of a text always stays: the text would say nothing.
    luckiest = torch.where(inner, draws, -1.0).argmax(dim=1, keepdim=True)
    kept = mask & ~dropped | (inner & (places == luckiest))
    order = (~kept).long().argsort(dim=1, stable=True)
    kept = kept.gather(1, order)
    return {
        "input_ids": torch.where(kept, ids.gather(1, order), pad_id),
        "attention_mask": kept.long(),
    }


def _numbered(names: Sequence[str]) -> Tensor:
    """Return int64 [B], equal for equal names."""
    numbers: dict[str, int] = {}
    return torch.tensor([numbers.setdefault(name, len(numbers)) for name in names])


def _pad_id(processor: Processor) -> int:
    text = processor.config.text
    return text.pad_id if text is not None else 0
