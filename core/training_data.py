"""From a recipe and a data folder to batches: splits, decoded samples, captions, tokenizer.

All rows of a run are held in memory with their captions and extras, whatever the reader. Every image or
recording is decoded once before the first step, which finds damaged files and duplicates, and then kept
unless ``data.cache`` is ``none``: images at model size as 8 bits (C x S x S bytes: 15 GB for 100,000 in
colour at 224 pixels), recordings at the model's rate as 16 bits (96 kB a second at 48 kHz). Sets of millions
of pairs need a loop of their own.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from .captions import CaptionPool, train_tokenizer
from .config import ModelConfig, ProcessorConfig
from .data import LoaderConfig, Manifest, Record, ResumableLoader
from .data.distinct import DistinctTexts
from .errors import ConfigError
from .gather import GatheredData, gather_data
from .model import ContrastiveModel
from .objectives.base import Objective
from .pair_data import (
    MAX_VALIDATION_TEXTS,
    CaptionLengths,
    PairCollate,
    PairTexts,
    Views,
    check_extras,
    check_lengths,
    check_mixing,
    equal_captions,
)
from .processing import Processor
from .prompts import PromptSet
from .recipe import EvaluationConfig, LoadedRecipe, Recipe
from .sources import class_weights, source_weights
from .start import Start, model_config, primary_modality, processor_config, with_vocabulary
from .stores import Store
from .task_data import fixed_batches
from .types import Batch, Modality
from .validation import evaluate, mean_loss


class CollateRecords(Protocol):
    """Records to a batch; ``train=False`` leaves the samples as they are."""

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
        store: decoded images or recordings. validation: {source: records}.
        texts: captions of pairs, or None where every caption comes from a class.
        lengths: how the captions of pairs fit the context.
        extras: what the collate will use of all records, as its check tells.
        equal_captions: how many captions of the validation part stand in the training part, by source.
        loss_part: what of the objective the validation loss is.
    """

    manifest: Manifest
    prompts: PromptSet | None
    class_names: tuple[str, ...]
    processor: Processor
    model_config: ModelConfig
    loader: ResumableLoader[Batch]
    collate: CollateRecords
    digest: str
    store: Store
    validation: dict[str, list[Record]]
    texts: PairTexts | None = None
    lengths: CaptionLengths | None = None
    extras: dict[str, Any] = field(default_factory=dict)
    equal_captions: dict[str, dict[str, int]] = field(default_factory=dict)
    loss_part: str = "loss"

    def source_classes(self, source: str) -> list[int]:
        """Return the indices of the classes that ``source`` has."""
        found = {record.label for record in self.manifest.records if record.source == source}
        return [index for index, name in enumerate(self.class_names) if name in found]

    @property
    def modality(self) -> Modality:
        """What the records are files of."""
        return self.store.modality

    @property
    def facts(self) -> dict[str, Any]:
        """What ``metrics.json`` says about captions and what they are used for."""
        facts: dict[str, Any] = {}
        if self.lengths is not None:
            facts["captions"] = self.lengths.to_dict()
        if self.extras:
            facts["extras"] = self.extras
        if self.equal_captions:
            facts["equal_captions"] = self.equal_captions
        return facts

    def evaluate(
        self,
        model: ContrastiveModel,
        objective: Objective,
        *,
        settings: EvaluationConfig,
        details: bool = False,
    ) -> dict[str, Any]:
        """Return how good a model is on the validation part, as :mod:`verticlip.core.validation` says."""
        return evaluate(model, objective, self, settings=settings, details=details)

    def validation_loss(self, model: ContrastiveModel, objective: Objective) -> float | None:
        """Return the mean objective over the validation batches; None without a batch or a finite mean."""
        return mean_loss(model, objective, self.loss_batches(), part=self.loss_part)

    def validation_targets(self, source: str) -> Tensor:
        """Return class indices int64 [N] of a source's validation records; -1 for one without a class."""
        index = {name: number for number, name in enumerate(self.class_names)}
        return torch.tensor([index.get(str(record.label), -1) for record in self.validation[source]])

    def validation_texts(self, source: str) -> list[list[str]]:
        """Return the captions of each validation record of a source, at most ten each."""
        if self.texts is None:
            return [[] for _ in self.validation[source]]
        return [list(self.texts.of(record))[:MAX_VALIDATION_TEXTS] for record in self.validation[source]]

    def loss_batches(self) -> Iterator[Batch]:
        """Yield the validation records as batches like those of training; see :func:`fixed_batches`."""
        records = [record for part in self.validation.values() for record in part]
        collate = partial(self.collate, train=False)
        return fixed_batches(records, collate, self.loader.config.batch_size)


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
    modality = primary_modality(config)
    gathered = gather_data(loaded, folder, start, processing=processing, modality=modality)
    pairs = _has_pairs(recipe)
    _check_captions(recipe, gathered)
    texts = PairTexts(gathered.rows, _class_texts(gathered.prompts)) if pairs else None
    training = gathered.part("train")
    tokenizer = None
    if processing.text is not None:
        tokenizer = start.processor.tokenizer_json if start else None
        # Models with CLIP's own vocabulary ship no tokenizer file, and none is made for them.
        if tokenizer is None and processing.text.tokenizer == "tokenizer_json":
            tokenizer = _new_tokenizer(recipe, gathered, texts, folder, processing)
            config = with_vocabulary(config, len(json.loads(tokenizer)["model"]["vocab"]))
    processor = Processor(processing, tokenizer)
    lengths = check_lengths(texts, gathered.manifest.records, processor) if texts else None
    if lengths is not None:
        check_mixing(recipe, lengths, processor)
    views = _Views(recipe, processor, gathered.store)
    collate: CollateRecords
    if texts is not None:
        collate = PairCollate(recipe, texts, processor, views)
    else:
        collate = _LabelCollate(recipe, gathered, processor, views)
    settings = _loader_config(recipe, training, pairs=pairs)
    plan = None
    if texts is not None and recipe.data.distinct_captions:
        plan = DistinctTexts({record.id: texts.of(record) for record in training}, settings)
    validation: dict[str, list[Record]] = {}
    for record in gathered.part("val"):
        validation.setdefault(str(record.source), []).append(record)
    return TrainingData(
        manifest=gathered.manifest,
        prompts=gathered.prompts,
        class_names=gathered.class_names,
        processor=processor,
        model_config=config,
        loader=ResumableLoader(training, collate, settings, plan=plan),
        collate=collate,
        digest=gathered.digest(
            processor.fingerprint,
            *([gathered.prompts.fingerprint] if gathered.prompts else []),
            *([texts.digest(gathered.manifest.records)] if texts else []),
        ),
        store=gathered.store,
        validation=validation,
        texts=texts,
        lengths=lengths,
        extras=check_extras(recipe, texts, gathered.manifest.records, processor) if texts else {},
        equal_captions=equal_captions(texts, gathered.manifest.records) if texts else {},
        loss_part=recipe.evaluation.loss_part,
    )


