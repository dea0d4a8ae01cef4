"""Bulk embedding: complete, resumable to the byte, never stopped by a bad file."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from pyarrow import parquet
from verticlip.core.embed import Encoder, embed_files, list_files
from verticlip.core.errors import ConfigError, DataError, InputError

IDENTITY = {"model": "m", "revision": "r", "processor": "p"}


def read(path: Path) -> float:
    content = path.read_text()
    if content == "bad":
        raise InputError(f"{path.name}: is bad")
    if content == "ugly":
        raise RuntimeError("Patient^Name inside a library message")
    return float(content)


def encode(values: list[float]) -> torch.Tensor:
    return torch.tensor([[value, value + 0.5, 1.0] for value in values])


def encoder(**changes: str) -> Encoder[float]:
    return Encoder(read, encode, 3, {**IDENTITY, **changes})


@pytest.fixture
def items(tmp_path: Path) -> list[tuple[str, Path]]:
    folder = tmp_path / "inputs"
    folder.mkdir()
    for index in range(23):
        (folder / f"{index:02d}.txt").write_text(str(index))
    return list_files(folder)


def test_every_input_gets_its_row_in_order(items, tmp_path: Path) -> None:
    steps: list[tuple[int, int]] = []
    report = embed_files(
        encoder(),
        items,
        tmp_path / "out.parquet",
        batch_size=4,
        part_size=10,
        progress=lambda *step: steps.append(step),
    )
    table = parquet.read_table(report.out)
    assert table.column("id").to_pylist() == [f"{index:02d}.txt" for index in range(23)]
    vectors = np.array(table.column("vector").to_pylist(), np.float32)
    assert np.array_equal(vectors, encode([float(index) for index in range(23)]).numpy())
    assert str(table.schema.field("vector").type) == "fixed_size_list<element: float not null>[3]"
    stored = json.loads(table.schema.metadata[b"verticlip"])
    assert {key: stored[key] for key in IDENTITY} == IDENTITY
    assert (report.embedded, report.failed, report.failures, report.resumed) == (23, 0, None, 0)
    assert steps == [(10, 23), (20, 23), (23, 23)]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["inputs", "out.parquet"]


def test_bad_files_are_set_aside_with_a_reason(items, tmp_path: Path) -> None:
    items[3][1].write_text("bad")
    items[7][1].write_text("ugly")
    items[9][1].write_text("nan")
    items[11][1].unlink()
    report = embed_files(encoder(), items, tmp_path / "out.parquet", batch_size=4, part_size=5)
    assert (report.embedded, report.failed) == (19, 4)
    assert report.failures is not None
    failures = [json.loads(line) for line in report.failures.read_text().splitlines()]
    assert [(one["id"], one["reason"]) for one in failures] == [
        ("03.txt", "03.txt: is bad"),
        ("07.txt", "unexpected RuntimeError while reading"),
        ("09.txt", "the embedding is not finite"),
        ("11.txt", "unexpected FileNotFoundError while reading"),
    ]
    assert "03.txt" not in parquet.read_table(report.out).column("id").to_pylist()


def test_all_inputs_bad_gives_an_empty_table(items, tmp_path: Path) -> None:
    for _, path in items:
        path.write_text("bad")
    report = embed_files(encoder(), items, tmp_path / "out.parquet")
    assert (report.embedded, report.failed) == (0, 23)


def test_an_interruption_costs_only_the_open_part(items, tmp_path: Path) -> None:
    class Killed(BaseException):
        pass

    calls = []

    def dies(values: list[float]) -> torch.Tensor:
        calls.append(values)
        if len(calls) == 5:
            raise Killed
        return encode(values)

    out = tmp_path / "out.parquet"
    with pytest.raises(Killed):
        embed_files(Encoder(read, dies, 3, IDENTITY), items, out, batch_size=5, part_size=10)
    assert not out.exists()
    report = embed_files(encoder(), items, out, batch_size=5, part_size=10)
    assert report.resumed == 2
    whole = embed_files(encoder(), items, tmp_path / "whole.parquet", batch_size=5, part_size=10)
    assert report.out.read_bytes() == whole.out.read_bytes()


def test_a_finished_run_is_not_repeated(items, tmp_path: Path) -> None:
    out = tmp_path / "out.parquet"
    items[3][1].write_text("bad")
    first = embed_files(encoder(), items, out)
    before = out.stat().st_mtime_ns
    # As a kill between the last rename and the clean-up would leave it.
    (tmp_path / "out.parquet.parts").mkdir()
    again = embed_files(Encoder(read, pytest.fail, 3, IDENTITY), items, out)
    assert (again.embedded, again.failed, again.failures) == (22, 1, first.failures)
    assert out.stat().st_mtime_ns == before
    assert not (tmp_path / "out.parquet.parts").exists()


def test_another_model_or_list_does_not_continue_a_run(items, tmp_path: Path) -> None:
    out = tmp_path / "out.parquet"
    embed_files(encoder(), items, out)
    with pytest.raises(ConfigError, match="exists and has revision 'r'; this run has 'other'"):
        embed_files(encoder(revision="other"), items, out)
    with pytest.raises(ConfigError, match="exists and has inputs"):
        embed_files(encoder(), items[:-1], out)
    with pytest.raises(ConfigError, match="exists and has batch_size '8'; this run has '4'"):
        embed_files(encoder(), items, out, batch_size=4)


def test_another_model_does_not_continue_the_parts(items, tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        embed_files(Encoder(read, lambda values: 1 / 0, 3, IDENTITY), items, tmp_path / "out.parquet")
    with pytest.raises(ConfigError, match="unfinished run that has model 'm'; this run has 'n'"):
        embed_files(encoder(model="n"), items, tmp_path / "out.parquet")


def test_foreign_files_are_not_overwritten(items, tmp_path: Path) -> None:
    out = tmp_path / "notes.txt"
    out.write_text("mine")
    with pytest.raises(ConfigError, match="exists and is no result of this program"):
        embed_files(encoder(), items, out)
    assert out.read_text() == "mine"
    (tmp_path / "out.parquet.parts").mkdir()
    (tmp_path / "out.parquet.parts" / "mine.txt").write_text("mine")
    with pytest.raises(ConfigError, match="is in the way and holds no run"):
        embed_files(encoder(), items, tmp_path / "out.parquet")


def test_bad_arguments(items, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nothing to embed"):
        embed_files(encoder(), [], tmp_path / "out.parquet")
    with pytest.raises(DataError, match=r"id '00\.txt' stands twice"):
        embed_files(encoder(), [*items, items[0]], tmp_path / "out.parquet")
    with pytest.raises(ConfigError, match="at least 1; got 0 and 1024"):
        embed_files(encoder(), items, tmp_path / "out.parquet", batch_size=0)


def test_lists_of_files(items, tmp_path: Path) -> None:
    folder = tmp_path / "inputs"
    (folder / "sub").mkdir()
    (folder / "sub" / "a.txt").write_text("1")
    (folder / ".hidden").write_text("1")
    listed = list_files(folder)
    assert [name for name, _ in listed][-2:] == ["22.txt", "sub/a.txt"]
    assert len(listed) == 24
    assert list_files(folder / "00.txt") == [("00.txt", folder / "00.txt")]
    (folder / "list.csv").write_text("id,path\nfirst,00.txt\nsecond,sub/a.txt\n")
    assert [(name, path.name) for name, path in list_files(folder / "list.csv")] == [
        ("first", "00.txt"),
        ("second", "a.txt"),
    ]
    with pytest.raises(InputError, match="nowhere: no such file or folder"):
        list_files("nowhere")
    (tmp_path / "parts.csv").write_text("id,path,locator\na,scan.dcm,frame 0\nb,scan.dcm,frame 1\n")
    with pytest.raises(
        DataError, match="parts.csv: 'a' is a part of a file .locator 'frame 0'.; whole files are"
    ):
        list_files(tmp_path / "parts.csv")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty: the folder holds no files"):
        list_files(tmp_path / "empty")


SCRIPT = """
import sys, time
from pathlib import Path
import numpy
from verticlip.core.embed import Encoder, embed_files, list_files

