"""ConceptCLIP's own protocol on the public sets: class words beside the patches."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn import metrics
from verticlip.core.checkpoint import load_strict
from verticlip.core.conversion import build_empty
from verticlip.core.errors import ConfigError, InputError
from verticlip.core.processing import Processor
from verticlip.core.prompts import PromptSet, prompt_set
from verticlip.domains.medical.conceptclip.convert import convert
from verticlip.domains.medical.conceptclip.scoring import PatchScorer, Weights, classify
from verticlip.domains.medical.tasks.evaluation_catalogue import evaluation_set, names
from verticlip.domains.medical.tasks.evaluation_sets import evaluate_all, evaluate_set, patch_scoring
from verticlip.domains.medical.tasks.evaluation_words import word_prompts
from verticlip.facade import Model


@pytest.fixture(scope="module")
def model(small_golden: Path) -> Model:
    case = small_golden / "conceptclip" / "tiny_a"
    files = {"weights": case / "weights.safetensors", "vocab": case / "vocab.txt"}
    made = convert("test/conceptclip", files, {"image_heads": 4, "text_heads": 4, "overlong": "truncate"})
    network = build_empty(made.config)
    load_strict(network, made.state, source="test")
    return Model(network.eval(), Processor(made.processor, made.tokenizer_json))


def fill(root: Path, labels: tuple[str, ...], count: int = 4) -> None:
    """Write ``count`` pictures of noise per class folder."""
    noise = np.random.default_rng(0)
    for label in labels:
        (root / label).mkdir(parents=True)
        for number in range(count):
            pixels = noise.integers(0, 255, (40, 40, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / label / f"{number}.png")


@pytest.mark.parametrize("name", names())
def test_every_set_can_be_measured_with_patches(model: Model, name: str) -> None:
    """Shipped sentences do not name their classes; no set could be asked about patches."""
    one, prompts = evaluation_set(name), prompt_set(name)
    filled = word_prompts(one, prompts)
    assert tuple(filled) == one.classes
    for label, some in filled.items():
        assert all(len(part.text[part.start : part.end]) > 2 for part in some), label
        assert all(part.text != part.text[part.start : part.end] for part in some), label
    texts = [part.text for some in filled.values() for part in some]
    assert len(set(texts)) == len(texts), "two classes would be told by the same sentence"
    scorer = PatchScorer.of(model, prompts, Weights(1.0, 3), filled=filled)
    assert scorer.words is not None
    assert scorer.words.shape == (len(one.classes), model.config.embed_dim)


def test_names_that_say_nothing_are_replaced() -> None:
    asked = word_prompts(evaluation_set("acl_mri"), prompt_set("acl_mri"))
    assert asked["yes"][0].text == "a knee MRI showing an anterior cruciate ligament tear"
    joined = word_prompts(evaluation_set("radimagenet"), prompt_set("radimagenet"))
    some = joined["abdominal CT: bil dil"][0]
    assert some.text[some.start : some.end] == "dilated bile ducts"
    own = PromptSet(name="own", classes={"YES": ("torn",), "no": ("whole",)}, templates=("it is {}",))
    assert [one[0].text for one in word_prompts(evaluation_set("acl_mri"), own).values()] == [
        "it is whole",
        "it is torn",
    ]
    with pytest.raises(ConfigError, match="'other' has no class 'no' of acl_mri"):
        word_prompts(evaluation_set("acl_mri"), PromptSet(name="other", classes={"x": ("x",)}))


def test_scores_and_auc_are_those_of_the_protocol(model: Model, tmp_path: Path) -> None:
    classes = evaluation_set("LC25000_lung").classes
    fill(tmp_path / "LC25000_lung", classes)
    told: list[tuple[int, int]] = []
    result = evaluate_set(
        model, "LC25000_lung", tmp_path, out=tmp_path / "out", scoring=patch_scoring(0.25, 5), batch_size=5,
        progress=lambda done, total: told.append((done, total)),
    )  # fmt: skip
    scorer = PatchScorer.of(
        model,
        prompt_set("LC25000_lung"),
        Weights(0.25, 5),
        filled=word_prompts(evaluation_set("LC25000_lung"), prompt_set("LC25000_lung")),
    )
    from verticlip.core.inputs import fitted_batches

    files = [path for name in classes for path in sorted((tmp_path / "LC25000_lung" / name).iterdir())]
    scores = torch.cat(
        [scorer.scores(some) for some in fitted_batches(model, files, batch_size=3, options={})]
    ).numpy()
    targets = np.repeat(np.arange(3), 4)
    assert result.metrics["accuracy"].value == (scores.argmax(1) == targets).mean()
    want = np.mean([metrics.roc_auc_score(targets == k, scores[:, k]) for k in range(3)])
    assert result.metrics["macro_auc"].value == pytest.approx(want, abs=1e-6)
    assert result.origin["local_weight"] == "0.25"
    assert result.origin["topk"] == "5"
    assert len(result.origin["word_prompts"]) == 64
    assert json.loads((tmp_path / "out" / "report.json").read_text())["local_weight"] == "0.25"
    assert told == [(5, 12), (10, 12), (12, 12)]


def test_without_patches_only_whole_images_count(model: Model, tmp_path: Path) -> None:
    fill(tmp_path / "rsna_pneumonia", ("Normal", "Pneumonia"))
    plain = evaluate_set(model, "rsna_pneumonia", tmp_path)
    none = evaluate_set(model, "rsna_pneumonia", tmp_path, scoring=patch_scoring(0.0))
    assert none.confusion == plain.confusion
    assert none.metrics["auc"].value == pytest.approx(plain.metrics["auc"].value)
    assert "macro_auc" not in none.metrics


def test_a_bad_image_and_another_model(model: Model, model_folder: Path, tmp_path: Path) -> None:
    fill(tmp_path / "rsna_pneumonia", ("Normal", "Pneumonia"), 2)
    (tmp_path / "rsna_pneumonia" / "Normal" / "bad.png").write_bytes(b"nonsense")
    table = evaluate_all(model, tmp_path, sets=["rsna_pneumonia"], scoring=patch_scoring())
    result = table.results["rsna_pneumonia"]
    assert (result.images, [one.id for one in result.failures]) == (4, ["Normal/bad.png"])
    import verticlip

    other = verticlip.from_pretrained(model_folder)
    with pytest.raises(InputError, match="is of architecture 'contrastive'; scores of patches need"):
        evaluate_set(other, "rsna_pneumonia", tmp_path, scoring=patch_scoring())
    with pytest.raises(ConfigError, match="local_weight is a share"):
        patch_scoring(2.0)


def test_the_verb_is_exported(model: Model) -> None:
    from verticlip.domains.medical import tasks

    assert tasks.classify is classify
    assert not hasattr(tasks, "zero_shot"), "the verb of that name is verticlip.zero_shot"
