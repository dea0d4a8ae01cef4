"""A copy holds the same rows, whatever keeps the two indexes."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from verticlip.core.errors import ConfigError
from verticlip.core.index.base import Identity, Rows, VectorIndex
from verticlip.core.index.copying import copy_index
from verticlip.core.index.filters import F
from verticlip.core.index.opening import create_index

IDS = [f"sku-{n:02d}" for n in range(25)]


def make(
    kind: str, folder: Path, identity: Identity, schema: pa.Schema, views: Any = ("image", "text")
) -> Any:
    if kind == "qdrant":
        from verticlip.core.index.qdrant import QdrantIndex

        return QdrantIndex.create(":memory:", "copy", identity=identity, views=views, schema=schema)
    return create_index(folder, identity=identity, views=views, schema=schema, kind=kind)  # pyright: ignore


@pytest.fixture
def source(
    tmp_path: Path, identity: Identity, schema: pa.Schema, make_rows: Callable[..., Rows]
) -> VectorIndex:
    index = make("flat", tmp_path / "source", identity, schema)
    index.upsert(make_rows(IDS))
    return index


@pytest.mark.parametrize(
    ("kind", "needs"), [("flat", "numpy"), ("lancedb", "lancedb"), ("qdrant", "qdrant_client")]
)
def test_every_row_arrives(
    kind: str, needs: str, source: VectorIndex, tmp_path: Path, identity: Identity, schema: pa.Schema
) -> None:
    if importlib.util.find_spec(needs) is None:
        pytest.skip(f"{needs} is not installed")
    target, shares = make(kind, tmp_path / "target", identity, schema), []
    for _ in range(2):
        # A copy that is done twice is one copy.
        assert (
            copy_index(source, target, batch_size=10, progress=lambda what, share: shares.append(share)) == 25
        )
    assert len(target) == 25
    assert shares == [0.4, 0.8, 1.0] * 2
    wanted, found = (one.get(IDS, views=["image", "text"]) for one in (source, target))
    assert found.ids == wanted.ids
    assert found.payload.equals(wanted.payload)
    for view in ("image", "text"):
        np.testing.assert_array_equal(found.vectors[view], wanted.vectors[view])
        np.testing.assert_array_equal(found.present[view], wanted.present[view])


def test_another_model_or_other_columns_are_refused(
    source: VectorIndex, tmp_path: Path, identity: Identity, schema: pa.Schema
) -> None:
    other = Identity("maker/other", "1", "p", 8)
    with pytest.raises(ConfigError, match="The source was made with model 'maker/model'"):
        copy_index(source, make("flat", tmp_path / "a", other, schema))
    with pytest.raises(ConfigError, match="views image, text, the target image"):
        copy_index(source, make("flat", tmp_path / "b", identity, schema, ["image"]))
    with pytest.raises(ConfigError, match="payload columns differ"):
        copy_index(source, make("flat", tmp_path / "c", identity, schema.remove(0)))


def test_rows_may_be_changed_on_the_way(
    source: VectorIndex, tmp_path: Path, identity: Identity, schema: pa.Schema
) -> None:
    mixed = replace(identity, processor="other", text="template-2")
    target = make("flat", tmp_path / "target", mixed, schema)

    def change(rows: Rows) -> Rows:
        return Rows(rows.ids, rows.payload, {**rows.vectors, "image": -rows.vectors["image"]}, rows.present)

    with pytest.raises(ConfigError, match="processor"):
        copy_index(source, target)
    assert copy_index(source, target, change=change, where=F("stock") == 1) == 8
    wanted = source.get(["sku-01"], views=["image"]).vectors["image"]
    np.testing.assert_array_equal(target.get(["sku-01"], views=["image"]).vectors["image"], -wanted)
    with pytest.raises(ConfigError, match="model"):
        copy_index(source, make("flat", tmp_path / "b", replace(identity, model="x"), schema), change=change)
