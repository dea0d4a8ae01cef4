"""The image tower of BioViL and the projection of its patches into the joint space.

Reference: microsoft/hi-ml, ``health_multimodal/image/model/{encoder,resnet,modules,model}.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from ....core.blocks import input_of, values_known
from ....core.config import Config
from ....core.errors import ConfigError, InputError
from ....core.towers import Tower
from ....core.types import TokenOutput, TowerOutput
from .temporal import TemporalEncoder, TemporalOptions


class ClassifierOptions(Config):
    """Heads on the pooled image state, one per task."""

    classes: int = Field(ge=1)
    tasks: int = Field(ge=1)
    hidden: int | None = Field(default=None, ge=1)
    """Width of a hidden layer with batch norm; None is one linear layer."""


@dataclass(frozen=True)
class ImageStates:
    """Everything the image side knows about a batch, before any normalization.

    Attributes:
        patches: float [B, W, h, w], the tower's last feature map.
        pooled: float [B, W], its mean: what classifier heads read.
        projected: float32 [B, D, h, w], the patches in the joint space.
        embedding: float32 [B, D], the mean of ``projected``.
    """

    patches: Tensor
    pooled: Tensor
    projected: Tensor
    embedding: Tensor


class ImageTower(Tower):
    """A residual network and, for BioViL-T, the encoder that compares its map with an earlier one.

    Takes ``pixels`` float [B, 3, H, W] in [0, 1]; with a temporal encoder also ``previous`` of the
    same shape and ``has_previous`` bool [B] (absent: every row has one).

    Args:
        trunk: a convolutional model of timm without classifier.
        temporal: sizes of the temporal encoder, or None.
        name: what messages call the model.
    """

    def __init__(self, trunk: Any, temporal: TemporalOptions | None, *, name: str) -> None:
        super().__init__()
        if not hasattr(trunk, "layer4"):
            raise ConfigError(
                f"{name}: the image tower must be a residual network of timm, such as resnet50."
            )
        self.name = name
        self.trunk: Any = trunk
        self.reduction = int(trunk.feature_info[-1]["reduction"])
        channels = int(trunk.num_features)
        self.temporal = None if temporal is None else TemporalEncoder(channels, temporal)
        self.width = channels if self.temporal is None else self.temporal.width

    @property
    def pair_size(self) -> tuple[int, int] | None:
        """Height and width of images that can be compared with an earlier one; None where none can."""
        if self.temporal is None:
            return None
        rows, columns = self.temporal.options.grid
        return rows * self.reduction, columns * self.reduction

    def layers(self, prefix: str) -> list[tuple[str, ...]]:
        """Return the names of each layer's parameters, or what they begin with: the stem, stages, comparison.

        What makes the tokens of the comparison goes with its first block. ``missing_previous`` takes the
        place of the result, so it is in none, as is the last norm.
        """
        trunk, temporal = f"{prefix}.trunk", f"{prefix}.temporal"
        layers = [(f"{trunk}.conv1", f"{trunk}.bn1"), *((f"{trunk}.layer{stage}",) for stage in range(1, 5))]
        if self.temporal is None:
            return layers
        first, *others = ((f"{temporal}.blocks.{number}",) for number in range(self.temporal.options.blocks))
        return [*layers, (f"{temporal}.reduce", f"{temporal}.type_embed", *first), *others]

    def patches(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Return the last feature map [B, W, h, w].

        Raises:
            InputError: pixels of another shape, an earlier image for a model that takes none, or one
                of a size that the comparison was not made for.
        """
        pixels = self._pixels(inputs)
        previous, has = self._previous(inputs, pixels)
        if self.temporal is None:
            return self._features(pixels)
        if previous is None:
            return self.temporal(self._features(pixels), None)
        # One pass for both, so that batch norm in training sees the two together.
        maps = self._features(torch.cat([pixels, previous]))
        return self.temporal(maps[: len(pixels)], maps[len(pixels) :], has)

    def compared(self, inputs: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return two last feature maps [B, W, h, w]: against ``previous``, and against the image itself.

        The second is what the first would be had nothing changed. Each image goes through the residual
        network once.

        Raises:
            InputError: as :meth:`patches`; an image without an earlier one.
        """
        pixels = self._pixels(inputs)
        previous, has = self._previous(inputs, pixels)
        if self.temporal is None or previous is None or has is not None:
            raise InputError(f"{self.name}: a change needs 'previous' for every image and a BioViL-T model.")
        now, before = self._features(torch.cat([pixels, previous])).chunk(2)
        return self.temporal(now, before), self.temporal(now, now)

    def _pixels(self, inputs: Mapping[str, Tensor]) -> Tensor:
        pixels = input_of(inputs, "pixels")
        if pixels.ndim != 4 or pixels.shape[1] != 3:
            raise InputError(
                f"pixels: expected [B, 3, H, W], got {list(pixels.shape)}. "
                "Use the processor stored with the model."
            )
        return pixels.to(self.trunk.conv1.weight.dtype)

    def _features(self, pixels: Tensor) -> Tensor:
        """Return the trunk's last feature map [B, C, h, w]."""
        if self.training or pixels.device.type != "cpu" or not values_known():
            return self.trunk.forward_features(pixels)
        # One by one and channels last, the maps of the first stages stay in the cache of a CPU, which a
        # batch of images of 480 pixels does not.
        pixels = pixels.contiguous(memory_format=torch.channels_last)
        return torch.cat([self.trunk.forward_features(image) for image in pixels.split(1)]).contiguous()

    def _previous(self, inputs: Mapping[str, Tensor], pixels: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Return the earlier images [R, 3, H, W] and, unless every row has one, which rows do."""
        previous = inputs.get("previous")
        if previous is None:
            return None, None
        if self.pair_size is None:
            raise InputError(
                f"{self.name} takes one image and was given a previous one as well. "
                "Leave it out, or use a BioViL-T model."
            )
        height, width = self.pair_size
        for word, image in (("pixels", pixels), ("previous", previous)):
            if tuple(image.shape[2:]) != (height, width) or image.shape != pixels.shape:
                raise InputError(
                    f"{word}: got {list(image.shape)}. With a previous image {self.name} takes two batches "
                    f"of one shape [B, 3, {height}, {width}]. Resize and crop both to {height} x {width}."
                )
        previous = previous.to(pixels.dtype)
        has = inputs.get("has_previous")
        if has is None or bool(has.all()):
            return previous, None
        if has.shape != (len(pixels),):
            raise InputError(f"has_previous: expected bool [{len(pixels)}], got {list(has.shape)}.")
        has = has.bool()
        return (previous[has], has) if bool(has.any()) else (None, None)

    def forward(self, inputs: Mapping[str, Tensor], *, tokens: bool = False) -> TowerOutput:
        """Return the mean patch [B, W] and, when ``tokens``, the patches [B, h * w, W] row by row."""
        patches = self.patches(inputs)
        return TowerOutput(patches.mean(dim=(2, 3)), as_tokens(patches) if tokens else None)


def as_tokens(patches: Tensor) -> TokenOutput:
    """Return patches [B, W, h, w] as tokens [B, h * w, W], row by row, and their grid."""
    return TokenOutput(patches.flatten(2).transpose(1, 2), (int(patches.shape[2]), int(patches.shape[3])))


class PatchProjection(nn.Sequential):
    """Each patch into the joint space by itself: convolution 1 x 1, batch norm, ReLU, convolution 1 x 1."""

    def __init__(self, width: int, embed_dim: int, *, hidden: int) -> None:
        super().__init__(
            nn.Conv2d(width, hidden, 1, bias=False),
            nn.BatchNorm2d(hidden),
            nn.ReLU(),
            nn.Conv2d(hidden, embed_dim, 1),
        )


def classifier_head(width: int, options: ClassifierOptions) -> nn.Module:
    """Return the head of one task, from the pooled state [B, W] to logits [B, K]."""
    if options.hidden is None:
        return nn.Linear(width, options.classes)
    return nn.Sequential(
        nn.Linear(width, options.hidden, bias=False),
        nn.BatchNorm1d(options.hidden),
        nn.ReLU(),
        nn.Linear(options.hidden, options.classes),
    )
