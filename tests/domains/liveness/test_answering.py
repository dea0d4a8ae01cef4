"""From scores to an answer: shares of categories, frames, words."""

from __future__ import annotations

import math

import pytest
import torch
from verticlip.domains.liveness.answering import Judge
from verticlip.domains.liveness.calibration.threshold import Threshold
from verticlip.domains.liveness.models.base import Scores
from verticlip.domains.liveness.presentation import Presentation, View
from verticlip.domains.liveness.quality.checks import Check
from verticlip.domains.liveness.taxonomy import Category, Taxonomy

TWO_LIVES = Taxonomy(
    name="two-lives",
    categories=(
        Category(id="print", kind="attack", species="print", texts=("paper",), explanation="Paper."),
        Category(id="live_day", kind="live", species="bona_fide", texts=("day",), explanation="By day."),
        Category(id="mask", kind="attack", species="mask", texts=("mask",), explanation="A mask."),
        Category(
            id="live_night", kind="live", species="bona_fide", texts=("night",), explanation="By night."
        ),
    ),
)
BLUR = Check("sharpness", 1.0, (60.0, None), False, "", True, "Hold still.")


def judge(threshold: Threshold | None = None, **settings) -> Judge:
    given = {
        "taxonomy": TWO_LIVES, "threshold": threshold, "temperature": 1.0, "aggregator": "mean", "k": 2,
        "fingerprint": "f", "model": "m", "revision": "r", "reads_text": True,
    }  # fmt: skip
    return Judge(**{**given, **settings})


def presentation(*checks: tuple[Check, ...], needed: int = 1) -> Presentation:
    views = tuple(
        View(10 * place, place / 2, (), None, own, (), (0, 0, 1, 1), (1, 1))
        for place, own in enumerate(checks)
    )
    return Presentation("film", views, (), needed, (), {})


def test_shares_are_those_of_the_mean_probabilities():
    logits = torch.tensor([[0.0, 2.0, 1.0, -1.0], [3.0, 0.5, 1.0, 0.0]])
    found, view = judge().answer(presentation((), ()), Scores(logits, TWO_LIVES))
    mean = logits.double().softmax(dim=1).mean(dim=0)
    assert found.p_live == pytest.approx(float(mean[1] + mean[3]), abs=1e-12)
    assert list(found.categories) == list(TWO_LIVES.ids)
    assert list(found.categories.values()) == pytest.approx(mean.tolist(), abs=1e-12)
    assert [(one.id, one.species) for one in found.attack_types] == [("print", "print"), ("mask", "mask")]
    assert found.attack_types[0].probability == pytest.approx(float(mean[0] / (mean[0] + mean[2])), abs=1e-12)
    assert found.decision == "attack"
    assert view is not None
    assert (view.index, found.explanation.evidence.frame, found.explanation.evidence.time_s) == (10, 10, 0.5)
    assert (found.explanation.evidence.category, found.explanation.evidence.category_text) == (
        "print",
        "paper",
    )


def test_kinds_of_attack_are_known_however_sure_of_live():
    logits = torch.tensor([[-400.0, 400.0, -401.0, 0.0]])
    found, _ = judge().answer(presentation(()), Scores(logits, TWO_LIVES))
    assert found.p_live == 1.0
    assert found.margin == pytest.approx(800, abs=1)
    assert found.attack_types[0].probability == pytest.approx(1 / (1 + math.exp(-1)), abs=1e-9)
    assert found.explanation.evidence.category == "live_day"
    assert "By day." in found.explanation.text


def test_words_are_those_of_the_live_category_that_speaks_most():
    logits = torch.tensor([[-4.0, 0.0, -4.0, 5.0]])
    found, _ = judge().answer(presentation(()), Scores(logits, TWO_LIVES))
    assert found.explanation.evidence.category == "live_night"
    assert "By night." in found.explanation.text
    assert "By day." not in found.explanation.text


def test_frames_that_fail_are_left_out_of_the_decision():
    logits = torch.tensor([[0.0, 3.0, 0.0, 0.0], [9.0, 0.0, 0.0, 0.0], [0.0, 4.0, 0.0, 0.0]])
    found, view = judge().answer(presentation((), (BLUR,), ()), Scores(logits, TWO_LIVES))
    assert (found.decision, found.frames_used, found.excluded) == ("live", 2, {"sharpness": 1})
    assert view is not None
    assert view.index == 20, "the frame that speaks most for live"


def test_too_few_frames_give_no_answer_and_the_model_is_heard():
    logits = torch.tensor([[0.0, 3.0, 0.0, 0.0], [9.0, 0.0, 0.0, 0.0]])
    found, _ = judge().answer(presentation((), (BLUR,), needed=2), Scores(logits, TWO_LIVES))
    assert (found.decision, found.model_decision, found.frames_used) == ("no_response", "live", 0)
    found, _ = judge().answer(presentation((BLUR,), (BLUR,), needed=2), Scores(logits, TWO_LIVES))
    assert (found.decision, found.model_decision) == ("no_response", "attack")
    assert found.explanation.text.startswith("No answer: Hold still. The model alone says attack: P(live)")


@pytest.mark.parametrize(
    ("margin", "words"), [(0.0, "0.500"), (12.0, "0.999994"), (-20.0, "0.000000002"), (-60.0, "8.76e-27")]
)
def test_probabilities_never_read_as_certain(margin, words):
    logits = torch.tensor([[0.0, margin, -200.0, -200.0]])
    found, _ = judge(Threshold.fixed(0.3)).answer(presentation(()), Scores(logits, TWO_LIVES))
    assert f"P(live) {words} is" in found.explanation.text
