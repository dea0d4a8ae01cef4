"""The benchmark of vector indexes, on few rows."""

from __future__ import annotations

import numpy as np
import pytest
from verticlip.benchmarks import vectors as bench


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "QUERIES", 20)
    monkeypatch.setattr(bench, "CENTERS", 50)
    monkeypatch.setattr(bench, "_has_lancedb", lambda: False)


@pytest.mark.parametrize("draw", [bench.clustered, bench.isotropic])
def test_collections_are_unit_rows_and_always_the_same(draw) -> None:
    rows = draw(300)
    assert rows.shape == (300, 512)
    assert rows.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    np.testing.assert_array_equal(rows, draw(300))


def test_one_has_groups_and_the_other_has_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "CENTERS", 20)
    tenth = [
        np.sort(rows[:400] @ rows[400:].T, axis=0)[-10].mean()
        for rows in (bench.clustered(420), bench.isotropic(420))
    ]
    assert tenth[0] > 0.4 > 0.15 > tenth[1]


def test_every_row_says_how_fast_and_how_well() -> None:
    pytest.importorskip("usearch")
    rows = list(bench.extra_rows(rows=800))
    for row in rows:
        assert {"name", "peer_name", "unit", "ours", "peer", "ratio", "gate", "passed"} <= row.keys()
        assert row["ratio"] > 0
    searches = [row for row in rows if "check" in row]
    assert len(searches) == 4
    assert all(row["check"] == {"recall": 1.0, "peer_recall": 1.0} for row in searches)
    assert {row["kind"]["image"] for row in searches if "kind" in row} == {"flat"}
    assert rows[-1]["name"] == "upsert of 1 % of 800 rows: flat"


def test_recall_is_counted_from_answers() -> None:
    rows = bench.isotropic(100)
    wanted = bench.nearest_by_numpy(rows, rows[:4])

    def half(query: np.ndarray) -> list[int]:
        return np.argsort(-(rows @ query))[:5].tolist()

    row = bench._compared("half", half, half, "half", rows[:4], wanted, gate=0.1, note="")
    assert row["check"]["recall"] == 0.5
    assert not row["passed"]
    assert set(row["p99_ms"]) == {"ours", "peer"}
