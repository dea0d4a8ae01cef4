"""Dataset readers: npz sets and Pascal-VOC boxes to records that ``load_image`` can load."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from verticlip.core.errors import DataError, LimitError
from verticlip.core.limits import Limits
from verticlip.domains.medical.io import load_image
from verticlip.domains.medical.readers import read_medmnist_npz, read_voc_boxes

BOX = """<object><name>{name}</name><bndbox><xmin>{0}</xmin><ymin>{1}</ymin><xmax>{2}</xmax><ymax>{3}</ymax>
</bndbox></object>"""


@pytest.fixture
def npz(tmp_path):
    path = tmp_path / "set.npz"
    images = np.arange(3 * 4 * 4, dtype=np.uint8).reshape(3, 4, 4)
    np.savez(
        path,
        train_images=images, train_labels=np.array([[0], [1], [1]], np.uint8),
        val_images=images[:1], val_labels=np.array([[0]], np.uint8),
    )  # fmt: skip
    return path


@pytest.fixture
def voc(tmp_path):
    def write(boxes, folder="train", extra="", name="a"):
        target = tmp_path / folder
        target.mkdir(exist_ok=True)
        Image.fromarray(np.arange(48, dtype=np.uint8).reshape(6, 8)).save(target / f"{name}.png")
        items = "".join(BOX.format(*box, name=label) for label, box in boxes)
        text = f"{extra}<annotation><size><width>8</width><height>6</height></size>{items}</annotation>"
        (target / f"{name}.xml").write_text(text)
        return tmp_path

    return write


def test_npz_records_load(npz):
    records = read_medmnist_npz(npz, labels=["normal", "pneumonia"])
    assert [record["id"] for record in records] == ["train-0", "train-1", "train-2", "val-0"]
    assert [record["label"] for record in records] == ["normal", "pneumonia", "pneumonia", "normal"]
    assert {record["split"] for record in records} == {"train", "val"}
    pixels = load_image(records[1]["path"], **records[1]["locator"], window=None).pixels
    assert pixels[0, 0, 0] == 16


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        (
            {"train_images": np.zeros((2, 3, 3), np.uint8), "train_labels": np.zeros(1, np.uint8)},
            "1 labels for 2",
        ),
        (
            {"train_images": np.zeros((1, 3, 3), np.uint8), "train_labels": np.array([2])},
            "2 names were given",
        ),
        (
            {"train_images": np.zeros((1, 3, 3), np.uint8), "train_labels": np.array([0.5])},
            "2 names were given",
        ),
        ({"pictures": np.zeros((1, 3, 3), np.uint8)}, "it has pictures"),
    ],
)
def test_npz_sets_that_do_not_fit(tmp_path, private, arrays, said):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(DataError, match=said) as caught:
        read_medmnist_npz(tmp_path / "a.npz", labels=["a", "b"])
    private(caught.value)


def test_voc_boxes_count_from_zero_and_exclude_the_end(voc):
    folder = voc([("RBC", (1, 1, 8, 6)), ("WBC", (3, 2, 5, 4)), ("RBC", (0, 0, 9, 9))])
    records = read_voc_boxes(folder)
    assert [record["locator"]["box"] for record in records] == [[0, 0, 8, 6], [2, 1, 5, 4], [0, 0, 8, 6]]
    assert {(record["group"], record["split"]) for record in records} == {("a", "train")}
    pixels = load_image(records[1]["path"], **records[1]["locator"], window=None).pixels
    assert pixels[0].tolist() == [[10, 11, 12], [18, 19, 20], [26, 27, 28]]


def test_voc_folders_may_be_linked(voc, tmp_path):
    folder = voc([("RBC", (1, 1, 8, 6))])
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "val").symlink_to(folder / "train")
    (record,) = read_voc_boxes(tmp_path / "linked")
    assert (record["split"], record["path"]) == ("val", str(tmp_path / "linked" / "val" / "a.png"))


def test_voc_filters(voc):
    folder = voc([("RBC", (1, 1, 8, 6)), ("WBC", (3, 2, 5, 4)), ("WBC", (3, 2, 3, 4))])
    assert len(read_voc_boxes(folder, labels=["WBC"], min_side=2)) == 1
    assert len(read_voc_boxes(folder, labels=["WBC"])) == 2
    assert read_voc_boxes(voc([("RBC", (1, 1, 2, 2))], folder="odd"))[0]["split"] is None
    with pytest.raises(DataError, match="Did you mean 'WBC'"):
        read_voc_boxes(folder, labels=["WBK"])


@pytest.mark.parametrize(
    "extra",
    ['<!DOCTYPE x [<!ENTITY a "b">]>', "<!DOCTYPE annotation>", '<?xml version="1.0"?><!ENTITY x "y">'],
)
def test_declarations_are_refused(voc, private, extra):
    with pytest.raises(DataError, match="DOCTYPE or entity") as caught:
        read_voc_boxes(voc([("RBC", (1, 1, 2, 2))], extra=extra))
    private(caught.value)


def test_damaged_voc_folders(voc, tmp_path):
    with pytest.raises(DataError, match=r"no \.xml files"):
        read_voc_boxes(tmp_path)
    folder = voc([("RBC", (1, 1, 2, 2))])
    with pytest.raises(LimitError):
        read_voc_boxes(folder, limits=Limits(config_bytes=10))
    (folder / "train" / "a.png").unlink()
    with pytest.raises(DataError, match="no image of the same name"):
        read_voc_boxes(folder)
    voc([("RBC", (1, 1, 2, 2))])
    for text in ("<annotation>", "<annotation></annotation>", "<a><size><width>x</width></size></a>"):
        (folder / "train" / "a.xml").write_text(text)
        with pytest.raises(DataError, match="not a readable Pascal-VOC file"):
            read_voc_boxes(folder)


@pytest.mark.data
def test_the_development_sets(data_dir):
    records = read_medmnist_npz(
        data_dir / "medical" / "chest_xray_28" / "train_val.npz", labels=["normal", "pneumonia"]
    )
    assert len(records) == 2428 + 270
    assert load_image(records[0]["path"], **records[0]["locator"]).pixels.shape == (1, 28, 28)
    boxes = read_voc_boxes(data_dir / "medical" / "bccd" / "val", labels=["RBC", "WBC", "Platelets"])
    assert {record["split"] for record in boxes} == {"val"}
    assert load_image(boxes[0]["path"], **boxes[0]["locator"], size=(32, 32)).pixels.shape == (3, 32, 32)
