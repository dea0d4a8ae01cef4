"""Attention over a bag of embeddings: one answer for a slide of thousands of tiles."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from ..config import Config
from ..errors import ConfigError, InputError
from ..types import Modality, Outputs
from .base import as_embeddings, check_names, parse_head, pick
from .mil_training import seeded, standardization, train

Bags = Sequence[Tensor]
"""Embeddings float [N_i, D] of each bag, N_i at least 1."""

_SHAPES: dict[str, tuple[str, ...]] = {
    "embed.weight": ("H", "D"),
    "embed.bias": ("H",),
    "tanh.weight": ("A", "H"),
    "tanh.bias": ("A",),
    "attend.weight": ("one", "A"),
    "attend.bias": ("one",),
    "classify.weight": ("K", "H"),
    "classify.bias": ("K",),
}
_GATE: dict[str, tuple[str, ...]] = {"gate.weight": ("A", "H"), "gate.bias": ("A",)}


class AttentionMILConfig(Config):
    """``head.json`` of an :class:`AttentionMIL`."""

    kind: Literal["attention_mil"] = "attention_mil"
    modality: Modality = "image"
    class_names: tuple[str, ...] = Field(min_length=2)
    gated: bool = False


@dataclass(frozen=True)
class MILOptions:
    """Sizes and training of :meth:`AttentionMIL.fit`; the defaults suit slides of thousands of tiles.

    Attributes:
        hidden: width of the tile states. attention: width inside the attention.
        gated: multiply the tanh branch by a sigmoid branch.
        dropout: of the tile states during training.
        learning_rate, weight_decay: of Adam; the rate falls to 0 along a cosine.
        epochs: at most; patience: epochs without a better validation before it stops.
        balanced: weigh classes inversely to their size.
        standardize: fit on features of mean 0 and deviation 1; the scaling goes into the weights.
        seed: of initial weights, order of bags and dropout.
    """

    hidden: int = 512
    attention: int = 128
    gated: bool = False
    dropout: float = 0.25
    learning_rate: float = 2e-4
    weight_decay: float = 1e-5
    epochs: int = 50
    patience: int = 10
    balanced: bool = False
    standardize: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("hidden", "attention", "epochs", "patience"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be 1 or more, got {getattr(self, name)}.")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"dropout must be 0 or more and below 1, got {self.dropout}.")
        if self.learning_rate <= 0 or self.weight_decay < 0:
            raise ConfigError(
                f"learning_rate must be above 0 and weight_decay 0 or more, got {self.learning_rate} and "
                f"{self.weight_decay}."
            )


class MILNetwork(nn.Module):
    """The layers; parameter names are those of ``head.safetensors``."""

    def __init__(self, width: int, classes: int, options: MILOptions) -> None:
        super().__init__()
        self.embed = nn.Linear(width, options.hidden)
        self.tanh = nn.Linear(options.hidden, options.attention)
        self.gate = nn.Linear(options.hidden, options.attention) if options.gated else None
        self.attend = nn.Linear(options.attention, 1)
        self.classify = nn.Linear(options.hidden, classes)
        self.dropout = options.dropout

    def forward(self, tiles: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return logits [B, K] and attention [B, N] of tiles [B, N, D]; ``mask`` is True at real tiles."""
        states = F.dropout(F.relu(self.embed(tiles)), self.dropout, self.training)
        inner = torch.tanh(self.tanh(states))
        if self.gate is not None:
            inner = inner * torch.sigmoid(self.gate(states))
        scores = self.attend(inner).squeeze(-1)
        if mask is not None:
            scores = scores.masked_fill(~mask, -math.inf)
        weights = scores.softmax(dim=-1)
        return self.classify((weights.unsqueeze(1) @ states).squeeze(1)), weights


