from __future__ import annotations

from pathlib import Path

import pytest
from verticlip.core.data import Manifest
from verticlip.core.data.tables import number_in, read_table
from verticlip.core.errors import DataError, InputError, LimitError
from verticlip.core.limits import DEFAULT, Limits


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("a.dat", "b.dat"):
        (tmp_path / name).write_text("x")
    return tmp_path


def test_csv_with_the_names_of_the_fields(root: Path):
    (root / "t.csv").write_text('\ufeffpath,label,group,text\na.dat,cat,p1,"one, two"\nb.dat,,p2,\n\n')
    first, second = Manifest.from_csv(root / "t.csv")
    assert (first.id, first.label, first.group, first.text) == ("a.dat", "cat", "p1", "one, two")
    assert (second.label, second.text) == (None, None)


def test_csv_with_other_names_and_another_root(root: Path, tmp_path: Path):
    table = tmp_path / "tables" / "t.tsv"
    table.parent.mkdir()
    table.write_text("image_id\tdiagnosis\tage\na.dat\tcat\t50\n")
    (record,) = Manifest.from_csv(table, root=root, columns={"path": "image_id", "label": "diagnosis"})
    assert (record.path, record.label) == ("a.dat", "cat")


def test_missing_files_become_problems(root: Path):
    (root / "t.csv").write_text("path\na.dat\nabsent.dat\n")
    manifest = Manifest.from_csv(root / "t.csv")
    assert [problem.path for problem in manifest.problems] == ["absent.dat"]
    assert len(Manifest.from_csv(root / "t.csv", check=None)) == 2


def test_jsonl(root: Path):
    (root / "t.jsonl").write_text('{"path": "a.dat", "label": 3}\n\n{"text": "only text", "id": "x"}\n')
    first, second = Manifest.from_jsonl(root / "t.jsonl")
    assert (first.label, second.id, second.path) == ("3", "x", None)


def test_jsonl_with_other_names(root: Path):
    (root / "t.jsonl").write_text('{"img": "a.dat", "age": 3}\n{"img": "b.dat", "cls": "cat"}\n')
    manifest = Manifest.from_jsonl(root / "t.jsonl", columns={"path": "img", "label": "cls"})
    assert [record.label for record in manifest] == [None, "cat"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,labl\n", r"t.csv header: unknown column 'labl'. Did you mean 'label'\? Fields: id, path"),
        ("path,path\n", "t.csv header: a column name stands twice"),
        ("label\ncat\n", "t.csv header: neither a path nor a text column among"),
        ("path,label\na.dat\n", "t.csv row 2: 1 cells for 2 columns"),
        ('path\n"a.dat\n', "t.csv row 2: not valid CSV"),
        ("path,id\na.dat,x\nb.dat,x\n", r"t.csv row 3: id 'x' was already used in t.csv row 2"),
        ("", "t.csv header: neither a path nor a text column"),
        ("path\n", "t.csv: no usable rows"),
    ],
)
def test_csv_messages(root: Path, text: str, message: str):
    (root / "t.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        Manifest.from_csv(root / "t.csv")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"path": "a.dat"}\n{"path"\n', "t.jsonl row 2: not valid JSON"),
        ("[1]\n", "t.jsonl row 1: expected an object like .* got list"),
        (
            '{"path": "a.dat", "splits": "x"}\n',
            "t.jsonl row 1: unknown column 'splits'. Did you mean 'split'",
        ),
        ('{"label": "a"}\n', "t.jsonl row 1: neither a path nor a text"),
        ("[" * 100_000 + "\n", "t.jsonl row 1: not valid JSON"),
    ],
)
def test_jsonl_messages(root: Path, text: str, message: str):
    (root / "t.jsonl").write_text(text)
    with pytest.raises(DataError, match=message):
        Manifest.from_jsonl(root / "t.jsonl")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ('{"path": "../x"}', r"t.jsonl row 1: '\.\./x' leaves the data folder"),
        ('{"path": "http://h/x"}', "t.jsonl row 1: .* is a URL"),
        ('{"path": "a.dat", "label": ["x"]}', "t.jsonl row 1: label must be text, got list"),
        ('{"path": "a.dat", "label": true}', "t.jsonl row 1: label must be text, got bool"),
        ('{"path": "", "text": null}', "t.jsonl row 1: the row has neither a path nor a text"),
    ],
)
def test_row_messages(root: Path, row: str, message: str):
    (root / "t.jsonl").write_text(row + "\n")
    with pytest.raises(InputError, match=message):
        Manifest.from_jsonl(root / "t.jsonl")


