"""Losses over categories: values, gradients, mixed batches."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F
from verticlip.core.errors import ConfigError, InputError
from verticlip.core.objectives.base import build_objective
from verticlip.core.types import Batch, Outputs
from verticlip.domains.liveness.models.base import live_margin
from verticlip.domains.liveness.objectives.category import (
    CategoryContrast,
    CategoryCrossEntropy,
    LiveOrAttack,
)
from verticlip.domains.liveness.taxonomy import load_taxonomy

DEFAULT = load_taxonomy("default")


def outputs_of(logits, **extras):
    margin = live_margin(logits, DEFAULT)
    return Outputs({}, torch.tensor(1.0), extras={"category_logits": logits, "live_margin": margin, **extras})


def labelled(labels=None, live=None):
    extras = {} if live is None else {"live": torch.tensor(live)}
    return Batch({}, None if labels is None else torch.tensor(labels), extras=extras)


def random_logits(count=4, seed=0):
    return torch.randn(count, 9, generator=torch.Generator().manual_seed(seed)) * 3


@pytest.mark.parametrize(
    ("word", "cls"),
    [
        ("category", CategoryCrossEntropy),
        ("category_contrast", CategoryContrast),
        ("live_or_attack", LiveOrAttack),
    ],
)
def test_names_in_recipes(word, cls):
    assert isinstance(build_objective(word, {"label_smoothing": 0.1}, domain="liveness"), cls)
    for value in (-0.1, 1.0):
        with pytest.raises(ConfigError, match=r"label_smoothing must be in \[0, 1\)"):
            build_objective(word, {"label_smoothing": value}, domain="liveness")


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_cross_entropy(smoothing):
    logits, labels = random_logits(), [0, 3, 8, 3]
    parts = CategoryCrossEntropy(smoothing)(outputs_of(logits), labelled(labels))
    target = F.one_hot(torch.tensor(labels), 9) * (1 - smoothing) + smoothing / 9
    expected = -(target * logits.double().log_softmax(1)).sum(1).mean()
    assert float(parts["loss"]) == pytest.approx(float(expected), rel=1e-5)
    assert set(parts) == {"loss", "category"}


def test_rows_without_a_category():
    with pytest.raises(InputError, match="row 1 has no category.* objective live_or_attack"):
        CategoryCrossEntropy()(outputs_of(random_logits(2)), labelled([0, -1]))
    with pytest.raises(InputError, match="row 0: label 9 is none of the 9 categories"):
        CategoryCrossEntropy()(outputs_of(random_logits(2)), labelled([9, 0]))
    with pytest.raises(InputError, match="labels, which is None"):
        CategoryCrossEntropy()(outputs_of(random_logits(2)), labelled())


class TestContrast:
    """Pictures of a category and its description are one group of positives."""

    def outputs(self, count=5, text=None):
        generator = torch.Generator().manual_seed(0)
        images = F.normalize(torch.randn(count, 6, generator=generator), dim=1).requires_grad_()
        categories = F.normalize(torch.randn(9, 6, generator=generator), dim=1).requires_grad_()
        embeddings = {"image": images} if text is None else {"image": images, "text": text}
        return Outputs(embeddings, torch.tensor(7.0), extras={"category_embeddings": categories})

    @pytest.mark.parametrize("chunk", [None, 2])
    def test_targets_are_row_normalised_masks(self, chunk):
        outputs, labels = self.outputs(), torch.tensor([0, 3, 0, 3, 8])
        loss = CategoryContrast(chunk=chunk)(outputs, Batch({}, labels))["contrastive"]
        texts = outputs.extras["category_embeddings"][labels]
        logits = 7.0 * outputs.embeddings["image"] @ texts.T
        same = (labels[:, None] == labels).float()
        target = same / same.sum(1, keepdim=True)
        rows, columns = (-(target * one.log_softmax(1)).sum(1).mean() for one in (logits, logits.T))
        assert loss.item() == pytest.approx(((rows + columns) / 2).item(), rel=1e-5)
        loss.backward()
        assert outputs.embeddings["image"].grad.abs().sum() > 0
        assert outputs.extras["category_embeddings"].grad.abs().sum() > 0

    def test_true_pairs_are_not_punished(self):
        """With every row of one category any prediction is right."""
        loss = CategoryContrast()(self.outputs(), Batch({}, torch.full((5,), 4)))["loss"]
        outputs = self.outputs()
        images, text = outputs.embeddings["image"], outputs.extras["category_embeddings"][4]
        spread = (7.0 * images @ text).log_softmax(0).mean()
        assert loss.item() == pytest.approx((math.log(5) - spread.item()) / 2, rel=1e-5)

    def test_a_description_per_row(self):
        text = F.normalize(torch.randn(5, 6, generator=torch.Generator().manual_seed(4)), dim=1)
        batch = Batch({}, torch.tensor([0, 3, 0, 3, 8]))
        own = CategoryContrast(descriptions="batch")(self.outputs(text=text), batch)["loss"]
        assert own.item() != pytest.approx(CategoryContrast()(self.outputs(), batch)["loss"].item())
        with pytest.raises(InputError, match=r"outputs.embeddings\['text'\]"):
            CategoryContrast(descriptions="batch")(self.outputs(), batch)

    def test_rows_without_a_category(self):
        with pytest.raises(InputError, match="row 2 has no category"):
            CategoryContrast()(self.outputs(), Batch({}, torch.tensor([0, 1, -1, 1, 0])))


class TestLiveOrAttack:
    """The binary loss on category logits, and batches that know more of some rows."""

    @given(st.lists(st.floats(-30, 30, width=32), min_size=9, max_size=9), st.booleans())
    def test_it_is_the_log_of_p_live(self, values, live):
        logits = torch.tensor([values])
        loss = LiveOrAttack()(outputs_of(logits), labelled([-1], [int(live)]))["live_or_attack"]
        p_live = float(logits.double().softmax(1)[0, 0])
        p_attack = float(logits.double().softmax(1)[0, 1:].sum())
        assert float(loss) == pytest.approx(-math.log(p_live if live else p_attack), rel=1e-4, abs=1e-5)

    @pytest.mark.parametrize(("size", "live"), [(400.0, 0), (-400.0, 1)])
    def test_a_gradient_where_probabilities_saturate(self, size, live):
        logits = torch.zeros(1, 9)
        logits[0, 0] = size
        logits.requires_grad_()
        loss = LiveOrAttack()(outputs_of(logits), labelled([-1], [live]))["loss"]
        loss.backward()
        assert loss.item() == pytest.approx(400, abs=3)
        assert abs(float(logits.grad[0, 0])) == pytest.approx(1)

    def test_mixed_batches(self):
        logits = random_logits(5)
        batch = labelled([3, -1, -1, 0, -1], [0, 0, 1, 1, -1])
        parts = LiveOrAttack()(outputs_of(logits), batch)
        log_p = logits.log_softmax(1)
        expected = {
            "category": -(log_p[0, 3] + log_p[3, 0]) / 4,
            "live_or_attack": -(log_p[1, 1:].logsumexp(0) + log_p[2, 0]) / 4,
        }
        for name, value in expected.items():
            assert float(parts[name]) == pytest.approx(float(value), rel=1e-5)
        assert float(parts["loss"]) == pytest.approx(float(sum(expected.values())), rel=1e-5)

    def test_categories_alone_are_their_cross_entropy(self):
        logits, labels = random_logits(), [0, 3, 8, 3]
        both = LiveOrAttack(label_smoothing=0.1)(outputs_of(logits), labelled(labels, [1, 0, 0, 0]))
        alone = CategoryCrossEntropy(0.1)(outputs_of(logits), labelled(labels))
        assert float(both["loss"]) == pytest.approx(float(alone["loss"]))

    def test_every_row_by_live_or_attack_alone(self):
        logits = random_logits()
        outputs = Outputs({}, torch.tensor(1.0), extras={"live_margin": live_margin(logits, DEFAULT)})
        parts = LiveOrAttack(use_categories=False)(outputs, labelled(None, [True, False, False, False]))
        assert set(parts) == {"loss", "live_or_attack"}
        assert float(parts["loss"]) > 0

    def test_nothing_known(self):
        logits = random_logits(2).requires_grad_()
        loss = LiveOrAttack()(outputs_of(logits), labelled([-1, -1], [-1, -1]))["loss"]
        loss.backward()
        assert loss.item() == 0
        assert not logits.grad.any()

    def test_what_is_neither(self):
        with pytest.raises(InputError, match=r"row 1: batch.extras\['live'\] is 2; it has to be 1, 0 or -1"):
            LiveOrAttack()(outputs_of(random_logits(2)), labelled([-1, -1], [1, 2]))
        with pytest.raises(InputError, match=r"batch.extras\['live'\]"):
            LiveOrAttack()(outputs_of(random_logits(2)), labelled([-1, -1]))
