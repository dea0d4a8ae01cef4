"""A contrastive batch of 512 in micro-batches of 64 against the same batch at once.

ViT-tiny at 96 x 96 pixels and a linear text tower, random weights. The gradient cache may take 1.15
times the time, must use a sixth of the memory and give the same gradients.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..core.errors import VerticlipError
from ..core.objectives.gradcache import cached_backward
from ..core.objectives.pairwise import InfoNCE
from ..core.types import Batch, Outputs
from .memory import memory_row, peak_mib
from .runner import Workload

ROWS, QUICK_ROWS, MICRO_BATCH, IMAGE_SIZE, TEXT_WIDTH, DIM = 512, 256, 64, 96, 64, 192
MEMORY_GATE = {512: 6.0, 256: 3.0}
"""Least ratio of the full batch's peak memory to ours, by batch size."""
GRADIENT_TOLERANCE = 1e-6
"""Largest gradient difference in float64, relative to the largest entry of the tensor."""


class TwoTowers(nn.Module):
    """ViT-tiny and a linear text tower with a learned scale: ``model(Batch) -> Outputs``."""

    def __init__(self) -> None:
        super().__init__()
        import timm

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.image = timm.create_model("vit_tiny_patch16_224", img_size=IMAGE_SIZE, num_classes=0)
            self.text = nn.Linear(TEXT_WIDTH, DIM)
        self.logit_scale = nn.Parameter(torch.tensor(2.6593))

    def forward(self, batch: Batch) -> Outputs:
        """Return unit embeddings [B, 192] of both modalities and the scale."""
        image = F.normalize(self.image(batch.inputs["image"]["pixels"]), dim=1)
        text = F.normalize(self.text(batch.inputs["text"]["features"]), dim=1)
        return Outputs({"image": image, "text": text}, self.logit_scale.exp())


def make_batch(rows: int, dtype: torch.dtype = torch.float32) -> Batch:
    """Return seeded noise images [rows, 3, 96, 96] and text features [rows, 64]."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randn(rows, 3, IMAGE_SIZE, IMAGE_SIZE, generator=generator, dtype=dtype)
    features = torch.randn(rows, TEXT_WIDTH, generator=generator, dtype=dtype)
    return Batch({"image": {"pixels": pixels}, "text": {"features": features}})


def ours(model: TwoTowers, batch: Batch) -> None:
    """Fill the gradients of one step with the gradient cache."""
    model.zero_grad(set_to_none=False)
    cached_backward(model, InfoNCE(), batch=batch, micro_batch=MICRO_BATCH)


def peer(model: TwoTowers, batch: Batch) -> None:
    """Fill the gradients of one step with the whole batch at once."""
    model.zero_grad(set_to_none=False)
    InfoNCE()(model(batch), batch)["loss"].backward()


VARIANTS: dict[str, Callable[[TwoTowers, Batch], None]] = {"ours": ours, "peer": peer}


def gradient_error(rows: int) -> float:
    """Return the largest relative gradient difference over all parameters, the scale included."""
    model, batch = TwoTowers().double(), make_batch(rows, torch.float64)
    gradients: list[list[Tensor]] = []
    for run in VARIANTS.values():
        run(model, batch)
        gradients.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
    pairs = zip(*gradients, strict=True)
    return max(float((got - wanted).abs().max() / wanted.abs().max()) for got, wanted in pairs)


def check(rows: int) -> dict[str, float]:
    """Return the gradient error, or raise ``VerticlipError`` when it is more than rounding."""
    error = gradient_error(rows)
    if not error <= GRADIENT_TOLERANCE:
        raise VerticlipError(f"Gradients differ by {error:.1e}, more than {GRADIENT_TOLERANCE:.0e}.")
    return {"gradient_error": error}


def workloads(quick: bool = False) -> list[Workload]:
    """Return the timed comparison; ours may take 1.15 times as long."""
    model, batch = TwoTowers(), make_batch(QUICK_ROWS if quick else ROWS)
    return [
        Workload(
            name=f"gradient cache {len(batch)} in {MICRO_BATCH}",
            ours=partial(ours, model, batch),
            peer=partial(peer, model, batch),
            peer_name="full batch",
            gate=1 / 1.15,
            check=partial(check, 2 * MICRO_BATCH),
        )
    ]


def peak_memory(variant: str, rows: int) -> float:
    """Return the peak memory of one step above model and data, in MiB; call once per process."""
    model, batch = TwoTowers(), make_batch(rows)
    # A first step on few rows loads kernels and makes the gradient buffers.
    VARIANTS[variant](model, make_batch(2))
    return peak_mib(partial(VARIANTS[variant], model, batch))


def extra_rows(quick: bool = False) -> list[dict[str, object]]:
    """Return the row of peak memory."""
    rows = QUICK_ROWS if quick else ROWS
    name = f"gradient cache {rows} in {MICRO_BATCH} peak memory"
    return [memory_row(__name__, rows, name=name, peer_name="full batch", gate=MEMORY_GATE[rows])]
