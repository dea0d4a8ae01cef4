"""What BioViL-T adds to the image tower: a transformer that compares the image with an earlier one.

Reference: Bannur et al., "Learning to Exploit Temporal Structure for Biomedical Vision-Language
Processing", 2023; microsoft/hi-ml, ``health_multimodal/image/model/{encoder,transformer}.py``.
"""

from __future__ import annotations

import math
from typing import cast

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from ....core.config import Config
from ....core.errors import ConfigError

_TEMPERATURE = 10_000.0
_NORM_EPS = 1e-6


class TemporalOptions(Config):
    """Sizes of the temporal encoder; the defaults are those of the published BioViL-T."""

    dim: int = Field(default=256, ge=4, multiple_of=4)
    """Channels of the image itself and, again, of its difference to the earlier one."""
    grid: tuple[int, int] = (14, 14)
    """Rows and columns of patches that the comparison was trained on."""
    heads: int = Field(default=8, ge=1)
    blocks: int = Field(default=3, ge=1)
    mlp_width: int = Field(default=256, ge=1)
    dropout: float = Field(default=0.1, ge=0, lt=1)
    attention_dropout: float = Field(default=0.1, ge=0, lt=1)
    drop_path: float = Field(default=0.25, ge=0, lt=1)


def sine_positions(grid: tuple[int, int], dim: int, *, device: torch.device | None = None) -> Tensor:
    """Return fixed position codes float32 [1, h * w, dim], row by row.

    With ``half = dim / 2`` and ``t_k = 10000^(2 floor(k / 2) / half)``, feature k < half of row i
    (from 1) is the sine (even k) or cosine (odd k) of ``2 pi i / (h + 1e-6) / t_k``; the other half
    codes the column in the same way.
    """
    half = dim // 2
    index = torch.arange(half, dtype=torch.float32, device=device)
    wavelength = _TEMPERATURE ** (2 * torch.div(index, 2, rounding_mode="floor") / half)

    def code(count: int) -> Tensor:
        steps = torch.arange(1, count + 1, dtype=torch.float32, device=device)
        phase = (steps / (count + 1e-6) * 2 * math.pi)[:, None] / wavelength
        return torch.where(index % 2 == 0, phase.sin(), phase.cos())

    rows, columns = code(grid[0]), code(grid[1])
    codes = (rows[:, None].expand(-1, grid[1], -1), columns[None].expand(grid[0], -1, -1))
    return torch.cat(codes, dim=-1).flatten(0, 1)[None]


