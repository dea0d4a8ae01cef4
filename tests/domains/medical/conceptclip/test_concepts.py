from __future__ import annotations

import json

import pytest
import torch
from torch.nn import functional as F
from verticlip.core.answers import Failure
from verticlip.core.config import read_config
from verticlip.core.errors import ConfigError, InputError
from verticlip.domains.medical.conceptclip.concepts import (
    LISTS,
    AnnotationRule,
    ConceptLists,
    ConceptSet,
    annotate,
    annotate_each,
    concept_set,
)
from verticlip.domains.medical.tasks import ground

ASKED = ConceptSet(
    positive="This is dermoscopy of {}.",
    negative="This is dermoscopy.",
    concepts=("pigment network", "streaks", "blue veil"),
)


def test_records_by_hand(model, picture):
    got = annotate(model, picture, ASKED)[0]
    network, processor = model.network, model.processor
    images = processor("image", [picture])
    image = network.encode("image", images)[0]
    patches = F.normalize(network.encode_tokens("image", images, project=True).tokens[0], dim=-1)
    for score in got.scores:
        texts = [ASKED.negative, ASKED.positive.replace("{}", score.concept)]
        whole = (network.scale() * network.encode("text", processor("text", texts)) @ image).softmax(0)
        states = [
            network.encode_tokens("text", processor("text", [text]), project=True).tokens[0] for text in texts
        ]
        count = len(processor("text", [score.concept])["input_ids"][0]) - 2
        # "dermoscopy of" before it, ". [SEP]" behind it.
        vectors = torch.stack([states[0][1:-1].mean(0), states[1][-2 - count : -2].mean(0)])
        local = (network.concept_scale() * patches @ F.normalize(vectors, dim=-1).T).mean(0).softmax(0)
        assert score.whole == pytest.approx(whole[1].item(), abs=1e-5)
        assert score.local == pytest.approx(local[1].item(), abs=1e-5)
        assert score.score == pytest.approx((whole[1] + local[1]).item() / 2, abs=1e-5)
    assert [one.concept for one in got.scores] == list(ASKED.concepts)
    assert got.maps == ()
    assert got.best(1)[0].score == max(one.score for one in got.scores)
    assert json.loads(json.dumps(got.to_dict()))["concepts"][0]["concept"] == "pigment network"


def test_the_published_rule_depends_on_the_padded_length(model, picture):
    rule = AnnotationRule(reads="last_position")
    got = annotate(model, picture, ASKED, rule=rule)[0]
    assert all(0.26 < one.score < 0.74 for one in got.scores), "a softmax of probabilities"
    ours = annotate(model, picture, ASKED)[0]
    assert got.scores[0].whole == pytest.approx(ours.scores[0].whole, abs=1e-6)
    assert got.scores[0].local != pytest.approx(ours.scores[0].local, abs=1e-6)


def test_maps_lie_over_the_file(model, picture):
    got = annotate(model, [picture, 255 - picture], ["lung nodule", "edema"], maps=True)
    assert len(got) == 2
    shown = got[0].maps
    assert [one.phrase for one in shown] == ["lung nodule", "edema"]
    assert shown[0].values.shape == (40, 52)
    assert shown[0].grid.shape == (4, 4)
    assert torch.isfinite(shown[0].values).all()
    assert shown[0].score == got[0].scores[0].score
    plain = annotate(
        model, picture, ["lung nodule", "edema"], maps=True, rule=AnnotationRule(reads="last_position")
    )
    torch.testing.assert_close(plain[0].maps[0].grid, shown[0].grid, atol=1e-4, rtol=0)


def test_many_concepts_are_encoded_in_bounded_batches_and_the_negative_once(model, picture, monkeypatch):
    network, seen = model.network, []
    run = network._run

    def counted(modality, inputs, **options):
        if modality == "text":
            seen.append(inputs["input_ids"])
        return run(modality, inputs, **options)

    monkeypatch.setattr(network, "_run", counted)
    words = [f"finding {number}" for number in range(200)]
    got = annotate(model, [picture] * 3, words, batch_size=1)
    # Once for the whole sentences and once for their words, however many pictures there are.
    assert sum(map(len, seen)) == 2 * (1 + len(words))
    assert max(ids.numel() for ids in seen) <= 1024
    alone = annotate(model, picture, words[5:6])[0].scores[0]
    assert got[0].scores[5].score == pytest.approx(alone.score, abs=1e-5)


def test_each_tells_a_bad_picture_apart(model, picture, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"nonsense")
    items = [picture, tmp_path / "bad.png", 255 - picture]
    first, failure, last = annotate_each(model, items, ["edema"], batch_size=2)
    assert isinstance(failure, Failure)
    assert failure.id == str(tmp_path / "bad.png")
    both = annotate(model, [picture, 255 - picture], ["edema"])
    assert [one.scores[0].score for one in (first, last)] == pytest.approx(
        [one.scores[0].score for one in both], abs=1e-6
    )


def test_a_phrase_said_in_a_sentence_has_the_map_of_its_annotation(model, picture):
    """Grounding a bare phrase and annotating it showed different maps, with no way to say the sentence."""
    asked = ConceptSet(concepts=("lung nodule",))
    shown = annotate(model, picture, asked, maps=True)[0].maps[0]
    said = ground(model, picture, ["lung nodule"], template=asked.positive)[0][0]
    torch.testing.assert_close(said.grid, shown.grid, atol=1e-4, rtol=0)
    bare = ground(model, picture, ["lung nodule"])[0][0]
    assert not torch.allclose(bare.grid, shown.grid, atol=1e-3)


def test_the_lists_of_the_package():
    lists = read_config(ConceptLists, LISTS)
    assert lists.version == "1"
    assert {"chest-radiology", "dermoscopy", "histopathology", "fundus", "brain-mri"} <= set(lists.lists)
    for name, one in lists.lists.items():
        words = [concept.casefold() for concept in one.concepts]
        assert len(set(words)) == len(words) >= 10, name
    assert concept_set("fundus").positive.count("{}") == 1
    with pytest.raises(ConfigError, match=r"No concept list 'dermascopy'.*Did you mean 'dermoscopy'"):
        concept_set("dermascopy")


def test_bad_questions_are_named(model, picture, tmp_path):
    with pytest.raises(InputError, match="labels is empty"):
        annotate(model, picture, [])
    with pytest.raises(InputError, match="read the same"):
        annotate(model, picture, ["edema", "Edema"])
    with pytest.raises(ValueError, match="exactly one {}"):
        ConceptSet(positive="dermoscopy", concepts=("streaks",))
    with pytest.raises(ValueError, match="has no {}"):
        ConceptSet(negative="no {}", concepts=("streaks",))
    with pytest.raises(InputError, match="'edema' have no tokens of their own"):
        annotate(model, picture, ConceptSet(positive="signal " * 30 + "{}", concepts=("edema",)))
    with pytest.raises(ConfigError, match="local_weight is a share"):
        annotate(model, picture, ["edema"], rule=AnnotationRule(local_weight=2.0))
    path = tmp_path / "lists.yaml"
    path.write_text("version: '1'\nlists: {x: {concepts: []}}\n")
    with pytest.raises(ConfigError, match=r"lists\.yaml: lists\.x\.concepts"):
        concept_set("x", path=path)
