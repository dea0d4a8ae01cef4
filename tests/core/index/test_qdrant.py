"""What is special about an index in a Qdrant collection, tried on the client's stand-in for a server."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from verticlip.core.errors import ConfigError, InputError
from verticlip.core.index.base import Identity, Rows
from verticlip.core.index.filters import F, Where
from verticlip.core.index.opening import create_index
from verticlip.core.index.qdrant import QdrantIndex
from verticlip.core.index.qdrant_options import QdrantOptions

qdrant_client = pytest.importorskip("qdrant_client")
pytestmark = pytest.mark.filterwarnings("ignore:Failed to obtain server version")

IDENTITY = Identity("maker/model", "0" * 40, "f" * 16, 8, "template-1")


@pytest.fixture
def client() -> Any:
    return qdrant_client.QdrantClient(":memory:")


@pytest.fixture
def index(client: Any, schema: pa.Schema, make_rows: Callable[..., Rows]) -> QdrantIndex:
    index = QdrantIndex.create(client, "shop", identity=IDENTITY, views=["image", "text"], schema=schema)
    index.upsert(make_rows([f"sku-{n:02d}" for n in range(40)]))
    return index


WHERES = [
    F("price") == 4,
    F("price") != 4,
    F("price") >= 4.5,
    F("price").in_([1, 2, 77.5]),
    F("stock") == 1,
    F("stock") != 1,
    F("stock") == 1.5,
    F("stock") != 1.5,
    F("stock") < 1.5,
    F("stock") <= 1e30,
    F("stock").in_([0, 2]),
    F("stock").in_([0.5]),
    F("sale") == True,  # noqa: E712
    F("sale").in_([False]),
    F("title") == "product sku-07",
    F("title") != "product sku-07",
    F("title").in_(["product sku-07", "product sku-08"]),
    F("title").missing(),
    ~F("title").missing(),
    F("tags").contains("t1"),
    F("tags").missing(),
    F("seen") >= "1970-02-01",
    F("seen") == "1970-01-24T03:33:20",
    (F("price") < 20) & ~(F("stock") == 1) | F("sale").missing(),
]


@pytest.mark.parametrize("where", WHERES, ids=str)
def test_filters_fit_the_rows_that_masks_fit(
    index: QdrantIndex, where: Where, make_rows: Callable[..., Rows]
) -> None:
    rows = make_rows([f"sku-{n:02d}" for n in range(40)])
    wanted = {one for one, fits in zip(rows.ids, where.mask(rows.payload), strict=True) if fits}
    assert {one for part in index.scan(where=where) for one in part.ids} == wanted


@pytest.mark.parametrize(
    ("where", "message"),
    [
        (F("title") < "m", "'title': Qdrant does not compare texts by order. Use = or in"),
        (F("title").contains("sku"), "'title': Qdrant compares whole texts"),
        (F("titel") == "m", "Did you mean 'title'"),
    ],
)
def test_filters_that_it_cannot_answer_are_refused(index: QdrantIndex, where: Where, message: str) -> None:
    with pytest.raises(InputError, match=message):
        list(index.scan(where=where))


def test_names_with_dots_and_blanks_are_names(client: Any) -> None:
    schema = pa.schema([("a.b", pa.string()), ("Größe in cm", pa.float64()), ("x[0]", pa.int64())])
    index = QdrantIndex.create(client, "odd", identity=IDENTITY, views=["image"], schema=schema)
    payload = pa.table({"a.b": ["p", "q"], "Größe in cm": [1.0, 2.0], "x[0]": [1, 2]}, schema=schema)
    index.upsert(Rows(("1", "2"), payload, {"image": np.eye(2, 8, dtype=np.float32)}))
    for where in (F("a.b") == "q", F("Größe in cm") > 1.5, F("x[0]") == 2):
        assert [part.ids for part in index.scan(where=where)] == [("2",)]
    assert index.get(["1"], columns=["a.b"]).payload.to_pylist() == [{"a.b": "p"}]


def test_a_collection_is_found_again(client: Any, index: QdrantIndex, schema: pa.Schema) -> None:
    again = QdrantIndex.open(client, "shop", read_only=True)
    assert (again.identity, again.views, again.version) == (IDENTITY, ("image", "text"), 1)
    assert again.schema.equals(schema)
    with pytest.raises(ConfigError, match="opened to be read only"):
        again.delete(["sku-01"])
    with pytest.raises(ConfigError, match="'shop' is there already"):
        QdrantIndex.create(client, "shop", identity=IDENTITY, views=["image"], schema=schema)


def test_what_is_no_index_is_refused(client: Any, tmp_path: Path, schema: pa.Schema) -> None:
    with pytest.raises(ConfigError, match="no collection 'none'"):
        QdrantIndex.open(client, "none")
    client.create_collection("other", vectors_config={})
    with pytest.raises(ConfigError, match="'other' was not made by this library"):
        QdrantIndex.open(client, "other")
    with pytest.raises(ConfigError, match="is no address of a Qdrant server"):
        QdrantIndex.open(str(tmp_path), "shop")
    with pytest.raises(ConfigError, match=r"lives in a server: make it with QdrantIndex.create"):
        create_index(tmp_path / "x", identity=IDENTITY, views=["image"], schema=schema, kind="qdrant")
    assert not (tmp_path / "x").exists()


def test_a_server_that_does_not_answer() -> None:
    with pytest.raises(ConfigError, match="The Qdrant server did not do as asked"):
        QdrantIndex.open("http://127.0.0.1:9", "shop")


def test_names_that_it_does_not_take(client: Any) -> None:
    schema = pa.schema([('a"b', pa.string())])
    with pytest.raises(InputError, match="no double quote"):
        QdrantIndex.create(client, "x", identity=IDENTITY, views=["image"], schema=schema)
    assert not client.collection_exists("x")


def test_batches_join_into_one_write(index: QdrantIndex, make_rows: Callable[..., Rows]) -> None:
    rows = make_rows([f"sku-{n:02d}" for n in range(700)])
    change = index.upsert(rows)
    assert (change.added, change.replaced, change.version) == (660, 40, 2)
    assert sum(len(part) for part in index.scan(batch_size=300)) == len(index) == 700
    assert index.delete([f"sku-{n:02d}" for n in range(600)]).deleted == 600
    assert index.delete(["nothing"]).version == 3


def test_a_server_is_told_how_broadly_to_search(index: QdrantIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    real = index._client.query_batch_points

    def query_batch_points(collection: str, requests: list[Any]) -> Any:
        seen.extend(one.params for one in requests)
        return real(collection, requests)

    monkeypatch.setattr(index, "_exact_only", False)
    monkeypatch.setattr(index._client, "query_batch_points", query_batch_points)
    query = np.eye(1, 8, dtype=np.float32)
    for ef in (None, 0, 300):
        index.search(query, 3, view="image", ef=ef)
    assert [(one.exact, one.hnsw_ef) for one in seen] == [(False, 128), (True, None), (False, 300)]


def test_many_queries_are_few_requests(
    index: QdrantIndex, monkeypatch: pytest.MonkeyPatch, query: Callable[..., np.ndarray]
) -> None:
    queries = query(5, 30)
    one_by_one = [index.search(one[None], 4, view="text")[0] for one in queries]
    sizes: list[int] = []
    real = index._client.query_batch_points

    def counted(collection: str, requests: list[Any]) -> Any:
        sizes.append(len(requests))
        return real(collection, requests)

    monkeypatch.setattr(index._client, "query_batch_points", counted)
    together = index.search(queries, 4, view="text")
    assert sizes == [30]
    assert [hits.ids for hits in together] == [hits.ids for hits in one_by_one]
    monkeypatch.setattr("verticlip.core.index.qdrant_search._POINTS", 100)
    sizes.clear()
    assert [hits.ids for hits in index.search(queries, 4, view="text")] == [hits.ids for hits in together]
    assert sizes == [8, 8, 8, 6]


def test_ties_at_the_end_are_settled_by_id(client: Any) -> None:
    index = QdrantIndex.create(client, "ties", identity=IDENTITY, views=["image"], schema=pa.schema([]))
    ids = [f"r{n:03d}" for n in range(60)]
    index.upsert(Rows(tuple(ids), pa.table({}), {"image": np.repeat(np.eye(1, 8, dtype=np.float32), 60, 0)}))
    queries = np.eye(3, 8, dtype=np.float32)
    assert [hits.ids for hits in index.search(queries, 5, view="image")] == [tuple(ids[:5])] * 3


def test_a_cluster_is_told_how_to_keep_a_collection(
    client: Any, schema: pa.Schema, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[dict[str, Any]] = []
    indexed: dict[str, str] = {}
    create = client.create_collection
    monkeypatch.setattr(
        client, "create_collection", lambda name, **given: made.append(given) or create(name, **given)
    )
    monkeypatch.setattr(
        client,
        "create_payload_index",
        lambda name, field, *, field_schema, wait: indexed.update({field: field_schema.value}),
    )
    monkeypatch.setattr("verticlip.core.index.qdrant.is_local", lambda client: False)
    options = QdrantOptions(shards=6, replicas=2, quantize=True, vectors_on_disk=True)
    QdrantIndex.create(client, "big", identity=IDENTITY, views=["image"], schema=schema, options=options)
    (given,) = made
    assert (given["shard_number"], given["replication_factor"], given["on_disk_payload"]) == (6, 2, True)
    vector = given["vectors_config"]["image"]
    assert vector.on_disk
    assert vector.quantization_config.scalar.type.value == "int8"
    assert {field.strip('"'): kind for field, kind in indexed.items()} == {
        "title": "keyword",
        "price": "float",
        "stock": "integer",
        "sale": "bool",
        "tags": "keyword",
        "seen": "datetime",
    }
    indexed.clear()
    few = QdrantOptions(indexed=("price",))
    QdrantIndex.create(client, "few", identity=IDENTITY, views=["image"], schema=schema, options=few)
    assert [field.strip('"') for field in indexed] == ["price"]
    assert made[1]["vectors_config"]["image"].quantization_config is None
    wrong = QdrantOptions(indexed=("prize",))
    with pytest.raises(ConfigError, match="no payload column 'prize'. Did you mean 'price'"):
        QdrantIndex.create(client, "x", identity=IDENTITY, views=["image"], schema=schema, options=wrong)
    assert not client.collection_exists("x")


def test_an_empty_collection_with_settings_of_its_own_is_taken(client: Any, schema: pa.Schema) -> None:
    def params(size: int, distance: str = "Dot") -> Any:
        return qdrant_client.models.VectorParams(size=size, distance=distance)

    for name, vectors in (
        ("fits", {"image": params(8)}),
        ("long", {"image": params(9)}),
        ("angle", {"image": params(8, "Euclid")}),
        ("other", {"text": params(8)}),
        ("single", params(8)),
    ):
        client.create_collection(name, vectors_config=vectors)
        make = partial(QdrantIndex.create, client, name, identity=IDENTITY, views=["image"], schema=schema)
        if name == "fits":
            assert len(make()) == 0
        with pytest.raises(ConfigError, match=f"Collection '{name}' is there already"):
            make()
