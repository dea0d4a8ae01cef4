"""The separator: one pass of a U-Net over a mixture, then a mask for each query.

Reference: Dong et al. 2023, CLIPSep, sections 3.1 (late fusion) and 3.2 (noise heads); the parameter names
are those of sony/CLIPSep.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from ....core.blocks import values_known
from ....core.config import Config
from ....core.errors import ConfigError, InputError
from .spectra import Spectra
from .unet import MIN_LAYERS, ConditionedUNet, UNet, initialize

Kind = Literal["late", "nit", "middle", "pit", "label", "bert"]
NOISE_HEADS = 2


class SeparatorConfig(Config):
    """``ModelConfig.options`` of the architecture ``clipsep``; the defaults are the published model's."""

    kind: Kind = "late"
    """``late``: the query weighs the U-Net's feature maps. ``nit``: that with two noise heads. ``middle``:
    the query enters the U-Net at its bottom, one pass a query. ``label``: queries are rows of a table.
    ``bert``: ``late`` with sentence vectors as queries. ``pit``: no query, two masks in either order."""
    layers: int = Field(default=7, ge=MIN_LAYERS, le=12)
    channels: int = Field(default=32, ge=1, le=1024)
    """Feature maps of the U-Net, one gate of the query for each."""
    ngf: int = Field(default=64, ge=1, le=256)
    """Channels after the U-Net's first halving."""
    query_dim: int = Field(default=512, ge=1)
    """Values of a query; of a row of the table for ``label``."""
    n_labels: int | None = Field(default=None, ge=1)
    labels: tuple[str, ...] = ()
    """Names of the rows of the table, in order; may be left out."""
    normalize_queries: bool = False
    """Whether queries of the model's own towers are unit vectors; the published model takes them raw."""
    sampling_rate: int = Field(default=16_000, ge=1000, le=384_000)
    """Hz."""
    frames: int = Field(default=256, ge=1)
    """Frames of the window it was trained on."""
    spectra: Spectra = Spectra()

    @model_validator(mode="after")
    def _fits(self) -> SeparatorConfig:
        step = 2**self.layers
        if self.spectra.height % step or self.frames % step:
            raise ValueError(
                f"{self.layers} layers need rows and frames that are multiples of {step}, got "
                f"{self.spectra.height} rows and {self.frames} frames"
            )
        if (self.kind == "label") != (self.n_labels is not None):
            raise ValueError(f"n_labels {self.n_labels} with kind {self.kind!r}: it goes with 'label' alone")
        if self.labels and len(self.labels) != self.n_labels:
            raise ValueError(f"{len(self.labels)} labels for n_labels {self.n_labels}")
        return self

    @property
    def noise_heads(self) -> int:
        """Masks that no query asks for: 2 for ``nit``."""
        return NOISE_HEADS if self.kind == "nit" else 0

    @property
    def frames_multiple(self) -> int:
        """What the number of frames has to be a multiple of."""
        return 2**self.layers

    @property
    def window_samples(self) -> int:
        """Samples of the window it was trained on: 65,535 for 256 frames, one fewer than whole hops."""
        return self.frames * self.spectra.hop_length - 1


