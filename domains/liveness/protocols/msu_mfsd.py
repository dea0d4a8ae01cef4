"""MSU-MFSD: 35 public subjects, laptop and phone cameras, prints and two displays.

Videos are named ``real_client001_android_SD_scene01.mp4`` and
``attack_client001_laptop_SD_ipad_video_scene01.mov`` (or ``iphone_video``, ``printed_photo``), in folders
``real/`` and ``attack/``. Which subjects train is said by ``train_sub_list.txt`` and ``test_sub_list.txt``
beside them, one number per line; that there are 15 and 20 of them is **unverified** (taken from the
literature). The totals, 70 live and 210 attacks, agree with lists of others.

Reference: Wen, Han, Jain, Face spoof detection with image distortion analysis, IEEE TIFS 2015.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from ....core.errors import DataError
from .entry import BONA_FIDE, Entry, Split
from .protocol import (
    VIDEO_SUFFIXES,
    Counts,
    Protocol,
    compare_counts,
    found_in,
    keep_known,
    list_files,
    unknown_note,
)

NAME = "msu-mfsd"
LAYOUT = (
    "the folder of MSU-MFSD, with scene01/real/, scene01/attack/, train_sub_list.txt and test_sub_list.txt"
)
COUNTS: Counts = {"train": (30, 90), "test": (40, 120)}
"""{split: (live, attack)} for 15 and 20 subjects; unverified."""

LISTS: dict[Split, str] = {"train": "train_sub_list.txt", "test": "test_sub_list.txt"}
UNVERIFIED = "Unverified: that MSU-MFSD trains on 15 subjects and tests on 20 (taken from the literature)."
_STEM = re.compile(
    r"(real|attack)_client(\d{3})_(android|laptop)_SD_(?:(ipad|iphone)_video_|(printed)_photo_)?scene(\d{2})"
)


def read_msu_mfsd(
    folder: str | Path, *, train_subjects: Sequence[int] | None = None, partial: bool = False
) -> Protocol:
    """Return the protocol of MSU-MFSD; it has no development set, see ``dev_share`` of open_protocol.

    Groups: ``camera`` (android or laptop) and ``instrument`` (ipad, iphone or printed_photo).

    Args:
        folder: of the data set.
        train_subjects: client numbers that train, where the two lists are not in the folder.
        partial: take a folder that does not hold every video, and note it.

    Raises:
        DataError: another folder, lists that are missing or contradict each other, videos missing.
    """
    names = list_files(folder, VIDEO_SUFFIXES, what=LAYOUT)
    entries, unknown = msu_entries(names, folder)
    training, testing = _subjects(Path(folder), entries, train_subjects)
    placed, unlisted = [], set()
    for entry in entries:
        number = int(entry.subject or 0)
        if number in training or number in testing:
            split: Split = "train" if number in training else "test"
            placed.append(replace(entry, split=split))
        else:
            unlisted.add(number)
    if unlisted and not partial:
        raise DataError(
            f"{folder}: clients {', '.join(map(str, sorted(unlisted)))} stand in neither list. Complete the "
            "lists, or leave these clients out with partial."
        )
    live = sum(entry.label == "live" for entry in placed)
    total = {"live": live, "attacks": len(placed) - live}
    if total != {"live": 70, "attacks": 210} and not partial:
        raise DataError(
            f"{folder}: {total['live']} live and {total['attacks']} attacks; the public MSU-MFSD has 70 and "
            "210. Complete the folder, or take it as it is with partial."
        )
    notes = [UNVERIFIED, *unknown_note(unknown)]
    if unlisted:
        notes.append(f"{len(unlisted)} clients stand in neither list and were left out.")
    notes += compare_counts(placed, COUNTS, verified=False, partial=partial)
    habit = "the threshold at the equal error rate of the test set itself"
    return Protocol(NAME, tuple(placed), "test_eer", tuple(notes), habit)


def msu_entries(names: Iterable[str], folder: str | Path = ".") -> tuple[list[Entry], list[str]]:
    """Return the entries among file names, all in split test, and the names that are none.

    Raises:
        DataError: no name is one of MSU-MFSD's.
    """
    place = Path(folder)
    return keep_known(
        names,
        lambda name: entry_of(place / name, PurePosixPath(name).stem),
        folder=folder,
        what="MSU-MFSD's, such as real_client001_android_SD_scene01.mp4",
    )


def entry_of(path: Path, stem: str) -> Entry | None:
    """Return the entry of a file stem, in split test, or None for another name."""
    found = _STEM.fullmatch(stem)
    if found is None:
        return None
    kind, client, camera, display, printed, _ = found.groups()
    if (kind == "real") != (display is None and printed is None):
        return None
    groups = {"camera": camera}
    if kind == "real":
        return Entry(path, stem, "live", BONA_FIDE, client, "test", NAME, groups=groups)
    groups["instrument"] = display or "printed_photo"
    return Entry(path, stem, "attack", "print" if printed else "display", client, "test", NAME, groups=groups)


def _subjects(
    folder: Path, entries: Sequence[Entry], train_subjects: Sequence[int] | None
) -> tuple[set[int], set[int]]:
    """Return the client numbers that train and that test."""
    present = {int(entry.subject or 0) for entry in entries}
    if train_subjects is not None:
        training = set(train_subjects)
        if strange := sorted(training - present):
            raise DataError(f"{folder}: no videos of client {strange[0]}, which was to train.")
        return training, present - training
    files = {split: folder / name for split, name in LISTS.items()}
    missing = [file.name for file in files.values() if not file.is_file()]
    if missing:
        raise DataError(
            f"{folder}: no {' and no '.join(missing)}. They say which subjects train. Found: "
            f"{found_in(folder)}. Put them there, or name the numbers as train_subjects."
        )
    training, testing = _numbers(files["train"]), _numbers(files["test"])
    if both := sorted(training & testing):
        raise DataError(f"{folder}: client {both[0]} stands in both subject lists.")
    return training, testing


def _numbers(file: Path) -> set[int]:
    numbers = set()
    for row, line in enumerate(file.read_text(encoding="utf-8-sig", errors="replace").splitlines(), 1):
        word = line.strip()
        if not word:
            continue
        if not word.isdecimal():
            raise DataError(f"{file.name} row {row}: {word!r:.40} is no client number.")
        numbers.add(int(word))
    if not numbers:
        raise DataError(f"{file.name}: no client numbers.")
    return numbers
