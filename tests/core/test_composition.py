"""Composed queries: parity with the stored cases, limits of the formula, negative words, bad input."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional as F
from verticlip.core.composition import direction, pdv, weighted_sum, without
from verticlip.core.errors import InputError
from verticlip.core.verify import replay


def vectors(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_the_worked_case_is_replayed(small_golden):
    report = replay("core", small_golden / "core" / "formula.pdv")
    assert report.passed
    assert [check.name for check in report.checks if check.status == "ok"] == [
        "delta", "pdv_fused", "pdv_image", "pdv_text", "ranking", "similarity",
    ]  # fmt: skip


def test_the_authors_function_is_met(small_golden):
    folder = small_golden / "ecommerce" / "pdv"
    inputs, expected = (load_file(folder / f"{name}.safetensors") for name in ("inputs", "outputs"))
    for setting in json.loads((folder / "config.json").read_text())["settings"]:
        wanted = expected[setting.pop("output")]
        got = pdv(inputs["image"], inputs["text"], inputs["text_composed"], **setting)
        torch.testing.assert_close(got, wanted, atol=1e-6, rtol=0)
    torch.testing.assert_close(
        direction(inputs["text"], inputs["text_composed"]), expected["pdv"], atol=1e-6, rtol=0
    )


def test_the_ends_of_the_formula():
    image, words, composed = vectors(3, 4, 16)
    torch.testing.assert_close(pdv(image, words, composed), F.normalize(composed, dim=-1))
    torch.testing.assert_close(
        pdv(image, words, composed, beta=0.0, alpha_image=0.0), F.normalize(image, dim=-1)
    )
    # Lengths of what comes in do not matter.
    scaled = pdv(7 * image, 0.1 * words, 3 * composed, alpha_image=1.4, alpha_text=0.3, beta=0.4)
    torch.testing.assert_close(scaled, pdv(image, words, composed, alpha_image=1.4, alpha_text=0.3, beta=0.4))


def test_weighted_sum_has_both_ends():
    image, words = vectors(2, 3, 8)
    torch.testing.assert_close(weighted_sum(image, words, weight=1.0), F.normalize(image, dim=-1))
    torch.testing.assert_close(weighted_sum(image, words, weight=0.0), F.normalize(words, dim=-1))
    middle = weighted_sum(image, words)
    same = (middle * F.normalize(image, dim=-1)).sum(-1) - (middle * F.normalize(words, dim=-1)).sum(-1)
    torch.testing.assert_close(same, torch.zeros(3), atol=1e-6, rtol=0)


@pytest.mark.parametrize("method", ["project", "subtract"])
def test_a_negative_text_lowers_what_has_it(method):
    # Axis 0: what it is; axis 1: red; axis 2: blue.
    thing = torch.tensor([[1.0, 0.0, 0.0]])
    red, neutral = torch.tensor([[1.0, 1.0, 0.0]]), torch.tensor([[1.0, 0.0, 0.0]])
    query = F.normalize(thing + 0.6 * torch.tensor([[0.0, 1.0, 0.0]]), dim=-1)
    changed = without(query, red, neutral, method=method)
    assert float(changed[0, 1]) < 0.2 < float(query[0, 1])
    assert float(changed.norm()) == pytest.approx(1.0)
    torch.testing.assert_close(without(query, red, neutral, strength=0.0, method=method), query)


def test_projection_leaves_alone_what_has_nothing_of_it():
    thing, blue = torch.tensor([[1.0, 0.0, 0.0]]), torch.tensor([[1.0, 0.0, 0.5]])
    red = torch.tensor([[1.0, 1.0, 0.0]])
    query = F.normalize(thing - 0.4 * torch.tensor([[0.0, 1.0, 0.0]]) + blue, dim=-1)
    torch.testing.assert_close(without(query, red, thing, method="project"), query)
    assert not torch.allclose(without(query, red, thing, method="subtract"), query)
    # Full strength takes out just what there is beyond the neutral text.
    toward = F.normalize(thing + red, dim=-1)
    left = without(toward, red, thing)
    away = F.normalize(F.normalize(red, dim=-1) - thing, dim=-1)
    assert abs(float(((left * left.norm()) * away).sum()) - float((thing * away).sum())) < 0.2


def test_one_negative_text_serves_many_queries():
    queries, red, plain = vectors(5, 8), vectors(1, 8, seed=1), vectors(1, 8, seed=2)
    both = without(queries, red, plain)
    one = torch.cat([without(row[None], red, plain) for row in queries])
    torch.testing.assert_close(both, one)


def test_bad_input_is_named():
    image, words, composed = vectors(3, 2, 8)
    with pytest.raises(InputError, match=r"one shape, got image \(2, 8\), reference_text \(1, 8\)"):
        pdv(image, words[:1], composed)
    with pytest.raises(InputError, match=r"Row 1 of composed_text is zero or not finite"):
        pdv(image, words, torch.stack([composed[0], torch.zeros(8)]))
    with pytest.raises(InputError, match="Row 0 of image is zero or not finite"):
        pdv(image * float("nan"), words, composed)
    with pytest.raises(InputError, match=r"beta must be from 0 to 1, got 1\.5"):
        pdv(image, words, composed, beta=1.5)
    with pytest.raises(InputError, match="weight must be from 0 to 1, got -1"):
        weighted_sum(image, words, weight=-1)
    with pytest.raises(InputError, match="cancel each other"):
        weighted_sum(image, -image)
    with pytest.raises(InputError, match="says the same as the neutral one"):
        without(image, words, words)
    with pytest.raises(InputError, match="strength must be 0 or more, got -1"):
        without(image, words, composed, strength=-1)
    with pytest.raises(InputError, match="'project' or 'subtract', got 'negate'"):
        without(image, words, composed, method="negate")