def test_columns_messages(root: Path):
    (root / "t.csv").write_text("file\na.dat\n")
    with pytest.raises(DataError, match=r"columns: unknown field 'pth'. Did you mean 'path'"):
        Manifest.from_csv(root / "t.csv", columns={"pth": "file"})
    with pytest.raises(DataError, match=r"t.csv header: no column 'fil'. Did you mean 'file'"):
        Manifest.from_csv(root / "t.csv", columns={"path": "fil"})
    with pytest.raises(DataError, match=r"absent.csv: no such file"):
        Manifest.from_csv(root / "absent.csv")


def test_limits(root: Path):
    (root / "t.csv").write_text("path\na.dat\nb.dat\n")
    (root / "t.jsonl").write_text('{"path": "a.dat"}\n{"path": "b.dat"}\n')
    for read, name in ((Manifest.from_csv, "t.csv"), (Manifest.from_jsonl, "t.jsonl")):
        with pytest.raises(LimitError, match=f"{name}: rows 2 is over the limit of 1"):
            read(root / name, limits=Limits(manifest_rows=1))
        (root / name).write_text("x" * 100)
        with pytest.raises(LimitError, match=f"{name} row 1: characters 51 is over the limit of 50"):
            read(root / name, limits=Limits(config_bytes=50))
        (root / name).write_bytes(b"path\xff\xfe\n")
        with pytest.raises(DataError, match=f"{name} row 1: not UTF-8"):
            read(root / name)


def test_one_table_reader_for_every_task(tmp_path: Path):
    table = tmp_path / "t.csv"
    table.write_text('\ufeffimage , text\na.png,"one,\ntwo"\n\nb.png,three\n', encoding="utf-8")
    assert read_table(table, ["image"], limits=DEFAULT) == [
        ("t.csv row 3", {"image": "a.png", "text": "one,\ntwo"}),
        ("t.csv row 5", {"image": "b.png", "text": "three"}),
    ]
    (tmp_path / "t.tsv").write_text("image\ttext\na.png\tx\n")
    assert read_table(tmp_path / "t.tsv", limits=DEFAULT)[0][1] == {"image": "a.png", "text": "x"}
    (tmp_path / "t.jsonl").write_text('\ufeff{"image": "a.png", "x": 1}\n', encoding="utf-8")
    ((where, row),) = read_table(tmp_path / "t.jsonl", limits=DEFAULT)
    assert (where, number_in(row, "x", where)) == ("t.jsonl row 1", 1.0)
    with pytest.raises(DataError, match="t.jsonl row 1: image is 'a.png', expected a number"):
        number_in(row, "image", where)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", b"image,image\na,b\n", "t.csv header: a column name stands twice: 'image'"),
        ("t.csv", b"image\na,b\n", "t.csv row 2: 2 cells for 1 columns"),
        ("t.csv", b"imge\na\n", "t.csv header: no column 'image'; columns: imge. Did you mean 'imge'"),
        ("t.csv", b"image\n\xff\n", "t.csv row 1: not UTF-8 text"),
        ("t.csv", b'image\n"a\n', "t.csv row 2: not valid CSV"),
        ("t.csv", b"image\n", "t.csv: no rows"),
        ("t.jsonl", b'{"image": "a", "image": "b"}', "t.jsonl row 1: not valid JSON .*'image' stands twice"),
        ("t.jsonl", b'{"imge": "a"}', "t.jsonl row 1: no column 'image'. Did you mean 'imge'"),
        ("t.jsonl", b"[]", "t.jsonl row 1: expected an object"),
        ("t.jsonl", b"\n", "t.jsonl: no rows"),
    ],
)
def test_tables_that_cannot_be_used(tmp_path: Path, name: str, content: bytes, message: str):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_table(tmp_path / name, ["image"], limits=DEFAULT)


def test_tables_have_ceilings(tmp_path: Path):
    (tmp_path / "t.csv").write_text("image\n" + "x" * 300 + "\ny\n")
    for limits, message in (
        (Limits(file_bytes=9), "t.csv: bytes"),
        (Limits(config_bytes=200), "t.csv row 2: characters 201"),
        (Limits(manifest_rows=1), "t.csv: rows 2"),
    ):
        with pytest.raises(LimitError, match=message):
            read_table(tmp_path / "t.csv", limits=limits)
