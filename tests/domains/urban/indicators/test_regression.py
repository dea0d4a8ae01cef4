"""Indicators from embeddings in their own unit, kept on disk, for one model's embeddings only."""

from __future__ import annotations

import json

import numpy as np
import pytest
from verticlip.core.errors import ConfigError, InputError, WeightsError
from verticlip.core.files import sha256_of
from verticlip.domains.urban.indicators.mlp import MLPSettings
from verticlip.domains.urban.indicators.regression import Binding, IndicatorRegressor, random_parts
from verticlip.domains.urban.indicators.regressors import HEADS
from verticlip.domains.urban.indicators.transforms import TARGET_KINDS

BINDING = Binding(model_id="urban/tiny", revision="abc", processor="p", dim=6)
MLP = MLPSettings(hidden=16, epochs=30, lr=1e-2)


def data(rows=200, seed=0):
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(rows, 6)).astype(np.float32)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors, np.exp(2 * unit[:, 0] + 4 + 0.05 * rng.normal(size=rows))


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("target", TARGET_KINDS)
def test_predictions_come_in_the_unit_of_the_values(head, target):
    vectors, people = data()
    found = IndicatorRegressor(target, head, mlp=MLP).fit(vectors[:150], people[:150])
    predicted = found.predict(vectors[150:])
    if head == "mean":
        assert np.ptp(predicted) == pytest.approx(0, abs=1e-9)
        assert people.min() < predicted[0] < people.max()
        return
    if (head, target) == ("mlp", "none"):
        # Two layers want targets of about 1, which is why values are standardized by default.
        assert np.isfinite(predicted).all()
        return
    assert np.corrcoef(predicted, people[150:])[0, 1] > 0.85
    assert np.abs(predicted - people[150:]).mean() < 0.6 * np.abs(people[150:] - people[:150].mean()).mean()


def test_only_the_direction_of_an_embedding_counts():
    vectors, people = data()
    found = IndicatorRegressor("log", "mlp", mlp=MLP).fit(vectors, people)
    lengths = np.random.default_rng(1).uniform(0.1, 9, (len(vectors), 1)).astype(np.float32)
    assert np.allclose(found.predict(vectors * lengths), found.predict(vectors), rtol=1e-4)
    plain = IndicatorRegressor("log", "ridge", normalize=False).fit(vectors, people)
    assert not np.allclose(plain.predict(vectors * lengths), plain.predict(vectors), rtol=1e-2)


@pytest.mark.parametrize("head", HEADS)
def test_saved_and_loaded(head, tmp_path):
    vectors, people = data()
    found = IndicatorRegressor("log1p", head, mlp=MLP)
    found.fit(vectors, people, name="population", unit="persons", binding=BINDING).save(tmp_path / "r")
    again = IndicatorRegressor.load(tmp_path / "r")
    assert np.allclose(again.predict(vectors, binding=BINDING), found.predict(vectors), rtol=1e-5)
    assert (again.name, again.unit, again.rows, again.head) == ("population", "persons", 200, head)
    assert sorted(path.name for path in (tmp_path / "r").iterdir()) == [
        "regressor.json",
        "regressor.safetensors",
    ]


@pytest.mark.parametrize("field", ["model_id", "revision", "processor"])
def test_embeddings_of_another_model_are_refused(field):
    vectors, people = data()
    found = IndicatorRegressor().fit(vectors, people, name="population", binding=BINDING)
    other = BINDING.model_copy(update={field: "another"})
    with pytest.raises(InputError, match=f"{field} 'another'; the regressor 'population' was fitted on"):
        found.predict(vectors, binding=other)


def test_files_that_do_not_belong_together(tmp_path):
    vectors, people = data()
    fitted = IndicatorRegressor(head="ridge").fit(vectors, people, binding=BINDING)
    fitted.save(tmp_path)
    IndicatorRegressor(head="mlp", mlp=MLP).fit(vectors, people).save(tmp_path / "mlp")
    config = json.loads((tmp_path / "regressor.json").read_text())
    (tmp_path / "mlp" / "regressor.json").write_text(json.dumps(config))
    with pytest.raises(WeightsError, match="is not the file that regressor.json was written with"):
        IndicatorRegressor.load(tmp_path / "mlp")
    other = {**config, "tensors_sha256": sha256_of(tmp_path / "mlp" / "regressor.safetensors")}
    (tmp_path / "mlp" / "regressor.json").write_text(json.dumps(other))
    with pytest.raises(WeightsError, match="does not hold a 'ridge' regressor"):
        IndicatorRegressor.load(tmp_path / "mlp")
    config["binding"]["dim"] = 7
    (tmp_path / "regressor.json").write_text(json.dumps(config))
    with pytest.raises(WeightsError, match="reads 6 numbers per tile, regressor.json says 7"):
        IndicatorRegressor.load(tmp_path)
    (tmp_path / "regressor.json").write_text(json.dumps({**config, "heads": 1}))
    with pytest.raises(ConfigError, match="heads"):
        IndicatorRegressor.load(tmp_path)


def test_what_cannot_be_fitted_or_predicted():
    vectors, people = data()
    with pytest.raises(ConfigError, match="Unknown head 'rigde'.*Did you mean 'ridge'"):
        IndicatorRegressor(head="rigde")
    with pytest.raises(InputError, match="was not fitted"):
        IndicatorRegressor().predict(vectors)
    with pytest.raises(InputError, match=r"values must be \[200\]"):
        IndicatorRegressor().fit(vectors, people[:9])
    with pytest.raises(InputError, match="3 labelled tiles are too few"):
        IndicatorRegressor().fit(vectors[:3], people[:3])
    with pytest.raises(InputError, match="vector of row 1 is not finite"):
        IndicatorRegressor().fit(np.where(np.arange(200)[:, None] == 1, np.nan, vectors), people)
    fitted = IndicatorRegressor().fit(vectors, people)
    with pytest.raises(InputError, match=r"vectors must be \[N, 6\], got \(200, 5\)"):
        fitted.predict(vectors[:, :5])
    assert fitted.predict(vectors[:0]).shape == (0,)


def test_random_parts_use_every_row_once():
    parts = random_parts(11, seed=0)
    assert sorted(np.concatenate([judge for _, judge in parts]).tolist()) == list(range(11))
    assert all(not set(fit) & set(judge) for fit, judge in parts)
