from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from verticlip.core.prompts import PromptSet
from verticlip.core.validation import evaluate_zero_shot

IMAGES = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [0.6, 0.8]])
TARGETS = torch.tensor([0, 0, 1, 0])


class Model(torch.nn.Module):
    """Images embed as themselves, the two classes as the axes."""

    device = torch.device("cpu")

    def __init__(self, bias: float | None) -> None:
        super().__init__()
        self.logit_bias = None if bias is None else torch.tensor(bias)

    def scale(self) -> torch.Tensor:
        return torch.tensor(4.0)

    def encode(self, modality: str, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        assert not self.training
        return inputs["pixels" if modality == "image" else "axes"]


def data() -> SimpleNamespace:
    def processor(modality: str, texts: list[str]) -> dict[str, torch.Tensor]:
        return {"axes": torch.eye(2)[[int("two" in text) for text in texts]]}

    store = SimpleNamespace(
        modality="image",
        noun="images",
        parts=lambda record: IMAGES[record][None],
        finish=lambda views, processor: {"pixels": views},
    )
    return SimpleNamespace(
        prompts=PromptSet.from_labels(["one", "two"]),
        processor=processor,
        store=store,
        validation={"photos": range(4)},
        source_classes=lambda source: [0, 1],
        validation_targets=lambda source: TARGETS,
    )


def test_scores_are_means_over_classes() -> None:
    model = Model(None)
    report = evaluate_zero_shot(model, data())
    assert report["sources"]["photos"] == {
        "accuracy": pytest.approx(0.75),
        "balanced_accuracy": pytest.approx((2 / 3 + 1) / 2),
    }
    assert report["score"] == pytest.approx((2 / 3 + 1) / 2)
    assert (report["chance"], report["across"]) == (0.5, 0.75)
    assert model.training


@pytest.mark.parametrize("bias", [None, -3.0])
def test_calibration_is_that_of_the_probabilities_users_get(bias: float | None) -> None:
    logits = 4.0 * IMAGES
    wanted = logits.softmax(1) if bias is None else (logits + bias).sigmoid()
    gaps = (wanted.argmax(1) == TARGETS).double() - wanted.amax(1).double()
    bins = (wanted.amax(1).double() * 15).ceil()
    error = sum(abs(float(gaps[bins == one].sum())) for one in bins.unique()) / len(TARGETS)
    report = evaluate_zero_shot(Model(bias), data(), details=True)
    assert report["sources"]["photos"]["calibration_error"]["value"] == pytest.approx(error, abs=1e-6)
