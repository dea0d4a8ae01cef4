from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from verticlip.core.errors import ConfigError
from verticlip.domains.ecommerce.products import Product, TextTemplate
from verticlip.domains.ecommerce.products.cleaning import words_of
from verticlip.domains.ecommerce.products.text import cut_to

DRESS = Product(
    "1",
    title="Air summer <b>dress</b>",
    description="Never told.",
    brand="ACME",
    color="red",
    material="cotton",
    category="Clothing > Dresses",
    gender="women",
    price=19.99,
    supplier="Shop & Co",
    attributes={
        "pattern": "striped",
        "neckline": "V-neck",
        "waterproof": False,
        "washable": True,
        "waist": 32.0,
    },
)


def count(text):
    """Start and end, and one token per four letters of each word."""
    return 2 + sum((len(word) + 3) // 4 for word in text.split())


def text_of(product, name="general", **options):
    return TextTemplate.preset(name).text(product, count, **options)


def test_fields_stand_in_the_order_of_their_weight():
    assert text_of(DRESS, "fashion").text == (
        "ACME Air summer dress, red cotton Dresses, women; "
        "pattern striped, neckline V-neck, waist 32, washable, no waterproof"
    )


def test_verticals_differ():
    drill = Product(
        "2",
        title="Drill GSR 12V-15",
        brand="Bosch",
        category="Tools",
        material="steel",
        attributes={"power": "300W", "chuck": "10MM", "model": "06019F6000"},
    )
    assert (
        text_of(drill, "hardware").text
        == "Bosch Drill GSR 12V-15; model 06019F6000, power 300 W, chuck 10 mm, Tools, steel"
    )
    assert (
        text_of(drill).text
        == "Bosch Drill GSR 12V-15, steel Tools; chuck 10 mm, model 06019F6000, power 300 W"
    )


def test_empty_fields_leave_no_trace():
    assert text_of(Product("1", title="Mug")).text == "Mug"
    assert text_of(Product("1", brand="Acme", gender="men")).text == "Acme, men"
    assert text_of(Product("1", color=" ", attributes={"fit": "slim"})).text == "fit slim"
    assert text_of(Product("1")).text == ""
    assert text_of(Product("1")).tokens == 0


def test_words_of_the_title_are_not_told_twice():
    product = Product(
        "1",
        title="Acme RED cotton dress",
        brand="acme",
        color="Red",
        material="cotton",
        category="Dress",
        attributes={"pattern": "plain", "style": "dress"},
    )
    assert text_of(product).text == "Acme RED cotton dress; pattern plain"
    # A value that says more than the title does is told as a whole.
    assert (
        text_of(replace(product, color="dark red")).text == "Acme RED cotton dress, dark red; pattern plain"
    )


def test_price_and_supplier_are_never_told():
    offer = {
        "price_old": 30.0,
        "Supplier Code": "S1",
        "sku": "X",
        "image_link": "http://x",
        "stock": 5.0,
        "shipping": "free",
        "split": "train",
    }
    assert (
        text_of(replace(DRESS, attributes=offer)).text == "ACME Air summer dress, red cotton Dresses, women"
    )
    assert text_of(replace(DRESS, price=5.0, supplier="Other", currency="EUR")) == text_of(DRESS)
    with pytest.raises(ValueError, match="groups"):
        TextTemplate.model_validate({"groups": [["price"]]})


OFFER = (
    "cost,unitCost,unitcost,msrp,RRP,Discount %,discount_code,was,sale_price,profit margin,merchant,in store,"
    "seller_name,shop,marketplace,rating,avg_rating,Star ratings,reviews,review count,sales rank,Warehouse,"
    "lastPrice,Einkaufspreis,UVP,Rabatt,Versandkosten,Lieferant Nr,Händler,Bewertungen,Lagerbestand,remise,"
    "Prix barré,Fournisseur,boutique,avis,precio,image_link,ImageURL,duplicate_of"
)
NOT_OFFER = "costume,storage,power rating,IP rating,cufflink,curl,Lager,restoration,shopper size"


def test_what_tells_of_the_offer_is_left_out_by_its_name():
    told = [
        name
        for name in OFFER.split(",")
        if text_of(Product("1", title="Mug", attributes={name: "acme-9"})).text != "Mug"
    ]
    assert told == []
    for name in NOT_OFFER.split(","):
        assert text_of(Product("1", title="Mug", attributes={name: "oak"})).text == f"Mug; {name} oak"


def test_long_titles_are_cut_between_words_and_counted():
    found = text_of(Product("1", title="word " * 5000, color="red"))
    assert found.text == " ".join(["word"] * 40) + ", red"
    assert found.truncated_fields == ("title",)
    assert found.tokens == 44 <= 64


def test_fields_are_in_it_whole_or_not_at_all():
    product = replace(DRESS, color="very " * 40 + "red", gender="women")
    found = text_of(product, max_tokens=24)
    assert "very" not in found.text
    assert "women" in found.text
    assert "color" in found.truncated_fields
    assert found.tokens <= 24


def test_too_many_attributes_are_noted():
    template = TextTemplate(most_attributes=1)
    found = template.text(Product("1", title="Mug", attributes={"a": "x", "b": "y", "c": "z"}), count)
    assert found.text == "Mug; a x"
    assert found.truncated_fields == ("b", "c")


def test_words_without_spaces_are_cut_between_letters():
    found = text_of(Product("1", title="连衣裙" * 200))
    assert found.text == ("连衣裙" * 200)[:160]
    assert found.truncated_fields == ("title",)


def test_a_context_without_room():
    with pytest.raises(ConfigError, match="max_tokens is 2; the model needs more than 2"):
        text_of(DRESS, max_tokens=2)


def test_presets_and_fingerprints():
    prints = {TextTemplate.preset(name).fingerprint for name in ("general", "fashion", "hardware")}
    assert len(prints) == 3
    fashion = TextTemplate.preset("fashion")
    assert TextTemplate.model_validate_json(fashion.model_dump_json()).fingerprint == fashion.fingerprint
    assert fashion.model_copy(update={"name": "mine"}).fingerprint == fashion.fingerprint
    assert fashion.model_copy(update={"title_tokens": 20}).fingerprint != fashion.fingerprint
    with pytest.raises(
        ConfigError, match=r"no text template 'fashon'. Did you mean 'fashion'\? Known: general"
    ):
        TextTemplate.preset("fashon")
    with pytest.raises(ValueError, match="none twice"):
        TextTemplate(groups=(("title",), ("title",)))


TEXT = st.text(alphabet="abcdefg HIJ,-", max_size=40)
PRODUCTS = st.builds(
    Product,
    id=st.just("1"),
    title=TEXT,
    brand=TEXT,
    color=TEXT,
    category=TEXT,
    gender=TEXT,
    attributes=st.dictionaries(st.text(alphabet="klm ", min_size=1, max_size=6), TEXT, max_size=4),
)


@settings(max_examples=200, deadline=None)
@given(PRODUCTS, st.integers(3, 40), st.sampled_from(["general", "fashion", "hardware"]))
def test_never_too_long_and_never_invented(product, most, name):
    found = text_of(product, name, max_tokens=most)
    assert count(found.text) <= most
    assert found == text_of(product, name, max_tokens=most)
    told = " ".join(
        [
            product.title,
            product.brand,
            product.color,
            product.category,
            product.gender,
            *product.attributes,
            *product.attributes.values(),
        ]
    )
    words = set(words_of(told))
    # The last word of a title that does not fit may be cut between letters.
    assert all(any(known.startswith(word) for known in words) for word in words_of(found.text))


@settings(max_examples=200, deadline=None)
@given(PRODUCTS)
def test_a_text_is_its_own_text(product):
    once = text_of(product, max_tokens=500).text
    assert text_of(Product("1", title=once), max_tokens=500).text == once or count(once) > 42


@settings(deadline=None)
@given(st.text(max_size=80), st.integers(2, 20))
def test_what_is_cut_is_a_start(text, most):
    text = " ".join(text.split())
    kept = cut_to(text, count, most)
    assert text.startswith(kept)
    assert count(kept) <= most
