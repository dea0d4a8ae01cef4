from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F
from verticlip.core.errors import ConfigError, InputError
from verticlip.core.prompts import PromptSet
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
    filled = filled_prompts(prompts, "chest lesion")
    network, processor = model.network, model.processor
    got = word_vectors(network, processor, filled)[0]
    inputs = processor("text", [filled[0].text])
    states = network.encode_tokens("text", inputs, project=True).tokens[0]
    count = len(processor("text", ["chest lesion"])["input_ids"][0]) - 2
    torch.testing.assert_close(got, states[-1 - count : -1].mean(0))
    # The published script reads "chest" where the template has it.
    published = word_vectors(network, processor, filled, reads="first_occurrence")[0]
    torch.testing.assert_close(published, torch.stack([states[2], *states[-count:-1]]).mean(0))


def test_ready_sentences_need_the_words_of_their_class(model, picture):
    ready = PromptSet(
        name="x",
        classes={"nodule": ("nodule",), "normal": ("normal", "no finding")},
        prompts={"nodule": ("a Nodule of the lung",), "normal": ("lung shows no finding",)},
    )
    assert [(one.start, one.end) for one in filled_prompts(ready, "nodule")] == [(2, 8)]
    assert [(one.start, one.end) for one in filled_prompts(ready, "normal")] == [(11, 21)]
    assert len(classify(model, [picture], templates=ready)) == 1
    silent = ready.model_copy(update={"prompts": {"nodule": ("a round thing",)}})
    with pytest.raises(
        InputError, match=r"'a round thing' of class 'nodule' has none of its words \(nodule\)"
    ):
        classify(model, [picture], templates=silent)
    # The whole picture can still be compared with such a sentence.
    assert len(classify(model, [picture], templates=silent, local_weight=0.0)) == 1


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
    with pytest.raises(ConfigError, match="is of architecture 'contrastive'; scores of patches need"):
        classify(other, picture, ["cat", "dog"])
    with pytest.raises(ConfigError, match="local_weight"):
        mix(torch.zeros(1, 2), None, local_weight=-0.1)
