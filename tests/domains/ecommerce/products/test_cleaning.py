import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from verticlip.domains.ecommerce.products.cleaning import (
    PROMOTIONS,
    clean,
    strip_markup,
    strip_promotions,
    words_of,
    write_sizes,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<b>Mug</b> &amp; <i class='x'>Lid</i>", "Mug & Lid"),
        ("a<br/>b<p>c</p>", "a b c"),
        ("<script>alert(1)</script>Mug<style>b{}</style>", "Mug"),
        ("&lt;b&gt;Mug&lt;/b&gt;", "Mug"),
        ("size < 40 and > 3", "size < 40 and > 3"),
        ("x<!-- hidden -->y", "x y"),
        ("Baum\u00adwolle\u200b\u202e", "Baumwolle"),
        ("a\tb\r\n c", "a b c"),
        ("caf\u00e9 &eacute; &#233;", "caf\u00e9 \u00e9 \u00e9"),
    ],
)
def test_markup(text, expected):
    assert strip_markup(text) == expected


def test_markup_written_twice_is_cleaned_to_the_ground():
    assert clean("&lt;b&gt;Mug&lt;/b&gt;") == "Mug"
    assert clean("&amp;amp;amp;lt;b&gt;Mug") == "Mug"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Dress, Free Shipping!", "Dress"),
        ("HOT SALE!!! Dress 2024 New", "Dress"),
        ("New 2024 dress (best seller)", "dress"),
        ("Dress 20% off, red", "Dress, red"),
        ("Up to 70 % OFF dress - free-shipping -", "dress"),
        ("2024 New Balance 574", "2024 New Balance 574"),
        ("Freeshipping box", "Freeshipping box"),
        ("free shipping", "free shipping"),
        ("free free shipping shipping mug", "free shipping mug"),
    ],
)
def test_promotion(text, expected):
    assert strip_promotions(text) == expected


def test_phrases_of_ones_own():
    assert strip_promotions("Acme mug nur heute", ("nur heute",)) == "Acme mug"
    assert strip_promotions("Acme mug free shipping", ()) == "Acme mug free shipping"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10CM x 5CM", "10 cm x 5 cm"),
        ("10cm\u00d75 cm", "10 cm x 5 cm"),
        ("10 x 20 x 5 cm", "10 x 20 x 5 cm"),
        ("10x20x5cm", "10 x 20 x 5 cm"),
        ('12" pan, 2 inches', "12 inch pan, 2 inch"),
        ("1.5L bottle 500ML", "1.5 l bottle 500 ml"),
        ("2.0Ah 18V 5000mAh", "2.0 Ah 18 V 5000 mAh"),
        ("256GB", "256 GB"),
        ("3 kilograms", "3 kg"),
    ],
)
def test_sizes(text, expected):
    assert write_sizes(text) == expected


@pytest.mark.parametrize(
    "model",
    [
        "DCD796P2",
        "GSR 12V-15",
        "5W-30",
        "A4",
        "W32L34",
        "iPhone 13",
        "M18",
        "X10M",
        "10M",
        "1.5-2V",
        "B5MM2",
        "EU42",
        "RTX4090",
    ],
)
def test_numbers_of_models_stay_as_they_are(model):
    assert write_sizes(f"Acme {model} drill") == f"Acme {model} drill"


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.sampled_from(
                [
                    *PROMOTIONS,
                    "&amp;",
                    "&lt;b&gt;",
                    "<b>",
                    "</b>",
                    "<",
                    ">",
                    "10CM",
                    "x",
                    "5",
                    '"',
                    "2024 new",
                    "20% off",
                    "!",
                    "(",
                    ")",
                    ",",
                    "-",
                    "&#38;lt;",
                    "in.",
                ]
            ),
            st.text(max_size=6),
        ),
        max_size=12,
    ).flatmap(lambda parts: st.sampled_from([" ".join(parts), "".join(parts)]))
)
def test_cleaning_twice_changes_nothing(text):
    once = clean(text)
    assert clean(once) == once
    assert once == " ".join(once.split())


@settings(deadline=None)
@given(st.text(alphabet="abc DEF,.-! ", max_size=60))
def test_cleaning_invents_no_word(text):
    assert set(words_of(clean(text))) <= set(words_of(text))
