"""JPEG bytes to normalized pixels: our processor against the transform of open_clip."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..core.config import ImageProcessing, ProcessorConfig
from ..core.errors import VerticlipError
from ..core.processing import Processor
from .runner import Workload

SIZE = 224
GATE = 2.0
MOST_LEVELS = 2.0
"""Largest difference to the peer, in steps of 1/255 before normalization."""


def make_jpegs(count: int, height: int = 400, width: int = 533) -> list[bytes]:
    """Return seeded JPEG files, quality 90, with the smooth areas and the grain of photographs."""
    from PIL import Image

    generator = torch.Generator().manual_seed(0)
    files = []
    for _ in range(count):
        coarse = torch.rand(1, 3, height // 16, width // 16, generator=generator)
        smooth = F.interpolate(coarse, (height, width), mode="bicubic")[0]
        grain = 0.03 * torch.randn(3, height, width, generator=generator)
        pixels = ((smooth + grain).clamp(0, 1) * 255).byte().permute(1, 2, 0).numpy()
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "JPEG", quality=90)
        files.append(buffer.getvalue())
    return files


def prepare_ours(processor: Processor, files: list[bytes]) -> Tensor:
    """Return pixels float32 [B, 3, 224, 224] by our processor."""
    from PIL import Image

    return processor("image", [Image.open(io.BytesIO(content)) for content in files])["pixels"]


def prepare_peer(transform: Callable[[Any], Tensor], files: list[bytes]) -> Tensor:
    """Return pixels float32 [B, 3, 224, 224] by open_clip's transform."""
    from PIL import Image

    return torch.stack([transform(Image.open(io.BytesIO(content))) for content in files])


def check(
    ours: Callable[[], Tensor], peer: Callable[[], Tensor], std: tuple[float, ...]
) -> Mapping[str, float]:
    """Return the largest and the mean difference in steps of 1/255."""
    levels = (ours() - peer()).abs() * torch.tensor(std).view(1, 3, 1, 1) * 255
    figures = {"most_levels": float(levels.max()), "mean_levels": float(levels.mean())}
    if not figures["most_levels"] <= MOST_LEVELS + 1e-3:
        raise VerticlipError(
            f"Pixels differ by {figures['most_levels']:.2f}/255, more than {MOST_LEVELS:g}/255."
        )
    return figures


def workloads(quick: bool = False) -> list[Workload]:
    """Return the comparison on images of 400 x 533, decoded by Pillow on both sides."""
    from open_clip.transform import image_transform

    config = ImageProcessing(size=SIZE)
    processor = Processor(ProcessorConfig(image=config))
    transform: Any = image_transform(SIZE, is_train=False, mean=config.mean, std=config.std)
    files = make_jpegs(20 if quick else 200)
    ours, peer = partial(prepare_ours, processor, files), partial(prepare_peer, transform, files)
    return [
        Workload(
            name=f"preprocess {len(files)} JPEGs of 400 x 533",
            ours=ours,
            peer=peer,
            peer_name="open_clip transform",
            gate=GATE,
            check=partial(check, ours, peer, config.std),
        )
    ]
