"""The parts that our transformer towers share: one block type, one read-out, one way to check inputs.

Every linear layer sees a contiguous [B, T, W] tensor: torch 2.14 runs a linear on a transposed view
46-240 times slower without grad, which is what ``nn.MultiheadAttention`` falls into under autocast.

A tower is three steps, so that :mod:`verticlip.core.inference` can replace the middle one:
``embed`` (inputs to states), ``encode`` (all blocks), ``finish`` (last norm, pooling, projection).

Reference: Vaswani et al., "Attention Is All You Need", 2017, section 3; pre-norm blocks as in
Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", 2021.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .config import CausalTextTower, VisionTransformerTower
from .errors import ConfigError, InputError
from .towers import Tower, masked_pool
from .types import TokenOutput, TowerOutput


@dataclass(frozen=True)
class Embedded:
    """What the blocks start from.

    Attributes:
        states: float [B, T, W].
        key_mask: bool [B, T], True where a position may be attended to; None when all may.
        causal: whether a position sees only itself and earlier ones.
        read: int64 [B], the one position of each row that pooling reads; None when it reads all.
    """

    states: Tensor
    key_mask: Tensor | None = None
    causal: bool = False
    read: Tensor | None = None


@dataclass(frozen=True)
class BlockParts:
    """The weights of one block in a form shared by all towers, for the inference fast path.

    Attributes:
        qkv_weight: float [3 W, W], rows ordered query, key, value.
        qkv_bias: float [3 W].
        norms: the norm around attention and the norm around the MLP.
        pre_norm: norms come before their sublayer (CLIP) instead of after the residual (BERT).
    """

    qkv_weight: Tensor
    qkv_bias: Tensor
    out: nn.Linear
    up: nn.Linear
    down: nn.Linear
    norms: tuple[nn.LayerNorm, nn.LayerNorm]
    heads: int
    pre_norm: bool
    quick_gelu: bool = False


class TransformerTower(Tower):
    """Base of the towers here; see the module text for the three steps."""

    skip_tokens = 0
    """Leading positions that are not tokens of the input (a class token)."""
    grid: tuple[int, int] | None = None

    def embed(self, inputs: Mapping[str, Tensor]) -> Embedded:
        """Return the states that enter the first block."""
        raise NotImplementedError

    def encode(self, embedded: Embedded) -> Tensor:
        """Return the states [B, T, W] after the last block."""
        raise NotImplementedError

    def normalize(self, states: Tensor) -> Tensor:
        """Return ``states`` [..., W] after the tower's last norm, position by position."""
        return states

    def parts(self) -> list[BlockParts]:
        """Return the weights of every block, first to last."""
        raise NotImplementedError

    def forward(self, inputs: Mapping[str, Tensor], *, tokens: bool = False) -> TowerOutput:
        """Return pooled [B, ``width``] and, when ``tokens``, the normed states [B, N, W]."""
        embedded = self.embed(inputs)
        return self.finish(self.encode(embedded), embedded, tokens=tokens)

    def finish(self, states: Tensor, embedded: Embedded, *, tokens: bool = False) -> TowerOutput:
        """Return the tower's output from the states [B, T, W] after the last block."""
        if embedded.read is None:
            states = self.normalize(states)
            pooled = masked_pool(states, embedded.key_mask)
        elif tokens:
            states = self.normalize(states)
            pooled = gather_rows(states, embedded.read)
        else:
            pooled = self.normalize(gather_rows(states, embedded.read))
        pooled = self.project(pooled)
        if not tokens:
            return TowerOutput(pooled)
        mask = embedded.key_mask
        if embedded.causal and embedded.read is not None:
            mask = torch.arange(states.shape[1], device=states.device) <= embedded.read[:, None]
        return TowerOutput(pooled, TokenOutput(states[:, self.skip_tokens :], self.grid, mask))


def gather_rows(states: Tensor, read: Tensor) -> Tensor:
    """Return [B, W]: from each row of ``states`` [B, T, W] its position ``read`` [B]."""
    return states[torch.arange(states.shape[0], device=states.device), read]


def key_bias(embedded: Embedded) -> Tensor | None:
    """Return the key mask as bool [B, 1, 1, T] for scaled dot-product attention, or None."""
    return None if embedded.key_mask is None else embedded.key_mask[:, None, None, :]


