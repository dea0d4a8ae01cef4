"""The clothing data set as records: both layouts, captions with their claims, and folders of something else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from verticlip.core.errors import ConfigError, DataError, InputError
from verticlip.domains.ecommerce.readers import CLASSES, read_clothing
from verticlip.domains.ecommerce.wording import TERMS, bits_of


def save(path: Path, *, color: tuple[int, int, int] = (190, 20, 25)) -> None:
    """A photo of something red on a light floor."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full((96, 72, 3), (215, 205, 190), np.uint8)
    pixels[18:-18, 14:-14] = color
    Image.fromarray(pixels).save(path)


@pytest.fixture
def folder(tmp_path) -> Path:
    for split in ("train", "validation"):
        for label in ("dress", "t-shirt"):
            save(tmp_path / split / label / f"{label}-1.png")
    return tmp_path


def test_split_folders_become_splits(folder):
    records = read_clothing(folder)
    assert [record["id"] for record in records] == [
        "train/dress/dress-1",
        "train/t-shirt/t-shirt-1",
        "validation/dress/dress-1",
        "validation/t-shirt/t-shirt-1",
    ]
    assert [record["split"] for record in records] == ["train", "train", "val", "val"]
    assert {record["label"] for record in records} == {"dress", "t-shirt"}
    assert "text" not in records[0]


def test_folders_of_kinds_leave_the_split_open_and_give_the_same_captions(folder):
    [first, _] = read_clothing(folder / "train", captions=5)
    assert (first["label"], first["split"], first["id"]) == ("dress", None, "dress/dress-1")
    assert first["text"] == read_clothing(folder, captions=5)[0]["text"]


def test_captions_come_with_what_they_claim(folder):
    dress = read_clothing(folder, captions=10, class_captions=5)[0]
    assert len(dress["text"]) == len(set(dress["text"])) == 15
    extras = dress["extras"]
    assert list(extras["claims"]) == dress["text"]
    assert all(claimed & ~extras["holds"] == 0 for claimed in extras["claims"].values())
    assert extras["holds"] & ~extras["may"] == 0
    known = bits_of(frozenset({"dress", "red"}))
    assert extras["holds"] & known == known
    of_kind = 1 << TERMS.index("dress")
    assert sum(claimed == of_kind for claimed in extras["claims"].values()) >= 5


def test_captions_do_not_depend_on_what_else_is_there(folder):
    before = read_clothing(folder, captions=6)[1]
    save(folder / "train" / "hat" / "hat-1.png")
    after = next(one for one in read_clothing(folder, captions=6) if one["id"] == before["id"])
    assert before == after
    assert read_clothing(folder, captions=6, seed=1)[2]["text"] != before["text"]


def test_every_kind_has_sentences_in_the_prompt_set(tmp_path):
    for label in CLASSES:
        save(tmp_path / label / "1.png")
    records = read_clothing(tmp_path, captions=1, class_captions=400)
    assert len(records) == 10
    assert all(len(record["text"]) > 200 for record in records)


def test_folders_that_are_something_else_are_refused(tmp_path):
    with pytest.raises(DataError, match="no such folder of photos"):
        read_clothing(tmp_path / "absent")
    with pytest.raises(DataError, match=r"no photos here \(.jpg, .jpeg, .png, .webp\)"):
        read_clothing(tmp_path)
    save(tmp_path / "skirts" / "1.png")
    with pytest.raises(
        DataError, match="skirts/1.png: photos of clothes lie in CLASS/.*Did you mean 'skirt'"
    ):
        read_clothing(tmp_path)


def test_two_layouts_beside_each_other_are_refused(folder):
    save(folder / "dress" / "1.png")
    with pytest.raises(DataError, match="lie beside each other"):
        read_clothing(folder)


def test_damaged_photos_and_wrong_settings_are_refused(folder):
    with pytest.raises(ConfigError, match="class captions only beside captions"):
        read_clothing(folder, class_captions=3)
    with pytest.raises(ConfigError, match="captions -1"):
        read_clothing(folder, captions=-1)
    with pytest.raises(ConfigError, match="No prompt set 'tinny'.*Did you mean 'tiny'"):
        read_clothing(folder, captions=2, class_captions=3, prompts="tinny")
    (folder / "train" / "dress" / "dress-1.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match="dress-1.png"):
        read_clothing(folder, captions=2)
    assert len(read_clothing(folder)) == 4


@pytest.mark.data
def test_the_data_set_as_published(data_dir):
    records = read_clothing(data_dir / "ecommerce/clothing")
    assert len(records) == 3409
    assert sum(record["split"] == "val" for record in records) == 341
    assert {record["label"] for record in records} == set(CLASSES)
