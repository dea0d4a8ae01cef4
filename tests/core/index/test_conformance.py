"""What every back end does, whichever keeps the rows; a plain dict and float64 say what is right."""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from verticlip.core.errors import ConfigError, InputError
from verticlip.core.index.base import Change, Hits, Identity, Rows, VectorIndex
from verticlip.core.index.filters import F, Where
from verticlip.core.index.opening import create_index, open_index

NEEDS = {"flat": "numpy", "hnsw": "usearch", "lancedb": "lancedb", "qdrant": "qdrant_client"}
KINDS = ("flat", "hnsw", "lancedb", "qdrant")


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    if importlib.util.find_spec(NEEDS[request.param]) is None:
        pytest.skip(f"{NEEDS[request.param]} is not installed")
    return request.param


@pytest.fixture
def empty(kind: Any, tmp_path: Path, identity: Identity, schema: pa.Schema) -> VectorIndex:
    return made(kind, tmp_path / "index", identity, schema)


def made(kind: Any, folder: Path, identity: Identity, schema: pa.Schema) -> Any:
    views = ["image", "text"]
    if kind != "qdrant":
        return create_index(folder, identity=identity, views=views, schema=schema, kind=kind)
    from verticlip.core.index.qdrant import QdrantIndex

    return QdrantIndex.create(":memory:", "rows", identity=identity, views=views, schema=schema)


@pytest.fixture
def index(empty: VectorIndex, make_rows: Callable[..., Rows]) -> VectorIndex:
    empty.upsert(make_rows([f"sku-{n:02d}" for n in range(40)]))
    return empty


class Model:
    """The same rows in a dict."""

    def __init__(self, schema: pa.Schema) -> None:
        self.schema = schema
        self.rows: dict[str, dict[str, Any]] = {}
        self.vectors: dict[str, dict[str, np.ndarray | None]] = {}

    def upsert(self, rows: Rows) -> tuple[int, int]:
        replaced = sum(one in self.rows for one in rows.ids)
        for place, (one, cells) in enumerate(zip(rows.ids, rows.payload.to_pylist(), strict=True)):
            self.rows[one] = cells
            self.vectors[one] = {
                view: matrix[place] if view not in rows.present or rows.present[view][place] else None
                for view, matrix in rows.vectors.items()
            }
        return len(rows.ids) - replaced, replaced

    def delete(self, ids: Sequence[str]) -> int:
        return sum(self.rows.pop(one, None) is not None for one in dict.fromkeys(ids))

    def fitting(self, where: Where | None) -> list[str]:
        ids = sorted(self.rows)
        if where is None or not ids:
            return ids
        table = pa.Table.from_pylist([self.rows[one] for one in ids], schema=self.schema)
        return [one for one, fits in zip(ids, where.mask(table), strict=True) if fits]

    def search(self, query: np.ndarray, k: int, view: str, where: Where | None = None) -> Hits:
        """The k best by cosines in float64, rounded to float32; ties by id."""
        ids = [one for one in self.fitting(where) if self.vectors[one][view] is not None]
        if not ids:
            return Hits((), np.empty(0, np.float32))
        matrix = np.stack([self.vectors[one][view] for one in ids]).astype(np.float64)
        scores = (matrix * query.astype(np.float64)).sum(axis=1).astype(np.float32)
        order = sorted(range(len(ids)), key=lambda n: (-scores[n], ids[n]))[:k]
        return Hits(tuple(ids[n] for n in order), scores[order])


def assert_same(index: VectorIndex, model: Model, query: np.ndarray) -> None:
    """The index answers as the model in every way it can be asked."""
    assert len(index) == len(model.rows) == index.stats().rows
    scanned = {}
    for rows in index.scan(views=["image", "text"], batch_size=5):
        assert len(rows) <= 5
        for place, (one, cells) in enumerate(zip(rows.ids, rows.payload.to_pylist(), strict=True)):
            assert one not in scanned
            scanned[one] = cells
            for view, vector in model.vectors[one].items():
                has = view not in rows.present or bool(rows.present[view][place])
                assert has == (vector is not None)
                np.testing.assert_array_equal(rows.vectors[view][place], vector if has else 0)
    assert scanned == model.rows
    for view in ("image", "text"):
        for where in (None, (F("stock") == 1) | F("price").missing()):
            for k in (1, 3, 1000):
                (found,) = index.search(query, k, view=view, where=where)
                wanted = model.search(query[0], k, view, where)
                assert found.ids == wanted.ids
                np.testing.assert_allclose(found.scores, wanted.scores, atol=1e-6)


