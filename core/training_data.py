"""From a recipe and a data folder to batches: sources, splits, decoded images, captions."""

from __future__ import annotations

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .captions import CaptionPool, train_tokenizer
from .config import ModelConfig, ProcessorConfig
from .data import (
    LoaderConfig,
    Manifest,
    Record,
    ResumableLoader,
    check_leakage,
    group_near_duplicates,
    split,
)
from .errors import ConfigError, DataError, InputError, nearest
from .images import load_image
from .processing import Processor
from .prompts import PromptSet
from .recipe import LoadedRecipe, Recipe, SourceConfig
from .registry import room
from .types import Batch

_log = logging.getLogger(__name__)
MAX_BAD_SHARE = 0.05
"""More undecodable images than this stop a run: the data folder is not what the recipe expects."""

Load = Callable[..., Any]


@dataclass(frozen=True)
class TrainingData:
    """Everything a run reads.

    Attributes:
        manifest: all records with their split.
        model_config: the recipe's model with the vocabulary of the tokenizer that was learned.
        loader: training batches, resumable.
        digest: changes when records, splits or preprocessing change.
        images: decoded images. validation: {source: records}.
    """

    manifest: Manifest
    prompts: PromptSet
    processor: Processor
    model_config: ModelConfig
    loader: ResumableLoader[Batch]
    digest: str
    images: ImageStore
    validation: dict[str, list[Record]]

    def source_classes(self, source: str) -> list[int]:
        """Return the indices in the prompt set of the classes that ``source`` has."""
        found = {record.label for record in self.manifest.records if record.source == source}
        return [index for index, name in enumerate(self.prompts.class_names) if name in found]

    def validation_batches(self, source: str, *, batch_size: int = 64) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield pixels float32 [B, C, S, S] and class indices int64 [B] of a source, in manifest order."""
        records = self.validation[source]
        for start in range(0, len(records), batch_size):
            part = records[start : start + batch_size]
            labels = [self.prompts.class_names.index(str(record.label)) for record in part]
            yield self.processor.finish_images(self.images.fetch(part))["pixels"], torch.tensor(labels)


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


def prepare_data(loaded: LoadedRecipe, folder: Path) -> TrainingData:
    """Read the recipe's sources below ``folder`` and return everything a run needs.

    Raises:
        DataError: no folder, an empty source, a group in two splits, too many unreadable images.
        ConfigError: unknown reader, or a label the prompt set does not have.
    """
    recipe = loaded.recipe
    if not folder.is_dir():
        raise DataError(f"{folder}: no such data folder. Pass the folder that the recipe's sources lie in.")
    prompts = PromptSet.load(loaded.prompts)
    captions = class_captions(prompts) + modality_captions(recipe, prompts)
    tokenizer = train_tokenizer([text for texts in captions for text in texts], recipe.tokenizer, recipe.text)
    processor = Processor(ProcessorConfig(image=recipe.image, text=recipe.text), tokenizer)
    found = [
        record for source in recipe.data.sources for record in read_source(source, recipe, folder, prompts)
    ]
    manifest = Manifest.from_records(found, root=folder)
    images = ImageStore(processor, _record_loader(recipe, manifest), keep=recipe.data.cache == "memory")
    manifest = _drop_unreadable(manifest, images.fill(manifest.records))
    manifest = split_sources(manifest, recipe, images)
    training = [record for record in manifest.records if record.split == "train"]
    loader = ResumableLoader(
        training,
        _Collate(recipe, prompts, processor, images),
        LoaderConfig(
            batch_size=recipe.batch_size,
            seed=recipe.seed,
            balance="class",
            weights=class_weights(training, recipe),
            drop_last=True,
        ),
    )
    validation: dict[str, list[Record]] = {}
    for record in manifest.records:
        if record.split == "val":
            validation.setdefault(str(record.source), []).append(record)
    content = json.dumps(
        [*([r.id, r.label, r.split] for r in manifest), processor.fingerprint, prompts.fingerprint]
    )
    return TrainingData(
        manifest=manifest,
        prompts=prompts,
        processor=processor,
        model_config=_with_vocabulary(recipe.model, tokenizer),
        loader=loader,
        digest=hashlib.sha256(content.encode()).hexdigest()[:16],
        images=images,
        validation=validation,
    )


class _Collate:
    """Records of a batch to model inputs: augmented pixels and one random caption of each class."""

    def __init__(self, recipe: Recipe, prompts: PromptSet, processor: Processor, images: ImageStore) -> None:
        self._images = images
        self._index = {name: index for index, name in enumerate(prompts.class_names)}
        self._class_captions = CaptionPool(class_captions(prompts), processor)
        self._modality_share = recipe.data.modality_share
        self._modality_captions = None
        if self._modality_share:
            self._modality_captions = CaptionPool(modality_captions(recipe, prompts), processor)
        self._processors = {
            source.name: processor.with_augmentation(source.augment or recipe.augment)
            for source in recipe.data.sources
        }

    def __call__(self, records: Sequence[Record], generator: torch.Generator) -> Batch:
        labels, pool = self._labels(records, generator)
        fitted = self._images.fetch(records)
        pixels = torch.empty_like(fitted)
        for name, processor in self._processors.items():
            rows = torch.tensor([row for row, record in enumerate(records) if record.source == name])
            if len(rows):
                pixels[rows] = processor.finish_images(fitted[rows], train=True, generator=generator)[
                    "pixels"
                ]
        pixels = pixels.contiguous(memory_format=torch.channels_last)
        inputs = {"image": {"pixels": pixels}, "text": pool.draw(labels, generator)}
        return Batch(inputs, labels, tuple(record.id for record in records))

    def _labels(self, records: Sequence[Record], generator: torch.Generator) -> tuple[Tensor, CaptionPool]:
        """Return class indices and class captions or, in a share of batches, those of the modality."""
        by_modality = float(torch.rand((), generator=generator)) < self._modality_share
        if by_modality and self._modality_captions is not None:
            sources = list(self._processors)
            return torch.tensor(
                [sources.index(str(record.source)) for record in records]
            ), self._modality_captions
        return torch.tensor([self._index[str(record.label)] for record in records]), self._class_captions


def class_captions(prompts: PromptSet) -> list[list[str]]:
    """Return every caption of every class, in class order."""
    return [prompts.texts(name) for name in prompts.class_names]


def modality_captions(recipe: Recipe, prompts: PromptSet) -> list[list[str]]:
    """Return every caption of every source's modality, in source order; empty lists where it has none."""
    return [
        [
            template.replace("{}", words)
            for template in prompts.templates
            for words in source.modality_captions
        ]
        for source in recipe.data.sources
    ]


