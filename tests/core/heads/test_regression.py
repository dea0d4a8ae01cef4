from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler
from torch import Tensor
from verticlip.core.errors import InputError
from verticlip.core.heads import RegressionHead, load_head, save_head
from verticlip.core.heads.regression import ridge_path
from verticlip.core.types import Outputs


def made(rows: int = 80, seed: int = 0, noise: float = 0.1) -> tuple[Tensor, np.ndarray]:
    generator = torch.Generator().manual_seed(seed)
    points = torch.randn(rows, 5, generator=generator)
    slope = torch.tensor([[1.0, 2, 0, -1, 0.5], [0, 0.1, 0.3, 0, 0]])
    targets = points @ slope.T + noise * torch.randn(rows, 2, generator=generator)
    return points, targets.double().numpy()


@pytest.mark.parametrize("transform", ["none", "standardize", "log", "log1p"])
def test_equals_scikit_learn(transform: str):
    points, targets = made()
    values = targets if transform in ("none", "standardize") else np.exp(targets)
    forward = {"log": np.log, "log1p": np.log1p}.get(transform, lambda value: value)
    inverse = {"log": np.exp, "log1p": lambda value: np.maximum(np.expm1(value), 0)}.get(
        transform, lambda value: value
    )
    inputs, outputs = (
        StandardScaler().fit(points),
        StandardScaler(with_std=transform != "none", with_mean=transform != "none"),
    )
    model = Ridge(alpha=3.0).fit(inputs.transform(points.double()), outputs.fit_transform(forward(values)))
    expected = inverse(outputs.inverse_transform(model.predict(inputs.transform(points.double()))))
    head = RegressionHead.fit(points, values, ["x", "y"], transform=transform, alpha=3.0)
    np.testing.assert_allclose(head.scores(points).numpy(), expected, rtol=1e-4, atol=1e-5)


def test_one_target_without_a_second_axis():
    points, targets = made()
    head = RegressionHead.fit(points, targets[:, 0], ["x"], alpha=0.001)
    assert head.scores(points).shape == (80, 1)
    both = RegressionHead.fit(points, targets, ["x", "y"], alpha=0.001)
    torch.testing.assert_close(head.scores(points)[:, 0], both.scores(points)[:, 0], rtol=1e-4, atol=1e-5)


def test_alpha_is_chosen_by_validation_and_the_larger_wins_a_tie(monkeypatch: pytest.MonkeyPatch):
    points, targets = made(12, noise=1.5)
    validation = made(500, seed=1, noise=1.5)

    def error(head: RegressionHead) -> float:
        gap = (head.scores(validation[0]).numpy() - validation[1]) / targets.std(axis=0)
        return float((gap**2).mean())

    chosen = RegressionHead.fit(points, targets, ["x", "y"], validation=validation)
    others = [error(RegressionHead.fit(points, targets, ["x", "y"], alpha=a)) for a in (1e-3, 1.0, 10.0, 1e5)]
    assert error(chosen) <= min(others) + 1e-6
    # Two penalties too small to matter: an exact tie.
    monkeypatch.setattr("verticlip.core.heads.regression.ALPHA_GRID", (1e-300, 1e-299))
    assert RegressionHead.fit(points, targets, ["x", "y"], validation=validation).alpha == 1e-299


def test_log_predictions_stay_in_range():
    points, targets = made(noise=2.0)
    head = RegressionHead.fit(points, np.exp(targets), ["x", "y"], transform="log", alpha=1.0)
    assert (head.scores(points * 10) > 0).all()


def test_save_load_and_call(tmp_path: Path):
    points, targets = made()
    head = RegressionHead.fit(points, np.exp(targets), ["x", "y"], transform="log1p", alpha=1.0)
    save_head(head, tmp_path)
    again = load_head(tmp_path)
    assert isinstance(again, RegressionHead)
    assert again.to_config() == head.to_config()
    assert torch.equal(
        again(Outputs({"image": points}, torch.tensor(1.0)))["predictions"], head.scores(points)
    )


@pytest.mark.parametrize("shape", [(60, 8), (20, 50)])
def test_one_decomposition_gives_every_penalty(shape: tuple[int, int]):
    rng = np.random.default_rng(0)
    features, targets = rng.normal(2, 3, shape), rng.normal(size=(shape[0], 2))
    features[:, 3] = 1  # constant: no direction
    alphas = (0.01, 1.0, 300.0)
    weights, biases = ridge_path(features, targets, alphas)
    scaled = StandardScaler().fit_transform(features)
    for weight, bias, alpha in zip(weights, biases, alphas, strict=True):
        expected = Ridge(alpha=alpha).fit(scaled, targets).predict(scaled)
        np.testing.assert_allclose(features @ weight.T + bias, expected, atol=1e-8)


def test_messages():
    points, targets = made(10)
    with pytest.raises(InputError, match="Give either alpha= or validation="):
        RegressionHead.fit(points, targets, ["x", "y"])
    with pytest.raises(InputError, match=r"must be \[10 rows, 1 names\], got \(10, 2\)"):
        RegressionHead.fit(points, targets, ["x"], alpha=1.0)
    with pytest.raises(InputError, match="targets: row 3 is not finite"):
        RegressionHead.fit(
            points, np.where(np.arange(10)[:, None] == 3, np.nan, targets), ["x", "y"], alpha=1.0
        )
    with pytest.raises(InputError, match=r"targets: a log target needs values above 0, got .*; use log1p"):
        RegressionHead.fit(points, targets * 0, ["x", "y"], transform="log", alpha=1.0)
    with pytest.raises(InputError, match="targets: a log1p target needs values of 0 or more"):
        RegressionHead.fit(points, targets, ["x", "y"], transform="log1p", alpha=1.0)
    with pytest.raises(InputError, match="Target 'y' is constant"):
        RegressionHead.fit(points, targets * [1, 0], ["x", "y"], alpha=1.0)
