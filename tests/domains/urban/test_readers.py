"""EuroSAT as records: both layouts, captions with their claims, and folders that are something else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from verticlip.core.errors import ConfigError, DataError, InputError
from verticlip.domains.urban.facts import TERMS, bits_of
from verticlip.domains.urban.readers import CLASSES, read_eurosat


def save(path: Path, *, color: tuple[int, int, int] = (30, 56, 50)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((64, 64, 3), color, np.uint8)).save(path)


@pytest.fixture
def folder(tmp_path) -> Path:
    for split in ("train", "val"):
        for label in ("Forest", "River"):
            save(tmp_path / split / label / f"{label}_1.jpg")
    return tmp_path


def test_split_folders_become_splits(folder):
    records = read_eurosat(folder)
    assert [record["id"] for record in records] == [
        "train/Forest/Forest_1",
        "train/River/River_1",
        "val/Forest/Forest_1",
        "val/River/River_1",
    ]
    assert [record["split"] for record in records] == ["train", "train", "val", "val"]
    assert {record["label"] for record in records} == {"Forest", "River"}
    assert "text" not in records[0]


def test_class_folders_as_published_leave_the_split_open(tmp_path):
    save(tmp_path / "SeaLake" / "SeaLake_9.jpg")
    [record] = read_eurosat(tmp_path)
    assert (record["label"], record["split"]) == ("SeaLake", None)


def test_captions_come_with_what_they_claim(folder):
    forest = read_eurosat(folder, captions=10, class_captions=5)[0]
    assert len(forest["text"]) == len(set(forest["text"])) == 15
    extras = forest["extras"]
    assert list(extras["claims"]) == forest["text"]
    assert all(claimed & ~extras["holds"] == 0 for claimed in extras["claims"].values())
    assert extras["holds"] & ~extras["may"] == 0
    assert extras["holds"] & bits_of(frozenset({"Forest", "dark", "green", "vegetation"})) == bits_of(
        frozenset({"Forest", "dark", "green", "vegetation"})
    )
    of_class = 1 << TERMS.index("Forest")
    assert sum(claimed == of_class for claimed in extras["claims"].values()) >= 5


def test_captions_do_not_depend_on_what_else_is_there(folder):
    before = read_eurosat(folder, captions=6)[0]
    save(folder / "train" / "AnnualCrop" / "AnnualCrop_1.jpg")
    after = next(one for one in read_eurosat(folder, captions=6) if one["label"] == "Forest")
    assert before == after
    assert read_eurosat(folder, captions=6, seed=1)[1]["text"] != before["text"]


def test_every_class_has_sentences_in_the_prompt_set(tmp_path):
    for label in CLASSES:
        save(tmp_path / label / "1.png")
    records = read_eurosat(tmp_path, captions=1, class_captions=400)
    assert all(len(record["text"]) > 300 for record in records)


def test_folders_that_are_something_else_are_refused(tmp_path):
    with pytest.raises(DataError, match="no such folder of patches"):
        read_eurosat(tmp_path / "absent")
    with pytest.raises(DataError, match=r"no patches here \(.jpg, .jpeg, .png\)"):
        read_eurosat(tmp_path)
    save(tmp_path / "Forrest" / "1.jpg")
    with pytest.raises(
        DataError, match="Forrest/1.jpg: patches of EuroSAT lie in CLASS/.*Did you mean 'Forest'"
    ):
        read_eurosat(tmp_path)


def test_two_layouts_beside_each_other_are_refused(folder):
    save(folder / "Forest" / "1.jpg")
    with pytest.raises(DataError, match="lie beside each other"):
        read_eurosat(folder)


def test_damaged_patches_and_wrong_settings_are_refused(folder):
    with pytest.raises(ConfigError, match="class captions only beside captions"):
        read_eurosat(folder, class_captions=3)
    with pytest.raises(ConfigError, match="No prompt set 'tinny'.*Did you mean 'tiny'"):
        read_eurosat(folder, captions=2, class_captions=3, prompts="tinny")
    (folder / "train" / "Forest" / "Forest_1.jpg").write_bytes(b"no picture")
    with pytest.raises(InputError, match="Forest_1.jpg"):
        read_eurosat(folder, captions=2)
    assert len(read_eurosat(folder)) == 4
