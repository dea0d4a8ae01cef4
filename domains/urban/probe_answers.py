"""What stored probes ask the architectures of the room beside their towers; see ``core/probe_inputs.py``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...core.probe_inputs import ProbeInputs, tower_answers
from ...core.types import Batch

if TYPE_CHECKING:
    from torch import Tensor

    from ...core.model import ContrastiveModel


def answers_of_coca(network: ContrastiveModel, inputs: ProbeInputs) -> dict[str, Tensor]:
    """Return what the decoder expects after each word as well."""
    found = tower_answers(network, inputs)
    rows = min(len(next(iter(inputs.prepared[name].values()))) for name in ("image", "text"))
    pairs = {
        name: {key: tensor[:rows] for key, tensor in inputs.prepared[name].items()}
        for name in ("image", "text")
    }
    outputs = network(Batch(pairs), extras=("caption_logits",))
    return {**found, "caption_logits": outputs.extras["caption_logits"]}
