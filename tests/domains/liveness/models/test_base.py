"""Scores, and the one way from pictures to them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from liveness.models import make_models
from verticlip.core.errors import ConfigError, InputError
from verticlip.domains.liveness.faces.crop import CropConfig
from verticlip.domains.liveness.models.base import (
    Scores,
    live_margin,
    liveness_options,
    mean_of_probabilities,
    score_crops,
    with_taxonomy,
)
from verticlip.domains.liveness.taxonomy import Taxonomy, load_taxonomy
from verticlip.facade import Model

BINARY, DEFAULT = load_taxonomy("binary"), load_taxonomy("default")
rows = st.lists(st.floats(-60, 60, width=32), min_size=9, max_size=9)


def permuted(order):
    return Taxonomy(name="other", categories=tuple(DEFAULT.categories[index] for index in order))


@given(rows, st.permutations(range(9)))
def test_the_order_of_categories_changes_no_answer(values, order):
    logits = torch.tensor([values])
    first, second = Scores(logits, DEFAULT), Scores(logits[:, order], permuted(order))
    assert torch.allclose(first.p_live, second.p_live, rtol=1e-12, atol=0)
    assert torch.allclose(first.margin, second.margin, rtol=1e-9, atol=1e-9)
    shares = ({name: share for name, _, share in one.attack_types(0)} for one in (first, second))
    assert next(shares) == pytest.approx(next(shares))


@given(rows)
def test_the_margin_is_the_log_odds_of_p_live(values):
    scores = Scores(torch.tensor([values]), DEFAULT)
    p_live = float(scores.p_live[0])
    assert p_live == pytest.approx(float(scores.probabilities[0, list(DEFAULT.live)].sum()), rel=1e-9)
    if 1e-9 < p_live < 1 - 1e-9:
        assert float(scores.margin[0]) == pytest.approx(math.log(p_live / (1 - p_live)), rel=1e-5, abs=1e-5)


def test_margins_tell_apart_what_probabilities_do_not():
    logits = torch.tensor([[0.0, 50.0], [0.0, 60.0], [0.0, -800.0], [0.0, -900.0]])
    scores = Scores(logits, BINARY)
    assert scores.p_live.tolist() == [1.0, 1.0, 0.0, 0.0]
    assert scores.margin.tolist() == [50.0, 60.0, -800.0, -900.0]
    assert len(scores[1:3]) == 2


def test_kinds_of_attack_given_that_it_is_one():
    logits = torch.full((1, 9), -500.0)
    logits[0, 0], logits[0, 2], logits[0, 5] = 500.0, -499.0, -498.0
    found = Scores(logits, DEFAULT).attack_types(0)
    assert [one[:2] for one in found[:2]] == [
        ("cut_or_bent_photo", "print_cut"),
        ("screen_replay", "display"),
    ]
    assert sum(one[2] for one in found) == pytest.approx(1)
    assert found[0][2] / found[1][2] == pytest.approx(math.e)
    assert Scores(torch.zeros(1, 2), BINARY).attack_types(0) == [("spoof", "attack", 1.0)]


def test_several_crops_count_by_the_mean_of_their_probabilities():
    first, second = torch.tensor([[1.0, 3.0]]), torch.tensor([[900.0, -900.0]])
    together = mean_of_probabilities([first, second])
    assert torch.allclose(together.softmax(1), (first.softmax(1) + second.softmax(1)) / 2)
    assert mean_of_probabilities([first]) is first
    assert torch.isfinite(live_margin(mean_of_probabilities([second, second]), BINARY)).all()


def test_logits_of_another_taxonomy():
    with pytest.raises(InputError, match=r"\[B, 2\] for taxonomy 'binary', got \[3, 9\]"):
        Scores(torch.zeros(3, 9), BINARY)


def test_options_are_plain_data():
    options = liveness_options("binary", [CropConfig(scale=2.7)], average="normalise_each", ssl_dim=8)
    assert options["taxonomy"]["categories"][1]["id"] == "live"
    assert options["crops"][0]["scale"] == 2.7
    assert (options["average"], options["ssl_dim"]) == ("normalise_each", 8)


def test_batches_change_nothing():
    handle = make_models.handle()
    pictures = make_models.pictures(5)
    scores = score_crops(handle, [pictures])
    assert scores.logits.shape == (5, 9)
    assert scores.logits.dtype == torch.float32
    assert torch.allclose(score_crops(handle, [pictures], batch_size=2).logits, scores.logits, atol=1e-5)
    (scores.logits * 2).sum()
    assert not scores.logits.is_inference()


def test_two_crops():
    crops = [CropConfig(scale=1.0), CropConfig(scale=2.0)]
    handle = make_models.handle(crops=crops)
    near, far = make_models.pictures(2), make_models.pictures(2, seed=1)
    found = score_crops(handle, [near, far]).probabilities
    single = [score_crops(make_models.handle(), [one]).probabilities for one in (near, far)]
    assert torch.allclose(found, (single[0] + single[1]) / 2, atol=1e-6)
    with pytest.raises(InputError, match="looks at 2 crops of a picture, got 1"):
        score_crops(handle, [near])
    with pytest.raises(InputError, match=r"same pictures, at least one; got \[1, 2\]"):
        score_crops(handle, [near, far[:1]])
    with pytest.raises(InputError, match="looks at 2 crops, got 1"):
        handle.network.liveness_scores([{}])


def test_what_cannot_be_scored():
    handle = make_models.handle()
    with pytest.raises(InputError, match=r"at least one; got \[0\]"):
        score_crops(handle, [[]])
    with pytest.raises(InputError, match=r"The picture 1 has shape \(4, 4, 5\)"):
        score_crops(handle, [[*make_models.pictures(1), np.zeros((4, 4, 5), np.uint8)]], batch_size=1)
    with pytest.raises(InputError, match="The picture 0 has dtype float64, expected uint8"):
        score_crops(handle, [[np.zeros((4, 4, 3))]])
    with pytest.raises(ConfigError, match="batch_size"):
        score_crops(handle, [make_models.pictures(1)], batch_size=0)
    with pytest.raises(ConfigError, match="is no liveness model .*'contrastive'.* with_taxonomy"):
        score_crops(make_models.handle("contrastive"), [make_models.pictures(1)])
    with torch.no_grad():
        handle.network.logit_scale.fill_(math.nan)
    with pytest.raises(InputError, match="picture 0: the model's answer is not finite"):
        score_crops(handle, [make_models.pictures(1)])


def test_options_of_another_architecture():
    with pytest.raises(ConfigError, match="test/live: options: unknown key 'ssl_dim'"):
        make_models.network("categories", ssl_dim=3)


class TestPromptZeroShot:
    """A model of pictures and texts that answers by a taxonomy it was not made for."""

    def test_a_plain_model_of_two_towers(self):
        plain = make_models.handle("contrastive")
        crop = CropConfig(scale=2.0)
        changed = with_taxonomy(plain, "default", [crop])
        assert changed.network.crops == (crop,)
        assert plain.network.towers is changed.network.towers
        assert (plain.variant, changed.variant) == ("", f"taxonomy-{DEFAULT.digest}")
        assert changed.revision == f"unsaved+taxonomy-{DEFAULT.digest}"
        pictures = make_models.pictures(3)
        images = plain.embed(pictures, modality="image").vectors
        texts = plain.network.embed("text", plain.processor("text", list(DEFAULT.texts)))[0].detach()
        means = torch.stack([own.mean(0) for own in texts.split(list(DEFAULT.counts))])
        expected = plain.network.scale().detach() * images @ torch.nn.functional.normalize(means, dim=1).T
        assert torch.allclose(score_crops(changed, [pictures]).logits, expected, atol=1e-4)

    def test_unit_vectors_agree_with_general_zero_shot(self):
        plain = make_models.handle("contrastive")
        changed = with_taxonomy(plain, DEFAULT, average="normalise_each")
        assert changed.variant.endswith("-normalise_each")
        pictures = make_models.pictures(3)
        general = plain.classify(pictures, templates=DEFAULT.prompts())
        own = changed.classify(pictures)
        found = score_crops(changed, [pictures]).probabilities
        for row, (one, other) in enumerate(zip(general, own, strict=True)):
            assert one.scores == pytest.approx(other.scores)
            assert [one.scores[name] for name in DEFAULT.ids] == pytest.approx(found[row].tolist(), abs=1e-5)

    def test_another_taxonomy_for_a_liveness_model(self):
        model = make_models.handle("flip_mcl", taxonomy="binary", crops=[CropConfig(scale=1.5)])
        changed = with_taxonomy(model, "default")
        assert changed.network.crops == model.network.crops
        back = with_taxonomy(changed, "binary")
        assert back.variant == f"taxonomy-{DEFAULT.digest}+taxonomy-{BINARY.digest}"
        pictures = make_models.pictures(2)
        assert score_crops(changed, [pictures]).taxonomy.name == "default"
        assert torch.equal(score_crops(back, [pictures]).logits, score_crops(model, [pictures]).logits)

    def test_the_way_texts_become_one_vector_is_kept(self):
        model = make_models.handle(average="normalise_each")
        same = with_taxonomy(model, DEFAULT)
        pictures = make_models.pictures(2)
        assert torch.equal(score_crops(same, [pictures]).logits, score_crops(model, [pictures]).logits)
        assert with_taxonomy(model, DEFAULT, average="raw").network.options.average == "raw"
        assert with_taxonomy(make_models.handle("contrastive"), DEFAULT).network.options.average == "raw"

    def test_the_number_format_of_the_model_is_kept(self):
        whole = with_taxonomy(make_models.handle("contrastive"), "default")
        plain = Model(make_models.network("contrastive"), make_models.processor(), dtype="bfloat16")
        rounded = with_taxonomy(plain, "default")
        pictures = make_models.pictures(3)
        first, second = (score_crops(one, [pictures]).logits for one in (whole, rounded))
        assert not torch.equal(first, second)
        assert torch.allclose(first, second, atol=0.5)
        assert second.dtype == torch.float32

    def test_it_can_be_saved_and_loaded(self, tmp_path):
        import verticlip

        changed = with_taxonomy(make_models.handle("contrastive"), "default")
        changed.save(tmp_path / "zero-shot")
        loaded = verticlip.from_pretrained(tmp_path / "zero-shot")
        pictures = make_models.pictures(2)
        assert loaded.network.taxonomy == DEFAULT
        assert torch.equal(score_crops(loaded, [pictures]).logits, score_crops(changed, [pictures]).logits)

    def test_a_model_without_texts(self):
        with pytest.raises(ConfigError, match="'flip_v' does not compare pictures with texts"):
            with_taxonomy(make_models.handle("flip_v", taxonomy="binary"), "default")
