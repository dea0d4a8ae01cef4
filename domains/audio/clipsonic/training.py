"""The task ``diffusion``: recordings and what they were heard or seen with to a model that makes sound.

Options of the recipe (:class:`DiffusionOptions`) say which embeddings drive the training: those of the
recording itself, of its class or captions, or of the frames that were shown while it sounded. Everything
the towers say is computed before the first step; training never calls them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from ....core.config import ModelConfig, parse_config
from ....core.data import LoaderConfig, Manifest, Record, ResumableLoader
from ....core.errors import ConfigError, DataError
from ....core.gather import gather_rows
from ....core.model import ContrastiveModel
from ....core.objectives.base import Objective
from ....core.processing import Processor
from ....core.prompts import PromptSet
from ....core.recipe import EvaluationConfig, LoadedRecipe, Recipe
from ....core.sources import Row, source_weights
from ....core.start import Start, model_config, start_processor
from ....core.task_data import fixed_batches
from ....core.types import Batch
from ....core.validation import judged, mean_loss
from .bridge import Bridge
from .collate import DiffusionCollate, DiffusionOptions, TextPool
from .features import FeatureStore
from .judging import Judge
from .model import ClipSonic
from .options import ClipSonicOptions


@dataclass(frozen=True)
class DiffusionData:
    """What a run of this task reads; see :class:`verticlip.core.task_data.RunData`.

    Attributes:
        manifest, prompts, class_names, processor, model_config, loader, digest, facts: of the run.
        collate: records to a batch. validation: records that no step sees.
        bridge: means of the embeddings, which the weights shall carry.
        judge: makes samples and says what they sound like.
    """

    manifest: Manifest
    prompts: PromptSet | None
    class_names: tuple[str, ...]
    processor: Processor
    model_config: ModelConfig
    loader: ResumableLoader[Batch]
    digest: str
    facts: Mapping[str, Any]
    collate: DiffusionCollate
    validation: tuple[Record, ...]
    bridge: Bridge
    judge: Judge

    def initialize(self, model: ContrastiveModel) -> None:
        """Give a new model the means of the embeddings."""
        cast("ClipSonic", model).bridge.load_state_dict(self.bridge.state_dict())

    def evaluate(
        self,
        model: ContrastiveModel,
        objective: Objective,
        *,
        settings: EvaluationConfig,
        details: bool = False,
    ) -> dict[str, Any]:
        """Return how many samples are recognized or, where nothing can hear, how much noise is predicted.

        Returns:
            ``score`` and ``chance``, ``explained`` (1 is a perfect denoiser, 0 one that says nothing), and
            what :meth:`Judge.report` finds.
        """
        sonic = cast("ClipSonic", model)
        with judged(model):
            explained = self._explained(sonic)
            report = self.judge.report(sonic, details=details)
        if not report:
            report = {"score": explained, "chance": 0.0}
        own = {"score": report["score"], "chance": report["chance"]}
        sources = {record.source: own for record in self.validation}
        return {**report, "explained": explained, "sources": {str(name): own for name in sources}}

    def validation_loss(self, model: ContrastiveModel, objective: Objective) -> float | None:
        """Return the mean objective over the validation part, its noise the same at every call."""
        return mean_loss(model, objective, self._batches())

    def _batches(self) -> Any:
        return fixed_batches(self.validation, self.collate, self.loader.config.batch_size)

    def _explained(self, model: ClipSonic) -> float:
        """Return 1 - mean squared error over mean square of what was to be predicted."""
        error = power = 0.0
        for batch in self._batches():
            found = model(batch.to(model.device), extras=("prediction", "wanted")).extras
            error += float((found["prediction"] - found["wanted"]).square().sum())
            power += float(found["wanted"].square().sum())
        return 1.0 - error / power if power else 0.0


def prepare(loaded: LoadedRecipe, folder: Path, start: Start | None) -> DiffusionData:
    """Return everything a run of the task ``diffusion`` reads.

    Raises:
        ConfigError: no start, another architecture or objective, or conditions that no tower makes.
        DataError: as :func:`verticlip.core.gather.gather_rows`; too few usable recordings.
    """
    recipe = loaded.recipe
    options = parse_config(DiffusionOptions, recipe.options, source=f"{recipe.name}: options")
    if start is None:
        raise ConfigError(
            f"{recipe.name} needs a start: the model whose towers say what each recording is. Add "
            "start: {model: NAME, new: [...]}."
        )
    config = model_config(recipe, start)
    sonic = _checked(config, recipe, options)
    gathered = gather_rows(loaded, folder, start)
    store = _store(loaded, folder, start, sonic, manifest=gathered.manifest, options=options)
    was_training = start.network.training
    start.network.eval()
    rows = store.fill(
        [row for row in gathered.rows if row.record.split != "test"], least_peak=options.least_peak
    )
    texts = TextPool(rows, gathered.prompts, start) if "text" in config.towers else None
    if texts is not None and "text" in options.conditions:
        texts.check(rows)
    parts = _parts(recipe, rows)
    bridge = _measured(config, parts["train"], store, texts)
    start.network.train(was_training)
    collate = DiffusionCollate(rows, store, texts, bridge=bridge, options=options, sonic=sonic)
    processor = start_processor(recipe, start)
    judge = Judge(
        options.judge, parts, store, texts=None if texts is None else texts.classes, processor=processor
    )
    return DiffusionData(
        manifest=gathered.manifest,
        prompts=gathered.prompts,
        class_names=gathered.class_names,
        processor=processor,
        model_config=config,
        loader=_loader(recipe, parts["train"], collate, options.windows),
        digest=gathered.digest(processor.fingerprint, str(len(rows))),
        facts=judge.facts | {"recordings": {name: len(part) for name, part in parts.items()}},
        collate=collate,
        validation=tuple(row.record for row in parts["val"]),
        bridge=bridge,
        judge=judge,
    )


def _checked(config: ModelConfig, recipe: Recipe, options: DiffusionOptions) -> ClipSonicOptions:
    """Return the model's options; raise ``ConfigError`` where recipe, model and task do not fit."""
    if config.architecture != "clipsonic":
        raise ConfigError(f"{recipe.name}: task 'diffusion' trains clipsonic, not {config.architecture!r}.")
    if recipe.objective.name != "clipsonic":
        raise ConfigError(
            f"{recipe.name}: task 'diffusion' needs objective clipsonic, got {recipe.objective.name!r}."
        )
    sonic = parse_config(ClipSonicOptions, config.options, source=f"{config.name}: options")
    for name in options.conditions:
        if name not in config.towers:
            raise ConfigError(
                f"{recipe.name}: conditions name {name!r}, and the model's towers are "
                f"{', '.join(config.towers)}."
            )
    if options.place == "condition" and set(options.conditions) == {"text"}:
        raise ConfigError(f"{recipe.name}: a text is of no moment; choose place 'loud' or 'anywhere'.")
    return sonic


