"""The gradient cache gives the gradients of the whole batch."""

from __future__ import annotations

import contextlib

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from verticlip.core.errors import ConfigError, InputError
from verticlip.core.objectives.base import Needs
from verticlip.core.objectives.gradcache import cached_backward
from verticlip.core.objectives.pairwise import InfoNCE, Sigmoid
from verticlip.core.types import Batch, Outputs


class Model(nn.Module):
    """Two small towers with a scale and a bias; counts rows and records the largest micro-batch."""

    def __init__(self, *, dropout=0.0, norm=None):
        super().__init__()
        self.image = nn.Sequential(nn.Linear(6, 12), nn.GELU(), nn.Dropout(dropout), nn.Linear(12, 5))
        self.text = nn.Linear(4, 5)
        self.norm = norm
        self.logit_scale = nn.Parameter(torch.tensor(2.0))
        self.logit_bias = nn.Parameter(torch.tensor(-3.0))
        self.seen = []

    def forward(self, batch):
        self.seen.append(len(batch))
        image = F.normalize(self.image(batch.inputs["image"]["pixels"]), dim=1)
        text = F.normalize(self.text(batch.inputs["text"]["features"]), dim=1)
        return Outputs({"image": image, "text": text}, self.logit_scale.exp(), self.logit_bias)


def make(size=10, **options):
    torch.manual_seed(0)
    model = Model(**options).double()
    batch = Batch(
        {
            "image": {"pixels": torch.randn(size, 6, dtype=torch.float64)},
            "text": {"features": torch.randn(size, 4, dtype=torch.float64)},
        },
        labels=torch.arange(size) % 3,
        ids=tuple(str(number) for number in range(size)),
    )
    return model, batch


def gradients(model):
    return {name: None if p.grad is None else p.grad.clone() for name, p in model.named_parameters()}


def whole(model, objective, batch):
    model.zero_grad()
    parts = objective(model(batch), batch)
    parts["loss"].backward()
    return parts["loss"].detach(), gradients(model)


@pytest.mark.parametrize("micro_batch", [1, 3, 10, 50])
@pytest.mark.parametrize(
    "objective", [InfoNCE(), InfoNCE(0.1, chunk=None, positives="labels"), Sigmoid(chunk=4)]
)
def test_gradients_equal_those_of_the_whole_batch(objective, micro_batch):
    model, batch = make()
    loss, expected = whole(model, objective, batch)
    model.zero_grad()
    model.seen.clear()
    parts = cached_backward(model, objective, batch=batch, micro_batch=micro_batch)
    torch.testing.assert_close(parts["loss"], loss)
    assert not parts["loss"].requires_grad
    assert max(model.seen) == min(micro_batch, 10)
    for name, gradient in gradients(model).items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-9, atol=1e-12, msg=name)


def test_gradients_are_added_to_those_already_there():
    model, batch = make()
    _, expected = whole(model, InfoNCE(), batch)
    cached_backward(model, InfoNCE(), batch=batch, micro_batch=4)
    for name, gradient in gradients(model).items():
        torch.testing.assert_close(gradient, 2 * expected[name], rtol=1e-9, atol=1e-12)


def test_dropout_repeats_in_the_second_pass():
    """With all micro-batches of one size, the masks of the first pass make the reference."""
    model, batch = make(size=8, dropout=0.5)
    torch.manual_seed(5)
    pieces = [slice(0, 4), slice(4, 8)]
    outputs = [
        model(Batch({m: {k: v[rows] for k, v in inputs.items()} for m, inputs in batch.inputs.items()}))
        for rows in pieces
    ]
    joined = {name: torch.cat([piece.embeddings[name] for piece in outputs]) for name in ("image", "text")}
    model.zero_grad()
    InfoNCE()(Outputs(joined, outputs[0].logit_scale, outputs[0].logit_bias), batch)["loss"].backward()
    expected = gradients(model)
    after = torch.rand(1)
    model.zero_grad()
    torch.manual_seed(5)
    cached_backward(model, InfoNCE(), batch=batch, micro_batch=4)
    for name, gradient in gradients(model).items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-9, atol=1e-12)
    assert torch.equal(torch.rand(1), after)


def test_a_locked_tower_stays_without_gradient():
    model, batch = make()
    model.image.requires_grad_(False)
    _, expected = whole(model, InfoNCE(), batch)
    model.zero_grad()
    cached_backward(model, InfoNCE(), batch=batch, micro_batch=3)
    found = gradients(model)
    assert found["image.0.weight"] is None
    torch.testing.assert_close(found["text.weight"], expected["text.weight"])
    torch.testing.assert_close(found["logit_scale"], expected["logit_scale"])


def test_a_fully_locked_model_calls_no_backward():
    model, batch = make()
    model.requires_grad_(False)
    called = []
    parts = cached_backward(model, InfoNCE(), batch=batch, micro_batch=3, backward=called.append)
    assert not called
    assert parts["loss"] > 0


def test_backward_can_be_replaced():
    model, batch = make()
    _, expected = whole(model, InfoNCE(), batch)
    model.zero_grad()
    cached_backward(model, InfoNCE(), batch=batch, micro_batch=3, backward=lambda loss: (8 * loss).backward())
    torch.testing.assert_close(model.logit_scale.grad, 8 * expected["logit_scale"])
    torch.testing.assert_close(model.text.weight.grad, 8 * expected["text.weight"])


def test_gradients_are_reduced_on_the_last_micro_batch_only():
    model, batch = make()
    log = []

    @contextlib.contextmanager
    def no_sync():
        log.append("held")
        yield

    model.no_sync = no_sync
    cached_backward(
        model,
        InfoNCE(),
        batch=batch,
        micro_batch=4,
        backward=lambda loss: log.append("backward") or loss.backward(),
    )
    assert log == ["held", "backward", "held", "backward", "backward"]


def test_batch_norm_in_training_mode_is_refused():
    model, batch = make(norm=nn.BatchNorm1d(5))
    with pytest.raises(ConfigError, match="Module 'norm' is a batch-norm in training mode"):
        cached_backward(model, InfoNCE(), batch=batch, micro_batch=3)
    model.norm.eval()
    cached_backward(model, InfoNCE(), batch=batch, micro_batch=3)


@pytest.mark.parametrize("needs", [Needs(tokens=("image",)), Needs(output_extras=("caption_logits",))])
def test_objectives_on_tokens_are_refused(needs):
    objective = InfoNCE()
    objective.needs = needs
    with pytest.raises(ConfigError, match="InfoNCE reads tokens or extras"):
        cached_backward(*make()[:1], objective, batch=make()[1], micro_batch=3)


def test_a_micro_batch_below_one_is_refused():
    model, batch = make()
    with pytest.raises(ConfigError, match="micro_batch must be at least 1, got 0"):
        cached_backward(model, InfoNCE(), batch=batch, micro_batch=0)


@pytest.mark.parametrize("tensor", [torch.tensor(1.0), torch.ones(3)])
def test_a_tensor_that_cannot_be_split_is_refused(tensor):
    model, batch = make()
    wrong = Batch(batch.inputs, extras={"weights": tensor})
    with pytest.raises(
        InputError, match=r"batch.extras\['weights'\] must have one entry for each of the 10 rows"
    ):
        cached_backward(model, InfoNCE(), batch=wrong, micro_batch=3)
