"""Peak memory of one step, measured in fresh processes so that nothing is left over from before."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from ..core.errors import VerticlipError


def peak_mib(step: Callable[[], object]) -> float:
    """Return how far ``step`` raises this process's peak resident memory, in MiB.

    The peak never falls: call it once per process, and make inputs without large temporaries.
    """
    before = _peak_bytes()
    step()
    return (_peak_bytes() - before) / 1024**2


def total_peak_mib() -> float:
    """Return this process's peak resident memory in MiB, interpreter and libraries included."""
    return _peak_bytes() / 1024**2


def _peak_bytes() -> int:
    """Return this process's peak resident memory."""
    status = Path("/proc/self/status")
    if status.is_file():
        # Not getrusage: on Linux its peak survives exec, so a child starts with that of its parent.
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # in bytes on macOS


def memory_row(module: str, rows: int, *, name: str, peer_name: str, gate: float) -> dict[str, object]:
    """Return a result row comparing ``module.peak_memory("ours" | "peer", rows)`` in fresh processes.

    Args:
        module: full name of the benchmark module.
        rows: batch size.
        name: name of the row.
        peer_name: what ours is compared with.
        gate: least ratio of the peer's peak to ours.

    Raises:
        VerticlipError: a process failed; its last words are shown.
    """
    peaks = {}
    for variant in ("ours", "peer"):
        code = f"import {module} as module; print(module.peak_memory({variant!r}, {rows}))"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        if done.returncode:
            raise VerticlipError(f"{name}: measuring {variant!r} failed: {done.stderr.strip()[-500:]}")
        peaks[variant] = float(done.stdout)
    ratio = peaks["peer"] / peaks["ours"]
    return {
        "name": name,
        "peer_name": peer_name,
        "ours_mib": round(peaks["ours"], 1),
        "peer_mib": round(peaks["peer"], 1),
        "ratio": round(ratio, 2),
        "gate": gate,
        "passed": ratio >= gate,
    }
