"""Class folders as records with captions, in the words of a room of three terms."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from verticlip.core.claims import Caption, Captions, ClassFolders, Wording, bits_of, read_described
from verticlip.core.errors import ConfigError, DataError, InputError

FOLDERS = ClassFolders("tiles of floors", ("oak", "stone"), (".png",))
TERMS = ("oak", "stone", "dark")


def compose(label, facts, /, *, count, seed):
    del count
    said = Caption(f"{label} {seed}", frozenset({label}))
    return (said, Caption("dark floor", frozenset({"dark"}))) if facts else (said,)


def hold(label, facts):
    return frozenset({label, *(["dark"] if facts else [])}), frozenset(TERMS)


@pytest.fixture
def wording(tmp_path):
    prompts = tmp_path / "prompts"
    prompts.mkdir()
    (prompts / "tiny.yaml").write_text(
        "name: tiny\nclasses: {oak: [oak], Stone: [stone]}\ntemplates: ['a {} floor']\n"
    )
    return Wording(TERMS, lambda pixels: float(pixels.mean()) < 0.3, compose, hold, prompts)


@pytest.fixture
def floors(tmp_path):
    for label, shade in (("oak", 20), ("stone", 200)):
        folder = tmp_path / "floors" / "train" / label
        folder.mkdir(parents=True)
        Image.fromarray(np.full((8, 8, 3), shade, np.uint8)).save(folder / "1.png")
    return tmp_path / "floors"


def test_captions_and_what_they_claim(floors, wording):
    oak, stone = read_described(floors, FOLDERS, wording, Captions(1, of_class=1))
    assert (oak["id"], oak["label"], oak["split"]) == ("train/oak/1", "oak", "train")
    assert set(oak["text"]) == {"oak 0:train/oak/1", "dark floor", "a oak floor"}
    assert oak["extras"] == {
        "claims": {"oak 0:train/oak/1": 1, "dark floor": 4, "a oak floor": 1},
        "holds": 5,
        "may": 7,
    }
    assert stone["extras"]["claims"]["a stone floor"] == 2
    by_file = read_described(floors, FOLDERS, wording, Captions(1, by_file=True))[0]
    assert "oak 0:1" in by_file["text"]
    assert "text" not in read_described(floors, FOLDERS, wording, Captions(0))[0]


def test_what_does_not_fit_is_told(floors, wording):
    with pytest.raises(InputError, match="'darkk' is nothing a caption can claim. Did you mean 'dark'"):
        bits_of(frozenset({"darkk"}), TERMS)
    with pytest.raises(ConfigError, match="class captions only beside captions"):
        Captions(0, of_class=1)
    with pytest.raises(ConfigError, match="no class that is also called 'slate'"):
        more = ClassFolders(FOLDERS.what, ("oak", "stone", "slate"), FOLDERS.suffixes)
        read_described(floors, more, wording, Captions(1, of_class=1))
    with pytest.raises(
        DataError, match="train/stone/1.png: tiles of floors lie in CLASS/ or in SPLIT/CLASS/"
    ):
        ClassFolders("tiles of floors", ("oak",), (".png",)).records(floors)
    with pytest.raises(DataError, match=r"prompts: no tiles here \(.png\)"):
        FOLDERS.records(wording.prompts)
