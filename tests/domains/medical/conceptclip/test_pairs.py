from __future__ import annotations

import json
from pathlib import Path

import pytest
from verticlip.core.errors import ConfigError, DataError, LimitError
from verticlip.core.limits import Limits
from verticlip.domains.medical.conceptclip.collate import align_spans
from verticlip.domains.medical.conceptclip.decoded import DecodedText, spelled
from verticlip.domains.medical.conceptclip.pairs import ConceptPairs, PairKeys, read_concept_jsonl

CAPTION = "Chest x ray shows pleural effusion in the left lung."
FULL = {"umls_cui": "C0032227", "umls_similarity": 1.0, "start_char": 18, "end_char": 34, "tokens": ["pleural", "effusion"], "start_token": 4, "end_token": 6}  # fmt: skip


def write(folder, *records):
    path = folder / "pairs.jsonl"
    lines = [one if isinstance(one, str) else json.dumps(one) for one in records]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def pair(spans, caption=CAPTION, image="a.png", **more):
    return {"caption": caption, "image": image, "umls_meta_info": spans, **more}


def test_both_layouts_give_the_same_rows(tmp_path):
    full = read_concept_jsonl(write(tmp_path, pair([FULL], pmc="77", pmid="5")), images="figures")[0]
    assert full == {
        "id": "line-1",
        "path": str(tmp_path / "figures" / "a.png"),
        "text": CAPTION,
        "group": "pmc:77",
        "extras": {"concepts": [{"start": 18, "end": 34, "phrase": "pleural effusion", "cui": "C0032227"}]},
    }
    small = read_concept_jsonl(write(tmp_path, pair([[18, 34]])))[0]
    assert small["extras"]["concepts"] == [{"start": 18, "end": 34, "phrase": "pleural effusion"}]
    assert small["group"] is None
    assert json.loads(json.dumps(small)) == small
    named = {"text": CAPTION, "file": "b/c/PMC123/x.jpg", "spans": []}
    row = ConceptPairs(write(tmp_path, named), keys=PairKeys("text", "file", "spans"))[0]
    assert (row["group"], row["extras"]) == ("pmc:123", {"concepts": []})


def test_pairs_may_be_tokens_and_full_entries_may_lack_characters(tmp_path):
    path = write(tmp_path, pair([[18, 34]]), pair([{"start_token": 4, "end_token": 6}]), pair([FULL]))
    rows = read_concept_jsonl(path, offsets="tokens")
    assert [row["extras"]["concepts"][0].get("tokens") for row in rows] == [[18, 34], [4, 6], None]


def test_rows_are_read_when_they_are_asked_for(tmp_path):
    records = [
        pair([[0, 5]], image=f"{number}.png", caption=f"Chest {number} \u00b5m") for number in range(50)
    ]
    path = write(tmp_path, records[0], "", *records[1:], "   ".strip())
    rows = ConceptPairs(path)
    assert len(rows) == 50
    assert rows[-1]["text"] == "Chest 49 \u00b5m"
    assert [row["text"] for row in rows] == [one["caption"] for one in records]
    with pytest.raises(IndexError):
        rows[50]
    import pickle

    assert pickle.loads(pickle.dumps(rows))[7] == rows[7]


def test_offsets_count_what_the_file_says(tmp_path):
    caption = "MRI (T1): edema, as in Crohn's disease."
    words = {"umls_cui": "C1", "tokens": ["ed", "##ema"]}
    for offsets, ends in (("decoded", [13, 18]), ("caption", [10, 15])):
        path = write(tmp_path, pair([ends], caption=caption))
        found = read_concept_jsonl(path, offsets=offsets)[0]["extras"]["concepts"]
        assert found == [{"start": 10, "end": 15, "phrase": "edema"}]
        # Where the words are stated, the reading that spells them is taken, or the nearest place.
        for other in ("decoded", "caption"):
            for start in (ends[0], ends[0] + 1):
                entry = {**words, "start_char": start, "end_char": start + 5}
                path = write(tmp_path, pair([entry], caption=caption))
                got = read_concept_jsonl(path, offsets=other)[0]["extras"]["concepts"]
                assert got == [{"start": 10, "end": 15, "phrase": "edema", "cui": "C1"}]
    absent = {**words, "tokens": ["glioma"], "start_char": 13, "end_char": 18}
    path = write(tmp_path, pair([absent, [13, 18]], caption=caption))
    with pytest.raises(DataError, match=r"span 0: the words 'glioma' at \[13, 18\) are not in the caption"):
        read_concept_jsonl(path)
    extras = read_concept_jsonl(path, on_bad="drop")[0]["extras"]
    assert (len(extras["concepts"]), extras["unplaced"]) == (1, 1)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (
            pair([[0, 5], [40, 99]]),
            r"pairs.jsonl: line 2, span 1: \[40, 99\) is outside the decoded caption of 52 characters",
        ),
        (pair([[5, 5]]), r"line 2, span 0: \[5, 5\) is outside"),
        (pair([[-1, 4]]), r"\[-1, 4\) is outside"),
        (pair([[1]]), r"span 0: \[1\] is not a span"),
        (pair([[1, 2.5]]), "is not a span"),
        (pair(["pleural"]), "'pleural' is not a span"),
        (pair({"a": 1}), "'umls_meta_info' is dict, expected a list"),
        (pair([], caption=" "), "'caption' is ' ', expected a text"),
        ({"image": "a.png", "text": "x"}, "'caption' is None, expected a text. It has: image, text"),
        (pair([], image="../../etc/passwd"), "lies outside the image folder"),
        (pair([], image="/etc/passwd"), "lies outside the image folder"),
        ("[1, 2]", "line 2 is list, expected an object"),
        ("{'caption': 1}", "line 2 is not JSON"),
    ],
)
def test_bad_lines_are_named(tmp_path, record, message):
    path = write(tmp_path, pair([]), record)
    with pytest.raises(DataError, match=message):
        read_concept_jsonl(path)
    assert ConceptPairs(path)[0]["text"] == CAPTION


