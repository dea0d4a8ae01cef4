"""Scores of prompts, findings by prompt pairs, reports and masked words."""

from __future__ import annotations

import copy

import pytest
import torch
from torch.nn import functional as F
from verticlip.core.config import ModelConfig
from verticlip.core.errors import InputError
from verticlip.core.model import build_model
from verticlip.domains.medical.biovil.similarity import (
    embed_prompts,
    embed_reports,
    fill_mask,
    pairwise_similarity,
    score_findings,
    similarity,
    with_finer_grid,
)
from verticlip.domains.medical.tasks.grounding import ground
from verticlip.facade import Model

POSITIVE = ["Findings suggesting pneumonia", "Pneumonia in the left lungs"]
NEGATIVE = ["There is no pneumonia.", "No evidence of pneumonia"]


def raw(model, texts):
    return model.network.encode("text", model.processor("text", texts), normalize=False)


def test_an_ensemble_averages_raw_vectors(biovil):
    vectors = raw(biovil, POSITIVE)
    lengths = vectors.detach().norm(dim=1)
    assert abs(float(lengths[0] / lengths[1]) - 1) > 1e-3
    expected = F.normalize(vectors.mean(dim=0), dim=0)
    assert torch.allclose(embed_prompts(biovil, [POSITIVE])[0], expected, atol=1e-5)
    of_units = F.normalize(F.normalize(vectors, dim=1).mean(dim=0), dim=0)
    assert (of_units - expected).abs().max() > 1e-5


def test_similarity_of_a_batch(biovil, studies):
    found = similarity(biovil, studies, POSITIVE, batch_size=2)
    images = biovil.embed(studies, modality="image").vectors
    assert torch.allclose(found, images @ F.normalize(raw(biovil, POSITIVE), dim=1).T, atol=1e-5)
    one = similarity(biovil, studies[0], POSITIVE)
    assert torch.allclose(one, found[:1], atol=1e-5)
    together = similarity(biovil, studies, POSITIVE, ensemble=True)
    assert torch.allclose(together, images @ embed_prompts(biovil, [POSITIVE]).T, atol=1e-6)


def test_findings_have_margin_and_probability(biovil, studies):
    answers = score_findings(
        biovil, studies, {"pneumonia": (POSITIVE, NEGATIVE), "edema": (["edema"], ["no edema"])}
    )
    assert [answer.id for answer in answers] == [str(path) for path in studies]
    assert list(answers[0].findings) == ["pneumonia", "edema"]
    positive = similarity(biovil, studies, POSITIVE, ensemble=True)
    negative = similarity(biovil, studies, NEGATIVE, ensemble=True)
    for row, answer in enumerate(answers):
        score = answer.findings["pneumonia"]
        assert score.margin == pytest.approx(float(positive[row] - negative[row]), abs=1e-5)
        # Temperature 0.5: the cosines are doubled.
        chance = torch.sigmoid(2 * (positive[row] - negative[row]))
        assert score.probability == pytest.approx(float(chance), abs=1e-5)
    plain = answers[0].to_dict()
    assert plain["findings"]["edema"]["positive"] == answers[0].findings["edema"].positive
    assert plain["model"] == "medical/small-biovil"


def test_pairs_of_sentences(biovil):
    left, right = ["no pleural effusion", "lungs clear"], ["pleural effusion", "heart size normal."]
    found = pairwise_similarity(biovil, left, right)
    expected = F.cosine_similarity(raw(biovil, left), raw(biovil, right))
    assert torch.allclose(found, expected, atol=1e-5)


def test_long_reports_are_read_in_pieces(biovil):
    short = "No pleural effusion."
    long = "Small left pleural effusion. " * 5 + "Lungs clear. " * 9
    vectors = embed_reports(biovil, [short, long])
    assert torch.allclose(vectors[0], F.normalize(raw(biovil, [short])[0], dim=0), atol=1e-5)
    # 40 tokens hold two specials and, of five each, seven sentences; of three each, one more.
    pieces = ["Small left pleural effusion. " * 5 + "Lungs clear. " * 4, "Lungs clear. " * 5]
    parts = raw(biovil, [piece.strip() for piece in pieces])
    weighted = F.normalize(9 * parts[0] + 5 * parts[1], dim=0)
    assert torch.allclose(vectors[1], weighted, atol=1e-5)
    assert torch.allclose(vectors.norm(dim=1), torch.ones(2), atol=1e-5)


