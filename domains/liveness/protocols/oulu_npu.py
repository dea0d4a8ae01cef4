"""OULU-NPU: four protocols over sessions, phones, users and attack instruments.

Every video is ``Phone_Session_User_File.avi``: 6 phones, 3 sessions, 55 users, File 1 live, 2 and 3 two
printers, 4 and 5 two displays; 4,950 videos. Labels come from the name; the lists under ``Protocols/``
are only compared with what the rules give, because their syntax (``label,name``) is unverified. Which
phone a fold of protocols 3 and 4 leaves out (fold k: phone k) is unverified too, unless the lists are there.

Reference: Boulkenafet et al., OULU-NPU: A mobile face presentation attack database with real-world
variations, FG 2017.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ....core.errors import ConfigError, DataError
from .entry import BONA_FIDE, SPLITS, Entry, Split
from .protocol import (
    VIDEO_SUFFIXES,
    Counts,
    Protocol,
    compare_counts,
    keep_known,
    list_files,
    unknown_note,
)

NAME = "oulu-npu"
LAYOUT = (
    "the folder of OULU-NPU, with Train_files/, Dev_files/ and Test_files/ holding videos named "
    "Phone_Session_User_File.avi such as 1_1_01_1.avi"
)
USERS: dict[Split, range] = {"train": range(1, 21), "dev": range(21, 36), "test": range(36, 56)}
"""Users of each split, in every protocol."""

INSTRUMENTS = {1: "none", 2: "printer_1", 3: "printer_2", 4: "display_1", 5: "display_2"}
"""{File number: instrument}; 1 is live."""

COUNTS: dict[int, Counts] = {
    1: {"train": (240, 960), "dev": (180, 720), "test": (120, 480)},
    2: {"train": (360, 720), "dev": (270, 540), "test": (360, 720)},
    3: {"train": (300, 1200), "dev": (225, 900), "test": (60, 240)},
    4: {"train": (200, 400), "dev": (150, 300), "test": (20, 40)},
}
"""{protocol: {split: (live, attack)}} of the complete data set; of each fold for 3 and 4."""

_STEM = re.compile(r"([1-6])_([1-3])_(\d{2})_([1-5])")
_LINE = re.compile(r"([+-]?[12])\s*,\s*(\d_\d_\d{2}_\d)")
_LIST_NAMES: dict[Split, str] = {"train": "Train", "dev": "Dev", "test": "Test"}


@dataclass(frozen=True)
class _Part:
    """Which sessions, phones and files one split of a protocol has."""

    sessions: frozenset[int]
    phones: frozenset[int]
    files: frozenset[int]


def read_oulu_npu(
    folder: str | Path,
    *,
    protocol: int,
    fold: int | None = None,
    partial: bool = False,
    cross_check: bool = True,
) -> Protocol:
    """Return one of the four protocols of OULU-NPU.

    Report APCER of the worse of print and display, BPCER and their mean, with the threshold at the equal
    error rate of the development set; for 3 and 4 the mean and standard deviation over six folds.

    Args:
        folder: of the data set.
        protocol: 1 (illumination and session), 2 (attack instrument), 3 (camera) or 4 (all of them).
        fold: 1 to 6 for protocols 3 and 4: the phone that is only tested; None for 1 and 2.
        partial: take a folder that does not hold every video, and note it.
        cross_check: compare with the lists under ``Protocols/`` where they are.

    Raises:
        ConfigError: no such protocol, or a fold where none is, or none where one is.
        DataError: another folder, videos missing or doubled, or lists that contradict the rules.
    """
    _parts(protocol, fold)
    names = list_files(folder, VIDEO_SUFFIXES, what=LAYOUT)
    entries, unknown = oulu_entries(names, folder, protocol=protocol, fold=fold)
    notes = unknown_note(unknown)
    notes += compare_counts(entries, COUNTS[protocol], verified=True, partial=partial)
    if cross_check:
        notes += _cross_check(Path(folder), entries, protocol, fold, partial=partial)
    name = f"{NAME} protocol {protocol}" + (f" fold {fold}" if fold else "")
    return Protocol(name, tuple(entries), "dev_eer", tuple(notes))


def oulu_entries(
    names: Iterable[str], folder: str | Path = ".", *, protocol: int, fold: int | None = None
) -> tuple[list[Entry], list[str]]:
    """Return the entries of a protocol among file names, and the names that are none of OULU-NPU's.

    Raises:
        ConfigError: no such protocol or fold.
        DataError: no name is one of OULU-NPU's, or one stands twice.
    """
    parts = _parts(protocol, fold)
    every, unknown = video_entries(names, folder)
    return [entry for entry in every if _is_in(entry, parts[entry.split])], unknown


def read_videos(folder: str | Path) -> tuple[list[Entry], list[str]]:
    """Return every video of the data set by split, whatever the protocol, and the names that are none.

    Raises:
        DataError: another folder, or a video twice.
    """
    return video_entries(list_files(folder, VIDEO_SUFFIXES, what=LAYOUT), folder)


def video_entries(names: Iterable[str], folder: str | Path = ".") -> tuple[list[Entry], list[str]]:
    """Return the entries of all OULU-NPU names among file names, and the names that are none.

    Raises:
        DataError: no name is one of OULU-NPU's, or one stands twice.
    """
    place = Path(folder)
    every, unknown = keep_known(
        names,
        lambda name: _entry(place / name, PurePosixPath(name).stem),
        folder=folder,
        what="Phone_Session_User_File, such as 1_1_01_1",
    )
    _refuse_doubles(every)
    return every, unknown


def _entry(path: Path, stem: str) -> Entry | None:
    found = _STEM.fullmatch(stem)
    if found is None:
        return None
    phone, session, user, file = (int(part) for part in found.groups())
    split: Split | None = next((name for name, users in USERS.items() if user in users), None)
    if split is None:
        return None
    live = file == 1
    species = BONA_FIDE if live else "print" if file in (2, 3) else "display"
    groups = {"phone": str(phone), "session": str(session), "instrument": INSTRUMENTS[file]}
    return Entry(path, stem, "live" if live else "attack", species, found[3], split, NAME, groups=groups)


def _is_in(entry: Entry, part: _Part) -> bool:
    return (
        int(entry.groups["session"]) in part.sessions
        and int(entry.groups["phone"]) in part.phones
        and int(entry.video_id[-1]) in part.files
    )


def _parts(protocol: int, fold: int | None) -> dict[Split, _Part]:
    """Return what each split of a protocol holds.

    Reference: the protocol table of the data set's paper.
    """
    if protocol not in COUNTS:
        raise ConfigError(f"protocol {protocol!r}: OULU-NPU has protocols 1, 2, 3 and 4.")
    folded = protocol in (3, 4)
    if folded and fold not in range(1, 7):
        given = "none was given" if fold is None else f"got {fold!r}"
        raise ConfigError(f"Protocol {protocol} of OULU-NPU has folds 1 to 6; {given}. Run all six.")
    if not folded and fold is not None:
        raise ConfigError(f"Protocol {protocol} of OULU-NPU has no folds; leave fold {fold!r} out.")
    phones = frozenset(range(1, 7))
    left_out = frozenset({fold}) if fold is not None else frozenset[int]()
    by_session, by_file = protocol in (1, 4), protocol in (2, 4)
    learned = _Part(
        frozenset({1, 2} if by_session else {1, 2, 3}),
        phones - left_out,
        frozenset({1, 2, 4} if by_file else range(1, 6)),
    )
    tested = _Part(
        frozenset({3} if by_session else {1, 2, 3}),
        left_out or phones,
        frozenset({1, 3, 5} if by_file else range(1, 6)),
    )
    return {"train": learned, "dev": learned, "test": tested}


def _refuse_doubles(entries: Sequence[Entry]) -> None:
    seen: dict[str, Entry] = {}
    for entry in entries:
        first = seen.setdefault(entry.video_id, entry)
        if first is not entry:
            raise DataError(
                f"Video {entry.video_id} stands twice: {first.path} and {entry.path}. Keep one of them."
            )


def _cross_check(
    folder: Path, entries: Sequence[Entry], protocol: int, fold: int | None, *, partial: bool
) -> list[str]:
    """Compare the entries with the data set's own lists; return notes on what could not be compared."""
    suffix = f"_{fold}" if fold else ""
    place = next(
        (
            folder / path
            for path in (f"Protocols/Protocol_{protocol}", f"Protocol_{protocol}")
            if (folder / path).is_dir()
        ),
        folder,
    )
    files = {
        split: place / f"{name}{suffix}.txt"
        for split, name in _LIST_NAMES.items()
        if (place / f"{name}{suffix}.txt").is_file()
    }
    if not files:
        text = f"No lists Protocol_{protocol}/Train{suffix}.txt were found to compare the split with."
        return [text + (" That fold k leaves out phone k is unverified." if fold else "")]
    notes = []
    for split in SPLITS:
        if split not in files:
            notes.append(f"No list of {split} was found to compare with.")
            continue
        mine = {entry.video_id: entry for entry in entries if entry.split == split}
        notes += _compare(files[split], mine, partial=partial)
    return notes


def _compare(file: Path, mine: dict[str, Entry], *, partial: bool) -> list[str]:
    lines = [line.strip() for line in file.read_text(encoding="utf-8-sig", errors="replace").splitlines()]
    found = [_LINE.fullmatch(line) for line in lines if line]
    if not found or any(match is None for match in found):
        return [f"{file.name} is not in the expected syntax label,name (unverified) and was not compared."]
    listed = {match[2]: int(match[1]) for match in found if match is not None}
    meant = {1: BONA_FIDE, -1: "print", -2: "display"}
    for name, number in listed.items():
        entry = mine.get(name)
        if entry is not None and meant.get(number) != entry.species:
            raise DataError(
                f"{file.name}: {name} has label {number}, but its name says {entry.species}. Check the list, "
                "or leave the comparison out with cross_check=False."
            )
    only_list, only_mine = sorted(set(listed) - set(mine)), sorted(set(mine) - set(listed))
    if only_mine or (only_list and not partial):
        raise DataError(
            f"{file.name} lacks {len(only_mine):,} videos of the protocol's rules and names "
            f"{len(only_list):,} others, first {[*only_mine, *only_list][0]}. Check that the lists are those "
            "of OULU-NPU, or leave the comparison out with cross_check=False."
        )
    return []
