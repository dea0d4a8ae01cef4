from __future__ import annotations

import csv
import gzip
import json
import logging
import sys
from pathlib import Path

import pytest
from verticlip.core.errors import DataError
from verticlip.domains.ecommerce.products.record import Product
from verticlip.domains.ecommerce.training.pair_reader import product_of, read_pairs, read_product_pairs

sys.path.insert(0, str(Path(__file__).parent))
from make_shop import make_shop


@pytest.fixture
def shop(tmp_path):
    return make_shop(tmp_path / "shop", styles=6)


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_rows_of_a_run(shop):
    rows = list(read_product_pairs(shop))
    assert len(rows) == 6
    first = rows[0]
    assert first["id"] == "000a|000b"
    assert Path(first["path"]) == shop / "images" / "000a.png"
    assert first["label"] == "round"
    assert first["group"] == "000a"
    assert first["extras"]["weight"] == 1
    assert json.loads(json.dumps(first["extras"])) == first["extras"]
    product = product_of(first["extras"]["right"])
    assert isinstance(product, Product)
    assert product.title == "mug round in red, ceramic no 000"
    assert product.attributes == {"finish": "gloss"}
    assert list(read_product_pairs(shop / "pairs.csv")) == rows
    assert list(read_product_pairs(shop, pairs="pairs.csv", products="products.csv", images=".")) == rows


def test_groups_join_pairs_pictures_and_what_is_given(shop):
    write(
        shop / "pairs.csv",
        "left_id,right_id,group\n000a,000b,\n000b,001a,\n002a,002b,x\n003a,003b,x\n004a,004b,\n005a,005b,\n",
    )
    (shop / "images" / "004b.png").write_bytes((shop / "images" / "005a.png").read_bytes())
    groups = {row["id"]: row["group"] for row in read_product_pairs(shop)}
    assert groups["000a|000b"] == groups["000b|001a"] == "000a"
    assert groups["002a|002b"] == groups["003a|003b"] == "002a"
    assert groups["004a|004b"] == groups["005a|005b"] == "004a"


def test_other_formats(shop):
    pytest.importorskip("pyarrow")
    import pyarrow as pa
    from pyarrow import parquet

    expected = [row["id"] for row in read_product_pairs(shop)]
    with (shop / "pairs.csv").open() as handle:
        table = list(csv.DictReader(handle))
    (shop / "pairs.csv").unlink()
    write(shop / "pairs.jsonl", "\n".join(json.dumps({**row, "weight": None}) for row in table))
    with gzip.open(shop / "products.csv.gz", "wb") as handle:
        handle.write((shop / "products.csv").read_bytes())
    (shop / "products.csv").unlink()
    assert [row["id"] for row in read_product_pairs(shop)] == expected
    (shop / "pairs.jsonl").unlink()
    numbers = pa.table({"left_id": [1.0, None], "right_id": [2.0, 3.0]})
    parquet.write_table(numbers, shop / "numbers.parquet")
    with pytest.raises(DataError, match=r"numbers.parquet row 2: left_id is empty"):
        list(read_pairs(shop / "numbers.parquet"))
    parquet.write_table(numbers.slice(0, 1), shop / "numbers.parquet")
    assert [(pair.left, pair.right) for pair in read_pairs(shop / "numbers.parquet")] == [("1", "2")]
    cut = shop / "cut.parquet"
    cut.write_bytes((shop / "numbers.parquet").read_bytes()[:-20])
    with pytest.raises(DataError, match="not a whole Parquet file"):
        list(read_pairs(cut))


def test_missing_sides_are_kept_and_told(tmp_path, caplog):
    shop = make_shop(tmp_path / "shop", styles=6, missing=True)
    with caplog.at_level(logging.WARNING):
        rows = list(read_product_pairs(shop))
    assert "2 of 12 products of pairs have no picture" in caplog.text
    assert rows[0]["path"] is None
    assert rows[1]["extras"]["right"]["image"] is None
    assert rows[2]["extras"]["right"]["title"] is None
    assert len(rows) == 6


def test_pairs_of_unknown_products(shop, caplog):
    text = (shop / "pairs.csv").read_text()
    many = "".join(f"00{n % 6}a,00{(n + 1 + n // 6) % 6}b,3\n" for n in range(30))
    write(shop / "pairs.csv", text + many + "000a,gone,5\n")
    with caplog.at_level(logging.WARNING):
        assert all("gone" not in row["id"] for row in read_product_pairs(shop))
    assert "name a product that the table lacks; they are left out" in caplog.text
    assert "holds" in caplog.text
    write(shop / "pairs.csv", text + "000a,gone,5\n")
    with pytest.raises(DataError, match=r"1 of 7 pairs .* first pairs.csv row 8: 'gone'"):
        list(read_product_pairs(shop))


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("left_id,right_id\n1,1\n", "'1' is paired with itself"),
        ("left_id,right_id\n1,\n", "right_id is empty"),
        ("left_id,rihgt_id\n1,2\n", "no column 'right_id'.*Did you mean 'rihgt_id'"),
        ("left_id,right_id,weight\n1,2,0\n", "weight is '0', expected a relevance from 1 to 100"),
        ("left_id,right_id,weight\n1,2,high\n", "weight is 'high'"),
        ("left_id,right_id,weight\n1,2,nan\n", "weight is 'nan'"),
        ("left_id,right_id,split\n1,2,trian\n", "row 2: split is 'trian', expected train, val or test"),
    ],
)
def test_bad_tables(tmp_path, table, message):
    with pytest.raises(DataError, match=message):
        list(read_pairs(write(tmp_path / "pairs.csv", table)))


def test_bad_places(shop):
    write(shop / "empty.csv", "left_id,right_id\n")
    with pytest.raises(DataError, match=r"empty.csv: no pairs"):
        list(read_product_pairs(shop, pairs="empty.csv"))
    with pytest.raises(DataError, match="leaves the data folder"):
        list(read_product_pairs(shop, products="/etc/passwd"))
    with pytest.raises(DataError, match="no such file"):
        list(read_product_pairs(shop, pairs="other.csv"))
    with pytest.raises(DataError, match=r"none of .csv, .tsv, .jsonl, .parquet"):
        list(read_pairs(shop / "pairs.xlsx"))
    write(shop / "products.jsonl", "{}")
    with pytest.raises(DataError, match="there are products.csv, products.jsonl. Name the table of products"):
        list(read_product_pairs(shop))


def test_a_split_may_be_called_as_folders_are(tmp_path):
    table = tmp_path / "pairs.csv"
    table.write_text("left_id,right_id,split\n1,2,Validation\n3,4,train\n5,6,test\n7,8,\n")
    assert [one.split for one in read_pairs(table)] == ["val", "train", "test", None]
