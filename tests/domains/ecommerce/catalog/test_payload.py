import json
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from verticlip.core.errors import ConfigError, InputError
from verticlip.domains.ecommerce.catalog.payload import (
    MAX_ATTRIBUTES,
    cells_of,
    infer_attributes,
    payload_schema,
    row_hash,
    shown,
    table_of,
)
from verticlip.domains.ecommerce.products.record import ImageRef, Product


def test_types_are_those_that_all_values_have() -> None:
    products = [
        Product("a", attributes={"size": 4.0, "new": True, "sleeve": "long", "mixed": 1.0, "odd": True}),
        Product("b", attributes={"size": 5, "new": False, "mixed": "one", "odd": 2.0}),
    ]
    found = infer_attributes(products)
    assert found == {"mixed": "string", "new": "bool", "odd": "string", "size": "number", "sleeve": "string"}


def test_the_most_frequent_attributes_get_a_column() -> None:
    many = [Product("a", attributes={f"x{number:03d}": 1.0 for number in range(MAX_ATTRIBUTES + 5)})]
    often = [Product(str(number), attributes={"z": "1"}) for number in range(3)]
    found = infer_attributes([*many, *often])
    assert len(found) == MAX_ATTRIBUTES
    assert "z" in found
    assert "x000" in found
    assert f"x{MAX_ATTRIBUTES + 4:03d}" not in found


def test_a_value_of_another_type_or_name_is_kept_as_json() -> None:
    product = Product("a", attributes={"size": "XL", "fit": "slim", "sleeve": True})
    cells = cells_of(product, {"size": "number", "sleeve": "string"})
    assert "attr:size" not in cells
    assert cells["attr:sleeve"] == "true"
    assert json.loads(cells["more"]) == {"fit": "slim", "size": "XL"}
    assert shown(cells)["attributes"] == {"fit": "slim", "size": "XL", "sleeve": "true"}


def test_rows_become_a_table_of_the_schema() -> None:
    schema = payload_schema({"size": "number", "new": "bool"})
    when = datetime(2026, 1, 2, 3, tzinfo=timezone(timedelta(hours=2)))
    image = ImageRef("img/1.png", path=Path("/shop/img/1.png"))
    more = ImageRef("img/2.png", path=Path("/shop/img/2.png"))
    product = Product(
        "a", title="Dress", price=9.5, image=image, images=(more,), updated_at=when, attributes={"size": 4.0}
    )
    row = table_of([cells_of(product, {"size": "number", "new": "bool"})], schema).to_pylist()[0]
    assert row["updated_at"] == datetime(2026, 1, 2, 1, tzinfo=timezone.utc)
    assert (row["image"], row["image_path"], row["images"]) == (
        "img/1.png",
        "/shop/img/1.png",
        ["img/2.png"],
    )
    assert (row["attr:size"], row["attr:new"], row["brand"]) == (4.0, None, None)
    assert shown(row)["attributes"] == {"size": 4}


def test_a_time_without_a_zone_is_utc() -> None:
    cells = cells_of(Product("a", updated_at=datetime(2026, 1, 2)), {})
    assert cells["updated_at"] == datetime(2026, 1, 2, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    "changes",
    [
        {"title": "Shirt"},
        {"price": 1.0},
        {"attributes": {"size": 2.0}},
        {"image": ImageRef("b.png", path=Path("/b.png"))},
        {"image": ImageRef("", data=b"2")},
        {"image": None, "images": (ImageRef("a.png"),)},
        {"updated_at": datetime(2026, 1, 1, tzinfo=timezone.utc)},
        {"currency": "EUR"},
        {"supplier": "Acme"},
    ],
)
def test_every_field_changes_the_hash_and_the_row_number_does_not(changes) -> None:
    first = {"title": "Dress", "image": ImageRef("a.png"), "attributes": {"size": 1.0}}
    assert row_hash(Product("a", **first, row=1), {}) == row_hash(Product("a", **first, row=7), {})
    assert row_hash(Product("a", **first), {}) != row_hash(Product("a", **{**first, **changes}), {})


def test_text_that_no_table_can_hold_is_refused_by_name() -> None:
    with pytest.raises(InputError, match=r"title is not Unicode text: .* Save the source as UTF-8"):
        cells_of(Product("a", title="broken \ud800"), {})
    with pytest.raises(InputError, match="more is not Unicode"):
        cells_of(Product("a", attributes={"fit": "\ud800"}), {})


def test_an_attribute_needs_a_name() -> None:
    with pytest.raises(ConfigError, match="empty name"):
        payload_schema({" ": "string"})
