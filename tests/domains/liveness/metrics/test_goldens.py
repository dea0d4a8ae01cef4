"""The stored reference cases of the metrics, and sixteen variations against a second opinion."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from liveness.metrics import pad_oracle
from safetensors.numpy import save_file
from verticlip.core import verify
from verticlip.domains.liveness.metrics import goldens


@pytest.mark.parametrize("case", goldens.CASES)
def test_every_output_is_within_its_tolerance(small_golden, case):
    report = verify.replay("clipc8", small_golden / "clipc8" / case)
    assert {check.status for check in report.checks} == {"ok"}, report
    # The reference was followed to the last digit; the tolerance is for other processors.
    assert max(check.error for check in report.checks) < 1e-7


# seed, videos, most frames per video, decimals the test scores are rounded to (ties), density of the scan.
VARIATIONS = [
    (1, 12, 1, 1, 10_000), (2, 31, 7, 2, 10_000), (3, 80, 3, 0, 10_000), (4, 25, 4, 1, 1_000),
    (5, 50, 2, 3, 500), (6, 9, 12, 1, 100), (7, 40, 3, 0, 1_000), (8, 64, 1, 6, 2_000),
]  # fmt: skip


@pytest.mark.parametrize(("seed", "videos", "frames", "decimals", "density"), VARIATIONS)
def test_other_counts_frames_ties_and_saturation(tmp_path, seed, videos, frames, decimals, density):
    rng = np.random.default_rng(seed)
    of_frame = rng.permutation(np.repeat(np.arange(videos), rng.integers(1, frames + 1, videos)))
    live = (np.arange(videos) % 3 == 0).astype(np.int64)
    # Logits of 40 and more saturate at exactly 0 and 1, as a confident model's do.
    scale = 40.0 if seed % 2 else 1.0
    logits = rng.normal(scale=scale, size=(len(of_frame), 2))
    logits[:, 1] += np.where(live[of_frame], 1.0, -1.0) * scale
    inputs = {
        "frame_logits": logits.astype(np.float32),
        "frame_video_ids": of_frame.astype(np.int64),
        "frame_labels": live[of_frame],
    }
    for part, size in (("dev", 20 + seed), ("test", 3 * videos)):
        labels = (np.arange(size) % 4 == 0).astype(np.float64)
        scores = np.clip(rng.normal(0.4, 0.3, size) + 0.3 * labels, 0, 1)
        inputs |= {f"{part}_labels": labels, f"{part}_scores": np.round(scores, decimals)}
    expected = pad_oracle.metrics_case(inputs, density)
    save_file(inputs, tmp_path / "inputs.safetensors")
    save_file({name: np.asarray(value) for name, value in expected.items()}, tmp_path / "outputs.safetensors")
    config = {"case": "metrics_b", "grid_density": density, "positive_class": "real (1)"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    report = verify.replay("clipc8", tmp_path)
    assert {check.status for check in report.checks} == {"ok"}, report


@pytest.mark.parametrize("seed", range(8))
def test_other_presentations(tmp_path, seed):
    rng = np.random.default_rng(seed)
    kinds = ["print", "display", "mask_3d", "composite", "document"][: 1 + seed % 5]
    rows = [{"species": kind, "score": None} for kind in kinds[:1] * (seed % 3)]
    for kind in ["bona_fide", *kinds]:
        for _ in range(int(rng.integers(1, 40))):
            score = float(np.round(rng.normal(0.7 if kind == "bona_fide" else 0.3, 0.25), 1 + seed % 3))
            rows.append({"species": kind, "score": None if rng.random() < 0.1 else min(max(score, 0.0), 1.0)})
    rows = [rows[index] for index in rng.permutation(len(rows))]
    scores, species = [row["score"] for row in rows], [row["species"] for row in rows]
    expected = pad_oracle.iso(scores, species, (0.3, 0.5, 1.0)[seed % 3])
    # An infinite threshold comes up where an attack ties with the best bona fide.
    expected["bpcer_at_apcer"] = {
        str(point): pad_oracle.bpcer_at(scores, species, point) for point in (10, 20, 100, 2)
    }
    case = {"case": "iso_worked", "presentations": rows, "expected": expected}
    (tmp_path / "case.json").write_text(json.dumps(case))
    report = verify.replay("clipc8", tmp_path)
    assert {check.status for check in report.checks} == {"ok"}, report
    assert max(check.error for check in report.checks) < 1e-12


def test_what_is_not_defined_is_null_in_a_case(tmp_path):
    expected = {"threshold": 0.5, "bpcer": None, "bpnrr": None, "apcer": {"print": 1.0}, "apcer_max": 1.0}
    expected |= {"acer_max": None, "bpcer_at_apcer": {"10": None}}
    case = {"case": "iso_worked", "presentations": [{"species": "print", "score": 0.5}], "expected": expected}
    (tmp_path / "case.json").write_text(json.dumps(case))
    report = verify.replay("clipc8", tmp_path)
    assert {check.status for check in report.checks} == {"ok"}, report


@pytest.mark.parametrize("words", [{"positive_class": "real (0)"}, {"positive_class": "0 = live"}])
def test_the_words_of_a_case_name_the_live_class(words):
    rng = np.random.default_rng(0)
    labels, sets = np.arange(12) % 3 == 0, np.arange(20) % 4 == 0
    logits = rng.normal(size=(12, 2)).astype(np.float32)
    scores = {f"{part}_scores": torch.from_numpy(rng.random(20)) for part in ("dev", "test")}

    def replayed(config, live, columns):
        of_sets = torch.from_numpy(sets if live else ~sets).long()
        inputs = {
            "frame_logits": torch.from_numpy(logits[:, columns].copy()),
            "frame_video_ids": torch.arange(12),
            "frame_labels": torch.from_numpy(labels if live else ~labels).long(),
            "dev_labels": of_sets,
            "test_labels": of_sets,
        }
        return goldens.replay_metrics(config, inputs | scores, None)

    # Classes in the other order, and named so, are the same presentations.
    found, expected = replayed(words, False, [1, 0]), replayed({}, True, [0, 1])
    for name in set(expected) - {"video_label"}:
        torch.testing.assert_close(found[name], expected[name], rtol=0, atol=1e-6)
    assert found["video_label"].tolist() == (1 - expected["video_label"]).tolist()
