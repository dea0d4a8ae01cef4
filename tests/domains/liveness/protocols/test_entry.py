"""An entry says one thing about one presentation."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from verticlip.core.errors import DataError
from verticlip.domains.liveness.protocols.entry import Entry


def test_ids_name_the_data_set() -> None:
    one = Entry(Path("a.avi"), "a", "live", subject="1", dataset="x")
    assert one.id == "x/a"
    assert one.subject_id == "x/1"
    assert one.files == (Path("a.avi"),)
    assert Entry(Path("a.avi"), "a", "live").subject_id is None


def test_frames_are_the_files() -> None:
    frames = (Path("0.png"), Path("1.png"))
    assert Entry(frames[0], "v", "attack", "print", frames=frames).files == frames


def test_an_entry_goes_to_other_processes() -> None:
    one = Entry(Path("a.avi"), "a", "attack", "print", groups={"light": "dark"})
    assert pickle.loads(pickle.dumps(one)) == one
    assert pickle.loads(pickle.dumps(Entry(Path("b"), "b", "live"))).groups == {}


@pytest.mark.parametrize(
    ("label", "species", "split", "message"),
    [
        ("real", "bona_fide", "test", "label 'real', expected live or attack"),
        ("live", "bona_fide", "eval", "split 'eval', expected train, dev or test"),
        ("live", "print", "test", "label live with species 'print'"),
        ("attack", "bona_fide", "test", "label attack with species 'bona_fide'"),
    ],
)
def test_contradictions_are_refused(label: str, species: str, split: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        Entry(Path("a"), "a", label, species, split=split)  # type: ignore[arg-type]
