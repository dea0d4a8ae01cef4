"""What a model is called elsewhere: settings of another library's config, and names of its tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

from .. import registry
from ..config import ModelConfig
from ..errors import ConfigError

Library = Literal["open_clip", "transformers"]


class NotExpressible(ConfigError):
    """Another library has no words for a model; the message is the reason, without the model's name."""


@dataclass(frozen=True)
class Exported:
    """A model in the words of another library.

    Attributes:
        settings: of its config file.
        rename: {our parameter name: tensor} to {its parameter name: tensor}; values stay as they are.
    """

    settings: Mapping[str, Any]
    rename: Callable[[Mapping[str, Tensor]], dict[str, Tensor]]


def room_layout(config: ModelConfig, library: Library) -> Exported | None:
    """Return what the model's room makes of an architecture of its own, None for a contrastive model.

    Raises:
        NotExpressible: the room declares nothing for this architecture and library.
    """
    if config.architecture == "contrastive":
        return None
    home = registry.room(config.domain) if config.domain else None
    if home is not None and config.architecture in home.exports:
        module = home.module("exports", config.architecture)
        if hasattr(module, library):
            return getattr(module, library)(config)
    raise NotExpressible(
        f"its architecture {config.architecture!r} has parts and rules of its own, which {library} does not "
        "have."
    )


def need_towers(config: ModelConfig, first: str, library: Library) -> None:
    """Raise :class:`NotExpressible` unless the model has a tower ``first`` and one for text, and no other."""
    if set(config.towers) != {first, "text"}:
        has = " and ".join(config.towers) or "no tower"
        raise NotExpressible(f"{library} holds an {first} and a text tower; this model has {has}.")


def move_prefixes(state: Mapping[str, Tensor], prefixes: Sequence[tuple[str, str]]) -> dict[str, Tensor]:
    """Return tensors whose names begin otherwise: by the first of ``prefixes`` (ours, theirs) that fits."""
    found: dict[str, Tensor] = {}
    for name, tensor in state.items():
        ours, theirs = next((pair for pair in prefixes if name.startswith(pair[0])), ("", ""))
        found[theirs + name.removeprefix(ours)] = tensor
    return found


def mlp_ratio(mlp_width: int, width: int) -> float:
    """Return the ratio that gives ``mlp_width`` when width times ratio is cut to a whole number."""
    ratio = mlp_width / width
    return ratio if int(width * ratio) == mlp_width else (mlp_width + 0.5) / width
