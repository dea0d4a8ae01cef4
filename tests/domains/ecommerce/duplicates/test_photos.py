"""Copies of real photographs are found, and other photographs are left alone; the figures at full size are
those of ``benchmarks/duplicates.py``."""

from __future__ import annotations

import numpy as np
import pytest
from ecommerce.duplicates.make_copies import PixelEncoder
from verticlip.benchmarks.duplicates import KINDS, drawn_fits, scores, write_copies
from verticlip.domains.ecommerce.catalog.catalog import Catalog
from verticlip.domains.ecommerce.duplicates.fitting import LabelledPair
from verticlip.domains.ecommerce.duplicates.grouping import find_duplicates
from verticlip.domains.ecommerce.duplicates.settings import DuplicateSettings


@pytest.mark.data
def test_copies_of_photographs_are_found(data_dir, tmp_path):
    photos = data_dir / "ecommerce" / "clothing" / "validation"
    if not photos.is_dir():
        pytest.skip(f"{photos} is absent")
    truth, kinds = write_copies(photos, tmp_path, 160, 60)
    assert len(truth) == 160 + 2 * 60
    catalog = Catalog.create(tmp_path / "catalog", model=PixelEncoder(), index="flat")
    catalog.ingest(tmp_path / "shop")
    found = scores(find_duplicates(catalog, DuplicateSettings(embedding=False)), truth, kinds)
    assert found["precision"] >= 0.98
    by_change = found["recall_by_change"]
    assert set(by_change) == set(KINDS)
    assert min(by_change[name] for name in ("same file", "saved again", "half the size", "brighter")) >= 0.9
    assert by_change["watermark"] >= 0.6


def test_fits_to_drawn_labels_are_compared_with_all_candidates():
    rng = np.random.default_rng(0)
    pairs = []
    for number in range(4_000):
        is_same = bool(rng.random() < 0.3)
        product, image = np.clip((0.95 if is_same else 0.8) + 0.03 * rng.standard_normal(2), -1, 1)
        pairs.append(LabelledPair(f"p{number}", f"q{number}", is_same, float(product), float(image)))
    row = drawn_fits(pairs, 0.9, 0.95, labels=1_000, draws=4)
    assert (row["fitted"], row["below_target"]) == (4, 0)
    assert 0.9 <= row["real"] <= 1
    assert drawn_fits(pairs, 0.9999, 0.95, labels=1_000, draws=1)["fitted"] == 0
