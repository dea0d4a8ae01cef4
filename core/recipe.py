"""A training run as data: what to train, on what, how, and how it is judged."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, model_validator

from .audio_config import AudioAugmentConfig, AudioProcessing
from .config import (
    AugmentConfig,
    Config,
    ImageProcessing,
    ModelConfig,
    Probability,
    Scalar,
    TextProcessing,
    parse_config,
    read_yaml,
)
from .errors import ConfigError, nearest
from .optim_config import OptimConfig
from .registry import recipes, room

PREPARED = ("image", "text", "audio")
"""Modalities that a recipe says the preprocessing of, each under its own name."""

ATTENTION = (
    "*.attn.in_proj_weight", "*.attn.out_proj.weight",
    "*.attn.qkv.weight", "*.attn.proj.weight",
    "*.attention.self.query.weight", "*.attention.self.key.weight", "*.attention.self.value.weight",
    "*.attention.output.dense.weight",
)  # fmt: skip
"""Attention matrices by the names of our Vision Transformer, of timm's, and of BERT."""


class StartConfig(Config):
    """Weights that a run starts from."""

    model: str = Field(min_length=1)
    """Registered name, model folder, or Hub repository ``org/name``."""
    revision: str | None = None
    new: tuple[str, ...] = ()
    """Name patterns (``image_proj.*``) of tensors the start lacks: they begin as in a new model."""
    drop: tuple[str, ...] = ()
    """Name patterns of tensors of the start that the recipe's model has no place for."""


class PeftConfig(Config):
    """Which parameters a fine-tuning changes; ``freeze`` of the recipe comes on top."""

    policy: Literal["full", "lora"] = "full"
    """``lora`` trains low-rank changes of the ``targets``; they are added to the weights when saved."""
    rank: int = Field(default=8, ge=1)
    alpha: float = Field(default=16.0, gt=0)
    """The low-rank product is multiplied by ``alpha / rank``."""
    targets: tuple[str, ...] = ATTENTION
    """Name patterns of the matrices and convolutions that get adapters."""
    also: tuple[str, ...] = ("logit_scale", "logit_bias")
    """Name patterns of parameters that are trained as they are beside the adapters."""


class SourceConfig(Config):
    """One data set under the data folder: labelled, with captions of its own, or both."""

    name: str = Field(pattern=r"^[a-z0-9_]+$")
    reader: str = "folder"
    """``folder``, ``csv``, ``jsonl``, or a reader that the recipe's domain declares."""
    path: str
    """Relative to the data folder of the run."""
    captions: Literal["prompts", "text"] = "prompts"
    """``prompts``: the class's words in the templates; ``text``: the row's own caption or captions."""
    columns: dict[str, str] = Field(default_factory=dict)
    """Readers ``csv`` and ``jsonl``: field (path, text, label, split, group, id) -> column."""
    images: str | None = None
    """Readers ``csv`` and ``jsonl``: folder the paths start from; None is the folder of the table."""
    labels: dict[str, str] = Field(default_factory=dict)
    """Label in the data -> class of the prompt set; empty when they are the same words."""
    share: float = Field(default=1.0, gt=0)
    """Relative share of an epoch."""
    augment: AugmentConfig | None = None
    """None: the recipe's."""
    audio_augment: AudioAugmentConfig | None = None
    """None: the recipe's."""
    modality_captions: tuple[str, ...] = ()
    """What every image of the source is, whatever its class: "chest X-ray", "blood smear"."""
    options: dict[str, Scalar | list[str]] = Field(default_factory=dict)
    licence: str = ""
    origin: str = ""
    revision: str = ""
    """Commit, tag, release or date of the data set, for the model's card."""
    dataset: str = Field(default="", pattern=r"^([A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)?$")
    """Its name on the Hub, ``org/name``, where it is there."""


class ValidationConfig(Config):
    """How the validation split is made where the data has none of its own."""

    fraction: float = Field(default=0.1, gt=0, lt=1)
    near_duplicate_bits: int | None = Field(default=None, ge=0, le=32)
    """Images whose 64-bit difference hashes are this close stay on one side of the split."""


