"""Manifests of labelled presentations: CSV or JSON lines, one row per file.

Columns: ``path`` and ``label`` are needed, ``split`` too unless one is given for all rows; ``video_id``,
``species``, ``subject`` and ``dataset`` may be absent, with what that costs said in a warning. Any further
column is a group, such as light or phone. Rows of one ``video_id`` are the frames of one presentation.
"""

from __future__ import annotations

import csv
import json
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ....core.data.files import below, inside
from ....core.data.tables import json_rows, table_rows
from ....core.errors import DataError, InputError, nearest
from ....core.files import atomic_path
from ....core.limits import DEFAULT, Limits
from .entry import UNNAMED, Entry, Label, Split
from .subjects import subject_notes
from .words import cell_text, label_of, refuse_slips, refuse_spellings, species_of, split_of

logger = logging.getLogger(__name__)

COLUMNS = ("path", "video_id", "label", "species", "subject", "split", "dataset")
"""Columns with a meaning of their own; every other column is a group."""

SUFFIXES = (".csv", ".tsv", ".jsonl")


@dataclass(frozen=True)
class _Row:
    """One checked row; ``where`` is "manifest.csv row 3", for messages."""

    where: str
    path: Path
    name: str
    video_id: str
    label: Label
    species: str
    subject: str | None
    split: Split
    dataset: str
    groups: Mapping[str, str]


def read_manifest(
    path: str | Path,
    *,
    root: str | Path | None = None,
    split: Split | None = None,
    absolute: bool = False,
    check_files: bool = True,
    limits: Limits = DEFAULT,
) -> list[Entry]:
    """Return the presentations of a manifest, in the order of their first rows.

    Args:
        path: a ``.csv``, ``.tsv`` or ``.jsonl`` file in UTF-8.
        root: folder that the paths of the rows start from; default: the folder of the manifest.
        split: of every row, for a manifest without a split column.
        absolute: take absolute paths wherever they lead; for manifests of the user's own making.
        check_files: refuse a manifest that names a file that is not there.
        limits: ceilings on rows and line length.

    Raises:
        DataError: a missing or misspelled column, a word that is no label or split, rows of one video that
            contradict each other, a file twice, a missing file; named with file and row.
        InputError: a path that leaves the root.

    Example:
        >>> [entry.id for entry in read_manifest("test.csv")]  # doctest: +SKIP
        ['branch/visit-001', 'branch/visit-002']
    """
    path = Path(path)
    folder = Path(path.parent if root is None else root).absolute()
    if not folder.is_dir():
        raise DataError(f"{root}: no such folder; the paths of {path.name} were to start from it.")
    rows = [
        _checked(where, row, folder, split, absolute=absolute)
        for where, row in _raw_rows(path, split, limits)
    ]
    if not rows:
        raise DataError(f"{path.name}: no rows.")
    refuse_spellings(path.name, (row.species for row in rows))
    _refuse_twice(rows)
    if check_files:
        _refuse_missing(rows, folder)
    entries = _presentations(rows)
    for note in subject_notes(entries):
        logger.warning("%s: %s", path.name, note)
    return entries


def write_manifest(
    entries: Iterable[Entry], path: str | Path, *, root: str | Path | None = None, absolute: bool = False
) -> None:
    """Write presentations as a manifest, one row per file, through a temporary name.

    A presentation that stands several times, as the shots of a few-shot protocol do, is written once.

    Args:
        entries: at least one.
        path: ``.csv``, ``.tsv`` or ``.jsonl``.
        root: folder the written paths start from; default: the folder of the manifest.
        absolute: write absolute paths instead.

    Raises:
        DataError: no entries, an unknown suffix, or groups named like a column.
        InputError: a file outside ``root``.
    """
    path, kept = Path(path), list({entry.id: entry for entry in entries}.values())
    if not kept:
        raise DataError(f"{path.name}: no presentations to write.")
    if path.suffix.lower() not in SUFFIXES:
        raise DataError(f"{path.name}: a manifest is a .csv, .tsv or .jsonl file.")
    folder = Path(path.parent if root is None else root).absolute()
    groups = sorted({name for entry in kept for name in entry.groups})
    taken = next((name for name in groups if name in COLUMNS), None)
    if taken is not None:
        raise DataError(f"{path.name}: a group is named {taken!r}, which is a column of its own. Rename it.")
    rows = [
        _written(entry, file.absolute().as_posix() if absolute else below(folder, file.absolute()))
        for entry in kept
        for file in entry.files
    ]
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as handle:
        if path.suffix.lower() == ".jsonl":
            handle.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
            return
        delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
        writer = csv.DictWriter(
            handle, [*COLUMNS, *groups], restval="", delimiter=delimiter, lineterminator="\n"
        )
        writer.writeheader()
        writer.writerows(rows)


def _written(entry: Entry, path: str) -> dict[str, str]:
    row = {
        "path": path, "video_id": entry.video_id, "label": entry.label, "species": entry.species,
        "subject": entry.subject, "split": entry.split, "dataset": entry.dataset,
    }  # fmt: skip
    return {name: value for name, value in row.items() if value is not None} | dict(entry.groups)


