"""The architecture ``unified_product``: one transformer reads picture and text of a product together.

The tokens of an image tower and of a text tower are projected to one width, marked with what they are, and
read by a few pre-norm blocks behind one more token, whose last state is the product. A missing side is one
learned mask token, so that picture alone and text alone lie in the same space. The sizes are this project's
choice: those of the published system are not known.

Reference: "Unified Vision-Language Representation Modeling for E-Commerce Same-Style Products Retrieval",
arXiv 2302.05093, section 3 and the structure figure of its repository.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from ....core.blocks import Attention, Mlp, check_heads, fill_normal, new_matrix
from ....core.config import Config, ModelConfig, OpenClipTower, TowerConfig, parse_config
from ....core.errors import ConfigError, InputError
from ....core.towers import Tower
from ....core.types import TokenOutput
from .views import PARTS, Inputs, ProductModel, View


class UnifiedOptions(Config):
    """``options`` of a model config with ``architecture: unified_product``."""

    width: int = Field(default=512, ge=8, le=4096)
    layers: int = Field(default=4, ge=1, le=48)
    heads: int = Field(default=8, ge=1)
    mlp_width: int | None = Field(default=None, ge=8)
    """None is four times the width."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Of the states that enter the blocks, in training."""


class MaskedBlock(nn.Module):
    """Pre-norm residual block whose attention leaves out masked positions."""

    def __init__(self, width: int, heads: int, *, mlp_width: int) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(width)
        self.attn = Attention(width, heads)
        self.ln_2 = nn.LayerNorm(width)
        self.mlp = Mlp(width, mlp_width, quick_gelu=False)

    def forward(self, states: Tensor, seen: Tensor) -> Tensor:
        """Return states [B, T, W] after this block; ``seen`` is bool [B, 1, 1, T]."""
        attn = self.attn
        qkv = F.linear(self.ln_1(states), attn.in_proj_weight, attn.in_proj_bias)
        query, key, value = qkv.unflatten(-1, (3, attn.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=seen)
        states = states + attn.out_proj(mixed.transpose(1, 2).flatten(2))
        return states + self.mlp(self.ln_2(states))


class JointEncoder(nn.Module):
    """From the tokens of both towers to one vector per product.

    Args:
        options: sizes. widths: of the tokens of image and text. dim: D.

    Attributes:
        product: [PROD], float [W]. kinds, masks: what marks a token of each side, and what stands for a side
            that is missing.
    """

    def __init__(self, options: UnifiedOptions, widths: Mapping[str, int], dim: int) -> None:
        super().__init__()
        check_heads(options.width, options.heads)
        width = options.width
        self.dropout = options.dropout
        self.inputs = nn.ModuleDict({name: nn.Linear(widths[name], width) for name in PARTS})
        self.product = new_matrix(width, std=0.02)
        self.kinds = nn.ParameterDict({name: new_matrix(width, std=0.02) for name in PARTS})
        self.masks = nn.ParameterDict({name: new_matrix(width, std=0.02) for name in PARTS})
        hidden = options.mlp_width or 4 * width
        blocks = [MaskedBlock(width, options.heads, mlp_width=hidden) for _ in range(options.layers)]
        for block in blocks:
            fill_normal(block.attn.in_proj_weight, width**-0.5)
            fill_normal(block.attn.out_proj.weight, (2 * options.layers * width) ** -0.5)
            fill_normal(block.mlp.c_proj.weight, (2 * options.layers * hidden) ** -0.5)
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.LayerNorm(width)
        self.output = nn.Linear(width, dim, bias=False)

    def lift(self, name: str, tokens: Tensor) -> Tensor:
        """Return tokens [B, N, width] of a side, marked as such, from those of its tower."""
        return self.inputs[name](tokens) + self.kinds[name]

    def forward(self, sides: Mapping[str, TokenOutput], present: Mapping[str, Tensor]) -> Tensor:
        """Return vectors [B, D], of any length.

        Args:
            sides: lifted tokens [B, N, width] of the sides that some row has, with masks.
            present: bool [B] for each of ``sides``; where False, one mask token stands for the side.
        """
        count = next(iter(sides.values())).tokens.shape[0]
        first = self.product.expand(count, 1, -1)
        pieces, seen = [first], [torch.ones(count, 1, dtype=torch.bool, device=first.device)]
        for name in PARTS:
            mask_token = (self.masks[name] + self.kinds[name]).to(first.dtype).expand(count, 1, -1)
            if name not in sides:
                pieces.append(mask_token)
                seen.append(seen[0])
                continue
            tokens, mask, has = sides[name].tokens, sides[name].mask, present[name][:, None]
            if mask is None:
                mask = torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device)
            # The mask token has a column of its own: a row reads it or the tokens, never both.
            pieces += [mask_token, tokens]
            seen += [~has, mask & has]
        states = F.dropout(torch.cat(pieces, dim=1), self.dropout, self.training)
        visible = torch.cat(seen, dim=1)[:, None, None, :]
        for block in self.blocks:
            states = block(states, visible)
        return self.output(self.norm(states[:, 0]))


