"""The inference fast path: the same answers as a tower gives, two to four times sooner on a CPU.

:func:`prepare` wraps one of our towers. The wrapper packs the weights for oneDNN, runs the last
block only for the position that pooling reads, and, on request, computes in bfloat16 with norms
and the residual stream in float32. The tower itself is untouched: it stays for training and
saving, and answers whenever a call is not under ``torch.inference_mode``.

Measured ratios and their gates are those of ``python -m verticlip.benchmarks``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .blocks import BlockParts, Embedded, TransformerTower, gather_rows
from .errors import ConfigError, InputError, nearest
from .towers import Tower
from .types import TowerOutput

if TYPE_CHECKING:
    from .model import ContrastiveModel

Precision = Literal["float32", "bfloat16"]

UNFUSED_BYTES = 64 * 1024**2
"""Above this size of the score tensor, fused attention is used: it keeps memory linear in T."""
_QUICK_GELU_SLOPE = 1.702
_LARGEST_ERROR = {torch.float32: 1e-6, torch.bfloat16: 1e-2}


@functools.cache
def uses_onednn(dtype: torch.dtype) -> bool:
    """Return whether packed oneDNN linears exist here for ``dtype`` and are as exact as they should be.

    The check is one 256 x 768 x 768 product against float64: relative error (Frobenius norms) at
    most 1e-6 in float32, so that a build which silently rounds to bfloat16 is not used.
    """
    if not torch.backends.mkldnn.is_available():
        return False
    generator = torch.Generator().manual_seed(0)
    left = torch.randn(256, 768, generator=generator).to(dtype)
    weight = torch.randn(768, 768, generator=generator).to(dtype)
    bias = torch.randn(768, generator=generator).to(dtype)
    exact = F.linear(left.double(), weight.double(), bias.double())
    try:
        if dtype is torch.bfloat16 and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
            return False
        with torch.inference_mode():
            packed = torch.ops.mkldnn._reorder_linear_weight(weight)
            result = torch.ops.mkldnn._linear_pointwise(left, packed, bias, "none", [], "")
    except (AttributeError, RuntimeError, TypeError):
        # Private operators: another torch may rename them or change their arguments.
        return False
    return bool((result.double() - exact).norm() / exact.norm() <= _LARGEST_ERROR[dtype])


class _Linear:
    """A linear layer with frozen weights and, when asked, GELU or SiLU fused behind it."""

    def __init__(self, weight: Tensor, bias: Tensor, dtype: torch.dtype, activation: str = "none") -> None:
        self.bias = bias.to(dtype)
        self.packed = weight.device.type == "cpu" and uses_onednn(dtype)
        weight = weight.to(dtype)
        self.weight = torch.ops.mkldnn._reorder_linear_weight(weight) if self.packed else weight
        self.fused = {"none": ("none", ""), "gelu": ("gelu", "none"), "silu": ("swish", "")}[activation]
        self.activate = {"none": None, "gelu": F.gelu, "silu": F.silu}[activation]

    def __call__(self, states: Tensor) -> Tensor:
        """Return [..., out] in the layer's type; ``states`` is contiguous and of that type."""
        if self.packed:
            name, algorithm = self.fused
            return torch.ops.mkldnn._linear_pointwise(states, self.weight, self.bias, name, [], algorithm)
        result = F.linear(states, self.weight, self.bias)
        return result if self.activate is None else self.activate(result)


