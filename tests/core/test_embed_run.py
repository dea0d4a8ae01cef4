"""What runs over other things than files build on: notes, inputs that are left out, row groups."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
import torch
from pyarrow import parquet
from verticlip.core.embed_run import METADATA_KEY, EmbedRun, Encoder, LeftOut
from verticlip.core.errors import ConfigError, InputError


@dataclass(frozen=True)
class Rows:
    """Number, vector and note; metadata that says how many parts there were."""

    compression: str = "zstd"
    row_group: int = 5

    def schema(self) -> pyarrow.Schema:
        return pyarrow.schema(
            [("number", pyarrow.int64()), ("sum", pyarrow.float32()), ("note", pyarrow.string())]
        )

    def arrays(
        self, positions: Sequence[int], vectors: np.ndarray, notes: Sequence[Any]
    ) -> list[pyarrow.Array]:
        sums = pyarrow.array(vectors.sum(axis=1), pyarrow.float32())
        return [
            pyarrow.array(list(positions), pyarrow.int64()),
            sums,
            pyarrow.array(list(notes), pyarrow.string()),
        ]

    def metadata(self, identity: Mapping[str, str], parts: Sequence[Path]) -> dict[bytes, bytes]:
        return {METADATA_KEY: json.dumps({"parts": len(parts), "run": dict(identity)}).encode()}


def read(number: int) -> int:
    if number % 5 == 4:
        raise LeftOut("fives are left out")
    if number == 7:
        raise InputError("seven is broken")
    return number


def run(out: Path, *, model: str = "m", count: int = 12) -> EmbedRun:
    encoder = Encoder(
        read, lambda numbers: torch.tensor([[float(number), 0.5] for number in numbers]), 2, {"model": model},
        note=lambda number: f"note {number}",
    )  # fmt: skip
    items = [(f"item {number}", number) for number in range(count)]
    return EmbedRun(
        encoder, items, out, layout=Rows(), inputs={"numbers": str(count)}, batch_size=2, part_size=3
    )


def test_notes_and_positions_reach_the_table(tmp_path: Path) -> None:
    report = run(tmp_path / "a.parquet").complete()
    table = parquet.read_table(report.out)
    kept = [number for number in range(12) if number % 5 != 4 and number != 7]
    assert table.column("number").to_pylist() == kept
    assert table.column("note").to_pylist() == [f"note {number}" for number in kept]
    assert table.column("sum").to_pylist() == [number + 0.5 for number in kept]


def test_what_is_left_out_is_no_failure(tmp_path: Path) -> None:
    report = run(tmp_path / "a.parquet").complete()
    assert (report.embedded, report.skipped, report.failed) == (9, 2, 1)
    lines = [json.loads(line) for line in report.failures.read_text().splitlines()]
    assert lines == [
        {"id": "item 4", "reason": "fives are left out", "skipped": True},
        {"id": "item 7", "reason": "seven is broken"},
        {"id": "item 9", "reason": "fives are left out", "skipped": True},
    ]
    again = run(tmp_path / "a.parquet").complete()
    assert (again.embedded, again.skipped, again.failed, again.resumed) == (9, 2, 1, 4)


def test_parts_are_joined_to_row_groups(tmp_path: Path) -> None:
    report = run(tmp_path / "a.parquet").complete()
    file = parquet.ParquetFile(report.out)
    sizes = [file.metadata.row_group(place).num_rows for place in range(file.num_row_groups)]
    assert sizes == [5, 4]
    assert file.metadata.row_group(0).column(0).compression == "ZSTD"
    stored = json.loads(file.schema_arrow.metadata[METADATA_KEY])
    assert stored["parts"] == 4
    assert stored["run"] == {"model": "m", "batch_size": "2", "part_size": "3", "numbers": "12"}


def test_identity_below_run_is_compared(tmp_path: Path) -> None:
    run(tmp_path / "a.parquet").complete()
    with pytest.raises(ConfigError, match="has model 'm'; this run has 'n'"):
        run(tmp_path / "a.parquet", model="n").complete()
    with pytest.raises(ConfigError, match="has numbers '12'; this run has '13'"):
        run(tmp_path / "a.parquet", count=13).complete()


def test_what_an_earlier_run_had_and_this_one_has_not_is_told(tmp_path: Path) -> None:
    first = run(tmp_path / "a.parquet")
    first.identity["sensor"] = "sentinel-2"
    first.complete()
    with pytest.raises(ConfigError, match="has sensor 'sentinel-2'; this run has None"):
        run(tmp_path / "a.parquet").complete()


def test_another_process_may_finish_the_same_run(tmp_path: Path) -> None:
    def finished_meanwhile(done: int, total: int) -> None:
        if done < total:
            run(tmp_path / "a.parquet").complete()

    report = run(tmp_path / "a.parquet").complete(1, finished_meanwhile)
    assert (report.embedded, report.failed, report.skipped) == (9, 1, 2)
    run(tmp_path / "b.parquet").complete()
    assert not (tmp_path / "a.parquet.parts").exists()
    assert parquet.read_table(tmp_path / "a.parquet").equals(parquet.read_table(tmp_path / "b.parquet"))
