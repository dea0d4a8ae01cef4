"""Replay-Attack: 50 clients, print and display attacks, held in a hand or on a fixed support.

Folders ``train``, ``devel`` and ``test`` hold ``real/`` and ``attack/{fixed,hand}/``; ``enroll`` is for face
recognition and is left out. File names: ``client001_session01_webcam_authenticate_adverse_1.mov`` and
``attack_print_client001_session01_highdef_photo_adverse.mov``. The counts of devel and test are published;
those of train follow from the number of clients (15 of 50) and agree with lists of others.

Reference: Chingovska, Anjos, Marcel, On the effectiveness of local binary patterns in face anti-spoofing,
BIOSIG 2012.
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

NAME = "replay-attack"
LAYOUT = (
    "the folder of Replay-Attack, with train/, devel/ and test/, each holding real/ and attack/fixed/ and "
    "attack/hand/"
)
COUNTS: Counts = {"train": (60, 300), "dev": (60, 300), "test": (80, 400)}
"""{split: (live, attack)} of the complete data set."""

_SPLITS: dict[str, Split] = {"train": "train", "devel": "dev", "test": "test"}
_SPECIES = {"print": "print", "mobile": "display", "highdef": "display"}
_REAL = re.compile(r"client(\d{3})_session(\d{2})_\w+_(adverse|controlled)_(\d+)")
_ATTACK = re.compile(
    r"attack_(print|mobile|highdef)_client(\d{3})_session(\d{2})_\w+_(photo|video)_(adverse|controlled)"
)


def read_replay_attack(folder: str | Path, *, partial: bool = False) -> Protocol:
    """Return the protocol of Replay-Attack: threshold from devel, errors on test.

    Groups: ``light`` (controlled or adverse), ``support`` (fixed or hand), ``device`` (print, mobile or
    highdef) and ``media`` (photo or video).

    Raises:
        DataError: another folder, or videos missing or doubled.
    """
    names = list_files(folder, VIDEO_SUFFIXES, what=LAYOUT)
    entries, unknown = replay_entries(names, folder)
    notes = unknown_note(unknown)
    notes += compare_counts(entries, COUNTS, verified=True, partial=partial)
    return Protocol(NAME, tuple(entries), "dev_eer", tuple(notes))


def replay_entries(names: Iterable[str], folder: str | Path = ".") -> tuple[list[Entry], list[str]]:
    """Return the entries among file names, and the names that are none; those of ``enroll`` are neither.

    Raises:
        DataError: no name is one of Replay-Attack's.
    """
    place = Path(folder)
    used = [name for name in names if "enroll" not in PurePosixPath(name).parts]
    return keep_known(
        used,
        lambda name: _entry(place / name, PurePosixPath(name)),
        folder=folder,
        what="Replay-Attack's, such as train/real/client001_session01_webcam_authenticate_adverse_1.mov",
    )


def _entry(path: Path, name: PurePosixPath) -> Entry | None:
    split: Split | None = next((_SPLITS[part] for part in name.parts[:-1] if part in _SPLITS), None)
    if split is None:
        return None
    if found := _REAL.fullmatch(name.stem):
        client, _, light, _ = found.groups()
        groups = {"light": light}
        return Entry(path, name.stem, "live", BONA_FIDE, client, split, NAME, groups=groups)
    found, support = _ATTACK.fullmatch(name.stem), name.parent.name
    if found is None or support not in {"fixed", "hand"}:
        return None
    device, client, _, media, light = found.groups()
    groups = {"device": device, "light": light, "media": media, "support": support}
    # One attack was recorded on both supports, under one file name.
    video_id = f"{support}_{name.stem}"
    return Entry(path, video_id, "attack", _SPECIES[device], client, split, NAME, groups=groups)
