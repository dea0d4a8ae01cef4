"""The reference's preparation beyond its stored case."""

from __future__ import annotations

import numpy as np
import pytest
from verticlip.core.errors import ConfigError, InputError
from verticlip.domains.urban.indicators.preparation import prepare_urbanclip


def table(rows: int = 40) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3)
    return {"carbon": rng.gamma(2, 100, rows), "gdp": rng.gamma(2, 10, rows)}


def test_rows_with_a_zero_go_and_every_other_row_is_used_once():
    columns = table()
    columns["gdp"][[4, 9]] = 0
    columns["carbon"][5] = np.nan
    found = prepare_urbanclip(columns)
    assert set(range(40)) - set(found.kept_rows.tolist()) == {4, 5, 9}
    assert sorted([*found.train_rows, *found.test_rows]) == found.kept_rows.tolist()
    assert len(found.train_rows) == int(0.8 * 37)


def test_the_shuffle_is_that_of_a_data_frame():
    pandas = pytest.importorskip("pandas")
    columns = table()
    found = prepare_urbanclip(columns, train_ratio=0.7, random_state=7)
    order = pandas.DataFrame(columns).sample(frac=1, random_state=7).index.to_numpy()
    assert np.array_equal(np.concatenate([found.train_rows, found.test_rows]), order)


def test_refining_cancels_in_the_z_values():
    found = prepare_urbanclip(table())
    for name, log in found.log.items():
        part = log[np.searchsorted(found.kept_rows, found.train_rows)]
        fitted = part[: int(0.8 * len(part))]
        assert np.allclose(found.z[name], (part - fitted.mean()) / fitted.std())
        assert np.ptp(found.refined[name]) == pytest.approx(1)


@pytest.mark.parametrize(
    ("columns", "ratio", "error", "message"),
    [
        ({}, 0.8, InputError, "no indicator columns"),
        ({"a": [1, 2], "b": [1]}, 0.8, InputError, "Column 'b' is"),
        ({"a": [1, -2, 3]}, 0.8, InputError, "'a' holds -2"),
        ({"a": [1, 0, 3, 0]}, 0.8, InputError, "2 of 4 rows have no zero"),
        ({"a": [2.0] * 9}, 0.8, InputError, "all kept values are equal"),
        ({"a": [1, 2]}, 1.0, ConfigError, "train_ratio must lie between 0 and 1, got 1.0"),
    ],
)
def test_tables_that_cannot_be_prepared(columns, ratio, error, message):
    with pytest.raises(error, match=message):
        prepare_urbanclip(columns, train_ratio=ratio)