class DataConfig(Config):
    """Sources and their validation split."""

    sources: tuple[SourceConfig, ...] = Field(min_length=1)
    validation: ValidationConfig = ValidationConfig()
    class_balance: float = Field(default=1.0, ge=0, le=1)
    """Inside a source: 1 shows every class equally often, 0 as often as it occurs."""
    modality_share: float = Field(default=0.0, ge=0, lt=1)
    """Share of batches whose captions name the modality instead of the class."""
    share_by: Literal["source", "size"] = "source"
    """Sources with captions of their own: ``size`` multiplies each share by the rows of the source."""
    collate: str | None = Field(default=None, pattern=r"^[a-z0-9_]+$")
    """What the domain makes of the drawn captions beside their tokens: concept spans, report sections."""
    previous_share: Probability | None = None
    """For models that compare two studies: how often an image comes with the one before it in its group
    (rows of a patient in the order of the file). None never; below 1, the model also learns to do without."""
    cache: Literal["memory", "none"] = "memory"
    """``memory`` decodes every image once and keeps it at model size."""
    distinct_captions: bool = False
    """Deal the rows of an epoch to batches so that no caption stands twice in one: equal captions are wrong
    negatives of each other. Rows that have too few captions between them are an error."""
    mixgen: float = Field(default=0.0, ge=0, le=0.5)
    """Share of the rows of a batch that become the mean of two images with both of their captions."""

    @model_validator(mode="after")
    def _names_differ(self) -> DataConfig:
        names = [source.name for source in self.sources]
        if len(set(names)) != len(names):
            raise ValueError(f"two sources share a name: {names}")
        if self.modality_share and not all(source.modality_captions for source in self.sources):
            raise ValueError("modality_share needs modality_captions for every source")
        return self


class TokenizerConfig(Config):
    """A tokenizer made for the captions of the recipe; with ``start``, the start's own is used."""

    kind: Literal["wordpiece"] = "wordpiece"
    vocab_size: int = Field(default=1024, ge=64, le=100_000)
    lowercase: bool = True
    vocab_file: str | None = None
    """A published WordPiece vocabulary (``vocab.txt``), relative to the data folder, instead of a new one."""


class ObjectiveConfig(Config):
    """Training objective by name, with its options."""

    name: str
    options: dict[str, Any] = Field(default_factory=dict)


class EvaluationConfig(Config):
    """When to evaluate and when to stop."""

    every_epochs: int = Field(default=1, ge=1)
    patience: int | None = Field(default=None, ge=1)
    """Stop after this many evaluations without a better score."""
    select: Literal["best", "last", "loss"] = "best"
    """The model with the best score, the last one, or the one with the lowest validation loss, which depends
    on ``batch_size``; ``patience`` counts by the same."""
    loss_part: str = Field(default="loss", min_length=1)
    """What the validation loss is: the whole ``loss``, or one part of the objective, such as
    ``contrastive``."""
    min_above_chance: float = 0.0
    """The run fails when the selected model is not this much over chance; catches broken runs."""
    suite: tuple[Literal["zero_shot", "retrieval", "neighbors"], ...] = ()
    """How a contrastive model is judged; empty: classes by zero-shot, captions by retrieval. ``neighbors``
    looks at samples only: whether those most like one are of its class."""
    recall_at: tuple[Annotated[int, Field(ge=1)], ...] = Field(default=(1, 5, 10), min_length=1)
    """Depths of the retrieval recalls; the score is their mean over both directions."""
    duplicates: Literal["merge", "separate"] = "merge"
    """Retrieval: equal captions are one text that belongs to several images (``merge``), or wrong answers
    to each other (``separate``)."""


class ProbeConfig(Config):
    """A linear probe: logistic regression on frozen unit embeddings."""

    c: float | None = Field(default=None, gt=0)
    """Inverse regularization; None chooses it on a fifth of the training part, never on validation."""
    balanced: bool = True
    """Weigh classes inversely to their size."""
    fractions: tuple[Annotated[float, Field(gt=0, le=1)], ...] = Field(default=(0.01, 0.1, 1.0), min_length=1)
    """Shares of the training labels; the head that is saved comes from the largest."""
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = Field(default=(0, 1, 2), min_length=1)
    """Draws of each share below 1."""


