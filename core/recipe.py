"""A training run as data: what to train, on what, how, and how it is judged."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, model_validator

from .config import (
    AugmentConfig,
    Config,
    ImageProcessing,
    ModelConfig,
    Scalar,
    TextProcessing,
    parse_config,
    read_yaml,
)
from .errors import ConfigError, nearest
from .registry import recipes, room


class SourceConfig(Config):
    """One labelled data set under the data folder."""

    name: str = Field(pattern=r"^[a-z0-9_]+$")
    reader: str = "folder"
    """``folder``, ``csv``, ``jsonl``, or a reader that the recipe's domain declares."""
    path: str
    """Relative to the data folder of the run."""
    labels: dict[str, str] = Field(default_factory=dict)
    """Label in the data -> class of the prompt set; empty when they are the same words."""
    share: float = Field(default=1.0, gt=0)
    """Relative share of an epoch."""
    augment: AugmentConfig | None = None
    """None: the recipe's."""
    modality_captions: tuple[str, ...] = ()
    """What every image of the source is, whatever its class: "chest X-ray", "blood smear"."""
    options: dict[str, Scalar | list[str]] = Field(default_factory=dict)
    licence: str = ""
    origin: str = ""


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
    cache: Literal["memory", "none"] = "memory"
    """``memory`` decodes every image once and keeps it at model size."""

    @model_validator(mode="after")
    def _names_differ(self) -> DataConfig:
        names = [source.name for source in self.sources]
        if len(set(names)) != len(names):
            raise ValueError(f"two sources share a name: {names}")
        if self.modality_share and not all(source.modality_captions for source in self.sources):
            raise ValueError("modality_share needs modality_captions for every source")
        return self


class TokenizerConfig(Config):
    """A tokenizer made for the captions of the recipe."""

    kind: Literal["wordpiece"] = "wordpiece"
    vocab_size: int = Field(default=1024, ge=64, le=100_000)
    lowercase: bool = True


class ObjectiveConfig(Config):
    """Training objective by name, with its options."""

    name: str
    options: dict[str, Any] = Field(default_factory=dict)


class OptimConfig(Config):
    """Optimizer, schedule and averaging. Learning rates are per step of one batch."""

    name: Literal["adamw", "sgd"] = "adamw"
    lr: float = Field(gt=0)
    betas: tuple[float, float] = (0.9, 0.98)
    eps: float = Field(default=1e-6, gt=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    weight_decay: float = Field(default=0.1, ge=0)
    warmup_steps: int = Field(default=0, ge=0)
    schedule: Literal["cosine", "constant"] = "cosine"
    clip_norm: float | None = Field(default=1.0, gt=0)
    ema_decay: float | None = Field(default=None, gt=0, lt=1)
    """Average the weights with this decay; the average is evaluated and saved."""


class EvaluationConfig(Config):
    """When to evaluate and when to stop."""

    every_epochs: int = Field(default=1, ge=1)
    patience: int | None = Field(default=None, ge=1)
    """Stop after this many evaluations without a better score."""
    select: Literal["best", "last"] = "best"
    min_above_chance: float = 0.0
    """The run fails when the selected model is not this much over chance; catches broken runs."""


class Recipe(Config):
    """A training run. Unknown keys are refused; every value has a range."""

    schema_version: Literal[1] = 1
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9/_-]*$")
    domain: str | None = Field(default=None, pattern=r"^[a-z]+$")
    summary: str = ""
    seed: int = Field(default=0, ge=0)
    model: ModelConfig
    image: ImageProcessing
    text: TextProcessing
    tokenizer: TokenizerConfig = TokenizerConfig()
    prompts: str = Field(pattern=r"^[a-z0-9_-]+$")
    """Prompt set that gives class names and captions: ``<name>.yaml`` beside the recipe or in the domain."""
    data: DataConfig
    augment: AugmentConfig = AugmentConfig()
    objective: ObjectiveConfig = ObjectiveConfig(name="infonce", options={"positives": "labels"})
    optim: OptimConfig
    batch_size: int = Field(ge=2)
    epochs: int = Field(ge=1)
    """An epoch draws as many samples as the training split has, by the shares of sources and classes."""
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    freeze: tuple[str, ...] = ()
    """Modalities whose tower and projection stay as they are."""
    checkpoint_steps: int = Field(default=200, ge=1)
    save_dtype: Literal["float16", "float32"] = "float32"
    evaluation: EvaluationConfig = EvaluationConfig()

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
            try:
                _inside(target, last, path)[last] = yaml.safe_load(value)
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
    prompts: Path


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
    folders = [path.parent] + ([room(recipe.domain).folder / "prompts"] if recipe.domain else [])
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