def _store(
    loaded: LoadedRecipe,
    folder: Path,
    start: Start,
    sonic: ClipSonicOptions,
    *,
    manifest: Manifest,
    options: DiffusionOptions,
) -> FeatureStore:
    """Return the empty store of the features that the conditions, and the judge's ears, need."""
    wanted = [name for name in options.conditions if name != "text"]
    if "audio" in model_config(loaded.recipe, start).towers and "audio" not in wanted:
        wanted.append("audio")
    cache = None if options.cache is None else folder / options.cache
    return FeatureStore(start, sonic.target, modalities=wanted, manifest=manifest, cache=cache)


def _parts(recipe: Recipe, rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Return the rows of the training and of the validation part; raise ``DataError`` without any."""
    parts = {name: [row for row in rows if row.record.split == name] for name in ("train", "val")}
    for name, part in parts.items():
        if not part:
            raise DataError(f"{recipe.name}: no usable recording is left for the {name} part.")
    return parts


def _loader(
    recipe: Recipe, rows: Sequence[Row], collate: DiffusionCollate, windows: int
) -> ResumableLoader[Batch]:
    """Return the training batches: every recording ``windows`` times an epoch, classes by the recipe."""
    records = [row.record for row in rows]
    config = LoaderConfig(
        batch_size=recipe.batch_size,
        seed=recipe.seed,
        balance="source" if any(record.label is None for record in records) else "class",
        weights=_weights(records, recipe),
        drop_last=True,
        workers=1,
    )
    return ResumableLoader(records * windows, collate, config)


def _weights(records: Sequence[Record], recipe: Recipe) -> dict[str, float]:
    """Return what each class gets of an epoch, or each source where there are recordings without a class."""
    if any(record.label is None for record in records):
        return source_weights(records, recipe)
    shares: dict[str, float] = {}
    for source in recipe.data.sources:
        labels = [str(record.label) for record in records if record.source == source.name]
        powered = {label: labels.count(label) ** (1 - recipe.data.class_balance) for label in set(labels)}
        for label, value in powered.items():
            shares[label] = shares.get(label, 0.0) + source.share * value / sum(powered.values())
    return shares


def _measured(
    config: ModelConfig, rows: Sequence[Row], store: FeatureStore, texts: TextPool | None
) -> Bridge:
    """Return the bridge with the means of the training part; a modality nobody computed stays unknown."""
    bridge = Bridge(tuple(config.towers), config.embed_dim)
    found: dict[str, list[Tensor]] = {}
    for row in rows:
        for name, vectors in store.of(row).embeddings.items():
            found.setdefault(name, []).append(vectors.mean(dim=0))
    for name, vectors in found.items():
        if len(vectors) > 1:
            bridge.measure(name, F.normalize(torch.stack(vectors), dim=-1))
    if texts is not None:
        said = texts.mean_sample(rows)
        if len(said) > 1:
            bridge.measure("text", said)
    return bridge