IDS = [f"sku-{n}" for n in range(9)] + ["日本語 / ñ", "a" * 1000, "quote'\"`", "new\nline", "😀"]
STEP = st.one_of(
    st.tuples(st.just("upsert"), st.lists(st.sampled_from(IDS), unique=True, max_size=6), st.integers(0, 9)),
    st.tuples(st.just("delete"), st.lists(st.sampled_from(IDS), max_size=5), st.just(0)),
    st.tuples(st.sampled_from(["optimize", "reopen"]), st.just([]), st.just(0)),
)


def run_like_a_dict(kind: Any, identity: Identity, schema: pa.Schema, make_rows: Any, steps: Any) -> None:
    # Four directions in all: many rows are equal, so ids have to break ties at every border.
    pool = make_rows(["a", "b", "c", "d"]).vectors["image"]
    model, query = Model(schema), pool[:1]
    with tempfile.TemporaryDirectory() as folder:
        index = made(kind, Path(folder) / "x", identity, schema)
        for number, (step, ids, seed) in enumerate(steps):
            before = index.version
            if step == "upsert":
                rows = make_rows(ids, seed)
                choice = np.array([(len(one) + seed) % 4 for one in ids], int)
                rows = Rows(rows.ids, rows.payload, {**rows.vectors, "image": pool[choice]}, rows.present)
                change = index.upsert(rows)
                assert (change.added, change.replaced) == model.upsert(rows)
                assert change.version == index.version >= before + bool(ids)
            elif step == "delete":
                change = index.delete(ids)
                assert change.deleted == model.delete(ids)
                assert change.version == index.version
            elif step == "optimize":
                index.optimize()
            elif kind == "qdrant":
                index = type(index).open(index._client, "rows")
                assert index.version == before
            else:
                index.close()
                index = open_index(Path(folder) / "x")
                assert index.version == before
            if number % 4 == 3 or number == len(steps) - 1:
                assert_same(index, model, query)
        index.close()


def test_any_order_of_writes_gives_what_a_dict_gives(
    kind: str, identity: Identity, schema: pa.Schema, make_rows: Callable[..., Rows]
) -> None:
    # A commit of LanceDB takes some ten times as long as one of our own.
    examples = 3 if kind == "lancedb" else 15

    @settings(max_examples=examples, deadline=None, derandomize=True, database=None)
    @given(steps=st.lists(STEP, min_size=1, max_size=14))
    def run(steps: Any) -> None:
        run_like_a_dict(kind, identity, schema, make_rows, steps)

    run()


def test_many_small_writes_then_one_search(
    empty: VectorIndex, make_rows: Callable[..., Rows], query: Any, schema: pa.Schema
) -> None:
    model = Model(schema)
    for number in range(40):
        rows = make_rows([f"sku-{number * 3 % 25:02d}", f"extra-{number}"], number)
        empty.upsert(rows)
        model.upsert(rows)
    assert_same(empty, model, query(1))
    empty.optimize()
    assert_same(empty, model, query(1))


def test_search_agrees_with_float64(
    empty: VectorIndex, make_rows: Callable[..., Rows], query: Any, schema: pa.Schema
) -> None:
    model, rows = Model(schema), make_rows([f"sku-{n:04d}" for n in range(700)])
    empty.upsert(rows)
    model.upsert(rows)
    queries = query(3, 9)
    found = empty.search(queries, 7, view="text", where=F("price") < 500, ef=0)
    for one, hits in zip(queries, found, strict=True):
        wanted = model.search(one, 7, "text", F("price") < 500)
        assert hits.ids == wanted.ids
        np.testing.assert_allclose(hits.scores, wanted.scores, atol=1e-6)


