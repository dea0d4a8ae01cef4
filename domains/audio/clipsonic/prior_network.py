"""The network of the diffusion prior: a causal transformer over text, time and a noised image embedding.

Reference: Ramesh et al., "Hierarchical Text-Conditional Image Generation with CLIP Latents", 2022;
lucidrains/DALLE2-pytorch, ``DiffusionPriorNetwork``. Parameter names are those of its newest release.
"""

from __future__ import annotations

import functools
import math
from typing import Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from ....core.config import Config
from ....core.errors import InputError

_BUCKETS, _FAR = 32, 128
_COSINE_SCALE = 16.0
_ROTATED, _ROTARY_BASE = 32, 10_000.0
_MASKED = -torch.finfo(torch.float32).max


class PriorNetworkConfig(Config):
    """Sizes, and what changed between releases of the reference; see ``prior_convert.RELEASES``."""

    dim: int = Field(ge=4)
    depth: int = Field(ge=1)
    heads: int = Field(default=8, ge=1)
    head_dim: int = Field(default=64, ge=2)
    mlp_width: int = Field(ge=1)
    text_length: int = Field(default=256, ge=0)
    """Rows of text encodings that are read; longer texts are cut, and ``table`` pads shorter ones."""
    time_steps: int | None = Field(default=None, ge=1)
    """Rows of the table of time embeddings; None makes them from sines."""
    text_tokens: int = Field(default=1, ge=1)
    time_tokens: int = Field(default=1, ge=1)
    image_tokens: int = Field(default=1, ge=1)
    attention: Literal["scaled_dot", "cosine"] = "cosine"
    bias_factor: float = Field(default=1.0, gt=0)
    """What the relative bias is multiplied with: 128 or 1024 in releases that relaxed the softmax so."""
    padding: Literal["mask", "table"] = "table"
    """Padded text: hidden from attention, or replaced by learned rows."""
    null_parameters: bool = True
    """Whether there are learned stand-ins for a text and an image that are left out."""
    stable_norms: Literal["none", "last", "all"] = "last"
    """Which norms divide by the largest value first."""
    norm_in: bool = False
    norm_out: bool = True
    project_out: bool = True
    normformer: bool = False
    """A further norm inside every feed-forward layer."""
    rotary: bool = True
    self_conditioning: bool = False
    """Whether the last prediction is one more token."""
    attention_dropout: float = Field(default=0.0, ge=0, lt=1)
    mlp_dropout: float = Field(default=0.0, ge=0, lt=1)

    @property
    def can_drop_text(self) -> bool:
        """Whether the network knows what it is to have no text, which guidance needs."""
        return self.null_parameters or self.padding == "mask"


class Norm(nn.Module):
    """Layer norm with a gain ``g`` and no bias; ``stable`` divides by the largest value first."""

    def __init__(self, width: int, *, stable: bool = False) -> None:
        super().__init__()
        self.g = nn.Parameter(torch.ones(width))
        self.stable = stable

    def forward(self, x: Tensor) -> Tensor:
        """Return float [..., width] of float [..., width]."""
        if self.stable:
            # Signed: where every value is negative, this turns the sign, as in the reference.
            x = x / x.amax(dim=-1, keepdim=True).detach()
        eps = 1e-5 if x.dtype == torch.float32 else 1e-3
        return F.layer_norm(x, x.shape[-1:], eps=eps) * self.g


class GatedSilu(nn.Module):
    """First half times SiLU of the second."""

    def forward(self, x: Tensor) -> Tensor:
        """Return float [..., W] of float [..., 2 W]."""
        kept, gate = x.chunk(2, dim=-1)
        return kept * F.silu(gate)


