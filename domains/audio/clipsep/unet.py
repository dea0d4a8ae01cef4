"""The U-Nets of CLIPSep: log magnitude in, feature maps (or one map of logits) out.

Parameter names are those of the published checkpoints.

Reference: Dong et al. 2023, CLIPSep, section 3; Zhao et al. 2018, The Sound of Pixels, section 3.1.
"""

from __future__ import annotations

import itertools
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ....core.errors import InputError

MIN_LAYERS = 5


def initialize(module: nn.Module) -> None:
    """Draw the initial weights of a part: tiny normal ones; biases of convolutions and linears stay.

    Convolutions N(0, 0.001), batch norms N(1, 0.02) with bias 0, linears N(0, 0.0001): standard deviations.
    """
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.normal_(part.weight, 0.0, 0.001)
        elif isinstance(part, nn.BatchNorm2d):
            nn.init.normal_(part.weight, 1.0, 0.02)
            nn.init.zeros_(part.bias)
        elif isinstance(part, nn.Linear):
            nn.init.normal_(part.weight, 0.0, 0.0001)


def encoder_widths(layers: int, ngf: int) -> list[int]:
    """Return the channels after each halving: ngf, 2 ngf, 4 ngf, then 8 ngf."""
    return [ngf * min(2**level, 8) for level in range(layers)]


def _down(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel_size=4, stride=2, padding=1, bias=False)


def _up(inputs: int, outputs: int, *, bias: bool = False) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel_size=3, padding=1, bias=bias)


def _doubled() -> nn.Upsample:
    return nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)


def _check_shape(values: Tensor, layers: int) -> None:
    step = 2**layers
    if values.ndim != 4 or values.shape[1] != 1 or values.shape[2] % step or values.shape[3] % step:
        raise InputError(
            f"The U-Net of {layers} levels takes [B, 1, H, T] with H and T multiples of {step}, got "
            f"{list(values.shape)}. Pad the frames, or use ClipSep.masks, which does."
        )


class UNet(nn.Module):
    """Feature maps [B, C, H, T] of log magnitudes [B, 1, H, T].

    Args:
        channels: C.
        layers: times that both axes halve, at least 5; H and T are multiples of ``2 ** layers``.
        ngf: channels after the first halving; 64 in published models.
    """

    def __init__(self, channels: int, layers: int, ngf: int) -> None:
        super().__init__()
        self.layers = layers
        widths = encoder_widths(layers, ngf)
        block: nn.Module | None = None
        for outer, inner in reversed(list(itertools.pairwise(widths))):
            block = _Level(outer, inner, block)
        self.bn0 = nn.BatchNorm2d(1)
        self.unet_block = _Outermost(channels, widths[0], cast("nn.Module", block))

    def forward(self, log_magnitude: Tensor) -> Tensor:
        """Return feature maps float [B, C, H, T].

        Raises:
            InputError: H or T does not halve often enough.
        """
        _check_shape(log_magnitude, self.layers)
        return self.unet_block(self.bn0(log_magnitude))

    def weighed(self, log_magnitude: Tensor, weights: Tensor) -> Tensor:
        """Return sums of feature maps float [B, Q, H, T], weighed by float [Q, C], without making the maps.

        The last layer is linear, so its filters are summed instead of what they give.
        """
        _check_shape(log_magnitude, self.layers)
        block = cast("_Outermost", self.unet_block).model
        last = cast("nn.Conv2d", block[-1])
        filters = torch.einsum("qc,cikl->qikl", weights, last.weight)
        filters = filters.contiguous(memory_format=torch.channels_last)
        bias = None if last.bias is None else weights @ last.bias
        return F.conv2d(block[:-1](self.bn0(log_magnitude)), filters, bias, padding=last.padding)


class _Outermost(nn.Module):
    """First halving and last doubling: no norm, no shortcut."""

    def __init__(self, outputs: int, width: int, inner: nn.Module) -> None:
        super().__init__()
        self.model = nn.Sequential(
            _down(1, width), inner, nn.ReLU(True), _doubled(), _up(2 * width, outputs, bias=True)
        )

    def forward(self, values: Tensor) -> Tensor:
        return self.model(values)


