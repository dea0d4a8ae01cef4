"""Two layers on the unit embedding of a tile: UrbanCLIP's network, trained as the settings say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from ....core.config import Config
from ....core.heads.base import standardization
from .regressors import Features, HeadName, Part, Scores


class MLPSettings(Config):
    """How the two layers are trained.

    The defaults are ours; :data:`URBANCLIP_MLP` is the reference's setting. Both choose the epoch with the
    least squared error on tiles that did not train.

    Attributes:
        hidden: width between the layers.
        dropout: share of hidden values that are dropped in training.
        lr, weight_decay: of AdamW.
        batch_size: tiles per step; a last batch that is not full is dropped.
        epochs: passes over the training tiles.
        patience: epochs without a better error after which training ends; None never ends early.
        standardize_inputs: train on features of mean 0 and deviation 1; the scaling is folded into the first
            layer afterwards, so what is stored reads unit embeddings either way.
        refit: train once more, for the chosen number of epochs, on all tiles; False keeps the weights of the
            training that chose it, as the reference does.
    """

    hidden: int = Field(default=256, ge=1)
    dropout: float = Field(default=0.01, ge=0, lt=1)
    lr: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=0.01, ge=0)
    batch_size: int = Field(default=64, ge=1)
    epochs: int = Field(default=100, ge=1)
    patience: int | None = Field(default=15, ge=1)
    standardize_inputs: bool = True
    refit: bool = True


URBANCLIP_MLP = MLPSettings(lr=3e-4, batch_size=2, patience=None, standardize_inputs=False, refit=False)
"""Linear 256, ReLU, dropout 0.01, Linear 1; AdamW 3e-4 with decay 0.01; batches of 2; 100 epochs."""


class IndicatorMLP(nn.Module):
    """``predict(dropout(relu(project(x))))``.

    Args:
        width: D of the embeddings.
        hidden, dropout: see :class:`MLPSettings`.

    Reference: UrbanCLIP, ``mlp.py`` (WWW 2024).
    """

    def __init__(self, width: int, hidden: int = 256, dropout: float = 0.01) -> None:
        super().__init__()
        self.project = nn.Linear(width, hidden)
        self.dropout = nn.Dropout(dropout)
        self.predict = nn.Linear(hidden, 1)

    def forward(self, embeddings: Tensor) -> Tensor:
        """Return standardized predictions float32 [N] of unit embeddings float32 [N, D]."""
        return self.predict(self.dropout(F.relu(self.project(embeddings))))[:, 0]


def make_optimizer(network: nn.Module, lr: float, weight_decay: float) -> torch.optim.AdamW:
    """Return AdamW over every parameter, with decay on all of them, as the reference has it."""
    return torch.optim.AdamW(network.parameters(), lr=lr, weight_decay=weight_decay)


def training_step(
    network: IndicatorMLP, optimizer: torch.optim.Optimizer, embeddings: Tensor, scores: Tensor
) -> Tensor:
    """Take one step down the mean squared error and return the error before it."""
    optimizer.zero_grad()
    loss = F.mse_loss(network(embeddings), scores)
    loss.backward()
    optimizer.step()
    return loss.detach()


class MLPRegressor:
    """A trained :class:`IndicatorMLP`.

    Args:
        network: in evaluation mode.
        epochs: passes that made its weights.
    """

    name: ClassVar[HeadName] = "mlp"

    def __init__(self, network: IndicatorMLP, epochs: int) -> None:
        self.network = network.eval()
        self.epochs = epochs

    @classmethod
    def fit(
        cls,
        features: Features,
        scores: Scores,
        *,
        inner: Sequence[Part],
        settings: MLPSettings,
        seed: int = 0,
    ) -> MLPRegressor:
        """Return the regressor whose number of epochs the first inner part chose by its judging rows.

        Args:
            features: float32 [N, D]. scores: float64 [N].
            inner: parts of the N rows; only the first is used, one training is enough to choose.
            settings: see there.
            seed: of the first weights, the order of batches and dropout.
        """
        fit, judge = inner[0]
        network, epochs = _trained(features, scores, fit=fit, judge=judge, settings=settings, seed=seed)
        if settings.refit and epochs:
            settings = settings.model_copy(update={"epochs": epochs, "patience": None})
            rows = np.arange(len(features))
            network, _ = _trained(features, scores, fit=rows, judge=None, settings=settings, seed=seed)
        return cls(network, epochs)

    @torch.inference_mode()
    def predict(self, features: Features) -> Scores:
        """Return standardized predictions [N]."""
        return self.network(torch.from_numpy(np.ascontiguousarray(features))).double().numpy()

    def tensors(self) -> dict[str, NDArray[np.float32]]:
        """Return the weights of both layers and ``epochs`` [1]."""
        state = {name: value.detach().numpy() for name, value in self.network.state_dict().items()}
        return {**state, "epochs": np.asarray([self.epochs], dtype=np.float32)}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, NDArray[np.float32]]) -> MLPRegressor:
        """Return the regressor of :meth:`tensors`."""
        hidden, width = tensors["project.weight"].shape
        network = IndicatorMLP(width, hidden)
        state = {
            name: torch.from_numpy(np.array(value)) for name, value in tensors.items() if name != "epochs"
        }
        network.load_state_dict(state)
        return cls(network, int(tensors["epochs"][0]))

    @property
    def chosen(self) -> dict[str, float]:
        """``epochs``."""
        return {"epochs": self.epochs}


def _trained(
    features: Features,
    scores: Scores,
    *,
    fit: NDArray[np.int64],
    judge: NDArray[np.int64] | None,
    settings: MLPSettings,
    seed: int,
) -> tuple[IndicatorMLP, int]:
    """Return a network trained on the rows of ``fit``, and the epochs that made its weights.

    With rows to judge by, these are the weights of the best epoch; else those of the last.
    """
    mean, spread = np.zeros(features.shape[1]), np.ones(features.shape[1])
    if settings.standardize_inputs:
        mean, spread = standardization(features[fit].astype(np.float64))
    inputs = torch.from_numpy(((features - mean) / spread).astype(np.float32))
    targets = torch.from_numpy(np.asarray(scores, dtype=np.float32))
    # Layers and dropout draw from torch's generator of the CPU. It is put back as it was, and the generators
    # of other devices, which torch.manual_seed would seed as well, stay as they are.
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.default_generator.manual_seed(seed)
        network = IndicatorMLP(features.shape[1], settings.hidden, settings.dropout)
        held_back = None if judge is None else (inputs[judge], targets[judge])
        epochs = _train(network, (inputs[fit], targets[fit]), judge=held_back, settings=settings)
    _fold_scaling(network, mean, spread)
    return network, epochs


def _train(
    network: IndicatorMLP,
    train: tuple[Tensor, Tensor],
    *,
    judge: tuple[Tensor, Tensor] | None,
    settings: MLPSettings,
) -> int:
    """Train, leave the best weights in the network and return how many epochs made them."""
    optimizer = make_optimizer(network, settings.lr, settings.weight_decay)
    least, best, kept = float("inf"), 0, {}
    for epoch in range(1, settings.epochs + 1):
        network.train()
        for rows in _batches(len(train[1]), settings.batch_size):
            training_step(network, optimizer, train[0][rows], train[1][rows])
        network.eval()
        if judge is None:
            continue
        with torch.no_grad():
            error = float(F.mse_loss(network(judge[0]), judge[1]))
        if error < least:
            least, best = error, epoch
            kept = {name: value.clone() for name, value in network.state_dict().items()}
        elif settings.patience is not None and epoch - best >= settings.patience:
            break
    if kept:
        network.load_state_dict(kept)
    return best if judge is not None else settings.epochs


def _batches(rows: int, size: int) -> Iterator[Tensor]:
    """Yield shuffled full batches; where there is not even one, all rows."""
    order = torch.randperm(rows)
    size = min(size, rows)
    for start in range(0, rows - size + 1, size):
        yield order[start : start + size]


@torch.no_grad()
def _fold_scaling(network: IndicatorMLP, mean: NDArray[np.float64], spread: NDArray[np.float64]) -> None:
    """Let the first layer read features as given: ``W (x - mean) / spread + b``."""
    weight = network.project.weight.double() / torch.from_numpy(spread)
    network.project.bias.copy_(network.project.bias.double() - weight @ torch.from_numpy(mean))
    network.project.weight.copy_(weight)
