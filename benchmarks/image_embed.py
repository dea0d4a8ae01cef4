"""ViT-B/16 at 224 pixels, random weights: our prepared tower against open_clip eager and autocast."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor, nn

from ..core.config import VisionTransformerTower
from ..core.inference import Precision, prepare
from ..core.towers import Tower
from ..core.transformer import VisionTransformer
from .runner import Workload, require_at_least
from .stress import agreement, with_outliers

VIT_B16 = VisionTransformerTower(
    backend="vit",
    image_size=224,
    patch_size=16,
    width=768,
    layers=12,
    heads=12,
    mlp_width=3072,
    output_dim=512,
)
FLOAT_COSINE, HALF_COSINE = 0.99999, 0.999
FLOAT_GATE, HALF_GATE, AUTOCAST_GATE = 2.0, 4.0, 10.0


def build_pair() -> tuple[nn.Module, VisionTransformer]:
    """Return open_clip's tower and ours with the same seeded weights, both in eval mode."""
    from open_clip.transformer import VisionTransformer as Reference

    torch.manual_seed(0)
    config = VIT_B16
    reference = Reference(
        config.image_size,
        config.patch_size,
        config.width,
        config.layers,
        config.heads,
        config.mlp_width / config.width,
        output_dim=config.output_dim or config.width,
    ).eval()
    tower = VisionTransformer(config).eval()
    tower.load_state_dict(reference.state_dict())
    return reference, tower


def make_pixels(count: int) -> Tensor:
    """Return seeded noise [count, 3, 224, 224], normalized like photographs (mean 0, deviation 1)."""
    return torch.randn(count, 3, 224, 224, generator=torch.Generator().manual_seed(0))


@torch.inference_mode()
def encode(tower: Tower, pixels: Tensor) -> Tensor:
    """Return our pooled embeddings [B, 512]."""
    return tower({"pixels": pixels}).pooled


@torch.inference_mode()
def encode_eager(reference: nn.Module, pixels: Tensor) -> Tensor:
    """Return open_clip's embeddings [B, 512] in float32."""
    return reference(pixels)


@torch.inference_mode()
def encode_autocast(reference: nn.Module, pixels: Tensor) -> Tensor:
    """Return open_clip's embeddings [B, 512] under bfloat16 autocast."""
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return reference(pixels)


def check(reference: nn.Module, tower: VisionTransformer, precision: Precision) -> Mapping[str, float]:
    """Return cosines to open_clip in float32 and, for bfloat16, those under outlier stress."""
    pixels = make_pixels(8)
    figures = agreement(encode(prepare(tower, precision), pixels), encode_eager(reference, pixels))
    if precision == "float32":
        return require_at_least(figures, min_cosine=FLOAT_COSINE)
    stressed = with_outliers(tower)
    under_stress = agreement(encode(prepare(stressed, precision), pixels), encode(stressed, pixels))
    figures |= {f"stress_{name}": value for name, value in under_stress.items()}
    return require_at_least(figures, min_cosine=HALF_COSINE, stress_min_cosine=HALF_COSINE)


def workloads(quick: bool = False) -> list[Workload]:
    """Return float32 and bfloat16 at batch 1 and 8 against eager, and bfloat16 against autocast."""
    reference, tower = build_pair()
    rows = []
    precisions: tuple[tuple[Precision, float], ...] = (("float32", FLOAT_GATE), ("bfloat16", HALF_GATE))
    for precision, gate in precisions:
        fast = prepare(tower, precision)
        for batch in (1,) if quick else (1, 8):
            pixels = make_pixels(batch)
            rows.append(
                Workload(
                    name=f"image ViT-B/16 {precision} batch {batch}",
                    ours=partial(encode, fast, pixels),
                    peer=partial(encode_eager, reference, pixels),
                    peer_name="open_clip eager float32",
                    gate=gate,
                    check=partial(check, reference, tower, precision) if batch == 1 else None,
                    note="bfloat16 gates assume AVX-512 BF16" if precision == "bfloat16" else "",
                )
            )
    if not quick:
        pixels = make_pixels(8)
        rows.append(
            Workload(
                name="image ViT-B/16 bfloat16 batch 8 (autocast)",
                ours=partial(encode, prepare(tower, "bfloat16"), pixels),
                peer=partial(encode_autocast, reference, pixels),
                peer_name="open_clip autocast bfloat16",
                gate=AUTOCAST_GATE,
                note="autocast runs a linear on a transposed view, see core/blocks.py",
            )
        )
    return rows
