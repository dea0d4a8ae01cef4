from __future__ import annotations

import itertools
import json
import random
import sys
from collections import defaultdict
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from verticlip.core.errors import DataError, InputError
from verticlip.domains.ecommerce.products.read import read_products
from verticlip.domains.ecommerce.products.record import ImageRef, Product
from verticlip.domains.ecommerce.training.clicks import (
    Click,
    ClickColumns,
    MinedPair,
    MiningConfig,
    encoder_relevance,
    mine_pairs,
    read_clicks,
    title_overlap,
    write_pairs,
)
from verticlip.domains.ecommerce.training.pair_reader import read_pairs

sys.path.insert(0, str(Path(__file__).parent))
from make_shop import make_shop

MUGS = "Home > Mugs"


def product(identifier: str, title: str = "owl mug", category: str | None = MUGS, **more) -> Product:
    return Product(identifier, title=title, category=category, **more)


def both(*ids: str, days: int = 2, query: str = "owl mug") -> list[Click]:
    return [Click(f"day {day}", one, query=query) for day in range(days) for one in ids]


def mined(clicks, products, **options):
    pairs, report = mine_pairs(clicks, products, config=MiningConfig(**options))
    return [(pair.left, pair.right) for pair in pairs], {k: v for k, v in report.removed.items() if v}


def test_a_query_or_a_trigger_in_enough_sessions():
    shop = [product(one) for one in "abcd"]
    queries = both("b", "a")
    assert mined(queries, shop) == ([("a", "b")], {})
    assert mined(queries[:2], shop) == ([], {"in too few sessions": 1})
    repeated = [Click("one day", one, query=word) for word in ("owl", "OWL ", "mug") for one in "ab"]
    assert mined(repeated, shop) == ([], {"in too few sessions": 1})
    spelled = [Click("1", "a", query="Owl  mug"), Click("1", "b", query="owl mug")]
    assert mined(spelled, shop, min_sessions=1)[0] == [("a", "b")]
    triggers = [Click(day, one, trigger="c") for day in "12" for one in "ad"]
    assert mined(triggers, shop)[0] == [("a", "c"), ("a", "d"), ("c", "d")]
    apart = [Click(day, "a", query="owl") for day in "12"] + [Click(day, "b", query="mug") for day in "12"]
    assert mined(apart, shop) == ([], {})


def test_every_rule_is_counted():
    shop = [
        product("a"),
        product("b", category="Home > Lamps"),
        product("c", title="garden chair"),
        product("d", category=None),
        product("e", title=""),
        product("f", attributes={"listing_id": "7"}),
        product("g", attributes={"listing_id": "7"}),
        product("gone", deleted=True),
    ]
    cases = {
        ("a", "b"): "of another category",
        ("a", "d"): "of another category",
        ("a", "c"): "relevance out of range",
        ("a", "e"): "relevance out of range",
        ("f", "g"): "one listing",
        ("a", "gone"): "not in the catalogue",
        ("a", "unknown"): "not in the catalogue",
    }
    for pair, rule in cases.items():
        assert mined(both(*pair), shop) == ([], {rule: 1}), pair
    assert mined(both("a", "d"), shop, same_category=False)[0] == [("a", "d")]
    assert mined(both("a", "c"), shop, relevance=(0.0, 1.0))[0] == [("a", "c")]
    assert mined(both("a", "f"), shop, relevance=(0.0, 0.9)) == ([], {"relevance out of range": 1})


def test_the_same_picture_is_no_pair(tmp_path):
    folder = make_shop(tmp_path / "shop", styles=4)
    (folder / "images" / "001b.png").write_bytes((folder / "images" / "000a.png").read_bytes())
    (folder / "images" / "002a.png").write_bytes(b"no picture")
    shop = {one.id: one for one in read_products(folder / "products.csv")}
    options = {"same_category": False, "relevance": (0.0, 1.0)}
    assert mined(both("000a", "001b"), shop, **options) == ([], {"the same picture": 1})
    assert mined(both("000a", "001b"), shop, **options, allow_duplicates=True)[0] == [("000a", "001b")]
    assert mined(both("000a", "000b", "002a"), shop, **options)[0] == [
        ("000a", "000b"),
        ("000a", "002a"),
        ("000b", "002a"),
    ]
    calls: list[str] = []
    pairs, _ = mine_pairs(
        both("000a", "001b", "003a"),
        shop,
        config=MiningConfig(**options),
        picture_hash=lambda one: calls.append(one.id) or len(calls),
    )
    assert len(pairs) == 3
    assert sorted(calls) == ["000a", "001b", "003a"]
    remote = Product("r", title="x", image=ImageRef("https://x.org/a.png", url="https://x.org/a.png"))
    assert mined(both("000a", "r"), [*shop.values(), remote], **options)[0] == [("000a", "r")]


