"""The contrastive model: towers by modality, one joint space, one scale and bias."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .config import LN_100, ModelConfig, TowerConfig
from .errors import ConfigError, InputError, nearest
from .registry import room
from .towers import Tower, build_tower
from .types import Batch, Outputs, TokenOutput

if TYPE_CHECKING:
    from .processing import Processor
    from .types import TowerOutput


def build_projection(config: TowerConfig, width: int, embed_dim: int) -> nn.Module:
    """Return the module from tower width to the joint dimension that ``config`` describes."""
    if config.projection == "none":
        if width != embed_dim:
            raise ConfigError(
                f"The {config.backend} tower ends in {width} values but embed_dim is {embed_dim}. "
                "Set projection to 'linear' or 'mlp', or make the two equal."
            )
        return nn.Identity()
    if config.projection == "linear":
        return nn.Linear(width, embed_dim, bias=config.projection_bias)
    hidden = config.projection_hidden or (width + embed_dim) // 2
    return nn.Sequential(
        nn.Linear(width, hidden, bias=config.projection_bias),
        nn.GELU(),
        nn.Linear(hidden, embed_dim, bias=config.projection_bias),
    )


class ContrastiveModel(nn.Module):
    """Any number of towers into one joint space; two or five take the same path.

    Args:
        config: architecture, validated.

    Attributes:
        towers: {modality: Tower}. projections: {modality: module from W to D}.
        logit_scale: parameter in the log domain; :meth:`scale` is its ``exp``.
        logit_bias: parameter of sigmoid models, else None.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        towers: dict[str, Tower] = {name: build_tower(tower) for name, tower in config.towers.items()}
        self.towers = nn.ModuleDict(towers)
        self.projections = nn.ModuleDict(
            {
                name: build_projection(tower, towers[name].width, config.embed_dim)
                for name, tower in config.towers.items()
            }
        )
        self.logit_scale = nn.Parameter(torch.tensor(config.logit_scale))
        bias = config.logit_bias
        self.logit_bias = nn.Parameter(torch.tensor(bias)) if bias is not None else None
        self._frozen: set[str] = set()
        # Inference-only stand-ins for towers; kept out of the module tree so that they are never saved.
        self._fast: dict[str, Callable[..., TowerOutput]] = {}

    @property
    def modalities(self) -> tuple[str, ...]:
        """Names of the modalities this model takes, in config order."""
        return tuple(self.towers)

    @property
    def device(self) -> torch.device:
        """Device of the parameters."""
        return self.logit_scale.device

    @property
    def dtype(self) -> torch.dtype:
        """Floating type of the parameters."""
        return self.logit_scale.dtype

    def scale(self) -> Tensor:
        """Return ``exp(logit_scale)``, the inverse temperature, as a scalar tensor."""
        return self.logit_scale.exp()

    @torch.no_grad()
    def clamp_scale_(self) -> None:
        """Keep the log scale within [0, ln 100]; call after each optimizer step."""
        self.logit_scale.clamp_(0.0, LN_100)

    def freeze(self, modality: str) -> None:
        """Keep a tower and its projection as they are: no gradients, no dropout, no running statistics.

        Raises:
            ConfigError: the model has no such tower.
        """
        if modality not in self.towers:
            raise ConfigError(f"freeze: the model has no {modality!r}; it has {', '.join(self.modalities)}.")
        self._frozen.add(modality)
        self.towers[modality].requires_grad_(False)
        self.projections[modality].requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> ContrastiveModel:
        """Set training mode, except for frozen towers: batch norm would go on learning in them."""
        super().train(mode)
        for modality in self._frozen:
            self.towers[modality].eval()
            self.projections[modality].eval()
        return self

    def use_fast_towers(self, towers: Mapping[str, Callable[..., TowerOutput]]) -> None:
        """Answer inference calls with these stand-ins; training and saving keep the real towers."""
        self._fast = dict(towers)

    def _run(self, modality: str, inputs: Mapping[str, Tensor], *, tokens: bool) -> TowerOutput:
        if modality not in self.towers:
            raise InputError(
                f"This model has no {modality!r} tower; it takes: {', '.join(self.modalities)}."
                f"{nearest(modality, self.modalities)}"
            )
        fast = self._fast.get(modality) if torch.is_inference_mode_enabled() and not self.training else None
        return (fast or self.towers[modality])(inputs, tokens=tokens)

    def embed(
        self, modality: str, inputs: Mapping[str, Tensor], *, tokens: bool = False
    ) -> tuple[Tensor, TokenOutput | None]:
        """Return raw embeddings float32 [B, D] and, when ``tokens``, the states they came from.

        What a domain's architecture overrides when pooled state times projection is not its rule.
        """
        output = self._run(modality, inputs, tokens=tokens)
        # The norm is taken in float32: bfloat16 embeddings would be off by up to 0.4 %.
        return self.projections[modality](output.pooled).float(), output.tokens

    def sees_whole(self, modality: str, seconds: float) -> bool:
        """Return whether a sample of this length is seen at once though it is longer than a window.

        What an architecture overrides, with :meth:`inputs_of_whole`, that can look at more than a window.
        """
        return False

    def inputs_of_whole(self, modality: str, value: Tensor, processor: Processor) -> dict[str, Tensor]:
        """Return one row of inputs of a sample for which :meth:`sees_whole` holds.

        Args:
            modality: of the sample.
            value: as its loader gives it: a recording float32 [T] at the model's rate.
            processor: of the model.

        Raises:
            InputError: the architecture sees windows only.
        """
        raise InputError(f"{self.config.name} sees {modality!r} window by window.")

    def encode(self, modality: str, inputs: Mapping[str, Tensor], *, normalize: bool = True) -> Tensor:
        """Return embeddings float32 [B, D], unit length unless ``normalize=False``.

        Args:
            modality: one of :attr:`modalities`.
            inputs: {argument: tensor [B, ...]} as the processor makes them.

        Raises:
            InputError: the model has no such tower.
        """
        embedding, _ = self.embed(modality, inputs)
        return F.normalize(embedding, dim=-1) if normalize else embedding

    def encode_tokens(
        self, modality: str, inputs: Mapping[str, Tensor], *, project: bool = False
    ) -> TokenOutput:
        """Return the per-token states [B, N, W] of a tower, or [B, N, D] when ``project``.

        Args:
            modality: one of :attr:`modalities`.
            inputs: as in :meth:`encode`.
            project: send each token through what the pooled state goes through, without normalizing.

        Raises:
            InputError: the tower keeps no tokens, or they cannot be projected.
        """
        output = self._run(modality, inputs, tokens=True).tokens
        if output is None:
            raise InputError(f"The {modality!r} tower of {self.config.name!r} gives no tokens.")
        if not project:
            return output
        states = cast("Tower", self.towers[modality]).project(output.tokens)
        projection = self.projections[modality]
        if isinstance(projection, nn.Identity) and states.shape[-1] != self.config.embed_dim:
            raise InputError(
                f"The {modality!r} tower of {self.config.name!r} ends in a projection of its own that tokens "
                "cannot take. Use project=False."
            )
        return TokenOutput(projection(states), output.grid, output.mask)

    def forward(self, batch: Batch, *, tokens: tuple[str, ...] = (), extras: tuple[str, ...] = ()) -> Outputs:
        """Return embeddings of every modality in ``batch`` and the tokens that were asked for.

        Args:
            batch: tower inputs by modality.
            tokens: modalities whose token states are kept.
            extras: names that a domain's architecture adds to ``Outputs.extras``; this one has none.
        """
        embeddings: dict[str, Tensor] = {}
        kept: dict[str, TokenOutput] = {}
        for modality, inputs in batch.inputs.items():
            embedding, states = self.embed(modality, inputs, tokens=modality in tokens)
            embeddings[modality] = F.normalize(embedding, dim=-1)
            if modality in tokens and states is not None:
                kept[modality] = states
        return Outputs(embeddings, self.scale(), self.logit_bias, kept)

    def similarity(self, left: Tensor, right: Tensor) -> Tensor:
        """Return cosines [B1, B2] of two sets of unit embeddings."""
        return left @ right.T

    def logits(self, left: Tensor, right: Tensor) -> Tensor:
        """Return ``scale * cosine (+ bias)`` [B1, B2] of two sets of unit embeddings."""
        logits = self.scale() * self.similarity(left, right)
        return logits if self.logit_bias is None else logits + self.logit_bias


def build_model(config: ModelConfig) -> ContrastiveModel:
    """Return the model that ``config`` describes, with random weights.

    ``architecture`` is ``contrastive`` or a word that the domain declares: a function from a
    :class:`ModelConfig` to a :class:`ContrastiveModel` with modules of its own.

    Raises:
        ConfigError: unknown domain or architecture, or towers that cannot be built.
    """
    home = room(config.domain) if config.domain else None
    if config.architecture == "contrastive":
        return ContrastiveModel(config)
    if home is None:
        raise ConfigError(
            f"config.json: architecture {config.architecture!r} belongs to a domain and 'domain' is not set."
            f"{nearest(config.architecture, ['contrastive'])}"
        )
    return home.function("architectures", config.architecture)(config)
