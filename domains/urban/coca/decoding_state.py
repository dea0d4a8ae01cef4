"""What decoding keeps between two tokens, so that each costs one position instead of all of them.

Both stacks of a CoCa are causal: what a token left behind does not change when others follow. The class token
that stands behind a text is read by no word, and the mask that open_clip lays over padding hides nothing of a
text without any. Keys and values are therefore kept per block, those of the image are made once.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .model import CoCaModel


class TextStates(Protocol):
    """The texts so far, row by row."""

    def extend(self, ids: Tensor) -> Tensor:
        """Add tokens int64 [B, n] to every row and return logits [B, V] of what comes next."""
        ...

    def take(self, rows: Tensor) -> None:
        """Go on with these rows int64 [R]; a row may be taken twice, or not at all."""
        ...


def begin(network: CoCaModel, image_tokens: Tensor, length: int) -> TextStates:
    """Return empty texts for image tokens [B, N, W].

    Args:
        length: of the longest text, which has at most the model's context.
    """
    if network.steps_through_blocks:
        return StoredStates(network, image_tokens, length)
    return AllOver(network, image_tokens)


class AllOver:
    """Everything is computed again for each token: for towers whose blocks are not the usual ones."""

    def __init__(self, network: CoCaModel, image_tokens: Tensor) -> None:
        self._network, self._image = network, image_tokens
        self._ids = torch.empty(len(image_tokens), 0, dtype=torch.int64, device=image_tokens.device)

    def extend(self, ids: Tensor) -> Tensor:
        """See :class:`TextStates`."""
        self._ids = torch.cat([self._ids, ids], dim=1)
        states = self._network.encode_tokens("text", {"input_ids": self._ids}).tokens
        return self._network.caption_logits(self._image, states[:, : self._ids.shape[1]])[:, -1]

    def take(self, rows: Tensor) -> None:
        """See :class:`TextStates`."""
        self._ids, self._image = self._ids[rows], self._image[rows]


class StoredStates:
    """Keys and values of every block, kept."""

    def __init__(self, network: CoCaModel, image_tokens: Tensor, length: int) -> None:
        # Any: modules of open_clip.
        self._text: Any = network.towers["text"].model  # pyright: ignore[reportAttributeAccessIssue]
        self._decoder: Any = network.decoder
        rows, device = len(image_tokens), image_tokens.device
        self._seen, self._pad = 0, network.special.pad
        self._hidden = torch.zeros(rows, length + 1, dtype=torch.bool, device=device)
        self._hides = False
        self._written = [_Kept(block, rows, length, device) for block in self._text.transformer.resblocks]
        self._decoded = [_Kept(block, rows, length, device) for block in self._decoder.resblocks]
        self._images = [_image_parts(block, image_tokens) for block in self._decoder.cross_attn]

    def extend(self, ids: Tensor) -> Tensor:
        """See :class:`TextStates`."""
        count, text, decoder = ids.shape[1], self._text, self._decoder
        states = text.token_embedding(ids) + text.positional_embedding[self._seen : self._seen + count]
        hidden = self._hide(ids)
        for kept in self._written:
            states = kept(states, self._seen, hidden)
        if text.cls_emb is None:
            states = text.ln_final(states)
        for kept, block, parts in zip(self._decoded, decoder.cross_attn, self._images, strict=True):
            states = _look(block, kept(states, self._seen), parts)
        self._seen += count
        return decoder.ln_final(states[:, -1]) @ decoder.text_projection

    def _hide(self, ids: Tensor) -> Tensor | None:
        """Return which words up to the end of ``ids`` no other word sees, bool [B, L], or None."""
        end = self._seen + ids.shape[1]
        if self._text.cls_emb is None:
            return None
        behind = ids == self._pad
        self._hidden[:, self._seen + 1 : end + 1] = behind
        self._hides = self._hides or bool(behind.any())
        return self._hidden[:, :end] if self._hides else None

    def take(self, rows: Tensor) -> None:
        """See :class:`TextStates`."""
        self._hidden = self._hidden[rows]
        for kept in (*self._written, *self._decoded):
            kept.take(rows)
        self._images = [(keys[rows], values[rows]) for keys, values in self._images]


class _Kept:
    """One causal block and the keys and values [B, heads, length, head width] of its tokens so far."""

    def __init__(self, block: Any, rows: int, length: int, device: torch.device) -> None:
        self._block = block
        attention: nn.MultiheadAttention = block.attn
        shape = (rows, attention.num_heads, length, attention.head_dim)
        self._keys = torch.empty(shape, device=device, dtype=attention.in_proj_weight.dtype)
        self._values = torch.empty_like(self._keys)

    def __call__(self, states: Tensor, seen: int, hidden: Tensor | None = None) -> Tensor:
        """Return the states [B, n, W] of n further tokens behind ``seen`` ones; ``hidden`` bool [B, L]."""
        block, count = self._block, states.shape[1]
        attention = block.attn
        mixed = F.linear(block.ln_1(states), attention.in_proj_weight, attention.in_proj_bias)
        query, key, value = (_by_head(part, attention) for part in mixed.chunk(3, dim=-1))
        self._keys[:, :, seen : seen + count] = key
        self._values[:, :, seen : seen + count] = value
        keys, values = self._keys[:, :, : seen + count], self._values[:, :, : seen + count]
        mask = None
        if count > 1:
            mask = torch.ones(count, seen + count, dtype=torch.bool, device=states.device).tril(seen)
        if hidden is not None:
            mask = ~hidden[:, None, None] if mask is None else mask & ~hidden[:, None, None]
        found = F.scaled_dot_product_attention(query, keys.to(query), values.to(query), attn_mask=mask)
        return _rest(block, states, found)

    def take(self, rows: Tensor) -> None:
        self._keys, self._values = self._keys[rows], self._values[rows]


def _image_parts(block: Any, image_tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Return keys and values [B, heads, N, head width] of the image for one block."""
    attention, width = block.attn, block.attn.embed_dim
    both = F.linear(
        block.ln_1_kv(image_tokens), attention.in_proj_weight[width:], attention.in_proj_bias[width:]
    )
    keys, values = (_by_head(part, attention) for part in both.chunk(2, dim=-1))
    return keys, values


def _look(block: Any, states: Tensor, parts: tuple[Tensor, Tensor]) -> Tensor:
    """Return the states [B, n, W] after attention to the image."""
    attention, width = block.attn, block.attn.embed_dim
    query = F.linear(block.ln_1(states), attention.in_proj_weight[:width], attention.in_proj_bias[:width])
    return _rest(block, states, F.scaled_dot_product_attention(_by_head(query, attention), *parts))


def _rest(block: Any, states: Tensor, found: Tensor) -> Tensor:
    """Return the states after a block, from what its attention found [B, heads, n, head width]."""
    states = states + block.ls_1(block.attn.out_proj(found.transpose(1, 2).flatten(2)))
    return states + block.ls_2(block.mlp(block.ln_2(states)))


def _by_head(states: Tensor, attention: nn.MultiheadAttention) -> Tensor:
    return states.unflatten(-1, (attention.num_heads, attention.head_dim)).transpose(1, 2)
