"""An index out of what an embedding run leaves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from pyarrow import parquet
from verticlip.core.embed import embed_files
from verticlip.core.embed_run import Encoder
from verticlip.core.errors import ConfigError, InputError
from verticlip.core.index.base import Identity
from verticlip.core.index.embeddings import index_embeddings
from verticlip.core.index.filters import F
from verticlip.core.index.opening import open_index

IDENTITY = {"model": "maker/model", "revision": "1", "processor": "p"}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """What embedding ten files left."""
    for number in range(10):
        (tmp_path / f"{number}.txt").write_text(str(number))

    def encode(items: list[int]) -> torch.Tensor:
        return torch.nn.functional.one_hot(torch.tensor(items), 12).float()

    encoder = Encoder(lambda path: int(path.read_text()), encode, 12, IDENTITY)
    files = [(f"file-{number}", tmp_path / f"{number}.txt") for number in range(10)]
    return embed_files(encoder, files, tmp_path / "run.parquet").out


def test_a_run_becomes_an_index(run: Path, tmp_path: Path) -> None:
    told: list[str] = []
    index = index_embeddings(run, tmp_path / "index", progress=lambda what, share: told.append(what))
    assert index.identity == Identity("maker/model", "1", "p", 12)
    assert index.views == ("vector",)
    assert len(index) == 10
    (hits,) = index.search(np.eye(12, dtype=np.float32)[3:4], 1, view="vector")
    assert hits.ids == ("file-3",)
    assert "store" in told
    assert len(open_index(tmp_path / "index")) == 10
    assert not list(tmp_path.glob(".*"))
    with pytest.raises(ConfigError, match="there is something here already"):
        index_embeddings(run, tmp_path / "index")


def rewritten(run: Path, change: Any, metadata: Any = IDENTITY) -> Path:
    table = change(parquet.read_table(run))
    table = table.replace_schema_metadata(None if metadata is None else {"verticlip": json.dumps(metadata)})
    parquet.write_table(table, run)
    return run


def test_columns_come_along_when_asked(run: Path, tmp_path: Path) -> None:
    def renamed(table: pa.Table) -> pa.Table:
        return table.append_column("area", pa.array(range(10))).rename_columns(
            ["tile_id", "embedding", "area"]
        )

    path = rewritten(run, renamed, {"run": IDENTITY, "crs": "EPSG:4326"})
    index = index_embeddings(path, tmp_path / "index", columns=["area"], names=("tile_id", "embedding"))
    assert [rows.ids for rows in index.scan(where=F("area") > 7)] == [("file-8", "file-9")]


@pytest.mark.parametrize(
    ("change", "metadata", "message"),
    [
        (lambda table: table, None, "does not say which model made its vectors"),
        (lambda table: table, {"model": "x"}, "does not say which model"),
        (lambda table: table, [1], "does not say which model"),
        (
            lambda table: table.rename_columns(["ids", "vector"]),
            IDENTITY,
            "no column 'id'. Did you mean 'ids'",
        ),
        (lambda table: table.set_column(1, "vector", [[1.0]] * 10), IDENTITY, "fixed_size_list"),
        (lambda table: pa.concat_tables([table, table.slice(2, 1)]), IDENTITY, "'file-2' stands twice"),
        (lambda table: table.set_column(0, "id", [[None] * 10]), IDENTITY, "Id 0 is None"),
        (
            lambda table: table.set_column(1, "vector", pa.nulls(10, table["vector"].type)),
            IDENTITY,
            "'file-0': its 'vector' vector is all zeros",
        ),
    ],
)
def test_files_that_cannot_be_used_are_refused(
    run: Path, tmp_path: Path, change: Any, metadata: Any, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        index_embeddings(rewritten(run, change, metadata), tmp_path / "index")
    assert not (tmp_path / "index").exists()


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        index_embeddings(tmp_path / "none.parquet", tmp_path / "index")
    (tmp_path / "x.parquet").write_text("no")
    with pytest.raises(InputError, match="x.parquet: not a Parquet file"):
        index_embeddings(tmp_path / "x.parquet", tmp_path / "index")
