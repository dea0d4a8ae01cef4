from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from verticlip.core.errors import DataError, InputError
from verticlip.core.metrics import localize
from verticlip.domains.medical.tasks import GroundingOptions, evaluate_grounding, ground
from verticlip.domains.medical.tasks.grounding_evaluation import read_grounding_table

HEADER = ["category_name", "label_text", "path", "dicom_id", "x", "y", "w", "h", "image_width", "image_height", "split"]  # fmt: skip


def row(
    path: str, text: str, box: tuple[int, int, int, int], *, finding: str = "Opacity", split: str = "test"
) -> list:
    return [finding, text, path, "d", *box, 100, 80, split]


def write_csv(path: Path, rows: list[list], header: list[str] = HEADER) -> Path:
    with path.open("w", newline="") as handle:
        csv.writer(handle).writerows([header, *rows])
    return path


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Three pictures of two patients with bright squares, and a table in the layout of MS-CXR."""
    images = tmp_path / "images"
    spots = {
        "p10/p10000001/s1/a.png": [(10, 20, 20, 20)],
        "p10/p10000001/s2/b.png": [(60, 10, 20, 20), (60, 50, 20, 20)],
        "p11/p11000002/s3/c.png": [(40, 40, 20, 20)],
    }
    rows = []
    for name, boxes in spots.items():
        pixels = np.full((80, 100), 20, np.uint8)
        for x, y, w, h in boxes:
            pixels[y : y + h, x : x + w] = 250
            rows.append(row(f"files/{name}", "red square", (x, y, w, h)))
        (images / "files" / name).parent.mkdir(parents=True)
        Image.fromarray(pixels).save(images / "files" / name)
    # The wrong place, for another finding; and a row of another split.
    rows.append(row("files/p10/p10000001/s1/a.png", "blue", (70, 50, 20, 20), finding="Edema"))
    rows.append(row("files/p10/p10000001/s1/a.png", "red", (10, 20, 20, 20), split="val"))
    write_csv(tmp_path / "boxes.csv", rows)
    return tmp_path


def test_boxes_of_one_image_and_text_are_one_sample(study: Path):
    samples = read_grounding_table(study / "boxes.csv")
    assert len(samples) == 5
    assert [len(sample.boxes) for sample in samples] == [1, 2, 1, 1, 1]
    assert samples[1].boxes == ((60, 10, 80, 30), (60, 50, 80, 70))
    assert (samples[1].size, samples[1].group) == ((80, 100), "p10000001")
    assert len(read_grounding_table(study / "boxes.csv", split="val")) == 1


def test_the_report_and_its_files(spots, study: Path):
    model = spots(size=32, resize="squash")
    done: list[tuple[int, int]] = []
    report = evaluate_grounding(
        model,
        study / "boxes.csv",
        study / "images",
        study / "out",
        options=GroundingOptions(split="test"),
        progress=lambda *count: done.append(count),
    )
    assert report.samples == 4
    assert set(report.findings) == {"Opacity", "Edema"}
    opacity, edema = report.findings["Opacity"], report.findings["Edema"]
    assert opacity["cnr_signed"].value > 2
    assert opacity["pointing"].value == 1
    assert edema["cnr_signed"].value < 0 < edema["cnr"].value
    assert edema["pointing"].value == 0
    assert report.mean["pointing"].value == pytest.approx(0.5)
    assert (opacity["cnr"].n, report.mean["cnr"].n) == (2, 2)  # patients
    assert done == [(3, 3)]
    stored = json.loads((study / "out/metrics.json").read_text())
    assert stored["mean"]["cnr"]["value"] == pytest.approx(report.mean["cnr"].value)
    assert (stored["images"], stored["scaled_boxes"], stored["split"]) == (3, 0, "test")
    assert (stored["box_convention"], stored["interpolation"]) == ("union", "bilinear")
    rows = [json.loads(line) for line in (study / "out/samples.jsonl").read_text().splitlines()]
    assert len(rows) == 4
    (by_hand,) = ground(model, study / "images/files/p10/p10000001/s1/a.png", "red square")[0]
    expected = localize(by_hand.values.numpy(), [(10, 20, 30, 40)])
    assert rows[0]["cnr"] == pytest.approx(expected.cnr)
    assert rows[0]["miou"] == pytest.approx(expected.miou)


def test_json_lines_say_the_same(spots, study: Path):
    model = spots(size=32, resize="squash")
    lines = [
        {
            "path": sample.path,
            "text": sample.text,
            "finding": sample.finding,
            "boxes": [list(box) for box in sample.boxes],
        }
        for sample in read_grounding_table(study / "boxes.csv", split="test")
    ]
    lines[0]["size"] = [80, 100]
    (study / "boxes.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    one = evaluate_grounding(
        model, study / "boxes.csv", study / "images", options=GroundingOptions(split="test")
    )
    other = evaluate_grounding(model, study / "boxes.jsonl", study / "images")
    assert one == other


def test_a_smaller_copy_of_the_image_scales_the_boxes_and_says_so(spots, study: Path):
    model = spots(size=32, resize="squash")
    full = evaluate_grounding(model, study / "boxes.csv", study / "images")
    for path in (study / "images").rglob("*.png"):
        Image.open(path).resize((50, 40), Image.Resampling.BOX).save(path)
    small = evaluate_grounding(model, study / "boxes.csv", study / "images", study / "out")
    assert small.mean["miou"].value == pytest.approx(full.mean["miou"].value, abs=0.05)
    assert json.loads((study / "out/metrics.json").read_text())["scaled_boxes"] == 5
    path = study / "images/files/p11/p11000002/s3/c.png"
    Image.open(path).resize((50, 50)).save(path)
    with pytest.raises(
        DataError, match="the image is 50 high and 50 wide, its boxes were drawn on 80 by 100"
    ):
        evaluate_grounding(model, study / "boxes.csv", study / "images")


def test_a_centre_crop_that_misses_the_boxes_counts_as_a_miss(spots, study: Path):
    report = evaluate_grounding(
        spots(size=16, resize="shortest", short_side=40), study / "boxes.csv", study / "images",
        options=GroundingOptions(split="val"),
    )  # fmt: skip
    assert report.undefined == 1
    assert report.mean["miou"].value == 0
    assert report.to_dict()["mean"]["cnr"]["value"] is None


def test_the_same_run_gives_the_same_report(spots, study: Path):
    model = spots(size=32, resize="squash")
    arguments = (model, study / "boxes.csv", study / "images", study / "out")
    options = GroundingOptions(convention="per_box", seed=3, resamples=50)
    first = evaluate_grounding(*arguments, options=options)
    written = (study / "out/metrics.json").read_bytes()
    assert first == evaluate_grounding(*arguments, options=options)
    assert (study / "out/metrics.json").read_bytes() == written


def test_messages(spots, study: Path, tmp_path: Path):
    model = spots(size=32)
    images = study / "images"

    def run(rows: list[list], header: list[str] = HEADER) -> None:
        evaluate_grounding(model, write_csv(tmp_path / "t.csv", rows, header), images)

    good = row("files/p10/p10000001/s1/a.png", "red", (1, 2, 3, 4))
    with pytest.raises(DataError, match="no such file"):
        evaluate_grounding(model, tmp_path / "none.csv", images)
    with pytest.raises(DataError, match="t.csv: no rows"):
        run([])
    with pytest.raises(
        DataError, match="header: no column 'label_text'; columns: .*Did you mean 'label_txt'"
    ):
        run([good], [name.replace("label_text", "label_txt") for name in HEADER])
    with pytest.raises(DataError, match="row 2: 10 cells for 11 columns"):
        run([good[:-1]])
    with pytest.raises(DataError, match="row 3: x is 'left', expected a number"):
        run([good, [*good[:4], "left", *good[5:]]])
    with pytest.raises(DataError, match=r"row 2: the box from \(1, 2\) to \(1, 6\) is empty"):
        run([row("files/p10/p10000001/s1/a.png", "red", (1, 2, 0, 4))])
    with pytest.raises(DataError, match="row 3: the same path and text as t.csv row 2, with another finding"):
        run([good, row("files/p10/p10000001/s1/a.png", "red", (1, 2, 3, 4), finding="Edema")])
    with pytest.raises(DataError, match=r"row 3: its image is not in the folder \(1 of 2 samples"):
        run([good, row("files/none.png", "red", (1, 2, 3, 4))])
    with pytest.raises(DataError, match="row 2: '../x.png' leaves the data folder"):
        run([row("../x.png", "red", (1, 2, 3, 4))])
    with pytest.raises(DataError, match="no row has split 'dev'; splits: test, val"):
        evaluate_grounding(model, study / "boxes.csv", images, options=GroundingOptions(split="dev"))
    (images / "bad.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match="t.csv row 2: .*not a DICOM, PNG"):
        run([row("bad.png", "red", (1, 2, 3, 4))])
    (tmp_path / "t.jsonl").write_text('{"path": "a.png", "text": "x", "boxes": [[1, 2, "3", 4]]}\n')
    with pytest.raises(
        DataError, match=r"t.jsonl row 1: a box is four numbers \[x0, y0, x1, y1\], got \[1, 2, '3', 4\]"
    ):
        evaluate_grounding(model, tmp_path / "t.jsonl", images)
    for line, message in (
        ("[1]", "expected an object"),
        ("{", "not valid JSON"),
        ('{"path": "a", "text": "x", "boxes": []}', "boxes must be a list"),
        ('{"path": "a", "text": " ", "boxes": [[1, 2, 3, 4]]}', "text is ' ', expected text"),
        ('{"path": "a", "text": "x", "boxes": [[1, 2, 3, 4]], "size": 5}', r"size must be \[height, width\]"),
    ):
        (tmp_path / "t.jsonl").write_text(line + "\n")
        with pytest.raises(DataError, match=message):
            evaluate_grounding(model, tmp_path / "t.jsonl", images)
    (tmp_path / "t.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="not UTF-8 text"):
        evaluate_grounding(model, tmp_path / "t.csv", images)


def test_phrases_are_encoded_once_for_all_images(tiny, study: Path, monkeypatch):
    from verticlip.domains.medical.tasks import grounding_evaluation as module

    monkeypatch.setattr(module, "BATCH_IMAGES", 1)
    calls, encode = [], type(tiny.network).encode

    def counted(network, modality, inputs, **options):
        calls.append(modality)
        return encode(network, modality, inputs, **options)

    monkeypatch.setattr(type(tiny.network), "encode", counted)
    evaluate_grounding(tiny, study / "boxes.csv", study / "images", options=GroundingOptions(resamples=10))
    assert calls.count("text") == 1
