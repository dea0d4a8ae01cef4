"""CXR-BERT's two heads on our own BERT: masked words, and the projection into the joint space.

Reference: Boecking et al., "Making the Most of Text Semantics to Improve Biomedical Vision-Language
Processing", 2022; microsoft/hi-ml, ``health_multimodal/text/model``.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ....core.config import BertTower


def _start(module: nn.Module) -> None:
    """Begin as BERT does: weights from a normal of deviation 0.02, biases at zero."""
    for part in module.modules():
        if isinstance(part, nn.Linear):
            nn.init.normal_(part.weight, std=0.02)
            nn.init.zeros_(part.bias)


class TextProjection(nn.Module):
    """From the raw state of [CLS], or of any token, to the joint space.

    Linear, exact GELU, layer norm, linear; there is no tanh pooler before it. Not normalized.
    """

    eps = 1e-12
    """Of the layer norm; a constant of the reference, whatever the text tower has."""

    def __init__(self, width: int, embed_dim: int, *, hidden: int) -> None:
        super().__init__()
        self.dense_to_hidden = nn.Linear(width, hidden)
        self.norm = nn.LayerNorm(hidden, self.eps)
        self.dense_to_output = nn.Linear(hidden, embed_dim)
        _start(self)

    def forward(self, states: Tensor) -> Tensor:
        """Return float [..., D] from states [..., W]."""
        return self.dense_to_output(self.norm(F.gelu(self.dense_to_hidden(states))))


class MaskedWordHead(nn.Module):
    """BERT's masked-word head. Its decoder is the word embedding itself, so only a bias is stored."""

    def __init__(self, config: BertTower) -> None:
        super().__init__()
        self.dense = nn.Linear(config.width, config.width)
        self.norm = nn.LayerNorm(config.width, config.layer_norm_eps)
        self.bias = nn.Parameter(torch.zeros(config.vocab_size))
        _start(self)

    def forward(self, states: Tensor, words: Tensor) -> Tensor:
        """Return a score per word, float [..., V].

        Args:
            states: last states of the text tower [..., W].
            words: word embedding [V, W].
        """
        return F.linear(self.norm(F.gelu(self.dense(states))), words, self.bias)
