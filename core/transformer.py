"""Our own transformer towers: Vision Transformer, causal CLIP text tower, BERT.

Parameter names are those of the published checkpoints (open_clip for the two CLIP towers,
transformers for BERT), so a state dict loads strictly without a key map.

Reference: Dosovitskiy et al., "An Image is Worth 16x16 Words", 2021, section 3.1; Radford et al.,
"Learning Transferable Visual Models From Natural Language Supervision", 2021, section 2.4; Devlin
et al., "BERT: Pre-training of Deep Bidirectional Transformers", 2019, section 3.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .blocks import (
    BlockParts,
    Blocks,
    Embedded,
    TransformerTower,
    check_heads,
    fill_normal,
    input_of,
    key_bias,
    new_embedding,
    new_matrix,
    token_ids,
    values_known,
)
from .config import BertTower, CausalTextTower, VisionTransformerTower
from .errors import ConfigError, InputError


class VisionTransformer(TransformerTower):
    """Vision Transformer in the layout of OpenAI CLIP, pooled at the class token.

    Takes ``pixels`` float [B, C, S, S] with S the configured size, normalized by the processor.
    Tokens are the patch states after the last norm, row by row over ``grid``.
    """

    skip_tokens = 1

    def __init__(self, config: VisionTransformerTower) -> None:
        super().__init__()
        side = config.image_size // config.patch_size
        if side == 0:
            raise ConfigError(
                f"vit: patch_size {config.patch_size} is larger than image_size {config.image_size}. "
                "Use patches no larger than the image."
            )
        scale = config.width**-0.5
        self.grid = (side, side)
        self.pixel_shape = (config.channels, config.image_size, config.image_size)
        self.width = config.output_dim or config.width
        self.conv1 = nn.Conv2d(
            config.channels, config.width, config.patch_size, config.patch_size, bias=False
        )
        self.class_embedding = new_matrix(config.width, std=scale)
        self.positional_embedding = new_matrix(side * side + 1, config.width, std=scale)
        self.ln_pre = nn.LayerNorm(config.width)
        self.transformer = Blocks(config)
        self.ln_post = nn.LayerNorm(config.width)
        self.proj = (
            None if config.output_dim is None else new_matrix(config.width, config.output_dim, std=scale)
        )

    def embed(self, inputs: Mapping[str, Tensor]) -> Embedded:
        """Return class token and patches [B, 1 + N, W] with positions, after the first norm.

        Raises:
            InputError: ``pixels`` is missing or of another shape.
        """
        pixels = input_of(inputs, "pixels")
        if pixels.ndim != 4 or tuple(pixels.shape[1:]) != self.pixel_shape:
            raise InputError(
                f"pixels: expected [B, {', '.join(map(str, self.pixel_shape))}], got {list(pixels.shape)}. "
                "Use the processor stored with the model."
            )
        patches = self.conv1(pixels.to(self.conv1.weight.dtype)).flatten(2).transpose(1, 2)
        first = self.class_embedding.to(patches.dtype).expand(patches.shape[0], 1, -1)
        states = torch.cat([first, patches], dim=1) + self.positional_embedding.to(patches.dtype)
        read = torch.zeros(patches.shape[0], dtype=torch.long, device=patches.device)
        return Embedded(self.ln_pre(states), read=read)

    def encode(self, embedded: Embedded) -> Tensor:
        """Return the states [B, 1 + N, W] after the last block."""
        return self.transformer(embedded.states, causal=False)

    def normalize(self, states: Tensor) -> Tensor:
        """Return ``states`` after ``ln_post``."""
        return self.ln_post(states)

    def project(self, states: Tensor) -> Tensor:
        """Return ``states`` times ``proj``."""
        return states if self.proj is None else states @ self.proj

    def parts(self) -> list[BlockParts]:
        """Return the weights of every block, first to last."""
        return self.transformer.parts()


class CausalText(TransformerTower):
    """Causal text transformer of OpenAI CLIP, pooled at the end-of-text token (the highest id).

    Takes ``input_ids`` int64 [B, L]. The batch is cut to its longest real length, which changes
    nothing: no position up to the end-of-text token can see a later one. Tokens come back cut
    the same way, with a mask that ends at the end-of-text token.
    """

    def __init__(self, config: CausalTextTower) -> None:
        super().__init__()
        self.context_length = config.context_length
        self.width = config.output_dim or config.width
        self.token_embedding = new_embedding(config.vocab_size, config.width)
        self.positional_embedding = new_matrix(config.context_length, config.width, std=0.01)
        self.transformer = Blocks(config)
        self.ln_final = nn.LayerNorm(config.width)
        self.text_projection = None
        if config.output_dim is not None:
            self.text_projection = new_matrix(config.width, config.output_dim, std=config.width**-0.5)

    def embed(self, inputs: Mapping[str, Tensor]) -> Embedded:
        """Return token plus position embeddings [B, n, W], n the longest real length.

        Raises:
            InputError: ``input_ids`` is missing, too long, or has an id outside the vocabulary.
        """
        ids = token_ids(inputs, length=self.context_length, vocabulary=self.token_embedding.num_embeddings)
        end = ids.argmax(dim=-1)
        if values_known():
            ids = ids[:, : int(end.max()) + 1]
        states = self.token_embedding(ids) + self.positional_embedding[: ids.shape[1]]
        return Embedded(states, causal=True, read=end)

    def encode(self, embedded: Embedded) -> Tensor:
        """Return the states [B, n, W] after the last block."""
        return self.transformer(embedded.states, causal=True)

    def normalize(self, states: Tensor) -> Tensor:
        """Return ``states`` after ``ln_final``."""
        return self.ln_final(states)

    def project(self, states: Tensor) -> Tensor:
        """Return ``states`` times ``text_projection``."""
        return states if self.text_projection is None else states @ self.text_projection

    def parts(self) -> list[BlockParts]:
        """Return the weights of every block, first to last."""
        return self.transformer.parts()


class BertProjections(nn.Module):
    """Query, key and value of one BERT layer, stored apart as published."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)