class Recipe(Config):
    """A training run. Unknown keys are refused; every value has a range."""

    schema_version: Literal[1] = 1
    kind: Literal["train", "probe"] = "train"
    """``probe`` embeds everything once with the weights of ``start`` and fits a linear head."""
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9/_-]*$")
    domain: str | None = Field(default=None, pattern=r"^[a-z]+$")
    summary: str = ""
    intended_use: str = ""
    """What the model is for, in sentences, for its card."""
    limits: tuple[str, ...] = ()
    """What the model cannot do or nobody measured, a sentence each, for its card."""
    language: tuple[Annotated[str, Field(pattern=r"^[a-z]{2,3}$")], ...] = ()
    """Languages of the captions, ISO 639 codes."""
    seed: int = Field(default=0, ge=0)
    task: str | None = Field(default=None, pattern=r"^[a-z0-9_]+$")
    """What kind of run the domain makes of the data; see ``core/task_data.py``. None compares samples with
    texts or classes."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Settings of ``task``, checked by it."""
    start: StartConfig | None = None
    """Weights to start from; ``model`` and how each modality is prepared may then be left out."""
    model: ModelConfig | None = None
    image: ImageProcessing | None = None
    text: TextProcessing | None = None
    audio: AudioProcessing | None = None
    tokenizer: TokenizerConfig = TokenizerConfig()
    prompts: str | None = Field(default=None, pattern=r"^[a-z0-9_-]+$")
    """Prompt set that gives class names and captions: ``<name>.yaml`` beside the recipe or in the domain.
    None takes the start's, or leaves class names as they are in the data."""
    data: DataConfig
    augment: AugmentConfig = AugmentConfig()
    audio_augment: AudioAugmentConfig = AudioAugmentConfig()
    objective: ObjectiveConfig = ObjectiveConfig(name="infonce", options={"positives": "labels"})
    optim: OptimConfig = OptimConfig(lr=1e-4)
    peft: PeftConfig = PeftConfig()
    probe: ProbeConfig = ProbeConfig()
    batch_size: int = Field(default=64, ge=2)
    micro_batch: int | None = Field(default=None, ge=1)
    """Rows that are in memory at a time; the gradient stays that of the whole batch."""
    epochs: int = Field(default=1, ge=1)
    """An epoch draws as many samples as the training split has, by the shares of sources and classes."""
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    freeze: tuple[str, ...] = ()
    """Modalities whose tower and projection stay as they are."""
    checkpoint_steps: int = Field(default=200, ge=1)
    save_dtype: Literal["float16", "float32"] = "float32"
    evaluation: EvaluationConfig = EvaluationConfig()

    @model_validator(mode="before")
    @classmethod
    def _start_by_name(cls, raw: Any) -> Any:
        if isinstance(raw, dict) and isinstance(raw.get("start"), str):
            return {**raw, "start": {"model": raw["start"]}}
        return raw

    @model_validator(mode="after")
    def _whole(self) -> Recipe:
        if self.start is None:
            if self.kind == "probe":
                raise ValueError("a probe needs start: the model whose embeddings it reads")
            towers = self.model.towers if self.model else ("image", "text")
            missing = ["model"] if self.model is None else []
            missing += [name for name in PREPARED if name in towers and getattr(self, name) is None]
            if missing:
                raise ValueError(f"{', '.join(missing)} missing; only a recipe with start can leave them out")
        self._check_task()
        if self.model is not None and self.domain is not None and self.model.domain != self.domain:
            # The data would be read by one domain's loader, and files given to the trained model by another.
            raise ValueError(
                f"the recipe's domain is {self.domain!r} and that of its model {self.model.domain!r}, so the "
                f"trained model could not read the files it was trained on; model.domain has to be "
                f"{self.domain!r} too"
            )
        if self.kind == "train":
            unset = [name for name in ("optim", "batch_size", "epochs") if name not in self.model_fields_set]
            if unset:
                raise ValueError(f"{', '.join(unset)} missing")
        return self

    def _check_task(self) -> None:
        if self.task is not None and self.evaluation.loss_part != "loss":
            raise ValueError(f"evaluation.loss_part is for runs without a task, got task {self.task!r}")
        if self.task is None:
            if self.options:
                raise ValueError("options are settings of a task; name the task, or leave them out")
        elif self.domain is None:
            raise ValueError(f"task {self.task!r} belongs to a domain; name it: domain")
        elif self.kind == "probe":
            raise ValueError(f"a probe has no task, got {self.task!r}")

    @property
    def classifies(self) -> bool:
        """Whether the run needs labels and no captions: cross-entropy training, or a probe."""
        return self.kind == "probe" or self.objective.name == "cross_entropy"

    @property
    def digest(self) -> str:
        """First 16 hex digits of the SHA-256 of the resolved recipe."""
        # Settings at their defaults do not count, so that a setting added later changes nothing.
        content = json.dumps(self.model_dump(mode="json", exclude_defaults=True), sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:16]

    def with_(self, assignments: Sequence[str]) -> Recipe:
        """Return a copy with ``key.subkey=value`` changes; values are read as YAML.

        Raises:
            ConfigError: no ``=``, an unknown key, or a value out of range.
        """
        raw = self.model_dump(mode="json")
        for assignment in assignments:
            path, equals, value = assignment.partition("=")
            if not equals:
                raise ConfigError(f"{assignment!r} is not key=value, for example optim.lr=1e-4.")
            *parents, last = path.strip().split(".")
            target = raw
            for key in parents:
                target = _inside(target, key, path)[key]
            # What may stand among options is known to the one they are for.
            inside = target if parents[-1:] == ["options"] else _inside(target, last, path)
            try:
                inside[last] = yaml.safe_load(value)
            except yaml.YAMLError:
                raise ConfigError(
                    f"{assignment!r}: {value!r} is not a YAML value. Quote or correct it."
                ) from None
        return parse_config(Recipe, raw, source=f"{self.name} with {', '.join(assignments)}")


