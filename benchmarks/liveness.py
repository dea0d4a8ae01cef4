"""Liveness: milliseconds for one face, on one core and on two, and what of it is finding the face.

Against peers, in CPU time of one thread: MiniFASNet run layer by layer as its authors do and in ONNX Runtime,
the image tower of CLIP in open_clip. Further rows are by the wall clock: latency of each model at one and two
threads (median and 99th percentile), pictures per second by size of batch, and the share of the detector in a
whole answer. All models but MiniFASNet V2 and ``liveness/tiny`` have random weights of published size.
"""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

from ..core.errors import VerticlipError, require
from ..domains.liveness.detector import LivenessDetector
from ..domains.liveness.faces.detect import Face
from ..domains.liveness.minifasnet.fused import fuse
from ..domains.liveness.minifasnet.network import MiniFASNet
from ..domains.liveness.models.base import Scores, score_crops
from ..facade import Model
from .liveness_models import (
    OnnxRuntime,
    OpenClip,
    Unfused,
    clip,
    crops_of,
    packaged_network,
    timed_models,
)
from .runner import Workload, require_at_least
from .yunet_stand_in import StatedFace, open_yunet

BUDGET_S = 0.015
"""What the small network may take for one face on one core."""
LARGEST_DIFFERENCE = 1e-3
"""Of logits, between ours and a peer's."""
_FRAME = (640, 480)
"""Rows and columns of a camera frame, 3:4."""
_LANDMARKS = np.array([[200, 290], [280, 290], [240, 340], [205, 385], [275, 385]], np.float32)
_FACE = Face((160.0, 220.0, 320.0, 420.0), 0.9, _LANDMARKS)


class Fused:
    """MiniFASNet as this package answers with it."""

    def __init__(self, network: MiniFASNet) -> None:
        self.network = fuse(network)

    @torch.inference_mode()
    def __call__(self, pictures: np.ndarray) -> np.ndarray:
        """Return logits [B, K] of pictures uint8 [B, H, W, 3], BGR."""
        return self.network(torch.from_numpy(pictures).permute(0, 3, 1, 2).float()).numpy()


def make_pictures(count: int, side: int = 80) -> np.ndarray:
    """Return seeded noise uint8 [count, side, side, 3]."""
    return np.random.default_rng(0).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def agreement(mine: np.ndarray, theirs: np.ndarray) -> Mapping[str, float]:
    """Return the largest difference of logits; raise when it is over :data:`LARGEST_DIFFERENCE`."""
    worst = float(np.abs(np.asarray(mine) - np.asarray(theirs)).max())
    require_at_least({"agreement": LARGEST_DIFFERENCE / max(worst, 1e-12)}, agreement=1.0)
    return {"largest_difference": worst}


