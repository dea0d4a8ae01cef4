"""The training task ``mix_and_separate``: single recordings in, a separator that takes them apart again out.

Every batch is mixed anew from recordings of the training part. What asks for a source depends on ``queries``:

* ``text``: a caption of its label, drawn from the prompt set, as the frozen text tower embeds it;
* ``image``: the mean of three frames around the middle of its sound, by the frozen image tower;
* ``hybrid``: one or the other, by batch;
* ``label``: its row in the model's table; ``vectors``: a given vector for its label; ``none``: nothing.

Towers are frozen and their embeddings computed once, before the first step.

Reference: Dong et al. 2023, CLIPSep, sections 3 and 4.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator
from torch import Tensor, nn

from ....core.config import Config, ModelConfig, parse_config
from ....core.data import LoaderConfig, ResumableLoader
from ....core.errors import ConfigError, DataError
from ....core.gather import GatheredRows, drop_unreadable, gather_rows
from ....core.start import model_config, start_processor
from ....core.task_data import fixed_batches
from ....core.types import Batch
from ....core.validation import mean_loss
from ..loaders.audio import load_audio, probe_audio
from .evaluating import ValidationMixture, evaluate_mixtures, validation_mixtures
from .mixing import FrameCount, MixConfig, Mixer, Sounds
from .model import MIXTURE, ClipSep
from .queries import Queries
from .separator import SeparatorConfig
from .training_queries import TOWERS, training_queries

if TYPE_CHECKING:
    import torch

    from ....core.data import Manifest, Record
    from ....core.model import ContrastiveModel
    from ....core.objectives.base import Objective
    from ....core.processing import Processor
    from ....core.prompts import PromptSet
    from ....core.recipe import EvaluationConfig, LoadedRecipe, Recipe
    from ....core.start import Start
    from ....core.types import Sample
    from ..loaders.reading import AudioInfo

_KINDS = {"label": "label", "none": "pit"}
"""Queries that go with one kind of separator only."""


class MixAndSeparateConfig(Config):
    """``options`` of a recipe with ``task: mix_and_separate``."""

    queries: Literal["text", "image", "hybrid", "label", "vectors", "none"] = "text"
    mix: MixConfig = MixConfig()
    frames: int | None = Field(default=None, ge=1)
    """Spectrogram frames of a training mixture; None is the model's window."""
    repeats: int = Field(default=1, ge=1)
    """How often an epoch begins a mixture with each recording."""
    vectors: str | None = None
    """Queries ``vectors``: safetensors file below the data folder, {label: float [D]}."""
    frame_cache: str | None = None
    """Queries by image: folder below the data folder to keep the embeddings of frames in; None keeps them in
    memory and computes them at each start."""
    initial: Literal["published", "scaled"] = "published"
    """Initial weights of the separator: the published tiny normal ones, or scaled by fan-in with query gates
    spread for unit vectors, which learns sooner."""
    validation_s: float = Field(default=5.0, gt=0, le=600)
    """Seconds of a validation mixture."""
    validation_mixtures: int | None = Field(default=None, ge=1)
    """At most so many; None mixes every validation recording with one other."""

    @model_validator(mode="after")
    def _fits(self) -> MixAndSeparateConfig:
        if (self.queries == "vectors") != (self.vectors is not None):
            raise ValueError("vectors names the file that queries: vectors reads; give both or neither")
        return self


@dataclass(frozen=True)
class SeparationData:
    """What a run reads; see :class:`verticlip.core.task_data.RunData`.

    Attributes:
        initial: see :class:`MixAndSeparateConfig`. collate: records to a batch.
        mixtures: what the model is judged on. validation: records of the validation part.
    """

    manifest: Manifest
    prompts: PromptSet | None
    class_names: tuple[str, ...]
    processor: Processor
    model_config: ModelConfig
    loader: ResumableLoader[Batch]
    digest: str
    facts: Mapping[str, Any]
    initial: str
    collate: MixCollate
    mixtures: tuple[ValidationMixture, ...]
    validation: tuple[Record, ...]

    def initialize(self, model: ContrastiveModel) -> None:
        """Draw the separator's initial weights anew where the recipe says so; towers stay."""
        if self.initial == "scaled" and isinstance(model, ClipSep):
            for module in model.separator.modules():
                if isinstance(module, (nn.Conv2d, nn.Linear)):
                    module.reset_parameters()
            gates = model.separator.frame_net
            if gates is not None:
                # Unit vectors give logits of about 1 then, so that queries differ from the start.
                nn.init.normal_(gates.weight, 0.0, 1.0)

    def evaluate(
        self,
        model: ContrastiveModel,
        objective: Objective,
        *,
        settings: EvaluationConfig,
        details: bool = False,
    ) -> dict[str, Any]:
        """Return the mean SI-SDR improvement over the mixture in dB, and by class."""
        return evaluate_mixtures(_separator_of(model), self.mixtures, details=details)

    def validation_loss(self, model: ContrastiveModel, objective: Objective) -> float | None:
        """Return the mean objective over mixtures of the validation part, or None without a batch."""
        batches = fixed_batches(self.validation, self.collate.held_out, self.loader.config.batch_size)
        return mean_loss(model, objective, batches)


