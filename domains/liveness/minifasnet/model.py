"""The architecture ``minifasnet``: one small network, or several on crops of their own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, cast

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from ....core.config import ModelConfig
from ....core.errors import ConfigError, InputError
from ....core.processing import Processor
from ....core.types import Batch, Outputs
from ..faces.crop import resize
from ..faces.picture import check_picture
from ..models.base import LivenessModel, LivenessOptions
from .fused import FusedCopy
from .network import MiniFASNet, MultiFTNet, NetworkConfig, build_network

EXTRAS = ("category_logits", "fourier_map")


class MiniFASNetOptions(LivenessOptions):
    """``options`` of a model of this architecture."""

    networks: tuple[NetworkConfig, ...] = Field(min_length=1)
    """One for each of ``crops``, in that order."""

    @model_validator(mode="after")
    def _networks_fit(self) -> MiniFASNetOptions:
        if len(self.networks) != len(self.crops):
            raise ValueError(
                f"{len(self.networks)} networks need as many crops, got {len(self.crops)}; each has its own"
            )
        categories = len(self.taxonomy.categories)
        for place, (network, crop) in enumerate(zip(self.networks, self.crops, strict=True)):
            if crop.size is None or (network.height, network.width) != (crop.size, crop.size):
                raise ValueError(
                    f"network {place} reads {network.height} x {network.width} pixels and its crop has size "
                    f"{crop.size}; the two must agree, and be square"
                )
            if network.classes != categories:
                raise ValueError(
                    f"network {place} tells {network.classes} classes apart, the taxonomy has {categories}"
                )
        return self


class MiniFASNetModel(LivenessModel):
    """One or several networks of the family; several answer by the mean of their probabilities.

    Inputs are ``pixels`` [B, 3, S, S], RGB: uint8, or floats in [0, 1] as the processor makes them. The
    networks themselves read BGR with values 0 to 255, which is done in here.

    Under ``torch.inference_mode`` fused copies of the networks answer; they are made again when weights
    change.

    Attributes:
        networks: in the order of ``crops``.

    Reference: minivision-ai/Silent-Face-Anti-Spoofing, ``test.py``: crops, order of colors, average.
    """

    options_type: ClassVar[type[LivenessOptions]] = MiniFASNetOptions

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        options = cast("MiniFASNetOptions", self.options)
        self.networks = nn.ModuleList([build_network(network) for network in options.networks])
        # Outside the module tree, so that copies are neither saved nor counted.
        self._copies: dict[int, FusedCopy] = {}

    @property
    def fourier_size(self) -> tuple[int, int] | None:
        """Rows and columns of the spectrum that the first network learns, or None without that branch."""
        first = cast("MiniFASNetOptions", self.options).networks[0]
        return first.fourier_size if first.fourier else None

    def prepare_crop(
        self, processor: Processor, pictures: Sequence[np.ndarray], index: int
    ) -> dict[str, Tensor]:
        """Return ``pixels`` uint8 [B, 3, S, S]; a picture of another size is resized as the crops are."""
        size = self.crops[index].size
        rows = [
            resize(check_picture(picture, f"picture {place}"), size) for place, picture in enumerate(pictures)
        ]
        return {"pixels": torch.from_numpy(np.stack(rows)).permute(0, 3, 1, 2)}

    def crop_logits(self, inputs: Mapping[str, Tensor], index: int) -> Tensor:
        """Return logits float32 [B, K] of ``pixels`` for network number ``index``.

        Raises:
            InputError: pictures of another size than the network reads.
        """
        pictures = self._pictures(inputs)
        if torch.is_inference_mode_enabled() and not self.training:
            return self._fused(index)(pictures.contiguous(memory_format=torch.channels_last))
        return self.networks[index](pictures)

    def forward(self, batch: Batch, *, tokens: tuple[str, ...] = (), extras: tuple[str, ...] = ()) -> Outputs:
        """Return the ``extras`` that are asked for; there are no embeddings.

        Args:
            batch: ``inputs["image"]["pixels"]`` [B, 3, S, S] as in the text of the class.
            tokens: must be empty.
            extras: ``category_logits`` float32 [B, K]; ``fourier_map`` float32 [B, 1, h, w] of a network with
                that branch, see :class:`~..objectives.fourier.FourierSupervision`.

        Raises:
            ConfigError: an ensemble: train each network by itself, on its own crop.
            InputError: a batch without pictures, or extras that the model does not have.
        """
        if len(self.networks) > 1:
            raise ConfigError(
                f"{self.config.name} has {len(self.networks)} networks, each with a crop of its own. Train "
                "them one by one, then use join_networks."
            )
        network = self.networks[0]
        has = EXTRAS if isinstance(network, MultiFTNet) else EXTRAS[:1]
        unknown = sorted({*extras, *tokens} - set(has))
        if unknown:
            raise InputError(
                f"{self.config.name} has no {unknown[0]!r}; it has: {', '.join(has)}. The Fourier branch is "
                "option networks.fourier."
            )
        if "image" not in batch.inputs:
            raise InputError(f"{self.config.name} reads inputs['image'], the batch has none.")
        pictures = self._pictures(batch.inputs["image"])
        found: dict[str, Tensor] = {}
        if isinstance(network, MultiFTNet) and "fourier_map" in extras:
            found["category_logits"], found["fourier_map"] = network.both(pictures)
        elif extras:
            found["category_logits"] = network(pictures)
        return Outputs({}, self.scale(), extras={name: found[name].float() for name in extras})

    def load_state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """Load weights, and drop the copies that were made of others."""
        self._copies.clear()
        return super().load_state_dict(*args, **kwargs)

    def __getstate__(self) -> dict[str, Any]:
        # Packed weights can neither be copied nor pickled; copies of the model make their own.
        return {**self.__dict__, "_copies": {}}

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> MiniFASNetModel:
        self._copies.clear()
        return super()._apply(fn, recurse)

    def _fused(self, index: int) -> MiniFASNet:
        known = self._copies.get(index)
        if known is None or not known.current:
            network = cast("MiniFASNet | MultiFTNet", self.networks[index])
            source = network.model if isinstance(network, MultiFTNet) else network
            with torch.inference_mode(False):
                known = self._copies[index] = FusedCopy(source)
        return known.network

    def _pictures(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Return float [B, 3, S, S], BGR with values 0 to 255."""
        if "pixels" not in inputs:
            raise InputError(f"{self.config.name} reads 'pixels'; the inputs have: {', '.join(inputs)}.")
        pixels = inputs["pixels"]
        if pixels.dtype == torch.uint8:
            return pixels.flip(1).to(self.dtype)
        return (pixels.flip(1) * 255).to(self.dtype)