class AttentionMIL:
    """Attention-based multiple-instance classifier: which class a bag is, and which tiles decided.

    ``h = relu(W e + b)``, ``a = softmax_n(w . tanh(V h_n))`` (gated: ``tanh(V h_n) * sigmoid(U h_n)``),
    ``logits = C sum_n a_n h_n``.

    Args:
        tensors: the weights by name, as :meth:`tensors` gives them.
        class_names: K answer keys.
        gated: whether there is a gate.
        modality: whose embeddings ``__call__`` reads.

    Example:
        >>> generator = torch.Generator().manual_seed(0)
        >>> bags = [torch.randn(5, 8, generator=generator) + 3 * (i % 2) for i in range(8)]
        >>> options = MILOptions(hidden=8, attention=4, epochs=3)
        >>> head = AttentionMIL.fit(bags, [i % 2 for i in range(8)], ["low", "high"], options=options)
        >>> probabilities, attention = head.predict(bags[:2])
        >>> probabilities.shape, attention[0].shape
        (torch.Size([2, 2]), torch.Size([5]))

    Reference: Ilse et al. 2018, "Attention-based Deep Multiple Instance Learning", equations 7 to 9.
    """

    kind: ClassVar[str] = "attention_mil"

    def __init__(
        self,
        tensors: Mapping[str, Tensor],
        class_names: Sequence[str],
        *,
        gated: bool = False,
        modality: Modality = "image",
    ) -> None:
        self.class_names = tuple(class_names)
        self.gated = gated
        self.modality: Modality = modality
        hidden, width = tensors["embed.weight"].shape
        options = MILOptions(hidden=hidden, attention=len(tensors["tanh.bias"]), gated=gated)
        with torch.device("meta"):  # otherwise the weights would be drawn at random first
            self._network = MILNetwork(width, len(self.class_names), options)
        state = {name: tensor.detach().float() for name, tensor in tensors.items()}
        self._network.load_state_dict(state, assign=True)
        self._network.eval().requires_grad_(False)

    @property
    def width(self) -> int:
        """D, the size of the embeddings it takes."""
        return self._network.embed.in_features

    @classmethod
    def fit(
        cls,
        bags: Bags,
        targets: ArrayLike,
        class_names: Sequence[str],
        *,
        validation: tuple[Bags, ArrayLike] | None = None,
        options: MILOptions | None = None,
        modality: Modality = "image",
    ) -> AttentionMIL:
        """Return a fitted head; equal arguments give equal weights on one machine.

        One bag is one step of Adam. With ``validation`` the epoch with the highest macro AUC is kept
        (of equal ones the smallest loss), and training stops ``patience`` epochs after it; without,
        the last epoch is kept.

        Args:
            bags: float [N_i, D] each; sizes may differ. They stay on their device.
            targets: int [bags] in [0, K), every class present.
            class_names: K answer keys.
            validation: (bags, targets) of at least two classes.
            options: sizes and training.
            modality: whose embeddings the head will read.

        Raises:
            InputError: shapes disagree, a bag is empty, or a class has no bags.
        """
        options = options or MILOptions()
        labels = _labels(bags, targets, class_names)
        counts = np.bincount(labels, minlength=len(class_names))
        if (absent := np.flatnonzero(counts == 0)).size:
            raise InputError(
                f"Class {class_names[absent[0]]!r} has no training bags; add some or drop the class."
            )
        if validation is not None:
            held_out = _labels(*validation, class_names, width=bags[0].shape[1])
            if len(np.unique(held_out)) < 2:
                raise InputError("validation needs bags of at least two classes, for its AUC. Add some.")
        device = bags[0].device
        with seeded(options.seed, device):
            network = MILNetwork(bags[0].shape[1], len(class_names), options).to(device)
            mean, spread = standardization(bags, options.standardize)
            weights = len(labels) / (len(class_names) * counts) if options.balanced else np.ones(len(counts))
            weighting = torch.tensor(weights, dtype=torch.float32, device=device)

            def prepare(bag: Tensor) -> Tensor:
                return ((bag.float() - mean) / spread)[None]

            train(network, prepare, (bags, labels), validation, weighting, options)
        state = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
        state["embed.weight"] = state["embed.weight"] / spread
        state["embed.bias"] = state["embed.bias"] - state["embed.weight"] @ mean
        return cls(state, class_names, gated=options.gated, modality=modality)

    def logits(self, tiles: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return logits float32 [B, K] and attention float32 [B, N]; padding changes neither.

        Args:
            tiles: float [B, N, D]; what stands at padded places plays no part.
            mask: bool [B, N], True at real tiles, at least one per bag; None when all are.

        Raises:
            InputError: shapes disagree, a bag without tiles, or a real tile that is not finite.
        """
        if tiles.ndim != 3 or tiles.shape[2] != self.width:
            raise InputError(f"tiles must be [B, N, {self.width}], got {list(tiles.shape)}.")
        if mask is None:
            mask = torch.ones(tiles.shape[:2], dtype=torch.bool, device=tiles.device)
        if mask.shape != tiles.shape[:2] or not bool(mask.any(dim=1).all()):
            raise InputError(
                f"mask must be [B, N] = {list(tiles.shape[:2])} with at least one tile per bag, got "
                f"{list(mask.shape)}."
            )
        # Zeros instead of whatever the padding holds: 0 * NaN would still be NaN.
        clean = tiles.float().masked_fill(~mask.unsqueeze(-1), 0.0)
        finite = torch.isfinite(clean).all(dim=2).all(dim=1)
        if not bool(finite.all()):
            raise InputError(f"bag {int((~finite).nonzero()[0])} holds an embedding that is not finite.")
        self._network.to(tiles.device)
        return self._network(clean, mask)

    @torch.no_grad()
    def predict(self, bags: Bags, *, batch_size: int = 1) -> tuple[Tensor, list[Tensor]]:
        """Return probabilities float32 [B, K] and the attention float32 [N_i] of each bag's tiles.

        Args:
            bags: float [N_i, D] each.
            batch_size: bags padded to one length and run together; without effect on the result.

        Raises:
            InputError: no bags, an empty bag, or another width than the head was fitted for.
        """
        if not bags or batch_size < 1:
            raise InputError("predict needs at least one bag and a batch_size of at least 1.")
        _check_bags(bags, self.width)
        probabilities, attention = [], []
        for start in range(0, len(bags), batch_size):
            chunk = bags[start : start + batch_size]
            tiles = nn.utils.rnn.pad_sequence([bag.float() for bag in chunk], batch_first=True)
            sizes = torch.tensor([len(bag) for bag in chunk], device=tiles.device)
            mask = torch.arange(tiles.shape[1], device=tiles.device) < sizes[:, None]
            logits, weights = self.logits(tiles, mask)
            probabilities.append(logits.softmax(dim=-1))
            attention += [row[: len(bag)] for row, bag in zip(weights, chunk, strict=True)]
        return torch.cat(probabilities), attention

    def scores(self, embeddings: Tensor) -> Tensor:
        """Return probabilities float32 [1, K] of one bag: the embeddings float [N, D] of its tiles."""
        return self.predict([as_embeddings(embeddings, width=self.width)])[0]

    def __call__(self, outputs: Outputs) -> dict[str, Tensor]:
        """Return ``probabilities`` [1, K] and ``attention`` [1, N]; the rows of ``outputs`` are one bag."""
        probabilities, attention = self.predict(
            [as_embeddings(pick(outputs, self.modality), width=self.width)]
        )
        return {"probabilities": probabilities, "attention": attention[0][None]}

    def to_config(self) -> dict[str, Any]:
        """Return everything but the tensors."""
        return AttentionMILConfig(
            modality=self.modality, class_names=self.class_names, gated=self.gated
        ).model_dump(mode="json")

    def tensors(self) -> dict[str, Tensor]:
        """Return the weights of the layers by name."""
        return {name: tensor.detach() for name, tensor in self._network.state_dict().items()}

    @classmethod
    def from_config(cls, config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> AttentionMIL:
        """Return the head that :meth:`to_config` and :meth:`tensors` describe."""
        shapes = {**_SHAPES, **(_GATE if config.get("gated") is True else {})}
        parsed = parse_head(AttentionMILConfig, config, tensors, shapes)
        check_names(parsed.class_names, len(tensors["classify.bias"]))
        return cls(tensors, parsed.class_names, gated=parsed.gated, modality=parsed.modality)


def _labels(
    bags: Bags, targets: ArrayLike, class_names: Sequence[str], *, width: int | None = None
) -> NDArray[np.int64]:
    """Return targets as int64 [bags] after checking that bags and targets agree."""
    if not bags:
        raise InputError("There are no bags to fit on.")
    _check_bags(bags, width or bags[0].shape[-1])
    labels = np.asarray(targets)
    if labels.shape != (len(bags),) or not np.issubdtype(labels.dtype, np.integer):
        raise InputError(f"targets must be {len(bags)} class indices, got {labels.dtype} {labels.shape}.")
    if len(class_names) < 2 or labels.min() < 0 or labels.max() >= len(class_names):
        raise InputError(
            f"targets must lie in [0, {len(class_names)}) with two classes or more, got {labels.min()} to "
            f"{labels.max()}; class_names must cover every class."
        )
    return labels.astype(np.int64)


def _check_bags(bags: Bags, width: int) -> None:
    for position, bag in enumerate(bags):
        if bag.ndim != 2 or bag.shape[1] != width or not len(bag):
            raise InputError(
                f"bag {position} must be [N, {width}] with at least one tile, got {list(bag.shape)}."
            )
        if not bool(torch.isfinite(bag).all()):
            raise InputError(f"bag {position} holds an embedding that is not finite.")