class SineTime(nn.Module):
    """Sines and cosines of a time step, [B] to [B, dim]."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, times: Tensor) -> Tensor:
        """Return float32 [B, dim] of times [B]."""
        half = self.dim // 2
        exponents = torch.arange(half, device=times.device) * -(math.log(10_000.0) / max(1, half - 1))
        angles = times.float()[:, None] * exponents.exp()
        return torch.cat([angles.sin(), angles.cos()], dim=-1)


class TimeMlp(nn.Module):
    """Three linear layers with SiLU between, from sines to time tokens."""

    def __init__(self, dim: int, out: int) -> None:
        super().__init__()
        hidden = 2 * out
        self.net = nn.Sequential(
            nn.Sequential(nn.Linear(dim, hidden), nn.SiLU()),
            nn.Sequential(nn.Linear(hidden, hidden), nn.SiLU()),
            nn.Linear(hidden, out),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return float [B, out] of float [B, dim]."""
        return self.net(x.to(cast("nn.Linear", self.net[2]).weight.dtype))


class RelativeBias(nn.Module):
    """A learned number per head and distance bucket, as in T5."""

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.relative_attention_bias = nn.Embedding(_BUCKETS, heads)

    def forward(self, length: int, device: torch.device) -> Tensor:
        """Return float [heads, length, length + 1]; the first key is the learned one that all see."""
        # Keys are counted with that first one, queries without: a token is at distance 0 from itself
        # and from the one before.
        query = torch.arange(length, device=device)[:, None]
        key = torch.arange(length + 1, device=device)[None, :]
        distance = (query - key).clamp(min=0)
        exact = _BUCKETS // 2
        far = torch.log(distance.clamp(min=1).float() / exact) / math.log(_FAR / exact) * (_BUCKETS - exact)
        bucket = torch.where(distance < exact, distance, (exact + far.long()).clamp(max=_BUCKETS - 1))
        return self.relative_attention_bias(bucket).permute(2, 0, 1)