def workloads(quick: bool = False) -> Iterator[Workload]:
    """Yield MiniFASNet against two peers by size of batch, and CLIP against open_clip."""
    network = packaged_network()
    fused = Fused(network)
    peers: tuple[tuple[str, Callable[[np.ndarray], np.ndarray], dict[int, float]], ...] = (
        ("PyTorch, layer by layer", Unfused(network), {1: 1.2, 8: 1.3, 32: 1.5}),
        ("ONNX Runtime", OnnxRuntime(network), {1: 0.8, 8: 1.0, 32: 1.2}),
    )
    for peer_name, peer, gates in peers:
        for batch, gate in gates.items():
            if quick and batch > 8:
                continue
            pictures, turns = make_pictures(batch), max(1, 64 // batch)
            yield Workload(
                f"MiniFASNet V2, {turns} batches of {batch}",
                partial(_repeat, fused, pictures, turns),
                partial(_repeat, peer, pictures, turns),
                peer_name,
                gate,
                lambda peer=peer, pictures=pictures: agreement(fused(pictures), peer(pictures)),
            )
    for patch in (32,) if quick else (32, 16):
        model = clip(patch)
        peer = OpenClip(model, patch)
        picture = make_pictures(1, 224)[0]
        yield Workload(
            f"CLIP ViT-B/{patch}, one face to scores",
            partial(score_crops, model, [[picture]]),
            partial(peer, picture),
            "open_clip",
            1.5,
            lambda model=model, peer=peer, picture=picture: agreement(
                score_crops(model, [[picture]]).logits.numpy(), peer(picture).numpy()
            ),
            note="texts encoded beforehand on both sides",
        )


def _repeat(call: Callable[[np.ndarray], Any], pictures: np.ndarray, turns: int) -> None:
    for _ in range(turns):
        call(pictures)


def extra_rows(quick: bool = False) -> Iterator[dict[str, Any]]:
    """Yield rows by the wall clock: latency and throughput of each model, share of the detector."""
    detector, detector_is = open_yunet()
    frame = np.random.default_rng(0).integers(0, 256, (*_FRAME, 3), dtype=np.uint8)
    found = {threads: _measured(partial(detector.detect, frame), threads, quick=quick) for threads in (1, 2)}
    yield latency_row(f"face detection, {_FRAME[1]} x {_FRAME[0]}", found, note=detector_is)
    for name, build in timed_models():
        large = "ViT" in name
        if quick and "B/16" in name:
            continue
        model = build()
        crops = crops_of(model, 1)
        score_crops(model, crops)  # texts, packed weights
        timed = {
            threads: _measured(partial(score_crops, model, crops), threads, quick=quick) for threads in (1, 2)
        }
        yield latency_row(f"{name}, one face", timed, budget=None if large else BUDGET_S)
        yield throughput_row(name, model, batches=(1, 8) if quick or large else (1, 8, 32))
        whole = LivenessDetector(model, detector=StatedFace(detector, _FACE))
        for threads in (1, 2):
            timings = _answers(whole, frame, threads, quick=quick)
            yield share_row(name, timings, threads=threads, detector_is=detector_is)


def _answers(
    whole: LivenessDetector, frame: np.ndarray, threads: int, *, quick: bool
) -> list[Mapping[str, float]]:
    """Return the timings of many whole answers."""
    if whole.predict(frame).p_live is None:
        raise VerticlipError("A gate refused the frame of the benchmark, so there is no answer to be timed.")
    timings: list[Mapping[str, float]] = []

    def answer() -> None:
        timings.append(whole.predict(frame).timings_ms)

    counted = len(_measured(answer, threads, quick=quick))
    return timings[-counted:]


@contextlib.contextmanager
def thread_count(count: int) -> Iterator[None]:
    """Let PyTorch and OpenCV use ``count`` threads for the body of a ``with``."""
    cv2 = require("cv2", extra="liveness")
    before = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(count)
    cv2.setNumThreads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        cv2.setNumThreads(before[1])


def _measured(call: Callable[[], Any], threads: int, *, quick: bool) -> list[float]:
    """Return seconds of each of many calls: up to 300, within about six seconds."""
    with thread_count(threads):
        for _ in range(3):
            call()
        first = _seconds(call)
        turns = int(min(300, max(10, 6 / first))) // (5 if quick else 1)
        return [_seconds(call) for _ in range(max(5, turns))]


def _seconds(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def percentiles_ms(seconds: Sequence[float]) -> dict[str, float]:
    """Return the median, the 99th percentile (the largest of fewer than 100) and the number of calls."""
    return {
        "p50": 1000 * statistics.median(seconds),
        "p99": 1000 * float(np.quantile(seconds, 0.99, method="higher")),
        "calls": len(seconds),
    }


def latency_row(
    name: str, timed: Mapping[int, Sequence[float]], *, budget: float | None = None, note: str = ""
) -> dict[str, Any]:
    """Return a row of seconds for one face at one thread, against a budget or else at two threads.

    Without a budget the ratio is that of one thread over two, and nothing is promised.
    """
    figures = {threads: percentiles_ms(seconds) for threads, seconds in timed.items()}
    said = "; ".join(
        f"{threads} thread{'s' if threads > 1 else ''} p50 {one['p50']:.1f} p99 {one['p99']:.1f} ms"
        for threads, one in figures.items()
    )
    if budget is None:
        ours, peer, peer_name, gate = timed[2], timed[1], "itself on one thread (ours: two)", 0.0
    else:
        ours, peer, peer_name, gate = timed[1], [budget], f"the budget of {1000 * budget:g} ms", 1.0
    row = _row(name, peer_name, ours, peer, gate=gate, note="; ".join(filter(None, (said, note))))
    return {**row, "latency_ms": {str(threads): one for threads, one in figures.items()}}


def throughput_row(name: str, model: Model, *, batches: Sequence[int]) -> dict[str, Any]:
    """Return a row of seconds for a picture in the largest batch, against one by one, on one thread."""
    each: dict[int, list[float]] = {}
    with thread_count(1):
        for batch in batches:
            crops = crops_of(model, batch)
            call: Callable[[], Scores] = partial(score_crops, model, crops, batch_size=batch)
            call()
            each[batch] = [_seconds(call) / batch for _ in range(5)]
    rates = {batch: 1 / statistics.median(seconds) for batch, seconds in each.items()}
    said = ", ".join(f"{rate:.1f} at {batch}" for batch, rate in rates.items())
    row = _row(
        f"{name}, batch of {batches[-1]}",
        "one by one (ours: seconds for a picture)",
        each[batches[-1]],
        each[batches[0]],
        gate=0.0,
        note=f"pictures per second, one thread: {said}",
    )
    return {**row, "pictures_per_second": {str(batch): rate for batch, rate in rates.items()}}


def share_row(
    name: str, timings: Sequence[Mapping[str, float]], *, threads: int, detector_is: str
) -> dict[str, Any]:
    """Return a row of seconds for a whole answer, against the detection in it, and the share of that.

    Args:
        timings: ``LivenessResult.timings_ms`` of each answer.
    """
    whole, detection = ([one[part] / 1000 for one in timings] for part in ("total", "detect"))
    share = statistics.median(one["detect"] / one["total"] for one in timings)
    parts = {part: statistics.median(one[part] for one in timings) for part in timings[0] if part != "total"}
    said = ", ".join(f"{part} {value:.1f}" for part, value in parts.items())
    figures = percentiles_ms(whole)
    row = _row(
        f"{name}, frame to answer, {threads} thread{'s' if threads > 1 else ''}",
        "the face detection in it",
        whole,
        detection,
        gate=0.0,
        note=f"p50 {figures['p50']:.1f} p99 {figures['p99']:.1f} ms, of which face detection ({detector_is}) "
        f"{share:.0%}; ms by part: {said}",
    )
    return {**row, "latency_ms": figures, "detection_share": share, "parts_ms": parts, "threads": threads}


def _row(
    name: str, peer_name: str, ours: Sequence[float], peer: Sequence[float], *, gate: float, note: str
) -> dict[str, Any]:
    """Return a row of the table; the range of the ratio is that of the fastest and slowest quarters."""
    sides = {
        side: {"median": statistics.median(values), "min": min(values), "max": max(values)}
        for side, values in (("ours", ours), ("peer", peer))
    }
    quarters = np.quantile(ours, (0.25, 0.75))
    ratio = sides["peer"]["median"] / sides["ours"]["median"]
    return {
        "name": name,
        "peer_name": peer_name,
        "unit": "s",
        **sides,
        "ratio": ratio,
        "ratio_min": sides["peer"]["median"] / float(quarters[1]),
        "ratio_max": sides["peer"]["median"] / float(quarters[0]),
        "gate": gate,
        "note": note,
        "passed": ratio >= gate,
    }