def _raw_rows(path: Path, split: Split | None, limits: Limits) -> Iterable[tuple[str, dict[str, Any]]]:
    """Yield (where, {column: value}) with the columns checked: once for a table, per line of JSON lines."""
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise DataError(f"{path}: a manifest is a .csv, .tsv or .jsonl file.")
    needed = ["path", "label"] + ([] if split else ["split"])
    if suffix == ".jsonl":
        for where, row in json_rows(path, limits):
            _check_columns(list(row), needed, where)
            yield where, row
        return
    checked = False
    for where, row in _table_rows(path, limits):
        if not checked:
            _check_columns(list(row), needed, f"{path.name} header")
            checked = True
        yield where, row


def _table_rows(path: Path, limits: Limits) -> Iterable[tuple[str, dict[str, Any]]]:
    try:
        yield from table_rows(path, limits)
    except DataError as error:
        # Spreadsheets of many countries write semicolons: one column, or cells that do not add up.
        if path.is_file() and _first_line(path).count(";") > _first_line(path).count(","):
            raise DataError(f"{path.name}: columns are parted by ';'. Save it with commas.") from error
        raise


def _first_line(path: Path) -> str:
    with path.open(encoding="utf-8", errors="replace") as handle:
        return handle.readline(4096)


def _check_columns(present: Sequence[str], needed: Sequence[str], where: str) -> None:
    absent = [column for column in COLUMNS if column not in present]
    for column in needed:
        if column in absent:
            further = [name for name in present if name not in COLUMNS]
            hint = nearest(column, further)
            if len(present) == 1 and ";" in present[0]:
                hint = " Columns are parted by ';'; save the file with commas."
            elif column == "split":
                hint += " Say of each row whether it is train, dev or test."
            raise DataError(f"{where}: no column {column!r}; columns: {', '.join(present)}.{hint}")
    refuse_slips(where, present, COLUMNS)


def _checked(
    where: str, row: Mapping[str, Any], folder: Path, split: Split | None, *, absolute: bool
) -> _Row:
    """Return a row with every word known and its path within the folder."""
    cells = {name: cell_text(where, name, value) for name, value in row.items()}
    label = label_of(where, cells.get("label", ""))
    part = cells.get("split", "")
    if split is None or part:
        found = split_of(where, part)
        if split is not None and found != split:
            raise DataError(
                f"{where}: split {part!r}, but split={split} was asked for all rows. Leave one of them out."
            )
        split = found
    path, name = _file(where, cells.get("path", ""), folder, absolute=absolute)
    return _Row(
        where,
        path,
        name,
        cells.get("video_id") or name,
        label,
        species_of(where, cells.get("species", ""), label),
        cells.get("subject") or None,
        split,
        cells.get("dataset") or UNNAMED,
        {name: value for name, value in cells.items() if name not in COLUMNS and value},
    )


def _file(where: str, text: str, folder: Path, *, absolute: bool) -> tuple[Path, str]:
    if not text:
        raise DataError(f"{where}: the path is empty.")
    if absolute and os.path.isabs(text):
        return Path(text), text
    try:
        name = inside(folder, text)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    return folder / name, name


def _refuse_twice(rows: Sequence[_Row]) -> None:
    seen: dict[Path, _Row] = {}
    for row in rows:
        first = seen.setdefault(row.path, row)
        if first is not row:
            raise DataError(
                f"{row.where}: {row.name!r} already stands in {first.where}. Each file stands once."
            )


def _refuse_missing(rows: Sequence[_Row], folder: Path) -> None:
    missing = [row for row in rows if not row.path.is_file()]
    if missing:
        raise DataError(
            f"{missing[0].where}: no file {missing[0].name!r} below {folder}; {len(missing):,} of "
            f"{len(rows):,} files are missing. Pass the folder the paths start from as root."
        )


def _presentations(rows: Sequence[_Row]) -> list[Entry]:
    """Return one entry per video of each data set; its rows are its frames, in their order."""
    videos: dict[tuple[str, str], list[_Row]] = {}
    for row in rows:
        videos.setdefault((row.dataset, row.video_id), []).append(row)
    entries = []
    for (dataset, video_id), frames in videos.items():
        first = frames[0]
        for row in frames[1:]:
            _refuse_contradiction(first, row)
        entries.append(
            Entry(
                first.path,
                video_id,
                first.label,
                first.species,
                first.subject,
                first.split,
                dataset,
                tuple(row.path for row in frames) if len(frames) > 1 else (),
                first.groups,
            )
        )
    return entries


def _refuse_contradiction(first: _Row, row: _Row) -> None:
    for name in ("label", "species", "subject", "split"):
        one, other = getattr(first, name), getattr(row, name)
        if one != other:
            raise DataError(
                f"{row.where}: video {row.video_id!r} has {name} {other or '(none)'}, but "
                f"{one or '(none)'} in {first.where}. Frames of one video share it."
            )
    for name in sorted({*first.groups, *row.groups}):
        one, other = first.groups.get(name, ""), row.groups.get(name, "")
        if one != other:
            raise DataError(
                f"{row.where}: video {row.video_id!r} has {name} {other!r:.40}, but {one!r:.40} in "
                f"{first.where}. Columns beside {', '.join(COLUMNS)} are groups of whole presentations: make "
                "it the same for all frames, or drop the column."
            )
