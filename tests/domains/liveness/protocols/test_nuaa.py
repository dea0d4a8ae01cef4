"""NUAA: three versions, four lists each."""

from __future__ import annotations

from pathlib import Path

import pytest
from verticlip.core.errors import ConfigError, DataError
from verticlip.domains.liveness.protocols.nuaa import COUNTS, VERSIONS, nuaa_entries, read_nuaa
from verticlip.domains.liveness.protocols.subjects import check_disjoint


def lines(subjects: range, session: int, count: int, tail: str = "") -> list[str]:
    people = [*subjects]
    return [
        f"{people[n % len(people)]:04d}\\{people[n % len(people)]:04d}_00_00_{session:02d}_{n}.jpg{tail}"
        for n in range(count)
    ]


def make(folder: Path, version: str = "raw", tail: str = "") -> Path:
    for kind, pictures in zip(("client", "imposter"), VERSIONS[version], strict=True):
        for split, subjects, session in (("train", range(1, 4), 1), ("test", range(4, 8), 3)):
            listed = lines(subjects, session, 6, tail)
            (folder / f"{kind}_{split}_{version}.txt").write_text("\r\n".join(listed) + "\r\n")
            for line in listed:
                file = folder / pictures / line.split()[0].replace("\\", "/")
                file.parent.mkdir(parents=True, exist_ok=True)
                file.touch()
    return folder


def test_counts_of_the_literature_add_up() -> None:
    found = {}
    for split, (live, attack) in COUNTS.items():
        mine = [
            len(nuaa_entries(lines(range(1, 16), 1, count), ".", label=label, split=split))
            for label, count in (("live", live), ("attack", attack))
        ]
        found[split] = tuple(mine)
    assert found == {"train": (1743, 1748), "test": (3362, 5761)}
    assert sum(map(sum, found.values())) == 12_614


@pytest.mark.parametrize(("version", "tail"), [("raw", ""), ("face", " 10 20 30 40"), ("normalized", "")])
def test_every_version_is_read(tmp_path: Path, version: str, tail: str) -> None:
    read = read_nuaa(make(tmp_path, version, tail), version=version)
    assert read.name == f"nuaa {version}"
    assert read.counts() == {"train": {"bona_fide": 6, "print": 6}, "test": {"bona_fide": 6, "print": 6}}
    assert read.note[0].startswith("Unverified")
    assert any("published are 1,743 and 1,748 (unverified figures)" in note for note in read.note)
    one = read.entries[0]
    assert (one.subject, one.groups) == ("0001", {"session": "01"})
    assert one.path.is_file()
    check_disjoint(read.entries)


def test_bad_folders_and_lists(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="version 'norm'. Did you mean 'normalized'"):
        read_nuaa(tmp_path, version="norm")
    with pytest.raises(DataError, match="no client_train_raw.txt.*Found: nothing"):
        read_nuaa(tmp_path)
    make(tmp_path)
    with pytest.raises(DataError, match="no client_train_face.txt. Expected the face version"):
        read_nuaa(tmp_path, version="face")
    next((tmp_path / "ClientRaw" / "0004").iterdir()).unlink()
    with pytest.raises(DataError, match="1 pictures that the lists name are missing, first ClientRaw/0004/"):
        read_nuaa(tmp_path)
    assert any("Incomplete: 1 listed pictures" in note for note in read_nuaa(tmp_path, partial=True).note)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("..\\0001.jpg", "list row 2: .*leaves the data folder"),
        ("0001 0002", "list row 2: '0001' is no picture"),
        ("0001\\0001_00_00_01_0.jpg", "list row 2: .*stands twice"),
    ],
)
def test_bad_lines(line: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        nuaa_entries(["0001\\0001_00_00_01_0.jpg", line], ".", label="live", split="train")
