"""The benchmark of duplicates counts what it says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from PIL import Image
from verticlip.benchmarks.duplicates import KINDS, scores, write_copies
from verticlip.core.index.base import Identity
from verticlip.domains.ecommerce.duplicates.report import DuplicateReport, Group
from verticlip.domains.ecommerce.duplicates.settings import DuplicateSettings

EMPTY = DuplicateReport(1, Identity("m", "1", "p", 4), DuplicateSettings(), 5, (), (), ())


def test_copies_are_written_with_what_they_show(tmp_path):
    for number in range(4):
        folder = tmp_path / "photos" / ("hat" if number % 2 else "dress")
        folder.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 256, (150, 120, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.jpg")
    truth, kinds = write_copies(tmp_path / "photos", tmp_path, 4, 3)
    assert len(truth) == 4 + 3 * 2
    assert sorted(truth.values()).count("0") == 3
    assert set(kinds.values()) <= {"", *KINDS}
    assert all((tmp_path / "shop" / name).is_file() for name in truth)
    assert write_copies(tmp_path / "photos", tmp_path, 4, 3) == (truth, kinds)


def test_pairs_are_counted():
    truth = {"a": "1", "a2": "1", "a3": "1", "b": "2", "c": "3"}
    kinds = {"a": "", "a2": "mirrored", "a3": "brighter", "b": "", "c": ""}
    report = replace(EMPTY, groups=(Group("a", ("a", "a2", "b"), ()),))
    found = scores(report, truth, kinds)
    assert found["found"] == 3
    assert found["wrong"] == 2
    assert found["precision"] == round(1 / 3, 4)
    assert found["recall"] == round(1 / 3, 4)
    assert found["recall_by_change"] == {"brighter": 0.0, "mirrored": 1.0}
    assert scores(EMPTY, truth, kinds)["precision"] is None