def test_masks_are_filled_best_first(biovil):
    guesses = fill_mask(biovil, "Left [MASK] pleural effusion and [MASK].", top=3)
    assert [len(row) for row in guesses] == [3, 3]
    inputs = biovil.processor("text", ["Left [MASK] pleural effusion and [MASK]."])
    logits = biovil.network.word_logits(inputs)[0]
    place = int((inputs["input_ids"][0] == 4).nonzero()[1])
    chances = logits[place].detach().softmax(0)
    assert guesses[1][0].probability == pytest.approx(float(chances.max()), abs=1e-5)
    assert guesses[1][0].probability >= guesses[1][1].probability
    assert isinstance(guesses[0][0].word, str)


def test_a_finer_grid_grounds_with_more_patches(biovil, studies):
    coarse = ground(biovil, studies[0], "pleural effusion")[0][0]
    fine = ground(with_finer_grid(biovil), studies[0], "pleural effusion")[0][0]
    assert coarse.grid.shape == (2, 2)
    assert fine.grid.shape == (4, 4)
    assert fine.values.shape == coarse.values.shape == (83, 101)
    assert (coarse.revision, fine.revision) == ("unsaved", "unsaved+stride16"), "told apart"
    assert fine.model == coarse.model
    assert with_finer_grid(with_finer_grid(biovil)).revision == fine.revision
    assert biovil.network.encode_patches({"pixels": torch.rand(1, 3, 64, 64)}).shape == (1, 2, 2, 12)


def test_bad_questions_are_answered_in_words(biovil, studies, model_folder):
    from verticlip import from_pretrained

    with pytest.raises(InputError, match="got the string 'pneumonia'; give a list"):
        similarity(biovil, studies, "pneumonia")
    with pytest.raises(InputError, match="prompts 0: the list is empty"):
        similarity(biovil, studies, [])
    with pytest.raises(InputError, match="no findings to look for"):
        score_findings(biovil, studies, {})
    with pytest.raises(InputError, match="finding 'edema': give two lists"):
        score_findings(biovil, studies, {"edema": (["edema"],)})
    with pytest.raises(InputError, match="prompts 1: the list is empty"):
        score_findings(biovil, studies, {"edema": (["edema"], [])})
    with pytest.raises(InputError, match="2 sentences against 1"):
        pairwise_similarity(biovil, ["a", "b"], ["a"])
    with pytest.raises(InputError, match=r"has no \[MASK\]"):
        fill_mask(biovil, "Left effusion")
    with pytest.raises(InputError, match="top must be between 1 and 60, got 0"):
        fill_mask(biovil, "[MASK]", top=0)
    with pytest.raises(InputError, match=r"contains '\[SEP\]'"):
        fill_mask(biovil, "[MASK] [SEP]")
    with pytest.raises(InputError, match="is no BioViL"):
        fill_mask(from_pretrained(model_folder, device="cpu"), "[MASK]")


def test_texts_as_the_reference_reads_them(biovil):
    vectors = raw(biovil, ["Lungs clear?!.", "lungs clear"])
    assert torch.allclose(vectors[0], vectors[1], atol=1e-6)
    assert biovil.processor("text", [""])["input_ids"].tolist() == [[2, 3]]
    with pytest.raises(InputError, match="tokens; this model takes 40"):
        biovil.embed(["small " * 60])


def test_a_text_model_fills_masks_and_refuses_to_embed(processor):
    raw_config = {
        "name": "medical/general", "domain": "medical", "architecture": "biovil", "embed_dim": 16,
        "towers": {"text": {"backend": "bert", "vocab_size": 60, "width": 16, "layers": 1, "heads": 2}
        | {"mlp_width": 32, "projection": "none"}},
        "options": {"joint_space": False},
    }  # fmt: skip
    network = build_model(ModelConfig.model_validate(raw_config)).eval()
    text = copy.copy(processor)
    model = Model(network, text)
    assert len(fill_mask(model, "Left [MASK] effusion")[0]) == 5
    with pytest.raises(InputError, match="predicts masked words only"):
        model.embed("left effusion")
