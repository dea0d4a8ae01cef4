"""The manifest: which inputs a data set holds, with label, split and group of each."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from ..errors import DataError, InputError, VerticlipError
from ..files import atomic_path
from ..limits import DEFAULT, Limits
from .files import check_header, files_below, inside

logger = logging.getLogger(__name__)

Check = Callable[[Path], None]

SPLIT_FOLDERS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
"""Folder names that mean a split, and the split they mean."""


@dataclass(frozen=True)
class Record:
    """One row of a manifest.

    Attributes:
        id: unique and stable; the path when nothing else is given.
        path: relative to the manifest's root, with forward slashes; None for text-only rows.
        label: class name, or None.
        text: caption or report, or None.
        split: ``train``, ``val``, ``test`` or another name, or None.
        group: what must not be torn apart by a split (patient, product, scene), or None.
        source: where the row comes from (data set, scanner, shop), or None.
        locator: part of the file: frame, slice or shard member, or None.
    """

    id: str
    path: str | None = None
    label: str | None = None
    text: str | None = None
    split: str | None = None
    group: str | None = None
    source: str | None = None
    locator: str | None = None


FIELDS = tuple(field.name for field in fields(Record))


@dataclass(frozen=True)
class Problem:
    """An input that was left out, and why."""

    path: str
    reason: str


@dataclass(frozen=True)
class ManifestReport:
    """Counts of a manifest; ``classes`` is {split or "all": {label: rows}}."""

    rows: int
    classes: dict[str, dict[str, int]]
    sources: dict[str, int]
    groups: int
    problems: tuple[Problem, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self) | {"problems": [asdict(problem) for problem in self.problems]}


@dataclass(frozen=True)
class Manifest:
    """Records of one data set below one root folder.

    Attributes:
        root: absolute folder that every record's path starts from, links in it as written; never saved.
        records: rows, unique by id.
        problems: inputs that were left out when the manifest was made.
    """

    root: Path
    records: tuple[Record, ...]
    problems: tuple[Problem, ...] = ()

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[Record]:
        return iter(self.records)

    def __getitem__(self, index: int) -> Record:
        return self.records[index]

    @property
    def class_names(self) -> tuple[str, ...]:
        """Labels that occur, sorted."""
        return tuple(sorted({record.label for record in self.records if record.label is not None}))

    @property
    def splits(self) -> tuple[str, ...]:
        """Split names that occur, sorted."""
        return tuple(sorted({record.split for record in self.records if record.split is not None}))

    def only(self, split: str) -> Manifest:
        """Return the rows of one split.

        Raises:
            DataError: there are none.
        """
        kept = tuple(record for record in self.records if record.split == split)
        if not kept:
            raise DataError(f"No row has split {split!r}; splits here: {', '.join(self.splits) or 'none'}.")
        return replace(self, records=kept)

    def file_of(self, record: Record) -> Path:
        """Return the absolute path of a record.

        Raises:
            InputError: the record has no path, or it leaves the root.
        """
        if record.path is None:
            raise InputError(f"Record {record.id!r} has no file, only text.")
        return self.root / inside(self.root, record.path)

    def report(self) -> ManifestReport:
        """Return row counts by split, class and source, and the inputs that were left out."""
        classes: dict[str, Counter[str]] = {}
        for record in self.records:
            classes.setdefault(record.split or "all", Counter())[record.label or "(none)"] += 1
        return ManifestReport(
            rows=len(self.records),
            classes={split: dict(sorted(counts.items())) for split, counts in sorted(classes.items())},
            sources=dict(sorted(Counter(record.source or "(none)" for record in self.records).items())),
            groups=len({record.group for record in self.records if record.group is not None}),
            problems=self.problems,
        )

    @classmethod
    def from_records(
        cls,
        records: Sequence[Record],
        *,
        root: str | Path = ".",
        check: Check | None = None,
        limits: Limits = DEFAULT,
    ) -> Manifest:
        """Return a manifest of the given records.

        Args:
            records: at least one; ids are unique.
            root: folder the paths start from.
            check: called with each file; rows it refuses go to ``problems``. None trusts the paths.
            limits: ceilings on rows and text length.

        Raises:
            DataError: no usable rows, or an id twice.
            InputError: a path leaves the root or is a URL.
        """
        rows = [(f"record {number}", asdict(record)) for number, record in enumerate(records, 1)]
        return build(rows, root=root, check=check, limits=limits, source="records")

    @classmethod
    def from_folder(
        cls, root: str | Path, *, check: Check | None = check_header, limits: Limits = DEFAULT
    ) -> Manifest:
        """Return a manifest of a labelled folder: ``root/<class>/...`` or ``root/<split>/<class>/...``.

        The second form is used when every folder under ``root`` is called train, val, valid,
        validation or test. Hidden files are skipped, links followed; empty, unreadable and misplaced
        files go to ``problems``. The result does not depend on the order of the file system.

        Args:
            root: the folder.
            check: called with each file; raises for files that cannot be used.
            limits: ceiling on the number of files.

        Raises:
            DataError: no such folder, no usable file, or split and class folders mixed.

        Example:
            >>> Manifest.from_folder("photos").report().classes  # doctest: +SKIP
            {'train': {'cat': 120, 'dog': 110}, 'val': {'cat': 30, 'dog': 28}}
        """
        folder = Path(root).absolute()
        if not folder.is_dir():
            raise DataError(f"{root}: no such folder. Expected one folder per class inside it.")
        names = sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and entry.name[0] != ".")
        split_names = [name for name in names if name.lower() in SPLIT_FOLDERS]
        if split_names and len(split_names) < len(names):
            other = next(name for name in names if name not in split_names)
            raise DataError(
                f"{root}: {split_names[0]!r} looks like a split and {other!r} like a class. Put the class "
                "folders inside the split folders."
            )
        depth = 1 if split_names else 0
        rows: list[tuple[str, dict[str, Any]]] = []
        misplaced: list[Problem] = []
        for path in files_below(folder):
            limits.check("manifest_rows", len(rows) + 1, what=f"{root}: files")
            parts = path.split("/")
            if len(parts) < depth + 2:
                misplaced.append(Problem(path, "not inside a class folder"))
                continue
            split = SPLIT_FOLDERS[parts[0].lower()] if depth else None
            rows.append((path, {"path": path, "label": parts[depth], "split": split}))
        return build(
            rows, root=folder, check=check, limits=limits, source=str(root), problems=tuple(misplaced)
        )

    @classmethod
    def from_csv(
        cls,
        path: str | Path,
        *,
        root: str | Path | None = None,
        columns: Mapping[str, str] | None = None,
        check: Check | None = check_header,
        limits: Limits = DEFAULT,
    ) -> Manifest:
        """Return a manifest of a CSV (or, by suffix, TSV) file with a header line.

        Args:
            path: the table, UTF-8.
            root: folder the paths start from; default: the folder of the table.
            columns: {field: column name}; other columns are then not read. Without it, every column
                must be a field of :class:`Record`.
            check: called with each file; rows it refuses go to ``problems``.
            limits: ceilings on rows and text length.

        Raises:
            DataError: unknown column, neither path nor text, malformed row, duplicate id.
            InputError: a path leaves the root or is a URL (named with file and row).
        """
        from .tables import read_csv

        path = Path(path)
        rows = read_csv(path, columns, limits)
        return build(rows, root=root or path.parent, check=check, limits=limits, source=path.name)

    @classmethod
    def from_jsonl(
        cls,
        path: str | Path,
        *,
        root: str | Path | None = None,
        columns: Mapping[str, str] | None = None,
        check: Check | None = check_header,
        limits: Limits = DEFAULT,
    ) -> Manifest:
        """Return a manifest of a JSON-lines file; arguments and errors as :meth:`from_csv`."""
        from .tables import read_jsonl

        path = Path(path)
        rows = read_jsonl(path, columns, limits)
        return build(rows, root=root or path.parent, check=check, limits=limits, source=path.name)

    def save(self, path: str | Path) -> None:
        """Write the records as JSON lines through a temporary name; root and problems are not written."""
        with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as handle:
            for record in self.records:
                row = {name: value for name, value in asdict(record).items() if value is not None}
                handle.write(json.dumps(row, ensure_ascii=False) + "\n")

    @classmethod
    def load(cls, path: str | Path, *, root: str | Path, limits: Limits = DEFAULT) -> Manifest:
        """Read what :meth:`save` wrote, without opening the files it names."""
        return cls.from_jsonl(path, root=root, check=None, limits=limits)


def build(
    rows: Sequence[tuple[str, Mapping[str, Any]]],
    *,
    root: str | Path,
    check: Check | None,
    limits: Limits,
    source: str,
    problems: tuple[Problem, ...] = (),
) -> Manifest:
    """Return a manifest of raw rows after every check that all sources share.

    Args:
        rows: (where, {field: value}); ``where`` names the row in messages.
        source: the file or folder in messages about the whole.
        problems: already found; those of ``check`` are added.
    """
    folder = Path(root).absolute()
    records: list[Record] = []
    refused = list(problems)
    seen: dict[str, str] = {}
    for where, values in rows:
        try:
            record = _record(values, folder, limits)
        except InputError as error:
            raise type(error)(f"{where}: {error}") from None
        if record.id in seen:
            raise DataError(
                f"{where}: id {record.id!r} was already used in {seen[record.id]}; ids must be unique."
            )
        seen[record.id] = where
        if check is not None and record.path is not None:
            try:
                check(folder / record.path)
            except (VerticlipError, OSError) as error:
                refused.append(Problem(record.path, str(error)))
                continue
        records.append(record)
    if refused:
        logger.warning("%s: %d inputs were left out; see Manifest.problems.", source, len(refused))
    if not records:
        first = f" First: {refused[0].path}: {refused[0].reason}." if refused else ""
        raise DataError(f"{source}: no usable rows, {len(refused)} refused.{first}")
    return Manifest(folder, tuple(records), tuple(refused))


def _record(values: Mapping[str, Any], root: Path, limits: Limits) -> Record:
    given = {name: value for name, value in values.items() if value not in (None, "")}
    for name, value in given.items():
        if isinstance(value, (bool, dict, list)) or not isinstance(value, (str, int, float)):
            raise InputError(f"{name} must be text, got {type(value).__name__}.")
        given[name] = str(value)
        limits.check("text_chars", len(given[name]), what=f"{name}: characters")
    if "path" in given:
        given["path"] = inside(root, given["path"])
    elif "text" not in given:
        raise InputError("the row has neither a path nor a text.")
    if "id" not in given:
        parts = (given.get("path") or given["text"], given.get("locator"))
        given["id"] = "#".join(part for part in parts if part)
    return Record(**given)
