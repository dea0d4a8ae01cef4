"""InfoNCE at batch 8,192, width 512, forward and backward, against open_clip's ``ClipLoss``.

Time is compared inside one process, memory in fresh processes (peak resident memory above the
inputs).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from ..core.errors import VerticlipError
from ..core.objectives.pairwise import InfoNCE
from ..core.types import Batch, Outputs
from .memory import memory_row, peak_mib
from .runner import Workload

ROWS, DIM, SCALE = 8192, 512, 100.0
QUICK_ROWS = 4096
MEMORY_GATE = {8192: 15.0, 4096: 8.0}
"""Least ratio of the peer's peak memory to ours, by batch size."""
GRADIENT_TOLERANCE = 3e-6
"""Gradient error against float64 that is accepted whatever the peer's is."""


def make_inputs(rows: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return seeded unit embeddings [rows, DIM], correlated in pairs, and the scale, all leaves."""
    generator = torch.Generator().manual_seed(0)
    # In place throughout: a temporary here would raise the peak that memory is measured above.
    image = torch.empty(rows, DIM).normal_(generator=generator)
    image.div_(torch.linalg.vector_norm(image, dim=1, keepdim=True))
    text = torch.empty(rows, DIM).normal_(generator=generator).mul_(0.2).add_(image)
    text.div_(torch.linalg.vector_norm(text, dim=1, keepdim=True))
    return image.requires_grad_(), text.requires_grad_(), torch.tensor(SCALE, requires_grad=True)


def ours(image: Tensor, text: Tensor, scale: Tensor) -> Tensor:
    """Run our loss forward and backward; return the loss."""
    loss = InfoNCE()(Outputs({"image": image, "text": text}, scale), Batch({}))["loss"]
    loss.backward()
    return loss.detach()


def peer(image: Tensor, text: Tensor, scale: Tensor) -> Tensor:
    """Run open_clip's loss forward and backward; return the loss."""
    from open_clip.loss import ClipLoss

    loss = ClipLoss()(image, text, scale)
    loss.backward()
    return loss.detach()


VARIANTS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {"ours": ours, "peer": peer}


def _step(run: Callable[[Tensor, Tensor, Tensor], Tensor], inputs: tuple[Tensor, Tensor, Tensor]) -> None:
    for tensor in inputs:
        tensor.grad = None
    run(*inputs)


def gradient_error(variant: str, rows: int) -> float:
    """Return the largest gradient error against float64, relative to each gradient's largest entry."""
    gradients = []
    for run, dtype in ((VARIANTS[variant], torch.float32), (peer, torch.float64)):
        inputs = [tensor.detach().to(dtype).requires_grad_() for tensor in make_inputs(rows)]
        run(*inputs)
        gradients.append([tensor.grad for tensor in inputs])
    pairs = zip(*gradients, strict=True)
    return max(float((got - exact).abs().max() / exact.abs().max()) for got, exact in pairs)


def check(rows: int) -> dict[str, float]:
    """Return both gradient errors, or raise ``VerticlipError`` when ours is above the peer's."""
    errors = {variant: gradient_error(variant, rows) for variant in VARIANTS}
    if not errors["ours"] <= max(errors["peer"], GRADIENT_TOLERANCE):
        raise VerticlipError(
            f"Our gradient error {errors['ours']:.1e} is above the peer's {errors['peer']:.1e}."
        )
    return {f"{variant}_gradient_error": error for variant, error in errors.items()}


def workloads(quick: bool = False) -> list[Workload]:
    """Return the timed comparison; ours must take at most 0.8 of the peer's time."""
    rows = QUICK_ROWS if quick else ROWS
    inputs = make_inputs(rows)
    return [
        Workload(
            name=f"infonce {rows}x{DIM} forward+backward",
            ours=partial(_step, ours, inputs),
            peer=partial(_step, peer, inputs),
            peer_name="open_clip ClipLoss",
            gate=1.25,
            check=partial(check, min(rows, 1024)),
        )
    ]


def peak_memory(variant: str, rows: int) -> float:
    """Return the peak memory of one step above the inputs, in MiB; call once per process."""
    inputs = make_inputs(rows)
    # A first step on few rows loads libraries and kernels, which are not part of the loss.
    VARIANTS[variant](*make_inputs(64))
    return peak_mib(partial(VARIANTS[variant], *inputs))


def extra_rows(quick: bool = False) -> list[dict[str, object]]:
    """Return the row of peak memory."""
    rows = QUICK_ROWS if quick else ROWS
    name = f"infonce {rows}x{DIM} peak memory"
    return [memory_row(__name__, rows, name=name, peer_name="open_clip ClipLoss", gate=MEMORY_GATE[rows])]
