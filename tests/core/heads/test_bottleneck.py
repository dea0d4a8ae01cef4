from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from verticlip.core.errors import ConfigError, InputError, WeightsError
from verticlip.core.heads.base import load_head, save_head
from verticlip.core.heads.bottleneck import BottleneckTraining, ConceptBottleneck
from verticlip.core.types import Outputs

CLASSES = ("cat", "dog", "cow")
CONCEPTS = {"cat": ["whiskers"], "dog": ["leash"], "cow": ["horns", "udder"]}
QUICK = BottleneckTraining(lr=0.05, epochs=40, batch_size=16)


@pytest.fixture
def words():
    return F.normalize(torch.eye(4, 6) + 0.1, dim=1)


@pytest.fixture
def data(words):
    """Pictures near the concept of their class; the udder stands for nothing."""
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 3, 90)
    noise = torch.from_numpy(rng.normal(size=(90, 6))).float()
    return F.normalize(words[targets] + 0.15 * noise, dim=1), targets


def fit(data, words, **changes):
    training = changes.pop("training", QUICK)
    return ConceptBottleneck.fit(
        *data,
        CLASSES,
        concepts=changes.pop("concepts", CONCEPTS),
        concept_weights=words,
        scale=20.0,
        training=training,
    )


def test_before_training_classes_heed_their_own_concepts(data, words):
    head = fit(data, words, training=BottleneckTraining(lr=1e-12, epochs=1))
    e = torch.e
    start = torch.tensor([[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 1]])
    torch.testing.assert_close(head.matrix, start, atol=1e-9, rtol=0)
    torch.testing.assert_close(head.weights[0], torch.tensor([e, 1, 1, 1]) / (e + 3))
    torch.testing.assert_close(head.weights.sum(1), torch.ones(3))
    embeddings = data[0][:5]
    torch.testing.assert_close(head.logits(embeddings), 20 * embeddings @ words.T @ head.weights.T)
    torch.testing.assert_close(head.scores(3 * embeddings).sum(1), torch.ones(5))


@pytest.mark.parametrize("center", [False, True])
def test_it_learns_the_same_every_time(data, words, center):
    training = BottleneckTraining(lr=0.05, epochs=40, batch_size=16, center=center)
    head = fit(data, words, training=training)
    accuracy = (head.scores(data[0]).argmax(1).numpy() == data[1]).mean()
    assert accuracy > 0.9
    assert torch.equal(head.matrix, fit(data, words, training=training).matrix)
    other = BottleneckTraining(lr=0.05, epochs=40, batch_size=16, center=center, seed=1)
    assert not torch.equal(head.matrix, fit(data, words, training=other).matrix)
    if center:
        activations = head.activations(data[0])
        torch.testing.assert_close(activations.mean(0), torch.zeros(4), atol=1e-5, rtol=0)
        torch.testing.assert_close(activations.std(0, correction=0), torch.ones(4), atol=1e-4, rtol=0)


def test_a_pull_keeps_the_matrix_near_its_start(data, words):
    free, held = (
        fit(data, words, training=BottleneckTraining(lr=0.05, epochs=40, batch_size=16, pull=pull))
        for pull in (0.0, 100.0)
    )
    start = torch.tensor([[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 1]])
    assert (held.matrix - start).norm() < 0.3 * (free.matrix - start).norm()


def test_contributions_add_up_to_the_logit(data, words):
    head = fit(data, words)
    told = head.explain(data[0][:3])
    logits = head.logits(data[0][:3])
    for row, one in enumerate(told):
        k = int(logits[row].argmax())
        assert one.label == CLASSES[k]
        assert one.logit == pytest.approx(logits[row, k].item(), abs=1e-4)
        assert sum(part.logit for part in one.contributions) == pytest.approx(one.logit, abs=1e-4)
        sizes = [abs(part.logit) for part in one.contributions]
        assert sizes == sorted(sizes, reverse=True)
        for part in one.contributions:
            assert part.logit == pytest.approx(20 * part.activation * part.weight, abs=1e-4)
    assert {one.label for one in head.explain(data[0][:3], "cow")} == {"cow"}
    text = told[0].table(2)
    assert len(text.splitlines()) == 4
    assert "2 other concepts" in text
    assert str(told[0]).count("\n") == 4
    assert json.loads(json.dumps(told[0].to_dict()))["label"] == told[0].label


def test_it_answers_as_a_head(data, words):
    head = fit(data, words)
    answers = head(Outputs({"image": data[0][:2]}, torch.tensor(1.0)))
    assert {name: tuple(tensor.shape) for name, tensor in answers.items()} == {
        "logits": (2, 3), "probabilities": (2, 3), "concepts": (2, 4),
    }  # fmt: skip


@pytest.mark.parametrize("center", [False, True])
def test_it_is_saved_and_loaded(data, words, center, tmp_path):
    head = fit(data, words, training=BottleneckTraining(lr=0.05, epochs=5, center=center))
    save_head(head, tmp_path)
    again = load_head(tmp_path)
    assert isinstance(again, ConceptBottleneck)
    torch.testing.assert_close(again.scores(data[0]), head.scores(data[0]))
    assert again.explain(data[0][:1])[0].label == head.explain(data[0][:1])[0].label
    config = json.loads((tmp_path / "head.json").read_text())
    config["concepts"] = config["concepts"][:2]
    (tmp_path / "head.json").write_text(json.dumps(config))
    with pytest.raises((WeightsError, InputError), match="2 concepts"):
        load_head(tmp_path)


def test_bad_input_is_named(data, words):
    def refused(message, error=InputError, **changes):
        with pytest.raises(error, match=message):
            fit(changes.pop("data", data), changes.pop("words", words), **changes)

    refused("at least one concept", concepts=[])
    refused("none twice", concepts=["a", "a", "b", "c"])
    refused("must be a list or a mapping", concepts="horns")
    refused("given for 'horse', which is no class", concepts={**CONCEPTS, "horse": ["mane"]})
    refused("3 classes and 4 concepts need a matrix", words=words[:3])
    refused("targets must be 90 class indices", data=(data[0], data[1][:5]))
    refused(r"targets must lie in \[0, 3\)", data=(data[0], data[1] + 1))
    refused("Class 'cow' has no training rows", data=(data[0], data[1] % 2))
    refused("epochs above 0", ConfigError, training=BottleneckTraining(epochs=0))
    with pytest.raises(InputError, match="No class 'horse'"):
        fit(data, words).explain(data[0], "horse")
    with pytest.raises(InputError, match=r"must be \[B, 6\]"):
        fit(data, words).scores(torch.zeros(2, 5))
