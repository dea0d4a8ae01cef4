"""What an ONNX file says of itself, without the onnx package."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import pytest
from verticlip.domains.liveness.faces.onnx_header import read_header

OPEN, FIXED = (Path(__file__).with_name(f"yunet_colors{name}.onnx").read_bytes() for name in ("", "_fixed"))


def test_sizes_and_names() -> None:
    assert read_header(FIXED).inputs == (("input", (1, 3, 640, 640)),)
    assert read_header(OPEN).inputs == (("input", (None, 3, None, None)),)
    expected = {f"{head}_{stride}" for head in ("cls", "obj", "bbox", "kps") for stride in (8, 16, 32)}
    assert set(read_header(OPEN).outputs) == set(read_header(FIXED).outputs) == expected


def test_the_onnx_package_agrees() -> None:
    onnx = pytest.importorskip("onnx", reason="the export extra is not installed")
    graph = onnx.load_from_string(FIXED).graph
    assert read_header(FIXED).outputs == tuple(output.name for output in graph.output)


def test_every_cut_is_said() -> None:
    for length in range(0, len(OPEN), 7):
        with pytest.raises(ValueError, match="cut off|no graph|protocol buffer"):
            read_header(OPEN[:length])


def test_noise_raises_nothing_else() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        damaged = np.frombuffer(OPEN, np.uint8).copy()
        damaged[rng.integers(0, len(damaged), 4)] = rng.integers(0, 256, 4)
        with contextlib.suppress(ValueError):
            read_header(damaged.tobytes())