class UnifiedProductEncoder(ProductModel):
    """Single-stream product encoder over the tokens of two towers.

    ``embed("image", ...)`` and ``embed("text", ...)`` give the product with the other side masked, so that
    zero-shot classes, search and everything else that takes a two-tower model work.

    Attributes:
        joint: the transformer over both.

    Raises:
        ConfigError: a tower that keeps no tokens, or options of another architecture.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        options = parse_config(UnifiedOptions, config.options, source=f"{config.name}: options")
        widths = {name: _token_width(config.towers[name], self.towers[name]) for name in PARTS}  # pyright: ignore[reportArgumentType]
        # What towers are pooled to is not read here; their tokens are.
        self.projections = nn.ModuleDict({name: nn.Identity() for name in PARTS})
        self.joint = JointEncoder(options, widths, config.embed_dim)

    def embed(
        self, modality: str, inputs: Mapping[str, Tensor], *, tokens: bool = False
    ) -> tuple[Tensor, TokenOutput | None]:
        """Return raw embeddings float32 [B, D] with the other side masked, and the tower's token states."""
        output = self._run(modality, inputs, tokens=True).tokens
        states = self._checked(modality, inputs, output)
        present = {modality: states.tokens.new_ones(states.tokens.shape[0], dtype=torch.bool)}
        lifted = TokenOutput(self.joint.lift(modality, states.tokens), None, states.mask)
        return self.joint({modality: lifted}, present).float(), output if tokens else None

    def embed_views(
        self, inputs: Inputs, present: Mapping[str, Tensor], views: Sequence[View]
    ) -> dict[str, Tensor]:
        """Return raw embeddings by view; towers run once. See the base class."""
        sides: dict[str, TokenOutput] = {}
        for name, tensors in inputs.items():
            states = self._checked(name, tensors, self._run(name, tensors, tokens=True).tokens)
            sides[name] = TokenOutput(self.joint.lift(name, states.tokens), None, states.mask)
        found: dict[str, Tensor] = {}
        for view in views:
            shown = sides if view == "product" else {view: sides[view]}
            # A row without this side has no such view; it reads whatever its tokens are.
            known = present if view == "product" else {view: torch.ones_like(present[view])}
            found[view] = self.joint(shown, known).float()
        return found

    def _checked(
        self, modality: str, inputs: Mapping[str, Tensor], output: TokenOutput | None
    ) -> TokenOutput:
        """Return the tower's tokens with a mask of what is no padding."""
        if output is None:
            raise InputError(
                f"The {modality} tower of {self.config.name} gives no tokens, which unified_product reads."
            )
        mask, given = output.mask, inputs.get("attention_mask")
        if mask is None and given is not None and given.shape == output.tokens.shape[:2]:
            mask = given.bool()
        return TokenOutput(output.tokens, output.grid, mask)


def _token_width(config: TowerConfig, tower: Tower) -> int:
    """Return the width W of a tower's token states, which may be pooled to another one."""
    if isinstance(config, OpenClipTower):
        given = config.options.get("width", 768 if config.kind == "vision" else 512)
        if not isinstance(given, int):
            raise ConfigError(f"open_clip {config.kind} tower: width must be a number, got {given!r}.")
        return given
    return int(getattr(config, "width", tower.width))
