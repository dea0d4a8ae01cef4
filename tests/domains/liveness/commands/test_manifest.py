"""``verticlip liveness manifest`` and ``flip-lists``, as a user types them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from liveness.protocols.make_trees import casia_names, flip_frames, oulu_names, touch
from verticlip.domains.liveness.protocols.manifest import read_manifest
from verticlip.domains.liveness.protocols.registry import READERS


@pytest.fixture
def casia(tmp_path: Path) -> Path:
    return touch(tmp_path / "sets" / "CASIA", casia_names())


def test_protocols_are_listed(run):
    status, out, _ = run("liveness", "manifest", "--list")
    assert status == 0
    assert all(name in out for name in READERS)


def test_a_manifest_beside_the_data_needs_no_root(run, casia):
    file = casia.parent / "casia.csv"
    status, out, err = run("liveness", "manifest", "casia-fasd", casia, "--out", file)
    assert status == 0
    lines = out.splitlines()
    assert lines[0].split() == ["split", "species", "presentations", "subjects"]
    assert lines[1].split() == ["train", "bona_fide", "60", "20"]
    assert lines[-1].split() == ["test", "print_cut", "90", "30"]
    assert "no development set in this protocol: published figures take the threshold" in err
    assert "note: Unverified: what the file names" in err
    assert "--root" not in err
    assert len(read_manifest(file)) == 600


def test_a_manifest_elsewhere_says_its_root(run, casia, tmp_path):
    file = tmp_path / "elsewhere" / "casia.jsonl"
    status, _, err = run("liveness", "manifest", "casia-fasd", casia, "--out", file, "--dev-share", "0.2")
    assert status == 0
    assert f"pass --root {casia} when you read it" in err
    assert "threshold: dev_eer, chosen on the subjects held out; published figures take" in err
    entries = read_manifest(file, root=casia)
    assert {entry.split for entry in entries} == {"train", "dev", "test"}


def test_a_protocol_with_a_fold(run, tmp_path):
    touch(tmp_path, oulu_names([1, 21, 36]))
    arguments = ("liveness", "manifest", "oulu-npu", tmp_path, "--protocol", "3", "--fold", "2")
    status, _, err = run(*arguments)
    assert status == 1
    assert "train has 15 live and 60 attacks, published are 300 and 1,200" in err
    status, out, _ = run(*arguments, "--partial", "--json")
    found = json.loads(out)
    assert found["protocol"] == "oulu-npu protocol 3 fold 2"
    assert found["presentations"]["test"] == {"bona_fide": 3, "display": 6, "print": 6}
    assert (found["threshold_rule"], found["published_figures_take"]) == ("dev_eer", None)
    assert found["manifest"] is None


def test_what_is_asked_wrongly(run, casia):
    status, _, err = run("liveness", "manifest", "casia")
    assert (status, "Name a protocol and the folder" in err) == (1, True)
    status, _, err = run("liveness", "manifest", "casia", casia)
    assert (status, "Did you mean 'casia-fasd'" in err) == (1, True)
    status, _, err = run("liveness", "manifest", "casia-fasd", casia, "--fold", "1")
    assert (status, "casia-fasd has no option 'fold'" in err) == (1, True)
    status, _, err = run("liveness", "manifest", "casia-fasd", casia, "--out", casia / "m.txt")
    assert (status, "a manifest is a .csv, .tsv, .jsonl file" in err) == (1, True)


def test_equal_files_are_looked_for_when_asked(run, casia):
    _, _, err = run("liveness", "manifest", "casia-fasd", casia, "--same-bytes")
    # All of them are empty.
    assert "note: Not disjoint: " in err
    assert "hold the same bytes" in err


def test_lists_are_rebuilt_from_videos_and_from_frames(run, casia, tmp_path):
    data = tmp_path / "data"
    status, out, err = run("liveness", "flip-lists", "casia", data, "--videos", casia)
    assert (status, err) == (0, "")
    assert [line.split() for line in out.splitlines()][1] == ["casia_real_train.txt", "150", "150"]
    assert len((data / "MCIO" / "txt" / "casia_fake_test.txt").read_text().splitlines()) == 440
    touch(data / "WCS" / "frame", [name for name in flip_frames("wmca") if "/test/" in name][:3500:50])
    status, _, err = run("liveness", "flip-lists", "wmca", data)
    assert status == 1
    assert "to test; more than 10 are needed" in err
    status, _, err = run("liveness", "flip-lists", "oulu", data)
    assert (status, "no oulu/ in it" in err) == (1, True)