def test_an_index_says_what_it_is(index: VectorIndex, identity: Identity, schema: pa.Schema) -> None:
    assert index.identity == identity
    assert index.views == ("image", "text")
    assert index.schema.equals(schema)
    assert index.version == 1
    stats = index.stats()
    assert (stats.rows, stats.version) == (40, 1)
    assert set(stats.kind) == {"image", "text"}


def test_rows_are_found_by_id(index: VectorIndex, make_rows: Callable[..., Rows]) -> None:
    written = make_rows([f"sku-{n:02d}" for n in range(40)])
    found = index.get(["sku-07", "nothing", "sku-05", "sku-07"], views=["text"])
    assert found.ids == ("sku-07", "sku-05")
    assert found.payload.to_pylist() == written.payload.take([7, 5]).to_pylist()
    assert found.present["text"].tolist() == [True, False]
    np.testing.assert_array_equal(found.vectors["text"], written.vectors["text"][[7, 5]])
    some = index.get(["sku-01"], columns=["price", "title"])
    assert some.payload.column_names == ["price", "title"]
    assert not some.vectors
    assert index.get([]).ids == ()
    assert index.get(["nothing"]).payload.schema.names == index.schema.names


def test_scan_gives_no_columns_when_asked_for_none(index: VectorIndex) -> None:
    found = [one for rows in index.scan(columns=[], where=F("stock") == 2) for one in rows.ids]
    assert sorted(found) == [f"sku-{n:02d}" for n in range(2, 40, 3)]


@pytest.mark.parametrize("where", [F("price") < 10, ~(F("price") < 10), F("tags").contains("t0")], ids=str)
def test_a_filter_keeps_the_rows_that_fit(
    index: VectorIndex, where: Where, query: Any, make_rows: Callable[..., Rows]
) -> None:
    rows = make_rows([f"sku-{n:02d}" for n in range(40)])
    fitting = {one for one, fits in zip(rows.ids, where.mask(rows.payload), strict=True) if fits}
    assert 0 < len(fitting) < 40
    (hits,) = index.search(query(0), 40, view="image", where=where)
    assert set(hits.ids) == fitting
    assert {one for rows in index.scan(where=where) for one in rows.ids} == fitting


def test_a_filter_that_nothing_fits_finds_nothing(index: VectorIndex, query: Any) -> None:
    found = index.search(query(0, 3), 5, view="image", where=F("price") > 10**6)
    assert [hits.ids for hits in found] == [(), (), ()]


def test_an_empty_index_finds_nothing(empty: VectorIndex, query: Any) -> None:
    assert len(empty) == 0
    assert [hits.ids for hits in empty.search(query(0, 2), 5, view="text")] == [(), ()]
    assert list(empty.scan()) == []
    assert empty.delete(["nothing"]) == Change(0, 0, 0, 0)
    assert empty.optimize().rows == 0


def test_all_rows_can_go_and_come_again(
    index: VectorIndex, make_rows: Callable[..., Rows], query: Any
) -> None:
    change = index.delete([f"sku-{n:02d}" for n in range(40)])
    assert change.deleted == 40
    assert len(index) == 0
    assert index.search(query(0), 5, view="image")[0].ids == ()
    index.optimize()
    assert index.upsert(make_rows(["sku-01"])).added == 1
    assert index.search(query(0), 5, view="image")[0].ids == ("sku-01",)


def test_k_may_be_more_than_there_is(index: VectorIndex, query: Any) -> None:
    (hits,) = index.search(query(0), 10**6, view="image")
    assert len(hits) == 40
    assert np.all(np.diff(hits.scores) <= 0)
    assert hits.scores.dtype == np.float32