class Rows(numpy.ndarray):
    float = cpu = numpy = lambda self: self

def encode(values):
    time.sleep(0.1)
    return numpy.array([[value, value + 0.5, 1.0] for value in values], "float32").view(Rows)

encoder = Encoder(lambda path: float(path.read_text()), encode, 3, {"model": "m"})
embed_files(encoder, list_files(sys.argv[1]), sys.argv[2], batch_size=2, part_size=4)
"""


def test_kill_and_rerun_end_in_the_same_bytes(items, tmp_path: Path) -> None:
    out, whole = tmp_path / "out.parquet", tmp_path / "whole.parquet"
    running = subprocess.Popen([sys.executable, "-c", SCRIPT, str(tmp_path / "inputs"), str(out)])
    deadline = time.monotonic() + 60
    while not (tmp_path / "out.parquet.parts" / "part-000001.parquet").exists():
        assert time.monotonic() < deadline
        assert running.poll() is None
        time.sleep(0.02)
    os.kill(running.pid, signal.SIGKILL)
    running.wait()
    assert not out.exists()
    same = Encoder(read, encode, 3, {"model": "m"})
    assert embed_files(same, items, out, batch_size=2, part_size=4).resumed >= 2
    embed_files(same, items, whole, batch_size=2, part_size=4)
    assert out.read_bytes() == whole.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["inputs", "out.parquet", "whole.parquet"]


def test_a_name_that_is_not_utf8_is_set_aside(items, tmp_path: Path) -> None:
    name = os.fsdecode(b"na\xefve.txt")
    (tmp_path / "inputs" / name).write_text("1")
    report = embed_files(encoder(), list_files(tmp_path / "inputs"), tmp_path / "out.parquet")
    assert (report.embedded, report.failed) == (23, 1)
    failure = json.loads(report.failures.read_text())
    assert (failure["id"], failure["reason"]) == (name, "the name is not UTF-8. Rename the file.")


def test_a_pipe_is_no_missing_file(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(InputError, match="pipe.png: is not a regular file; copy its content to one"):
        list_files(tmp_path / "pipe.png")


def test_an_input_that_fails_while_it_is_embedded_stops_no_other(items, tmp_path: Path) -> None:
    """A long recording is read while it is embedded; that it was cut off shows only then."""

    def cut_off(values: list[float]) -> torch.Tensor:
        if 7.0 in values:
            raise InputError("07.txt: is cut off")
        return encode(values)

    report = embed_files(
        Encoder(read, cut_off, 3, IDENTITY), items, tmp_path / "out.parquet", batch_size=4, part_size=10
    )
    assert (report.embedded, report.failed) == (22, 1)
    table = parquet.read_table(report.out)
    assert table.column("id").to_pylist() == [f"{index:02d}.txt" for index in range(23) if index != 7]
    assert table.column("vector").to_pylist()[7][0] == 8.0
    assert report.failures is not None
    failure = json.loads(report.failures.read_text())
    assert failure == {"id": "07.txt", "reason": "07.txt: is cut off"}
