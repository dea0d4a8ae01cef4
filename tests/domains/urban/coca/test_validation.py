"""The reference's evaluation, written out again."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from verticlip.core.errors import InputError
from verticlip.core.types import Batch
from verticlip.domains.urban.coca.validation import evaluate_pairs, retrieval_metrics

sys.path.insert(0, str(Path(__file__).parent))

import make_coca


def batches(pixels, ids, size):
    pairs = zip(pixels.split(size), ids.split(size), strict=True)
    return [Batch({"image": {"pixels": a}, "text": {"input_ids": b}}) for a, b in pairs]


def reference_ranks(images, texts, scale):
    logits = scale * images @ texts.T
    found = {}
    for name, one in (("image_to_text", logits), ("text_to_image", logits.T)):
        order = torch.argsort(one, descending=True, stable=True)
        place = torch.where(order == torch.arange(len(one)).view(-1, 1))[1].numpy()
        found[f"{name}_mean_rank"] = place.mean() + 1
        found[f"{name}_median_rank"] = np.floor(np.median(place)) + 1
        found |= {f"{name}_R@{k}": np.mean(place < k) for k in (1, 5, 10)}
    return found


@pytest.mark.parametrize("size", [1, 3, 5, 11])
def test_losses_are_weighted_by_batches(size):
    theirs, ours = make_coca.pair()
    pixels, ids = make_coca.images(11), make_coca.texts(11)
    found = evaluate_pairs(ours, batches(pixels, ids, size))
    clip = words = padded = published = 0.0
    with torch.no_grad():
        for number, (a, b) in enumerate(zip(pixels.split(size), ids.split(size), strict=True)):
            out = theirs(a, b)
            logits = out["logit_scale"] * out["image_features"] @ out["text_features"].T
            target = torch.arange(len(a))
            clip += (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2 * len(a)
            both = out["logits"].permute(0, 2, 1), out["labels"]
            words += F.cross_entropy(*both, ignore_index=0) * len(a)
            padded += F.cross_entropy(*both) * len(a)
            if number % 100 == 0:
                published += F.cross_entropy(*both) * len(a)
        whole = theirs(pixels, ids)
    assert found["clip_val_loss"] == pytest.approx(float(clip) / 11, abs=1e-5)
    assert found["val_generative_loss"] == pytest.approx(float(words) / 11, abs=1e-5)
    assert found["val_generative_loss_with_pad"] == pytest.approx(float(padded) / 11, abs=1e-5)
    assert found["published_generative_loss"] == pytest.approx(float(published) / 11, abs=1e-5)
    ranks = reference_ranks(whole["image_features"], whole["text_features"], whole["logit_scale"])
    assert {name: found[name] for name in ranks} == pytest.approx(ranks)
    assert found["num_samples"] == 11


def test_padding_further_changes_no_loss_over_words():
    ours = make_coca.pair()[1]
    pixels, ids = make_coca.images(5), make_coca.texts(6)[1:]
    longest = int((ids != 0).sum(1).max())
    short, long = (evaluate_pairs(ours, batches(pixels, ids[:, :end], 2)) for end in (longest, 14))
    assert short["val_generative_loss"] == pytest.approx(long["val_generative_loss"], abs=1e-5)
    assert short["clip_val_loss"] == pytest.approx(long["clip_val_loss"], abs=1e-5)


@pytest.mark.parametrize("rows", [1, 2, 7, 1500])
def test_ranks_of_any_number_of_pairs(rows):
    generator = torch.Generator().manual_seed(rows)
    images, texts = (F.normalize(torch.randn(rows, 16, generator=generator), dim=1) for _ in range(2))
    images = F.normalize(images + texts, dim=1)
    found = retrieval_metrics(images, texts, torch.tensor(14.3))
    assert found == pytest.approx(reference_ranks(images, texts, torch.tensor(14.3)))


def test_equal_captions_are_wrong_answers_to_each_other():
    eye = torch.eye(4)
    found = retrieval_metrics(eye, eye[[0, 0, 2, 3]], torch.tensor(10.0))
    # The second caption looks like the first image: its own image is behind, by order or by likeness.
    assert found["image_to_text_R@1"] == 0.75
    assert found["text_to_image_mean_rank"] == pytest.approx(1.25)
    collapsed = retrieval_metrics(torch.ones(4, 1), torch.ones(4, 1), torch.tensor(10.0))
    assert collapsed["image_to_text_mean_rank"] == 2.5


def test_an_all_padded_batch_and_none_at_all():
    ours = make_coca.pair()[1].train()
    ids = make_coca.texts(3)
    ids[:, 1:] = 0
    found = evaluate_pairs(ours, batches(make_coca.images(3), ids, 3))
    assert found["val_generative_loss"] == 0.0
    assert ours.training
    with pytest.raises(InputError, match="no pairs"):
        evaluate_pairs(ours, [])
