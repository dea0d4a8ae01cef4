"""Threads, forks and other processes read right pixels, and few files stay open."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

pytest.importorskip("rasterio", reason="the urban extra is not installed")

from verticlip.domains.urban.loaders.handles import Handles
from verticlip.domains.urban.loaders.raster import Raster


class Recorder:
    def __init__(self) -> None:
        self.closed = False

    def close(self) -> None:
        self.closed = True


def test_the_latest_few_stay_open() -> None:
    handles = Handles(limit=2)
    opened = {name: Recorder() for name in "abc"}
    for name in "ab":
        handles.get(name, lambda name=name: opened[name])
    assert handles.get("a", Recorder) is opened["a"]
    handles.get("c", lambda: opened["c"])
    assert [name for name in "abc" if opened[name].closed] == ["b"]
    handles.close()
    assert all(recorder.closed for recorder in opened.values())
    assert len(handles) == 0


def test_every_thread_has_its_own() -> None:
    handles = Handles()
    mine = handles.get("a", Recorder)
    found = []
    thread = threading.Thread(target=lambda: found.append(handles.get("a", Recorder)))
    thread.start()
    thread.join()
    assert found[0] is not mine
    assert handles.get("a", Recorder) is mine


def test_a_pickled_one_is_empty() -> None:
    handles = Handles(limit=3)
    handles.get("a", Recorder)
    copied = pickle.loads(pickle.dumps(handles))
    assert len(copied) == 0
    assert copied._limit == 3


def test_what_a_fork_inherits_is_not_used() -> None:
    handles = Handles()
    mine = handles.get("a", Recorder)
    handles._local.process = os.getpid() - 1
    other = handles.get("a", Recorder)
    assert other is not mine
    assert not mine.closed


@pytest.fixture
def scene(write_raster, noise):
    pixels = noise(4, 512, 512, "uint16")
    path = write_raster(pixels, tiled=True, blockxsize=64, blockysize=64, compress="deflate", predictor=2)
    rng = np.random.default_rng(3)
    windows = [(int(column), int(row), 96, 96) for column, row in rng.integers(0, 512 - 96, (60, 2))]
    return path, pixels, windows


def is_right(raster, pixels, window) -> bool:
    column, row, width, height = window
    return bool((raster.raw(window)[0] == pixels[:, row : row + height, column : column + width]).all())


def test_threads_read_right_pixels(scene) -> None:
    path, pixels, windows = scene
    raster = Raster.open(path)
    raster.raw(windows[0])
    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(lambda window: is_right(raster, pixels, window), windows * 4))


def _read_in_child(raster, pixels, windows, results) -> None:
    results.put(all(is_right(raster, pixels, window) for window in windows))


def test_forked_processes_read_right_pixels(scene) -> None:
    if "fork" not in multiprocessing.get_all_start_methods():
        pytest.skip("processes cannot fork here")
    path, pixels, windows = scene
    raster = Raster.open(path, scaling="none")
    raster.raw(windows[0])
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    children = [
        context.Process(target=_read_in_child, args=(raster, pixels, windows[start::2], results))
        for start in range(2)
    ]
    for child in children:
        child.start()
    answers = [results.get(timeout=30) for _ in children]
    for child in children:
        child.join()
    assert answers == [True, True]
    assert is_right(raster, pixels, windows[1])


def test_no_file_stays_open_beyond_the_limit(scene, write_raster, noise) -> None:
    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("open files cannot be counted here")
    path, _, windows = scene
    raster = Raster.open(path)
    raster.read(windows[0])
    before = len(os.listdir("/proc/self/fd"))
    for window in windows * 5:
        raster.read(window)
    assert len(os.listdir("/proc/self/fd")) == before
    raster.close()
    assert len(os.listdir("/proc/self/fd")) == before - 1
