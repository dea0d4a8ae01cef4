"""The stored reference cases of MiniFASNet: released weights, pictures, and the logits they give."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ....core.conversion import read_checkpoint
from ....core.errors import ConfigError
from .network import MiniFASNet
from .shapes import describe, inference_part

Replay = Callable[[Mapping[str, Any], Mapping[str, Tensor], Path], dict[str, Tensor]]


def load_network(
    folder: Path, config: Mapping[str, Any], *, size: tuple[int, int] | None = None
) -> MiniFASNet:
    """Return the network of a case in evaluation mode; its config may state the architecture.

    Raises:
        ConfigError: config and weights are of different architectures.
    """
    state = inference_part(read_checkpoint(folder / "weights.safetensors"))
    described = describe(state, source="weights.safetensors", size=size)
    stated = config.get("architecture", described.architecture)
    if stated != described.architecture:
        raise ConfigError(f"The case is of {stated}, its weights are of {described.architecture}.")
    network = MiniFASNet(described)
    network.load_state_dict(state)
    return network.eval()


def replay_minifasnet(
    config: Mapping[str, Any], inputs: Mapping[str, Tensor], case_dir: Path
) -> dict[str, Tensor]:
    """Return logits and probabilities [B, K] of pictures float32 [B, 3, H, W], BGR with values 0 to 255."""
    pictures = inputs["image_bgr_0_255"]
    size = (pictures.shape[2], pictures.shape[3])
    with torch.inference_mode():
        logits = load_network(case_dir, config, size=size)(pictures.float())
    return {"logits": logits, "probabilities": logits.softmax(dim=1)}


CASES: dict[str, Replay] = {"minifasnet": replay_minifasnet}
"""Golden cases by name."""


def tolerance(case: str, name: str, expected: Tensor) -> float:
    """Return the largest error of an output that the case allows, as its README says.

    Logits beyond a hundred, as weights of other scales give, are held to 1e-5 of the largest: float32 has no
    more digits after the sums of a whole network.
    """
    return max(1e-3, 1e-5 * float(expected.abs().max()))