class BertOutput(nn.Module):
    """The linear, dropout, residual and norm that end both halves of a BERT layer."""

    def __init__(self, config: BertTower, *, inputs: int) -> None:
        super().__init__()
        self.rate = config.dropout
        self.dense = nn.Linear(inputs, config.width)
        self.LayerNorm = nn.LayerNorm(config.width, config.layer_norm_eps)

    def forward(self, hidden: Tensor, states: Tensor) -> Tensor:
        """Return ``norm(states + linear(hidden))``, float [B, T, W]."""
        return self.LayerNorm(states + F.dropout(self.dense(hidden), self.rate, self.training))


class BertAttention(nn.Module):
    """Self-attention half of a BERT layer."""

    def __init__(self, config: BertTower) -> None:
        super().__init__()
        self.heads, self.rate = config.heads, config.dropout
        self.self = BertProjections(config.width)
        self.output = BertOutput(config, inputs=config.width)

    def forward(self, states: Tensor, mask: Tensor | None) -> Tensor:
        """Return the states [B, T, W]; ``mask`` is bool [B, 1, 1, T], False at padding, or None."""
        query, key, value = (
            linear(states).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for linear in (self.self.query, self.self.key, self.self.value)
        )
        rate = self.rate if self.training else 0.0
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=rate)
        return self.output(mixed.transpose(1, 2).flatten(2), states)


class BertIntermediate(nn.Module):
    """The widening linear and GELU of a BERT layer."""

    def __init__(self, config: BertTower) -> None:
        super().__init__()
        self.dense = nn.Linear(config.width, config.mlp_width)

    def forward(self, states: Tensor) -> Tensor:
        """Return [B, T, mlp width]."""
        return F.gelu(self.dense(states))


class BertLayer(nn.Module):
    """Post-norm block of BERT; the nesting is that of the published parameter names."""

    def __init__(self, config: BertTower) -> None:
        super().__init__()
        self.attention = BertAttention(config)
        self.intermediate = BertIntermediate(config)
        self.output = BertOutput(config, inputs=config.mlp_width)

    def forward(self, states: Tensor, mask: Tensor | None) -> Tensor:
        """Return the states [B, T, W]; ``mask`` is bool [B, 1, 1, T] or None."""
        states = self.attention(states, mask)
        return self.output(self.intermediate(states), states)

    def parts(self) -> BlockParts:
        """Return the weights of this layer with query, key and value in one matrix."""
        projections = self.attention.self
        linears = (projections.query, projections.key, projections.value)
        return BlockParts(
            qkv_weight=torch.cat([linear.weight for linear in linears]),
            qkv_bias=torch.cat([linear.bias for linear in linears]),
            out=self.attention.output.dense,
            up=self.intermediate.dense,
            down=self.output.dense,
            norms=(self.attention.output.LayerNorm, self.output.LayerNorm),
            heads=self.attention.heads,
            pre_norm=False,
        )