def test_hubs_crowds_and_the_strongest():
    names = [f"{number:02d}" for number in range(12)]
    shop = [product(one) for one in names]
    star = [
        click
        for number, other in enumerate(names[1:], 2)
        for click in both("00", other, days=number, query=f"query {other}")
    ]
    pairs, report = mine_pairs(star, shop, config=MiningConfig(most_pairs=3))
    assert pairs == [MinedPair("00", "11", 12), MinedPair("00", "10", 11), MinedPair("00", "09", 10)]
    assert report.removed["enough pairs of the product already"] == 8
    hub = mined(star + both("01", "02", query="other"), shop, hub_pairs=10)
    assert hub == ([("01", "02")], {"of a product in very many pairs": 11})
    crowd, told = mine_pairs(both(*names), shop, config=MiningConfig(most_clicks=11))
    assert crowd == []
    assert told.crowds == 2
    assert "2 queries with too many clicks were not counted." in told.lines()


def test_counts_agree_with_a_loop_and_order_does_not_matter():
    rng = random.Random(0)
    shop = [product(f"p{number}") for number in range(8)]
    clicks = [
        Click(f"s{rng.randrange(12)}", f"p{rng.randrange(8)}", query=f"q{rng.randrange(3)}")
        for _ in range(150)
    ]
    sessions = defaultdict(set)
    for one, other in itertools.product(clicks, clicks):
        if (one.session, one.query) == (other.session, other.query) and one.clicked < other.clicked:
            sessions[one.clicked, other.clicked].add(one.session)
    expected = {pair: len(found) for pair, found in sessions.items() if len(found) >= 3}
    pairs, report = mine_pairs(clicks, shop, config=MiningConfig(min_sessions=3))
    assert {(pair.left, pair.right): pair.sessions for pair in pairs} == expected
    assert report.candidates == len(sessions)
    assert (report.clicks, report.sessions) == (150, len({click.session for click in clicks}))
    rng.shuffle(clicks)
    assert mine_pairs(clicks, shop[::-1], config=MiningConfig(min_sessions=3))[0] == pairs


def test_relevance_by_a_model():
    class Encoder:
        asked = 0

        def encode_texts(self, texts):
            self.asked += len(texts)
            axes = {"owl mug": 0, "mug with owl": 0, "chair": 1}
            return torch.eye(2)[[axes[text] for text in texts]]

    encoder = Encoder()
    shop = [product("a"), product("b", title="mug with owl"), product("c", title="chair")]
    pairs, report = mine_pairs(both("a", "b", "c"), shop, relevance=encoder_relevance(encoder))
    assert [(pair.left, pair.right) for pair in pairs] == [("a", "b")]
    assert report.removed["relevance out of range"] == 2
    assert encoder.asked == 3
    assert mine_pairs([], shop, relevance=encoder_relevance(encoder))[0] == []
    with pytest.raises(InputError, match="relevance gave 0 values for 3 pairs"):
        mine_pairs(both("a", "b", "c"), shop, relevance=lambda pairs: [])


def test_overlap_of_titles():
    found = title_overlap([("Red <b>owl</b> mug", "owl MUG, free shipping"), ("", ""), ("x", "y")])
    assert found == pytest.approx([2 / 3, 0, 0])


def test_logs_are_read_and_pairs_written(tmp_path):
    log = tmp_path / "clicks.csv"
    log.write_text("session,query,clicked\n1,owl mug,b\n1,owl mug,a\n2,owl mug,a\n2,owl mug,b\n", "utf-8")
    pairs, report = mine_pairs(read_clicks(log), [product("a"), product("b")])
    assert report.lines() == [
        "4 clicks of 2 sessions make 1 candidate pairs.",
        "1 pairs of 2 products are left.",
    ]
    assert json.loads(json.dumps(report.to_dict()))["kept"] == 1
    write_pairs(tmp_path / "pairs.csv", [*pairs, MinedPair("a", "c", 250)])
    assert [(p.left, p.right, p.weight) for p in read_pairs(tmp_path / "pairs.csv")] == [
        ("a", "b", 2),
        ("a", "c", 100),
    ]
    lines = tmp_path / "clicks.jsonl"
    lines.write_text('{"visit": 3, "from": "a", "to": "b"}\n', "utf-8")
    columns = ClickColumns(session="visit", clicked="to", trigger="from", query=None)
    assert list(read_clicks(lines, columns)) == [Click("3", "b", trigger="a")]


@pytest.mark.parametrize(
    ("text", "columns", "message"),
    [
        ("session,query\n1,x\n", None, "no column 'clicked'"),
        ("session,query,clicked\n1,x,\n", None, "row 2: no clicked"),
        ("session,search,clicked\n1,x,a\n", None, "none of 1 clicks has a query or a trigger"),
        ("session,search,clicked\n1,x,a\n", ClickColumns(query="serach"), "Did you mean 'search'"),
    ],
)
def test_bad_logs(tmp_path, text, columns, message):
    log = tmp_path / "clicks.csv"
    log.write_text(text, "utf-8")
    with pytest.raises(DataError, match=message):
        list(read_clicks(log, columns))


def test_bad_thresholds():
    with pytest.raises(ValidationError, match="runs from low to high"):
        MiningConfig(relevance=(0.8, 0.3))
