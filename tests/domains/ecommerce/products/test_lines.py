import codecs

import pytest
from verticlip.core.errors import ConfigError, DataError
from verticlip.domains.ecommerce.products.lines import TextFile
from verticlip.domains.ecommerce.products.rows import Notes


def read(tmp_path, content, encoding="auto"):
    file = tmp_path / "a.csv"
    file.write_bytes(content)
    notes = Notes()
    lines = list(TextFile(file, encoding, notes).lines())
    return [line.text for line in lines], [line.problem for line in lines if line.text is None], notes.lines()


def test_utf8_with_and_without_a_mark(tmp_path):
    for mark in (b"", codecs.BOM_UTF8):
        assert read(tmp_path, mark + "größe\n中文\n".encode()) == (["größe\n", "中文\n"], [], ())


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_utf16_with_a_mark(tmp_path, encoding):
    text = "id\tgröße\n1\t中\n"
    content = text.encode(encoding) if encoding == "utf-16" else ("\ufeff" + text).encode(encoding)
    assert read(tmp_path, content)[0] == ["id\tgröße\n", "1\t中\n"]


def test_old_western_files_are_read_and_said(tmp_path):
    texts, problems, notes = read(tmp_path, "Größe\nPreis 5 €\n“naïve”\n".encode("cp1252"))
    assert texts == ["Größe\n", "Preis 5 €\n", "“naïve”\n"]
    assert not problems
    assert notes == (
        "a.csv is not UTF-8; read as Windows-1252 (first such line: 1). If letters look wrong, say the encoding.",
    )


def test_the_late_letter_counts(tmp_path):
    content = b"plain\n" * 20_000 + "Größe\n".encode("latin-1")
    texts, problems, notes = read(tmp_path, content)
    assert texts[-1] == "Größe\n"
    assert not problems
    assert "first such line: 20001" in notes[0]


def test_a_bad_line_in_a_utf8_file_is_one_bad_line(tmp_path):
    texts, problems, notes = read(tmp_path, "größe\n".encode() + b"cut \xc3\n" + "weiß\n".encode())
    assert texts == ["größe\n", None, "weiß\n"]
    assert problems == ["is no text in UTF-8: byte 0xc3 at 5"]
    assert notes == ()


def test_a_utf8_line_in_an_old_file_is_not_mangled(tmp_path):
    content = "Größe\nweiß\n".encode("cp1252") + "Schürze\n".encode()
    texts, _, notes = read(tmp_path, content)
    assert texts == ["Größe\n", "weiß\n", "Schürze\n"]
    assert any("are UTF-8, unlike the others: 1 row, first row 3" in note for note in notes)


def test_garbage_in_an_ascii_file_is_no_encoding(tmp_path):
    texts, problems, _ = read(tmp_path, b"a,b\n" * 50 + bytes(range(128, 256)) + b"\n" + b"c,d\n")
    assert texts.count(None) == 1
    assert problems[0].startswith("is no text in UTF-8")


@pytest.mark.parametrize(
    ("encoding", "text"), [("cp1251", "Платье"), ("gb18030", "连衣裙红色"), ("shift_jis", "ワンピース")]
)
def test_other_scripts_are_not_guessed(tmp_path, encoding, text):
    content = f"id,title\n1,{text}\n2,{text}\n".encode(encoding)
    with pytest.raises(
        DataError, match=r"a.csv: neither UTF-8 nor Western European text \(line 2\).*encoding='cp1251'"
    ):
        read(tmp_path, content)
    assert read(tmp_path, content, encoding)[0][1] == f"1,{text}\n"


def test_an_encoding_that_is_said_is_kept_to(tmp_path):
    assert read(tmp_path, "Größe\n".encode("cp1252"), "utf-8")[0] == [None]
    with pytest.raises(ConfigError, match="encoding 'utf-9' is unknown"):
        read(tmp_path, b"a\n", "utf-9")
    with pytest.raises(ConfigError, match="encoding 'rot13' is unknown"):
        read(tmp_path, b"a\n", "rot13")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PK\x03\x04 xlsx", "Excel workbook; save the sheet as CSV"),
        (b"%PDF-1.4", "a PDF"),
        (b"\x89PNG\r\n\x1a\n", "a PNG picture"),
        (b"<!doctype html><html>", "a web page"),
        (b"\n<?xml version='1.0'?>", "XML"),
        (b"\0" * 100, "this is no text file"),
    ],
)
def test_what_is_no_table(tmp_path, content, message):
    with pytest.raises(DataError, match=message):
        read(tmp_path, content)


def test_no_such_file(tmp_path):
    with pytest.raises(DataError, match=r"none.csv: no such file"):
        TextFile(tmp_path / "none.csv", "auto", Notes())
