from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler
from torch import Tensor
from torch.nn import functional as F
from verticlip.core.errors import InputError, WeightsError
from verticlip.core.heads import KNN, LinearProbe, load_head, save_head
from verticlip.core.types import Outputs


def blobs(rows: int, classes: int = 3, seed: int = 0, noise: float = 1.0) -> tuple[Tensor, np.ndarray]:
    centres = torch.randn(classes, 8, generator=torch.Generator().manual_seed(99))
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(rows) % classes
    points = centres[labels] + noise * torch.randn(rows, 8, generator=generator)
    return F.normalize(points, dim=-1), labels.numpy()


NAMES = ["a", "b", "c"]


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("balanced", [False, True])
def test_probe_equals_scikit_learn_on_standardized_features(classes: int, balanced: bool):
    points, labels = blobs(90, classes)
    labels = np.where(np.arange(90) < 30, 0, labels)
    probe = LinearProbe.fit(points, labels, NAMES[:classes], c=0.1, balanced=balanced)
    scaler = StandardScaler().fit(points.double().numpy())
    model = LogisticRegression(C=0.1, max_iter=2000, class_weight="balanced" if balanced else None)
    model.fit(scaler.transform(points.double().numpy()), labels)
    expected = model.predict_proba(scaler.transform(points.double().numpy()))
    np.testing.assert_allclose(probe.scores(points).numpy(), expected, atol=1e-4)


def test_probe_chooses_c_by_validation():
    points, labels = blobs(60, noise=2.0)
    validation = blobs(300, seed=1, noise=2.0)

    def balanced_accuracy(probe: LinearProbe) -> float:
        predicted = probe.scores(validation[0]).argmax(dim=1).numpy()
        return float(np.mean([(predicted[validation[1] == k] == k).mean() for k in range(3)]))

    chosen = LinearProbe.fit(points, labels, NAMES, validation=validation)
    tried = {
        c: balanced_accuracy(LinearProbe.fit(points, labels, NAMES, c=c)) for c in (1e-5, 1e-2, 1.0, 100.0)
    }
    assert balanced_accuracy(chosen) >= max(tried.values())
    # Separable data: many values are perfect, and the smallest of them wins.
    easy, easy_labels = blobs(60, noise=0.01)
    assert LinearProbe.fit(easy, easy_labels, NAMES, validation=(easy, easy_labels)).c == 1e-5


def test_probe_ignores_a_constant_feature():
    points, labels = blobs(60)
    wider = torch.cat([points, torch.full((60, 1), 0.5)], dim=1)
    probe = LinearProbe.fit(wider, labels, NAMES, c=1.0)
    assert torch.isfinite(probe.weight).all()
    expected = LinearProbe.fit(points, labels, NAMES, c=1.0).scores(points)
    torch.testing.assert_close(probe.scores(wider), expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("weights", ["uniform", "softmax"])
def test_knn_equals_scikit_learn(weights: str):
    points, labels = blobs(60)
    queries, _ = blobs(20, seed=1, noise=2.0)
    vote = "uniform" if weights == "uniform" else lambda distance: np.exp((1 - distance) / 0.07)
    model = KNeighborsClassifier(7, metric="cosine", weights=vote, algorithm="brute").fit(points, labels)
    head = KNN(points * 3, labels, NAMES, k=7, temperature=None if weights == "uniform" else 0.07)
    np.testing.assert_allclose(head.scores(queries * 5).numpy(), model.predict_proba(queries), atol=1e-5)


def test_knn_breaks_ties_by_the_earlier_row():
    head = KNN(torch.ones(3, 2), [1, 0, 0], ["a", "b"], k=1)
    assert head.scores(torch.ones(1, 2)).tolist() == [[0.0, 1.0]]


def test_knn_keeps_a_column_for_absent_classes():
    points, labels = blobs(20, 2)
    assert KNN(points, labels, NAMES, k=3).scores(points)[:, 2].tolist() == [0.0] * 20


@pytest.mark.parametrize("kind", ["probe", "knn"])
def test_save_load_and_call(kind: str, tmp_path: Path):
    points, labels = blobs(30)
    if kind == "probe":
        head = LinearProbe.fit(points, labels, NAMES, c=1.0, modality="audio")
    else:
        head = KNN(points, labels, NAMES, k=4, temperature=0.1, modality="audio")
    save_head(head, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["head.json", "head.safetensors"]
    again = load_head(tmp_path)
    assert type(again) is type(head)
    assert again.to_config() == head.to_config()
    outputs = Outputs({"audio": points}, torch.tensor(1.0))
    torch.testing.assert_close(again(outputs)["probabilities"], head.scores(points))
    torch.testing.assert_close(head.scores(points).sum(dim=1), torch.ones(30))


def test_probe_messages():
    points, labels = blobs(9)
    with pytest.raises(InputError, match=r"Give either c= or validation=.* not both"):
        LinearProbe.fit(points, labels, NAMES)
    with pytest.raises(InputError, match="not both"):
        LinearProbe.fit(points, labels, NAMES, c=1.0, validation=(points, labels))
    with pytest.raises(InputError, match="c must be above 0, got 0"):
        LinearProbe.fit(points, labels, NAMES, c=0.0)
    with pytest.raises(InputError, match="Class 'd' has no training rows"):
        LinearProbe.fit(points, labels, [*NAMES, "d"], c=1.0)
    with pytest.raises(InputError, match=r"must lie in \[0, 2\), got 0 to 2; class_names must cover"):
        LinearProbe.fit(points, labels, NAMES[:2], c=1.0)
    with pytest.raises(InputError, match="targets must be 9 class indices, got float64"):
        LinearProbe.fit(points, labels.astype(float), NAMES, c=1.0)
    with pytest.raises(InputError, match=r"must be \[B, 8\]"):
        LinearProbe.fit(points, labels, NAMES, c=1.0).scores(points[:, :4])


def test_knn_messages():
    points, labels = blobs(9)
    for k in (0, 10):
        with pytest.raises(InputError, match=f"k must be from 1 to 9 .* got {k}"):
            KNN(points, labels, NAMES, k=k)


def test_stored_parts_must_fit():
    tensors = {"weight": torch.zeros(3, 8), "bias": torch.zeros(2)}
    with pytest.raises(WeightsError, match=r"'bias' has shape \(2,\), expected \[K\] with"):
        LinearProbe.from_config({"class_names": NAMES, "c": 1.0}, tensors)
    tensors = {"weight": torch.zeros(3, 8), "bias": torch.zeros(3)}
    with pytest.raises(WeightsError, match=r"head.json names 2 outputs, head.safetensors has 3"):
        LinearProbe.from_config({"class_names": NAMES[:2], "c": 1.0}, tensors)
