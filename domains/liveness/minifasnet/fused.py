"""The same answers sooner: batch norms folded into convolutions whose weights lie as oneDNN wants them.

With plain weights PyTorch lays them out anew at every call, or computes small convolutions without oneDNN
at all. Measured by ``python -m verticlip.benchmarks --only liveness``.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from .network import ChannelWeights, ConvUnit, MiniFASNet

LARGEST_ERROR = 1e-4
"""Packed weights are used where the logits of a probe differ by no more than this share of the largest."""


class PackedConvolution(nn.Module):
    """A convolution with frozen weights in the layout that oneDNN chooses for states of one shape.

    Args:
        source: the convolution.
        shape: [B, C, H, W] of its input; others are answered as well, perhaps more slowly.
    """

    def __init__(self, source: nn.Conv2d, shape: Sequence[int]) -> None:
        super().__init__()
        self.settings: tuple[Sequence[int], Sequence[int], Sequence[int], int] = (
            cast("tuple[int, int]", source.padding),
            source.stride,
            source.dilation,
            source.groups,
        )
        weight = source.weight.detach().contiguous(memory_format=torch.channels_last)
        # No buffers: tensors of this layout cannot be saved, copied or moved.
        self.packed = torch.ops.mkldnn._reorder_convolution_weight(weight, *self.settings, list(shape))
        self.bias = None if source.bias is None else source.bias.detach()

    def forward(self, states: Tensor) -> Tensor:
        """Return the states [B, outside, H, W]."""
        return torch.ops.mkldnn._convolution_pointwise(
            states, self.packed, self.bias, *self.settings, "none", [], ""
        )


@torch.no_grad()
def fuse(network: MiniFASNet) -> MiniFASNet:
    """Return a copy of ``network`` for inference; logits agree to about 1e-6 of their size.

    It shares nothing with ``network``: weights that change afterwards need another copy. Give it pictures
    that lie channels last.
    """
    fused = copy.deepcopy(network).eval().requires_grad_(False)
    for module in list(fused.modules()):
        if isinstance(module, ConvUnit):
            module.conv, module.bn = _fold(module.conv, module.bn)
        elif isinstance(module, ChannelWeights):
            module.fc1, module.bn1 = _fold(module.fc1, module.bn1)
            module.fc2, module.bn2 = _fold(module.fc2, module.bn2)
    for module in fused.modules():
        if isinstance(module, nn.Conv2d):
            module.weight.data = module.weight.contiguous(memory_format=torch.channels_last)
    return _packed(fused) or fused


def _fold(convolution: nn.Conv2d, norm: nn.Module) -> tuple[nn.Conv2d, nn.Module]:
    return fuse_conv_bn_eval(convolution, cast("nn.BatchNorm2d", norm)), nn.Identity()


def _packed(fused: MiniFASNet) -> MiniFASNet | None:
    """Return a copy with packed weights, or None where this machine or PyTorch has none as exact."""
    first = fused.prob.weight
    if first.device.type != "cpu" or first.dtype != torch.float32 or not torch.backends.mkldnn.is_available():
        return None
    generator = torch.Generator().manual_seed(0)
    probe = torch.rand(2, 3, fused.config.height, fused.config.width, generator=generator) * 255
    probe = probe.contiguous(memory_format=torch.channels_last)
    packed = copy.deepcopy(fused)
    try:
        shapes = _input_shapes(packed, probe[:1])
        for module in list(packed.modules()):
            for name, child in list(module.named_children()):
                if isinstance(child, nn.Conv2d):
                    setattr(module, name, PackedConvolution(child, shapes[child]))
        answer, exact = packed(probe), fused(probe)
    except (AttributeError, RuntimeError, TypeError):
        # Private operators: another torch may rename them or change their arguments.
        return None
    return packed if float((answer - exact).abs().max()) <= LARGEST_ERROR * float(exact.abs().max()) else None


def _input_shapes(network: MiniFASNet, pictures: Tensor) -> dict[nn.Module, Sequence[int]]:
    """Return what each convolution gets when the network answers ``pictures``."""
    shapes: dict[nn.Module, Sequence[int]] = {}

    def note(module: nn.Module, inputs: tuple[Tensor, ...], _: Tensor) -> None:
        shapes[module] = tuple(inputs[0].shape)

    hooks = [
        module.register_forward_hook(note) for module in network.modules() if isinstance(module, nn.Conv2d)
    ]
    network(pictures)
    for hook in hooks:
        hook.remove()
    return shapes


class FusedCopy:
    """A fused copy, and whether the weights that it was made of have changed since.

    Tensors that other tensors took the place of (a move to a device, weights that are assigned) are not
    noticed: whoever does that drops the copy.

    Attributes:
        network: the copy.
    """

    def __init__(self, source: MiniFASNet) -> None:
        self._tensors = [*source.parameters(), *source.buffers()]
        self._marks = self._read()
        self.network = fuse(source)

    @property
    def current(self) -> bool:
        """Whether nothing was written to the source since."""
        return self._marks == self._read()

    def _read(self) -> list[tuple[int, int]]:
        # Walking the modules at each call would cost a tenth of what the network itself takes.
        return [(one.data_ptr(), 0 if one.is_inference() else one._version) for one in self._tensors]
