import math
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from verticlip.core.errors import InputError
from verticlip.domains.ecommerce.products.values import (
    MOST_ATTRIBUTES,
    is_missing,
    read_attribute,
    read_attributes,
    read_category,
    read_currency,
    read_flag,
    read_id,
    read_number,
    read_price,
    read_text,
    read_time,
)


@pytest.mark.parametrize(
    ("given_id", "text"),
    [
        ("007", "007"),
        (" 7 ", "7"),
        (7, "7"),
        (7.0, "7"),
        (Decimal("7"), "7"),
        ("1e5", "1e5"),
        ("\u00e9-\u4e2d", "\u00e9-\u4e2d"),
        (2**70, str(2**70)),
    ],
)
def test_ids_stay_as_they_are(given_id, text):
    found, changed = read_id(given_id)
    assert found == text
    assert bool(changed) == (given_id in (" 7 ",) or isinstance(given_id, (float, Decimal)))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("", "the id is empty"),
        ("  ", "the id is empty"),
        (None, "the id is empty"),
        (math.nan, "the id is empty"),
        (True, "the id is empty"),
        (1.5, "not a whole number"),
        (math.inf, "not a whole number"),
        (b"x", "is bytes"),
        ([1], "is list"),
        ("a\nb", "control signs"),
        ("a\ud800", "control signs"),
        ("x" * 1001, "1,001 characters long"),
    ],
)
def test_what_is_no_id(value, message):
    with pytest.raises(InputError, match=message):
        read_id(value)


@pytest.mark.parametrize(
    ("text", "price", "currency"),
    [
        ("1.299,00 EUR", 1299.0, "EUR"),
        ("EUR 1.299,00", 1299.0, "EUR"),
        ("$1,299.00", 1299.0, None),
        ("1 299,00 €", 1299.0, "EUR"),
        ("1\u00a0299,00\u00a0€", 1299.0, "EUR"),
        ("1\u202f299\u202f999,5", 1299999.5, None),
        ("CHF 1'299.-", 1299.0, "CHF"),
        ("12,5", 12.5, None),
        ("12.5", 12.5, None),
        ("0.999", 0.999, None),
        ("0,999", 0.999, None),
        ("1,299", 1299.0, None),
        ("12,345,678", 12345678.0, None),
        ("1.299.000", 1299000.0, None),
        ("£5", 5.0, "GBP"),
        ("5 zł", 5.0, "PLN"),
        (".99", 0.99, None),
        ("1299", 1299.0, None),
        ("USD12.50", 12.5, "USD"),
        ("US$ 12.50", 12.5, "USD"),
        ("1 299 kr", 1299.0, None),
        ("Rs. 500", 500.0, "INR"),
        (12, 12.0, None),
        (Decimal("12.50"), 12.5, None),
        ("0", 0.0, None),
    ],
)
def test_prices_are_read_as_they_are_written(text, price, currency):
    assert read_price(text) == (price, currency)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("on request", "no price"),
        ("10-20", "no price"),
        ("10 20", "no price"),
        ("-5", "negative"),
        ("- 5,00 €", "negative"),
        ("\u22125", "negative"),
        (-5, "negative"),
        ("NaN", "no price"),
        ("inf", "no price"),
        (math.inf, "not a finite number"),
        (10**400, "not a finite number"),
        ("1.299", "thousands or decimals"),
        ("12,34,56", "no number"),
        ("1.2.3,4", "no number"),
        (True, "no price"),
        ("1e3", "no price"),
    ],
)
def test_what_is_no_price(value, message):
    with pytest.raises(InputError, match=message):
        read_price(value)


def test_the_map_says_what_a_point_means():
    assert read_price("1.299", ",") == (1299.0, None)
    assert read_price("1.299", ".") == (1.299, None)
    with pytest.raises(InputError, match="before the decimals"):
        read_price("1,5", ".")


@settings(deadline=None)
@given(st.floats(0, 1e9).map(lambda value: round(value, 2)))
def test_prices_survive_every_way_of_writing_them(price):
    english, german = f"{price:,.2f}", f"{price:,.2f}".translate(str.maketrans(",.", ".,"))
    assert read_price(f"{english} USD")[0] == pytest.approx(price)
    assert read_price(f"{german} €")[0] == pytest.approx(price)
    assert read_price(f"{price:.2f}")[0] == pytest.approx(price)


