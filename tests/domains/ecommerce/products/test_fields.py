import pytest
from verticlip.core.errors import ConfigError, DataError
from verticlip.domains.ecommerce.products.fields import FIELDS, KNOWN_NAMES, FieldMap, plain_name


def test_common_names_are_known():
    shopify = [
        "Handle",
        "Variant SKU",
        "Title",
        "Body (HTML)",
        "Vendor",
        "Type",
        "Image Src",
        "Variant Price",
    ]
    found = FieldMap.from_columns(shopify)
    assert (found.id, found.title, found.description) == ("Variant SKU", "Title", "Body (HTML)")
    assert (found.brand, found.image, found.price) == ("Vendor", "Image Src", None)
    google = [
        "id",
        "title",
        "description",
        "image_link",
        "additional_image_link",
        "price",
        "google_product_category",
        "brand",
    ]
    found = FieldMap.from_columns(google)
    assert (found.image, found.images, found.category) == (
        "image_link",
        "additional_image_link",
        "google_product_category",
    )
    kagl = [
        "gender",
        "category1",
        "baseColour",
        "season",
        "text",
        "item_ID",
        "image",
        "articleType",
        "productDisplayName",
    ]
    found = FieldMap.from_columns(kagl)
    assert (found.id, found.color, found.title, found.category) == (
        "item_ID",
        "baseColour",
        "productDisplayName",
        "articleType",
    )


def test_no_name_is_known_for_two_fields():
    names = [name for known in KNOWN_NAMES.values() for name in known.split()]
    assert len(names) == len(set(names))
    assert all(plain_name(name) == name for name in names)
    assert tuple(KNOWN_NAMES) == FIELDS


def test_what_is_said_goes_before_what_is_guessed():
    found = FieldMap(title="name_en").complete(["id", "name", "name_en", "img", "deleted"])
    assert (found.title, found.id, found.image) == ("name_en", "id", "img")
    assert found.guessed == ("id", "image", "deleted")
    assert found.describe() == "id = id, title = name_en, image = img (guessed), deleted = deleted"


def test_an_empty_name_turns_a_field_off_for_good():
    found = FieldMap(deleted="").complete(["id", "deleted"])
    assert found.columns_of("deleted") == ()
    again = FieldMap.model_validate_json(found.model_dump_json())
    assert again.complete(["deleted", "title"]).columns_of("deleted") == ()


def test_guessing_can_be_turned_off():
    assert FieldMap(id="a", guess=False).complete(["a", "title"]).title is None


def test_numbered_pictures_are_further_ones():
    found = FieldMap.from_columns(["id", "image", "image_2", "image_3", "image_alt_text"])
    assert found.images == ("image_2", "image_3")
    assert found.columns_of("images") == ("image_2", "image_3")


def test_levels_of_a_category_may_be_columns():
    found = FieldMap.from_columns(["item_ID", "category1", "category2", "text"])
    assert found.category == ("category1", "category2")
    assert found.describe() == "id = item_ID (guessed), category = category1 + category2 (guessed)"
    assert FieldMap.model_validate_json(found.model_dump_json()) == found


def test_a_column_that_is_not_there():
    fields = FieldMap(title="tittle").complete(["id", "title", "img"])
    with pytest.raises(
        DataError,
        match=r"a.csv: no column 'tittle' \(for title\). Did you mean 'title'\? Columns: id, title, img.",
    ):
        fields.check(["id", "title", "img"], where="a.csv")
    # Rows to come may have a column that none had so far, unless it looks like a slip.
    FieldMap(id="id", updated_at="changed").check(["id"], where="a.jsonl", all_seen=False)
    with pytest.raises(DataError, match="Did you mean 'title'"):
        fields.check(["id", "title"], where="a.jsonl", all_seen=False)


def test_no_column_of_ids():
    with pytest.raises(
        DataError,
        match="a.csv: no column is known to hold ids. Columns: x, y. Say which it is: .* --field id=x",
    ):
        FieldMap.from_columns(["x", "y"]).check(["x", "y"], where="a.csv")


def test_a_column_is_said_once():
    with pytest.raises(ConfigError, match="column 'a' is said for 'id' and for 'title'"):
        FieldMap.parse({"id": "a", "title": "a"})


def test_a_field_that_does_not_exist():
    with pytest.raises(ConfigError, match=r"fields: unknown key 'colour'. Did you mean 'color'\?"):
        FieldMap.parse({"colour": "x"})
    with pytest.raises(ConfigError, match=r"fields: title: .*\(got 3\)"):
        FieldMap.parse({"title": 3})


def test_the_file(tmp_path):
    file = tmp_path / "map.yaml"
    file.write_text("id: sku\nimages: [a, b]\ndecimal: ','\n")
    found = FieldMap.load(file)
    assert (found.id, found.images, found.decimal) == ("sku", ("a", "b"), ",")
    file.write_text("- id")
    with pytest.raises(ConfigError, match="map.yaml: expected a mapping"):
        FieldMap.load(file)
    file.write_text("id: [")
    with pytest.raises(ConfigError, match="map.yaml: not valid YAML"):
        FieldMap.load(file)
    file.write_text("idd: x")
    with pytest.raises(ConfigError, match="map.yaml: unknown key 'idd'. Did you mean 'id'"):
        FieldMap.load(file)
    with pytest.raises(ConfigError, match="no such file"):
        FieldMap.load(tmp_path / "none.yaml")
