"""Comparison of two studies."""

from __future__ import annotations

import json

import pytest
import torch
from verticlip.core.answers import Failure
from verticlip.core.errors import ConfigError, InputError
from verticlip.core.processing import Processor
from verticlip.domains.medical.biovil import compare as compare_module
from verticlip.domains.medical.biovil.change import change_prompts
from verticlip.domains.medical.biovil.compare import compare, compare_each, embed_pairs
from verticlip.facade import Model


def test_each_finding_gets_three_states(biovil_t, studies):
    found = compare(biovil_t, studies[0], studies[1])
    assert list(found.findings) == ["consolidation", "pleural effusion", "pneumonia", "pneumothorax", "edema"]
    for chances in found.findings.values():
        assert list(chances) == ["improving", "stable", "worsening"]
        assert sum(chances.values()) == pytest.approx(1, abs=1e-5)
    assert found.state("edema") == max(found.findings["edema"], key=found.findings["edema"].__getitem__)
    assert (found.current, found.previous) == (str(studies[0]), str(studies[1]))
    assert found.prompts == "biovil-t-change 1"
    assert "hours to days apart" in found.notes[0]
    assert json.loads(json.dumps(found.to_dict()))["change"]["size"] == [83, 101]


def test_the_probabilities_follow_from_the_pair_and_the_prompts(biovil_t, studies):
    from verticlip.domains.medical.biovil.similarity import embed_prompts

    found = compare(biovil_t, studies[0], studies[1], ["edema"])
    pixels = [biovil_t.processor("image", [biovil_t.load(path)])["pixels"] for path in studies[:2]]
    vector = biovil_t.network.encode("image", {"pixels": pixels[0], "previous": pixels[1]})[0]
    prompts = change_prompts()
    texts = embed_prompts(biovil_t, [prompts.sentences("edema", state) for state in prompts.states])
    cosines = texts @ vector.detach()
    assert list(found.cosines["edema"].values()) == pytest.approx(cosines.tolist(), abs=1e-5)
    assert list(found.findings["edema"].values()) == pytest.approx(
        (2 * cosines).softmax(0).tolist(), abs=1e-5
    )


def test_swapping_the_studies_changes_the_answer(biovil_t, studies):
    there, back = compare(biovil_t, *studies[:2]), compare(biovil_t, *studies[1::-1])
    assert there.findings["edema"]["improving"] != pytest.approx(
        back.findings["edema"]["improving"], abs=1e-5
    )
    assert not torch.allclose(there.change.grid, back.change.grid, atol=1e-4)


def test_a_study_compared_with_itself_has_not_changed(biovil_t, studies):
    same = compare(biovil_t, studies[0], studies[0], phrase="edema")
    assert same.change.grid.abs().max() < 1e-6
    assert "Both studies are the same image." in same.notes
    # Which is not the same as having no previous study.
    pixels = biovil_t.processor("image", [biovil_t.load(studies[0])])["pixels"]
    alone = biovil_t.network.encode("image", {"pixels": pixels})
    pair = biovil_t.network.encode("image", {"pixels": pixels, "previous": pixels})
    assert (alone - pair).abs().max() > 1e-3


def test_the_change_map_lies_in_pixels_of_the_current_study(biovil_t, studies):
    found = compare(biovil_t, studies[0], studies[1])
    values = found.change.values
    assert values.shape == (83, 101)
    side = int(64 * 83 / 72)
    assert int(torch.isfinite(values).sum()) == side * side
    assert found.change.grid.shape == (2, 2)
    assert found.change.grid.min() >= 0
    toward = compare(biovil_t, studies[0], studies[1], phrase="pleural effusion")
    assert toward.change.phrase == "change of pleural effusion"
    assert toward.change.value_range == (-2.0, 2.0)
    assert not torch.allclose(toward.change.grid, found.change.grid)


def test_findings_of_the_users_own(biovil_t, studies):
    found = compare(biovil_t, studies[0], studies[1], ["Pleural Effusion", "large opacity"])
    assert list(found.findings) == ["Pleural Effusion", "large opacity"]
    known = compare(biovil_t, studies[0], studies[1], ["pleural effusion"])
    assert found.findings["Pleural Effusion"] == pytest.approx(known.findings["pleural effusion"], abs=1e-5)
    with pytest.raises(
        InputError, match="'edema' was not asked for; there are: Pleural Effusion, large opacity"
    ):
        found.state("edema")


def test_notes_say_what_is_out_of_the_ordinary(biovil_t, studies, make, tmp_path):
    import numpy as np

    tall = np.arange(160 * 80, dtype=np.uint16).reshape(160, 80)
    path = make.image(tmp_path / "ct.dcm", tall, Modality="CT", WindowCenter=6000, WindowWidth=12000)
    notes = " ".join(compare(biovil_t, path, studies[0]).notes)
    assert "The current study is of modality CT, not a chest X-ray." in notes
    assert "The studies differ in shape (160 x 80 and 83 x 101)" in notes


