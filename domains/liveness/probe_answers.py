"""What stored probes ask the architectures of the room beside their towers; see ``core/probe_inputs.py``."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from ...core.inputs import on_device
from ...core.probe_inputs import ProbeInputs, tower_answers

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from ...core.model import ContrastiveModel
    from .minifasnet.model import MiniFASNetModel
    from .models.base import LivenessModel
    from .models.flip_mcl import FlipMCL


def answers_of_categories(network: ContrastiveModel, inputs: ProbeInputs) -> dict[str, Tensor]:
    """Return the logits of every crop, each of the whole picture."""
    model = cast("LivenessModel", network)
    model.use_processor(inputs.processor)
    found = tower_answers(model, inputs)
    for index in range(len(model.crops)):
        pixels = _crop(model, inputs, index)
        found[f"crop{index}.logits"] = model.crop_logits(pixels, index)
    return found


def answers_of_flip_mcl(network: ContrastiveModel, inputs: ProbeInputs) -> dict[str, Tensor]:
    """Return what training's projector makes of the images as well."""
    found = answers_of_categories(network, inputs)
    return {**found, "image.projected": cast("FlipMCL", network).image_mlp(found["image.embedding"])}


def answers_of_minifasnet(network: ContrastiveModel, inputs: ProbeInputs) -> dict[str, Tensor]:
    """Return the spectra of networks that learn them as well."""
    from .minifasnet.network import MultiFTNet

    model = cast("MiniFASNetModel", network)
    found = answers_of_categories(model, inputs)
    for index, one in enumerate(model.networks):
        if isinstance(one, MultiFTNet):
            found[f"crop{index}.spectrum"] = one.both(model._pictures(_crop(model, inputs, index)))[1]
    return found


def _crop(model: LivenessModel, inputs: ProbeInputs, index: int) -> dict[str, Tensor]:
    images = inputs.images
    pictures: list[np.ndarray] = [] if images is None else [picture.numpy() for picture in images]
    return on_device(model, model.prepare_crop(inputs.processor, pictures, index))
