"""How labelled images lie on disk: tables, class folders, and labels inside file names."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import DataError, nearest
from ..limits import DEFAULT, Limits
from ..prompts import normalize_label
from .files import files_below
from .tables import read_table

IMAGE_SUFFIXES = (".bmp", ".dcm", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")

LabelledRow = dict[str, Any]
"""{"id", "path", "label", "split", "group"}: one image and its class."""

Column = int | str
"""A column by position (from 0) or by name."""


@dataclass(frozen=True)
class Table:
    """A CSV with one row per image, or several rows of one image that agree.

    Attributes:
        files: where it may lie, relative to the root; the first that exists is read.
        path: columns to take the path from, the first that exists.
        label: columns to take the label from; None when ``one_hot`` says it.
        labels: {cell, compared without case: class}; a class name or its index counts as well.
        one_hot: {column: class}; exactly one of them is 1.
        where: {column: cell} that a row must have.
        image: file below a base folder, from ``{path}`` and ``{label}`` of the row.
        literal: cells hold Python lists like ``['a']``, of which the first item counts.
        skip_unknown: leave out rows of other labels instead of refusing them.
    """

    files: tuple[str, ...]
    path: tuple[Column, ...]
    label: tuple[Column, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    one_hot: Mapping[str, str] = field(default_factory=dict)
    where: Mapping[str, str] = field(default_factory=dict)
    image: str = "{path}"
    literal: bool = False
    skip_unknown: bool = False

    def expects(self) -> str:
        """Say which files this layout needs."""
        return f"the table {' or '.join(self.files)} and the images it names"

    def read(self, root: Path, classes: Sequence[str], limits: Limits = DEFAULT) -> list[LabelledRow] | None:
        """Return the rows of the table below ``root``, or None when it is not there.

        Raises:
            DataError: a column or label that is not known, or one image with two labels.
        """
        table = next((root / name for name in self.files if (root / name).is_file()), None)
        if table is None:
            return None
        known = _known_labels(classes, self.labels)
        find = _Finder(root, table.parent)
        rows: dict[str, LabelledRow] = {}
        for where, row in _with_header_row(read_table(table, (), limits=limits), self, known):
            if any(_cell(row, column, where).strip() != value for column, value in self.where.items()):
                continue
            written, label = self._label(row, where, known)
            if label is None:
                continue
            named = self._value(row, self.path, where)
            path = find(self.image.format(path=named, label=written))
            if rows.setdefault(named, _row(named, path, label))["label"] != label:
                raise DataError(f"{where}: {named!r} has the labels {rows[named]['label']!r} and {label!r}.")
        return list(rows.values())

    def _label(self, row: Mapping[str, str], where: str, known: Mapping[str, str]) -> tuple[str, str | None]:
        """Return the label as written and the class it means; None for a row to leave out."""
        if self.one_hot:
            found = [
                name for column, name in self.one_hot.items() if _is_one(_cell(row, column, where), where)
            ]
            if len(found) != 1:
                raise DataError(f"{where}: {len(found)} of {', '.join(self.one_hot)} are 1; expected one.")
            return found[0], found[0]
        written = self._value(row, self.label, where)
        label = known.get(normalize_label(written))
        if label is None and not self.skip_unknown:
            raise DataError(
                f"{where}: label {written!r:.60} is none of {', '.join(known)}."
                f"{nearest(normalize_label(written), known)}"
            )
        return written, label

    def _value(self, row: Mapping[str, str], columns: Iterable[Column], where: str) -> str:
        columns = tuple(columns)
        usable = (c for c in columns if (c in row if isinstance(c, str) else c < len(row)))
        text = _cell(row, next(usable, columns[0]), where).strip()
        if not self.literal or not text.startswith("["):
            return text
        try:
            (first, *_) = ast.literal_eval(text)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            raise DataError(f"{where}: {text!r:.60} is not a list such as ['a'].") from None
        return str(first)


@dataclass(frozen=True)
class Folders:
    """One folder of images per class.

    Attributes:
        folders: {folder, compared without case and underscores: class}.
        under: folders these may lie in, relative to the root; the first that holds any of them is read.
        leave_out: files with this in their name are no images of the set (masks).
    """

    folders: Mapping[str, str]
    under: tuple[str, ...] = ("",)
    leave_out: str | None = None

    def expects(self) -> str:
        """Say which files this layout needs."""
        names = list(self.folders)
        shown = ", ".join(names[:6]) + (" ..." if len(names) > 6 else "")
        return f"the folders {shown}" + (
            f" below {' or '.join(filter(None, self.under))}" if any(self.under) else ""
        )

    def read(self, root: Path, classes: Sequence[str], limits: Limits = DEFAULT) -> list[LabelledRow] | None:
        """Return the images of every class folder below ``root``, or None when there is none."""
        wanted = {_folder_key(name): label for name, label in self.folders.items()}
        depth = max(name.count("/") for name in self.folders) + 1
        for base in (root / name for name in self.under):
            found = {
                folder: wanted[key]
                for folder in _folders(base, depth)
                if (key := _folder_key(folder.relative_to(base).as_posix())) in wanted
            }
            # A single folder of a common name ("normal") is more likely something else.
            if len(set(found.values())) >= min(2, len(set(wanted.values()))):
                return [
                    _row(file.relative_to(root).as_posix(), file, label)
                    for folder, label in found.items()
                    for file in _images(folder, limits)
                    if self.leave_out is None or self.leave_out not in file.name
                ]
        return None


@dataclass(frozen=True)
class FileNames:
    """Images whose file name holds the label.

    Attributes:
        pattern: expression with the group ``label``, searched in the file name.
        labels: {label in the name: class}.
        under: folders the images may lie in, relative to the root; all that exist are read.
        example: such a name, for messages.
    """

    pattern: str
    labels: Mapping[str, str]
    under: tuple[str, ...]
    example: str

    def expects(self) -> str:
        """Say which files this layout needs."""
        return f"images named like {self.example} below {' and '.join(self.under)}"

    def read(self, root: Path, classes: Sequence[str], limits: Limits = DEFAULT) -> list[LabelledRow] | None:
        """Return the images below ``root`` whose name fits, or None when there is none."""
        rows = []
        for file in (file for name in self.under for file in _images(root / name, limits)):
            match = re.search(self.pattern, file.name)
            if match and match["label"] in self.labels:
                rows.append(_row(file.relative_to(root).as_posix(), file, self.labels[match["label"]]))
        return rows or None


Layout = Table | Folders | FileNames


class _Finder:
    """Finds a path of a table below the root, the table's folder or the folder above it.

    Tables of public sets name files from wherever their author stood: leading folders that do not
    exist here are left away. What worked for one row is tried first for the next.
    """

    def __init__(self, root: Path, table_folder: Path) -> None:
        self._root = root
        bases = [root, table_folder, table_folder.parent, root / "images", table_folder / "images"]
        self._bases = [base for base in dict.fromkeys(bases) if base.is_relative_to(root)]
        self._last: tuple[Path, int] | None = None

    def __call__(self, named: str) -> Path:
        parts = [part for part in named.replace("\\", "/").split("/") if part not in ("", ".")]
        if ".." in parts:
            raise self._outside(named)
        tries = [self._last] if self._last else []
        tries += [(base, cut) for cut in range(len(parts)) for base in self._bases]
        for base, cut in tries:
            file = base.joinpath(*parts[cut:])
            if cut < len(parts) and file.is_file():
                self._last = (base, cut)
                return file
        return self._bases[0].joinpath(*parts)

    def _outside(self, named: str) -> DataError:
        return DataError(
            f"{named!r:.80} leaves the data folder {self._root}. Move or link the file into it, or pass a "
            "wider folder."
        )


def _with_header_row(
    rows: Sequence[tuple[str, dict[str, Any]]], table: Table, known: Mapping[str, str]
) -> list[tuple[str, dict[str, Any]]]:
    """Give back a first row that was taken for the header: its label cell is a label."""
    names = list(rows[0][1])
    position = next((column for column in table.label if isinstance(column, int)), None)
    if position is None or position >= len(names) or normalize_label(names[position]) not in known:
        return list(rows)
    return [(rows[0][0].rpartition(" ")[0] + " 1", dict(zip(names, names, strict=True))), *rows]


def _known_labels(classes: Sequence[str], labels: Mapping[str, str]) -> dict[str, str]:
    """Return {label as compared: class}; numbers count from 0, also as 0.0, as pandas writes them."""
    known = {normalize_label(name): name for name in classes}
    for index, name in enumerate(classes):
        known |= {str(index): name, f"{index}.0": name}
    return known | {normalize_label(written): name for written, name in labels.items()}


def _cell(row: Mapping[str, Any], column: Column, where: str) -> str:
    if isinstance(column, int):
        cells = list(row.values())
        if column >= len(cells):
            raise DataError(
                f"{where}: {len(cells)} columns; the label or path is expected in column {column}."
            )
        return str(cells[column])
    if column not in row:
        raise DataError(f"{where}: no column {column!r}.{nearest(column, row)}")
    return str(row[column])


def _is_one(cell: str, where: str) -> bool:
    try:
        return float(cell or 0) == 1
    except ValueError:
        raise DataError(f"{where}: {cell!r:.40} is not 0 or 1.") from None


def _folder_key(name: str) -> str:
    return "/".join(normalize_label(part.replace("-", " ")) for part in name.split("/"))


def _folders(base: Path, depth: int) -> list[Path]:
    """Return the folders below ``base``, down to ``depth`` levels, sorted."""
    if not base.is_dir():
        return []
    here = sorted(path for path in base.iterdir() if path.is_dir() and path.name[0] != ".")
    return [found for path in here for found in (path, *(_folders(path, depth - 1) if depth > 1 else []))]


def _images(folder: Path, limits: Limits) -> list[Path]:
    files = [
        folder / name
        for name in (files_below(folder) if folder.is_dir() else ())
        if (folder / name).suffix.lower() in IMAGE_SUFFIXES and (folder / name).is_file()
    ]
    limits.check("manifest_rows", len(files), what=f"{folder.name}: files")
    return sorted(files)


def _row(name: str, path: Path, label: str) -> LabelledRow:
    return {"id": name, "path": str(path), "label": label, "split": None, "group": None}