def _has_pairs(recipe: Recipe) -> bool:
    if recipe.classifies:
        return False
    return recipe.data.collate is not None or any(s.captions == "text" for s in recipe.data.sources)


def _check_captions(recipe: Recipe, gathered: GatheredData) -> None:
    """Raise ``ConfigError`` when a source needs class captions and nothing gives them."""
    for name in ("distinct_captions", "mixgen"):
        if getattr(recipe.data, name) and not _has_pairs(recipe):
            raise ConfigError(
                f"data.{name} is for samples with captions of their own, and this run has none. Leave it out."
            )
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


class _Views:
    """Records to the inputs of their tower, each source with its own augmentation."""

    def __init__(self, recipe: Recipe, processor: Processor, store: Store) -> None:
        self._store = store
        self._processors = {
            source.name: processor.with_augmentation(
                source.augment or recipe.augment, source.audio_augment or recipe.audio_augment
            )
            for source in recipe.data.sources
        }

    @property
    def modality(self) -> Modality:
        """Which tower."""
        return self._store.modality

    def __call__(
        self, records: Sequence[Record], generator: torch.Generator | None, *, labels: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Return float tensors [B, ...] by the tower's arguments; augmented when there is a generator."""
        drawn = self._store.draw(records, generator)
        made: dict[str, Tensor] = {}
        for name, own in self._processors.items():
            rows = torch.tensor([row for row, record in enumerate(records) if record.source == name])
            if not len(rows):
                continue
            own_labels = None if labels is None else labels[rows]
            inputs = self._store.finish(drawn[rows], own, generator=generator, labels=own_labels)
            for key, value in inputs.items():
                made.setdefault(key, value.new_empty(len(records), *value.shape[1:]))[rows] = value
        return {key: value.contiguous(memory_format=torch.channels_last) for key, value in made.items()}


class _LabelCollate:
    """Records to a batch: augmented views, class indices and one random caption of each class."""

    def __init__(self, recipe: Recipe, gathered: GatheredData, processor: Processor, views: Views) -> None:
        self._views = views
        self._index = {name: index for index, name in enumerate(gathered.class_names)}
        self._sources = [source.name for source in recipe.data.sources]
        self._class_captions = self._modality_captions = None
        self._modality_share = 0.0 if recipe.classifies else recipe.data.modality_share
        if not recipe.classifies and gathered.prompts is not None:
            self._class_captions = CaptionPool(class_captions(gathered.prompts), processor)
            if self._modality_share:
                self._modality_captions = CaptionPool(modality_captions(recipe, gathered.prompts), processor)

    def __call__(self, records: Sequence[Record], generator: torch.Generator, *, train: bool = True) -> Batch:
        by_modality = float(torch.rand((), generator=generator)) < self._modality_share
        classes = torch.tensor([self._index[str(record.label)] for record in records])
        given = generator if train else None
        labels, pool = classes, self._class_captions
        if by_modality and self._modality_captions is not None:
            # In a share of batches, a caption names the kind of sample and every row of a source fits it.
            labels = torch.tensor([self._sources.index(str(record.source)) for record in records])
            pool = self._modality_captions
        inputs = {str(self._views.modality): self._views(records, given, labels=classes)}
        if pool is not None:
            inputs["text"] = pool.draw(labels, generator)
        return Batch(inputs, labels, tuple(record.id for record in records))


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
