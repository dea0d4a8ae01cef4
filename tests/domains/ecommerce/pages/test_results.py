"""The page of a search shows what was asked and found, whatever the products are called."""

from __future__ import annotations

import itertools
import re

import pytest
from ecommerce.pages.read_page import read
from PIL import Image
from verticlip.core.errors import ConfigError
from verticlip.domains.ecommerce.pages.results import Asked, ResultCard, results_page
from verticlip.domains.ecommerce.pages.shell import ProductCard, check_page, write_page
from verticlip.domains.ecommerce.pages.style import STYLE
from verticlip.domains.ecommerce.pages.thumbnails import thumbnail

NASTY = [
    "</script><script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "<!-- <style> ]]> &amp; &lt;",
    "\u202egnol \u2066 \x00\ud800 قميص",
    "A" * 5_000,
    "word " * 5_000,
    "",
]
RED = thumbnail(Image.new("RGB", (30, 40), "red"))


def card(rank, title="Dress", **changes):
    product = ProductCard(f"id-{rank}", title, {"brand": "Åse & Søn", "price": "9.90 EUR"}, RED)
    return ResultCard(product, rank, 0.9, {"image": 0.8, "text": 0.3, "product": 0.9}, "product", **changes)


def test_a_page_shows_the_question_and_every_product():
    asked = Asked("in white", "logo", "SKU-7", RED, "price < 50", "pdv", "best")
    page = read(results_page(asked, [card(1), card(2, "Skirt")], catalog="Shop", about="version 3"))
    assert page.said("h1") == "Like SKU-7, and “in white”"
    assert page.said("title") == "Search: in white"
    for word in ("Shop", "logo", "SKU-7", "price < 50", "pdv", "2 products found, best first"):
        assert word in page.said("header")
    assert page.said("h2") == "DressSkirt"
    assert page.said("footer") == "version 3"
    assert [image["alt"] for image in page.all("img")] == ["Picture that was searched with", "Dress", "Skirt"]
    assert "score 0.900" in page.said("article")
    assert "product 0.90 (matched)" in page.said("li")
    assert "9.90 EUR" in page.said("dd")
    assert "id-1" in page.said("article")


@pytest.mark.parametrize("nasty", NASTY)
def test_what_a_feed_says_stays_text(nasty):
    product = ProductCard(nasty or "x", nasty, {nasty or "x": nasty}, RED)
    asked = Asked(nasty, nasty, nasty, RED, nasty, nasty, nasty)
    found = [ResultCard(product, 1, 0.5, {nasty: 0.1, "b": 0.2}, nasty)]
    source = results_page(asked, found, catalog=nasty, about=nasty)
    page = read(source)
    assert len(page.all("img")) == 2
    assert len(source) < 60_000


def test_a_product_without_picture_title_or_facts():
    page = read(results_page(Asked("x"), [ResultCard(ProductCard("A-1"), 1, -0.2)], catalog="Shop"))
    assert "No picture" in page.said("article")
    assert page.said("h2") == "No title"
    assert "score -0.200" in page.said("article")
    assert page.all("rect") == [{"width": "0%", "height": "100%"}]


def test_nothing_found_says_what_to_do():
    page = read(results_page(Asked(picture=RED), [], catalog="Shop"))
    assert page.said("h1") == "Like this picture"
    assert "Use other words" in page.said("main")
    assert "No product found" in page.said("header")


def test_pages_are_html_files_written_whole(tmp_path):
    check_page(tmp_path / "new" / "page.html")
    path = write_page(tmp_path / "new" / "page.html", "<!DOCTYPE html>")
    assert path.read_text() == "<!DOCTYPE html>"
    with pytest.raises(ConfigError, match="name a file that ends in .html"):
        check_page(tmp_path / "page.pdf")
    with pytest.raises(ConfigError, match=r"--out .* name a file"):
        check_page(tmp_path, "--out")


def luminance(color):
    parts = [int(color[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_ink_stands_out_in_light_and_dark():
    light, dark = (
        dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", part))
        for part in STYLE.split("prefers-color-scheme: dark")[:2]
    )
    for colors in (light, dark):
        pairs = [
            *itertools.product(("ink", "soft", "accent"), ("ground", "card")),
            ("accent", "accent-ground"),
            ("warn", "warn-ground"),
            ("soft", "track"),
        ]
        for ink, ground in pairs:
            bright, dim = sorted((luminance(colors[ink]), luminance(colors[ground])), reverse=True)
            assert (bright + 0.05) / (dim + 0.05) >= 4.5, (ink, ground)
