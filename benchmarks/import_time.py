"""``import verticlip`` in a fresh process against ``import open_clip``."""

from __future__ import annotations

import subprocess
import sys

from ..core.errors import VerticlipError
from .runner import Workload

HEAVY = ("torch", "torchvision", "timm", "transformers", "open_clip", "lightning", "monai", "numpy")
GATE = 70.0
MOST_SECONDS = 0.060


def source(module: str) -> str:
    """Return a program that imports ``module`` and prints the CPU seconds since its interpreter began."""
    return f"import {module}, time; print(time.process_time())"


def check() -> dict[str, float]:
    """Raise ``VerticlipError`` when importing the package loads a heavy library."""
    program = f"import verticlip, sys; print(*(name for name in {HEAVY!r} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    if done.stdout.strip():
        raise VerticlipError(f"import verticlip also imports: {done.stdout.strip()}.")
    return {}


def workloads(quick: bool = False) -> list[Workload]:
    """Return the one comparison; ``quick`` changes nothing."""
    return [
        Workload(
            name="import verticlip",
            ours=lambda: source("verticlip"),
            peer=lambda: source("open_clip"),
            peer_name="import open_clip",
            gate=GATE,
            check=check,
            fresh_process=True,
            note=f"whole process; our own time should stay within {MOST_SECONDS * 1000:.0f} ms",
        )
    ]