def test_bad_files_are_named(tmp_path):
    with pytest.raises(DataError, match=r"nothing.jsonl: no such file"):
        ConceptPairs(tmp_path / "nothing.jsonl")
    with pytest.raises(DataError, match="holds no line"):
        ConceptPairs(write(tmp_path))
    with pytest.raises(ConfigError, match=r"offsets='token' is none of .*Did you mean 'tokens'"):
        ConceptPairs(write(tmp_path, pair([])), offsets="token")
    with pytest.raises(ConfigError, match=r"on_bad='skip' is none of error, drop"):
        ConceptPairs(write(tmp_path, pair([])), on_bad="skip")
    with pytest.raises(LimitError, match="characters of the caption 52"):
        read_concept_jsonl(write(tmp_path, pair([])), limits=Limits(text_chars=50))
    with pytest.raises(LimitError, match="rows 2"):
        ConceptPairs(write(tmp_path, pair([]), pair([])), limits=Limits(manifest_rows=1))


@pytest.mark.data
def test_the_published_sample_in_both_layouts(data_dir):
    """70 figures, 280 concepts: each is placed on its own words, with and without the words at hand."""
    import verticlip

    folder = data_dir / "medical" / "concept_pairs"
    full = read_concept_jsonl(folder / "pretraining_meta_file_sample.jsonl", images="sample_images")
    small = read_concept_jsonl(folder / "pretraining_meta_file_sample_min.jsonl", images="sample_images")
    assert (len(full), sum(len(row["extras"]["concepts"]) for row in full)) == (70, 280)
    assert all(Path(row["path"]).is_file() and row["group"] for row in full)
    stated = [
        spelled(one["tokens"])
        for line in (folder / "pretraining_meta_file_sample.jsonl").read_text().splitlines()
        for one in json.loads(line)["umls_meta_info"]
    ]
    found = [concept["phrase"] for row in full for concept in row["extras"]["concepts"]]
    assert [DecodedText(phrase).text for phrase in found] == stated
    processor = verticlip.from_pretrained("medical/tiny").processor
    for one, other in zip(full, small, strict=True):
        concepts = one["extras"]["concepts"]
        ends = [(concept["start"], concept["end"]) for concept in concepts]
        assert ends == [(concept["start"], concept["end"]) for concept in other["extras"]["concepts"]]
        aligned = align_spans(one["text"], concepts, processor, fit="keep")
        assert "not_found" not in aligned.dropped
        offsets, clean = processor.token_offsets(one["text"])[1:-1], processor.clean_text(one["text"])
        for span, index in zip(aligned.spans, aligned.kept, strict=True):
            got = clean[offsets[span[0]][0] : offsets[span[1] - 1][1]]
            assert got == processor.clean_text(concepts[index]["phrase"])


@pytest.mark.data
def test_published_numbers_are_not_characters_of_the_caption(data_dir):
    """Read that way, 10 of the 280 lie outside their caption: they are refused, or dropped and counted."""
    path = data_dir / "medical" / "concept_pairs" / "pretraining_meta_file_sample_min.jsonl"
    with pytest.raises(
        DataError, match=r"line 2, span 0: \[167, 179\) is outside the caption of 174 characters"
    ):
        read_concept_jsonl(path, offsets="caption")
    rows = read_concept_jsonl(path, offsets="caption", on_bad="drop")
    assert sum(row["extras"].get("unplaced", 0) for row in rows) == 10


def test_a_slice_gives_rows_as_of_any_sequence(tmp_path):
    rows = ConceptPairs(write(tmp_path, *(pair([], caption=f"number {n}") for n in range(5))))
    assert [row["text"] for row in rows[:2]] == ["number 0", "number 1"]
    assert [row["id"] for row in rows[4:1:-2]] == ["line-5", "line-3"]
    assert rows[9:] == []
    with pytest.raises(IndexError):
        rows[5]


def test_a_line_without_an_end_is_refused(tmp_path):
    path = write(tmp_path, pair([]), "x" * 1000)
    with pytest.raises(LimitError, match="line 2: bytes 501 is over the limit of 500"):
        ConceptPairs(path, limits=Limits(config_bytes=500))[1]


def test_a_slice_is_a_list_of_rows(tmp_path):
    rows = ConceptPairs(write(tmp_path, pair([FULL]), pair([]), pair([])))
    assert [row["id"] for row in rows[1:]] == ["line-2", "line-3"]
    assert rows[::-2][1] == rows[0]
