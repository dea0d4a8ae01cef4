"""The loss of MiniFASNet's training."""

from __future__ import annotations

import pytest
import torch
from verticlip.core.errors import ConfigError, InputError
from verticlip.core.objectives.base import build_objective
from verticlip.core.types import Batch, Outputs


def case(rows: int = 4) -> tuple[Outputs, Batch]:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(rows, 3, generator=generator)
    drawn = torch.rand(2, rows, 1, 10, 10, generator=generator)
    outputs = Outputs({}, torch.tensor(1.0), extras={"category_logits": logits, "fourier_map": drawn[0]})
    return outputs, Batch({}, torch.arange(rows) % 3, extras={"fourier_target": drawn[1]})


def test_half_of_each():
    outputs, batch = case()
    found = build_objective("fourier", domain="liveness")(outputs, batch)
    logits, drawn = outputs.extras["category_logits"], outputs.extras["fourier_map"]
    picked = -logits.log_softmax(dim=1)[torch.arange(4), batch.labels].mean()
    squared = (drawn - batch.extras["fourier_target"]).square().mean()
    assert float(found["category"]) == pytest.approx(0.5 * float(picked), rel=1e-5)
    assert float(found["fourier"]) == pytest.approx(0.5 * float(squared), rel=1e-5)
    assert float(found["loss"]) == pytest.approx(0.5 * float(picked) + 0.5 * float(squared), rel=1e-5)


def test_another_weight():
    outputs, batch = case()
    found = build_objective("fourier", {"fourier_weight": 0.0}, domain="liveness")(outputs, batch)
    assert float(found["fourier"]) == 0
    with pytest.raises(ConfigError, match="between 0 and 1, got 2.0"):
        build_objective("fourier", {"fourier_weight": 2.0}, domain="liveness")


def test_targets_of_another_size():
    outputs, batch = case()
    wrong = Batch({}, batch.labels, extras={"fourier_target": torch.zeros(4, 1, 5, 5)})
    with pytest.raises(
        InputError, match=r"predicts spectra \[4, 1, 10, 10\], fourier_target is \[4, 1, 5, 5\]"
    ):
        build_objective("fourier", domain="liveness")(outputs, wrong)


@pytest.mark.parametrize(
    ("label", "message"), [(-1, "row 0 has no category"), (3, "row 0: label 3 is none of the 3 categories")]
)
def test_labels_that_are_no_category(label, message):
    outputs, batch = case()
    wrong = Batch({}, torch.tensor([label, 0, 1, 2]), extras=batch.extras)
    with pytest.raises(InputError, match=message):
        build_objective("fourier", domain="liveness")(outputs, wrong)


def test_what_is_missing_is_named():
    outputs, batch = case()
    with pytest.raises(InputError, match=r"batch.extras\['fourier_target'\]"):
        build_objective("fourier", domain="liveness")(outputs, Batch({}, batch.labels))
    with pytest.raises(InputError, match="labels"):
        build_objective("fourier", domain="liveness")(outputs, Batch({}, extras=batch.extras))
