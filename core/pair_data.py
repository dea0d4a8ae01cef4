"""Samples with captions of their own: a caption drawn per showing, and what the domain makes of it.

A room may declare ``COLLATES = {"word": "module:function"}``. Such a function gets ``(extras of the
records, drawn captions, processor, generator)`` and returns ``Batch.extras``, tensors by name with one
entry per row. A name ``text.<argument>`` replaces that input of the text tower.

A collate may come with a check of the same word in ``COLLATE_CHECKS``. Before the first step it gets
``(rows with "id", "text" (every caption) and "extras", processor)`` and returns plain values for
``metrics.json``: what the collate will use and what it will leave out. It raises ``DataError`` where
nothing would be left.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

import torch
from torch import Tensor

from .data import Record
from .errors import ConfigError, DataError
from .mixgen import mix_pairs
from .processing import Processor
from .recipe import Recipe
from .registry import room
from .sources import Row
from .types import Batch, Modality

_log = logging.getLogger(__name__)

MAX_VALIDATION_TEXTS = 10
"""Captions of one sample that take part in the validation retrieval."""

Collate = Callable[[list[dict[str, Any]], list[str], Processor, torch.Generator], dict[str, Tensor]]


class Views(Protocol):
    """Records to the inputs of their tower, augmented when there is a generator.

    ``labels`` int64 [B] are the classes of the records, where they have one.
    """

    @property
    def modality(self) -> Modality:
        """Which tower."""
        ...

    def __call__(  # noqa: D102
        self, records: Sequence[Record], generator: torch.Generator | None, *, labels: Tensor | None = None
    ) -> dict[str, Tensor]: ...


class PairTexts:
    """Captions and extras of the records of a run.

    Args:
        rows: texts as read; a row without any takes those of its class.
        of_class: {class: captions} for rows whose source says ``captions: prompts``.
    """

    def __init__(self, rows: Sequence[Row], of_class: Mapping[str, Sequence[str]]) -> None:
        self._texts = {
            row.record.id: row.texts or tuple(of_class.get(str(row.record.label), ())) for row in rows
        }
        self._own = {row.record.id: row.texts for row in rows}
        self._extras = {row.record.id: dict(row.extras) for row in rows}
        self._previous = _previous(rows)
        keys: dict[object, int] = {}
        self._labels = {
            row.record.id: keys.setdefault(
                row.record.label if row.record.label is not None else self._texts[row.record.id], len(keys)
            )
            for row in rows
        }

    def of(self, record: Record) -> tuple[str, ...]:
        """Return every caption of a record."""
        return self._texts[record.id]

    def extras(self, record: Record) -> dict[str, Any]:
        """Return what the record's reader gave beside the captions."""
        return self._extras[record.id]

    def previous(self, record: Record) -> Record | None:
        """Return the record before this one in its group, or None."""
        return self._previous.get(record.id)

    def labels(self, records: Sequence[Record]) -> Tensor:
        """Return int64 [B]: equal for records of one class or, without a class, of the same captions."""
        return torch.tensor([self._labels[record.id] for record in records])

    def draw(self, records: Sequence[Record], generator: torch.Generator) -> list[str]:
        """Return one random caption of each record."""
        picks = torch.rand(len(records), generator=generator, dtype=torch.float64).tolist()
        texts = [self.of(record) for record in records]
        return [options[int(pick * len(options))] for options, pick in zip(texts, picks, strict=True)]

    def digest(self, records: Sequence[Record]) -> str:
        """Return the SHA-256 (hex) of the own captions and extras of ``records``."""
        content = [[record.id, self._own[record.id], self.extras(record)] for record in records]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _previous(rows: Sequence[Row]) -> dict[str, Record]:
    """Return {id: the record before it} for rows of one group, in the order they were read."""
    last: dict[str, Record] = {}
    found: dict[str, Record] = {}
    for row in rows:
        if row.series is not None:
            if row.series in last:
                found[row.record.id] = last[row.series]
            last[row.series] = row.record
    return found


@dataclass(frozen=True)
class CaptionLengths:
    """How the captions of a run fit the context.

    Attributes:
        captions: how many different ones there are. context: tokens the model takes.
        longest: tokens of the longest one. overlong: how many are longer than the context.
    """

    captions: int
    context: int
    longest: int
    overlong: int

    def to_dict(self) -> dict[str, int]:
        """Return plain values for JSON."""
        return {
            "captions": self.captions,
            "context": self.context,
            "longest": self.longest,
            "overlong": self.overlong,
        }


def check_lengths(texts: PairTexts, records: Sequence[Record], processor: Processor) -> CaptionLengths:
    """Return the lengths of all captions, before a run begins that would fail on one of them later.

    Raises:
        DataError: captions are too long and the recipe does not say ``text.overlong: truncate``.
    """
    config = processor.config.text
    if config is None:
        raise DataError("The model takes no text; captions need a text tower and its processing.")
    context, truncates = config.context_length, config.overlong == "truncate"
    owners: dict[str, str] = {}
    for record in records:
        for text in texts.of(record):
            owners.setdefault(text, record.id)
    counts = processor.count_tokens(list(owners))
    long = [(owner, count) for owner, count in zip(owners.values(), counts, strict=True) if count > context]
    if long and not truncates:
        raise DataError(
            f"{len(long)} of {len(counts)} captions have more than {context} tokens, first of {long[0][0]!r} "
            f"({long[0][1]} tokens). Set text.overlong to truncate to cut them, or raise text.context_length."
        )
    if long:
        _log.warning(
            "%d of %d captions are cut to %d tokens; the longest has %d.",
            len(long),
            len(counts),
            context,
            max(counts),
        )
    return CaptionLengths(len(counts), context, max(counts, default=0), len(long))


