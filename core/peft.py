"""What a fine-tuning changes, and how fast: low-rank adapters, layer-wise rates, parameter groups."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from .errors import ConfigError, nearest
from .model import ContrastiveModel, build_model
from .optim_config import OptimConfig
from .recipe import PeftConfig
from .start import matches

_BLOCK = re.compile(r"(?:^|\.)(?:stages|layers|layer|blocks|resblocks)[._]?(\d+)\.")
_EMBEDDING = re.compile(
    r"(^|[._])(patch_embed|pos_embed|positional_embedding|class_embedding|cls_token|reg_token|embeddings"
    r"|token_embedding|embed_tokens|stem|conv1|bn1|norm_pre|ln_pre)([._]|$)"
)


class LowRank(nn.Module):
    """Adds ``scale * (up @ down)`` to a matrix [O, I] or to a convolution's kernels [O, I, h, w].

    ``down`` is normal and ``up`` zero, so that training starts at the given weights. As a
    parametrization it works on any parameter, a packed query-key-value matrix included.

    Reference: Hu et al. 2021, LoRA, section 4.1.
    """

    def __init__(self, like: Tensor, *, rank: int, scale: float) -> None:
        super().__init__()
        rows, columns = like.shape[0], like[0].numel()
        rank = min(rank, rows, columns)
        self.scale = scale
        self.down = nn.Parameter(torch.randn(rank, columns, dtype=like.dtype, device=like.device))
        self.up = nn.Parameter(torch.zeros(rows, rank, dtype=like.dtype, device=like.device))
        with torch.no_grad():
            self.down.div_(math.sqrt(columns))

    def forward(self, weight: Tensor) -> Tensor:
        """Return the adapted weight, same shape."""
        return weight + self.scale * (self.up @ self.down).view_as(weight)


def apply_policy(model: ContrastiveModel, config: PeftConfig) -> list[str]:
    """Prepare ``model`` for training by ``config`` and return the names of the adapted weights.

    With ``lora`` every tower is frozen (no dropout, no running statistics), the targets get adapters,
    and the parameters of ``also`` stay trainable.

    Raises:
        ConfigError: no weight matches ``targets``.
    """
    if config.policy == "full":
        return []
    wanted = [
        name
        for name, parameter in model.named_parameters()
        if parameter.ndim >= 2 and matches(name, config.targets)
    ]
    if not wanted:
        some = [name for name, parameter in model.named_parameters() if parameter.ndim >= 2]
        raise ConfigError(
            f"peft.targets {list(config.targets)} match no weight of {model.config.name}; it has, for "
            f"example, {', '.join(some[:3])}.{nearest(config.targets[0] if config.targets else '', some)}"
        )
    for modality in model.modalities:
        model.freeze(modality)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(matches(name, config.also))
    for name in wanted:
        module, _, tensor = name.rpartition(".")
        owner = model.get_submodule(module)
        adapter = LowRank(getattr(owner, tensor), rank=config.rank, scale=config.alpha / config.rank)
        parametrize.register_parametrization(owner, tensor, adapter)
    return wanted


def merged(model: ContrastiveModel) -> ContrastiveModel:
    """Return the model with its adapters added to the weights: ``model`` itself when it has none.

    The result is a new model, on the same device, with the parameter names of one that never had adapters.
    """
    adapted = {
        f"{name}.{tensor}": getattr(module, tensor).detach()
        for name, module in model.named_modules()
        if parametrize.is_parametrized(module)
        for tensor in cast("nn.ModuleDict", module.parametrizations)
    }
    if not adapted:
        return model
    rest = {name: value for name, value in model.state_dict().items() if ".parametrizations." not in name}
    # Not a copy with its adapters removed: copies share their class with the original, which would lose
    # its weights with them.
    with torch.random.fork_rng(devices=[]):
        plain = build_model(model.config)
    plain.load_state_dict({**rest, **adapted})
    return plain.to(model.device).train(model.training)


def trainable(model: nn.Module) -> dict[str, int]:
    """Return {"trainable": numbers, "parameters": numbers} of ``model``."""
    counts = [(parameter.numel(), parameter.requires_grad) for parameter in model.parameters()]
    return {
        "trainable": sum(count for count, learns in counts if learns),
        "parameters": sum(count for count, _ in counts),
    }


@dataclass(frozen=True)
class _Named:
    """A trainable parameter, the factor on its learning rate, and whether its weight decays."""

    name: str
    parameter: nn.Parameter
    factor: float
    decays: bool


def parameter_groups(
    model: nn.Module, objective: nn.Module | None, config: OptimConfig
) -> list[dict[str, object]]:
    """Return optimizer groups: one per weight decay and learning rate, in a stable order.

    Vectors and scalars (norms, biases, scale) get no weight decay, nor does what the model names in an
    attribute ``no_weight_decay``, unless ``decay`` is ``all``. With ``layer_decay`` d, block k of a tower
    with L blocks (all its stacks, see :func:`tower_layers`) learns at ``d ** (L - k)`` (counted from 0),
    embeddings at ``d ** (L + 1)`` and everything after the blocks at 1; ``lr_groups`` multiplies that.

    Raises:
        ConfigError: nothing is trainable, or a pattern of ``lr_groups`` fits no parameter.

    Reference: Clark et al. 2020, ELECTRA, appendix A (layer-wise decay); block numbers as in BEiT.
    """
    found = list(_named(model, objective, config))
    if not found:
        raise ConfigError("Nothing is trainable: every parameter is frozen. Change freeze or peft.")
    for pattern in config.lr_groups:
        if not any(matches(one.name, (pattern,)) for one in found):
            near = nearest(pattern, [one.name for one in found])
            raise ConfigError(f"optim.lr_groups: {pattern!r} fits no trainable parameter.{near}")
    groups: dict[tuple[bool, float], list[nn.Parameter]] = {}
    # Matrices first, as in a run without factors: the order of groups is part of a saved state.
    for decayed in (True, False):
        for factor in sorted({one.factor for one in found}, reverse=True):
            members = [one.parameter for one in found if one.factor == factor and one.decays == decayed]
            if members or factor == 1.0:
                groups[decayed, factor] = members
    return [
        {
            "params": members,
            "lr": config.lr * factor,
            "weight_decay": config.weight_decay if decayed else 0.0,
        }
        for (decayed, factor), members in groups.items()
    ]


def _named(model: nn.Module, objective: nn.Module | None, config: OptimConfig) -> Iterator[_Named]:
    parts = [("", model)] + ([("objective.", objective)] if objective is not None else [])
    for prefix, part in parts:
        layers = tower_layers(part)
        spared = getattr(part, "no_weight_decay", frozenset())
        for name, parameter in part.named_parameters():
            if not parameter.requires_grad:
                continue
            plain = prefix + _plain(name)
            factor = 1.0
            if config.layer_decay is not None:
                factor = config.layer_decay ** layers_above(plain, layers)
            factor *= next(
                (by for pattern, by in config.lr_groups.items() if matches(plain, (pattern,))), 1.0
            )
            decays = config.decay == "all" or (parameter.ndim >= 2 and name not in spared)
            yield _Named(plain, parameter, factor, decays)


def _plain(name: str) -> str:
    """Return the name a parametrized weight has without its adapter."""
    return re.sub(r"parametrizations\.(\w+)\.(original|0\.\w+)$", r"\1", name)


Layers = Mapping[str, Sequence[tuple[str, ...]]]
"""{tower: its layers, embeddings first}; a layer is the names of its parameters, or what they begin with."""


def tower_layers(model: nn.Module) -> Layers:
    """Return the layers of a model's towers, from its attribute ``layer_order`` or the parameter names.

    ``layer_order`` is such a mapping and is asked for towers whose data takes a way that the names do not
    tell. In the others a layer is a numbered block, or a stage of a residual network; stacks of blocks
    follow each other as they are registered, each with numbers of its own.
    """
    told: Layers = getattr(model, "layer_order", {})
    blocks: dict[str, dict[str, dict[int, str]]] = {}
    embeddings: dict[str, list[str]] = {}
    for name in (_plain(name) for name, _ in model.named_parameters()):
        tower, found = _tower(name), _BLOCK.search(name)
        if tower is None or tower in told:
            continue
        if found is not None:
            stack, number = name[: found.start(1)], int(found[1])
            blocks.setdefault(tower, {}).setdefault(stack, {})[number] = name[: found.end(1)]
        elif _EMBEDDING.search(name):
            embeddings.setdefault(tower, []).append(name)
    read = {
        tower: [
            tuple(embeddings.get(tower, ())),
            *((numbered[number],) for numbered in stacks.values() for number in sorted(numbered)),
        ]
        for tower, stacks in blocks.items()
    }
    return {**read, **told}


def _tower(name: str) -> str | None:
    parts = name.split(".")
    return parts[1] if parts[0] == "towers" and len(parts) > 2 else None


def layers_above(name: str, layers: Layers) -> int:
    """Return how many layers of its tower come after the parameter ``name``; 0 for heads and scales.

    Args:
        layers: from :func:`tower_layers`.
    """
    own = layers.get(_tower(name) or "", ())
    for number, prefixes in enumerate(own):
        if any(name == prefix or name.startswith(f"{prefix}.") for prefix in prefixes):
            return len(own) - number
    return 0
