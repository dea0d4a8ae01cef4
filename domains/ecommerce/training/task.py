"""The training task ``product_pairs``: pairs of one style in, an encoder that finds the same product out.

Sources have the reader ``product_pairs``. The model is of architecture ``unified_product`` or
``fused_product``; a start of plain two towers becomes the latter (``start.new: [fusion]``). Objectives are
``esspr``, ``product_infonce`` and ``gcl``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

from pydantic import Field, field_validator

from ....core.captions import train_tokenizer
from ....core.config import AugmentConfig, Config, ModelConfig, parse_config
from ....core.data import LoaderConfig, ResumableLoader
from ....core.errors import ConfigError, DataError
from ....core.gather import gather_rows
from ....core.objectives.base import build_objective
from ....core.processing import Processor
from ....core.start import model_config, processor_config, start_processor, with_vocabulary
from ....core.task_data import fixed_batches
from ....core.validation import mean_loss
from ..encoders.views import PARTS, ProductModel
from ..objectives.pairs import PairObjective
from ..products.text import TextTemplate
from .batches import CategoryBatches
from .collate import PairCollate
from .judging import DIRECTIONS, judge_pairs
from .stock import Stock, TrainingPair, take_stock

if TYPE_CHECKING:
    from ....core.data import Manifest, Record
    from ....core.model import ContrastiveModel
    from ....core.objectives.base import Objective
    from ....core.prompts import PromptSet
    from ....core.recipe import EvaluationConfig, LoadedRecipe, Recipe
    from ....core.start import Start
    from ....core.types import Batch

ARCHITECTURES = ("unified_product", "fused_product")
CHANGE = AugmentConfig(
    zoom=(1.0, 2.0), aspect=0.3, translate=0.1, brightness=0.3, contrast=0.3, gamma=0.2, channel_gain=0.15
)
"""What the transformed picture goes through: a crop of random size, and other light."""


class ProductPairsConfig(Config):
    """``options`` of a recipe with ``task: product_pairs``."""

    template: TextTemplate = TextTemplate()
    """How the text of a product is put together, or the name of a preset: general, fashion, hardware."""
    hard_share: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """Share of each batch that is of one leaf category."""
    change: AugmentConfig = CHANGE
    """What the transformed left picture goes through, where the objective reads it."""
    token_drop: Annotated[float, Field(ge=0, lt=1)] = 0.15
    """Share of its tokens that the transformed text loses."""

    @field_validator("template", mode="before")
    @classmethod
    def _preset(cls, value: Any) -> Any:
        return TextTemplate.preset(value) if isinstance(value, str) else value


@dataclass(frozen=True)
class PairData:
    """What a run reads; see :class:`verticlip.core.task_data.RunData`.

    Attributes:
        stock: products. pairs: {id of a record: pair}. collate: records to a batch.
        validation: {source: records}.
    """

    manifest: Manifest
    prompts: PromptSet | None
    class_names: tuple[str, ...]
    processor: Processor
    model_config: ModelConfig
    loader: ResumableLoader[Batch]
    digest: str
    facts: Mapping[str, Any]
    stock: Stock
    pairs: Mapping[str, TrainingPair]
    collate: PairCollate
    validation: Mapping[str, tuple[Record, ...]]

    def evaluate(
        self,
        model: ContrastiveModel,
        objective: Objective,
        *,
        settings: EvaluationConfig,
        details: bool = False,
    ) -> dict[str, Any]:
        """Return the mean over sources and directions of MRR, and every direction by source."""
        sources = {
            name: judge_pairs(
                cast("ProductModel", model),
                self.stock,
                [self.pairs[record.id] for record in records],
                self.processor,
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
        """Return the mean objective over held-out batches; None where they are too few for one."""
        records = [record for part in self.validation.values() for record in part]
        size = min(self.loader.config.batch_size, len(records))
        if size < max(2, getattr(objective, "smallest_batch", 1)):
            return None
        return mean_loss(model, objective, fixed_batches(records, self.collate.held_out, size))


def prepare(loaded: LoadedRecipe, folder: Path, start: Start | None) -> PairData:
    """Read the recipe's pairs below ``folder`` and return everything a run over them needs.

    Raises:
        ConfigError: options, model or objective that do not go with pairs, or batches that are too small.
        DataError: no data, too many pictures that cannot be read, or too few held-out pairs.
    """
    recipe = loaded.recipe
    options = parse_config(ProductPairsConfig, recipe.options, source=f"{recipe.name}: options")
    objective = _objective(recipe)
    config = _model(recipe, start)
    rows = gather_rows(loaded, folder, start)
    bare = start_processor(recipe, start) if start else _pictures_only(recipe)
    stock, pairs, usable = take_stock(recipe, rows, bare)
    training = [record for record in usable if record.split == "train"]
    if start is None:
        config, bare = _with_tokenizer(
            recipe, config, stock, [pairs[record.id] for record in training], options
        )
    stock, cut = stock.with_texts(options.template, bare)
    validation = _by_source(recipe, usable)
    collate = PairCollate(
        pairs,
        stock,
        bare.with_augmentation(recipe.augment),
        changed=bare.with_augmentation(options.change),
        sides=objective.sides,
        token_drop=options.token_drop,
    )
    settings = LoaderConfig(batch_size=recipe.batch_size, seed=recipe.seed, drop_last=True)
    return PairData(
        manifest=rows.manifest,
        prompts=rows.prompts,
        class_names=rows.class_names,
        processor=bare,
        model_config=config,
        loader=ResumableLoader(
            training, collate, settings, plan=CategoryBatches(settings, share=options.hard_share)
        ),
        digest=rows.digest(
            bare.fingerprint, stock.digest, json.dumps(sorted(record.id for record in usable))
        ),
        facts=_facts(options, stock, pairs, cut),
        stock=stock,
        pairs=pairs,
        collate=collate,
        validation=validation,
    )


def _objective(recipe: Recipe) -> PairObjective:
    """Return the recipe's objective, to learn what it reads."""
    objective = build_objective(recipe.objective.name, recipe.objective.options, domain=recipe.domain)
    if not isinstance(objective, PairObjective):
        raise ConfigError(
            f"{recipe.name}: task product_pairs trains with esspr, product_infonce or gcl, not with "
            f"{recipe.objective.name!r}."
        )
    if recipe.batch_size < objective.smallest_batch:
        raise ConfigError(
            f"{recipe.name}: batch_size {recipe.batch_size} is below the {objective.smallest_batch} neighbors"
            " that locality_consistency looks at. Raise it, lower objective.options.top_k, or set the weight"
            " of the term to 0."
        )
    return objective


