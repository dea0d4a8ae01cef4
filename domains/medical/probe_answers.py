"""What stored probes ask the architectures of the room beside their towers; see ``core/probe_inputs.py``."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from ...core.probe_inputs import ProbeInputs, scale_answers, tower_answers

if TYPE_CHECKING:
    from torch import Tensor

    from ...core.model import ContrastiveModel
    from .biovil.model import BioViL
    from .conceptclip.model import ConceptClip


def answers_of_biovil(network: ContrastiveModel, inputs: ProbeInputs) -> dict[str, Tensor]:
    """Return patches, classes and words, and the image against an earlier one where the model compares."""
    model = cast("BioViL", network)
    # A language model without joint space embeds nothing.
    found = tower_answers(model, inputs) if model.options.joint_space else scale_answers(model)
    if "text" in model.modalities and model.options.masked_words:
        found["text.words"] = model.word_logits(inputs.prepared["text"])
    if "image" not in model.modalities:
        return found
    image = dict(inputs.prepared["image"])
    found["image.patches"] = model.encode_patches(image, normalize=False)
    if model.options.classifier is not None:
        found["image.classes"] = model.class_logits(image)
    if model.options.temporal is not None:
        image["previous"] = image["pixels"].flip(0)
        found["image.compared"] = model.image_states(image).embedding
    return found


def answers_of_conceptclip(network: ContrastiveModel, inputs: ProbeInputs) -> dict[str, Tensor]:
    """Return patches and caption tokens in the local space as well."""
    model = cast("ConceptClip", network)
    found = tower_answers(model, inputs)
    if model.options.concept_heads:
        for modality in ("image", "text"):
            states = model.encode_tokens(modality, inputs.prepared[modality], project=True)
            found[f"{modality}.concepts"] = states.tokens
        found["concepts.scale"] = model.concept_scale().reshape(1)
        found["concepts.bias"] = model.concept_bias().reshape(1)
    return found