class InnerProduct(nn.Module):
    """Logits as weighted sums of feature maps: ``sum_c gate_c scale_c S_c + bias``."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, gates: Tensor, features: Tensor) -> Tensor:
        """Return logits float32 [B, Q, H, T] of gates [B, Q, C] and feature maps [B, C, H, T]."""
        # Maps lie channel by channel: from the other side they would be copied, and again backward.
        places = features.permute(0, 2, 3, 1).flatten(1, 2)
        flat = torch.bmm(places, (gates * self.scale).transpose(1, 2)).transpose(1, 2)
        return flat.unflatten(2, features.shape[2:]) + self.bias


class Separator(nn.Module):
    """U-Net, query network and the inner product that makes masks of the two.

    Any number of queries is answered from one pass of the U-Net (:meth:`features`), except for the kind
    ``middle``. Logits are before the sigmoid.

    Args:
        config: sizes and kind.
    """

    def __init__(self, config: SeparatorConfig) -> None:
        super().__init__()
        self.config = config
        channels, kind = config.channels, config.kind
        self.sound_net: nn.Module
        if kind == "middle":
            self.sound_net = ConditionedUNet(channels, config.layers, config.ngf)
        else:
            self.sound_net = UNet(channels, config.layers, config.ngf)
        self.label_net = nn.Embedding(config.n_labels, config.query_dim) if config.n_labels else None
        self.frame_net = nn.Linear(config.query_dim, channels) if kind != "pit" else None
        heads = [nn.Linear(channels, channels) for _ in range(config.noise_heads)]
        self.pit_nets = nn.ModuleList(heads) if heads else None
        # Middle fusion never uses it; published checkpoints hold it.
        self.synth_net = nn.Conv2d(channels, 2, 1) if kind == "pit" else InnerProduct(channels)
        initialize(self)
        lay_out(self)
        # Loading puts the stored tensors in, which lie the other way.
        self.register_load_state_dict_post_hook(lay_out)

    def features(self, log_magnitude: Tensor) -> Tensor:
        """Return feature maps float32 [B, C, H, T]: the one pass of the U-Net that all queries share.

        Args:
            log_magnitude: float32 [B, 1, H, T] as :meth:`Spectra.log_magnitude` gives it; T a multiple of
                ``config.frames_multiple``.

        Raises:
            InputError: H or T does not fit.
            ConfigError: the kind ``middle`` has no maps that queries could share.
        """
        if isinstance(self.sound_net, ConditionedUNet):
            raise ConfigError(
                "Middle fusion runs the U-Net once for each query, so there are no features that queries "
                "share. Call the separator with mixture and queries together."
            )
        return self.sound_net(log_magnitude).float()

    def gates(self, queries: Tensor) -> Tensor:
        """Return how much of each feature map each query takes, float32 [B, Q, C] in (0, 1).

        Args:
            queries: float [B, Q, query_dim], or int64 [B, Q] rows of the table for the kind ``label``.

        Raises:
            InputError: another shape or type.
        """
        with _exact(queries):
            return torch.stack([one.sigmoid() for one in self._before_gates(queries)], dim=1)

    def _before_gates(self, queries: Tensor) -> list[Tensor]:
        """Return what the sigmoid makes gates of, one float32 [B, C] for each query.

        One query at a time, as the products with the feature maps: it takes no longer, and rounds as the
        published training does. Near a saturated mask the last bit of a logit decides about gradients.
        """
        if self.frame_net is None:
            raise _without_queries()
        if self.label_net is not None and not queries.is_floating_point():
            if queries.ndim != 2:
                raise InputError(f"Label queries must be int64 [B, Q], got {list(queries.shape)}.")
            self._check_labels(queries)
            queries = self.label_net(queries)
        width = self.config.query_dim
        shaped = queries.ndim == 3 and queries.shape[1] > 0 and queries.shape[-1] == width
        if not shaped or not queries.is_floating_point():
            dtype = str(queries.dtype).removeprefix("torch.")
            raise InputError(
                f"Queries must be floats [B, Q, {width}] with Q of at least 1, got {dtype} "
                f"{list(queries.shape)}."
            )
        return [self.frame_net(one) for one in queries.float().unbind(dim=1)]

    def _check_labels(self, labels: Tensor) -> None:
        rows = self.config.n_labels or 0
        if values_known() and labels.numel() and (int(labels.min()) < 0 or int(labels.max()) >= rows):
            raise InputError(
                f"Label queries must be in 0..{rows - 1}, got {int(labels.min())}..{int(labels.max())}."
            )

    def query_logits(self, features: Tensor, queries: Tensor | None) -> Tensor:
        """Return one map of logits for each query, float32 [B, Q, H, T].

        Args:
            features: float32 [B, C, H, T] from :meth:`features`.
            queries: as for :meth:`gates`; None for the kind ``pit``, which gives two maps.

        Raises:
            InputError: queries of another shape, or for a kind that takes none.
        """
        with _exact(features):
            if isinstance(self.synth_net, nn.Conv2d):
                if queries is not None:
                    raise _without_queries()
                return self.synth_net(features)
            gates = [one.sigmoid() for one in self._before_gates(_required(queries))]
            return self._weighed(gates, features)

    def noise_logits(self, features: Tensor, queries: Tensor) -> Tensor:
        """Return the logits of the two noise heads, float32 [B, 2, H, T]; they see the mean of the queries.

        Args:
            features, queries: as for :meth:`query_logits`.

        Raises:
            ConfigError: the separator has no noise heads.
        """
        if self.pit_nets is None:
            raise ConfigError(f"A separator of kind {self.config.kind!r} has no noise heads; 'nit' has.")
        with _exact(features):
            each = self._before_gates(queries)
            mean = sum(each[1:], start=each[0]) / len(each)
            return self._weighed([head(mean).sigmoid() for head in self.pit_nets], features)

    def shared_logits(self, log_magnitude: Tensor, queries: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return what :meth:`forward` does, for the same queries in every row, without making feature maps.

        For inference: up to rounding the same numbers, and a few queries cost less than the feature maps.

        Args:
            log_magnitude: as for :meth:`features`.
            queries: float [Q, D], or int64 [Q] for the kind ``label``.
        """
        if not isinstance(self.sound_net, UNet) or not isinstance(self.synth_net, InnerProduct):
            return self(log_magnitude, queries.expand(len(log_magnitude), *queries.shape))
        with _exact(log_magnitude):
            each = self._before_gates(queries[None])
            if self.pit_nets is not None:
                mean = sum(each[1:], start=each[0]) / len(each)
                each = [*each, *(head(mean) for head in self.pit_nets)]
            weights = torch.cat(each).sigmoid() * self.synth_net.scale
        logits = self.sound_net.weighed(log_magnitude, weights).float() + self.synth_net.bias
        asked = len(queries)
        return logits[:, :asked], logits[:, asked:] if self.pit_nets is not None else None

    def _weighed(self, gates: list[Tensor], features: Tensor) -> Tensor:
        return self.synth_net(torch.stack(gates, dim=1), features)

    def forward(self, log_magnitude: Tensor, queries: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Return query logits [B, Q, H, T] and noise logits [B, 2, H, T], or None without noise heads.

        Arguments and errors as for :meth:`features` and :meth:`query_logits`.
        """
        if isinstance(self.sound_net, ConditionedUNet):
            with _exact(log_magnitude):
                gates = [one.sigmoid() for one in self._before_gates(_required(queries))]
            maps = [self.sound_net(log_magnitude, gate) for gate in gates]
            return torch.cat(maps, dim=1).float(), None
        features = self.features(log_magnitude)
        noise = self.noise_logits(features, _required(queries)) if self.pit_nets is not None else None
        return self.query_logits(features, queries), noise


def _exact(near: Tensor) -> torch.autocast:
    """Return a context without bfloat16: behind the U-Net it would save little, and show in masks."""
    return torch.autocast(near.device.type, enabled=False)


def lay_out(separator: Separator, *_: object) -> None:
    """Lay the weights of convolutions out channel by channel: on a CPU that is 1.6 times faster."""
    separator.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]


def _required(queries: Tensor | None) -> Tensor:
    if queries is None:
        raise InputError("The separator needs queries [B, Q, D]; got none.")
    return queries


def _without_queries() -> InputError:
    return InputError("A separator of kind 'pit' takes no queries: it gives two masks in either order.")
