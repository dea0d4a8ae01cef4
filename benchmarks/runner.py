"""Runs comparisons of verticlip with the library a user would otherwise reach for.

Subject and peer take turns, at least five rounds after two warm-ups, so that a busy moment of the
machine hits both. The clock is process CPU time with one thread, which a neighbour disturbs least.
A ratio is the median over rounds of peer / ours: two means twice as fast, or half the memory.

    python -m verticlip.benchmarks --quick --out runs/bench.json
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from ..core.errors import ConfigError, DependencyError, VerticlipError, nearest
from ..core.files import write_json_atomic

MODULES = (
    "import_time",
    "load_model",
    "image_embed",
    "text_embed",
    "preprocess",
    "infonce",
    "big_batch",
    "dicom",
    "prompts_padding",
    "class_cache",
    "grounding",
    "separation",
    "rasters",
    "catalog",
    "vectors",
    "liveness",
    "exports",
)
"""Files of this folder with ``workloads(quick)`` and perhaps ``extra_rows(quick)``."""
ROUNDS, WARM_UPS = 5, 2
_FLAGS = ("avx2", "fma", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16", "asimd", "bf16", "sve")
_PACKAGES = (
    "verticlip",
    "torch",
    "open_clip_torch",
    "transformers",
    "timm",
    "numpy",
    "pillow",
    "pydicom",
    "monai",
    "soundfile",
    "soxr",
    "librosa",
    "torchaudio",
    "rasterio",
    "geopandas",
    "torchgeo",
    "usearch",
    "faiss-cpu",
    "lancedb",
)


@dataclass(frozen=True)
class Workload:
    """One comparison.

    Attributes:
        ours: the subject; its return value is ignored. With ``fresh_process`` it returns Python
            source that prints the measured value as its last line.
        peer: the same for the library compared with.
        gate: the least ratio peer / ours that we promise on hardware like that of the notes.
        check: returns figures of correctness, or raises ``VerticlipError`` when one is out of bounds.
        fresh_process: measure each turn in a new interpreter (import, load and memory rows).
        unit: of the measured value.
        note: what a reader of the table should know.
    """

    name: str
    ours: Callable[[], Any]
    peer: Callable[[], Any]
    peer_name: str
    gate: float
    check: Callable[[], Mapping[str, float] | None] | None = None
    fresh_process: bool = False
    unit: Literal["s", "MiB"] = "s"
    note: str = ""


def run_workload(
    workload: Workload,
    *,
    rounds: int = ROUNDS,
    warm_ups: int = WARM_UPS,
    clock: Callable[[], float] | None = None,
) -> dict[str, Any]:
    """Return the row of one comparison: medians, ranges, ratio, gate and correctness figures.

    A row has ``failed`` when a correctness figure is out of bounds or the ratio is below half of
    the gate, and ``met`` when the ratio reaches the gate.
    """
    clock = clock or time.process_time
    row: dict[str, Any] = {
        "name": workload.name,
        "peer_name": workload.peer_name,
        "unit": workload.unit,
        "gate": workload.gate,
        "note": workload.note,
        "rounds": rounds,
    }
    try:
        row["check"] = dict((workload.check() if workload.check else None) or {})
        values = _measure(workload, rounds=rounds, warm_ups=warm_ups, clock=clock)
    except VerticlipError as error:
        return {**row, "error": str(error), "met": False, "failed": True}
    ratios = [peer / ours for ours, peer in zip(values["ours"], values["peer"], strict=True)]
    ratio = statistics.median(ratios)
    row |= {variant: _summary(numbers) for variant, numbers in values.items()}
    row |= {"ratio": ratio, "ratio_min": min(ratios), "ratio_max": max(ratios)}
    return {**row, "met": ratio >= workload.gate, "failed": ratio < workload.gate / 2}


def _measure(
    workload: Workload, *, rounds: int, warm_ups: int, clock: Callable[[], float]
) -> dict[str, list[float]]:
    """Return the values of both variants after the warm-ups."""
    values: dict[str, list[float]] = {"ours": [], "peer": []}
    for turn in range(warm_ups + rounds):
        # The order alternates: whoever goes second finds caches in another state.
        for variant in ("ours", "peer") if turn % 2 else ("peer", "ours"):
            call = getattr(workload, variant)
            value = _in_fresh_process(call()) if workload.fresh_process else _timed(call, clock)
            if turn >= warm_ups:
                values[variant].append(value)
    return values


def _timed(call: Callable[[], Any], clock: Callable[[], float]) -> float:
    start = clock()
    call()
    return clock() - start


def _in_fresh_process(source: str) -> float:
    """Return the number that ``source`` prints last in a new interpreter."""
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=False)
    if done.returncode:
        raise VerticlipError(f"A benchmark process failed: {done.stderr.strip()[-500:]}")
    return float(done.stdout.split()[-1])


def _summary(numbers: Sequence[float]) -> dict[str, float]:
    return {"median": statistics.median(numbers), "min": min(numbers), "max": max(numbers)}


def require_at_least(figures: Mapping[str, float], **bounds: float) -> Mapping[str, float]:
    """Return ``figures``, or raise ``VerticlipError`` when one is below its bound or not a number."""
    for name, bound in bounds.items():
        if not figures[name] >= bound:
            raise VerticlipError(f"{name} is {figures[name]:.7f}, below {bound}.")
    return figures


def describe_machine(threads: int) -> dict[str, Any]:
    """Return what a ratio depends on: CPU, instruction sets, versions, threads, load average."""
    import torch

    cpu, flags = platform.processor() or platform.machine(), set()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        fields = dict(line.split(":", 1) for line in info.read_text().splitlines() if ":" in line)
        fields = {key.strip(): value.strip() for key, value in fields.items()}
        cpu = fields.get("model name", cpu)
        flags = set(fields.get("flags", fields.get("Features", "")).split())
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = None
    return {
        "cpu": cpu,
        "cpu_flags": [flag for flag in _FLAGS if flag in flags],
        "torch_cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "cpu_count": os.cpu_count(),
        "threads": threads,
        "load_average": list(os.getloadavg()) if hasattr(os, "getloadavg") else None,
        "python": platform.python_version(),
        "versions": versions,
    }


def _rows(names: Sequence[str], *, quick: bool, clock: Callable[[], float]) -> Iterator[dict[str, Any]]:
    """Yield one row per comparison of the modules ``names``; a missing extra gives a skipped row."""
    for name in names:
        try:
            module = importlib.import_module(f"{__package__}.{name}")
            for workload in module.workloads(quick):
                # Starting an interpreter that imports a peer takes seconds: fewer turns when quick.
                few = quick and workload.fresh_process
                counts = {"rounds": 3, "warm_ups": 1} if few else {}
                yield {"module": name, **run_workload(workload, clock=clock, **counts)}
            for row in module.extra_rows(quick) if hasattr(module, "extra_rows") else ():
                passed = bool(row["passed"])
                yield {"module": name, **row, "met": passed, "failed": row["ratio"] < row["gate"] / 2}
        except DependencyError as error:
            yield {"module": name, "name": name, "skipped": str(error), "met": False, "failed": False}


def _line(row: Mapping[str, Any]) -> str:
    """Return a row as one line of the table."""
    if "skipped" in row or "error" in row:
        word = "SKIPPED" if "skipped" in row else "WRONG"
        return f"{row['name']:<44} {word}: {row.get('skipped') or row['error']}"
    verdict = "ok" if row["met"] else "FAILED" if row["failed"] else "below gate"
    if "ours" in row:
        pair = f"{row['ours']['median']:.4g} / {row['peer']['median']:.4g} {row['unit']}"
        spread = f"{row['ratio_min']:.2f}-{row['ratio_max']:.2f}"
    else:
        pair = f"{row['ours_mib']:.4g} / {row['peer_mib']:.4g} MiB"
        spread = ""
    figures = " ".join(f"{name}={value:.7g}" for name, value in row.get("check", {}).items())
    return (
        f"{row['name']:<44} {pair:>24} {row['ratio']:8.2f}x {spread:>13} {row['gate']:7.4g}x {verdict:<10}"
        f" vs {row['peer_name']} {figures}"
    ).rstrip()


def main(argv: Sequence[str] | None = None) -> int:
    """Run the comparisons; the table goes to stderr, JSON to stdout or ``--out``. Return the exit code.

    0: all correct and no ratio below half of its gate. 1: otherwise. 2: bad options.
    """
    parser = argparse.ArgumentParser(
        prog="python -m verticlip.benchmarks", description="Compare verticlip with its peers."
    )
    parser.add_argument("--quick", action="store_true", help="smaller inputs, under two minutes")
    parser.add_argument(
        "--only", action="append", metavar="NAME", help=f"one of: {', '.join(MODULES)}; repeatable"
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the JSON here instead of stdout")
    parser.add_argument("--wall", action="store_true", help="wall-clock time (only on an idle machine)")
    parser.add_argument(
        "--threads", type=int, default=1, help="torch threads; CPU time needs one (default 1)"
    )
    options = parser.parse_args(argv)
    try:
        report = run(options.only or MODULES, quick=options.quick, wall=options.wall, threads=options.threads)
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    if options.out:
        write_json_atomic(options.out, report)
    else:
        sys.stdout.write(json.dumps(report, indent=2) + "\n")
    return 1 if any(row["failed"] for row in report["rows"]) else 0


def run(names: Sequence[str], *, quick: bool = False, wall: bool = False, threads: int = 1) -> dict[str, Any]:
    """Return the report of the modules ``names``: machine, settings and rows; the table goes to stderr.

    Raises:
        ConfigError: an unknown name, or several threads with a clock that adds them up.
    """
    import torch

    for name in names:
        if name not in MODULES:
            raise ConfigError(f"No benchmark {name!r}; known: {', '.join(MODULES)}.{nearest(name, MODULES)}")
    if threads != 1 and not wall:
        raise ConfigError(
            f"CPU time adds up over threads, so {threads} threads need --wall (on an idle machine)."
        )
    torch.set_num_threads(threads)
    machine = describe_machine(threads)
    sys.stderr.write(f"{machine['cpu']} {' '.join(machine['cpu_flags'])}, torch {torch.__version__}\n")
    sys.stderr.write(f"{'comparison':<44} {'ours / peer':>24} {'ratio':>9} {'range':>13} {'gate':>8}\n")
    rows = []
    for row in _rows(names, quick=quick, clock=time.perf_counter if wall else time.process_time):
        rows.append(row)
        sys.stderr.write(_line(row) + "\n")
    return {"machine": machine, "quick": quick, "clock": "wall" if wall else "process CPU time", "rows": rows}
