import pytest
from verticlip.core.errors import InputError
from verticlip.core.index.filters import F
from verticlip.domains.ecommerce.catalog.filters import resolved
from verticlip.domains.ecommerce.catalog.payload import attribute_column, attribute_name, payload_schema

SCHEMA = payload_schema({"sleeve": "string", "title": "string", "size": "number"})


def test_attributes_go_by_their_names_and_fields_come_first() -> None:
    where = (F("sleeve") == "long") & ~((F("title") == "Dress") | F("attr.title").missing())
    assert resolved(where, SCHEMA) == (F("attr:sleeve") == "long") & ~(
        (F("title") == "Dress") | F("attr:title").missing()
    )


@pytest.mark.parametrize("name", ["a.b", "we`ird", "100%", "%2E", "Größe (cm)", "attr.x", "x:y"])
def test_attributes_have_any_name(name) -> None:
    schema = payload_schema({name: "number"})
    column = attribute_column(name)
    assert column in schema.names
    assert attribute_name(column) == name
    assert not set(".`") & set(column)
    assert resolved(F(name) > 3, schema) == (F(column) > 3)


def test_text_is_parsed() -> None:
    assert resolved("sleeve in ('long') and price < 5", SCHEMA) == (
        F("attr:sleeve").in_(["long"]) & (F("price") < 5)
    )


def test_marked_duplicates_can_be_left_out() -> None:
    unmarked = F("duplicate_of").missing()
    assert resolved(None, SCHEMA) is None
    assert resolved(None, SCHEMA, hide_duplicates=True) == unmarked
    assert resolved(F("price") > 1, SCHEMA, hide_duplicates=True) == (F("price") > 1) & unmarked


def test_unknown_names_are_refused_with_the_nearest() -> None:
    with pytest.raises(
        InputError, match=r"'slev'.*Did you mean 'sleeve'\?.*give them columns when the catalogue is created"
    ):
        resolved("slev = 'long'", SCHEMA)
    with pytest.raises(InputError) as caught:
        resolved("nothing_like_it = 1", SCHEMA)
    assert "row_hash" not in str(caught.value)


def test_what_is_no_condition_is_refused() -> None:
    with pytest.raises(InputError, match="A filter is a condition such as"):
        resolved({"price": 5}, SCHEMA)  # type: ignore[arg-type]
