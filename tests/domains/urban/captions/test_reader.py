from __future__ import annotations

import json
import logging
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from verticlip.core.errors import ConfigError, DataError
from verticlip.domains.urban.captions.layouts import MissingImagesError
from verticlip.domains.urban.captions.reader import read_tile_captions


@pytest.fixture
def city(tmp_path: Path) -> Path:
    """A caption file of 40 tiles, 8 columns and 5 rows, of which two have equal pixels."""
    folder = tmp_path / "images" / "City"
    folder.mkdir(parents=True)
    entries = []
    for number in range(40):
        name = f"16_{100 + number % 8}_{200 + number // 8}_s.jpg"
        color = 7 if number == 38 else number
        Image.fromarray(np.full((8, 8, 3), 6 * color, np.uint8)).save(folder / name)
        texts = [f"tile {number}", f"a view of place {number}", "an ocean" if number == 5 else "a park"]
        entries += [{"caption": text, "image": f"City/{name}"} for text in texts]
    path = tmp_path / "captions.json"
    path.write_text(json.dumps([entries]))
    return path


def read(path: Path, **options: Any) -> list[dict[str, Any]]:
    return read_tile_captions(path, **{"images": "images", **options})


def test_every_tile_is_a_row_with_its_captions(city: Path) -> None:
    rows = read(city)
    assert len(rows) == 40
    assert rows[0] == {
        "id": "City/16_100_200_s.jpg",
        "path": str(city.parent / "images/City/16_100_200_s.jpg"),
        "text": ["tile 0", "a view of place 0", "a park"],
        "group": None,
        "split": None,
    }


def test_one_caption_for_good(city: Path) -> None:
    assert {row["text"][0][:4] for row in read(city, take="first")} == {"tile"}
    once = [row["text"] for row in read(city, take="one")]
    assert all(len(texts) == 1 for texts in once)
    assert len({" ".join(texts[0].split()[:2]) for texts in once if texts[0].startswith("a ")}) == 2
    assert once == [row["text"] for row in read(city, take="one")]
    assert once != [row["text"] for row in read(city, take="one", seed=1)]


def test_parts_are_dealt_by_seed(city: Path) -> None:
    rows = read(city, parts="80/10/10")
    assert Counter(row["split"] for row in rows) == {"train": 32, "val": 4, "test": 4}
    assert rows == read(city, parts="8/1/1")
    assert [row["split"] for row in rows] != [row["split"] for row in read(city, parts="80/10/10", seed=132)]
    assert Counter(row["split"] for row in read(city, parts="75/25")) == {"train": 30, "val": 10}


def test_equal_pictures_stay_on_one_side(city: Path) -> None:
    for seed in range(12):
        split = {row["id"]: row["split"] for row in read(city, parts="50/50", seed=seed)}
        assert split["City/16_107_200_s.jpg"] == split["City/16_106_204_s.jpg"]


def test_neighbors_stay_on_one_side(city: Path) -> None:
    rows = read(city, parts="50/50", block=2)
    assert {row["group"] for row in rows} == {
        f"City/16_{x}_{y}" for x in range(50, 54) for y in range(100, 103)
    }
    sides: dict[str, set[str]] = {}
    for row in rows:
        sides.setdefault(row["group"], set()).add(row["split"])
    assert all(len(found) == 1 for found in sides.values())
    assert read(city, block=2)[0]["group"] == "City/16_50_100"


def test_filters_by_name_and_file(city: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        rows = read(city, caption_filter="urbanclip")
    assert len(rows) == 39
    assert "117 of 120 captions of 39 of 40 tiles pass the filter urbanclip" in caplog.text
    (city.parent / "rules.yaml").write_text("caption_keywords: [tile]\nmax_repeats: 1")
    rows = read(city, caption_filter="rules.yaml")
    assert Counter(len(row["text"]) for row in rows) == {1: 38, 2: 2}


def test_missing_pictures(city: Path, caplog: pytest.LogCaptureFixture) -> None:
    (city.parent / "images/City/16_100_200_s.jpg").unlink()
    with pytest.raises(MissingImagesError, match="1 of 40 pictures with captions are not in the folder"):
        read(city)
    assert len(read(city, missing="skip")) == 39
    assert "1 of 40 pictures with captions are not there and are left out, first City/16_100" in caplog.text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"take": "random"}, r"options: take: Input should be 'any', 'first' or 'one' .*got 'random'"),
        ({"missing": "ignore"}, "missing: Input should be 'raise' or 'skip'"),
        ({"parts": "80"}, "parts '80': expected the shares"),
        ({"parts": "80/0/20"}, "such as 80/10/10"),
        ({"parts": "a/b"}, "such as 80/10/10"),
        ({"parts": "nan/1"}, "such as 80/10/10"),
        ({"block": -1}, r"block: Input should be greater than or equal to 0 .*got -1"),
        ({"part": "80/20"}, "unknown key 'part'. Did you mean 'parts'?"),
        ({"caption_filter": "urban"}, "No caption filter called 'urban'"),
        ({"caption_filter": "rules.yaml"}, "rules.yaml: no such file"),
    ],
)
def test_messages(city: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read(city, **options)


def test_blocks_need_numbers_and_filters_leave_something(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "forest.png")
    path = tmp_path / "captions.json"
    path.write_text('[{"image": "forest.png", "caption": "a forest"}]')
    with pytest.raises(ConfigError, match=r"block needs names .* and there is 'forest.png'. Set block to 0"):
        read_tile_captions(path, block=4)
    (tmp_path / "rules.yaml").write_text("min_words: 9")
    with pytest.raises(DataError, match=r"captions.json: no captions are left"):
        read_tile_captions(path, caption_filter="rules.yaml")
    with pytest.raises(DataError, match="Split 'val' would be empty"):
        read_tile_captions(path, parts="80/20")
