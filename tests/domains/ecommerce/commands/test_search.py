"""``verticlip catalog search`` as a merchant types it."""

from __future__ import annotations

import json

import pytest
from PIL import Image
from verticlip.api import from_pretrained
from verticlip.core.files import write_text_atomic
from verticlip.domains.ecommerce.catalog.catalog import Catalog

COLORS = {"red": (220, 20, 20), "green": (20, 200, 40), "blue": (20, 40, 220)}


@pytest.fixture(scope="module")
def shop(tmp_path_factory, model_folder):
    """A folder with a catalogue of six products, one of them marked as a duplicate."""
    folder = tmp_path_factory.mktemp("shop")
    rows = []
    for number, (color, rgb) in enumerate(list(COLORS.items()) * 2):
        Image.new("RGB", (70, 90), rgb).save(folder / f"{number}.png")
        rows.append(
            {
                "id": f"P-{number}",
                "title": f"{color} square {number}",
                "color": color,
                "category": "Home > Squares",
                "price": 10.0 * number,
                "currency": "EUR",
                "image": f"{number}.png",
                "attributes": {"size": number},
            }
        )
    catalog = Catalog.create(folder / "catalog", model=from_pretrained(str(model_folder)))
    assert catalog.ingest(rows, image_root=folder).added == 6
    catalog.mark_duplicates({"P-3": "P-0"})
    catalog.close()
    return folder


def found(out):
    return [json.loads(line)["id"] for line in out.splitlines()]


def test_words_print_a_table(run, shop):
    status, out, err = run("catalog", "search", shop / "catalog", "red square", "-k", 3)
    lines = out.splitlines()
    assert status == 0
    assert lines[0].split() == ["rank", "score", "id", "title", "category", "color", "price"]
    assert len(lines) == 4
    assert "Squares" in lines[1]
    assert "EUR" in lines[1]
    assert err == ""


def test_a_product_finds_its_like_without_the_model(run, shop):
    status, out, _ = run("catalog", "search", shop / "catalog", "--like", "P-1", "--view", "image", "--json")
    assert status == 0
    assert found(out)[0] == "P-4"
    first = json.loads(out.splitlines()[0])
    assert first["score"] == pytest.approx(1, abs=1e-5)
    assert first["attributes"] == {"size": 4.0}
    assert set(found(out)) == {"P-0", "P-2", "P-4", "P-5"}


def test_marked_duplicates_are_shown_when_asked(run, shop):
    shown = run("catalog", "search", shop / "catalog", "--like", "P-1", "--duplicates", "--json")[1]
    assert set(found(shown)) == {"P-0", "P-2", "P-3", "P-4", "P-5"}


def test_a_picture_with_words_a_filter_and_a_page(run, shop):
    page = shop / "out" / "page.html"
    status, out, err = run(
        "catalog", "search", shop / "catalog", "in blue", "--image", shop / "0.png", "--without", "green",
        "--where", "price < 45 and size != 1", "--set", "beta=0.7", "--html", page, "--json",
    )  # fmt: skip
    assert status == 0
    assert set(found(out)) == {"P-0", "P-2", "P-4"}
    assert "wrote" in err
    text = page.read_text(encoding="utf-8")
    assert "Like this picture, and “<bdi" in text
    assert text.count("data:image/jpeg") == 4
    assert "price &lt; 45" in text


def test_a_filter_that_nothing_fits(run, shop):
    status, out, err = run("catalog", "search", shop / "catalog", "red", "--where", "price > 500")
    assert (status, out) == (0, "")
    assert "no product fits" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "Say what to look for"),
        (("--where", "price < 5"), "Say what to look for"),
        (("red", "--where", "prize < 5"), "Did you mean 'price'"),
        (("--like", "P-9"), "no product 'P-9'"),
        (("red", "--html", "page.pdf"), "name a file that ends in .html"),
        (("red", "--set", "bta=1"), "Did you mean 'beta'"),
        (("red", "--set", "method=sum"), "name the method with --method"),
        (("red", "--set", "beta=7"), "less than or equal to 1"),
    ],
)
def test_what_cannot_be_meant_is_said(run, shop, arguments, message):
    status, out, err = run("catalog", "search", shop / "catalog", *arguments)
    assert (status, out) == (1, "")
    assert message in err


def test_one_encoder_reads_the_picture_of_the_product(run, shop):
    asked = ("catalog", "search", shop / "catalog", "red", "--method", "encoder", "--view", "image", "--json")
    _, by_picture, _ = run(*asked, "--image", shop / "1.png", "-k", 6)
    status, by_id, err = run(*asked, "--like", "P-1", "-k", 6)
    assert status == 0, err
    assert found(by_id) == [one for one in found(by_picture) if one != "P-1"]


def test_no_results_are_asked_for(run, shop):
    status, _, err = run("catalog", "search", shop / "catalog", "red", "-k", 0)
    assert status == 2
    assert "-k" in err


def test_a_picture_that_is_none(run, shop):
    write_text_atomic(shop / "not.png", "no picture")
    status, _, err = run("catalog", "search", shop / "catalog", "--image", shop / "not.png")
    assert status == 1
    assert "not an image" in err
