from __future__ import annotations

import json
import time
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference
from verticlip.core.errors import InputError
from verticlip.core.metrics import (
    accuracy,
    auc,
    balanced_accuracy,
    calibration_error,
    classification_report,
    confusion_matrix,
    macro_f1,
)


def made(rows: int = 300, classes: int = 4, seed: int = 0, decimals: int | None = None):
    generator = np.random.default_rng(seed)
    targets = generator.integers(classes, size=rows)
    logits = generator.normal(size=(rows, classes)) + 1.2 * np.eye(classes)[targets]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return (probabilities if decimals is None else probabilities.round(decimals)), targets


@given(st.integers(0, 10_000), st.integers(2, 6), st.integers(2, 60))
@settings(max_examples=60, deadline=None)
def test_values_equal_scikit_learn(seed: int, classes: int, rows: int):
    probabilities, targets = made(rows, classes, seed)
    predictions = probabilities.argmax(axis=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = (
            reference.accuracy_score(targets, predictions),
            reference.balanced_accuracy_score(targets, predictions),
            reference.f1_score(targets, predictions, average="macro"),
        )
    found = tuple(
        metric(predictions, targets, resamples=0).value for metric in (accuracy, balanced_accuracy, macro_f1)
    )
    assert found == pytest.approx(expected, abs=1e-12)
    np.testing.assert_array_equal(
        confusion_matrix(predictions, targets, classes),
        reference.confusion_matrix(targets, predictions, labels=range(classes)),
    )


@pytest.mark.parametrize("decimals", [None, 1])
def test_auc_equals_scikit_learn_with_and_without_ties(decimals: int | None):
    probabilities, targets = made(200, 3, decimals=decimals)
    expected = np.mean([reference.roc_auc_score(targets == k, probabilities[:, k]) for k in range(3)])
    assert auc(probabilities, targets, resamples=0).value == pytest.approx(expected, abs=1e-12)
    scores, binary = probabilities[:, 1], (targets == 1).astype(int)
    expected = reference.roc_auc_score(binary, scores)
    assert auc(scores, binary, resamples=0).value == pytest.approx(expected, abs=1e-12)
    two = np.stack([1 - scores, scores], axis=1)
    assert auc(two, binary, resamples=0).value == pytest.approx(expected, abs=1e-12)


def test_auc_leaves_out_classes_without_rows():
    probabilities, targets = made(100, 3)
    kept = targets != 2
    expected = np.mean(
        [reference.roc_auc_score(targets[kept] == k, probabilities[kept, k]) for k in range(2)]
    )
    assert auc(probabilities[kept], targets[kept], resamples=0).value == pytest.approx(expected)


def test_intervals_equal_scikit_learn_on_every_resample():
    probabilities, targets = made(60, 3, seed=5)
    predictions = probabilities.argmax(axis=1)
    drawn = np.random.default_rng(7).integers(60, size=(100, 60))
    report = classification_report(probabilities, targets, "abc", seed=7, resamples=100)
    f1 = [reference.f1_score(targets[d], predictions[d], average="macro") for d in drawn]
    area = [
        np.mean([reference.roc_auc_score(targets[d] == k, probabilities[d, k]) for k in range(3)])
        for d in drawn
    ]
    for estimate, values in ((report.macro_f1, f1), (report.auc, area)):
        assert estimate is not None
        np.testing.assert_allclose([estimate.low, estimate.high], np.percentile(values, [2.5, 97.5]))


def test_calibration_error_by_hand():
    # One bin (0.6, 0.8]: confidences 0.7 and 0.8, one of two right: |0.5 - 0.75|, half of the rows.
    # One bin (0.8, 1.0]: confidence 0.9 twice, both right: |1 - 0.9|, the other half.
    probabilities = np.array([[0.7, 0.3], [0.2, 0.8], [0.9, 0.1], [0.1, 0.9]])
    targets = [0, 0, 0, 1]
    found = calibration_error(probabilities, targets, bins=5, resamples=0)
    assert found.value == pytest.approx(0.5 * 0.25 + 0.5 * 0.1)


def test_calibration_error_of_certain_answers():
    sure = np.eye(2)[[0, 1, 1]]
    assert calibration_error(sure, [0, 1, 1]).value == 0.0
    assert calibration_error(sure, [1, 0, 0]).value == 1.0


def test_report_holds_every_number_and_is_json():
    probabilities, targets = made(120, 3)
    report = classification_report(probabilities, targets, ["x", "y", "z"], groups=targets.tolist(), seed=4)
    predictions = probabilities.argmax(axis=1)
    precision, recall, f1, support = reference.precision_recall_fscore_support(targets, predictions)
    for index, name in enumerate(report.class_names):
        assert report.recall[name].value == pytest.approx(recall[index])
        assert report.precision[name].value == pytest.approx(precision[index])
        assert report.f1[name].value == pytest.approx(f1[index])
        assert report.support[name] == support[index]
    assert report.accuracy.n == 3
    plain = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert plain["confusion"] == confusion_matrix(predictions, targets, 3).tolist()
    assert plain["per_class"]["y"]["recall"]["value"] == pytest.approx(recall[1])
    assert plain["rows"] == 120
    assert plain["seed"] == 4


def test_report_of_one_class_has_no_auc():
    probabilities, _ = made(20, 2)
    report = classification_report(probabilities, [1] * 20, ["a", "b"])
    assert report.auc is None
    assert report.support == {"a": 0, "b": 20}
    assert report.balanced_accuracy.value == report.recall["b"].value
    assert report.to_dict()["per_class"]["a"]["recall"]["value"] is None


def test_report_accepts_independent_probabilities():
    report = classification_report([[0.9, 0.8], [0.1, 0.3]], [0, 1], ["a", "b"])
    assert report.accuracy.value == 1.0


def test_joint_permutation_of_rows_changes_no_value():
    probabilities, targets = made(90, 3)
    order = np.random.default_rng(1).permutation(90)
    before = classification_report(probabilities, targets, "abc", resamples=0).to_dict()
    after = classification_report(probabilities[order], targets[order], "abc", resamples=0).to_dict()
    for name in ("accuracy", "macro_f1", "auc", "calibration_error"):
        assert before[name]["value"] == pytest.approx(after[name]["value"], abs=1e-12)


def test_report_of_a_thousand_rows_is_fast():
    probabilities, targets = made(1000, 10)
    start = time.process_time()
    classification_report(probabilities, targets, [str(k) for k in range(10)])
    assert time.process_time() - start < 3.0


def test_messages():
    probabilities, targets = made(5, 3)
    with pytest.raises(InputError, match=r"must be \[N, K\] with K >= 2 classes, got shape \(5,\)"):
        classification_report(probabilities[:, 0], targets, ["a"])
    with pytest.raises(InputError, match=r"targets has shape \(4,\) for 5 rows"):
        classification_report(probabilities, targets[:4], "abc")
    with pytest.raises(InputError, match="3 distinct names"):
        classification_report(probabilities, targets, ["a", "b", "b"])
    with pytest.raises(InputError, match="row 2 hold NaN"):
        auc(np.where(np.arange(5)[:, None] == 2, np.nan, probabilities), targets)
    with pytest.raises(InputError, match=r"must lie in \[0, 1\], got .* Apply the softmax"):
        classification_report(probabilities * 3, targets, "abc")
    with pytest.raises(InputError, match="class 3 but scores have 3 columns"):
        classification_report(probabilities, [0, 1, 2, 3, 0], "abc")
    with pytest.raises(InputError, match="at least two classes; all 2 targets are 1"):
        auc([0.1, 0.2], [1, 1])
    with pytest.raises(InputError, match="bins must be 1 or more, got 0"):
        calibration_error(probabilities, targets, bins=0)
    with pytest.raises(InputError, match=r"predictions \(2,\) and targets \(3,\)"):
        accuracy([0, 1], [0, 1, 1])
    with pytest.raises(InputError, match="targets must be class indices"):
        accuracy([0, 1], [0.0, 1.0])
    with pytest.raises(InputError, match="predictions must be class indices"):
        accuracy([-1, 1], [0, 1])
    with pytest.raises(InputError, match="predictions is empty"):
        accuracy([], [])
    with pytest.raises(InputError, match="Class index 4 is outside"):
        confusion_matrix([4], [0], 3)
