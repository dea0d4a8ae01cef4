"""From a recipe and a data folder to batches: splits, decoded images, captions, tokenizer.

All rows of a run are held in memory with their captions and extras, whatever the reader. Every image is
decoded once before the first step, which finds damaged files and near duplicates, and then kept at model
size as 8 bits (C x S x S bytes: 15 GB for 100,000 images in colour at 224 pixels) unless ``data.cache`` is
``none``. Sets of millions of pairs need a loop of their own.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from .captions import CaptionPool, train_tokenizer
from .config import ModelConfig, ProcessorConfig
from .data import LoaderConfig, Manifest, Record, ResumableLoader
from .errors import ConfigError
from .gather import GatheredData, ImageStore, gather_data
from .pair_data import (
    MAX_VALIDATION_TEXTS,
    CaptionLengths,
    PairCollate,
    PairTexts,
    Pixels,
    check_extras,
    check_lengths,
    equal_captions,
)
from .processing import Processor
from .prompts import PromptSet
from .recipe import LoadedRecipe, Recipe
from .sources import class_weights, source_weights
from .start import Start, model_config, processor_config
from .types import Batch


class CollateRecords(Protocol):
    """Records to a batch; ``train=False`` leaves the images as they are."""

    def __call__(  # noqa: D102
        self, records: Sequence[Record], generator: torch.Generator, *, train: bool = True
    ) -> Batch: ...


@dataclass(frozen=True)
class TrainingData:
    """Everything a run reads.

    Attributes:
        manifest: all records with their split.
        prompts: the prompt set of the run, or None.
        class_names: K classes; ``labels`` of labelled batches are their indices.
        model_config: the model with the vocabulary of the tokenizer that was learned.
        loader: training batches, resumable.
        collate: what the loader makes batches with.
        digest: changes when records, splits, captions or preprocessing change.
        images: decoded images. validation: {source: records}.
        texts: captions of pairs, or None where every caption comes from a class.
        lengths: how the captions of pairs fit the context.
        extras: what the collate will use of all records, as its check tells.
        equal_captions: how many captions of the validation part stand in the training part, by source.
    """

    manifest: Manifest
    prompts: PromptSet | None
    class_names: tuple[str, ...]
    processor: Processor
    model_config: ModelConfig
    loader: ResumableLoader[Batch]
    collate: CollateRecords
    digest: str
    images: ImageStore
    validation: dict[str, list[Record]]
    texts: PairTexts | None = None
    lengths: CaptionLengths | None = None
    extras: dict[str, Any] = field(default_factory=dict)
    equal_captions: dict[str, dict[str, int]] = field(default_factory=dict)

    def source_classes(self, source: str) -> list[int]:
        """Return the indices of the classes that ``source`` has."""
        found = {record.label for record in self.manifest.records if record.source == source}
        return [index for index, name in enumerate(self.class_names) if name in found]

    def validation_batches(self, source: str, *, batch_size: int = 64) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield pixels float32 [B, C, S, S] and class indices int64 [B] of a source, in manifest order.

        A record without a class of the run has index -1.
        """
        index = {name: number for number, name in enumerate(self.class_names)}
        records = self.validation[source]
        for start in range(0, len(records), batch_size):
            part = records[start : start + batch_size]
            labels = [index.get(str(record.label), -1) for record in part]
            yield self.processor.finish_images(self.images.fetch(part))["pixels"], torch.tensor(labels)

    def validation_texts(self, source: str) -> list[list[str]]:
        """Return the captions of each validation record of a source, at most ten each."""
        if self.texts is None:
            return [[] for _ in self.validation[source]]
        return [list(self.texts.of(record))[:MAX_VALIDATION_TEXTS] for record in self.validation[source]]

    def loss_batches(self) -> Iterator[Batch]:
        """Yield the validation records as batches like those of training, the same at every call.

        Sources are mixed in an order that depends on the ids only; a rest that fills no batch is left out.
        """
        records = [record for part in self.validation.values() for record in part]
        records.sort(key=lambda record: hashlib.sha256(record.id.encode()).digest())
        size = min(self.loader.config.batch_size, len(records))
        for number in range(len(records) // size if size > 1 else 0):
            generator = torch.Generator().manual_seed(number)
            yield self.collate(records[number * size : (number + 1) * size], generator, train=False)


def prepare_data(loaded: LoadedRecipe, folder: Path, start: Start | None = None) -> TrainingData:
    """Read the recipe's sources below ``folder`` and return everything a run needs.

    Args:
        start: the weights the run starts from; gives what the recipe leaves out.

    Raises:
        DataError: as :func:`gather_data`; captions that are missing or too long for the model.
        ConfigError: as :func:`gather_data`; a class has no captions, or the tokenizer does not fit.
    """
    recipe = loaded.recipe
    config = model_config(recipe, start)
    processing = processor_config(recipe, start)
    gathered = gather_data(loaded, folder, start, images=ProcessorConfig(image=processing.image))
    pairs = _has_pairs(recipe)
    _check_captions(recipe, gathered)
    texts = PairTexts(gathered.rows, _class_texts(gathered.prompts)) if pairs else None
    training = gathered.part("train")
    tokenizer = None
    if processing.text is not None:
        tokenizer = start.processor.tokenizer_json if start else None
        if tokenizer is None:
            tokenizer = _new_tokenizer(recipe, gathered, texts, folder, processing)
            config = _with_vocabulary(config, len(json.loads(tokenizer)["model"]["vocab"]))
        elif start is not None and recipe.model is not None:
            # The tables of the start may have rows that its tokenizer does not use.
            tower = start.network.config.towers.get("text")
            config = _with_vocabulary(config, getattr(tower, "vocab_size", 0))
    processor = Processor(processing, tokenizer)
    lengths = check_lengths(texts, gathered.manifest.records, processor) if texts else None
    pixels = _pixels(recipe, processor, gathered.images)
    collate: CollateRecords
    if texts is not None:
        collate = PairCollate(recipe, texts, processor, pixels)
    else:
        collate = _LabelCollate(recipe, gathered, processor, pixels)
    validation: dict[str, list[Record]] = {}
    for record in gathered.part("val"):
        validation.setdefault(str(record.source), []).append(record)
    return TrainingData(
        manifest=gathered.manifest,
        prompts=gathered.prompts,
        class_names=gathered.class_names,
        processor=processor,
        model_config=config,
        loader=ResumableLoader(training, collate, _loader_config(recipe, training, pairs=pairs)),
        collate=collate,
        digest=gathered.digest(
            processor.fingerprint,
            *([gathered.prompts.fingerprint] if gathered.prompts else []),
            *([texts.digest(gathered.manifest.records)] if texts else []),
        ),
        images=gathered.images,
        validation=validation,
        texts=texts,
        lengths=lengths,
        extras=check_extras(recipe, texts, gathered.manifest.records, processor) if texts else {},
        equal_captions=equal_captions(texts, gathered.manifest.records) if texts else {},
    )


def _has_pairs(recipe: Recipe) -> bool:
    if recipe.classifies:
        return False
    return recipe.data.collate is not None or any(s.captions == "text" for s in recipe.data.sources)


def _check_captions(recipe: Recipe, gathered: GatheredData) -> None:
    """Raise ``ConfigError`` when a source needs class captions and nothing gives them."""
    if recipe.classifies:
        return
    if _has_pairs(recipe) and recipe.data.modality_share:
        raise ConfigError(
            "data.modality_share is for runs whose captions all come from classes. Set it to 0."
        )
    for source in recipe.data.sources:
        if source.captions == "prompts" and gathered.prompts is None:
            raise ConfigError(
                f"Source {source.name!r} has no captions: give the recipe a prompt set (prompts: NAME) for "
                "its classes, or say captions: text if its rows have their own."
            )


def _class_texts(prompts: PromptSet | None) -> dict[str, list[str]]:
    return {name: prompts.texts(name) for name in prompts.class_names} if prompts else {}


def _new_tokenizer(
    recipe: Recipe,
    gathered: GatheredData,
    texts: PairTexts | None,
    folder: Path,
    processing: ProcessorConfig,
) -> str:
    """Return the tokenizer of a vocabulary file, or one made for the captions of the training part."""
    if recipe.tokenizer.vocab_file is not None:
        from .conversion import wordpiece_tokenizer

        return wordpiece_tokenizer(folder / recipe.tokenizer.vocab_file, lowercase=recipe.tokenizer.lowercase)
    captions = [text for group in _class_texts(gathered.prompts).values() for text in group]
    captions += [text for group in modality_captions(recipe, gathered.prompts) for text in group]
    if texts is not None:
        captions += [text for record in gathered.part("train") for text in texts.of(record)]
    if processing.text is None or not captions:
        raise ConfigError(f"{recipe.name}: there are no captions to make a tokenizer for. Leave text out.")
    return train_tokenizer(captions, recipe.tokenizer, processing.text)


def _loader_config(recipe: Recipe, training: Sequence[Record], *, pairs: bool) -> LoaderConfig:
    weights = source_weights(training, recipe) if pairs else class_weights(training, recipe)
    return LoaderConfig(
        batch_size=recipe.batch_size,
        seed=recipe.seed,
        balance="source" if pairs else "class",
        weights=weights,
        drop_last=True,
    )


def _pixels(recipe: Recipe, processor: Processor, images: ImageStore) -> Pixels:
    """Return the function from records to pixels, each source with its own augmentation."""
    processors = {
        source.name: processor.with_augmentation(source.augment or recipe.augment)
        for source in recipe.data.sources
    }

    def pixels(records: Sequence[Record], generator: torch.Generator | None) -> Tensor:
        fitted = images.fetch(records)
        made = torch.empty_like(fitted)
        for name, own in processors.items():
            rows = torch.tensor([row for row, record in enumerate(records) if record.source == name])
            if len(rows):
                train = generator is not None
                made[rows] = own.finish_images(fitted[rows], train=train, generator=generator)["pixels"]
        return made.contiguous(memory_format=torch.channels_last)

    return pixels


class _LabelCollate:
    """Records to a batch: augmented pixels, class indices and one random caption of each class."""

    def __init__(self, recipe: Recipe, gathered: GatheredData, processor: Processor, pixels: Pixels) -> None:
        self._pixels = pixels
        self._index = {name: index for index, name in enumerate(gathered.class_names)}
        self._sources = [source.name for source in recipe.data.sources]
        self._class_captions = self._modality_captions = None
        self._modality_share = 0.0 if recipe.classifies else recipe.data.modality_share
        if not recipe.classifies and gathered.prompts is not None:
            self._class_captions = CaptionPool(class_captions(gathered.prompts), processor)
            if self._modality_share:
                self._modality_captions = CaptionPool(modality_captions(recipe, gathered.prompts), processor)

    def __call__(self, records: Sequence[Record], generator: torch.Generator, *, train: bool = True) -> Batch:
        labels, pool = self._labels(records, generator)
        inputs = {"image": {"pixels": self._pixels(records, generator if train else None)}}
        if pool is not None:
            inputs["text"] = pool.draw(labels, generator)
        return Batch(inputs, labels, tuple(record.id for record in records))

    def _labels(
        self, records: Sequence[Record], generator: torch.Generator
    ) -> tuple[Tensor, CaptionPool | None]:
        """Return class indices and class captions or, in a share of batches, those of the modality."""
        by_modality = float(torch.rand((), generator=generator)) < self._modality_share
        if by_modality and self._modality_captions is not None:
            numbers = [self._sources.index(str(record.source)) for record in records]
            return torch.tensor(numbers), self._modality_captions
        return torch.tensor([self._index[str(record.label)] for record in records]), self._class_captions


def class_captions(prompts: PromptSet) -> list[list[str]]:
    """Return every caption of every class, in class order."""
    return [prompts.texts(name) for name in prompts.class_names]


def modality_captions(recipe: Recipe, prompts: PromptSet | None) -> list[list[str]]:
    """Return every caption of every source's modality, in source order; empty lists where it has none."""
    templates = prompts.templates if prompts else ("{}",)
    return [
        [template.replace("{}", words) for template in templates for words in source.modality_captions]
        for source in recipe.data.sources
    ]


def _with_vocabulary(config: ModelConfig, size: int) -> ModelConfig:
    """Return the model config with ``size`` words: those of the tokenizer made here, or of the start."""
    if "text" not in config.towers or not size:
        return config
    raw = config.model_dump(mode="json")
    tower = raw["towers"]["text"]
    if "vocab_size" not in tower:
        raise ConfigError(
            f"A recipe that trains a tokenizer needs a text tower with vocab_size, got {tower['backend']!r}."
        )
    tower["vocab_size"] = size
    return ModelConfig.model_validate(raw)
