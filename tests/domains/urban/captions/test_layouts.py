from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from verticlip.core.errors import DataError, LimitError
from verticlip.core.limits import DEFAULT
from verticlip.domains.urban.captions.layouts import (
    MissingImagesError,
    check_images,
    corpus_statistics,
    read_caption_file,
    split_paragraph,
    write_caption_file,
)

ENTRIES = [
    {"caption": "A park.", "image": "City/16_1_2_s.jpg"},
    {"caption": " A river ", "image": "City/16_1_3_s.jpg"},
    {"caption": "Tall buildings", "image": "City/16_1_2_s.jpg"},
    {"caption": "A park.", "image": "City/./16_1_2_s.jpg"},
    {"caption": "  ", "image": "City/16_1_4_s.jpg"},
]
WANTED = {"City/16_1_2_s.jpg": ("A park.", "Tall buildings"), "City/16_1_3_s.jpg": ("A river",)}


def write(folder: Path, content: Any) -> Path:
    path = folder / "captions.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("layout", "content"),
    [
        ("flat", ENTRIES),
        ("wrapped", [ENTRIES]),
        ("grouped", [ENTRIES[:1] + ENTRIES[2:], ENTRIES[1:2]]),
        # A group may span pictures, and a picture groups.
        ("grouped", [ENTRIES[:2], [], ENTRIES[2:]]),
    ],
)
def test_every_layout_gives_the_same_captions(layout: str, content: Any, tmp_path: Path) -> None:
    found = read_caption_file(write(tmp_path, content))
    assert dict(found) == WANTED
    assert (found.layout, found.entries, found.repeats, found.empty) == (layout, 5, 1, 1)
    assert len(found) == 2
    assert "City/16_1_3_s.jpg" in found


def test_what_is_written_reads_back_flat(tmp_path: Path) -> None:
    write_caption_file(tmp_path / "out.json", {**WANTED, "Ä.jpg": ("Ein Fluß.",)})
    found = read_caption_file(tmp_path / "out.json")
    assert (dict(found), found.layout) == ({**WANTED, "Ä.jpg": ("Ein Fluß.",)}, "flat")
    raw = json.loads((tmp_path / "out.json").read_text("utf-8"))
    assert raw[0] == {"caption": "A park.", "image": "City/16_1_2_s.jpg"}
    assert [path.name for path in tmp_path.iterdir()] == ["out.json"]


def test_a_byte_order_mark_and_other_keys_are_fine(tmp_path: Path) -> None:
    text = "\ufeff" + json.dumps([{**ENTRIES[0], "score": 0.3}])
    assert dict(read_caption_file(write(tmp_path, text))) == {"City/16_1_2_s.jpg": ("A park.",)}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[{", "captions.json: not valid JSON"),
        ("[" * 100_000, "captions.json: not valid JSON"),
        ('[{"image": "a", "image": "b", "caption": "c"}]', "the key 'image' stands twice"),
        ({"a.jpg": ["A park."]}, "expected a list of captions, got an object"),
        ([], "no captions. Expected a list"),
        ([[], []], "no captions. Expected a list"),
        ([{"image": "a.jpg", "caption": " "}], "every caption is empty"),
        (["A park."], "entry 1: expected .* got text"),
        ([None], "entry 1: expected .* got null"),
        ([ENTRIES[0], [ENTRIES[1]]], "entry 2: a list among entries"),
        ([[ENTRIES[0]], ENTRIES[1]], "entry 2: an object among lists"),
        ([[[ENTRIES[0]]]], "group 1 entry 1: expected .* got a list"),
        ([{"img": "a.jpg", "caption": "x"}], "entry 1: no 'image'. Did you mean 'img'?"),
        ([{"image": "a.jpg", "captions": "x"}], "entry 1: no 'caption'. Did you mean 'captions'?"),
        ([{"image": 3, "caption": "x"}], "entry 1: image is a number, not text"),
        ([{"image": "a.jpg", "caption": ["x"]}], "entry 1: caption is a list, not text"),
        ([{"image": "a.jpg", "caption": True}], "entry 1: caption is true or false, not text"),
        ([{"image": "../a.jpg", "caption": "x"}], "'../a.jpg' leaves the folder of the pictures"),
        ([{"image": "a/../../b.jpg", "caption": "x"}], "leaves the folder of the pictures"),
        ([{"image": ".", "caption": "x"}], "leaves the folder of the pictures"),
        ([{"image": "/etc/a.jpg", "caption": "x"}], "not a relative path with forward slashes"),
        ([{"image": "C:/a.jpg", "caption": "x"}], "not a relative path with forward slashes"),
        ([{"image": "City\\a.jpg", "caption": "x"}], "not a relative path with forward slashes"),
        ([{"image": "https://a/b.jpg", "caption": "x"}], "is a URL. Download it"),
        ([{"image": "", "caption": "x"}], "the name of the image is empty"),
        ([{"image": "a\0b", "caption": "x"}], "the name of the image is empty or has a NUL"),
    ],
)
def test_messages(content: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read_caption_file(write(tmp_path, content))
    assert str(tmp_path) not in str(caught.value)


def test_files_that_are_no_text(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="absent.json: no such file"):
        read_caption_file(tmp_path / "absent.json")
    (tmp_path / "latin.json").write_bytes('[{"image": "é"}]'.encode("latin-1"))
    with pytest.raises(DataError, match="latin.json: not UTF-8 at byte 12"):
        read_caption_file(tmp_path / "latin.json")


def test_ceilings(tmp_path: Path) -> None:
    path = write(tmp_path, [{"image": "a.jpg", "caption": "word " * 10}])
    with pytest.raises(LimitError, match="captions.json: bytes 8[0-9] is over the limit of 64"):
        read_caption_file(path, limits=DEFAULT.with_(config_bytes=1))
    with pytest.raises(LimitError, match="entry 1: characters 49 is over the limit of 20"):
        read_caption_file(path, limits=DEFAULT.with_(text_chars=20))


def test_missing_pictures_are_listed(tmp_path: Path) -> None:
    (tmp_path / "here.jpg").touch()
    names = ["here.jpg", *(f"gone_{number}.jpg" for number in range(25))]
    with pytest.raises(MissingImagesError, match=r"25 of 26 pictures .* gone_0.jpg, .* and 5 more") as caught:
        check_images(dict.fromkeys(names), tmp_path)
    assert caught.value.missing == tuple(names[1:])
    check_images({"here.jpg": ()}, tmp_path)


def test_statistics_count_repeats_between_tiles() -> None:
    found = corpus_statistics({"a": ("a park", "one two three"), "b": ("a park",), "c": ("a park",)})
    assert found.to_dict() == {
        "tiles": 3,
        "captions": 4,
        "captions_per_tile": {"mean": 1.333, "min": 1, "max": 2},
        "words": {"mean": 2.25, "max": 3},
        "duplicate_captions": 2,
    }
    assert corpus_statistics({}).to_dict()["captions"] == 0


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("A park. It has a lake. Trees.", ["A park", "It has a lake", "Trees."]),
        ("One sentence without end", ["One sentence without end"]),
        ("About 1.5 km wide. Next", ["About 1.5 km wide", "Next"]),
        ("First.  Second.\nThird. ", ["First", "Second. Third"]),
        (". . ", []),
        ("", []),
    ],
)
def test_paragraphs_split_where_the_published_ones_did(text: str, wanted: list[str]) -> None:
    assert split_paragraph(text) == wanted
