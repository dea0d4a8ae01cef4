from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F
from verticlip.core.errors import ConfigError, InputError
from verticlip.core.prompts import PromptSet, prompt_set
from verticlip.domains.medical.conceptclip.scoring import (
    classify,
    classify_findings,
    filled_prompts,
    local_logits,
    mix,
    word_vectors,
)

NAMES = ["no finding", "pleural effusion", "lung nodule"]
TEMPLATES = ["a chest radiology presents {}", "medical image showing {}"]


def test_without_patches_it_is_plain_clip(model, picture):
    got = classify(model, [picture], NAMES, templates=TEMPLATES, local_weight=0.0)[0]
    image = model.embed(picture).vectors[0]
    texts = [
        F.normalize(model.embed([t.replace("{}", name) for t in TEMPLATES]).vectors.mean(0), dim=0)
        for name in NAMES
    ]
    scale = model.network.scale().item()
    want = (scale * torch.stack(texts) @ image).softmax(0)
    torch.testing.assert_close(torch.tensor(list(got.scores.values())), want, atol=1e-5, rtol=0)
    # Biases are not used, so the order is that of the model's own sigmoid scores.
    plain = model.classify(picture, NAMES, templates=TEMPLATES)[0]
    assert sorted(NAMES, key=got.scores.get) == sorted(NAMES, key=plain.scores.get)