def test_no_queries_give_no_answers(index: VectorIndex) -> None:
    assert index.search(np.empty((0, 8), np.float32), view="image") == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"k": 0}, "k must be a whole number of at least 1, got 0"),
        ({"k": -3}, "at least 1, got -3"),
        ({"view": "imgae"}, "no view 'imgae'.*Did you mean 'image'"),
        ({"where": F("pric") < 5}, "'pric'.*Did you mean 'price'"),
        ({"where": F("price") == "cheap"}, "holds numbers, the value is 'cheap'"),
        ({"ef": -1}, "ef must be 0"),
    ],
)
def test_bad_questions_are_refused(
    index: VectorIndex, query: Any, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        index.search(query(0), **{"view": "image", **arguments})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda q: q[:, :5], r"\[Q, 8\], got float32 \[1, 5\]"),
        (lambda q: q[0], r"Pass queries\[None\]"),
        (lambda q: q * np.nan, "Query 0 holds NaN"),
        (lambda q: q * 0, "Query 0 is all zeros"),
        (lambda q: q * 2, "Query 0 has length 2"),
    ],
)
def test_bad_queries_are_refused(index: VectorIndex, query: Any, change: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        index.search(change(query(0)), view="image")


def test_queries_of_another_model_are_refused(index: VectorIndex, query: Any) -> None:
    other = Identity("maker/model", "0" * 40, "e" * 16, 8, "template-1")
    with pytest.raises(ConfigError, match="made with processor 'e+'"):
        index.search(query(0), view="image", made_by=other)
    assert index.search(query(0), view="image", made_by=index.identity)[0].ids


def spoilt(rows: Rows, **changes: Any) -> Rows:
    return Rows(**{"ids": rows.ids, "payload": rows.payload, "vectors": rows.vectors, **changes})


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda r: spoilt(r, ids=("a", "b", "a")), "'a' stands twice"),
        (lambda r: spoilt(r, ids=("a", "", "c")), "Id 1 is empty"),
        (lambda r: spoilt(r, ids=("a", "b" * 1001, "c")), "1,001 characters; the limit is 1,000"),
        (lambda r: spoilt(r, ids=("a", 7, "c")), "Id 1 is 7; ids are texts"),
        (lambda r: spoilt(r, ids=("a", "\ud800", "c")), "half a character"),
        (lambda r: spoilt(r, ids=("a", "b")), "float32 \\[2, 8\\], got float32 \\[3, 8\\]"),
        (lambda r: spoilt(r, payload=r.payload.drop_columns("price")), "lacks the column 'price'"),
        (
            lambda r: spoilt(r, payload=r.payload.append_column("prise", r.payload["price"])),
            "Did you mean 'price'",
        ),
        (lambda r: spoilt(r, payload=r.payload.slice(1)), "2 rows for 3 ids"),
        (lambda r: with_price(r, ["a", "b", "c"]), "'price' is string and does not fit double"),
        (lambda r: with_price(r, [1.0, float("nan"), 2.0]), "'y': price is nan; .* null, not NaN"),
        (lambda r: with_vector(r, np.nan), "'y': its 'image' vector holds NaN or infinity"),
        (lambda r: with_vector(r, np.inf), "'y': its 'image' vector holds NaN or infinity"),
        (lambda r: with_vector(r, 0), "'y': its 'image' vector is all zeros"),
        (lambda r: with_vector(r, 3), "'y': its 'image' vector has length"),
        (lambda r: spoilt(r, vectors={"image": r.vectors["image"]}), "lack 'text' vectors"),
        (lambda r: spoilt(r, vectors={**r.vectors, "sound": r.vectors["image"]}), "no view 'sound'"),
        (lambda r: spoilt(r, present={"text": np.array([1, 0, 1])}), "must be bool \\[3\\], .* got int64"),
    ],
)
def test_bad_rows_are_refused_and_change_nothing(
    index: VectorIndex, make_rows: Callable[..., Rows], spoil: Any, message: str
) -> None:
    rows = make_rows(["x", "y", "z"])
    whole = Rows(rows.ids, rows.payload, dict.fromkeys(("image", "text"), rows.vectors["image"]))
    with pytest.raises(InputError, match=message):
        index.upsert(spoil(whole))
    assert (len(index), index.version) == (40, 1)


def with_price(rows: Rows, values: list[Any]) -> Rows:
    place = rows.payload.schema.get_field_index("price")
    return spoilt(rows, payload=rows.payload.set_column(place, "price", pa.array(values)))


