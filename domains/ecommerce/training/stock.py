"""The products of a run: what they say, and their pictures at model size."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ....core.data import Manifest, Record
from ....core.errors import DataError
from ....core.gather import GatheredRows, tell_unreadable
from ....core.processing import Processor
from ....core.recipe import Recipe
from ....core.stores import ImageStore, build_store
from ..products.record import Product
from ..products.text import TextTemplate
from .pair_reader import product_of

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Entry:
    """A product of a run.

    Attributes:
        product: as the table has it. picture: its file, or None. text: what the model reads, or None.
    """

    product: Product
    picture: Record | None
    text: str | None = None


@dataclass(frozen=True)
class TrainingPair:
    """Two products by their names in the stock.

    Attributes:
        left, right: names. weight: relevance from 1 to 100. group: number of the style.
    """

    left: str
    right: str
    weight: float
    group: int


class Stock:
    """Products by name, which is ``source/id``.

    Args:
        entries: {name: product}. pictures: decoded ones.
    """

    def __init__(self, entries: Mapping[str, Entry], pictures: ImageStore) -> None:
        self._entries, self._pictures = dict(entries), pictures
        self._blank = next(
            (torch.zeros_like(pictures.value(one.picture)) for one in entries.values() if one.picture), None
        )

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, name: str) -> Entry:
        return self._entries[name]

    def images(self, names: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Return pictures float32 [B, C, S, S] in [0, 1], zeros where there is none, and bool [B].

        Raises:
            DataError: no product of the run has a picture.
        """
        if self._blank is None:
            raise DataError("No product has a picture that can be read. Look at the paths in the table.")
        found = [self._entries[name].picture for name in names]
        pixels = [self._blank if one is None else self._pictures.value(one) for one in found]
        return torch.stack(pixels).float() / 255, torch.tensor([one is not None for one in found])

    def texts(self, names: Sequence[str]) -> tuple[list[str], Tensor]:
        """Return texts, any words where there is none, and which there are, bool [B]."""
        found = [self._entries[name].text for name in names]
        # A tower takes no empty text; the model does not look at what it makes of these.
        filler = next((text for text in found if text), "product")
        return [text or filler for text in found], torch.tensor([text is not None for text in found])

    def counts(self) -> dict[str, int]:
        """Return how many products there are, with a picture, and with a text."""
        entries = self._entries.values()
        return {
            "products": len(entries),
            "with_picture": sum(one.picture is not None for one in entries),
            "with_text": sum(one.text is not None for one in entries),
        }

    @property
    def digest(self) -> str:
        """16 hex digits that change when a text changes, or whether a product has a picture."""
        content = [[name, one.text, one.picture is not None] for name, one in sorted(self._entries.items())]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]

    def with_texts(self, template: TextTemplate, processor: Processor) -> tuple[Stock, float]:
        """Return the stock with the texts that the model reads, and the share of texts that were cut."""
        config = processor.config.text
        longest = config.context_length if config is not None else 1
        entries, cut = {}, 0
        for name, entry in self._entries.items():
            made = template.text(
                entry.product, lambda text: processor.count_tokens([text])[0], max_tokens=longest
            )
            entries[name] = replace(entry, text=made.text or None)
            cut += bool(made.truncated_fields)
        return Stock(entries, self._pictures), cut / max(1, len(entries))

    def long_texts(self, names: Iterable[str], template: TextTemplate) -> list[str]:
        """Return the texts of some products before anything is cut: what a tokenizer is made for."""
        made = (
            template.text(self._entries[name].product, lambda text: len(text.split()), max_tokens=10_000)
            for name in sorted(set(names))
        )
        return [one.text for one in made if one.text]


def take_stock(
    recipe: Recipe, rows: GatheredRows, processor: Processor
) -> tuple[Stock, dict[str, TrainingPair], list[Record]]:
    """Return products without texts yet, {id of a record: pair}, and the records whose products are usable.

    Args:
        recipe: says whether pictures are kept in memory.
        rows: pairs of :func:`.pair_reader.read_product_pairs`, split.
        processor: prepares pictures.

    Raises:
        DataError: rows of another reader, or too many pictures that cannot be read.
    """
    known: dict[str, Entry] = {}
    pairs: dict[str, TrainingPair] = {}
    groups: dict[str, int] = {}
    for row in rows.rows:
        if not {"left", "right"} <= set(row.extras):
            raise DataError(
                f"{row.record.id}: no pair of products. Sources of task product_pairs have the reader "
                "product_pairs."
            )
        left, right = (f"{row.record.source}/{row.extras[side]['id']}" for side in ("left", "right"))
        for name, side in ((left, "left"), (right, "right")):
            if name not in known:
                known[name] = _entry(name, row.extras[side])
        group = groups.setdefault(row.record.group or row.record.id, len(groups))
        weight = row.extras.get("weight")
        pairs[row.record.id] = TrainingPair(left, right, 100.0 if weight is None else float(weight), group)
    records = [entry.picture for entry in known.values() if entry.picture is not None]
    # Paths are absolute: the files were found when the table was read.
    manifest = Manifest(Path("/"), tuple(records))
    store = build_store("image", processor.config, recipe, manifest)
    failures = store.fill(records)
    tell_unreadable(failures, len(records), "pictures")
    entries = {
        name: replace(entry, picture=None if name in failures else entry.picture)
        for name, entry in known.items()
    }
    usable = [
        record
        for record in rows.manifest.records
        if all(_shows_something(entries[name]) for name in (pairs[record.id].left, pairs[record.id].right))
    ]
    if len(usable) < len(rows.rows):
        _log.warning("%d pairs have a product with nothing to read.", len(rows.rows) - len(usable))
    if not isinstance(store, ImageStore):
        raise DataError("Products are trained from pictures and texts only.")
    return Stock(entries, store), pairs, usable


def _entry(name: str, values: Mapping[str, Any]) -> Entry:
    path = values["image"]
    return Entry(product_of(values), Record(id=name, path=path, text=None) if path else None)


def _shows_something(entry: Entry) -> bool:
    return entry.picture is not None or bool(entry.product.title)