class _Attention(nn.Module):
    """Self-attention; queries, keys and values have no bias, the output projection has one."""

    def __init__(self, options: TemporalOptions) -> None:
        super().__init__()
        self.heads, self.rate = options.heads, options.attention_dropout
        self.proj_q = nn.Linear(options.dim, options.dim, bias=False)
        self.proj_k = nn.Linear(options.dim, options.dim, bias=False)
        self.proj_v = nn.Linear(options.dim, options.dim, bias=False)
        self.proj = nn.Linear(options.dim, options.dim)

    def split(self, states: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return query, key and value, each [B, heads, T, dim / heads]."""
        query, key, value = (
            linear(states).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for linear in (self.proj_q, self.proj_k, self.proj_v)
        )
        return query, key, value

    def forward(self, states: Tensor) -> Tensor:
        """Return attended states [B, T, dim]."""
        query, key, value = self.split(states)
        rate = self.rate if self.training else 0.0
        mixed = F.scaled_dot_product_attention(query, key, value, dropout_p=rate)
        return self.proj(mixed.transpose(1, 2).flatten(2))


class _Mlp(nn.Module):
    """Two linears with an exact GELU; dropout behind each."""

    def __init__(self, options: TemporalOptions) -> None:
        super().__init__()
        self.rate = options.dropout
        self.fc1 = nn.Linear(options.dim, options.mlp_width)
        self.fc2 = nn.Linear(options.mlp_width, options.dim)

    def forward(self, states: Tensor) -> Tensor:
        """Return new states, same shape."""
        hidden = F.dropout(F.gelu(self.fc1(states)), self.rate, self.training)
        return F.dropout(self.fc2(hidden), self.rate, self.training)


class TemporalBlock(nn.Module):
    """Pre-norm block whose attention sees ``LN(x) + E``: the codes reach the values as well.

    ``x <- x + DropPath(MHSA(LN1(x) + E))``, then ``x <- x + DropPath(MLP(LN2(x)))``.
    """

    def __init__(self, options: TemporalOptions) -> None:
        super().__init__()
        self.drop_path = options.drop_path
        self.rate = options.dropout
        self.norm1 = nn.LayerNorm(options.dim, _NORM_EPS)
        self.attn = _Attention(options)
        self.norm2 = nn.LayerNorm(options.dim, _NORM_EPS)
        self.mlp = _Mlp(options)

    def forward(self, states: Tensor, codes: Tensor) -> Tensor:
        """Return the states [B, T, dim]; ``codes`` E is [1, T, dim]."""
        attended = F.dropout(self.attn(self.norm1(states) + codes), self.rate, self.training)
        states = states + self._drop(attended)
        return states + self._drop(self.mlp(self.norm2(states)))

    def attention_weights(self, states: Tensor, codes: Tensor) -> Tensor:
        """Return who looks at whom, float [B, heads, T, T], rows summing to one."""
        query, key, _ = self.attn.split(self.norm1(states) + codes)
        return (query @ key.transpose(-2, -1) * query.shape[-1] ** -0.5).softmax(dim=-1)

    def _drop(self, branch: Tensor) -> Tensor:
        """Leave the whole branch of a sample out with probability ``drop_path``, in training only."""
        if not self.training or self.drop_path == 0:
            return branch
        keep = branch.new_empty(len(branch), 1, 1).bernoulli_(1 - self.drop_path)
        return branch * keep / (1 - self.drop_path)


class TemporalEncoder(nn.Module):
    """From the feature maps of an image and, where there is one, of an earlier image to its patches.

    Args:
        channels: C of the backbone's last feature map.
        options: sizes.

    Attributes:
        width: channels of the result, twice ``options.dim``: the image itself, then the difference.
    """

    def __init__(self, channels: int, options: TemporalOptions) -> None:
        super().__init__()
        if options.dim % options.heads:
            raise ConfigError(
                f"options.temporal: dim {options.dim} is not a multiple of heads {options.heads}. Change one."
            )
        self.options = options
        self.width = 2 * options.dim
        self.reduce = nn.Conv2d(channels, options.dim, 1, bias=False)
        self.missing_previous = nn.Parameter(torch.zeros(1, options.dim, 1, 1))
        self.type_embed = nn.Parameter(torch.zeros(2, 1, options.dim))
        self.blocks = nn.ModuleList(TemporalBlock(options) for _ in range(options.blocks))
        self.norm = nn.LayerNorm(options.dim, _NORM_EPS)
        self._start()

    def _start(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        nn.init.trunc_normal_(self.type_embed, std=0.02)
        nn.init.trunc_normal_(self.missing_previous, std=0.02)

    def forward(self, current: Tensor, previous: Tensor | None, has_previous: Tensor | None = None) -> Tensor:
        """Return the patches float [B, 2 dim, h, w].

        Without an earlier image the difference is one learnt vector and the transformer does not run.

        Args:
            current: feature maps [B, C, h, w].
            previous: feature maps [R, C, h, w] of the earlier images of the rows that have one, in row
                order; None for no row. h and w are those of ``options.grid``.
            has_previous: bool [B], True at those R rows; None is all rows.
        """
        static = self.reduce(current)
        missing = self.missing_previous.to(static.dtype).expand_as(static)
        if previous is None:
            return torch.cat([static, missing], dim=1)
        if has_previous is None:
            return torch.cat([static, self.difference(static, self.reduce(previous))], dim=1)
        found = self.difference(static[has_previous], self.reduce(previous))
        rows = has_previous.nonzero().flatten()
        return torch.cat([static, missing.index_copy(0, rows, found.to(static.dtype))], dim=1)

    def difference(self, current: Tensor, previous: Tensor) -> Tensor:
        """Return what changed, [B, dim, h, w], from two reduced maps of that shape."""
        states, codes = self.tokens(current, previous)
        states = F.dropout(states, self.options.dropout, self.training)
        for block in self.blocks:
            states = block(states, codes)
        length = states.shape[1] // 2
        return self.norm(states[:, :length]).transpose(1, 2).unflatten(-1, current.shape[2:])

    def tokens(self, current: Tensor, previous: Tensor) -> tuple[Tensor, Tensor]:
        """Return the tokens [B, 2 L, dim] of both maps, current first, and the codes E [1, 2 L, dim]."""
        states = torch.cat([part.flatten(2).transpose(1, 2) for part in (current, previous)], dim=1)
        grid = (int(current.shape[2]), int(current.shape[3]))
        positions = sine_positions(grid, self.options.dim, device=states.device)
        codes = torch.cat([positions + kind for kind in self.type_embed], dim=1)
        return states, codes.to(states.dtype)

    def first_block(self) -> TemporalBlock:
        """Return block 0, whose attention shows what is compared with what."""
        return cast("TemporalBlock", self.blocks[0])
