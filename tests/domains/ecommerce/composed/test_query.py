"""Queries of a picture with words, against the formulas and on a space whose axes are words."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F
from verticlip.core.composition import pdv, weighted_sum, without
from verticlip.core.config import parse_config
from verticlip.core.errors import ConfigError, InputError
from verticlip.domains.ecommerce.composed.query import PLAIN_REFERENCE, ComposeSettings, compose

sys.path.insert(0, str(Path(__file__).parent))

from make_encoder import WordEncoder


@pytest.fixture
def encoder():
    return WordEncoder()


def best(encoder, query, names):
    scores = query @ torch.stack([encoder.words(name) for name in names]).T
    return names[int(scores.argmax())]


def test_one_side_is_its_own_vector(encoder):
    torch.testing.assert_close(compose(encoder, text="red dress")[0], encoder.words("red dress"))
    torch.testing.assert_close(compose(encoder, image="red dress")[0], encoder.words("red dress"))
    vector = 3 * encoder.words("white shirt")
    torch.testing.assert_close(compose(encoder, image=vector)[0], encoder.words("white shirt"))


def test_pdv_is_the_formula_with_the_products_own_text(encoder):
    query = compose(encoder, image="red dress", text=" in  white ", reference_text="red dress.")
    assert encoder.asked[-2:] == ["red dress.", "red dress, in white"]
    rows = [encoder.words(text)[None] for text in ("red dress", "red dress", "red dress, in white")]
    expected = pdv(*rows, alpha_image=1.0, alpha_text=1.3, beta=0.55)
    torch.testing.assert_close(query, expected)
    names = ["red dress", "white dress", "white shirt", "blue dress"]
    far = ComposeSettings(alpha_image=2.0, alpha_text=2.0)
    said = compose(encoder, image="red dress", text="white", reference_text="dress", settings=far)
    assert best(encoder, said, names) in ("white dress", "red dress")
    assert float(said[0] @ encoder.words("white dress")) > float(said[0] @ encoder.words("blue dress"))


def test_sum_and_encoder(encoder):
    settings = ComposeSettings(method="sum", weight=0.7)
    got = compose(encoder, image="red dress", text="white", settings=settings)
    rows = [encoder.words(text)[None] for text in ("red dress", "white")]
    torch.testing.assert_close(got, weighted_sum(*rows, weight=0.7))
    got = compose(encoder, image="red dress", text="white", settings=ComposeSettings(method="encoder"))
    torch.testing.assert_close(got, F.normalize(0.9 * rows[0] + 0.1 * rows[1], dim=-1))
    with pytest.raises(InputError, match="needs the picture itself, not its embedding"):
        compose(encoder, image=rows[0], text="white", settings=ComposeSettings(method="encoder"))


def test_style_transfer_is_a_picture_with_the_title_of_another(encoder):
    query = compose(encoder, image="red dress", text="blue shirt", reference_text="red dress")
    assert float(query[0] @ encoder.words("blue shirt")) > float(query[0] @ encoder.words("white"))


def test_a_negative_text_takes_its_share_out(encoder):
    plain = compose(encoder, image="red dress logo", reference_text="red dress")
    query = compose(encoder, image="red dress logo", reference_text="red dress", negative="logo")
    assert float(query[0, 5]) < 0.15 < float(plain[0, 5])
    expected = without(plain, *(encoder.words(text)[None] for text in ("photo, logo", "photo")), strength=2.0)
    torch.testing.assert_close(query, expected)
    off = ComposeSettings(negative_strength=0.0)
    kept = compose(encoder, image="red dress logo", negative="logo", settings=off)
    torch.testing.assert_close(kept, plain)
    words = compose(encoder, text="dress red", negative="red")
    assert best(encoder, words, ["red dress", "dress"]) == "dress"
    said = compose(encoder, image="red dress", text="blue", reference_text="red dress", negative="red")
    assert float(said[0, 2]) < 0.15


def test_a_picture_without_words_is_a_photo(encoder):
    compose(encoder, image="red dress", text="white")
    assert encoder.asked[-2:] == [PLAIN_REFERENCE, f"{PLAIN_REFERENCE}, white"]


def test_a_long_description_makes_room_for_the_change(encoder):
    title = "red dress of the finest cotton with long sleeves and pockets"
    compose(encoder, image="red dress", text="in white", reference_text=title)
    assert encoder.asked[-2:] == [
        "red dress of the finest cotton with",
        "red dress of the finest cotton with, in white",
    ]
    with pytest.raises(InputError, match="reads 12 tokens and the change alone takes 14"):
        compose(encoder, image="red dress", text="white " * 12, reference_text=title)


def test_bad_queries_are_named(encoder):
    with pytest.raises(InputError, match=r"A query needs a picture, words or both\.$"):
        compose(encoder)
    with pytest.raises(InputError, match="a negative text needs something to take it from"):
        compose(encoder, negative="logo")
    with pytest.raises(InputError, match="text must be words, got '  '; leave it out"):
        compose(encoder, text="  ")
    with pytest.raises(InputError, match="negative must be words, got 3"):
        compose(encoder, text="dress", negative=3)
    with pytest.raises(InputError, match=r"shape \(5,\); an embedding of one picture is \[8\]"):
        compose(encoder, image=torch.ones(5))
    with pytest.raises(InputError, match=r"shape \(2, 8\)"):
        compose(encoder, image=torch.ones(2, 8))
    with pytest.raises(InputError, match="the product has no picture"):
        compose(encoder, image=torch.zeros(8))
    with pytest.raises(ConfigError, match="beta"):
        parse_config(ComposeSettings, {"beta": 2}, source="compose.json")
    with pytest.raises(ConfigError, match="Did you mean 'alpha_image'"):
        parse_config(ComposeSettings, {"alpha_imag": 1}, source="compose.json")