def check_mixing(recipe: Recipe, lengths: CaptionLengths, processor: Processor) -> None:
    """Raise ``ConfigError`` when mixed rows would be overlong, or belong to two classes of the objective."""
    if recipe.data.mixgen and recipe.objective.options.get("positives") == "labels":
        raise ConfigError("data.mixgen makes rows of two classes; set objective.options.positives to pairs.")
    config = processor.config.text
    fits = 2 * lengths.longest <= lengths.context or (config is not None and config.overlong == "truncate")
    if recipe.data.mixgen and not fits:
        raise ConfigError(
            f"data.mixgen joins two captions of up to {lengths.longest} tokens, and the model takes "
            f"{lengths.context}. Set text.overlong to truncate, or leave mixgen out."
        )


def check_extras(
    recipe: Recipe, texts: PairTexts, records: Sequence[Record], processor: Processor
) -> dict[str, Any]:
    """Return what the recipe's collate will use of all records, empty when it has no check.

    Raises:
        DataError: nothing of it can be used.
    """
    word = recipe.data.collate
    if word is None or recipe.domain is None or word not in room(recipe.domain).collate_checks:
        return {}
    check = room(recipe.domain).function("collate_checks", word)
    rows = ({"id": one.id, "text": list(texts.of(one)), "extras": texts.extras(one)} for one in records)
    return check(rows, processor)


def equal_captions(texts: PairTexts, records: Sequence[Record]) -> dict[str, dict[str, int]]:
    """Return, by source, how many captions of the validation part also stand in the training part.

    Captions that all rows of a class share are made from the class and leave nothing to find out; they
    are not counted. Equal captions of different images are no error, but make the score a little too good.

    Returns:
        {source: {"validation": different captions there, "in_training": those of them}}; white space aside.
    """
    of_class: dict[tuple[str | None, str], set[tuple[str, ...]]] = {}
    for record in records:
        if record.label is not None:
            of_class.setdefault((record.source, record.label), set()).add(texts.of(record))
    seen: dict[str, dict[str, set[str]]] = {"train": {}, "val": {}}
    for record in records:
        shared = record.label is not None and len(of_class[record.source, record.label]) == 1
        if record.split in seen and not shared:
            found = seen[record.split].setdefault(str(record.source), set())
            found.update(" ".join(text.split()) for text in texts.of(record))
    trained = set().union(*seen["train"].values())
    counts = {
        source: {"validation": len(found), "in_training": len(found & trained)}
        for source, found in seen["val"].items()
    }
    for source, count in counts.items():
        if count["in_training"]:
            _log.warning(
                "%d of %d validation captions of %s also stand in the training part.",
                count["in_training"],
                count["validation"],
                source,
            )
    return counts


class PairCollate:
    """Records to a batch: augmented views, one drawn caption each, and the domain's extras."""

    def __init__(self, recipe: Recipe, texts: PairTexts, processor: Processor, views: Views) -> None:
        self._texts, self._processor, self._views = texts, processor, views
        self._previous_share = recipe.data.previous_share
        if self._previous_share is not None and views.modality != "image":
            raise ConfigError(
                f"data.previous_share is for models that compare two images, and this one takes "
                f"{views.modality}. Leave it out."
            )
        # Drawn for the whole epoch before its rows were dealt to batches; see data/distinct.py.
        self._planned = recipe.data.distinct_captions
        self._mixed = recipe.data.mixgen
        if self._mixed and views.modality != "image":
            raise ConfigError(
                f"data.mixgen mixes images, and this model takes {views.modality}. Leave it out."
            )
        self._collate: Collate | None = None
        if recipe.data.collate is not None:
            if recipe.domain is None:
                raise ConfigError(f"data.collate {recipe.data.collate!r} belongs to a domain; none is set.")
            self._collate = cast("Collate", room(recipe.domain).function("collates", recipe.data.collate))

    def __call__(self, records: Sequence[Record], generator: torch.Generator, *, train: bool = True) -> Batch:
        """Return the batch of ``records``; with ``train=False`` they are not augmented."""
        if self._planned and train:
            captions = [str(record.text) for record in records]
        else:
            captions = self._texts.draw(records, generator)
        labels = self._texts.labels(records)
        given = self._views(records, generator if train else None, labels=labels)
        if self._mixed and train:
            given["pixels"], captions = mix_pairs(
                given["pixels"], captions, share=self._mixed, generator=generator
            )
        inputs = {str(self._views.modality): given, "text": self._processor("text", captions)}
        if self._previous_share is not None:
            given |= self._earlier(records, given["pixels"], generator, train=train)
        extras: dict[str, Tensor] = {}
        if self._collate is not None:
            rows = [self._texts.extras(record) for record in records]
            made = self._collate(rows, captions, self._processor, generator)
            inputs["text"] |= {key[5:]: value for key, value in made.items() if key.startswith("text.")}
            extras = {key: value for key, value in made.items() if not key.startswith("text.")}
        return Batch(inputs, labels, tuple(record.id for record in records), extras)

    def _earlier(
        self, records: Sequence[Record], pixels: Tensor, generator: torch.Generator, *, train: bool
    ) -> dict[str, Tensor]:
        """Return ``previous`` like ``pixels``, zero where there is none, and ``has_previous`` bool [B]."""
        share = float(self._previous_share or 0.0) if train else 1.0
        kept = (torch.rand(len(records), generator=generator) < share).tolist()
        before = [
            self._texts.previous(record) if keep else None for record, keep in zip(records, kept, strict=True)
        ]
        has = torch.tensor([record is not None for record in before])
        previous = torch.zeros_like(pixels)
        found = [record for record in before if record is not None]
        if found:
            previous[has] = self._views(found, generator if train else None)["pixels"]
        return {"previous": previous, "has_previous": has}
