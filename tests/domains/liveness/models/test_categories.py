"""The model that compares pictures with the texts of categories."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from liveness.models import make_models
from verticlip.core.config import ModelConfig
from verticlip.core.errors import ConfigError, InputError
from verticlip.core.model import build_model
from verticlip.core.types import Batch
from verticlip.domains.liveness.models.base import liveness_options, score_crops
from verticlip.domains.liveness.models.categories import mean_per_category
from verticlip.domains.liveness.taxonomy import Taxonomy, load_taxonomy

DEFAULT = load_taxonomy("default")


def batch(count=3):
    pixels = torch.randn(
        count, 3, make_models.SIZE, make_models.SIZE, generator=torch.Generator().manual_seed(1)
    )
    return Batch({"image": {"pixels": pixels}})


def ready(**settings):
    network = make_models.network(**settings)
    network.use_processor(make_models.processor())
    return network


def calls_of(network, monkeypatch):
    """Count how often the text tower is run."""
    calls = []
    embed = network.embed

    def counted(modality, inputs, **options):
        calls.append(modality)
        return embed(modality, inputs, **options)

    monkeypatch.setattr(network, "embed", counted)
    return calls


@given(st.integers(0, 5), st.integers(1, 4), st.integers(0, 10_000))
def test_a_repeated_set_of_texts_changes_no_mean(category, times, seed):
    texts = torch.randn(8, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    counts = [1, 2, 1, 1, 2, 1]
    parts = list(texts.split(counts))
    parts[category] = parts[category].repeat(1 + times, 1)
    repeated = [len(part) for part in parts]
    for average in ("raw", "normalise_each"):
        first = mean_per_category(texts, counts, average)
        assert torch.allclose(mean_per_category(torch.cat(parts), repeated, average), first)
        assert torch.allclose(first.norm(dim=1), torch.ones(6, dtype=torch.float64))


def test_long_texts_count_more_unless_each_is_normalised():
    texts = torch.tensor([[10.0, 0.0], [0.0, 1.0]])
    assert mean_per_category(texts, [2], "raw")[0].tolist() == pytest.approx([0.99504, 0.09950], abs=1e-4)
    assert mean_per_category(texts, [2], "normalise_each")[0].tolist() == pytest.approx([0.5**0.5] * 2)


def test_logits_are_scaled_cosines():
    network = ready()
    with torch.no_grad():
        outputs = network(batch(), extras=("category_logits", "category_embeddings", "live_margin"))
    found = outputs.extras
    expected = network.scale() * outputs.embeddings["image"] @ found["category_embeddings"].T
    assert torch.allclose(found["category_logits"], expected)
    attacks = found["category_logits"][:, 1:].logsumexp(1)
    assert torch.allclose(found["live_margin"], found["category_logits"][:, 0] - attacks)
    assert set(found) == {"category_logits", "category_embeddings", "live_margin"}
    assert not network(batch()).extras


def test_texts_learn_at_every_step():
    network = ready().train()
    network(batch(), extras=("category_logits",)).extras["category_logits"].square().sum().backward()
    assert network.towers["text"].token_embedding.weight.grad.abs().sum() > 0
    assert network.logit_scale.grad != 0
    before = network.text_embeddings().detach()
    with torch.no_grad():
        network.towers["text"].ln_final.bias.add_(0.5)
    assert not torch.allclose(network.text_embeddings(), before)


def test_texts_are_encoded_once_while_their_weights_stay(monkeypatch):
    network = ready()
    calls = calls_of(network, monkeypatch)
    with torch.inference_mode():
        first = network.category_embeddings()
    with torch.no_grad():
        assert torch.equal(network.category_embeddings(), first)
        network.towers["image"].proj.add_(1.0)
        network.category_embeddings()
        assert calls == ["text"]
        network.towers["text"].text_projection.add_(1.0)
        changed = network.category_embeddings()
        assert calls == ["text", "text"]
    assert not torch.allclose(changed, first)
    state = {name: value.clone() for name, value in network.state_dict().items()}
    network.load_state_dict({**state, "towers.text.text_projection": -state["towers.text.text_projection"]})
    with torch.no_grad():
        assert torch.allclose(network.category_embeddings(), -changed, atol=1e-5)


def test_frozen_texts_meet_gradients_of_pictures(monkeypatch):
    network = ready()
    network.freeze("text")
    with torch.inference_mode():
        network.category_embeddings()
    calls = calls_of(network, monkeypatch)
    network.train()
    for _ in range(2):
        network(batch(), extras=("category_logits",)).extras["category_logits"].sum().backward()
    assert calls == ["image", "image"]
    assert network.towers["image"].proj.grad.abs().sum() > 0


def test_a_copy_does_not_answer_with_texts_of_the_original():
    network = ready()
    with torch.no_grad():
        first = network.category_embeddings()
        twin = copy.deepcopy(network)
        twin.towers["text"].text_projection.mul_(-1)
        assert torch.allclose(twin.category_embeddings(), -first, atol=1e-6)
        assert torch.equal(network.category_embeddings(), first)


def test_training_and_serving_agree():
    handle = make_models.handle()
    pictures = make_models.pictures(4)
    served = score_crops(handle, [pictures]).logits
    network = handle.network
    inputs = handle.processor("image", pictures)
    trained = network.train()(Batch({"image": inputs}), extras=("category_logits",)).extras["category_logits"]
    assert torch.allclose(trained, served, atol=1e-4)
    with torch.no_grad():
        network.eval().towers["text"].text_projection.mul_(-1)
    assert torch.allclose(score_crops(handle, [pictures]).logits, -served, atol=1e-4)


def test_autocast_does_not_round_logits():
    network = ready().train()
    whole = network(batch(), extras=("category_logits",)).extras["category_logits"]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = network(batch(), extras=("category_logits",)).extras["category_logits"]
    assert rounded.dtype == torch.float32
    exact = network.compare(torch.eye(9, 12), torch.eye(9, 12))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(network.compare(torch.eye(9, 12), torch.eye(9, 12)), exact)
    assert (rounded - whole).abs().max() < 0.3


def test_the_order_of_categories_is_the_order_of_logits():
    order = [4, 0, 8, 2, 1, 3, 7, 6, 5]
    other = Taxonomy(name="other", categories=tuple(DEFAULT.categories[index] for index in order))
    pictures = make_models.pictures(3)
    first, second = (score_crops(make_models.handle(taxonomy=one), [pictures]) for one in (DEFAULT, other))
    assert torch.allclose(first.logits[:, order], second.logits, atol=1e-5)
    assert torch.allclose(first.margin, second.margin, atol=1e-5)


def test_duplicate_texts_in_a_taxonomy_change_no_score():
    doubled = Taxonomy(
        name="doubled",
        categories=tuple(
            one.model_copy(update={"texts": one.texts * 2}) if one.id == "print_photo" else one
            for one in DEFAULT.categories
        ),
    )
    pictures = make_models.pictures(3)
    first, second = (
        score_crops(make_models.handle(taxonomy=one), [pictures]).logits for one in (DEFAULT, doubled)
    )
    assert torch.allclose(first, second, atol=1e-5)


def test_tokens_without_a_mask():
    network, given = ready(), make_models.processor()("text", list(DEFAULT.texts))
    with torch.no_grad():
        expected = network.text_embeddings()
        network.set_taxonomy_tokens({"input_ids": given["input_ids"]})
        assert torch.allclose(network.text_embeddings(), expected, atol=1e-5)


def test_what_a_model_without_tokens_says():
    network = make_models.network()
    with pytest.raises(ConfigError, match=r"no tokens of its taxonomy. Call use_processor"):
        network.category_embeddings()
    with pytest.raises(InputError, match="input_ids: 3 rows for the 36 texts of taxonomy 'default'"):
        network.set_taxonomy_tokens({"input_ids": torch.zeros(3, 4, dtype=torch.int64)})


def test_both_towers_are_needed():
    raw = {
        "name": "test/live", "embed_dim": make_models.DIM, "towers": make_models.towers(text=False),
        "architecture": "categories", "domain": "liveness", "options": liveness_options("binary"),
    }  # fmt: skip
    with pytest.raises(ConfigError, match="'categories' compares pictures with texts and has no text tower"):
        build_model(ModelConfig.model_validate(raw))