class MixCollate:
    """Records to a batch of mixtures, each beginning with one of them."""

    def __init__(self, mixer: Mixer, held_out: Mixer, queries: Queries | None) -> None:
        self._mixer, self._held_out, self._queries = mixer, held_out, queries

    def __call__(self, records: Sequence[Record], generator: torch.Generator) -> Batch:
        """Return a training batch; everything random is drawn from ``generator``."""
        return self._batch(self._mixer, records, generator)

    def held_out(self, records: Sequence[Record], generator: torch.Generator) -> Batch:
        """Return a batch mixed from the validation part, without augmentation."""
        return self._batch(self._held_out, records, generator)

    def _batch(self, mixer: Mixer, records: Sequence[Record], generator: torch.Generator) -> Batch:
        mixtures = mixer.draw(records, generator)
        extras: dict[str, Tensor] = {}
        if self._queries is not None:
            extras["queries"] = self._queries.draw(mixtures.slots, generator)
        ids = tuple(record.id for record in records)
        return Batch({MIXTURE: {"waves": mixtures.waves}}, None, ids, extras)


def prepare(loaded: LoadedRecipe, folder: Path, start: Start | None) -> SeparationData:
    """Read the recipe's sources below ``folder`` and return everything a run that separates needs.

    Raises:
        ConfigError: options that do not fit the model, towers that are not frozen, a label without query.
        DataError: no data, too many recordings that cannot be read, or too few to mix.
    """
    recipe = loaded.recipe
    config = model_config(recipe, start)
    if config.architecture != "clipsep":
        raise ConfigError(
            f"{recipe.name}: mix_and_separate trains architecture clipsep, got {config.architecture}."
        )
    separator = parse_config(SeparatorConfig, config.options, source=f"{recipe.name}: model.options")
    options = parse_config(MixAndSeparateConfig, recipe.options, source=f"{recipe.name}: options")
    _check(recipe, config, separator, options)
    rows = gather_rows(loaded, folder, start)
    sounds = _sounds(recipe, rows, separator.sampling_rate)
    rows = _readable(rows, sounds)
    if options.queries == "label":
        config, separator = _with_labels(recipe, config, separator, rows)
    processor = start_processor(recipe, start)
    training, held = rows.part("train"), rows.part("val")
    asked = training_queries(
        options, rows, separator=separator, processor=processor, start=start, folder=folder
    )
    frames = _frame_counts(rows)
    samples = (options.frames or separator.frames) * separator.spectra.hop_length - 1
    mixer = Mixer(
        options.mix, sounds, pool=training, samples=samples, augment=recipe.audio_augment, frames=frames
    )
    held_out = Mixer(options.mix, sounds, pool=held, samples=samples, frames=frames)
    judging = held_out.with_samples(round(options.validation_s * separator.sampling_rate))
    collate = MixCollate(mixer, held_out, asked)
    mixtures = validation_mixtures(held, judging, asked, limit=options.validation_mixtures)
    if not mixtures:
        raise DataError(f"{recipe.name}: the validation part has no two recordings to mix. Add some.")
    return SeparationData(
        manifest=rows.manifest,
        prompts=rows.prompts,
        class_names=rows.class_names,
        processor=processor,
        model_config=config,
        loader=ResumableLoader(
            training * options.repeats,
            collate,
            LoaderConfig(batch_size=recipe.batch_size, seed=recipe.seed, drop_last=True),
        ),
        digest=rows.digest(
            json.dumps(recipe.options, sort_keys=True), *([rows.prompts.fingerprint] if rows.prompts else [])
        ),
        facts=_facts(options, mixtures, separator, samples),
        initial=options.initial if _is_new(recipe) else "published",
        collate=collate,
        mixtures=tuple(mixtures),
        validation=tuple(held),
    )


