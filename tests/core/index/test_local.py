"""Versions, segments and threads of an index in a folder; see test_conformance.py for what all kinds do."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet
from verticlip.core.errors import ConfigError, InputError
from verticlip.core.index.base import Identity, Rows
from verticlip.core.index.filters import F
from verticlip.core.index.gathering import kept_beside
from verticlip.core.index.local import LocalIndex
from verticlip.core.index.opening import create_index


@pytest.fixture
def index(tmp_path: Path, identity: Identity, schema: pa.Schema) -> LocalIndex:
    made = create_index(
        tmp_path / "index", identity=identity, views=["image", "text"], schema=schema, kind="flat"
    )
    assert isinstance(made, LocalIndex)
    return made


@pytest.mark.parametrize("batch", [1, 100, 1000, 2000, 5000])
def test_pieces_stay_few_and_rows_are_seldom_written_again(batch: int) -> None:
    sizes: list[int] = []
    written = total = 0
    while total < 200_000 and len(sizes) < 1000 and written < 10**8:
        kept = kept_beside(sizes, batch)
        sizes = [*sizes[:kept], sum(sizes[kept:]) + batch]
        written += sizes[-1]
        total += batch
        assert len(sizes) <= 2 * 3 + 2 * 7
        if batch == 1 and total == 5000:
            break
    assert sum(sizes) == total
    # Once when it comes, once per tier; single rows more often, up to a piece of 512.
    assert written <= total * (4 if batch >= 512 else 140)


@pytest.mark.parametrize(
    ("sizes", "new", "kept"),
    [
        ([], 5, 0),
        ([5] * 2, 5, 2),
        ([5] * 3, 5, 0),
        ([100_000] + [5] * 3, 5, 1),
        ([600] * 2 + [5] * 3, 5, 2),
        ([600] * 3 + [500] * 3, 500, 0),
        ([5000] * 6, 5000, 6),
        ([5000] * 7, 5000, 0),
        ([40_000] * 9, 5, 9),
        ([5] * 20, 50_000, 0),
        ([40_000] * 7, 40_000, 0),
        ([300_000] * 9, 300_000, 9),
    ],
)
def test_like_pieces_are_merged(sizes: list[int], new: int, kept: int) -> None:
    assert kept_beside(sizes, new) == kept


def test_pieces_are_merged_within_a_write(index: LocalIndex, make_rows: Callable[..., Rows]) -> None:
    for number in range(30):
        index.upsert(make_rows([f"sku-{number}", "same"], number))
        assert len(list((index.folder / "versions").glob("*.json"))) <= 3
    assert len(index) == 31
    assert index.version == 30
    pieces = sum(name.endswith("rows.parquet") for name in index.files())
    assert pieces <= 7
    # The row that is written each time is deleted in all pieces but the last.
    assert index.stats().deleted == pieces - 1


def test_a_write_that_changes_nothing_makes_no_version(
    index: LocalIndex, make_rows: Callable[..., Rows]
) -> None:
    index.upsert(make_rows(["a", "b"]))
    assert index.upsert(make_rows([])).version == 1
    assert index.delete(["nothing"]).version == 1
    assert index.optimize().version == 1


def test_pieces_that_are_all_deleted_go(index: LocalIndex, make_rows: Callable[..., Rows]) -> None:
    index.upsert(make_rows(["a", "b"]))
    index.upsert(make_rows(["c"]))
    index.delete(["b", "a"])
    assert sum(name.endswith("rows.parquet") for name in index.files()) == 1
    assert (index.stats().rows, index.stats().deleted) == (1, 0)


def test_columns_can_be_added(
    index: LocalIndex, make_rows: Callable[..., Rows], query: Any, schema: pa.Schema
) -> None:
    index.upsert(make_rows(["a", "b"]))
    assert index.add_columns(pa.schema([("brand", pa.string())])) == 2
    assert LocalIndex(index.folder, version=1).schema.equals(schema)
    assert index.get(["a"], columns=["brand"]).payload.to_pylist() == [{"brand": None}]
    more = make_rows(["c"])
    index.upsert(Rows(more.ids, more.payload.append_column("brand", pa.array(["Acme"])), more.vectors))
    for _ in range(2):
        assert index.search(query(0), view="image", where=F("brand") == "Acme")[0].ids == ("c",)
        assert set(index.search(query(0), view="image", where=F("brand").missing())[0].ids) == {"a", "b"}
        index.optimize()
    with pytest.raises(InputError, match="lacks the column 'brand'"):
        index.upsert(make_rows(["d"]))
    with pytest.raises(InputError, match="has a payload column 'price' already"):
        index.add_columns(pa.schema([("price", pa.float64())]))
    assert LocalIndex(index.folder).schema.names == [*schema.names, "brand"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ([("x", pa.int32())], "'x': int32 is no type of a payload column. Cast it to one of: string"),
        ([("x", pa.timestamp("ns"))], r"timestamp\[ns\] is no type"),
        ([("x", pa.timestamp("us", "Europe/Berlin"))], "is no type"),
        ([("x", pa.list_(pa.int64()))], "is no type"),
        ([("", pa.string())], "no name of a payload column"),
        ([("@id", pa.string())], "begins with @"),
        ([("x", pa.string()), ("x", pa.string())], "two columns 'x'"),
    ],
)
def test_columns_of_other_types_are_refused(
    tmp_path: Path, identity: Identity, fields: Any, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        create_index(tmp_path / "x", identity=identity, views=["image"], schema=pa.schema(fields))
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("views", [[], ["Image"], ["a/b"], ["image", "image"]])
def test_views_have_plain_names(tmp_path: Path, identity: Identity, schema: pa.Schema, views: Any) -> None:
    with pytest.raises(ConfigError, match="The index cannot be described: views"):
        create_index(tmp_path / "x", identity=identity, views=views, schema=schema)


def test_a_folder_with_other_things_is_refused(tmp_path: Path, identity: Identity, schema: pa.Schema) -> None:
    (tmp_path / "photo.jpg").touch()
    with pytest.raises(ConfigError, match="the folder is not empty \\('photo.jpg'\\)"):
        create_index(tmp_path, identity=identity, views=["image"], schema=schema)


def test_creation_that_was_killed_can_be_done_again(
    index: LocalIndex, identity: Identity, schema: pa.Schema
) -> None:
    (index.folder / "index.json").unlink()
    again = create_index(index.folder, identity=identity, views=["image"], schema=schema)
    assert len(again) == 0


def test_an_index_without_payload(tmp_path: Path, identity: Identity, make_rows: Callable[..., Rows]) -> None:
    index = create_index(tmp_path / "x", identity=identity, views=["image"], schema=pa.schema([]))
    rows = make_rows(["a", "b"])
    index.upsert(Rows(rows.ids, pa.table({}), {"image": rows.vectors["image"]}))
    assert index.get(["b"], views=["image"]).ids == ("b",)
    assert [found.ids for found in index.scan()] == [("a", "b")]
    assert index.search(rows.vectors["image"][:1], 1, view="image")[0].ids == ("a",)
    index.optimize()


def test_views_that_no_row_has_take_no_room(
    index: LocalIndex, make_rows: Callable[..., Rows], query: Any
) -> None:
    rows = make_rows(["a", "b"])
    index.upsert(Rows(rows.ids, rows.payload, rows.vectors, {"text": np.zeros(2, bool)}))
    assert not list(index.folder.glob("segments/*/text.f32"))
    assert index.search(query(0), view="text")[0].ids == ()
    assert not index.get(["a"], views=["text"]).present["text"].any()


def test_another_object_follows_when_it_refreshes(index: LocalIndex, make_rows: Callable[..., Rows]) -> None:
    other = LocalIndex(index.folder)
    index.upsert(make_rows(["a"]))
    assert (other.version, len(other)) == (0, 0)
    assert other.refresh()
    assert not other.refresh()
    assert (other.version, len(other)) == (1, 1)
    index.upsert(make_rows(["b"]))
    # A write builds on the last version, whoever wrote it.
    assert other.upsert(make_rows(["c"])).version == 3
    assert len(other) == 3


def test_a_scan_stays_in_its_version(index: LocalIndex, make_rows: Callable[..., Rows]) -> None:
    index.upsert(make_rows([f"sku-{n}" for n in range(10)]))
    scan = index.scan(batch_size=4)
    first = next(scan)
    index.delete([f"sku-{n}" for n in range(10)])
    assert len(first) + sum(len(rows) for rows in scan) == 10


def test_threads_search_while_one_writes(
    index: LocalIndex, make_rows: Callable[..., Rows], query: Any
) -> None:
    index.upsert(make_rows([f"sku-{n:03d}" for n in range(100)]))
    problems: list[str] = []
    stop = threading.Event()

    def search(seed: int) -> None:
        while not stop.is_set():
            try:
                (hits,) = index.search(query(seed), 100, view="image", where=F("stock") >= 0)
                found = index.get(hits.ids)
                if len(hits) != 100 or found.ids != hits.ids or len(set(hits.ids)) != 100:
                    problems.append(f"{len(hits)} hits, {len(found)} rows")
            except Exception as error:
                problems.append(repr(error))

    threads = [threading.Thread(target=search, args=(seed,)) for seed in range(2)]
    for thread in threads:
        thread.start()
    writers = [
        threading.Thread(
            target=lambda start=start: [
                index.upsert(make_rows([f"sku-{n:03d}" for n in range(start, start + 20)], start))
                for _ in range(5)
            ]
        )
        for start in (0, 40)
    ]
    for thread in writers:
        thread.start()
    for thread in writers:
        thread.join()
    index.optimize()
    stop.set()
    for thread in threads:
        thread.join()
    assert not problems
    assert index.version >= 11
    assert len(index) == 100


def test_a_closed_index_says_so(index: LocalIndex, query: Any) -> None:
    index.close()
    with pytest.raises(ConfigError, match="this index was closed. Open it again"):
        index.search(query(0), view="image")


def test_rows_in_several_blocks_are_found(
    index: LocalIndex, make_rows: Callable[..., Rows], query: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("verticlip.core.index.segment.BLOCK_ROWS", 7)
    monkeypatch.setattr("verticlip.core.index.segment.GROUP_ROWS", 3)
    monkeypatch.setattr("verticlip.core.index.gathering.BLOCK_ROWS", 7)
    rows = make_rows([f"sku-{n:02d}" for n in range(40)])
    index.upsert(rows)
    index.delete(["sku-03"])
    for _ in range(2):
        assert index.get(["sku-39", "sku-00", "sku-20"]).payload.equals(rows.payload.take([39, 0, 20]))
        assert index.get(["nothing"]).payload.equals(rows.payload.slice(0, 0))
        (hits,) = index.search(query(0), 50, view="image", where=F("tags").contains("t0") | (F("stock") == 1))
        fits = (F("tags").contains("t0") | (F("stock") == 1)).mask(rows.payload)
        fits[3] = False
        assert set(hits.ids) == {one for one, fit in zip(rows.ids, fits, strict=True) if fit}
        index.optimize()


def test_looking_for_strange_ids(index: LocalIndex, make_rows: Callable[..., Rows]) -> None:
    index.upsert(make_rows(["a", "b"]))
    strange = ["", "a" * 5000, "\ud800", "\ud800x", "b"]
    assert index.get(strange).ids == ("b",)
    assert index.get([*strange, *map(str, range(100))]).ids == ("b",)
    assert index.delete([*strange[:-1], *map(str, range(100))]).deleted == 0
    with pytest.raises(InputError, match="Ids are a list of texts, got the text 'sku-1'"):
        index.get("sku-1")
    with pytest.raises(InputError, match="Id 1 is None; ids are texts"):
        index.get(["a", None])  # pyright: ignore


def test_a_few_rows_cost_a_few_blocks(
    index: LocalIndex, make_rows: Callable[..., Rows], monkeypatch: pytest.MonkeyPatch, schema: pa.Schema
) -> None:
    monkeypatch.setattr("verticlip.core.index.segment.GROUP_ROWS", 10)
    rows = make_rows([f"sku-{n:03d}" for n in range(200)])
    index.upsert(rows)
    decoded: list[tuple[int, int]] = []
    read = parquet.ParquetFile.read_row_groups

    def counted(self: Any, groups: Any, **named: Any) -> pa.Table:
        decoded.append((len(groups), len(named["columns"])))
        return read(self, groups, **named)

    monkeypatch.setattr(parquet.ParquetFile, "read_row_groups", counted)
    wanted = [3, 4, 199, 3 + 90]
    found = index.get([rows.ids[n] for n in wanted], columns=["title", "price"])
    assert found.payload.equals(rows.payload.select(["title", "price"]).take(wanted))
    assert decoded == [(3, 2)]
    assert [part.ids for part in index.scan(columns=[], batch_size=200)] == [rows.ids]
    assert decoded == [(3, 2)]


def test_columns_to_filter_by_are_kept_up_to_a_bound(
    index: LocalIndex, make_rows: Callable[..., Rows], query: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    index.upsert(make_rows([f"sku-{n:03d}" for n in range(200)]))
    read: list[str] = []
    real = parquet.ParquetFile.read

    def counted(self: Any, *, columns: list[str], **named: Any) -> pa.Table:
        read.extend(columns)
        return real(self, columns=columns, **named)

    monkeypatch.setattr(parquet.ParquetFile, "read", counted)
    for bound, times in ((2**20, 1), (0, 2)):
        monkeypatch.setattr("verticlip.core.index.segment._CACHED_BYTES", bound)
        read.clear()
        for limit in (5, 6):
            index.search(query(0), view="text", where=F("stock") < limit + times)
        assert read.count("stock") == times
        index.close()
        index = LocalIndex(index.folder)
    assert read.count("@id") == read.count("@has:text") == 1


def test_an_earlier_version_stays_that_version(index: LocalIndex, make_rows: Callable[..., Rows]) -> None:
    index.upsert(make_rows(["a"]))
    index.upsert(make_rows(["b"]))
    past = LocalIndex(index.folder, version=1)
    assert not past.refresh()
    assert (past.version, len(past)) == (1, 1)


def test_more_vectors_than_memory_are_told(
    index: LocalIndex, make_rows: Callable[..., Rows], monkeypatch: pytest.MonkeyPatch
) -> None:
    index.upsert(make_rows([f"sku-{n:03d}" for n in range(30)]))
    assert index.stats().advice == ""
    monkeypatch.setattr("verticlip.core.index.optimizing.memory_bytes", lambda: 1000)
    assert "Keep them in LanceDB" in index.stats().advice
    monkeypatch.setattr("verticlip.core.index.optimizing.memory_bytes", lambda: 0)
    assert index.stats().advice == ""