def _inside(settings: Any, key: str, path: str) -> dict[str, Any]:
    """Return ``settings`` if it is a mapping with ``key``; else say which setting of the recipe is near."""
    if not isinstance(settings, dict) or key not in settings:
        known = list(settings) if isinstance(settings, dict) else []
        raise ConfigError(f"The recipe has no setting {path.strip()!r}.{nearest(key, known)}")
    return settings


@dataclass(frozen=True)
class LoadedRecipe:
    """A recipe and the prompt set file it names."""

    recipe: Recipe
    prompts: Path | None = None


def load_recipe(name_or_path: str | Path) -> LoadedRecipe:
    """Read a recipe by registered name (``"medical/tiny"``) or from a YAML file.

    Raises:
        ConfigError: unknown name, unreadable file, invalid content, or no such prompt set.
    """
    path = Path(name_or_path)
    if path.suffix not in {".yaml", ".yml"}:
        known = recipes()
        name = str(name_or_path)
        if name not in known:
            raise ConfigError(
                f"No recipe called {name!r}.{nearest(name, known)} Known: {', '.join(known) or 'none'}. "
                "A path to a .yaml file works too."
            )
        path = known[name].path
    recipe = parse_config(Recipe, read_yaml(path), source=path.name)
    if recipe.prompts is None:
        return LoadedRecipe(recipe)
    home = room(recipe.domain).folder if recipe.domain else None
    # Beside the room's own recipes lie only recipes, some of the same name as a prompt set.
    beside = [] if home and path.parent.resolve() == (home / "recipes").resolve() else [path.parent]
    folders = beside + ([home / "prompts"] if home else [])
    for folder in folders:
        candidate = folder / f"{recipe.prompts}.yaml"
        if candidate.is_file() and candidate.resolve() != path.resolve():
            return LoadedRecipe(recipe, candidate)
    raise ConfigError(
        f"{path.name}: prompt set {recipe.prompts!r} not found; looked for {recipe.prompts}.yaml in "
        f"{' and '.join(str(folder) for folder in folders)}."
    )


def dump_recipe(recipe: Recipe) -> str:
    """Return the resolved recipe as YAML that :func:`load_recipe` reads back."""
    raw: Mapping[str, Any] = recipe.model_dump(mode="json")
    return yaml.safe_dump(dict(raw), sort_keys=False, allow_unicode=True)