def read_source(source: SourceConfig, recipe: Recipe, folder: Path, prompts: PromptSet) -> list[Record]:
    """Return the records of one source with prompt-set classes as labels and ids that name the source."""
    path = folder / source.path
    if not path.exists():
        raise DataError(
            f"Source {source.name!r}: {path} does not exist. The recipe expects it below the data folder."
        )
    records = _read(source, recipe, path)
    known = prompts.class_names
    named = []
    for record in records:
        label = source.labels.get(str(record.label), record.label)
        if source.labels and record.label not in source.labels:
            raise ConfigError(
                f"Source {source.name!r}: label {record.label!r} is not in the recipe's labels "
                f"({', '.join(source.labels)}).{nearest(str(record.label), source.labels)}"
            )
        if label not in known:
            raise ConfigError(
                f"Source {source.name!r}: no class {label!r} in prompt set {prompts.name!r} "
                f"({', '.join(known)}).{nearest(str(label), known)}"
            )
        group = f"{source.name}/{record.group}" if record.group is not None else None
        relative = (
            None
            if record.path is None
            else Path(record.path).resolve().relative_to(folder.resolve()).as_posix()
        )
        named.append(
            replace(
                record,
                id=f"{source.name}/{record.id}",
                path=relative,
                label=label,
                group=group,
                source=source.name,
            )
        )
    return named


def _read(source: SourceConfig, recipe: Recipe, path: Path) -> list[Record]:
    """Return records with absolute paths from a core reader or one of the domain's."""
    if source.reader in {"folder", "csv", "jsonl"}:
        if source.options:
            raise ConfigError(f"Source {source.name!r}: reader {source.reader!r} takes no options.")
        # The header check would open each file once more; decoding finds unreadable ones anyway.
        manifest: Manifest = getattr(Manifest, f"from_{source.reader}")(path, check=None)
        return [replace(record, path=str(manifest.file_of(record))) for record in manifest]
    if recipe.domain is None:
        raise ConfigError(
            f"Source {source.name!r}: reader {source.reader!r} is none of folder, csv, jsonl, and the recipe "
            "names no domain that could have it."
        )
    read = room(recipe.domain).function("readers", source.reader)
    return [
        Record(**{**row, "locator": json.dumps(row["locator"]) if row.get("locator") else None})
        for row in read(path, **source.options)
    ]


def _record_loader(recipe: Recipe, manifest: Manifest) -> Callable[[Record], Any]:
    """Return how a record's file becomes an image: the domain's loader, or plain image files."""
    load: Load = room(recipe.domain).function("loaders", "image") if recipe.domain else load_image

    def from_record(record: Record) -> Any:
        options = json.loads(record.locator) if record.locator else {}
        return load(manifest.file_of(record), **options)

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


def class_weights(records: Sequence[Record], recipe: Recipe) -> dict[str, float]:
    """Return the share of an epoch that each class gets: the source's share, divided by its classes."""
    shares: dict[str, float] = {}
    for source in recipe.data.sources:
        counts = Counter(str(record.label) for record in records if record.source == source.name)
        if len(counts) < 2:
            raise DataError(
                f"Source {source.name!r} has training images of {len(counts)} classes; it needs at least "
                "two, or there is nothing to tell apart."
            )
        powered = {label: count ** (1 - recipe.data.class_balance) for label, count in counts.items()}
        total = sum(powered.values())
        for label, value in powered.items():
            shares[label] = shares.get(label, 0.0) + source.share * value / total
    return shares


def _with_vocabulary(config: ModelConfig, tokenizer: str) -> ModelConfig:
    """Return the model config with the vocabulary size of the tokenizer that was learned."""
    size = len(json.loads(tokenizer)["model"]["vocab"])
    raw = config.model_dump(mode="json")
    tower = raw["towers"]["text"]
    if "vocab_size" not in tower:
        raise ConfigError(
            f"A recipe that trains a tokenizer needs a text tower with vocab_size, got {tower['backend']!r}."
        )
    tower["vocab_size"] = size
    return ModelConfig.model_validate(raw)