def test_what_cannot_be_compared(biovil, biovil_t, network, processor, studies, tmp_path):
    with pytest.raises(InputError, match="takes one image and compares none. Use medical/biovil-t"):
        compare(biovil, *studies[:2])
    with pytest.raises(InputError, match="The previous study cannot be used"):
        compare(biovil_t, studies[0], tmp_path / "gone.png")
    with pytest.raises(InputError, match="no findings to follow"):
        compare(biovil_t, *studies[:2], [])
    with pytest.raises(InputError, match="finding 0 is ' '"):
        compare(biovil_t, *studies[:2], [" "])
    with pytest.raises(InputError, match="asked for twice"):
        compare(biovil_t, *studies[:2], ["edema", "edema"])
    image = processor.config.image.model_copy(update={"size": 32})
    small = Processor(processor.config.model_copy(update={"image": image}), processor.tokenizer_json)
    with pytest.raises(InputError, match="compares images of 64 x 64 and its processor makes 32 x 32"):
        compare(Model(biovil_t.network, small), *studies[:2])


def test_many_pairs_answer_as_each_alone_and_a_bad_one_does_not_stop_them(biovil_t, studies, tmp_path):
    pairs = [studies[:2], (studies[0], tmp_path / "gone.png"), studies[1:3], (studies[2], None), studies[0]]
    answers = list(compare_each(biovil_t, pairs, ["edema"], phrase="edema", batch_size=2))
    for position in (0, 2):
        alone = compare(biovil_t, *pairs[position], ["edema"], phrase="edema")
        assert answers[position].findings["edema"] == pytest.approx(alone.findings["edema"], abs=1e-5)
        assert torch.allclose(answers[position].change.grid, alone.change.grid, atol=1e-5)
        assert (answers[position].current, answers[position].notes) == (alone.current, alone.notes)
    assert [isinstance(answer, Failure) for answer in answers] == [False, True, False, True, True]
    assert answers[1].id == str(studies[0])
    assert "The previous study cannot be used" in answers[1].error
    assert "The previous study cannot be used" in answers[3].error
    assert (answers[4].id, "give (current, previous)" in answers[4].error) == ("pair 4", True)
    with pytest.raises(InputError, match="the list of pairs is empty"):
        compare_each(biovil_t, [])
    with pytest.raises(ConfigError, match="batch_size is at least 1, got 0"):
        compare_each(biovil_t, [studies[:2]], batch_size=0)
    with pytest.raises(InputError, match="finding 0 is ' '"):
        compare_each(biovil_t, [studies[:2]], [" "])


def test_a_pair_costs_two_images_and_the_prompts_are_read_once(biovil_t, studies, monkeypatch):
    tower, seen, read = biovil_t.network.image_tower, [], []
    features, embed = tower._features, compare_module.embed_prompts
    monkeypatch.setattr(tower, "_features", lambda pixels: seen.append(len(pixels)) or features(pixels))
    monkeypatch.setattr(
        compare_module,
        "embed_prompts",
        lambda model, groups: read.append(len(groups)) or embed(model, groups),
    )
    list(compare_each(biovil_t, [studies[:2]] * 3, ["edema"], phrase="edema", batch_size=1))
    assert seen == [2, 2, 2]
    assert read == [4], "three states of a finding, and the phrase"


def test_pairs_are_embedded_with_and_without_a_previous_study(biovil_t, studies):
    pairs = [(studies[0], studies[1]), (studies[0], None), (studies[2], studies[2])]
    found = embed_pairs(biovil_t, pairs, batch_size=2)
    pixels = [biovil_t.processor("image", [biovil_t.load(path)])["pixels"] for path in studies]
    network = biovil_t.network
    pair = network.encode("image", {"pixels": pixels[0], "previous": pixels[1]})
    assert torch.allclose(found[0], pair[0].detach(), atol=1e-5)
    assert torch.allclose(found[1], biovil_t.embed(studies[0], modality="image").vectors[0], atol=1e-5)
    pooled = embed_pairs(biovil_t, pairs, state="pooled")
    assert pooled.shape == (3, 32)
    assert torch.allclose(
        pooled[1], network.image_states({"pixels": pixels[0]}).pooled[0].detach(), atol=1e-5
    )


def test_pairs_that_cannot_be_embedded(biovil, biovil_t, studies, tmp_path):
    with pytest.raises(InputError, match="compares none"):
        embed_pairs(biovil, [(studies[0], None)])
    with pytest.raises(InputError, match="list of pairs is empty"):
        embed_pairs(biovil_t, [])
    with pytest.raises(InputError, match="state is 'joint' or 'pooled'"):
        embed_pairs(biovil_t, [(studies[0], None)], state="raw")
    with pytest.raises(InputError, match="The previous study of pair 1 cannot be used"):
        embed_pairs(biovil_t, [(studies[0], None), (studies[0], tmp_path / "no.png")])
