"""Small helpers of the MiniFASNet tests: random networks whose batch norms do something."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import torch
from torch import nn
from verticlip.domains.liveness.minifasnet.network import MiniFASNet, NetworkConfig


def random_network(config: NetworkConfig, seed: int = 0) -> MiniFASNet:
    """Return a network in evaluation mode whose statistics and slopes are those of no fresh network."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = MiniFASNet(config)
        for module in network.modules():
            if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
                nn.init.uniform_(module.weight, 0.7, 1.3)
                nn.init.normal_(module.bias, std=0.1)
                nn.init.normal_(module.running_mean, std=0.1)  # pyright: ignore[reportArgumentType]
                nn.init.uniform_(module.running_var, 0.7, 1.3)  # pyright: ignore[reportArgumentType]
            elif isinstance(module, nn.PReLU):
                nn.init.uniform_(module.weight, 0.0, 0.5)
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.3)
        return network.eval()


def pictures(count: int, height: int = 80, width: int = 80, seed: int = 0) -> torch.Tensor:
    """Return smooth random pictures uint8 [B, 3, H, W]."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, 7, 7, generator=generator) * 255
    return nn.functional.interpolate(coarse, size=(height, width), mode="bilinear").round().to(torch.uint8)


def save_released(network: nn.Module, path: Path) -> Path:
    """Write a checkpoint as the authors do: an ordered dict whose names begin with ``module.``."""
    torch.save(OrderedDict((f"module.{name}", value) for name, value in network.state_dict().items()), path)
    return path
