"""Which network of the family a set of tensors belongs to, told from its names and shapes."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from ....core.config import parse_config
from ....core.errors import WeightsError
from .network import NetworkConfig

SYSTEM = "MiniFASNet"
_TRAINING_PREFIX, _TRAINING_BRANCH = "model.", "FTGenerator."


def inference_part(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors that answer: those of a training checkpoint without its Fourier branch."""
    if not any(name.startswith(_TRAINING_BRANCH) for name in state):
        return dict(state)
    return {
        name.removeprefix(_TRAINING_PREFIX): value
        for name, value in state.items()
        if name.startswith(_TRAINING_PREFIX)
    }


def describe(
    state: Mapping[str, Tensor], *, source: str, size: tuple[int, int] | None = None
) -> NetworkConfig:
    """Return the network that has these tensors.

    Args:
        state: tensors by name, without the prefix of distributed training.
        source: what messages call them.
        size: (height, width) of the pictures it reads; None is the largest that fits its last convolution,
            the size of the released networks.

    Raises:
        WeightsError: not a network of the family, or one for pictures of another size.
        ConfigError: sizes that no network of the family has.
    """
    needed = {
        "conv_3.model.1.conv.conv.weight": 4,
        "conv_6_dw.conv.weight": 4,
        "linear.weight": 2,
        "prob.weight": 2,
    }
    for name, dimensions in needed.items():
        if name not in state or state[name].ndim != dimensions:
            raise WeightsError(
                f"{source} is not a network of {SYSTEM}: it has no {name!r}. Use its own file."
            )
    versions = {26: "V1", 13: "V2"}
    inner = len(state["conv_3.model.1.conv.conv.weight"])
    if inner not in versions:
        raise WeightsError(
            f"{source}: a unit is {inner} channels wide where {SYSTEM}V1 has 26 and V2 has 13. This pruning "
            "of the network is not supported."
        )
    weighs = any(".se_module." in name for name in state)
    kernel = tuple(state["conv_6_dw.conv.weight"].shape[2:])
    height, width = size or (16 * kernel[0], 16 * kernel[1])
    raw = {
        "architecture": f"{SYSTEM}{versions[inner]}{'SE' if weighs else ''}",
        "height": height,
        "width": width,
        "embedding": state["linear.weight"].shape[0],
        "classes": state["prob.weight"].shape[0],
    }
    found = parse_config(NetworkConfig, raw, source=source)
    if found.kernel != kernel:
        raise WeightsError(
            f"{source}: the last convolution covers {kernel[0]} x {kernel[1]}, pictures of {height} x "
            f"{width} pixels need {found.kernel[0]} x {found.kernel[1]}. State the size it was trained with."
        )
    return found
