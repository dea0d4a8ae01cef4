"""The MiniFASNet family: four small convolutional networks, and the one with a Fourier branch for training.

Stem, then three stages of inverted residual units at 1/4, 1/8 and 1/16 of the picture, then a depthwise
convolution as large as the last map. What differs is how wide the units are inside (``V1``, ``V2``: what
pruning left of one network) and whether the last unit of each stage weighs its channels (``SE``).

Reference: minivision-ai/Silent-Face-Anti-Spoofing (Apache-2.0), ``src/model_lib``: layers, widths and the
names of the tensors, which are kept so that released files load.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from pydantic import Field
from torch import Tensor, nn

from ....core.config import Config
from ....core.errors import InputError

Architecture = Literal["MiniFASNetV1", "MiniFASNetV2", "MiniFASNetV1SE", "MiniFASNetV2SE"]
ARCHITECTURES: tuple[Architecture, ...] = get_args(Architecture)

MAP_CHANNELS = 128
"""Channels of the map that the Fourier branch reads."""
_STEM, _LAST = 32, 512
_REDUCTION = 4


@dataclass(frozen=True)
class Widths:
    """Channels inside the units; between units a stage has 64, 128 and 128 channels.

    Attributes:
        down: of the unit with stride 2 that opens each stage.
        stages: of the residual units of each stage.
    """

    down: tuple[int, int, int]
    stages: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]


_OUTER = (64, 128, 128)
_V1 = Widths((103, 231, 308), ((13, 26, 13, 52), (154, 52, 26, 52, 26, 26), (26, 26)))
_V2 = Widths((103, 231, 308), ((13, 13, 13, 13), (231, 52, 26, 77, 26, 26), (26, 26)))


class NetworkConfig(Config):
    """One network of the family."""

    architecture: Architecture
    height: int = Field(default=80, ge=16, le=1024)
    """Pixels of the crop it reads; with the width it sets the kernel of the last convolution."""
    width: int = Field(default=80, ge=16, le=1024)
    embedding: int = Field(default=128, ge=1)
    """Values before the last layer; at 512 there is no layer in between."""
    classes: int = Field(default=3, ge=2)
    dropout: float | None = Field(default=None, ge=0.0, lt=1.0)
    """Before the last layer in training; None is the authors' 0.2, or 0.75 with channel weights."""
    fourier: bool = False
    """Whether a second branch learns the spectrum of the picture; it takes part in training alone."""

    @property
    def kernel(self) -> tuple[int, int]:
        """Rows and columns of the last map, which one depthwise convolution covers."""
        return (self.height + 15) // 16, (self.width + 15) // 16

    @property
    def fourier_size(self) -> tuple[int, int]:
        """Rows and columns of the map at 1/8 of the picture, and so of the spectrum that is learned.

        Twice :attr:`kernel` for the sizes that were released.
        """
        return -(-self.height // 8), -(-self.width // 8)


class ConvUnit(nn.Module):
    """Convolution without bias, batch norm, and a PReLU unless ``linear``."""

    def __init__(
        self,
        inside: int,
        outside: int,
        *,
        kernel: int | tuple[int, int] = 1,
        stride: int = 1,
        padding: int = 0,
        depthwise: bool = False,
        linear: bool = False,
    ) -> None:
        super().__init__()
        groups = outside if depthwise else 1
        self.conv = nn.Conv2d(inside, outside, kernel, stride, padding, groups=groups, bias=False)
        self.bn: nn.Module = nn.BatchNorm2d(outside)
        self.prelu = None if linear else nn.PReLU(outside)

    def forward(self, states: Tensor) -> Tensor:
        """Return the states [B, outside, H, W]."""
        states = self.bn(self.conv(states))
        return states if self.prelu is None else self.prelu(states)


class ChannelWeights(nn.Module):
    """Squeeze and excitation: each channel times a number in (0, 1) that all channels decide on."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = channels // _REDUCTION
        self.fc1 = nn.Conv2d(channels, hidden, 1, bias=False)
        self.bn1: nn.Module = nn.BatchNorm2d(hidden)
        self.fc2 = nn.Conv2d(hidden, channels, 1, bias=False)
        self.bn2: nn.Module = nn.BatchNorm2d(channels)

    def forward(self, states: Tensor) -> Tensor:
        """Return the weighed states [B, C, H, W]."""
        pooled = states.mean(dim=(2, 3), keepdim=True)
        return states * self.bn2(self.fc2(torch.relu(self.bn1(self.fc1(pooled))))).sigmoid()


class Bottleneck(nn.Module):
    """Widen by a 1 x 1 convolution, filter each channel, and come back; residual where the size is kept."""

    def __init__(
        self, inside: int, wide: int, outside: int, *, down: bool = False, weigh: bool = False
    ) -> None:
        super().__init__()
        self.conv = ConvUnit(inside, wide)
        self.conv_dw = ConvUnit(wide, wide, kernel=3, stride=2 if down else 1, padding=1, depthwise=True)
        self.project = ConvUnit(wide, outside, linear=True)
        self.residual = not down
        self.se_module = ChannelWeights(outside) if weigh else None

    def forward(self, states: Tensor) -> Tensor:
        """Return the states [B, outside, H, W], or half the size for a unit that goes down."""
        result = self.project(self.conv_dw(self.conv(states)))
        if self.se_module is not None:
            result = self.se_module(result)
        return states + result if self.residual else result


class Stage(nn.Module):
    """Residual units one after the other."""

    def __init__(self, channels: int, widths: tuple[int, ...], *, weigh_last: bool) -> None:
        super().__init__()
        last = len(widths) - 1
        self.model = nn.Sequential(
            *(
                Bottleneck(channels, wide, channels, weigh=weigh_last and place == last)
                for place, wide in enumerate(widths)
            )
        )

    def forward(self, states: Tensor) -> Tensor:
        """Return the states, shaped as they came."""
        return self.model(states)


class MiniFASNet(nn.Module):
    """One network: pictures float32 [B, 3, H, W], BGR with values 0 to 255, to logits [B, K].

    Initial values are those of the authors' training (see :func:`initialize`).
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        weigh = config.architecture.endswith("SE")
        widths = _V1 if "V1" in config.architecture else _V2
        (first, second, third), (down_2, down_3, down_4) = _OUTER, widths.down
        self.conv1 = ConvUnit(3, _STEM, kernel=3, stride=2, padding=1)
        self.conv2_dw = ConvUnit(_STEM, _STEM, kernel=3, padding=1, depthwise=True)
        self.conv_23 = Bottleneck(_STEM, down_2, first, down=True)
        self.conv_3 = Stage(first, widths.stages[0], weigh_last=weigh)
        self.conv_34 = Bottleneck(first, down_3, second, down=True)
        self.conv_4 = Stage(second, widths.stages[1], weigh_last=weigh)
        self.conv_45 = Bottleneck(second, down_4, third, down=True)
        self.conv_5 = Stage(third, widths.stages[2], weigh_last=weigh)
        self.conv_6_sep = ConvUnit(third, _LAST)
        self.conv_6_dw = ConvUnit(_LAST, _LAST, kernel=config.kernel, depthwise=True, linear=True)
        self.linear = nn.Linear(_LAST, config.embedding, bias=False)
        self.bn = nn.BatchNorm1d(config.embedding)
        dropout = config.dropout if config.dropout is not None else 0.75 if weigh else 0.2
        self.drop = nn.Dropout(dropout)
        self.prob = nn.Linear(config.embedding, config.classes, bias=False)
        initialize(self)

    def features(self, pictures: Tensor) -> Tensor:
        """Return the map [B, 128, H/8, W/8] that both branches read.

        Raises:
            InputError: pictures of another size.
        """
        expected = (3, self.config.height, self.config.width)
        if pictures.ndim != 4 or tuple(pictures.shape[1:]) != expected:
            raise InputError(
                f"{self.config.architecture} reads pictures [B, {', '.join(map(str, expected))}], "
                f"got {list(pictures.shape)}. Crop and resize them as the model's config says."
            )
        states = self.conv_23(self.conv2_dw(self.conv1(pictures)))
        return self.conv_4(self.conv_34(self.conv_3(states)))

    def answer(self, features: Tensor) -> Tensor:
        """Return the logits [B, K] of what :meth:`features` gave."""
        states = self.conv_6_dw(self.conv_6_sep(self.conv_5(self.conv_45(features)))).flatten(1)
        if self.config.embedding != _LAST:
            states = self.linear(states)
        return self.prob(self.drop(self.bn(states)))

    def forward(self, pictures: Tensor) -> Tensor:
        """Return logits float32 [B, K]; K = 3, of which 1 is live."""
        return self.answer(self.features(pictures))


class FourierBranch(nn.Module):
    """From the map at 1/8 of the picture to what its spectrum looks like at that size, [B, 1, h, w]."""

    def __init__(self, channels: int = MAP_CHANNELS) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inside, outside in ((channels, 128), (128, 64), (64, 1)):
            layers += [nn.Conv2d(inside, outside, 3, padding=1), nn.BatchNorm2d(outside), nn.ReLU()]
        self.ft = nn.Sequential(*layers)

    def forward(self, features: Tensor) -> Tensor:
        """Return the predicted spectrum [B, 1, h, w], at least 0."""
        return self.ft(features)


class MultiFTNet(nn.Module):
    """A network that also learns the spectrum of its pictures, where print and screens leave traces.

    The second branch is for training; answers come from ``model`` alone, which is what to keep.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.model = MiniFASNet(config)
        self.FTGenerator = FourierBranch()
        initialize(self)

    def both(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits [B, K] and the predicted spectrum [B, 1, h, w] (``config.fourier_size``)."""
        features = self.model.features(pictures)
        return self.model.answer(features), self.FTGenerator(features)

    def forward(self, pictures: Tensor) -> Tensor:
        """Return logits [B, K]."""
        return self.model(pictures)


def build_network(config: NetworkConfig) -> MiniFASNet | MultiFTNet:
    """Return the network that ``config`` describes, with random weights."""
    return MultiFTNet(config) if config.fourier else MiniFASNet(config)


@torch.no_grad()
def initialize(network: nn.Module) -> None:
    """Draw the values that training starts from: He's for convolutions, small ones for linear layers."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.001)
