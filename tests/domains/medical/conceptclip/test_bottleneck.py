from __future__ import annotations

import numpy as np
import pytest
import torch
import verticlip
from verticlip.core.errors import ConfigError, InputError
from verticlip.core.heads.bottleneck import BottleneckTraining
from verticlip.domains.medical.conceptclip.bottleneck import (
    compare_with_probe,
    concept_embeddings,
    explain,
    fit_bottleneck,
)

CONCEPTS = {"red": ["red square", "red"], "blue": ["blue square", "blue"]}
# Random towers: only centred scores tell pictures apart.
QUICK = BottleneckTraining(lr=0.05, epochs=60, center=True)


@pytest.fixture(scope="module")
def plain(model_folder):
    return verticlip.from_pretrained(model_folder)


@pytest.fixture(scope="module")
def pictures():
    rng = np.random.default_rng(0)
    items, labels = [], []
    for number in range(40):
        picture = rng.integers(0, 60, (16, 16, 3), dtype=np.uint8)
        picture[4:12, 4:12, 0 if number % 2 else 2] = 230
        items.append(picture)
        labels.append("red" if number % 2 else "blue")
    return items, labels


def test_it_is_fitted_explained_and_compared_on_any_model(plain, pictures, tmp_path):
    from verticlip.core.heads.base import load_head, save_head

    items, labels = pictures
    head = fit_bottleneck(plain, items[:30], labels[:30], concepts=CONCEPTS, training=QUICK, batch_size=4)
    assert head.class_names == ("red", "blue")
    published = fit_bottleneck(plain, items, labels, concepts=CONCEPTS, training=BottleneckTraining(epochs=1))
    assert published.scale == pytest.approx(plain.network.scale().item())
    embedded = plain.embed(items, batch_size=4)
    again = fit_bottleneck(plain, plain.embed(items[:30]), labels[:30], concepts=CONCEPTS, training=QUICK)
    torch.testing.assert_close(again.matrix, head.matrix, atol=1e-4, rtol=0)
    report = compare_with_probe(
        head, (embedded.vectors[:30], labels[:30]), (embedded.vectors[30:], labels[30:])
    )
    assert report.bottleneck.value >= 0.9
    assert "4 concepts" in str(report)
    told = explain(plain, head, items[1])[0]
    assert told.label == "red"
    assert str(told).startswith("red  probability")
    save_head(head, tmp_path)
    loaded = load_head(tmp_path)
    torch.testing.assert_close(loaded.scores(embedded.vectors), head.scores(embedded.vectors))


def test_concepts_without_classes_and_a_template(plain, pictures):
    items, labels = pictures
    head = fit_bottleneck(
        plain, items, labels, concepts=["red", "blue", "cat"], template="an image of {}", training=QUICK
    )
    assert head.class_names == ("blue", "red")
    torch.testing.assert_close(
        head.concept_weights, plain.embed(["an image of red", "an image of blue", "an image of cat"]).vectors
    )


def test_bad_input_is_named(plain, pictures):
    items, _ = pictures
    with pytest.raises(ConfigError, match="template needs exactly one"):
        concept_embeddings(plain, ["red"], template="red")
    with pytest.raises(InputError, match="list of at least one"):
        concept_embeddings(plain, [])
    with pytest.raises(
        InputError, match=r"label 1 is 'rod', which is none of the classes red, blue. Did you mean 'red'"
    ):
        fit_bottleneck(plain, items[:2], ["red", "rod"], concepts=CONCEPTS)
    with pytest.raises(InputError, match="text embeddings of"):
        fit_bottleneck(plain, plain.embed(["red", "blue"]), ["red", "blue"], concepts=CONCEPTS)
    with pytest.raises(InputError, match="Class 'blue' has no training rows"):
        fit_bottleneck(plain, items[:1], ["red"], concepts=CONCEPTS)


@pytest.mark.data
def test_chest_pictures_through_named_concepts(data_dir):
    """The bundled model on real films: within ten points of a linear probe, and far above chance."""
    from verticlip.domains.medical.readers import read_medmnist_npz

    model = verticlip.from_pretrained("medical/tiny")
    path = data_dir / "medical" / "chest_xray_28" / "train_val.npz"
    rows = read_medmnist_npz(path, labels=["normal", "pneumonia"])
    parts = []
    for split in ("train", "val"):
        some = [row for row in rows if row["split"] == split]
        # Every fifth film, so that both classes are there whatever the order.
        some = some[:: len(some) // 150]
        samples = [model.load(row["path"], **row["locator"]) for row in some]
        parts.append(
            (model.embed(samples, modality="image", batch_size=32).vectors, [row["label"] for row in some])
        )
    concepts = {
        "normal": ["clear lungs", "normal heart size"],
        "pneumonia": ["consolidation", "lung opacity", "pneumonia"],
    }
    training = BottleneckTraining(lr=0.05, epochs=100)
    head = fit_bottleneck(model, *parts[0], concepts=concepts, training=training)
    report = compare_with_probe(head, *parts)
    assert report.bottleneck.value > 0.8
    assert report.probe.value - report.bottleneck.value < 0.1
