"""Settings of the training task ``liveness``, and the model they describe."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from ....core.config import Config, ModelConfig
from ....core.config_base import Scalar
from ....core.errors import ConfigError
from ....core.peft import layers_above, tower_layers
from ....core.start import model_config
from ..faces.crop import CropConfig
from ..frames.sampling import Sampling
from ..models.base import LivenessOptions
from ..models.flip_mcl import PromptViews
from ..taxonomy import Taxonomy, load_taxonomy

if TYPE_CHECKING:
    from ....core.model import ContrastiveModel
    from ....core.recipe import Recipe
    from ....core.start import Start

ARCHITECTURES = ("categories", "flip_mcl", "flip_v", "minifasnet")


class LivenessTrainingConfig(Config):
    """``options`` of a recipe with ``task: liveness``."""

    taxonomy: str | None = None
    """Name of a taxonomy of this package, or a YAML file below the data folder; None takes the start's."""
    architecture: Literal["categories", "flip_mcl"] | None = None
    """What a start of two plain towers becomes, with the taxonomy above; None keeps the start's."""
    architecture_options: dict[str, Scalar] = Field(default_factory=dict)
    """Further options of that architecture, such as ssl_dim of ``flip_mcl``."""
    crop: CropConfig | None = None
    """What of a picture the model looks at; None takes the start's, or the detector's box."""
    detector: Literal["none", "yunet"] = "none"
    """``none``: every picture is a face crop already and is used whole, whatever ``crop`` says."""
    sampling: Sampling = Sampling()
    """Which frames of a video are read."""
    train_frames: int | None = Field(default=None, ge=1)
    """How many of these, from the first, training draws from; None is all. Judging reads all."""
    steps_per_epoch: int = Field(default=100, ge=1)
    """Batches after which the model may be judged."""
    domains: Literal["dataset", "source"] = "dataset"
    """What batches are balanced over, and what the model is judged on one by one: data sets, or the recipe's
    sources."""
    turns: Literal["none", "species", "category"] = "none"
    """What takes turns among the live presentations, and among the attacks, of a domain."""
    live_share: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """Of the rows of each domain in a batch."""
    changes: str = "recipe"
    """Random changes of training pictures: the recipe's ``augment``, or those of ``flip``, ``minifasnet``."""
    prompt_views: PromptViews = "reference"
    """How ``flip_mcl`` draws two subsets of texts: as FLIP's code does, or disjoint, as its paper says."""
    target: tuple[str, ...] = ()
    """Data sets that the model will be tested on, by any of their names: none of their training or
    development rows may be used. A name of no public set and of no row is refused."""
    few_shot: bool = False
    """Train with the shots of a few-shot protocol, of people who are tested, and of ``target`` too."""
    last_blocks: int | None = Field(default=None, ge=1)
    """Train the last blocks of each tower and what follows them; None trains all that is not frozen."""


def trained_model(
    recipe: Recipe, start: Start | None, options: LivenessTrainingConfig, data: Path
) -> ModelConfig:
    """Return the model of a run: the recipe's or the start's, with the taxonomy and crop of the options.

    Raises:
        ConfigError: no architecture of this room, no taxonomy, more than one crop, or two ways of freezing.
    """
    if options.last_blocks is not None and recipe.peft.policy != "full":
        raise ConfigError(
            f"{recipe.name}: options.last_blocks and peft.policy {recipe.peft.policy} both say what learns. "
            "Leave one of them out."
        )
    config = model_config(recipe, start)
    given = start is not None and recipe.model is None
    if given:
        # Class words of a start are of no use here, and their file is not written.
        config = config.model_copy(update={"prompts": recipe.prompts})
    if given and options.architecture is not None:
        changes = {"architecture": options.architecture, "domain": recipe.domain}
        further = {**config.options, **options.architecture_options}
        config = config.model_copy(update={**changes, "options": further})
    elif options.architecture is not None or options.architecture_options:
        raise ConfigError(
            f"{recipe.name}: options.architecture is for a start and a recipe without model; set "
            "model.architecture and model.options."
        )
    if config.architecture not in ARCHITECTURES:
        raise ConfigError(
            f"{recipe.name}: task liveness trains {', '.join(ARCHITECTURES)}, got {config.architecture!r}. "
            "A start of an image and a text tower becomes one by options.architecture: categories."
        )
    settings: dict[str, Any] = dict(config.options)
    if options.taxonomy is not None:
        settings["taxonomy"] = _taxonomy(options.taxonomy, data).model_dump(mode="json")
    if options.crop is not None:
        settings["crops"] = [options.crop.model_dump(mode="json")]
    if "taxonomy" not in settings:
        raise ConfigError(f"{recipe.name}: options.taxonomy missing, such as taxonomy: default.")
    config = config.model_copy(update={"options": settings})
    if len(shared_options(config).crops) != 1:
        raise ConfigError(
            f"{recipe.name}: the model looks at {len(shared_options(config).crops)} crops; train one network "
            "at a time, on its own crop."
        )
    return config


def shared_options(config: ModelConfig) -> LivenessOptions:
    """Return what the options of all architectures have in common."""
    known = {name: value for name, value in config.options.items() if name in LivenessOptions.model_fields}
    return LivenessOptions.model_validate(known)


def train_last_blocks(model: ContrastiveModel, count: int) -> None:
    """Freeze all that comes before the last ``count`` blocks of each tower.

    Raises:
        ConfigError: nothing comes before them.
    """
    layers = tower_layers(model)
    below = [parameter for name, parameter in model.named_parameters() if layers_above(name, layers) > count]
    if not below:
        longest = max((len(own) - 1 for own in layers.values()), default=0)
        raise ConfigError(
            f"options.last_blocks {count}: the towers have {longest} blocks, so nothing would be frozen. "
            "Lower it, or leave it out."
        )
    for parameter in below:
        parameter.requires_grad_(False)


def _taxonomy(name: str, data: Path) -> Taxonomy:
    return load_taxonomy(data / name if name.lower().endswith((".yaml", ".yml", ".json")) else name)
