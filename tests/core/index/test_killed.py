"""A writer that is killed at any moment loses nothing, doubles nothing and leaves nothing behind."""

from __future__ import annotations

import importlib.util
import multiprocessing
import os
import random
import runpy
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from verticlip.core.errors import ConfigError
from verticlip.core.index.base import VectorIndex
from verticlip.core.index.local import LocalIndex
from verticlip.core.index.opening import create_index, open_index

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
SCRIPT = Path(__file__).with_name("writer.py")
KILLS = int(os.environ.get("VERTICLIP_KILLS", "4"))


@pytest.fixture(scope="module")
def script() -> dict[str, Any]:
    return runpy.run_path(str(SCRIPT))


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Any]:
    """Start a writer in a process of its own; all are gone afterwards."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["pytest", "pyarrow.parquet", "verticlip.core.index.local"])
    started = []

    def run() -> tuple[Any, Any]:
        here, there = context.Pipe(duplex=False)
        process = context.Process(
            target=runpy.run_path,
            args=(str(SCRIPT),),
            kwargs={
                "init_globals": {"FOLDER": str(tmp_path / "index"), "CHANNEL": there},
                "run_name": "run",
            },
        )
        process.start()
        there.close()
        started.append(process)
        return process, here

    yield run
    for process in started:
        process.kill()
        process.join()


@pytest.fixture(params=["flat", "hnsw"])
def index(request: pytest.FixtureRequest, tmp_path: Path, script: dict[str, Any]) -> VectorIndex:
    if request.param == "hnsw" and importlib.util.find_spec("usearch") is None:
        pytest.skip("usearch is not installed")
    return create_index(
        tmp_path / "index",
        identity=script["IDENTITY"],
        views=["image"],
        schema=script["SCHEMA"],
        kind=request.param,
    )


def assert_holds(index: VectorIndex, script: dict[str, Any]) -> None:
    """The version holds exactly what it was written to hold, and finds it."""
    state = script["states"](index.version)
    assert len(index) == len(state)
    found = {}
    for rows in index.scan(views=["image"]):
        for one, written, vector in zip(
            rows.ids, rows.payload["written"].to_pylist(), rows.vectors["image"], strict=True
        ):
            assert one not in found
            found[one] = written
            np.testing.assert_array_equal(vector, script["vector"](one, written))
    assert found == state
    for one, written in list(state.items())[:3]:
        (hits,) = index.search(script["vector"](one, written)[None], 1, view="image")
        assert hits.ids == (one,)
        assert hits.scores[0] == pytest.approx(1, abs=1e-6)


def test_a_killed_writer_leaves_whole_versions(
    index: LocalIndex, tmp_path: Path, start: Any, script: dict[str, Any]
) -> None:
    index.close()
    draw = random.Random(4)
    for _ in range(KILLS):
        process, channel = start()
        reported = channel.recv()  # it is at work
        time.sleep(draw.random() * 0.15)
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        while channel.poll():
            try:
                reported = channel.recv()
            except EOFError:
                break
        last = open_index(tmp_path / "index", read_only=True)
        assert last.version >= reported
        assert isinstance(last, LocalIndex)
        before = every_file(tmp_path / "index")
        for version in last.versions():
            one = LocalIndex(tmp_path / "index", version=version, read_only=True)
            assert_holds(one, script)
            one.verify()
        assert every_file(tmp_path / "index") == before, "a reader removed or wrote something"
    swept = LocalIndex(tmp_path / "index")
    swept.optimize()
    named = {"index.json", *(f"{who}.{what}" for who in ("writer", "optimizer") for what in ("lock", "json"))}
    for version in swept.versions():
        named.add(f"versions/{version:010d}.json")
        named.update(LocalIndex(tmp_path / "index", version=version).files())
    assert every_file(tmp_path / "index") == named


def every_file(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_readers_go_on_while_a_writer_works(
    index: LocalIndex, tmp_path: Path, start: Any, script: dict[str, Any]
) -> None:
    held = open_index(tmp_path / "index", read_only=True)
    process, channel = start()
    seen, end = set(), time.monotonic() + 1.0
    channel.recv()
    while time.monotonic() < end or len(seen) < 3:
        assert process.is_alive()
        now = open_index(tmp_path / "index", read_only=True)
        assert_holds(now, script)
        seen.add(now.version)
        index.refresh()
        assert_holds(index, script)
    assert len(held) == 0
    assert held.version == 0
    with pytest.raises(
        ConfigError, match=f"(process {process.pid}|another process) is writing to it. Try again"
    ):
        for _ in range(1000):
            with index.writing():
                pass
            time.sleep(0.01)
