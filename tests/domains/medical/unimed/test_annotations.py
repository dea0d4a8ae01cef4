"""The annotation files of the UniMed parts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from verticlip.core.errors import ConfigError, DataError, LimitError
from verticlip.core.limits import DEFAULT
from verticlip.domains.medical.unimed.annotations import LAYOUTS, read_annotations

TWELVE = [f"caption {number}" for number in range(12)]


def write(folder: Path, name: str, content) -> Path:
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def csv_of(*rows: list[str]) -> str:
    return "\n".join(",".join('"' + cell.replace('"', '""') + '"' for cell in row) for row in rows) + "\n"


def test_labelled_parts_with_and_without_reports(tmp_path: Path) -> None:
    text = csv_of(
        ["path", "labels", "captions", "report"],
        ["['a/1.jpg']", "['Edema', 'Fracture']", repr(TWELVE), ""],
        ["['a/2.jpg']", "['Edema']", repr(TWELVE), "The report."],
        ["['a/3.jpg']", "['Edema']", "['one', '', 'one']", "noreportpresent"],
    )
    rows = read_annotations(write(tmp_path, "mimic.csv", text), layout="labelled", images="files")
    assert rows[0]["text"] == TWELVE[:10]
    assert rows[0]["label"] == "Edema; Fracture"
    assert rows[0]["path"] == str(tmp_path / "files" / "a/1.jpg")
    assert rows[1]["text"] == ["The report."]
    assert rows[1]["extras"]["captions"] == TWELVE[:10]
    assert rows[2]["text"] == ["one"]
    assert rows[2]["id"] == "a/3.jpg"


def test_openi_draws_the_original_and_keeps_the_rewrites(tmp_path: Path) -> None:
    reports = {"annotations": [{"image_id": "CXR1", "caption": "Clear."}]}
    path = write(tmp_path, "filter_cap.json", reports)
    write(tmp_path, "refined.json", {"refined_captions": [["a", "b"]]})
    (row,) = read_annotations(path, layout="openi", second="refined.json")
    assert (row["id"], row["text"], row["extras"]) == ("CXR1.png", ["Clear."], {"rewrites": ["a", "b"]})
    write(tmp_path, "refined.json", {"refined_captions": []})
    with pytest.raises(DataError, match="has 1 reports and refined.json 0 lists"):
        read_annotations(path, layout="openi", second="refined.json")
    with pytest.raises(ConfigError, match="'second' is for layout 'openi', which needs it"):
        read_annotations(path, layout="openi")


def test_the_three_fundus_parts(tmp_path: Path) -> None:
    merged = csv_of(
        ["filename", "captions", "sentence_level_captions"], ["1.jpg", repr(TWELVE), "A whole sentence."]
    )
    (row,) = read_annotations(write(tmp_path, "1.csv", merged), layout="retina")
    assert row["text"] == TWELVE[:10]
    assert row["extras"]["sentence"] == "A whole sentence."
    keywords = csv_of(["image", "categories", "atributes"], ["2.jpg", "['drusen']", "['macula']"])
    (row,) = read_annotations(write(tmp_path, "2.csv", keywords), layout="retina_keywords")
    assert row["text"] == ["The fundus image of drusen, macula"]
    pairs = csv_of(["image", "caption"], ["3.jpg", "A disc."])
    (row,) = read_annotations(write(tmp_path, "3.csv", pairs), layout="retina_pairs")
    assert (row["id"], row["text"]) == ("3.jpg", ["A disc."])


def test_parts_that_are_pairs_already(tmp_path: Path) -> None:
    roco = write(tmp_path, "roco.csv", csv_of(["id", "caption"], ["R1", " A CT. "]))
    assert read_annotations(roco, layout="roco")[0]["id"] == "R1.jpg"
    assert read_annotations(roco, layout="roco")[0]["text"] == ["A CT."]
    quilt = write(tmp_path, "quilt.csv", csv_of(["", "caption", "path"], ["0", "Cells.", "q.jpg"]))
    assert read_annotations(quilt, layout="quilt")[0]["text"] == ["Cells."]
    pmc = write(tmp_path, "pmc.jsonl", '{"image": "p.jpg", "caption": "A figure."}\n\n')
    assert read_annotations(pmc, layout="pmc_oa")[0]["path"] == str(tmp_path / "p.jpg")
    turns = [{"value": "What is this?"}, {"value": "A scan."}]
    aligned = write(tmp_path, "a.json", [{"image": "l.jpg", "conversations": turns}])
    assert read_annotations(aligned, layout="llava_alignment")[0]["text"] == ["A scan."]
    entry = {"pair_id": "P1", "fig_caption": "Figure.", "in_text_mention": [{"tokens": "As seen."}]}
    instruct = write(tmp_path, "i.json", {"x": [entry]})
    rows = read_annotations(instruct, layout="llava_instruct")
    assert [(row["id"], row["text"], row["group"]) for row in rows] == [
        ("P1.jpg", ["Figure."], "P1.jpg"), ("P1.jpg#2", ["As seen."], "P1.jpg"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("layout", "text", "match"),
    [
        ("labelled", "['a.jpg'],['x']\n", "row 1: 2 columns, expected path, labels and captions"),
        ("labelled", csv_of(["['a.jpg']", "x()", "['c']"]), r"row 1: 'x\(\)' is not a list"),
        ("labelled", csv_of(["['a', 'b']", "['x']", "['c']"]), "row 1: 2 image paths, expected one"),
        (
            "labelled",
            csv_of(["['../a.jpg']", "['x']", "['c']"]),
            "row 1: the image path is empty or leaves its folder",
        ),
        ("labelled", csv_of(["['/a.jpg']", "['x']", "['c']"]), "leaves its folder"),
        ("labelled", csv_of(["['a.jpg']", "['x']", "['']"]), "row 1: has no caption"),
        (
            "roco",
            csv_of(["id", "captoin"]),
            "header: no column 'caption'; columns: id, captoin. Did you mean 'captoin'",
        ),
        ("roco", "id,caption\nR1\n", "row 2: 1 cells for 2 columns"),
        ("roco", "id,caption\n", "has no rows of layout 'roco'"),
        ("roco", 'id,caption\n"R1,x\n', "not valid CSV"),
        ("pmc_oa", "{", "row 1: not valid JSON"),
        ("pmc_oa", '{"image": 3, "caption": "x"}', "row 1: no 'image' of the expected kind"),
        ("llava_alignment", '[{"image": "a", "conversations": [{}]}]', "1 turns, expected a question"),
        ("llava_alignment", "3", "file: holds a JSON int, expected a list. It is a file of another layout"),
        ("llava_alignment", "[3]", "entry 1: no 'conversations' of the expected kind"),
        ("llava_instruct", "[]", "file: holds a JSON list, expected a dict"),
        ("llava_instruct", '{"x": 3}', "file 'x': holds a JSON int, expected a list"),
        ("llava_instruct", '{"x": [3]}', "file 'x' entry 1: no 'pair_id' of the expected kind"),
        (
            "llava_instruct",
            '{"x": [{"pair_id": "p", "fig_caption": "c", "in_text_mention": 3}]}',
            "'in_text_mention': holds a JSON int",
        ),
        ("pmc_oa", "[3]", "row 1: expected an object"),
        ("roco", "id,caption,id\nR1,x,R2\n", "header: a column name stands twice: 'id'"),
    ],
)
def test_files_that_are_not_of_the_layout(tmp_path: Path, layout: str, text: str, match: str) -> None:
    with pytest.raises(DataError, match=match):
        read_annotations(write(tmp_path, "file", text), layout=layout)


def test_layouts_files_and_limits(tmp_path: Path) -> None:
    path = write(tmp_path, "r.csv", csv_of(["id", "caption"], ["R1", "long " * 10]))
    with pytest.raises(ConfigError, match="No layout 'rocco'; there are: .*Did you mean 'roco'"):
        read_annotations(path, layout="rocco")
    with pytest.raises(DataError, match="nothing.csv: no such file"):
        read_annotations(tmp_path / "nothing.csv", layout="roco")
    with pytest.raises(LimitError, match="r.csv row 1: characters"):
        read_annotations(path, layout="roco", limits=DEFAULT.with_(text_chars=9))
    with pytest.raises(LimitError, match="r.csv: bytes"):
        read_annotations(path, layout="roco", limits=DEFAULT.with_(file_bytes=9))
    assert len(LAYOUTS) == 10


@pytest.mark.parametrize("layout", ["labelled", "roco", "quilt", "pmc_oa", "llava_alignment", "openi"])
def test_text_that_is_not_utf8_is_said(tmp_path: Path, layout: str) -> None:
    (tmp_path / "file").write_bytes(b"id,caption\nR1,\xff\n")
    (tmp_path / "second").write_text("{}")
    with pytest.raises(DataError, match="file( row 1)?: (not|cannot be read as) UTF-8 text"):
        second = "second" if layout == "openi" else ""
        read_annotations(tmp_path / "file", layout=layout, second=second)


def test_a_line_without_an_end_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "r.csv", "id,caption\nR1," + "x" * 500)
    with pytest.raises(LimitError, match="r.csv row 2: characters 201 is over the limit of 200"):
        read_annotations(path, layout="roco", limits=DEFAULT.with_(config_bytes=200))
