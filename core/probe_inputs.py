"""What a stored probe asks a model, and what models with a tower for each modality answer.

A probe is a handful of inputs and the outputs a model gave for them; see ``hub/stored_probe.py``. An
architecture with more than towers declares a function under ``PROBES`` of its room::

    answers(network, inputs: ProbeInputs) -> {name: tensor}

It has to reach every tensor of the weights: what no answer depends on could be changed unseen. It is called
without gradients, in evaluation mode, and gives the same answers each time.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from zlib import crc32

import torch
from torch import Tensor
from torch.nn import functional as F

from .errors import ConfigError

if TYPE_CHECKING:
    from .model import ContrastiveModel
    from .processing import Processor


@dataclass(frozen=True)
class ProbeInputs:
    """The inputs of a probe.

    Attributes:
        processor: of the model.
        prepared: {modality: inputs of a tower, as the processor made them}, on the network's device.
        texts: those of ``prepared["text"]``.
        images: uint8 [B, H, W, 3], RGB, or None. waves: float32 [B, T] in [-1, 1] at the model's rate, or
            None. Both as they were before the processor.
        seed: of what :meth:`draw` draws.
        stored: what was drawn before, by name; None while a probe is made.
        drawn: what :meth:`draw` gave, by name.
        device: where draws go.
    """

    processor: Processor
    prepared: Mapping[str, Mapping[str, Tensor]]
    texts: Sequence[str] = ()
    images: Tensor | None = None
    waves: Tensor | None = None
    seed: int = 0
    stored: Mapping[str, Tensor] | None = None
    drawn: dict[str, Tensor] = field(default_factory=dict)
    device: torch.device | str = "cpu"

    def draw(self, name: str, *shape: int, mean: float = 0.0, std: float = 1.0) -> Tensor:
        """Return normal numbers float32 [*shape]: drawn once, stored with the probe, then read from it.

        Args:
            name: of this input; each name has numbers of its own.
            shape: of the tensor. mean, std: of the numbers.

        Raises:
            ConfigError: the probe lacks this input, or has it in another shape.
        """
        if self.stored is None:
            generator = torch.Generator().manual_seed(self.seed + crc32(name.encode()))
            self.drawn[name] = torch.randn(shape, generator=generator) * std + mean
        else:
            found = self.stored.get(name)
            if found is None or tuple(found.shape) != shape or found.dtype != torch.float32:
                has = "nothing" if found is None else list(found.shape)
                raise ConfigError(
                    f"The probe holds {has} for its input {name!r}; this model takes float32 {list(shape)}. "
                    "It was made for another model, or by another version of verticlip: make it again."
                )
            self.drawn[name] = found
        return self.drawn[name].to(self.device)

    def draw_unit(self, name: str, *shape: int) -> Tensor:
        """Return drawn vectors of unit length float32 [*shape]; see :meth:`draw`."""
        return F.normalize(self.draw(name, *shape), dim=-1)


def tower_answers(network: ContrastiveModel, inputs: ProbeInputs) -> dict[str, Tensor]:
    """Return what any model with towers answers.

    ``<modality>.embedding`` [B, D], raw, of every tower; ``<left>-<right>.logits`` [B1, B2] of every two,
    with scale and bias; ``scale`` and ``bias`` [1] by themselves.

    Raises:
        ConfigError: the processor does not prepare what a tower takes.
    """
    found: dict[str, Tensor] = {}
    unit: dict[str, Tensor] = {}
    for modality in network.modalities:
        if modality not in inputs.prepared:
            raise ConfigError(
                f"{network.config.name} has a tower for {modality!r} and its processor does not prepare it."
            )
        raw = network.embed(modality, inputs.prepared[modality])[0]
        # Raw: a projection of another length would not show in unit vectors.
        found[f"{modality}.embedding"], unit[modality] = raw, F.normalize(raw, dim=-1)
    for left, right in itertools.combinations(network.modalities, 2):
        found[f"{left}-{right}.logits"] = network.logits(unit[left], unit[right])
    return found | scale_answers(network)


def scale_answers(network: ContrastiveModel) -> dict[str, Tensor]:
    """Return ``scale`` [1] and, where the model has one, ``bias`` [1]."""
    found = {"scale": network.scale().reshape(1)}
    return found if network.logit_bias is None else {**found, "bias": network.logit_bias.reshape(1)}
