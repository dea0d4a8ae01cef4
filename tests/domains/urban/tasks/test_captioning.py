"""Captions of scenes and folders: whole, resumable, filtered, and with reasons for what has none."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from urban import make_scenes as scenes
from verticlip.core.errors import ConfigError, DataError, InputError
from verticlip.domains.urban.captions.fact_captioner import FactCaptioner
from verticlip.domains.urban.captions.filtering import CaptionFilter, FilterRules
from verticlip.domains.urban.captions.layouts import read_caption_file
from verticlip.domains.urban.tasks.captioning import CaptioningOptions, caption_pictures, caption_tiles

SMALL = CaptioningOptions(batch_size=4, part_size=10, workers=2)


class Counting:
    """Says how bright a picture is, and draws a word by the seed of its batch."""

    def __init__(self, fail: Sequence[str] = (), stop_after: int | None = None) -> None:
        self.calls: list[tuple[str, ...]] = []
        self.fail, self.stop_after = fail, stop_after

    @property
    def identity(self) -> Mapping[str, str]:
        return {"captioner": "counting"}

    def caption(self, images: Sequence[Any], *, names: Sequence[str] = (), seed: int = 0) -> list[str]:
        if self.stop_after is not None and len(self.calls) >= self.stop_after:
            raise KeyboardInterrupt
        if any(name in self.fail for name in names):
            raise InputError(f"{names[0]}: cannot be described.")
        self.calls.append(tuple(names))
        generator = torch.Generator().manual_seed(seed)
        word = int(torch.randint(1000, (), generator=generator))
        return [f"Brightness {float(image.mean()):.3f}. Word {word}. A field." for image in images]


def reasons(report: Any) -> dict[str, str]:
    lines = report.failures.read_text().splitlines()
    return {one["id"]: one["reason"] for one in map(json.loads, lines)}


def run(out: Path, scene: Any = None, captioner: Any = None, **options: Any):
    scene = scene or scenes.FakeScene()
    changes = {name: options.pop(name) for name in ("min_valid", "pictures", "read_px") if name in options}
    options.setdefault("options", replace(SMALL, **changes))
    return caption_tiles(scene, scenes.grid(), captioner or Counting(), out, **options)


def test_every_tile_gets_its_sentences(tmp_path: Path):
    told = []
    report = run(tmp_path / "captions.json", progress=lambda *now: told.append(now))
    found = read_caption_file(tmp_path / "captions.json")
    assert (found.layout, len(found)) == ("flat", 48)
    assert list(found) == list(scenes.grid().ids)
    assert all(len(texts) == 3 and texts[2] == "A field." for texts in found.values())
    assert (report.pictures, report.captioned, report.failed, report.skipped) == (48, 48, 0, 0)
    assert report.statistics.captions == 144
    assert report.filtered is None
    assert told == [(10, 48), (20, 48), (30, 48), (40, 48), (48, 48)]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["captions.json", "captions.report.json"]
    raw = json.loads((tmp_path / "captions.report.json").read_text())
    assert raw["corpus"]["tiles"] == 48
    assert raw["run"]["seed"] == "0"


def test_texts_may_stay_whole(tmp_path: Path):
    whole = CaptioningOptions(batch_size=4, part_size=10, sentences=False)
    run(tmp_path / "captions.json", options=whole)
    texts = read_caption_file(tmp_path / "captions.json")["scene_0_0"]
    assert len(texts) == 1
    assert texts[0].endswith("A field.")


def test_a_finished_run_is_reported_and_not_repeated(tmp_path: Path):
    first = run(tmp_path / "captions.json", caption_filter=CaptionFilter(FilterRules(max_repeats=3)))
    captioner = Counting()
    again = run(
        tmp_path / "captions.json",
        captioner=captioner,
        caption_filter=CaptionFilter(FilterRules(max_repeats=3)),
    )
    assert captioner.calls == []
    assert again.resumed == 5
    assert again.to_dict() == first.to_dict()


@pytest.mark.parametrize("stop_after", [1, 4, 11])
def test_an_interrupted_run_ends_in_the_same_captions(stop_after: int, tmp_path: Path):
    run(tmp_path / "whole.json")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "broken.json", captioner=Counting(stop_after=stop_after))
    assert not (tmp_path / "broken.json").exists()
    captioner = Counting()
    report = run(tmp_path / "broken.json", captioner=captioner)
    # Three batches make a part; what a whole part holds is not described again.
    assert report.resumed == stop_after // 3
    assert len(captioner.calls) == 14 - 3 * report.resumed
    assert (tmp_path / "broken.json").read_bytes() == (tmp_path / "whole.json").read_bytes()
    assert not (tmp_path / "broken.json.parts").exists()


def test_a_killed_process_loses_and_doubles_nothing(tmp_path: Path):
    program = textwrap.dedent(
        """
        import os, signal, sys
        sys.path.insert(0, sys.argv[1])
        import test_captioning as tests

        class Killed(tests.Counting):
            def caption(self, images, **options):
                if len(self.calls) == 7:
                    os.kill(os.getpid(), signal.SIGKILL)
                return super().caption(images, **options)

        tests.run(tests.Path(sys.argv[2]), captioner=Killed())
        """
    )
    out = tmp_path / "captions.json"
    arguments = [sys.executable, "-c", program, str(Path(__file__).parent), str(out)]
    ended = subprocess.run(
        arguments,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])},
        check=False,
    )
    assert ended.returncode == -signal.SIGKILL
    assert not out.exists()
    assert run(out).resumed == 2
    run(tmp_path / "whole.json")
    assert out.read_bytes() == (tmp_path / "whole.json").read_bytes()


def test_seeds_change_what_is_drawn_and_nothing_else(tmp_path: Path):
    run(tmp_path / "a.json")
    run(tmp_path / "b.json", options=CaptioningOptions(seed=1, batch_size=4, part_size=10))
    one, other = (read_caption_file(tmp_path / f"{name}.json") for name in "ab")
    assert [texts[0] for texts in one.values()] == [texts[0] for texts in other.values()]
    assert [texts[1] for texts in one.values()] != [texts[1] for texts in other.values()]


def test_what_cannot_be_described_is_listed_with_its_reason(tmp_path: Path):
    scene = scenes.FakeScene()
    scene.broken = {"scene_0_32"}
    scene.mask[32:64, :20] = False
    report = run(tmp_path / "captions.json", scene, Counting(fail=["scene_64_64"]))
    found = reasons(report)
    assert list(found) == ["scene_0_32", "scene_32_0", "scene_64_64"]
    assert "cannot be decoded" in found["scene_0_32"]
    assert found["scene_32_0"] == "38% of the pixels are valid, 50% are asked for."
    assert "cannot be described" in found["scene_64_64"]
    assert report.failures == tmp_path / "captions.json.failed.jsonl"
    assert (report.skipped, report.failed, report.captioned) == (1, 2, 45)
    # With fewer asked for, the tile is described by the pixels it has.
    report = run(tmp_path / "more.json", scene, min_valid=0.3)
    assert report.skipped == 0


def test_pictures_are_kept_for_training(tmp_path: Path):
    rasterio = pytest.importorskip("rasterio", reason="the urban extra is not installed")
    scene = scenes.FakeScene()
    scene.mask[:32, 20:32] = False
    run(tmp_path / "captions.json", scene, pictures=tmp_path / "tiles")
    found = read_caption_file(tmp_path / "captions.json")
    assert next(iter(found)) == "scene_0_0.png"
    assert all((tmp_path / "tiles" / name).is_file() for name in found)
    stored = np.asarray(Image.open(tmp_path / "tiles/scene_0_0.png"), np.float32) / 255
    assert stored.shape == (32, 32, 3)
    assert np.allclose(stored[:, :20], scene.pixels[:, :32, :20].permute(1, 2, 0), atol=0.003)
    mean = scene.pixels[:, :32, :32][:, scene.mask[:32, :32]].mean(1)
    assert np.allclose(stored[5, 25], mean, atol=0.003)
    with rasterio.open(tmp_path / "tiles/scene_32_64.png") as file:
        assert (file.crs.to_string(), file.transform[:6]) == (scenes.UTM, (10, 0, 500_640, 0, -10, 4_499_680))
    from verticlip.domains.urban.captions.reader import read_tile_captions

    assert len(read_tile_captions(tmp_path / "captions.json", images="tiles")) == 48


def test_filters_leave_the_rest_to_be_seen(tmp_path: Path):
    rules = CaptionFilter(FilterRules(caption_keywords=("field",), max_words=4))
    report = run(tmp_path / "captions.json", caption_filter=rules)
    assert report.filtered is not None
    assert report.filtered.removed["caption_keywords"] == 48
    assert report.statistics.captions == 96
    assert report.unfiltered == tmp_path / "captions.unfiltered.json"
    assert len(read_caption_file(report.unfiltered)["scene_0_0"]) == 3


def test_nothing_foreign_is_overwritten(tmp_path: Path):
    out = tmp_path / "captions.json"
    out.write_text("[]")
    with pytest.raises(ConfigError, match="exists and is no result of this program"):
        run(out)
    assert out.read_text() == "[]"
    out.unlink()
    run(out)
    with pytest.raises(ConfigError, match="exists and has seed '0'; this run has '2'. Delete it"):
        run(out, options=CaptioningOptions(seed=2, batch_size=4, part_size=10))
    with pytest.raises(ConfigError, match="exists and has filter 'none'"):
        run(out, caption_filter=CaptionFilter(recipe="urbanclip"))
    with pytest.raises(ConfigError, match="exists and has scene '.*seed 0'; this run has '.*seed 1'"):
        run(out, scenes.FakeScene(seed=1))
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "b.json", captioner=Counting(stop_after=4))
    with pytest.raises(ConfigError, match="holds an unfinished run that has min_valid '0.5'"):
        run(tmp_path / "b.json", min_valid=0.1)
    (tmp_path / "c.json.parts").mkdir()
    (tmp_path / "c.json.parts/notes.txt").touch()
    with pytest.raises(ConfigError, match="is in the way and holds no run"):
        run(tmp_path / "c.json")


def test_reports_stay_small_where_most_tiles_fail(tmp_path: Path):
    """A city of millions of tiles: what grows with them is the list of failures, not the report."""
    scene = scenes.FakeScene()
    scene.mask[:, 40:] = False
    report = run(tmp_path / "captions.json", scene)
    assert report.skipped == len(reasons(report)) == 42
    stored = json.loads(report.report.read_text())
    assert (stored["skipped"], stored["failures"]) == (42, "captions.json.failed.jsonl")
    assert "scene_" not in report.report.read_text()
    # A run with nothing to tell takes away the list of the run before it.
    report.out.unlink()
    assert run(tmp_path / "captions.json").failures is None
    assert not (tmp_path / "captions.json.failed.jsonl").exists()


def test_a_slip_in_the_options_leaves_nothing_behind(tmp_path: Path):
    class Wrong(Counting):
        def caption(self, images: Sequence[Any], **_: Any) -> list[str]:
            raise ConfigError("no such method")

    with pytest.raises(ConfigError, match="no such method"):
        run(tmp_path / "captions.json", captioner=Wrong())
    assert list(tmp_path.iterdir()) == []


def test_messages(tmp_path: Path):
    tiles = scenes.grid()
    with pytest.raises(DataError, match="the list of tiles is empty"):
        caption_tiles(scenes.FakeScene(), tiles.take([]), Counting(), tmp_path / "a.json")
    with pytest.raises(ConfigError, match="min_valid is a share from 0 to 1, got 2"):
        run(tmp_path / "a.json", min_valid=2)
    scene = scenes.FakeScene()
    scene.mask[:] = False
    with pytest.raises(
        DataError, match="None of 48 pictures could be described, first scene_0_0: 0% of the pixels"
    ):
        run(tmp_path / "a.json", scene)
    with pytest.raises(ConfigError, match="batch_size is at least 1, got 0"):
        CaptioningOptions(batch_size=0)
    with pytest.raises(ConfigError, match="seed is at least 0, got -1"):
        CaptioningOptions(seed=-1)


def test_what_a_scene_is_read_with_belongs_to_a_run(tmp_path: Path):
    pytest.importorskip("rasterio")
    from verticlip.domains.urban.loaders.raster import Raster

    pixels = np.random.default_rng(0).integers(1, 255, (3, 192, 256)).astype(np.uint8)
    path = scenes.write_raster(tmp_path / "scene.tif", pixels)
    out = tmp_path / "captions.json"
    run(out, Raster.open(path))
    for changed in ({"nodata": 34}, {"bands": [3, 2, 1]}, {"gain": 2.0}):
        with pytest.raises(ConfigError, match=r"captions\.json exists and has "):
            run(out, Raster.open(path, **changed))
    elsewhere = replace(scenes.grid(), bounds=scenes.grid().bounds + 1000)
    with pytest.raises(InputError, match=r"is a window of another raster than scene\.tif"):
        caption_tiles(Raster.open(path), elsewhere, Counting(), tmp_path / "b.json")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, value in (("Forest/1.jpg", 40), ("Forest/2.jpg", 50), ("River/1.png", 90)):
        path = tmp_path / "pictures" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((64, 64, 3), (value, value + 20, value), np.uint8)).save(path)
    (tmp_path / "pictures/broken.png").write_bytes(b"no picture")
    (tmp_path / "pictures/notes.txt").write_text("no picture either")
    return tmp_path / "pictures"


def test_pictures_of_a_folder(folder: Path, tmp_path: Path):
    pytest.importorskip("rasterio", reason="the urban extra is not installed")
    report = caption_pictures(folder, FactCaptioner(), tmp_path / "captions.json")
    found = read_caption_file(tmp_path / "captions.json")
    assert list(found) == ["Forest/1.jpg", "Forest/2.jpg", "River/1.png"]
    assert list(reasons(report)) == ["broken.png"]
    assert report.failed == 1
    with pytest.raises(DataError, match="absent: no such folder of pictures"):
        caption_pictures(folder / "absent", FactCaptioner(), tmp_path / "b.json")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty: no pictures in this folder"):
        caption_pictures(tmp_path / "empty", FactCaptioner(), tmp_path / "b.json")
