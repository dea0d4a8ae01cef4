"""Records of a run: read, decoded once, split so that near-equal images and groups stay together."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .config import ProcessorConfig
from .data import Manifest, Record, check_leakage, group_near_duplicates, split
from .errors import DataError, InputError
from .images import load_image
from .processing import Processor
from .prompts import PromptSet
from .recipe import LoadedRecipe, Recipe
from .registry import room
from .sources import Row, class_names, read_source
from .start import Start

_log = logging.getLogger(__name__)
MAX_BAD_SHARE = 0.05
"""More undecodable images than this stop a run: the data folder is not what the recipe expects."""

Load = Callable[..., Any]


@dataclass(frozen=True)
class GatheredData:
    """The records of a run, split and decoded, before anything is batched.

    Attributes:
        rows: training, validation and test rows with captions and extras.
        manifest: the records of ``rows``. class_names: K classes; the indices of labels.
        prompts: the prompt set of the run, or None. images: decoded images.
    """

    rows: tuple[Row, ...]
    manifest: Manifest
    class_names: tuple[str, ...]
    prompts: PromptSet | None
    images: ImageStore

    def digest(self, *parts: str) -> str:
        """Return 16 hex digits that change when ids, labels, splits or one of ``parts`` change."""
        content = [*([r.id, r.label, r.split] for r in self.manifest.records), *parts]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]

    def part(self, split: str) -> list[Record]:
        """Return the records of one split, in manifest order."""
        return [record for record in self.manifest.records if record.split == split]


class ImageStore:
    """Images at model size as 8 bits, decoded once and kept when the recipe caches in memory.

    Args:
        processor: gives size and channels.
        load: from a record to what the processor takes.
        keep: False decodes at every fetch.
    """

    def __init__(self, processor: Processor, load: Callable[[Record], Any], *, keep: bool) -> None:
        self._processor, self._load, self._keep = processor, load, keep
        self._kept: dict[str, Tensor] = {}

    def decode(self, record: Record) -> Tensor:
        """Return one image uint8 [C, S, S]."""
        fitted = self._processor.fit_image(self._load(record), name=record.id)
        return (fitted * 255).round().to(torch.uint8)

    def fill(self, records: Sequence[Record]) -> dict[str, str]:
        """Decode every record and return {id: reason} of those that cannot be."""
        failures: dict[str, str] = {}

        def attempt(record: Record) -> Tensor | None:
            try:
                return self.decode(record)
            except (InputError, OSError) as error:
                failures[record.id] = str(error)
                return None

        with ThreadPoolExecutor(max_workers=4) as pool:
            for record, image in zip(records, pool.map(attempt, records), strict=True):
                if image is not None and self._keep:
                    self._kept[record.id] = image
        return failures

    def fetch(self, records: Sequence[Record]) -> Tensor:
        """Return images float32 [B, C, S, S] in [0, 1]."""
        images = [
            self._kept[record.id] if record.id in self._kept else self.decode(record) for record in records
        ]
        return torch.stack(images).float() / 255


def gather_data(
    loaded: LoadedRecipe, folder: Path, start: Start | None = None, *, images: ProcessorConfig
) -> GatheredData:
    """Read, decode and split the recipe's sources below ``folder``.

    Args:
        images: preprocessing of the images.

    Raises:
        DataError: no folder, an empty source, a group in two splits, too many unreadable images.
        ConfigError: unknown reader, or a label the prompt set does not have.
    """
    recipe = loaded.recipe
    if not folder.is_dir():
        raise DataError(f"{folder}: no such data folder. Pass the folder that the recipe's sources lie in.")
    prompts = PromptSet.load(loaded.prompts) if loaded.prompts else None
    if prompts is None and start is not None and not recipe.classifies:
        prompts = start.prompts
    read = [row for source in recipe.data.sources for row in read_source(source, recipe, folder, prompts)]
    manifest = Manifest.from_records([row.record for row in read], root=folder)
    store = ImageStore(
        Processor(images), _record_loader(recipe, manifest, images), keep=recipe.data.cache == "memory"
    )
    manifest = _drop_unreadable(manifest, store.fill(manifest.records))
    manifest = split_sources(manifest, recipe, store)
    by_id = {row.record.id: row for row in read}
    rows = tuple(replace(by_id[record.id], record=record) for record in manifest.records)
    return GatheredData(rows, manifest, class_names(manifest.records, recipe, prompts), prompts, store)


def _record_loader(recipe: Recipe, manifest: Manifest, images: ProcessorConfig) -> Callable[[Record], Any]:
    """Return how a record's file becomes an image: the domain's loader, or plain image files."""
    load: Load = room(recipe.domain).function("loaders", "image") if recipe.domain else load_image
    # What users of the model will get by default is what it is trained with.
    own = dict(images.image.load) if images.image else {}

    def from_record(record: Record) -> Any:
        options = json.loads(record.locator) if record.locator else {}
        return load(manifest.file_of(record), **{**own, **options})

    return from_record


def _drop_unreadable(manifest: Manifest, failures: dict[str, str]) -> Manifest:
    """Return the manifest without images that cannot be decoded; too many of them are an error."""
    if not failures:
        return manifest
    first = next(iter(failures.items()))
    said = f"{len(failures)} of {len(manifest)} images cannot be read, first {first[0]}: {first[1]}"
    if len(failures) > MAX_BAD_SHARE * len(manifest):
        raise DataError(f"{said} More than {MAX_BAD_SHARE:.0%} stops a run.")
    _log.warning("%s They are left out.", said)
    kept = tuple(record for record in manifest.records if record.id not in failures)
    return replace(manifest, records=kept)


def split_sources(manifest: Manifest, recipe: Recipe, images: ImageStore) -> Manifest:
    """Return the manifest with a split on every record; ``val`` is made where a source has none."""
    config = recipe.data.validation
    records: list[Record] = []
    for source in recipe.data.sources:
        own = replace(manifest, records=tuple(r for r in manifest.records if r.source == source.name))
        if not any(record.split == "val" for record in own):
            # A test part keeps its place, for the leakage check; it is not for choosing a model.
            records += [record for record in own if record.split == "test"]
            own = replace(own, records=tuple(r for r in own.records if r.split != "test"))
            if config.near_duplicate_bits is not None:
                own = group_near_duplicates(
                    own,
                    lambda record: images.fetch([record])[0].mean(0).numpy(),
                    max_distance=config.near_duplicate_bits,
                )
            own = split(own, {"train": 1 - config.fraction, "val": config.fraction}, seed=recipe.seed)
        records += own.records
    joined = replace(manifest, records=tuple(records))
    check_leakage(joined).raise_if_leaking()
    return joined