class Attention(nn.Module):
    """Multi-head self-attention with one fused query-key-value product."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)

    def forward(self, states: Tensor, *, causal: bool) -> Tensor:
        """Return attended states; ``states`` and the result are float [B, T, W]."""
        qkv = F.linear(states, self.in_proj_weight, self.in_proj_bias)
        query, key, value = qkv.unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=causal)
        return self.out_proj(mixed.transpose(1, 2).flatten(2))


class QuickGELU(nn.Module):
    """The sigmoid form of GELU that the first CLIP checkpoints were trained with."""

    def forward(self, states: Tensor) -> Tensor:
        """Return ``x * sigmoid(1.702 x)``, same shape."""
        return states * torch.sigmoid(1.702 * states)


class Mlp(nn.Module):
    """The two linears of a block with a GELU between them."""

    def __init__(self, width: int, hidden: int, *, quick_gelu: bool) -> None:
        super().__init__()
        self.c_fc = nn.Linear(width, hidden)
        self.gelu = QuickGELU() if quick_gelu else nn.GELU()
        self.c_proj = nn.Linear(hidden, width)

    def forward(self, states: Tensor) -> Tensor:
        """Return new states, same shape."""
        return self.c_proj(self.gelu(self.c_fc(states)))


class Block(nn.Module):
    """Pre-norm residual block of CLIP: attention, then MLP."""

    def __init__(self, width: int, heads: int, *, mlp_width: int, quick_gelu: bool) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(width)
        self.attn = Attention(width, heads)
        self.ln_2 = nn.LayerNorm(width)
        self.mlp = Mlp(width, mlp_width, quick_gelu=quick_gelu)

    def forward(self, states: Tensor, *, causal: bool) -> Tensor:
        """Return the states [B, T, W] after this block."""
        states = states + self.attn(self.ln_1(states), causal=causal)
        return states + self.mlp(self.ln_2(states))


class Blocks(nn.Module):
    """The stack of blocks of a CLIP tower."""

    def __init__(self, config: VisionTransformerTower | CausalTextTower) -> None:
        super().__init__()
        check_heads(config.width, config.heads)
        self.quick_gelu = config.quick_gelu
        blocks = [
            Block(config.width, config.heads, mlp_width=config.mlp_width, quick_gelu=config.quick_gelu)
            for _ in range(config.layers)
        ]
        # Depth-scaled normal start, as in the published code of Radford et al. for the text tower.
        inner, outer = config.width**-0.5, config.width**-0.5 * (2 * config.layers) ** -0.5
        for block in blocks:
            fill_normal(block.attn.in_proj_weight, inner)
            fill_normal(block.attn.out_proj.weight, outer)
            fill_normal(block.mlp.c_fc.weight, (2 * config.width) ** -0.5)
            fill_normal(block.mlp.c_proj.weight, outer)
        self.resblocks = nn.ModuleList(blocks)

    def forward(self, states: Tensor, *, causal: bool) -> Tensor:
        """Return the states [B, T, W] after all blocks."""
        for block in self.resblocks:
            states = block(states, causal=causal)
        return states

    def parts(self) -> list[BlockParts]:
        """Return the weights of every block, first to last."""
        return [
            BlockParts(
                qkv_weight=block.attn.in_proj_weight,
                qkv_bias=block.attn.in_proj_bias,
                out=block.attn.out_proj,
                up=block.mlp.c_fc,
                down=block.mlp.c_proj,
                norms=(block.ln_1, block.ln_2),
                heads=block.attn.heads,
                pre_norm=True,
                quick_gelu=self.quick_gelu,
            )
            for block in cast(Iterable[Block], self.resblocks)
        ]


def fill_normal(parameter: Tensor, std: float) -> None:
    """Fill with normal values in place; a parameter on the ``meta`` device has none to fill.

    torch would import its compiler to do nothing there: one second added to loading a model.
    """
    if not parameter.is_meta:
        nn.init.normal_(parameter, std=std)


def new_embedding(count: int, width: int) -> nn.Embedding:
    """Return an embedding table with the usual start values of text transformers."""
    # Given a table, the constructor does not fill one of its own; see fill_normal.
    table = nn.Embedding(count, width, _weight=torch.empty(count, width))
    fill_normal(table.weight, 0.02)
    return table


def new_matrix(*shape: int, std: float) -> nn.Parameter:
    """Return a parameter of ``shape`` with normal values."""
    parameter = nn.Parameter(torch.empty(*shape))
    fill_normal(parameter, std)
    return parameter


def check_heads(width: int, heads: int) -> None:
    """Raise ``ConfigError`` unless ``heads`` divides ``width``."""
    if width % heads:
        raise ConfigError(f"Tower width {width} is not a multiple of heads {heads}. Change one of them.")


def input_of(inputs: Mapping[str, Tensor], name: str) -> Tensor:
    """Return the input called ``name``, or raise an ``InputError`` that names what came instead."""
    if name not in inputs:
        raise InputError(
            f"The tower needs {name!r}, got {sorted(inputs) or 'nothing'}. Use the model's processor."
        )
    return inputs[name]


def values_known() -> bool:
    """Return whether code may look at the values of tensors: not while a graph for all of them is made.

    An exported graph checks no values and cuts no padding, which costs time and changes no answer.
    """
    return not torch.compiler.is_exporting()


def token_ids(inputs: Mapping[str, Tensor], *, length: int, vocabulary: int) -> Tensor:
    """Return ``input_ids`` [B, L] after checking shape, length and range."""
    ids = input_of(inputs, "input_ids")
    if ids.ndim != 2 or not ids.shape[0] or not 1 <= ids.shape[1] <= length:
        raise InputError(
            f"input_ids: expected [B >= 1, 1..{length}], got {list(ids.shape)}. "
            "Shorten or split the text, or skip an empty batch."
        )
    if values_known() and not 0 <= int(ids.min()) <= int(ids.max()) < vocabulary:
        raise InputError(
            f"input_ids: {int(ids.min())}..{int(ids.max())} is outside the vocabulary 0..{vocabulary - 1}. "
            "The tokenizer belongs to another model."
        )
    return ids
