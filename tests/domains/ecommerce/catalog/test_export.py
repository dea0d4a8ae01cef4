import csv
import json
from pathlib import Path

import numpy as np
import pytest
from ecommerce.make_shop import DIM, HashEncoder, content_of
from verticlip.core.errors import ConfigError
from verticlip.core.index import create_index
from verticlip.core.index.base import Identity
from verticlip.core.index.filters import F
from verticlip.domains.ecommerce.catalog.catalog import Catalog

VIEWS = ("image", "text", "product")
ODD = {
    "id": "007",
    "title": 'A "quoted", title\nof two lines; =1+1',
    "brand": "Émile",
    "price": "12,50 EUR",
    "updated_at": "2026-03-01T10:00:00Z",
    "attributes": {"fit": "slim", "size": 4},
}


@pytest.fixture
def catalog(tmp_path: Path, encoder, shop) -> Catalog:
    made = Catalog.create(tmp_path / "cat", model=encoder)
    made.ingest(shop(12))
    made.ingest([ODD])
    return made


def shown(catalog: Catalog) -> dict[str, dict]:
    """Return what people see of all products; the path of a picture depends on where the table lies."""
    return {one.id: dict(one.payload) for one in catalog.search(text="x", k=99, view="product")}


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_an_export_can_be_taken_in_again(catalog, tmp_path: Path, suffix) -> None:
    out = tmp_path / "shop" / f"export{suffix}"
    said: list[tuple[int, int]] = []
    assert catalog.export(out, progress=lambda *done: said.append(done)) == 13
    assert said == [(13, 13)]
    again = Catalog.create(tmp_path / "again", model=HashEncoder())
    report = again.ingest(out)
    assert (report.added, report.rejected) == (13, 0)
    assert shown(again) == shown(catalog)
    before, after = content_of(catalog), content_of(again)
    assert {name: value[1] for name, value in after.items()} == {
        name: value[1] for name, value in before.items()
    }


def test_csv_is_what_a_spreadsheet_reads(catalog, tmp_path: Path) -> None:
    out = tmp_path / "a.csv"
    catalog.export(out)
    with out.open(newline="", encoding="utf-8") as file:
        rows = {row["id"]: row for row in csv.DictReader(file)}
    assert rows["007"]["title"] == ODD["title"]
    assert (rows["007"]["price"], rows["007"]["currency"]) == ("12.5", "EUR")
    assert rows["007"]["updated_at"].startswith("2026-03-01T10:00:00")
    assert json.loads(rows["007"]["attributes"]) == {"fit": "slim", "size": 4}
    assert rows["P00001"]["image"] == "img/1.png"
    assert not {"row_hash", "image_path", "text"} & set(rows["007"])


def test_vectors_go_with_their_maker(catalog, tmp_path: Path) -> None:
    from pyarrow import parquet

    out = tmp_path / "a.parquet"
    assert catalog.export(out, vectors=True, where="title is null or price > 6") == 11
    table = parquet.read_table(out)
    assert json.loads(table.schema.metadata[b"verticlip"])["model"] == "hash"
    assert "verticlip" not in {name.split(".")[0] for name in table.schema.names}
    rows = {row["id"]: row for row in table.to_pylist()}
    assert rows["007"]["vector_image"] is None
    stored = catalog.index.get(["P00003"], views=VIEWS)
    for view in VIEWS:
        np.testing.assert_array_equal(np.float32(rows["P00003"][f"vector_{view}"]), stored.vectors[view][0])
    lines = tmp_path / "a.jsonl"
    catalog.export(lines, vectors=True)
    found = {row["id"]: row for row in map(json.loads, lines.read_text().splitlines())}
    assert "vector_image" not in found["007"]
    np.testing.assert_array_equal(np.float32(found["P00003"]["vector_text"]), stored.vectors["text"][0])


def test_products_move_to_another_index(catalog, tmp_path: Path) -> None:
    other = create_index(
        tmp_path / "other",
        kind="flat",
        identity=catalog.index.identity,
        views=VIEWS,
        schema=catalog.index.schema,
    )
    assert catalog.export(other, where=F("sleeve") == "long") == 6
    assert len(other) == 6
    assert other.get(["P00002"], views=VIEWS).vectors["text"].tobytes() == (
        catalog.index.get(["P00002"], views=VIEWS).vectors["text"].tobytes()
    )
    foreign = create_index(
        tmp_path / "foreign",
        kind="flat",
        identity=Identity("other", "r1", "p1", DIM),
        views=VIEWS,
        schema=catalog.index.schema,
    )
    with pytest.raises(ConfigError, match="The source was made with model 'hash'"):
        catalog.export(foreign)


def test_what_was_deleted_here_goes_there_too(catalog, tmp_path: Path) -> None:
    schema = catalog.index.schema
    other = create_index(tmp_path / "o", identity=catalog.index.identity, views=VIEWS, schema=schema)
    catalog.export(other)
    catalog.delete(["P00001"])
    assert catalog.export(other) == 12
    assert len(other) == 13
    # A condition narrows what is written, not what is taken for deleted.
    assert catalog.export(other, where="price > 1000", sync=True) == 0
    assert sorted(content_of(catalog)) == sorted(name for rows in other.scan() for name in rows.ids)
    catalog.delete(F("sleeve") == "long")
    with pytest.raises(ConfigError, match=r"sync would take out 6 of 12 products \(50%\)"):
        catalog.export(other, sync=True)
    assert len(other) == 12
    catalog.export(other, sync=True, max_delete_share=0.5)
    assert len(other) == 6


def test_a_spreadsheet_runs_nothing(tmp_path: Path, encoder) -> None:
    rows = [
        {
            "id": "=cmd",
            "title": '=HYPERLINK("http://x","y")',
            "brand": "'=a",
            "category": "@a",
            "color": "-1",
        },
        {"id": "-5", "title": "'quoted' -x", "material": "+49"},
    ]
    catalog = Catalog.create(tmp_path / "cat", model=encoder)
    assert catalog.ingest(rows).added == 2
    out = tmp_path / "a.csv"
    catalog.export(out)
    with out.open(newline="", encoding="utf-8") as file:
        cells = [cell for record in csv.reader(file) for cell in record]
    assert not [cell for cell in cells if cell[:1] in tuple("=+-@\t\r")]
    assert "'=cmd" in cells
    again = Catalog.create(tmp_path / "again", model=HashEncoder())
    assert again.ingest(out).added == 2
    assert shown(again) == shown(catalog)


def test_impossible_exports_leave_nothing(catalog, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"ends in \.parquet, \.jsonl, \.csv"):
        catalog.export(tmp_path / "a.xlsx")
    with pytest.raises(ConfigError, match="no room for vectors"):
        catalog.export(tmp_path / "a.csv", vectors=True)

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        catalog.export(tmp_path / "a.jsonl", progress=stop)
    assert not list(tmp_path.glob("*a.*"))
