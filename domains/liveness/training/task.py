"""The training task ``liveness``: labelled presentations in, a model that tells live from attack out.

Sources have the reader ``presentations``. The model is of an architecture of this room; a start of an image
and a text tower becomes one. Objectives are those of the room. Batches are balanced over data sets and over
live and attack; no person stands on two sides of a split; the model is chosen on the development part of each
data set, never on a test set.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ....core.captions import train_tokenizer
from ....core.config import ModelConfig, parse_config
from ....core.data import LoaderConfig, ResumableLoader
from ....core.errors import ConfigError, DataError
from ....core.gather import GatheredRows, gather_rows, tell_unreadable
from ....core.objectives.base import build_objective
from ....core.processing import Processor
from ....core.registry import room
from ....core.start import processor_config, start_processor, with_vocabulary
from ....core.task_data import fixed_batches
from ....core.validation import judged, mean_loss
from ..cropped import check_cropped_as
from ..faces.detect import open_detector
from ..frames.media import read_media
from ..minifasnet.model import MiniFASNetOptions
from ..models.base import LivenessModel
from ..objectives.category import LiveOrAttack
from ..objectives.flip import PROMPT_VIEWS
from ..protocols.entry import Entry
from ..taxonomy import Taxonomy
from .batches import BalancedBatches, BalancedLoader, Place
from .changes import changes_of
from .collate import FOURIER, PresentationCollate, Wanted
from .facts import data_terms, run_facts
from .judging import judge
from .labels import UNKNOWN, category_of
from .options import LivenessTrainingConfig, shared_options, train_last_blocks, trained_model
from .parts import domain_of, held_out, presentations_of
from .store import PresentationStore

if TYPE_CHECKING:
    import numpy as np

    from ....core.data import Manifest, Record
    from ....core.model import ContrastiveModel
    from ....core.objectives.base import Needs, Objective
    from ....core.prompts import PromptSet
    from ....core.recipe import EvaluationConfig, LoadedRecipe, Recipe
    from ....core.start import Start
    from ....core.types import Batch

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LivenessData:
    """What a run reads; see :class:`verticlip.core.task_data.RunData`.

    Attributes:
        options: of the task. entries: {id of a record: presentation}. categories: {id: class index or -1}.
        store: frames. collate: records to a batch.
        validation: {data set or source: development records}.
    """

    manifest: Manifest
    prompts: PromptSet | None
    class_names: tuple[str, ...]
    processor: Processor
    model_config: ModelConfig
    loader: ResumableLoader[Batch]
    digest: str
    facts: Mapping[str, Any]
    options: LivenessTrainingConfig
    entries: Mapping[str, Entry]
    categories: Mapping[str, int]
    store: PresentationStore
    collate: PresentationCollate
    validation: Mapping[str, tuple[Record, ...]]

    def initialize(self, model: ContrastiveModel) -> None:
        """Give a new model the tokens of its taxonomy, and freeze what shall not learn."""
        _liveness(model).use_processor(self.processor)
        if self.options.last_blocks is not None:
            train_last_blocks(model, self.options.last_blocks)

    def evaluate(
        self,
        model: ContrastiveModel,
        objective: Objective,
        *,
        settings: EvaluationConfig,
        details: bool = False,
    ) -> dict[str, Any]:
        """Return the mean over data sets of 1 - the lowest ACER; see :mod:`.judging`."""
        network = _liveness(model)
        with judged(model):
            # The model that is saved in the end may be a new one, without the tokens of the taxonomy.
            network.use_processor(self.processor)
            sources = {
                name: judge(
                    network,
                    self.store,
                    records,
                    self.entries,
                    self.processor,
                    categories=self.categories,
                    details=details,
                )
                for name, records in self.validation.items()
            }
        return {
            "score": sum(one["score"] for one in sources.values()) / len(sources),
            "chance": sum(one["chance"] for one in sources.values()) / len(sources),
            "sources": sources,
        }

    def validation_loss(self, model: ContrastiveModel, objective: Objective) -> float | None:
        """Return the mean objective over held-out batches; None where it needs a category that some lack."""
        records = [record for part in self.validation.values() for record in part]
        if _needs_categories(objective):
            records = [record for record in records if self.categories[record.id] != UNKNOWN]
        _liveness(model).use_processor(self.processor)
        size = self.loader.config.batch_size
        return mean_loss(model, objective, fixed_batches(records, self.collate.held_out, size))


def prepare(loaded: LoadedRecipe, folder: Path, start: Start | None) -> LivenessData:
    """Read the recipe's presentations below ``folder`` and return everything a run over them needs.

    Raises:
        ConfigError: options, model or objective that do not fit, or a species without a category.
        DataError: no data; a person, video or file in two splits; rows of the target; a data set without live
            presentations or without attacks; or too many that cannot be read.
    """
    recipe = loaded.recipe
    options = parse_config(LivenessTrainingConfig, recipe.options, source=f"{recipe.name}: options")
    changes = changes_of(options.changes, recipe.augment)
    objective = _objective(recipe)
    data_terms(recipe)
    config = trained_model(recipe, start, options, folder)
    taxonomy = shared_options(config).taxonomy
    rows, entries = presentations_of(gather_rows(loaded, folder, start), options)
    config, processor = _with_processor(recipe, start, config, taxonomy, rows.prompts)
    store = _store(recipe, options, config, processor, entries)
    usable = _usable(rows, store)
    categories = _categories(objective, usable, entries, taxonomy)
    collate = PresentationCollate(
        categories,
        {record.id: entries[record.id].label == "live" for record in usable},
        store,
        processor,
        taxonomy=taxonomy,
        changes=changes,
        wanted=_wanted(recipe, objective.needs, options, config),
    )
    training = [record for record in usable if record.split == "train"]
    loader, plan = _loader(recipe, options, training, entries, categories, collate)
    validation = held_out(usable, entries, options)
    return LivenessData(
        manifest=rows.manifest,
        prompts=None,
        class_names=taxonomy.ids,
        processor=processor,
        model_config=config,
        loader=loader,
        digest=rows.digest(
            processor.fingerprint,
            options.model_dump_json(),
            json.dumps(config.options, sort_keys=True),
            json.dumps(sorted(categories.items())),
        ),
        facts=run_facts(
            recipe,
            options,
            taxonomy=taxonomy,
            presentations=[entries[record.id] for record in usable],
            rows_per_batch=plan.parts,
            judged_on=tuple(validation),
        ),
        options=options,
        entries=entries,
        categories=categories,
        store=store,
        collate=collate,
        validation=validation,
    )


def _objective(recipe: Recipe) -> Objective:
    """Return the recipe's objective, to learn what it reads."""
    known = room(str(recipe.domain)).objectives
    if recipe.objective.name not in known:
        raise ConfigError(
            f"{recipe.name}: task liveness trains with {', '.join(known)}, not with "
            f"{recipe.objective.name!r}."
        )
    return build_objective(recipe.objective.name, recipe.objective.options, domain=recipe.domain)


