"""Score tables."""

from __future__ import annotations

import pytest
from liveness.evaluation import make_scores
from verticlip.core.errors import DataError
from verticlip.domains.liveness.evaluation.table import (
    ScoredPresentation,
    columns_of,
    read_scores,
    write_scores,
)


@pytest.mark.parametrize("name", ["scores.csv", "scores.tsv", "scores.jsonl"])
def test_every_digit_comes_back(tmp_path, name):
    rows = [
        *make_scores.population("test", 3),
        make_scores.presentation('odd, "name"\u00e9', 1 - 1e-16, "bona_fide", margin=36.7),
        make_scores.presentation("last", 0.1 + 0.2, "mask", failed_checks=("blur", "pose")),
    ]
    write_scores(tmp_path / name, rows, paths=True)
    assert read_scores(tmp_path / name) == rows
    assert [one.groups for one in read_scores(tmp_path / name)] == [one.groups for one in rows]


def test_paths_stay_at_home_unless_asked_for(tmp_path):
    rows = make_scores.population("test", 1)
    for name in ("scores.csv", "scores.jsonl"):
        write_scores(tmp_path / name, rows)
        assert "mp4" not in (tmp_path / name).read_text()
        assert [one.path for one in read_scores(tmp_path / name)] == [""] * len(rows)


def test_a_table_of_another_system(tmp_path):
    (tmp_path / "vendor.csv").write_text("score,label,phone\n0.9,live,a\n,attack,b\n-3e-5,spoof,b\n")
    rows = read_scores(tmp_path / "vendor.csv")
    assert [one.id for one in rows] == ["vendor.csv 1", "vendor.csv 2", "vendor.csv 3"]
    assert [one.score for one in rows] == [0.9, None, -3e-5]
    assert [one.species for one in rows] == ["bona_fide", "unspecified", "unspecified"]
    assert [one.groups["phone"] for one in rows] == ["a", "b", "b"]
    assert columns_of(rows).margins is None


def test_words_are_those_of_a_manifest(tmp_path):
    (tmp_path / "vendor.csv").write_text(
        "score,label,split\n0.9,bonafide,devel\n0.1,imposter,Validation\n0.8,genuine,testing\n0.2,fake,test\n"
    )
    rows = read_scores(tmp_path / "vendor.csv")
    assert [one.is_live for one in rows] == [True, False, True, False]
    assert [one.split for one in rows] == ["dev", "dev", "test", "test"]
    (tmp_path / "only.csv").write_text("score,species\n0.9,Bona-Fide\n0.1,1\n")
    assert [one.species for one in read_scores(tmp_path / "only.csv")] == ["bona_fide", "1"]


def test_subjects_of_one_set_by_two_names_are_one_person():
    one, other = (make_scores.presentation("a", 0.5, "print", subject="1", dataset=name) for name in ("oulu", "OULU-NPU"))  # fmt: skip
    assert one.subject_id == other.subject_id == "oulu-npu/1"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("value,species\n1,print\n", "no column 'score'"),
        ("score,kind\n1,print\n", "header: neither a column 'species' nor 'label'; columns: score, kind"),
        ("score,species,subjct\n1,print,a\n", "'subjct' would be a group, and there is no column 'subject'"),
        ("score,species\nhigh,print\n", "row 2: score is 'high'; expected a number, or nothing"),
        ("score,species\nnan,print\n", "row 2: score is 'nan'"),
        ("score,species\n1e308,print\n", "row 2: score is '1e308'"),
        ("score,species\n1_0,print\n", "row 2: score is '1_0'"),
        ("score,species\n0.5,\n", "bad.csv row 2: the species is empty; expected bona_fide"),
        (
            "score,species,label\n0.5,print,live\n",
            "row 2: label live with species 'print'. Live presentations are bona_fide",
        ),
        ("score,label\n0.5,fals\n", "label 'fals'. Write live .also real, bona_fide, 1. or attack"),
        ("score,species,split\n0.5,print,tset\n", r"row 2: split 'tset'. Did you mean 'test'\?"),
        ("score,species,split\n0.5,print,eval\n", "row 2: split 'eval'.*Splits are train, dev, test"),
        ("score,species,margin\n,print,3\n", "row 2: bad.csv 1: a margin of 3 without a score"),
        ("score,species,id\n0.1,print,a\n0.2,print,a\n", "row 3: the presentation 'a' stands already in"),
        ("score,species\n", "bad.csv: no rows"),
    ],
)
def test_bad_tables(tmp_path, text, message):
    (tmp_path / "bad.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        read_scores(tmp_path / "bad.csv")


def test_bad_json_lines(tmp_path):
    (tmp_path / "bad.jsonl").write_text('{"score": true, "species": "print"}\n')
    with pytest.raises(DataError, match="row 1: score is True"):
        read_scores(tmp_path / "bad.jsonl")
    (tmp_path / "bad.jsonl").write_text('{"score": 1, "species": ["print"]}\n')
    with pytest.raises(DataError, match="species must be text or a number, got list"):
        read_scores(tmp_path / "bad.jsonl")


def test_what_cannot_be_written(tmp_path):
    row = make_scores.presentation("a", 0.5, "print", groups={"score": "1"})
    for rows, name, message in [
        ([], "a.csv", "no presentations"),
        ([row], "a.txt", "a .csv, .tsv or .jsonl file"),
        ([row], "a.csv", "a group is named 'score'"),
    ]:
        with pytest.raises(DataError, match=message):
            write_scores(tmp_path / name, rows)
    assert not list(tmp_path.iterdir())
    with pytest.raises(DataError, match="a .csv, .tsv or .jsonl file"):
        read_scores(tmp_path / "a.xlsx")


def test_numbers_are_finite():
    with pytest.raises(DataError, match="a: score is inf"):
        ScoredPresentation("a", float("inf"), None, "print")
    with pytest.raises(DataError, match="a: margin is nan"):
        ScoredPresentation("a", 1.0, float("nan"), "print")
