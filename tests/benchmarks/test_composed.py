"""The benchmark of composed queries on vectors whose answers are known."""

from __future__ import annotations

import torch
from torch.nn import functional as F
from verticlip.benchmarks import composed as bench
from verticlip.domains.ecommerce.facts import COLORS
from verticlip.domains.ecommerce.readers import CLASSES


def vector(kind: str | None, color: str | None) -> torch.Tensor:
    found = torch.zeros(len(CLASSES) + len(COLORS) + 1)
    found[-1] = 0.3
    if kind in CLASSES:
        found[CLASSES.index(kind)] = 1.0
    if color in COLORS:
        found[len(CLASSES) + COLORS.index(color)] = 0.8
    return F.normalize(found, dim=0)


def encode(texts):
    """The last color of a text counts; "not" is read past, as models do."""
    rows = []
    for text in texts:
        words = text.replace(",", " ").split()
        colors = [word for word in words if word in COLORS]
        kinds = [word for word in words if word in CLASSES]
        rows.append(vector(kinds[-1] if kinds else None, colors[-1] if colors else None))
    return torch.stack(rows)


def photos(copies: int) -> bench.Photos:
    named = [(kind, color) for kind in CLASSES for color in COLORS[:5] for _ in range(copies)]
    noise = 0.02 * torch.randn(
        len(named), len(CLASSES) + len(COLORS) + 1, generator=torch.Generator().manual_seed(copies)
    )
    vectors = F.normalize(torch.stack([vector(*one) for one in named]) + noise, dim=-1)
    holds = [frozenset([color]) for _, color in named]
    return bench.Photos(vectors, [kind for kind, _ in named], holds, holds, [color for _, color in named])


def test_words_change_the_color_and_keep_the_kind():
    found = bench.measure_changes(encode, photos(1), photos(8))
    assert found["queries"] > 50
    rates = {name: row["hit_recall@1"]["value"] for name, row in found["found"].items()}
    assert rates["photo alone"] == 0.0
    assert rates["words alone"] < 0.5
    assert rates["pdv, its color and kind"] > 0.9
    assert set(found["fitted"]) == {
        "nothing is said of the photo", "the nearest kind", "its kind", "its color and kind",
    }  # fmt: skip


def test_a_color_that_is_not_wanted_goes_and_the_kind_stays():
    found = bench.measure_negatives(encode, photos(1), photos(8))
    assert found["words"]["queries"] == found["photos"]["queries"] == 50
    asked, kept = (found["photos"]["shares"][name] for name in ("as asked", "project 2"))
    assert asked["has the color"] > 0.7
    assert kept["has the color"] < 0.05
    assert kept["of the kind"] > 0.9
    said = found["words"]["shares"]["'not' in the words"]
    assert said["has the color"] > 0.7, "a model that reads past 'not' finds what is not wanted"
