"""CASIA-FASD (also CASIA-MFSD): 50 subjects, three picture qualities, warped and cut prints and displays.

``train_release/1..20/`` and ``test_release/1..30/`` hold twelve videos each: 1, 2, HR_1 live; 3, 4, HR_2 a
warped print; 5, 6, HR_3 a print with the eyes cut out; 7, 8, HR_4 a display. These meanings, the quality of
each name and the 20 to 30 split are **unverified** (taken from the literature); the totals, 150 live and 450
attacks, agree with lists of others. Subject numbers start again in test_release: other people.

Reference: Zhang et al., A face antispoofing database with diverse attacks, ICB 2012.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from .entry import BONA_FIDE, Entry, Split
from .protocol import (
    VIDEO_SUFFIXES,
    Counts,
    Protocol,
    compare_counts,
    keep_known,
    list_files,
    unknown_note,
)

NAME = "casia-fasd"
LAYOUT = "the folder of CASIA-FASD, with train_release/1/1.avi ... and test_release/1/1.avi ... HR_4.avi"
COUNTS: Counts = {"train": (60, 180), "test": (90, 270)}
"""{split: (live, attack)} for 20 and 30 subjects; the split is unverified, the totals are not."""

SPECIES = {
    "1": BONA_FIDE, "2": BONA_FIDE, "HR_1": BONA_FIDE,
    "3": "print", "4": "print", "HR_2": "print",
    "5": "print_cut", "6": "print_cut", "HR_3": "print_cut",
    "7": "display", "8": "display", "HR_4": "display",
}  # fmt: skip
"""{file stem: species}; unverified."""

UNVERIFIED = (
    "Unverified: what the file names of CASIA-FASD stand for, and the split into 20 and 30 subjects; "
    "both are taken from the literature."
)
_SPLITS: dict[str, Split] = {"train_release": "train", "test_release": "test"}
_MOST: dict[Split, int] = {"train": 20, "test": 30}


def read_casia_fasd(folder: str | Path, *, partial: bool = False) -> Protocol:
    """Return the protocol of CASIA-FASD; it has no development set, see ``dev_share`` of open_protocol.

    Groups: ``quality`` (low, normal or high; unverified).

    Raises:
        DataError: another folder, or videos missing or doubled.
    """
    names = list_files(folder, VIDEO_SUFFIXES, what=LAYOUT)
    entries, unknown = casia_entries(names, folder)
    notes = [UNVERIFIED, *unknown_note(unknown)]
    notes += compare_counts(entries, COUNTS, verified=True, partial=partial)
    habit = "the threshold at the equal error rate of the test set itself"
    return Protocol(NAME, tuple(entries), "test_eer", tuple(notes), habit)


def casia_entries(names: Iterable[str], folder: str | Path = ".") -> tuple[list[Entry], list[str]]:
    """Return the entries among file names, and the names that are none.

    Raises:
        DataError: no name is one of CASIA-FASD's.
    """
    place = Path(folder)
    return keep_known(
        names,
        lambda name: _entry(place / name, PurePosixPath(name)),
        folder=folder,
        what="CASIA-FASD's, such as train_release/1/HR_1.avi",
    )


def species_of(stem: str) -> tuple[str, str] | None:
    """Return (species, quality) of a file stem such as ``HR_3``, or None for another name; unverified."""
    if stem not in SPECIES:
        return None
    quality = "high" if stem.startswith("HR") else "low" if int(stem) % 2 else "normal"
    return SPECIES[stem], quality


def _entry(path: Path, name: PurePosixPath) -> Entry | None:
    meant = species_of(name.stem)
    if meant is None or len(name.parts) < 3 or not re.fullmatch(r"[1-9]\d?", name.parts[-2]):
        return None
    part, number = name.parts[-3:-1]
    split = _SPLITS.get(part)
    if split is None or int(number) > _MOST[split]:
        return None
    subject = f"{split}-{number}"
    label = "live" if meant[0] == BONA_FIDE else "attack"
    groups = {"quality": meant[1]}
    return Entry(path, f"{subject}_{name.stem}", label, meant[0], subject, split, NAME, groups=groups)