class _Level(nn.Module):
    """Halve, go through ``inner``, double, and set the result beside the input; no ``inner`` at the bottom.

    The activation in front changes the input in place, which saves its copy. What is set beside the
    result has gone through it too; the ReLU that follows in the level above gives the same either way.
    """

    def __init__(self, outer: int, width: int, inner: nn.Module | None) -> None:
        super().__init__()
        below = [] if inner is None else [nn.BatchNorm2d(width), inner]
        self.model = nn.Sequential(
            nn.LeakyReLU(0.2, True),
            _down(outer, width),
            *below,
            nn.ReLU(True),
            _doubled(),
            _up(width if inner is None else 2 * width, outer),
            nn.BatchNorm2d(outer),
        )

    def forward(self, values: Tensor) -> Tensor:
        return torch.cat([values, self.model(values)], dim=1)


class ConditionedUNet(nn.Module):
    """One map of logits [B, 1, H, T] for log magnitudes and a condition, which enters at the bottom.

    Args:
        condition: values of the condition.
        layers, ngf: as for :class:`UNet`.
    """

    def __init__(self, condition: int, layers: int, ngf: int) -> None:
        super().__init__()
        self.layers = layers
        widths = encoder_widths(layers, ngf)
        block: _ConditionedLevel | None = None
        for outer, inner in reversed(list(itertools.pairwise(widths))):
            block = _ConditionedLevel(outer, inner, block, condition=condition)
        self.bn0 = nn.BatchNorm2d(1)
        self.unet_block = _ConditionedOutermost(widths[0], cast("_ConditionedLevel", block))

    def forward(self, log_magnitude: Tensor, condition: Tensor) -> Tensor:
        """Return logits float [B, 1, H, T]; ``condition`` is float [B, values].

        Raises:
            InputError: H or T does not halve often enough.
        """
        _check_shape(log_magnitude, self.layers)
        return self.unet_block(self.bn0(log_magnitude), condition)


class _ConditionedOutermost(nn.Module):
    def __init__(self, width: int, inner: _ConditionedLevel) -> None:
        super().__init__()
        self.submodule = inner
        self.downconv = _down(1, width)
        # Never used; published checkpoints hold it.
        self.downnorm = nn.BatchNorm2d(width)
        self.upsample = _doubled()
        self.upconv = _up(2 * width, 1, bias=True)

    def forward(self, values: Tensor, condition: Tensor) -> Tensor:
        inside = self.submodule(self.downconv(values), condition)
        return self.upconv(self.upsample(torch.relu_(inside)))


class _ConditionedLevel(nn.Module):
    """As :class:`_Level`; the bottom one sets the condition beside its maps, at every place."""

    def __init__(self, outer: int, width: int, inner: _ConditionedLevel | None, *, condition: int) -> None:
        super().__init__()
        self.submodule = inner
        self.downrelu = nn.LeakyReLU(0.2, True)
        self.downconv = _down(outer, width)
        # Used above the bottom only; published checkpoints hold it everywhere.
        self.downnorm = nn.BatchNorm2d(width)
        self.upsample = _doubled()
        self.upconv = _up(width + condition if inner is None else 2 * width, outer)
        self.upnorm = nn.BatchNorm2d(outer)

    def forward(self, values: Tensor, condition: Tensor) -> Tensor:
        inside = self.downconv(self.downrelu(values))
        if self.submodule is None:
            everywhere = condition[:, :, None, None].expand(-1, -1, *inside.shape[2:])
            inside = torch.cat([inside, everywhere.to(inside.dtype)], dim=1)
        else:
            inside = self.submodule(self.downnorm(inside), condition)
        return torch.cat([values, self.upnorm(self.upconv(self.upsample(torch.relu_(inside))))], dim=1)