def test_scores_are_a_mix_and_do_not_depend_on_the_batch(model, picture):
    items = [picture, 255 - picture, picture // 2]
    some = {
        weight: classify(model, items, NAMES, templates=TEMPLATES, local_weight=weight, topk=5)
        for weight in (0.0, 0.25, 1.0)
    }
    for whole, mixed, local in zip(*some.values(), strict=True):
        assert sum(mixed.scores.values()) == pytest.approx(1.0, abs=1e-5)
        for name in NAMES:
            want = 0.75 * whole.scores[name] + 0.25 * local.scores[name]
            assert mixed.scores[name] == pytest.approx(want, abs=1e-6)
    one = classify(model, items[2], NAMES, templates=TEMPLATES, local_weight=0.25, topk=5, batch_size=1)[0]
    assert one.scores == pytest.approx(some[0.25][2].scores, abs=1e-6)
    assert one.label == max(one.scores, key=one.scores.get)
    assert one.score == one.scores[one.label]
    assert (one.model, one.processor) == (model.id, model.processor.fingerprint)


def test_files_keep_their_name(model, picture, tmp_path):
    from PIL import Image

    Image.fromarray(picture).save(tmp_path / "x.png")
    got = classify(model, tmp_path / "x.png", NAMES, templates=TEMPLATES)[0]
    assert got.id == str(tmp_path / "x.png")
    assert got.meta
    array = classify(model, picture, NAMES, templates=TEMPLATES)[0]
    assert got.scores == pytest.approx(array.scores, abs=1e-5)


def test_several_findings_at_once(model, picture):
    got = classify_findings(model, picture, NAMES, templates=TEMPLATES, local_weight=0.0)[0]
    single = classify(model, picture, NAMES, templates=TEMPLATES, local_weight=0.0)[0]
    logits = torch.logit(torch.tensor(list(got.scores.values()), dtype=torch.float64))
    torch.testing.assert_close(
        logits.softmax(0).float(), torch.tensor(list(single.scores.values())), atol=1e-4, rtol=0
    )
    both = classify_findings(model, picture, NAMES[:1], templates=TEMPLATES)[0]
    assert 0 < both.score < 1, "one class alone is a legal question"


def test_words_are_read_where_the_class_stands(model):
    """A word of the class that also occurs earlier in the template does not count."""
    prompts = PromptSet.from_labels(["chest lesion"], templates=["a chest radiology presents {}"])
    filled = filled_prompts(prompts)["chest lesion"]
    network, processor = model.network, model.processor
    got = word_vectors(network, processor, filled)[0]
    inputs = processor("text", [filled[0].text])
    states = network.encode_tokens("text", inputs, project=True).tokens[0]
    count = len(processor("text", ["chest lesion"])["input_ids"][0]) - 2
    torch.testing.assert_close(got, states[-1 - count : -1].mean(0))
    # The published script reads "chest" where the template has it.
    published = word_vectors(network, processor, filled, reads="first_occurrence")[0]
    torch.testing.assert_close(published, torch.stack([states[2], *states[-count:-1]]).mean(0))


def test_ready_sentences_that_name_their_class_are_read_there(model, picture):
    ready = PromptSet(
        name="x",
        classes={"nodule": ("nodule",), "normal": ("normal", "no finding")},
        prompts={"nodule": ("a Nodule of the lung",), "normal": ("lung shows no finding",)},
    )
    filled = filled_prompts(ready)
    assert [(one.start, one.end) for one in filled["nodule"]] == [(2, 8)]
    assert [(one.start, one.end) for one in filled["normal"]] == [(11, 21)]
    assert len(classify(model, [picture], templates=ready)) == 1


def test_sentences_that_do_not_name_their_class_leave_the_words_to_a_template(model, picture):
    silent = PromptSet(
        name="x",
        classes={"nodule": ("nodule", "coin lesion"), "normal": ("no finding",)},
        prompts={"nodule": ("a round thing",), "normal": ("lung shows no finding",)},
    )
    filled = filled_prompts(silent)
    # All classes are asked alike, so that none is at an advantage.
    assert {name: [one.text for one in some] for name, some in filled.items()} == {
        "nodule": ["a medical image of nodule"],
        "normal": ["a medical image of no finding"],
    }
    one = filled_prompts(silent, template="{} on a chest X-ray")["nodule"][0]
    assert (one.text, one.start, one.end) == ("nodule on a chest X-ray", 0, 6)
    assert len(classify(model, [picture], templates=silent)) == 1
    with pytest.raises(ConfigError, match=r"template needs exactly one \{\} where the words go, got 'x'"):
        filled_prompts(silent, template="x")


def test_class_words_are_whole_words_and_the_longest(model):
    """ "normal" is not in "abnormal", nor "adi" in "adipocytes"; case folding must not move the place."""
    inside = PromptSet(
        name="x",
        classes={"normal": ("normal",), "adi": ("adi",)},
        prompts={"normal": ("an abnormal lung",), "adi": ("mature adipocytes",)},
    )
    assert [one.text for some in filled_prompts(inside).values() for one in some] == [
        "a medical image of normal",
        "a medical image of adi",
    ]
    both = PromptSet(
        name="x",
        classes={"effusion": ("effusion", "pleural effusion"), "sharp s": ("mass",)},
        prompts={
            "effusion": ("pleural effusion, not an effusion of the heart",),
            "sharp s": ("Straße und Stoß: mass",),
        },
    )
    filled = filled_prompts(both)
    found = {name: some[0].text[some[0].start : some[0].end] for name, some in filled.items()}
    assert found == {"effusion": "pleural effusion", "sharp s": "mass"}


def test_every_shipped_prompt_set_can_be_asked(model):
    """Sentences of a set that do not name its classes stopped every question about patches."""
    from verticlip.core import registry

    for name in registry.room("medical").prompts:
        prompts = prompt_set(name)
        filled = filled_prompts(prompts)
        assert tuple(filled) == prompts.class_names
        for some in filled.values():
            assert all(one.text[one.start : one.end].strip() for one in some)
            assert some


def test_many_words_are_encoded_in_bounded_batches(model, monkeypatch):
    network, sizes = model.network, []
    encode = network.encode_tokens

    def counted(modality, inputs, **options):
        sizes.append(inputs["input_ids"].shape)
        return encode(modality, inputs, **options)

    monkeypatch.setattr(network, "encode_tokens", counted)
    labels = [f"finding number {number}" for number in range(300)]
    filled = filled_prompts(PromptSet.from_labels(labels))
    listed = [one for some in filled.values() for one in some]
    got = word_vectors(network, model.processor, listed)
    assert len(sizes) > 1
    assert max(rows * length for rows, length in sizes) <= 1024
    torch.testing.assert_close(got[7:8], word_vectors(network, model.processor, listed[7:8]))


def test_the_best_patches_count(network):
    patches = torch.randn(2, 16, 48, generator=torch.Generator().manual_seed(0))
    concepts = torch.randn(3, 48, generator=torch.Generator().manual_seed(1))
    cosines = F.normalize(patches, dim=-1) @ F.normalize(concepts, dim=-1).T
    scale = network.concept_scale()
    want = scale * cosines.sort(dim=1, descending=True).values[:, :4].mean(1)
    torch.testing.assert_close(local_logits(network, patches, concepts, topk=4), want)
    everything = scale * cosines.mean(1)
    for topk in (None, 16, 128):
        torch.testing.assert_close(local_logits(network, patches, concepts, topk=topk), everything)


def test_bad_questions_are_named(model, picture, model_folder):
    with pytest.raises(ConfigError, match="local_weight is a share from 0 to 1, got 1.5"):
        classify(model, picture, NAMES, templates=TEMPLATES, local_weight=1.5)
    with pytest.raises(ConfigError, match="topk must be at least 1"):
        classify(model, picture, NAMES, templates=TEMPLATES, topk=0)
    with pytest.raises(ConfigError, match="batch_size is at least 1"):
        classify(model, picture, NAMES, templates=TEMPLATES, batch_size=0)
    with pytest.raises(InputError, match="labels is empty"):
        classify(model, picture, [], templates=TEMPLATES)
    with pytest.raises(InputError, match="empty"):
        classify(model, [], NAMES, templates=TEMPLATES)
    with pytest.raises(ConfigError, match="exactly one"):
        classify(model, picture, NAMES, templates=["a chest radiology"])
    long = ["signal " * 30 + "{}"]
    with pytest.raises(InputError, match="'no finding' have no tokens of their own"):
        classify(model, picture, NAMES, templates=long)
    import verticlip

    other = verticlip.from_pretrained(model_folder)
    with pytest.raises(InputError, match="is of architecture 'contrastive'; scores of patches need"):
        classify(other, picture, ["cat", "dog"])
    with pytest.raises(ConfigError, match="local_weight"):
        mix(torch.zeros(1, 2), None, local_weight=-0.1)
