"""Dataset readers of the audio room: a folder of recordings to records that ``load_audio`` can load.

Each record is {"id", "path", "label", "split", "group", "locator"}.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ...core.data.files import files_below
from ...core.errors import ConfigError, DataError
from ...core.limits import DEFAULT, Limits

Record = dict[str, Any]

_SUFFIXES = (".wav", ".flac", ".ogg", ".mp3")
_ESC_NAME = re.compile(r"(?P<fold>\d+)-(?P<clip>\d+)-(?P<take>[A-Z]+)(-(?P<target>\d+))?")
_DIGIT_NAME = re.compile(r"(?P<digit>\d)_(?P<speaker>[A-Za-z]+)_(?P<take>\d+)")


def read_esc(
    path: str | Path,
    *,
    folds: Sequence[str] | None = None,
    validation_fold: int | None = None,
    table: str | None = None,
    esc10: bool = False,
    limits: Limits = DEFAULT,
) -> list[Record]:
    """Return one record per clip of ESC-10 or ESC-50.

    Files are named ``FOLD-CLIP-TAKE.ogg``, as published with ``-TARGET`` at the end. Takes of one clip
    form a group: they were cut from one recording, and a fold never divides them. Without ``table`` the
    label is the folder that a file lies in.

    Args:
        path: folder of class folders, or the published set with ``table``.
        folds: those to read, e.g. ["1", "2"]; None reads all.
        validation_fold: the fold that becomes the validation split; None leaves the split open.
        table: published CSV (columns filename, category, esc10) below ``path``, e.g. "meta/esc50.csv";
            the files lie in "audio" below ``path``.
        esc10: with ``table``, only the ten classes of ESC-10.
        limits: ceiling of the size of the table.

    Raises:
        DataError: no clips, a name that is no ESC name, a missing file, or a fold without clips.
        ConfigError: ``esc10`` without ``table``, or a validation fold that is not among ``folds``.

    Reference:
        Piczak 2015, ESC: Dataset for Environmental Sound Classification.
    """
    path = Path(path)
    if esc10 and table is None:
        raise ConfigError("esc10 chooses rows of the published table; name it: table: meta/esc50.csv.")
    wanted = None if folds is None else {str(fold) for fold in folds}
    if validation_fold is not None and wanted is not None and str(validation_fold) not in wanted:
        raise ConfigError(f"validation_fold {validation_fold} is not among folds {sorted(wanted)}.")
    if table is None:
        labels = {name: name.rpartition("/")[0].rpartition("/")[2] or None for name in _recordings(path)}
    else:
        labels = _esc_table(path, table, esc10=esc10, limits=limits)
    records: list[Record] = []
    for name, label in labels.items():
        found = _matched(_ESC_NAME, name, "FOLD-CLIP-TAKE, e.g. 1-17367-A.ogg")
        if label is None:
            raise DataError(
                f"{name} lies in no class folder. Name the table of the set, or sort it by class."
            )
        fold = found["fold"]
        if wanted is None or fold in wanted:
            split = None
            if validation_fold is not None:
                split = "val" if fold == str(validation_fold) else "train"
            group = f"{fold}-{found['clip']}"
            records.append(_record(path, name, label, split=split, group=group))
    missing = (wanted or set()) | ({str(validation_fold)} if validation_fold is not None else set())
    missing -= {record["group"].partition("-")[0] for record in records}
    if missing:
        raise DataError(f"{path.name}: no clips of fold {', '.join(sorted(missing))}. Check folds.")
    return records


def read_spoken_digits(
    path: str | Path,
    *,
    validation_takes: str | None = None,
    validation_speakers: Sequence[str] | None = None,
) -> list[Record]:
    """Return one record per recording of the Free Spoken Digit Dataset; labels are "0" to "9".

    Files are named ``DIGIT_SPEAKER_TAKE.wav``. Without a validation part the split is left open.

    Args:
        path: folder of the recordings.
        validation_takes: takes of every digit and speaker that become the validation split: "0-4" is the
            published test part, and "5" one take.
        validation_speakers: speakers who become it: how well new voices are understood. Groups are then the
            speakers.

    Raises:
        DataError: no recordings, a name of another form, a speaker who is not there, or an empty split.
        ConfigError: both ways of splitting at once, or takes that are no range.

    Reference:
        Jackson et al. 2018, Free Spoken Digit Dataset.
    """
    path = Path(path)
    if validation_takes is not None and validation_speakers is not None:
        raise ConfigError("Give validation_takes or validation_speakers, not both.")
    is_validation = _takes(validation_takes) if validation_takes is not None else None
    records = []
    speakers = set()
    for name in _recordings(path):
        found = _matched(_DIGIT_NAME, name, "DIGIT_SPEAKER_TAKE, e.g. 7_jackson_0.wav")
        speakers.add(found["speaker"])
        group = split = None
        if validation_speakers is not None:
            group = found["speaker"]
            split = "val" if group in validation_speakers else "train"
        elif is_validation is not None:
            split = "val" if is_validation(int(found["take"])) else "train"
        records.append(_record(path, name, found["digit"], split=split, group=group))
    unknown = sorted(set(validation_speakers or ()) - speakers)
    if unknown:
        known = ", ".join(sorted(speakers))
        raise DataError(f"{path.name}: no recordings of speaker {unknown[0]!r}; there are {known}.")
    splits = {record["split"] for record in records}
    if splits == {"val"} or splits == {"train"}:
        empty = "train" if splits == {"val"} else "val"
        raise DataError(f"{path.name}: the {empty} part would be empty. Choose other takes or speakers.")
    return records


def _recordings(path: Path) -> list[str]:
    """Return the recordings below a folder, relative and sorted."""
    if not path.is_dir():
        raise DataError(f"{path.name}: no such folder of recordings.")
    found = [name for name in files_below(path) if name.lower().endswith(_SUFFIXES)]
    if not found:
        raise DataError(f"{path.name}: no recordings here ({', '.join(_SUFFIXES)}).")
    return found


def _matched(pattern: re.Pattern[str], name: str, form: str) -> re.Match[str]:
    stem = name.rpartition("/")[2].rpartition(".")[0]
    found = pattern.fullmatch(stem)
    if found is None:
        raise DataError(f"{name}: names here have the form {form}.")
    return found


def _record(path: Path, name: str, label: str, *, split: str | None, group: str | None) -> Record:
    return {
        "id": name.rpartition(".")[0],
        "path": str(path / name),
        "label": label,
        "split": split,
        "group": group,
        "locator": None,
    }


def _esc_table(path: Path, table: str, *, esc10: bool, limits: Limits) -> dict[str, str | None]:
    """Return {file below ``path``: category} of the published table."""
    file = path / table
    if not file.is_file():
        raise DataError(f"{path.name}: no table {table!r} here. Check the path of the source.")
    limits.check("config_bytes", file.stat().st_size, what=f"{table}: bytes")
    labels: dict[str, str | None] = {}
    with file.open(encoding="utf-8", newline="") as stream:
        rows = csv.DictReader(stream)
        needed = {"filename", "category", *(["esc10"] if esc10 else [])}
        if lacking := sorted(needed - set(rows.fieldnames or ())):
            raise DataError(f"{table}: no column {lacking[0]!r}; it has {', '.join(rows.fieldnames or ())}.")
        for row in rows:
            if not esc10 or row["esc10"] == "True":
                labels[f"audio/{row['filename']}"] = row["category"]
    absent = [name for name in labels if not (path / name).is_file()]
    if absent:
        raise DataError(f"{table}: {len(absent)} of {len(labels)} files are missing, first {absent[0]}.")
    if not labels:
        raise DataError(f"{table}: no rows.")
    return labels


def _takes(text: str) -> Callable[[int], bool]:
    """Return whether a take is among "3" or "0-4"."""
    found = re.fullmatch(r"(\d+)(?:-(\d+))?", str(text).strip())
    if found is None or (found[2] is not None and int(found[2]) < int(found[1])):
        raise ConfigError(f"validation_takes {text!r} is neither a take nor a range. Write 5 or 0-4.")
    low, high = int(found[1]), int(found[2] or found[1])
    return lambda take: low <= take <= high