def rotary_rates(rotated: int, device: torch.device) -> Tensor:
    """Return by how much each pair of ``rotated`` channels turns from one token to the next, in radians."""
    pairs = torch.arange(0, rotated, 2, device=device)[: rotated // 2]
    return _ROTARY_BASE ** -(pairs.float() / rotated)


@functools.lru_cache(maxsize=32)
def rotary_angles(length: int, rotated: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return cosines and sines float32 [length, rotated / 2] by which pairs of channels turn."""
    with torch.inference_mode(False):
        angles = torch.arange(length, device=device)[:, None] * rotary_rates(rotated, device)
        return angles.cos(), angles.sin()


def rotate(x: Tensor) -> Tensor:
    """Return ``x`` [..., n, head_dim] with its first 32 channels turned, neighbours as pairs."""
    rotated = min(_ROTATED, x.shape[-1]) // 2 * 2
    cos, sin = (part.to(x.dtype) for part in rotary_angles(x.shape[-2], rotated, x.device))
    turning, kept = x[..., :rotated], x[..., rotated:]
    first, second = turning[..., 0::2], turning[..., 1::2]
    pairs = torch.stack([first * cos - second * sin, second * cos + first * sin], dim=-1)
    return torch.cat([pairs.flatten(-2), kept], dim=-1)


class Attention(nn.Module):
    """Several query heads over one key and value, after a learned key and value that are always seen."""

    def __init__(self, config: PriorNetworkConfig) -> None:
        super().__init__()
        self.config = config
        inner, head = config.heads * config.head_dim, config.head_dim
        everywhere = config.stable_norms == "all"
        self.norm = Norm(config.dim, stable=everywhere)
        self.null_kv = nn.Parameter(torch.randn(2, head))
        self.to_q = nn.Linear(config.dim, inner, bias=False)
        self.to_kv = nn.Linear(config.dim, 2 * head, bias=False)
        self.to_out = nn.Sequential(
            nn.Linear(inner, config.dim, bias=False), Norm(config.dim, stable=everywhere)
        )

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        """Return float [B, n, D] of float [B, n, D].

        Args:
            bias: added to the logits, float [B or 1, heads, n, n + 1]; what is not seen is very negative.
        """
        config = self.config
        x = self.norm(x)
        query = self.to_q(x).unflatten(-1, (config.heads, config.head_dim)).transpose(1, 2)
        key, value = self.to_kv(x).chunk(2, dim=-1)
        if config.rotary:
            query, key = rotate(query), rotate(key)
        first = self.null_kv.to(x.dtype)[:, None, None].expand(-1, len(x), 1, -1)
        key, value = torch.cat([first[0], key], dim=1), torch.cat([first[1], value], dim=1)
        scale = config.head_dim**-0.5
        if config.attention == "cosine":
            query, key, scale = F.normalize(query, dim=-1), F.normalize(key, dim=-1), _COSINE_SCALE
        shared = (len(x), config.heads, key.shape[1], config.head_dim)
        states = F.scaled_dot_product_attention(
            query,
            key[:, None].expand(shared),
            value[:, None].expand(shared),
            attn_mask=bias.to(query.dtype),
            dropout_p=config.attention_dropout if self.training else 0.0,
            scale=scale,
        )
        return self.to_out(states.transpose(1, 2).flatten(-2))


def _feed_forward(config: PriorNetworkConfig) -> nn.Sequential:
    everywhere = config.stable_norms == "all"
    inner = Norm(config.mlp_width, stable=everywhere) if config.normformer else nn.Identity()
    return nn.Sequential(
        Norm(config.dim, stable=everywhere),
        nn.Linear(config.dim, 2 * config.mlp_width, bias=False),
        GatedSilu(),
        inner,
        nn.Dropout(config.mlp_dropout),
        nn.Linear(config.mlp_width, config.dim, bias=False),
    )


class CausalTransformer(nn.Module):
    """Layers of attention and feed-forward; a token sees itself and what stands before it."""

    def __init__(self, config: PriorNetworkConfig) -> None:
        super().__init__()
        self.bias_factor = config.bias_factor
        stable, everywhere = config.stable_norms != "none", config.stable_norms == "all"
        self.init_norm = Norm(config.dim, stable=everywhere) if config.norm_in else nn.Identity()
        self.rel_pos_bias = RelativeBias(config.heads)
        self.layers = nn.ModuleList(
            nn.ModuleList([Attention(config), _feed_forward(config)]) for _ in range(config.depth)
        )
        self.norm = Norm(config.dim, stable=stable) if config.norm_out else nn.Identity()
        self.project_out = (
            nn.Linear(config.dim, config.dim, bias=False) if config.project_out else nn.Identity()
        )

    def forward(self, x: Tensor, visible: Tensor | None = None) -> Tensor:
        """Return float [B, n, D] of float [B, n, D].

        Args:
            visible: bool [B, n], False at tokens that no other may see; None shows all.
        """
        length = x.shape[1]
        ahead = torch.ones(length, length + 1, dtype=torch.bool, device=x.device).triu(2)
        bias = self.rel_pos_bias(length, x.device) * self.bias_factor
        bias = bias.float().masked_fill(ahead, _MASKED)[None]
        if visible is not None:
            hidden = F.pad(~visible, (1, 0))[:, None, None]
            bias = bias.masked_fill(hidden, _MASKED)
        x = self.init_norm(x)
        for layer in self.layers:
            attention, feed_forward = cast("nn.ModuleList", layer)
            x = x + attention(x, bias)
            x = x + feed_forward(x)
        return self.project_out(self.norm(x))


class PriorNetwork(nn.Module):
    """From a noised image embedding, a time and a text to what the objective predicts.

    Tokens: text encodings, text embedding, time, noised image embedding, (last prediction,) a learned
    query, whose state is the answer.
    """

    def __init__(self, config: PriorNetworkConfig) -> None:
        super().__init__()
        self.config, dim = config, config.dim
        self.to_text_embeds = _tokens_of(dim, config.text_tokens)
        self.to_image_embeds = _tokens_of(dim, config.image_tokens)
        time_out = dim * config.time_tokens
        self.to_time_embeds = nn.Sequential(
            nn.Sequential(SineTime(dim), TimeMlp(dim, time_out))
            if config.time_steps is None
            else nn.Embedding(config.time_steps, time_out)
        )
        self.learned_query = nn.Parameter(torch.randn(dim))
        self.causal_transformer = CausalTransformer(config)
        if config.padding == "table":
            self.null_text_encodings = nn.Parameter(torch.randn(1, config.text_length, dim))
        if config.null_parameters:
            self.null_text_embeds = nn.Parameter(torch.randn(1, config.text_tokens, dim))
            self.null_image_embed = nn.Parameter(torch.randn(1, dim))

    def forward(
        self,
        noisy: Tensor,
        times: Tensor,
        *,
        text_embed: Tensor,
        text_encodings: Tensor | None = None,
        drop_text: Tensor | None = None,
        drop_image: Tensor | None = None,
        previous: Tensor | None = None,
    ) -> Tensor:
        """Return predictions float [B, D].

        Args:
            noisy: float [B, D]. times: int64 [B].
            text_embed: unit vectors float [B, D].
            text_encodings: states of the text tower float [B, L, D], exactly 0 at padding; or None.
            drop_text, drop_image: bool [B], True where a row answers without its text, or image.
            previous: last prediction [B, D] of networks with self-conditioning; None is zeros.
        """
        config, batch = self.config, len(noisy)
        everyone = torch.ones(batch, dtype=torch.bool, device=noisy.device)
        keep_text = everyone if drop_text is None else ~drop_text
        keep_image = everyone if drop_image is None else ~drop_image
        if text_encodings is None:
            text_encodings = noisy.new_zeros(batch, 0, config.dim)
        encodings, visible = self._texts(text_encodings[:, : config.text_length], keep_text)
        text = self.to_text_embeds(text_embed).view(batch, config.text_tokens, -1)
        image = self.to_image_embeds(noisy).view(batch, config.image_tokens, -1)
        if config.null_parameters:
            text = torch.where(keep_text[:, None, None], text, self.null_text_embeds.to(text.dtype))
            image = torch.where(keep_image[:, None, None], image, self.null_image_embed.to(image.dtype))
        time = self.to_time_embeds(times).view(batch, config.time_tokens, -1).to(image.dtype)
        parts = [encodings, text, time, image]
        if config.self_conditioning:
            parts.append((torch.zeros_like(noisy) if previous is None else previous)[:, None])
        parts.append(self.learned_query.to(noisy.dtype).expand(batch, 1, -1))
        tokens = torch.cat(parts, dim=1)
        if visible is not None:
            shown = keep_text[:, None].expand(-1, config.text_tokens)
            visible = torch.cat([visible, shown], dim=1)
            visible = F.pad(visible, (0, tokens.shape[1] - visible.shape[1]), value=True)
        return self.causal_transformer(tokens, visible)[:, -1]

    def _texts(self, encodings: Tensor, keep: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return encodings with padding dealt with, and which rows may be seen where that is told apart."""
        if encodings.shape[-1] != self.config.dim:
            raise InputError(
                f"Text encodings have {encodings.shape[-1]} values per token; this prior takes "
                f"{self.config.dim}. Use the text tower it was trained with."
            )
        real = (encodings != 0).any(dim=-1)
        if self.config.padding == "mask":
            # Nobody sees the padding, but a row of zeros would make NaN of norms that divide by its largest.
            return torch.where(real[..., None], encodings, 1.0), real & keep[:, None]
        missing = self.config.text_length - encodings.shape[1]
        encodings, real = F.pad(encodings, (0, 0, 0, missing)), F.pad(real, (0, missing))
        if self.config.null_parameters:
            real = real & keep[:, None]
        return torch.where(real[..., None], encodings, self.null_text_encodings.to(encodings.dtype)), None


def _tokens_of(dim: int, count: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(dim, dim * count) if count > 1 else nn.Identity())