def with_vector(rows: Rows, factor: float) -> Rows:
    spoiled = rows.vectors["image"].copy()
    spoiled[1] *= np.float32(factor)
    return spoilt(rows, vectors={**rows.vectors, "image": spoiled})


def test_a_vector_that_is_not_there_is_not_checked(
    index: VectorIndex, make_rows: Callable[..., Rows]
) -> None:
    rows = make_rows(["x"])
    image = rows.vectors["image"]
    index.upsert(
        Rows(("x",), rows.payload, {"image": image, "text": image * np.nan}, {"text": np.array([False])})
    )
    found = index.get(["x"], views=["text"])
    assert not found.present["text"][0]
    assert not found.vectors["text"].any()


def test_payload_types_are_widened_where_nothing_is_lost(
    index: VectorIndex, make_rows: Callable[..., Rows]
) -> None:
    rows = make_rows(["x", "y"])
    payload = rows.payload
    for name, values in {
        "price": pa.array([1, 2], pa.int32()),
        "stock": pa.array([1, None], pa.int16()),
        "title": pa.array(["a", "b"], pa.large_string()).dictionary_encode(),
        "tags": pa.nulls(2),
    }.items():
        payload = payload.set_column(payload.schema.get_field_index(name), name, values)
    index.upsert(spoilt(rows, payload=payload.select(payload.column_names[::-1]), present=rows.present))
    found = index.get(["x", "y"]).payload
    assert found.schema.equals(index.schema)
    assert found.select(["price", "stock", "title", "tags"]).to_pylist() == [
        {"price": 1.0, "stock": 1, "title": "a", "tags": None},
        {"price": 2.0, "stock": None, "title": "b", "tags": None},
    ]


def test_deleting_takes_texts(index: VectorIndex) -> None:
    with pytest.raises(InputError, match="Id 0 is 5; ids are texts"):
        index.delete([5])  # pyright: ignore
    assert index.delete(["sku-01", "sku-01"]).deleted == 1


@pytest.mark.parametrize("strange", ["", "\ud800", "x" * 5000, "a\0b", "') OR ('1'='1"])
def test_an_id_that_no_row_has_is_not_found_and_no_error(index: VectorIndex, strange: str) -> None:
    rows = len(index)
    assert index.get([strange, "sku-01"]).ids == ("sku-01",)
    assert index.delete([strange]).deleted == 0
    assert len(index) == rows
    assert index.get(["sku-02"]).ids == ("sku-02",)


def test_one_text_is_no_list_of_ids(index: VectorIndex) -> None:
    with pytest.raises(InputError, match=r"Ids are a list of texts.*Write \['sku-01'\]"):
        index.delete("sku-01")
    with pytest.raises(InputError, match="Ids are a list of texts"):
        index.get("sku-01")


def test_another_reader_keeps_its_version(
    index: VectorIndex, tmp_path: Path, make_rows: Callable[..., Rows], query: Any, kind: str
) -> None:
    if kind == "qdrant":
        pytest.skip("a server answers with what was written last")
    reader = open_index(tmp_path / "index", read_only=True)
    before = reader.search(query(0), 5, view="image")[0].ids
    for number in range(6):
        index.upsert(make_rows([f"sku-{n:02d}" for n in range(40)], number + 1))
    index.optimize()
    assert reader.search(query(0), 5, view="image")[0].ids == before
    assert reader.get(["sku-03"]).payload.to_pylist()[0]["price"] is None
    assert reader.get(["sku-02"], columns=["price"]).payload.to_pylist() == [{"price": 2.0}]
    assert open_index(tmp_path / "index").version == index.version > reader.version
    with pytest.raises(ConfigError, match="read only"):
        reader.delete(["sku-01"])


def test_creating_over_an_index_is_refused(
    index: VectorIndex, tmp_path: Path, identity: Identity, schema: pa.Schema, kind: Any
) -> None:
    if kind == "qdrant":
        pytest.skip("see test_qdrant.py")
    with pytest.raises(ConfigError, match="there is an index here already"):
        create_index(tmp_path / "index", identity=identity, views=["image"], schema=schema, kind=kind)
    assert len(index) == 40
