"""NUAA photograph imposter database: 15 subjects, stills of live faces and of printed photographs.

Three versions of the same pictures: whole frames (``raw``), face crops (``face``) and 64 x 64 grey faces
(``normalized``), each with four lists that say which pictures train and test. Everything about it here is
**unverified** (taken from the literature): the folder and list names below, 5,105 live and 7,509 prints,
1,743 and 1,748 of them to train (sessions 1 and 2), 3,362 and 5,761 to test (session 3).

A line of a list starts with a path such as ``0001\\0001_00_00_01_0.jpg``; what follows it is not read. The
first part of a picture's name is the subject. Each still counts as one presentation, although those of a
session are frames of one recording: intervals have to be drawn over subjects.

Reference: Tan et al., Face liveness detection from a single image with sparse low rank bilinear
discriminative model, ECCV 2010.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from ....core.data.files import inside
from ....core.data.tables import text_lines
from ....core.errors import ConfigError, DataError, InputError, nearest
from ....core.limits import DEFAULT
from .entry import BONA_FIDE, Entry, Label, Split
from .protocol import Counts, Protocol, compare_counts, found_in

NAME = "nuaa"
VERSIONS = {
    "raw": ("ClientRaw", "ImposterRaw"),
    "face": ("ClientFace", "ImposterFace"),
    "normalized": ("ClientNormalized", "ImposterNormalized"),
}
"""{version: folders of live faces and of attacks}; unverified."""

COUNTS: Counts = {"train": (1743, 1748), "test": (3362, 5761)}
"""{split: (live, attack)}; unverified."""

UNVERIFIED = (
    "Unverified: the names, counts and sessions of NUAA, taken from the literature. Subjects may stand in "
    "both official splits; the check of subjects says so."
)
_STEM = re.compile(r"(\d{4})_(\d{2})_(\d{2})_(\d{2})_(\d+)")


def read_nuaa(folder: str | Path, *, version: str = "raw", partial: bool = False) -> Protocol:
    """Return the protocol of NUAA; it has no development set, see ``dev_share`` of open_protocol.

    Groups: ``session``, where the name of the picture tells it.

    Args:
        folder: of one version, with its two picture folders and four lists.
        version: raw, face or normalized.
        partial: leave out pictures that a list names and the folder lacks, and note it.

    Raises:
        ConfigError: no such version.
        DataError: another folder, a list that is missing or malformed, or pictures missing.
    """
    if version not in VERSIONS:
        raise ConfigError(f"version {version!r}.{nearest(version, VERSIONS)} NUAA has {', '.join(VERSIONS)}.")
    place = Path(folder)
    if not place.is_dir():
        raise DataError(f"{folder}: no such folder. Expected the {version} version of NUAA.")
    entries: list[Entry] = []
    missing: list[str] = []
    for kind, pictures in zip(("client", "imposter"), VERSIONS[version], strict=True):
        for split in ("train", "test"):
            name = f"{kind}_{split}_{version}.txt"
            file = place / name
            if not file.is_file() or not (place / pictures).is_dir():
                absent = name if not file.is_file() else f"{pictures}/"
                raise DataError(
                    f"{folder}: no {absent}. Expected the {version} version of NUAA: "
                    f"{'/, '.join(VERSIONS[version])}/ and lists such as {name}. Found: {found_in(place)}."
                )
            label: Label = "live" if kind == "client" else "attack"
            listed = [line for _, line in text_lines(file, DEFAULT)]
            found = nuaa_entries(listed, place / pictures, label=label, split=split, source=name)
            missing += [str(one.path.relative_to(place)) for one in found if not one.path.is_file()]
            entries += [one for one in found if one.path.is_file()]
    if missing and not partial:
        raise DataError(
            f"{folder}: {len(missing):,} pictures that the lists name are missing, first {missing[0]}. "
            "Complete the folder, or leave them out with partial."
        )
    notes = [UNVERIFIED]
    if missing:
        notes.append(f"Incomplete: {len(missing):,} listed pictures are missing, first {missing[0]}.")
    notes += compare_counts(entries, COUNTS, verified=False, partial=partial)
    habit = "the threshold at the equal error rate of the test set itself"
    return Protocol(f"{NAME} {version}", tuple(entries), "test_eer", tuple(notes), habit)


def nuaa_entries(
    lines: Iterable[str], folder: str | Path, *, label: Label, split: Split, source: str = "list"
) -> list[Entry]:
    """Return the entries of the lines of one list.

    Args:
        lines: each starts with the path of a picture, with slashes of either kind.
        folder: the pictures' folder.
        label: of all of them. split: of all of them.
        source: the list's name in messages.

    Raises:
        DataError: a line without a picture, a path that leaves the folder, or a picture twice.
    """
    place, entries = Path(folder), dict[str, Entry]()
    for row, line in enumerate(lines, 1):
        if not line.strip():
            continue
        word = line.split()[0].replace("\\", "/")
        if not word.lower().endswith((".jpg", ".bmp", ".png")):
            raise DataError(f"{source} row {row}: {word!r:.60} is no picture.")
        try:
            name = PurePosixPath(inside(place.absolute(), word))
        except InputError as error:
            raise DataError(f"{source} row {row}: {error}") from None
        found = _STEM.fullmatch(name.stem)
        subject = found[1] if found else name.parts[0] if len(name.parts) > 1 else None
        video_id = f"{'client' if label == 'live' else 'imposter'}/{name.with_suffix('')}"
        if video_id in entries:
            raise DataError(f"{source} row {row}: {word} stands twice.")
        entries[video_id] = Entry(
            place / name,
            video_id,
            label,
            BONA_FIDE if label == "live" else "print",
            subject,
            split,
            NAME,
            groups={"session": found[4]} if found else {},
        )
    return list(entries.values())