def _check(
    recipe: Recipe, config: ModelConfig, separator: SeparatorConfig, options: MixAndSeparateConfig
) -> None:
    """Raise ``ConfigError`` where queries, towers and separator do not go together."""
    for asked, kind in _KINDS.items():
        if (options.queries == asked) != (separator.kind == kind):
            raise ConfigError(
                f"{recipe.name}: queries {options.queries!r} with a separator of kind {separator.kind!r}; "
                f"{asked!r} goes with kind {kind!r} and the other way round."
            )
    for tower in TOWERS.get(options.queries, ()):
        if tower not in config.towers:
            raise ConfigError(
                f"{recipe.name}: queries {options.queries!r} need a tower for {tower}; the model has none."
            )
    learning = [tower for tower in config.towers if tower not in recipe.freeze]
    if learning:
        raise ConfigError(
            f"{recipe.name}: mix_and_separate embeds queries once, so towers must stay as they are. Add "
            f"{', '.join(learning)} to freeze."
        )
    if options.queries in TOWERS and recipe.start is None:
        raise ConfigError(
            f"{recipe.name}: queries {options.queries!r} come from trained towers. Name the model that has "
            "them in start, with start.new: [separator.*]."
        )


def _with_labels(
    recipe: Recipe, config: ModelConfig, separator: SeparatorConfig, rows: GatheredRows
) -> tuple[ModelConfig, SeparatorConfig]:
    """Return the configs with the labels of the data as names of the table's rows, where it has none."""
    found = sorted({str(row.record.label) for row in rows.rows})
    if separator.labels:
        return config, separator
    if separator.n_labels != len(found):
        raise ConfigError(
            f"{recipe.name}: model.options.n_labels is {separator.n_labels} and the data have {len(found)} "
            f"labels. Set it to {len(found)}, or name the labels."
        )
    named = {**config.options, "labels": found}
    return (
        config.model_copy(update={"options": named}),
        parse_config(SeparatorConfig, named, source=f"{recipe.name}: model.options"),
    )


def _is_new(recipe: Recipe) -> bool:
    """Return whether the separator begins with random weights."""
    return recipe.start is None or any(pattern.startswith("separator") for pattern in recipe.start.new)


def _sounds(recipe: Recipe, rows: GatheredRows, rate: int) -> Sounds:
    """Return the recordings, kept in memory where the recipe says so."""

    def load(record: Record) -> Sample:
        options = json.loads(record.locator) if record.locator else {}
        return load_audio(rows.manifest.file_of(record), rate=rate, **options)

    def probe(record: Record) -> AudioInfo:
        return probe_audio(rows.manifest.file_of(record))

    return Sounds(load, rate, probe=None if recipe.data.cache == "memory" else probe)


def _readable(rows: GatheredRows, sounds: Sounds) -> GatheredRows:
    """Return the rows without recordings that cannot be decoded; too many of them are an error."""
    kept = drop_unreadable(rows.manifest, sounds.fill(rows.manifest.records), "recordings")
    there = {record.id for record in kept.records}
    return replace(rows, manifest=kept, rows=tuple(row for row in rows.rows if row.record.id in there))


def _frame_counts(rows: GatheredRows) -> dict[str, FrameCount]:
    """Return how many frames the rows that have some have."""
    return {
        row.record.id: FrameCount(int(row.extras["count"]), float(row.extras.get("fps", 1.0)))
        for row in rows.rows
        if "frames" in row.extras
    }


def _facts(
    options: MixAndSeparateConfig,
    mixtures: Sequence[ValidationMixture],
    separator: SeparatorConfig,
    samples: int,
) -> dict[str, Any]:
    return {
        "score_name": "SI-SDR improvement",
        "score_unit": "dB",
        "chance_name": "the mixture itself",
        "command": "verticlip audio separate mix.wav --query 'dog barking' --out separated --model MODEL",
        "pipeline_tag": "audio-to-audio",
        "queries": options.queries,
        "validation_mixtures": len(mixtures),
        "validation_s": options.validation_s,
        "training_s": round(samples / separator.sampling_rate, 3),
    }


def _separator_of(model: ContrastiveModel) -> ClipSep:
    if not isinstance(model, ClipSep):
        raise ConfigError(
            f"{model.config.name} is no separator: its architecture is {model.config.architecture}."
        )
    return model