def _liveness(model: ContrastiveModel) -> LivenessModel:
    return cast("LivenessModel", model)


def _with_processor(
    recipe: Recipe, start: Start | None, config: ModelConfig, taxonomy: Taxonomy, prompts: PromptSet | None
) -> tuple[ModelConfig, Processor]:
    """Return the model, its vocabulary set where a tokenizer is made here, and the processor.

    Raises:
        ConfigError: nothing says how pictures are prepared.
    """
    processing = processor_config(recipe, start)
    if processing.image is None:
        raise ConfigError(
            f"{recipe.name}: image missing; say how pictures are prepared, at least image.size."
        )
    if "text" not in config.towers:
        return config, Processor(processing.model_copy(update={"text": None}))
    own = start is None and processing.text is not None and processing.text.tokenizer == "tokenizer_json"
    if not own or processing.text is None:
        return config, start_processor(recipe, start)
    texts = list(taxonomy.texts)
    if prompts is not None:
        texts += [text for name in prompts.class_names for text in prompts.texts(name)]
    tokenizer = train_tokenizer(texts, recipe.tokenizer, processing.text)
    words = len(json.loads(tokenizer)["model"]["vocab"])
    return with_vocabulary(config, words), Processor(processing, tokenizer)


def _store(
    recipe: Recipe,
    options: LivenessTrainingConfig,
    config: ModelConfig,
    processor: Processor,
    entries: Mapping[str, Entry],
) -> PresentationStore:
    """Return the empty store of the run."""

    crop = shared_options(config).crops[0]

    def read(entry: Entry) -> Sequence[np.ndarray]:
        for path in entry.files:
            check_cropped_as(path, [crop], detects=options.detector != "none")
        item = list(entry.frames) if entry.frames else entry.path
        return read_media(item, options.sampling).frames

    return PresentationStore(
        processor,
        entries,
        crop=crop,
        read=read,
        detector=open_detector(options.detector),
        train_frames=options.train_frames,
        keep=recipe.data.cache == "memory",
    )


