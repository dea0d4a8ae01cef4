"""Cards tell what a buyer looks at first."""

from __future__ import annotations

from verticlip.domains.ecommerce.pages.cards import facts_of


def test_facts_are_in_the_order_people_look_at_them():
    payload = {
        "title": "Dress",
        "price": 1299.5,
        "currency": "EUR",
        "color": "red",
        "brand": "Acme",
        "updated_at": "2024",
        "image": "x.jpg",
        "attributes": {"sleeve_length": "long", "size": 38.0, "organic": True, "new": False},
    }
    assert list(facts_of(payload).items()) == [
        ("brand", "Acme"),
        ("color", "red"),
        ("size", "38"),
        ("price", "1,299.50 EUR"),
        ("sleeve length", "long"),
        ("organic", "yes"),
        ("new", "no"),
    ]
    assert facts_of({}) == {}
