"""Studies with reports from a JSON-lines file."""

from __future__ import annotations

import json

import pytest
from verticlip.core.errors import DataError
from verticlip.core.registry import room
from verticlip.domains.medical.biovil.reports import read_reports


def written(folder, *rows):
    path = folder / "studies.jsonl"
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows))
    return path


def test_a_study_is_an_image_a_text_and_its_sections(tmp_path):
    path = written(
        tmp_path,
        {"image": "a.png", "report": "FINDINGS: Clear.\nIMPRESSION: Normal.", "patient": "p", "split": "val"},
        {"image": "b.png", "findings": "Edema.", "id": "second", "label": "edema"},
        "",
        {"image": "c.png", "report": "No  sections.", "patient": None},
    )
    first, second, third = read_reports(path)
    root = tmp_path.resolve()
    assert first == {
        "id": "studies.jsonl row 1", "path": str(root / "a.png"), "label": None, "split": "val", "group": "p",
        "text": "Normal. Clear.", "extras": {"findings": "Clear.", "impression": "Normal."},
    }  # fmt: skip
    assert second["extras"] == {"findings": "Edema."}
    assert (second["id"], second["label"], second["text"]) == ("second", "edema", "Edema.")
    assert (third["text"], third["extras"]) == ("No sections.", {})
    assert read_reports(path, images="files")[0]["path"] == str(root / "files" / "a.png")
    assert room("medical").function("readers", "report_jsonl") is read_reports


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"image": "a.png"}, "row 1: no text"),
        ({"report": "x"}, "row 1: no 'image'"),
        ({"image": "a.png", "reprot": "x"}, "unknown key 'reprot'. Did you mean 'report'"),
        ({"image": "a.png", "report": 3}, "report is int, not text"),
        ({"image": "../a.png", "report": "x"}, "row 1: .*leaves the data folder"),
        ({"image": "/etc/passwd", "report": "x"}, "leaves the data folder"),
        ("[1]", "row 1: expected an object"),
        ('{"image": secret', "row 1: not valid JSON"),
        ("", "no studies"),
    ],
)
def test_bad_rows_are_named(tmp_path, row, message):
    with pytest.raises(DataError, match=message) as caught:
        read_reports(written(tmp_path, row))
    assert "secret" not in str(caught.value)


def test_a_missing_file(tmp_path):
    with pytest.raises(DataError, match="none.jsonl: no such file"):
        read_reports(tmp_path / "none.jsonl")


def test_text_that_is_not_utf8_or_has_a_mark(tmp_path):
    path = written(tmp_path, {"image": "a.png", "report": "x"})
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert read_reports(path)[0]["text"] == "x"
    path.write_bytes(path.read_bytes() + b'\n{"image": "b.png", "report": "\xe9"}')
    with pytest.raises(DataError, match=r"studies.jsonl row \d: not UTF-8 text .*Save it as UTF-8"):
        read_reports(path)


def test_a_key_that_stands_twice(tmp_path):
    with pytest.raises(DataError, match="row 1: not valid JSON .*the key 'report' stands twice"):
        read_reports(written(tmp_path, '{"image": "a.png", "report": "x", "report": "y"}'))