def _usable(rows: GatheredRows, store: PresentationStore) -> list[Record]:
    """Return the training and development records that can be read; test rows are never decoded."""
    records = [record for record in rows.manifest.records if record.split != "test"]
    failures = store.fill(records)
    tell_unreadable(failures, len(records), store.noun)
    return [record for record in records if record.id not in failures]


def _needs_categories(objective: Objective) -> bool:
    return objective.needs.labels and not isinstance(objective, LiveOrAttack)


def _categories(
    objective: Objective, usable: Sequence[Record], entries: Mapping[str, Entry], taxonomy: Taxonomy
) -> dict[str, int]:
    """Return {id: class index or UNKNOWN}.

    Raises:
        ConfigError: a species without a category.
        DataError: training presentations lack one that the objective needs.
    """
    categories = {
        record.id: category_of(
            str(record.label), taxonomy, live=entries[record.id].label == "live", where=record.id
        )
        for record in usable
    }
    training = [record.id for record in usable if record.split == "train"]
    unknown = [name for name in training if categories[name] == UNKNOWN]
    if unknown and _needs_categories(objective):
        raise DataError(
            f"{len(unknown)} of {len(training)} training presentations have no category, first {unknown[0]}. "
            "Name their species, or train with objective live_or_attack."
        )
    return categories


def _wanted(recipe: Recipe, needs: Needs, options: LivenessTrainingConfig, config: ModelConfig) -> Wanted:
    """Return what the batches hold for the recipe's objective.

    Raises:
        ConfigError: it learns spectra and the model does not.
    """
    size = None
    if FOURIER in needs.batch_extras:
        if config.architecture != "minifasnet":
            raise ConfigError(
                f"{recipe.name}: objective {recipe.objective.name!r} is for architecture minifasnet, got "
                f"{config.architecture!r}."
            )
        size = parse_config(MiniFASNetOptions, config.options, source=f"{recipe.name}: model.options")
        size = size.networks[0].fourier_size
    return Wanted(
        views=any(name.startswith("view_") for name in needs.output_extras),
        prompt_views=options.prompt_views if set(PROMPT_VIEWS) & set(needs.batch_extras) else None,
        text="text" in needs.modalities,
        fourier_size=size,
    )


def _loader(
    recipe: Recipe,
    options: LivenessTrainingConfig,
    training: Sequence[Record],
    entries: Mapping[str, Entry],
    categories: Mapping[str, int],
    collate: PresentationCollate,
) -> tuple[BalancedLoader, BalancedBatches]:
    """Return the loader of the run and the plan of its batches."""
    kinds = {
        "none": lambda record: "",
        "species": lambda record: entries[record.id].species,
        "category": lambda record: str(categories[record.id]),
    }
    places = {
        record.id: Place(
            domain_of(record, entries, options),
            entries[record.id].label == "live",
            kinds[options.turns](record),
        )
        for record in training
    }
    settings = LoaderConfig(batch_size=recipe.batch_size, seed=recipe.seed, shuffle=False, drop_last=True)
    plan = BalancedBatches(places, settings, steps=options.steps_per_epoch, live_share=options.live_share)
    if plan.short:
        _log.warning("Fewer rows than places in one batch, so some repeat in it: %s.", "; ".join(plan.short))
    loader = BalancedLoader(training, collate, settings, plan=plan, steps=options.steps_per_epoch)
    return loader, plan
