"""The paper's regressor: what it computes, how it is trained."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from verticlip.domains.urban.indicators.mlp import (
    URBANCLIP_MLP,
    IndicatorMLP,
    MLPRegressor,
    MLPSettings,
    make_optimizer,
    training_step,
)

PARTS = [(np.arange(150), np.arange(150, 200))]


def data(rows=200, width=6):
    rng = np.random.default_rng(0)
    features = rng.normal(size=(rows, width)).astype(np.float32)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    return features, 2 * features[:, 0] + np.abs(features[:, 1])


def test_the_reference_setting():
    assert URBANCLIP_MLP.model_dump() == {
        "hidden": 256, "dropout": 0.01, "lr": 3e-4, "weight_decay": 0.01, "batch_size": 2, "epochs": 100,
        "patience": None, "standardize_inputs": False, "refit": False,
    }  # fmt: skip


def test_it_learns_what_is_not_linear():
    features, scores = data()
    settings = MLPSettings(hidden=32, epochs=60, lr=1e-2, refit=False)
    found = MLPRegressor.fit(features, scores, inner=PARTS, settings=settings)
    error = ((found.predict(features[150:]) - scores[150:]) ** 2).mean()
    assert error < 0.1 * scores.var()
    assert 1 <= found.chosen["epochs"] <= 60


@pytest.mark.parametrize("standardize", [True, False])
def test_equal_seeds_give_equal_weights_and_leave_the_generator_alone(standardize):
    features, scores = data()
    settings = MLPSettings(hidden=8, epochs=3, dropout=0.3, standardize_inputs=standardize)
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    first = MLPRegressor.fit(features, scores, inner=PARTS, settings=settings, seed=1)
    assert torch.equal(before, torch.random.get_rng_state())
    again = MLPRegressor.fit(features, scores, inner=PARTS, settings=settings, seed=1)
    other = MLPRegressor.fit(features, scores, inner=PARTS, settings=settings, seed=2)
    assert np.array_equal(first.predict(features), again.predict(features))
    assert not np.array_equal(first.predict(features), other.predict(features))
    restored = MLPRegressor.from_tensors(first.tensors())
    assert np.array_equal(first.predict(features), restored.predict(features))


def test_the_best_epoch_is_kept():
    features, scores = data()
    # A rate this high only ever makes it worse after the first epochs.
    settings = MLPSettings(hidden=8, epochs=40, lr=0.5, patience=None, refit=False)
    found = MLPRegressor.fit(features, scores, inner=PARTS, settings=settings)
    kept = ((found.predict(features[150:]) - scores[150:]) ** 2).mean()
    same = settings.model_copy(update={"epochs": found.epochs})
    longer = MLPRegressor.fit(features, scores, inner=PARTS, settings=same)
    assert longer.epochs == found.epochs
    assert np.isclose(((longer.predict(features[150:]) - scores[150:]) ** 2).mean(), kept)


def test_the_last_fit_learns_from_every_tile():
    features, scores = data()
    settings = MLPSettings(hidden=16, epochs=20, lr=1e-2)
    found = MLPRegressor.fit(features, scores, inner=PARTS, settings=settings)
    chosen = MLPRegressor.fit(
        features, scores, inner=PARTS, settings=settings.model_copy(update={"refit": False})
    )
    assert found.chosen == chosen.chosen
    # Rows that only judged change what is learned, though here not the number of epochs.
    changed = np.where(np.arange(200) >= 150, scores + 1e-3, scores)
    for other in (scores, changed):
        kept = MLPRegressor.fit(
            features, other, inner=PARTS, settings=settings.model_copy(update={"refit": False})
        )
        assert np.array_equal(kept.predict(features), chosen.predict(features))
    again = MLPRegressor.fit(features, changed, inner=PARTS, settings=settings)
    assert again.chosen == found.chosen
    assert not np.array_equal(again.predict(features), found.predict(features))


def test_other_devices_keep_their_generators(monkeypatch):
    seeded = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeded.append)
    features, scores = data(20)
    parts = [(np.arange(15), np.arange(15, 20))]
    MLPRegressor.fit(features, scores, inner=parts, settings=MLPSettings(hidden=4, epochs=1))
    assert seeded == []
    torch.manual_seed(0)
    assert seeded == [0]


def test_few_tiles_make_one_batch():
    features, scores = data(12)
    parts = [(np.arange(8), np.arange(8, 12))]
    settings = MLPSettings(hidden=4, epochs=2, batch_size=64)
    found = MLPRegressor.fit(features, scores, inner=parts, settings=settings)
    assert np.isfinite(found.predict(features)).all()


def test_decay_shrinks_every_parameter_and_a_step_returns_the_error_before_it():
    network = IndicatorMLP(3, 4, dropout=0.0)
    optimizer = make_optimizer(network, lr=0.1, weight_decay=0.5)
    assert len(optimizer.param_groups) == 1
    assert sum(p.numel() for p in optimizer.param_groups[0]["params"]) == 4 * 3 + 4 + 4 + 1
    inputs, wanted = torch.eye(3), torch.tensor([1.0, 2.0, 3.0])
    before = ((network(inputs) - wanted) ** 2).mean()
    assert torch.isclose(training_step(network, optimizer, inputs, wanted), before)
    assert ((network(inputs) - wanted) ** 2).mean() < before
