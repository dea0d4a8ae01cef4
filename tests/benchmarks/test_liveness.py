"""The liveness rows compare like with like, their checks can fail, and the stand-in is of YuNet's size."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("cv2", reason="the liveness extra is not installed")

from verticlip.benchmarks import liveness, liveness_models
from verticlip.benchmarks.yunet_stand_in import StandIn, StatedFace, open_yunet, write_stand_in
from verticlip.core.errors import VerticlipError
from verticlip.domains.liveness.faces.detect import VARIABLE, Face
from verticlip.domains.liveness.models.base import score_crops


def test_ours_and_both_peers_give_the_same_logits():
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    network = liveness_models.packaged_network()
    pictures = liveness.make_pictures(3)
    mine = liveness.Fused(network)(pictures)
    for peer in (liveness_models.Unfused(network), liveness_models.OnnxRuntime(network)):
        assert liveness.agreement(mine, peer(pictures))["largest_difference"] < 1e-4


def test_the_check_fails_on_other_logits():
    with pytest.raises(VerticlipError, match="agreement is"):
        liveness.agreement(np.zeros((1, 3)), np.full((1, 3), 0.01))


def test_the_stand_in_is_of_the_size_of_yunet_and_finds_nothing(tmp_path, monkeypatch):
    pytest.importorskip("onnx")
    assert sum(one.numel() for one in StandIn().parameters()) == 75_856
    monkeypatch.delenv(VARIABLE, raising=False)
    detector, what = open_yunet()
    assert "stand-in" in what
    frame = np.random.default_rng(0).integers(0, 256, (96, 64, 3), dtype=np.uint8)
    assert detector.detect(frame) == []
    face = Face((1.0, 2.0, 30.0, 40.0))
    assert StatedFace(detector, face).detect(frame) == [face]
    monkeypatch.setenv(VARIABLE, str(write_stand_in(tmp_path / "yunet.onnx")))
    assert open_yunet()[1] == "YuNet"


def test_a_model_of_two_crops_is_timed_with_two():
    model = liveness_models.minifasnet_pair()
    crops = liveness_models.crops_of(model, 2)
    assert [len(pictures) for pictures in crops] == [2, 2]
    assert score_crops(model, crops).logits.shape == (2, 3)
    row = liveness.throughput_row("pair", model, batches=(1, 2))
    assert set(row["pictures_per_second"]) == {"1", "2"}
    assert row["passed"]


def test_the_latency_row_holds_the_budget_against_one_thread():
    row = liveness.latency_row("m", {1: [0.010] * 99 + [0.5], 2: [0.006] * 3}, budget=0.015)
    assert row["ratio"] == pytest.approx(1.5)
    assert row["passed"]
    assert row["latency_ms"]["1"] == {"p50": pytest.approx(10), "p99": pytest.approx(500), "calls": 100}
    assert "1 thread p50 10.0 p99 500.0 ms; 2 threads p50 6.0" in row["note"]
    assert not liveness.latency_row("m", {1: [0.020], 2: [0.020]}, budget=0.015)["passed"]
    free = liveness.latency_row("m", {1: [0.2], 2: [0.1]})
    assert free["ratio"] == pytest.approx(2.0)
    assert free["gate"] == 0


def test_the_share_of_the_detector():
    timings = [
        {"detect": 10.0, "model": 20.0, "total": 40.0},
        {"detect": 30.0, "model": 60.0, "total": 120.0},
    ]
    row = liveness.share_row("m", timings, threads=1, detector_is="YuNet")
    assert row["detection_share"] == pytest.approx(0.25)
    assert row["parts_ms"] == {"detect": pytest.approx(20), "model": pytest.approx(40)}
    assert row["note"].startswith(
        "p50 80.0 p99 120.0 ms, of which face detection (YuNet) 25%; ms by part: detect"
    )


def test_threads_are_put_back():
    import torch

    before = torch.get_num_threads()
    with liveness.thread_count(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before
