"""The made-up shop: the same for the same seed, and as untidy as it says."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from verticlip.core.errors import InputError
from verticlip.domains.ecommerce.evaluation.queries import read_queries
from verticlip.domains.ecommerce.products.read import read_products
from verticlip.domains.ecommerce.shop import write_shop
from verticlip.domains.ecommerce.training.clicks import mine_pairs, read_clicks


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return write_shop(tmp_path_factory.mktemp("shop"), products=20)


def test_equal_seeds_give_equal_shops(made, tmp_path: Path):
    again, other = write_shop(tmp_path / "a", products=20), write_shop(tmp_path / "b", products=20, seed=1)
    for name in ("table", "queries", "clicks"):
        assert getattr(made, name).read_bytes() == getattr(again, name).read_bytes()
    for photo in made.photos.iterdir():
        assert photo.read_bytes() == (again.photos / photo.name).read_bytes()
    assert made.table.read_bytes() != other.table.read_bytes()


def test_written_again_no_picture_looks_changed(made):
    before = {photo: photo.stat().st_mtime_ns for photo in made.photos.iterdir()}
    write_shop(made.table.parent, products=20)
    assert {photo: photo.stat().st_mtime_ns for photo in made.photos.iterdir()} == before


def test_its_table_is_read_but_for_the_rows_meant_to_fail(made):
    rejects = []
    reader = read_products(made.table, image_root=made.photos, on_reject=rejects.append)
    products = list(reader)
    with made.table.open(encoding="cp1252", newline="") as file:
        rows = list(csv.reader(file, delimiter=";"))
    assert len(rows) - 1 == len(products) + len(rejects) == 20 + 2 + 5
    assert [reject.id for reject in rejects] == ["D-000", None, "X-1"]
    assert all(one.price and one.price < 100 and one.title and one.color for one in products)
    lost = [one.id for one in products if one.image and one.image.path and not one.image.path.is_file()]
    assert lost == ["X-2"]
    assert [one.id for one in products if one.image and one.image.url] == ["X-3"]


def test_copies_queries_and_clicks_name_its_products(made):
    ids = {one.id for one in read_products(made.table, image_root=made.photos)}
    assert set(made.copies) | set(made.copies.values()) <= ids
    queries = read_queries(made.queries)
    assert {name for query in queries for name in query.right} <= ids
    # Products without a picture of their own have no part in it.
    rows = [one for one in read_products(made.table, image_root=made.photos) if not one.id.startswith("X-")]
    pairs, report = mine_pairs(read_clicks(made.clicks), rows, picture_hash=lambda product: None)
    assert {frozenset((pair.left, pair.right)) for pair in pairs} >= {
        frozenset(pair) for pair in made.copies.items()
    }, report.lines()


def test_a_copy_is_the_picture_saved_anew(made):
    for copy, name in made.copies.items():
        small = Image.open(made.photos / f"{copy}.jpg")
        large = Image.open(made.photos / f"{name}.jpg").resize(small.size)
        assert small.tobytes() != large.tobytes()
        assert np.abs(np.asarray(small, float) - np.asarray(large, float)).mean() < 12


def test_too_small_a_shop_is_refused(tmp_path: Path):
    with pytest.raises(InputError, match="A shop has at least 10 products, got 9"):
        write_shop(tmp_path / "shop", products=9)
    assert not (tmp_path / "shop").exists()
