"""Fitting the network of :class:`~.mil.AttentionMIL`: one bag a step, kept at its best epoch."""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.nn import functional as F

from ..metrics.classification import auc

if TYPE_CHECKING:
    from .mil import Bags, MILNetwork, MILOptions

_log = logging.getLogger(__name__)


def train(
    network: MILNetwork,
    prepare: Callable[[Tensor], Tensor],
    training: tuple[Bags, NDArray[np.int64]],
    validation: tuple[Bags, ArrayLike] | None,
    weighting: Tensor,
    options: MILOptions,
) -> None:
    """Fit the network in place and leave it at its best epoch; ``prepare`` gives [1, N, D]."""
    bags, labels = training
    optimizer = torch.optim.Adam(
        network.parameters(), lr=options.learning_rate, weight_decay=options.weight_decay
    )
    best: tuple[float, float] | None = None
    kept: dict[str, Tensor] = {}
    waited = 0
    for epoch in range(options.epochs):
        for group in optimizer.param_groups:
            group["lr"] = options.learning_rate * 0.5 * (1 + math.cos(math.pi * epoch / options.epochs))
        network.train()
        for position in torch.randperm(len(bags)).tolist():
            target = torch.tensor([int(labels[position])], device=weighting.device)
            logits, _ = network(prepare(bags[position]))
            # Outside the loss: with one row its weighted mean would divide the weight out again.
            loss = F.cross_entropy(logits, target) * weighting[target[0]]
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        if validation is None:
            continue
        score, loss_value = _validate(network, prepare, *validation)
        if best is None or (score, -loss_value) > best:
            best, waited = (score, -loss_value), 0
            kept = {name: tensor.clone() for name, tensor in network.state_dict().items()}
        else:
            waited += 1
        if waited >= options.patience:
            _log.info("stopped after epoch %d: no better validation for %d epochs", epoch + 1, waited)
            break
    if kept:
        network.load_state_dict(kept)


@torch.no_grad()
def _validate(
    network: MILNetwork, prepare: Callable[[Tensor], Tensor], bags: Bags, targets: ArrayLike
) -> tuple[float, float]:
    """Return macro AUC and mean cross-entropy."""
    network.eval()
    logits = torch.cat([network(prepare(bag))[0] for bag in bags]).cpu()
    labels = np.asarray(targets)
    loss = F.cross_entropy(logits, torch.from_numpy(labels.astype(np.int64)))
    return auc(logits.softmax(dim=1).numpy(), labels, resamples=0).value, float(loss)


@contextlib.contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed what initialization and dropout draw from, and leave the caller's generators as they were."""
    devices = [device.index or 0] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield


def standardization(bags: Bags, wanted: bool) -> tuple[Tensor, Tensor]:
    """Return mean and deviation [D] over all tiles, or 0 and 1; one bag in memory at a time."""
    if not wanted:
        return torch.zeros_like(bags[0][0], dtype=torch.float32), torch.ones_like(
            bags[0][0], dtype=torch.float32
        )
    count = sum(len(bag) for bag in bags)
    mean = torch.stack([bag.double().sum(dim=0) for bag in bags]).sum(dim=0) / count
    squares = torch.stack([(bag.double() - mean).square().sum(dim=0) for bag in bags]).sum(dim=0) / count
    spread = squares.sqrt()
    return mean.float(), torch.where(spread > 1e-8, spread, torch.ones_like(spread)).float()
