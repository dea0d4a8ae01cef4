"""Weights that a run starts from, and a new model filled with them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

import torch
from torch import Tensor

from .config import ModelConfig, ProcessorConfig
from .errors import ConfigError, WeightsError
from .model import ContrastiveModel
from .processing import Processor
from .prompts import PromptSet
from .recipe import PREPARED, Recipe, StartConfig
from .types import Modality

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Start:
    """A model that training begins with.

    Attributes:
        network: on the CPU; its values are copied, never changed.
        processor, prompts: what came with it.
        id: registered name, ``org/name``, or the name in the config of a folder: never a path.
        revision: commit or hash of the weights.
    """

    network: ContrastiveModel
    processor: Processor
    prompts: PromptSet | None
    id: str
    revision: str


Resolver = Callable[[StartConfig], Start]
"""How a name becomes a :class:`Start`; given by the layer that knows folders and the Hub."""


@dataclass(frozen=True)
class StartReport:
    """What a new model took over.

    Attributes:
        id, revision: of the start.
        loaded: number of tensors that were taken over.
        new: names that the start lacks and the recipe allows to be new.
        dropped: names of the start that the recipe allows to be left.
    """

    id: str
    revision: str
    loaded: int
    new: tuple[str, ...] = ()
    dropped: tuple[str, ...] = field(default=())

    def to_dict(self) -> dict[str, object]:
        """Return plain values for JSON."""
        return {
            "id": self.id,
            "revision": self.revision,
            "loaded": self.loaded,
            "new": list(self.new),
            "dropped": list(self.dropped),
        }


def find_start(recipe: Recipe, resolver: Resolver | None) -> Start | None:
    """Return the recipe's start, or None where it has none.

    Raises:
        ConfigError: the recipe names one and there is nothing to find it with.
    """
    if recipe.start is None:
        return None
    if resolver is None:
        raise ConfigError(
            f"{recipe.name} starts from {recipe.start.model!r}, which this call cannot look up. "
            "Use verticlip.train, or pass start=."
        )
    return resolver(recipe.start)


def matches(name: str, patterns: Iterable[str]) -> bool:
    """Return whether one of the shell-style ``patterns`` fits the whole of ``name``."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def model_config(recipe: Recipe, start: Start | None) -> ModelConfig:
    """Return the recipe's model config, or the start's under the recipe's name.

    A start that belongs to no domain joins the recipe's, whose loader reads the files of the run.
    """
    if recipe.model is not None:
        # The tables of the start may have rows that its tokenizer does not use.
        own = getattr(start.network.config.towers.get("text"), "vocab_size", 0) if start else 0
        return with_vocabulary(recipe.model, own) if own else recipe.model
    if start is None:
        raise ConfigError(f"{recipe.name}: no model and no start to take one from.")
    theirs = start.network.config
    changes = {
        "name": recipe.name,
        "description": recipe.summary or theirs.description,
        "domain": theirs.domain or recipe.domain,
    }
    # A classifier no longer agrees with texts; any other model keeps the start's prompts without new ones.
    kept = None if recipe.classifies or start.prompts is None else theirs.prompts
    return theirs.model_copy(update={**changes, "prompts": recipe.prompts or kept})


def with_vocabulary(config: ModelConfig, size: int) -> ModelConfig:
    """Return the model config with ``size`` words: those of a new tokenizer, or of the start.

    Raises:
        ConfigError: the text tower has a vocabulary of its own.
    """
    if "text" not in config.towers:
        return config
    raw = config.model_dump(mode="json")
    tower = raw["towers"]["text"]
    if tower["backend"] == "open_clip":
        tower = tower["options"]
    if "vocab_size" not in tower:
        raise ConfigError(
            f"A recipe that trains a tokenizer needs a text tower with vocab_size, got "
            f"{raw['towers']['text']['backend']!r}."
        )
    tower["vocab_size"] = size
    return ModelConfig.model_validate(raw)


def processor_config(recipe: Recipe, start: Start | None) -> ProcessorConfig:
    """Return the recipe's preprocessing; what it leaves out is the start's.

    Raises:
        ConfigError: neither says how one of the model's modalities is prepared.
    """
    theirs = start.processor.config if start else ProcessorConfig()
    found = {name: getattr(recipe, name) or getattr(theirs, name) for name in PREPARED}
    for name in model_config(recipe, start).towers:
        if name in found and found[name] is None:
            raise ConfigError(
                f"{recipe.name}: the model has a tower for {name}, and neither the recipe nor its start says "
                f"how {name} is prepared. Add {name} to the recipe."
            )
    return ProcessorConfig(**found)


def start_processor(recipe: Recipe, start: Start | None) -> Processor:
    """Return the processor of a run that makes no tokenizer of its own: texts are read as the start does.

    Raises:
        ConfigError: as :func:`processor_config`, or the model takes text and there is no tokenizer for it.
    """
    return Processor(processor_config(recipe, start), start.processor.tokenizer_json if start else None)


def primary_modality(config: ModelConfig) -> Modality:
    """Return what a model is about: the first of its modalities that is not text.

    Raises:
        ConfigError: it takes nothing but text, or nothing at all.
    """
    for name in config.towers:
        if name != "text":
            return name
    raise ConfigError(f"{config.name} has no tower beside one for text; there is nothing to compare.")


def fill(model: ContrastiveModel, start: Start, settings: StartConfig) -> StartReport:
    """Copy the start's tensors into ``model`` by name and say what stayed new.

    Raises:
        WeightsError: a tensor has another shape, or one is missing or left over that the recipe does
            not name in ``start.new`` or ``start.drop``.
    """
    state: Mapping[str, Tensor] = start.network.state_dict()
    wanted = model.state_dict()
    new = [name for name in wanted if name not in state]
    dropped = [name for name in state if name not in wanted]
    shapes = [
        f"{name} {tuple(state[name].shape)}, here {tuple(wanted[name].shape)}"
        for name in wanted
        if name in state and state[name].shape != wanted[name].shape
    ]
    _refuse(start.id, "has another shape for", shapes, "Start from a model of the same sizes.")
    unnamed = [name for name in new if not matches(name, settings.new)]
    _refuse(
        start.id, "lacks", unnamed, f"If they shall be new, name them in start.new ({_pattern(unnamed)})."
    )
    left = [name for name in dropped if not matches(name, settings.drop)]
    _refuse(start.id, "also has", left, f"If they shall go, name them in start.drop ({_pattern(left)}).")
    with torch.no_grad():
        model.load_state_dict({name: state[name] for name in wanted if name in state}, strict=False)
    report = StartReport(start.id, start.revision, len(wanted) - len(new), tuple(new), tuple(dropped))
    _log.info(
        "start from %s (%s): %d tensors taken over%s%s",
        start.id,
        start.revision,
        report.loaded,
        f", {len(new)} new ({', '.join(new[:3])}{', ...' if len(new) > 3 else ''})" if new else "",
        f", {len(dropped)} left out" if dropped else "",
    )
    return report


def _refuse(source: str, what: str, names: Sequence[str], advice: str) -> None:
    if names:
        shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
        raise WeightsError(
            f"{source} does not fit the recipe's model: it {what} {len(names)} tensors ({shown}). {advice}"
        )


def _pattern(names: Sequence[str]) -> str:
    """Return a pattern that a recipe could use for the first of ``names``."""
    return f"for example {names[0].partition('.')[0]}*" if names else ""