def _model(recipe: Recipe, start: Start | None) -> ModelConfig:
    """Return the model of the run; a start of plain two towers gets a fusion to learn."""
    config = model_config(recipe, start)
    if recipe.model is None and config.architecture == "contrastive" and set(config.towers) == set(PARTS):
        changes = {"architecture": "fused_product", "domain": recipe.domain, "options": {}}
        return config.model_copy(update=changes)
    if config.architecture not in ARCHITECTURES:
        raise ConfigError(
            f"{recipe.name}: task product_pairs trains architecture {' or '.join(ARCHITECTURES)}, got "
            f"{config.architecture}."
        )
    return config


def _pictures_only(recipe: Recipe) -> Processor:
    """Return a processor that prepares pictures, before there is a tokenizer."""
    return Processor(processor_config(recipe, None).model_copy(update={"text": None}))


def _with_tokenizer(
    recipe: Recipe,
    config: ModelConfig,
    stock: Stock,
    training: list[TrainingPair],
    options: ProductPairsConfig,
) -> tuple[ModelConfig, Processor]:
    """Return the model and the processor with a tokenizer made for the products of the training part."""
    processing = processor_config(recipe, None)
    if processing.text is None or processing.text.tokenizer != "tokenizer_json":
        return config, Processor(processing)
    if recipe.tokenizer.vocab_file is not None:
        raise ConfigError(
            f"{recipe.name}: task product_pairs makes a tokenizer of its own or takes that of a start; leave "
            "tokenizer.vocab_file out."
        )
    names = [name for pair in training for name in (pair.left, pair.right)]
    tokenizer = train_tokenizer(stock.long_texts(names, options.template), recipe.tokenizer, processing.text)
    words = len(json.loads(tokenizer)["model"]["vocab"])
    return with_vocabulary(config, words), Processor(processing, tokenizer)


def _by_source(recipe: Recipe, usable: list[Record]) -> dict[str, tuple[Record, ...]]:
    """Return the held-out records of every source.

    Raises:
        DataError: one has none.
    """
    found: dict[str, tuple[Record, ...]] = {}
    for source in recipe.data.sources:
        own = tuple(one for one in usable if one.split == "val" and one.source == source.name)
        if not own:
            raise DataError(
                f"Source {source.name!r} has no validation pair that can be used. Raise "
                "data.validation.fraction or give more pairs."
            )
        found[source.name] = own
    return found


def _facts(
    options: ProductPairsConfig, stock: Stock, pairs: Mapping[str, TrainingPair], cut: float
) -> dict[str, Any]:
    return {
        "score_name": "MRR over directions",
        "chance_name": "a random order",
        "command": "verticlip catalog create shop products.csv --model MODEL",
        "pipeline_tag": "feature-extraction",
        "directions": list(DIRECTIONS),
        "pairs": len(pairs),
        "groups": len({pair.group for pair in pairs.values()}),
        **stock.counts(),
        "texts_cut": round(cut, 4),
        "hard_share": options.hard_share,
    }