def test_numbers_may_be_negative():
    assert read_number("-1,5") == -1.5
    assert read_number("\u22122") == -2.0
    assert read_number(3) == 3.0
    for bad in ("x", True, math.nan, "5 cm", [1]):
        with pytest.raises(InputError, match="no number"):
            read_number(bad)


@pytest.mark.parametrize("yes", [True, 1, 1.0, "1", "true", "Yes", " y ", "T"])
def test_yes(yes):
    assert read_flag(yes) is True


@pytest.mark.parametrize("no", [False, 0, 0.0, "0", "false", "No", "", None, math.nan])
def test_no(no):
    assert read_flag(no) is False


def test_a_flag_is_not_guessed():
    with pytest.raises(InputError, match="deleted is 'maybe'; expected yes or no"):
        read_flag("maybe")


UTC = timezone.utc


@pytest.mark.parametrize(
    ("value", "when"),
    [
        ("2024-05-31", datetime(2024, 5, 31, tzinfo=UTC)),
        ("2024-05-31T12:00:00Z", datetime(2024, 5, 31, 12, tzinfo=UTC)),
        ("2024-05-31 12:00", datetime(2024, 5, 31, 12, tzinfo=UTC)),
        ("2024-05-31T12:00:00+02:00", datetime(2024, 5, 31, 10, tzinfo=UTC)),
        ("2024-05-31T12:00:00.1234567+0200", datetime(2024, 5, 31, 10, 0, 0, 123456, tzinfo=UTC)),
        (date(2024, 5, 31), datetime(2024, 5, 31, tzinfo=UTC)),
        (
            datetime(2024, 5, 31, 12, tzinfo=timezone(timedelta(hours=2))),
            datetime(2024, 5, 31, 10, tzinfo=UTC),
        ),
        (1717156800, datetime(2024, 5, 31, 12, tzinfo=UTC)),
        (1717156800000, datetime(2024, 5, 31, 12, tzinfo=UTC)),
    ],
)
def test_times_are_utc(value, when):
    assert read_time(value) == when
    assert read_time(value).utcoffset() == timedelta(0)


@pytest.mark.parametrize(
    "value", ["yesterday", "31.05.2024", "2024-13-01", "2024-05-31T25:00", math.inf, math.nan, True]
)
def test_what_is_no_time(value):
    with pytest.raises(InputError, match="is no time such as"):
        read_time(value)


def test_attributes_of_every_form():
    nested = {
        "pattern": "striped",
        "size": {"waist": 32, "unit": "in"},
        "tags": ["a", "b"],
        "new": True,
        "none": None,
        "nan": math.nan,
    }
    flat = {"pattern": "striped", "size.waist": 32.0, "size.unit": "in", "tags": "a, b", "new": True}
    assert read_attributes(nested) == flat
    assert read_attributes('{"pattern": "striped"}') == {"pattern": "striped"}
    assert read_attributes([("a", 1), ("b", "x")]) == {"a": 1.0, "b": "x"}
    assert read_attributes("") == read_attributes(None) == {}
    assert isinstance(read_attributes({"new": True})["new"], bool)
    with pytest.raises(InputError, match="not JSON"):
        read_attributes("pattern: striped")
    with pytest.raises(InputError, match="are int"):
        read_attributes("3")
    with pytest.raises(InputError, match=f"more than {MOST_ATTRIBUTES}"):
        read_attributes({str(number): "x" for number in range(MOST_ATTRIBUTES + 1)})


def test_attributes_without_a_value_are_left_out():
    assert read_attribute(10**400) is None
    assert read_attribute([0.5] * 512) is None
    assert read_attribute(b"bytes") is None
    assert read_attribute("x" * 5000) == "x" * 2000


def test_texts_and_categories():
    assert read_text("  a b ") == "a b"
    assert read_text(3.0) == "3"
    assert read_text(["red", None, "blue"]) == "red, blue"
    assert read_text("\ud800") == "?"
    assert read_category("Clothing>Dresses > ") == "Clothing > Dresses"
    assert read_category(["Clothing", "Dresses"]) == "Clothing > Dresses"
    assert read_category(" > ") is None
    with pytest.raises(InputError, match="where text is expected"):
        read_text({"a": 1})


def test_currencies():
    assert read_currency("eur") == "EUR"
    assert read_currency("€") == "EUR"
    assert read_currency(None) is None
    assert is_missing(" ")
    assert not is_missing(0)