class _Block:
    """One transformer block with packed weights; states go in and come out in float32."""

    def __init__(self, parts: BlockParts, dtype: torch.dtype) -> None:
        self.dtype, self.heads, self.pre_norm = dtype, parts.heads, parts.pre_norm
        width = len(parts.qkv_bias) // 3
        # The 1 / sqrt(head width) of attention goes into the query rows, exact for head width 64.
        scale = torch.ones(3 * width, device=parts.qkv_bias.device)
        scale[:width] = (width // parts.heads) ** -0.5
        self.qkv = _Linear(parts.qkv_weight.float() * scale[:, None], parts.qkv_bias.float() * scale, dtype)
        self.out = _Linear(parts.out.weight, parts.out.bias, dtype)
        # quick GELU is x * sigmoid(s x) = silu(s x) / s: s goes into the layer before, 1 / s after.
        slope = _QUICK_GELU_SLOPE if parts.quick_gelu else 1.0
        up_weight, up_bias = parts.up.weight.float() * slope, parts.up.bias.float() * slope
        self.up = _Linear(up_weight, up_bias, dtype, "silu" if parts.quick_gelu else "gelu")
        self.down = _Linear(parts.down.weight.float() / slope, parts.down.bias, dtype)
        self.norms = [_frozen_norm(norm) for norm in parts.norms]

    def __call__(self, states: Tensor, bias: Tensor | None) -> Tensor:
        """Return the states [B, T, W] after this block; ``states`` is overwritten."""
        query, key, value = self._heads(states)
        return self._rest(states, _attend(query, key, value, bias))

    def read(self, states: Tensor, bias: Tensor | None, positions: Tensor) -> Tensor:
        """Return the states [B, W] after this block at ``positions`` [B] only."""
        query, key, value = self._heads(states)
        rows = torch.arange(len(states), device=states.device)
        if bias is not None:
            bias = bias.expand(len(states), -1, -1, -1)
            bias = bias[rows, :, positions.clamp(max=bias.shape[2] - 1)].unsqueeze(2)
        mixed = _attend(query[rows, :, positions].unsqueeze(2), key, value, bias)
        return self._rest(gather_rows(states, positions), mixed.squeeze(1))

    def _heads(self, states: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return query, key and value, each [B, heads, T, head width]."""
        if self.pre_norm:
            states = self.norms[0](states)
        query, key, value = (
            self.qkv(states.to(self.dtype)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        )
        return query, key, value

    def _rest(self, states: Tensor, mixed: Tensor) -> Tensor:
        """Return the states after the residual of attention and the MLP."""
        states = states.add_(self.out(mixed))
        if self.pre_norm:
            hidden = self.up(self.norms[1](states).to(self.dtype))
            return states.add_(self.down(hidden))
        states = self.norms[0](states)
        hidden = self.up(states.to(self.dtype))
        return self.norms[1](states.add_(self.down(hidden)))


def _frozen_norm(norm: nn.LayerNorm) -> Callable[[Tensor], Tensor]:
    weight, bias = norm.weight.detach().float(), norm.bias.detach().float()
    return functools.partial(
        F.layer_norm, normalized_shape=list(norm.normalized_shape), weight=weight, bias=bias, eps=norm.eps
    )


def _attend(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None) -> Tensor:
    """Return attended values [B, T, W] from scaled queries [B, H, T, d] and an additive ``bias``.

    In bfloat16 on a CPU three plain kernels beat the fused one by 2x; in float32 they lose.
    """
    score_bytes = 2 * query.shape[0] * query.shape[1] * query.shape[2] * key.shape[2]
    if query.dtype is torch.bfloat16 and query.device.type == "cpu" and score_bytes < UNFUSED_BYTES:
        batch = query.shape[:2]
        query, key, value = (part.flatten(0, 1).contiguous() for part in (query, key, value))
        scores = torch.bmm(query, key.transpose(1, 2))
        if bias is not None:
            scores = (scores.unflatten(0, batch) + bias).flatten(0, 1)
        mixed = torch.bmm(scores.softmax(dim=-1), value).unflatten(0, batch)
    else:
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=bias, scale=1.0)
    return mixed.transpose(1, 2).flatten(2)


def _additive_mask(embedded: Embedded, dtype: torch.dtype) -> Tensor | None:
    """Return 0 where a query may look and -inf elsewhere, [B or 1, 1, T or 1, T]; None when all may."""
    allowed = None
    if embedded.key_mask is not None:
        allowed = embedded.key_mask[:, None, None, :]
    if embedded.causal:
        length = embedded.states.shape[1]
        earlier = torch.ones(length, length, dtype=torch.bool, device=embedded.states.device).tril()
        allowed = earlier[None, None] if allowed is None else allowed & earlier
    if allowed is None:
        return None
    return torch.zeros(allowed.shape, dtype=dtype, device=allowed.device).masked_fill_(
        ~allowed, float("-inf")
    )


class PreparedTower(Tower):
    """A tower answered by packed weights under ``torch.inference_mode``, by itself otherwise.

    Holds no parameters: ``state_dict`` is empty, and a copy or a pickle packs again. Weights that
    an optimizer step or ``load_state_dict`` has changed are packed again at the next call; writes
    through ``parameter.data`` leave no trace, so call :func:`prepare` again after those.
    """

    def __init__(self, tower: TransformerTower, precision: Precision) -> None:
        super().__init__()
        # In a tuple the tower is not a submodule: its weights are neither saved nor counted twice.
        self._source = (tower,)
        self.precision: Precision = precision
        self.width = tower.width
        self._pack()
        self.eval()

    @property
    def source(self) -> TransformerTower:
        """The tower that was prepared."""
        return self._source[0]

    def __reduce__(self) -> tuple[Any, ...]:
        return PreparedTower, (self.source, self.precision)

    @torch.no_grad()
    def _pack(self) -> None:
        self._packed_from = write_marks(self.source)
        self._blocks = [_Block(parts, getattr(torch, self.precision)) for parts in self.source.parts()]

    def forward(self, inputs: Mapping[str, Tensor], *, tokens: bool = False) -> TowerOutput:
        """Return what the source tower returns; see :class:`~verticlip.core.towers.Tower`."""
        tower = self.source
        if not torch.is_inference_mode_enabled() or tower.training:
            return tower(inputs, tokens=tokens)
        if self._packed_from != write_marks(tower):
            self._pack()
        device = next(tower.parameters()).device.type
        with torch.autocast(device, enabled=False):
            return self._run(tower.embed(inputs), tokens=tokens)

    def _run(self, embedded: Embedded, *, tokens: bool) -> TowerOutput:
        # A copy, because the blocks write into their input.
        states, kept = embedded.states.to(torch.float32, copy=True), embedded.states.dtype
        bias = _additive_mask(embedded, getattr(torch, self.precision))
        read = None if tokens else embedded.read
        for block in self._blocks if read is None else self._blocks[:-1]:
            states = block(states, bias)
        if read is None:
            return self.source.finish(states.to(kept), embedded, tokens=tokens)
        rows = self._blocks[-1].read(states, bias, read)
        return TowerOutput(self.source.project(self.source.normalize(rows.to(kept))))


def write_marks(module: nn.Module) -> list[tuple[int, int]]:
    """Return where each parameter lies and how often it was written to; equal means equal weights."""
    return [
        (value.data_ptr(), 0 if value.is_inference() else value._version) for value in module.parameters()
    ]


def prepare(tower: Tower, precision: Precision = "float32") -> Tower:
    """Return a stand-in for ``tower`` that is faster under ``torch.inference_mode``.

    Args:
        tower: any tower. One without a fast path (timm, transformers, open_clip) is returned as is.
        precision: ``float32`` is exact to rounding (about 1e-6 relative); ``bfloat16`` keeps a
            cosine of 0.999 or better to it and is about twice as fast again where the CPU has
            bfloat16 instructions.

    Raises:
        ConfigError: another precision.
    """
    if precision not in get_args(Precision):
        raise ConfigError(
            f"precision {precision!r} is not offered; choose from: {', '.join(get_args(Precision))}."
            f"{nearest(precision, get_args(Precision))}"
        )
    if isinstance(tower, PreparedTower):
        tower = tower.source
    return PreparedTower(tower, precision) if isinstance(tower, TransformerTower) else tower


def prepare_model(model: ContrastiveModel, precision: Precision = "float32") -> ContrastiveModel:
    """Give every tower of ``model`` its fast stand-in and return the same model."""
    towers = cast("Mapping[str, Tower]", model.towers)
    model.use_fast_towers({name: prepare(tower, precision) for name, tower in towers.items()})
    return model


def token_budget_batches(lengths: Sequence[int], budget: int = 1024) -> list[list[int]]:
    """Return index lists that cover ``lengths``, shortest first, each padded to at most ``budget`` tokens.

    A batch holds texts of similar length: its longest length times its size stays within the
    budget, except that a single text may be longer.

    Raises:
        ConfigError: the budget is not positive.

    Example:
        >>> token_budget_batches([9, 2, 3], budget=8)
        [[1, 2], [0]]
    """
    if budget < 1:
        raise ConfigError(f"budget must be at least 1 token, got {budget}.")
    batches: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda position: lengths[position]):
        if not batches or (len(batches[-1]) + 1) * lengths[index] > budget:
            batches.append([])
        batches[-1].append(index)
    return batches


def encode_by_length(
    encode: Callable[[Mapping[str, Tensor]], Tensor], inputs: Mapping[str, Tensor], *, budget: int = 1024
) -> Tensor:
    """Return ``encode(inputs)`` [B, D], computed in batches of similar text length, in input order.

    Args:
        encode: from inputs [b, L] to embeddings [b, D], row by row independent of the batch.
        inputs: ``input_ids`` and ``attention_mask``, both int64 [B, L].
        budget: tokens per batch, padding included.

    Raises:
        InputError: there is no ``attention_mask``, or the batch is empty.
    """
    mask = inputs.get("attention_mask")
    if mask is None or not len(mask):
        raise InputError(
            "Batching by length needs a non-empty attention_mask [B, L]. Use the model's processor."
        )
    parts, order = [], []
    for indices in token_budget_batches(mask.sum(dim=1).tolist(), budget):
        rows = torch.tensor(indices, device=mask.device)
        parts.append(encode({name: value[rows] for name, value in inputs.items()}))
        order.append(rows)
    return torch.cat(parts)[torch.cat(order).argsort()]