class BertEmbeddings(nn.Module):
    """Word, position and type embeddings, summed and normed; every token has type zero."""

    def __init__(self, config: BertTower) -> None:
        super().__init__()
        self.rate = config.dropout
        self.word_embeddings = new_embedding(config.vocab_size, config.width)
        self.position_embeddings = new_embedding(config.max_positions, config.width)
        self.token_type_embeddings = new_embedding(config.type_vocab_size, config.width)
        self.LayerNorm = nn.LayerNorm(config.width, config.layer_norm_eps)

    def forward(self, ids: Tensor) -> Tensor:
        """Return states float [B, T, W] of token ids int64 [B, T]."""
        states = self.word_embeddings(ids) + self.token_type_embeddings.weight[0]
        states = self.LayerNorm(states + self.position_embeddings.weight[: ids.shape[1]])
        return F.dropout(states, self.rate, self.training)


class Bert(TransformerTower):
    """BERT encoder without pooler, pooled at the first token or as the mean of the real ones.

    Takes ``input_ids`` int64 [B, L] and ``attention_mask`` int64 or bool [B, L] (all real when
    absent); token types are zero. Columns that are padding in every row are cut, which changes
    nothing because padding is never attended to. Dropout acts in training mode only.
    """

    def __init__(self, config: BertTower) -> None:
        super().__init__()
        check_heads(config.width, config.heads)
        self.width = config.width
        self.pooling = config.pooling
        self.embeddings = BertEmbeddings(config)
        self.encoder = nn.ModuleDict(
            {"layer": nn.ModuleList(BertLayer(config) for _ in range(config.layers))}
        )
        for module in self.modules():
            if isinstance(module, nn.Linear):
                fill_normal(module.weight, 0.02)
                nn.init.zeros_(module.bias)

    def embed(self, inputs: Mapping[str, Tensor]) -> Embedded:
        """Return the normed sum of word, position and type embeddings [B, n, W].

        Raises:
            InputError: ``input_ids`` is missing, too long or outside the vocabulary; the mask has
                another shape, or a row without a real token.
        """
        table = self.embeddings
        length, vocabulary = table.position_embeddings.num_embeddings, table.word_embeddings.num_embeddings
        ids = token_ids(inputs, length=length, vocabulary=vocabulary)
        mask = _padding_mask(ids, inputs.get("attention_mask"))
        if mask is not None and values_known():
            longest = int(mask.any(dim=0).nonzero().max()) + 1
            ids, mask = ids[:, :longest], mask[:, :longest]
        first = self.pooling == "cls"
        read = torch.zeros(ids.shape[0], dtype=torch.long, device=ids.device) if first else None
        return Embedded(table(ids), key_mask=mask, read=read)

    def encode(self, embedded: Embedded) -> Tensor:
        """Return the states [B, n, W] after the last layer."""
        states, mask = embedded.states, key_bias(embedded)
        for layer in self._layers():
            states = layer(states, mask)
        return states

    def parts(self) -> list[BlockParts]:
        """Return the weights of every layer, first to last."""
        return [layer.parts() for layer in self._layers()]

    def _layers(self) -> Iterable[BertLayer]:
        return cast(Iterable[BertLayer], self.encoder["layer"])


def _padding_mask(ids: Tensor, mask: Tensor | None) -> Tensor | None:
    """Return the mask as bool [B, L], or None when every position is real."""
    if mask is None:
        return None
    if mask.shape != ids.shape:
        raise InputError(
            f"attention_mask: expected {list(ids.shape)} like input_ids, got {list(mask.shape)}."
        )
    mask = mask.bool()
    if not values_known():
        return mask
    if bool(mask.all()):
        return None
    empty = (~mask.any(dim=1)).nonzero()
    if len(empty):
        raise InputError(
            f"attention_mask: row {int(empty[0])} has no real token. Drop that text or give it one token."
        )
    return mask
