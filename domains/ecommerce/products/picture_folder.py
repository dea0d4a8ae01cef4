"""A folder of pictures as a table: one product per picture, its category the folder it is in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ....core.data.files import files_below
from ....core.data.manifest import SPLIT_FOLDERS
from ....core.errors import DataError
from .rows import BadRow, Notes, Row

PICTURE_SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}


class PictureFolder:
    """Pictures below a folder.

    ``dress/evening/42.jpg`` is the product of that id in the category ``dress > evening``. Folders called
    train, validation, test and the like at the top become the attribute ``split`` and are no category.

    Args:
        path: the folder. notes: told of files that are no pictures.

    Raises:
        DataError: no picture below it.
    """

    is_closed = True

    def __init__(self, path: Path, notes: Notes) -> None:
        self.name = path.name or str(path)
        files = files_below(path.absolute())
        self._pictures = [file for file in files if Path(file).suffix.lower() in PICTURE_SUFFIXES]
        if not self._pictures:
            raise DataError(
                f"{path}: no picture in this folder ({', '.join(sorted(PICTURE_SUFFIXES))}), and no "
                ".parquet file."
            )
        others = len(files) - len(self._pictures)
        if others:
            what = "files that are no pictures" if others > 1 else "file that is no picture"
            notes.fact(f"{self.name}: {others:,} {what} passed over")
        tops = {file.split("/")[0].lower() for file in self._pictures if "/" in file}
        self._has_splits = bool(tops) and tops <= set(SPLIT_FOLDERS)
        self.columns: Sequence[str] = ("id", "category", "image", *(("split",) if self._has_splits else ()))

    def __len__(self) -> int:
        return len(self._pictures)

    def rows(self) -> Iterator[Row | BadRow]:
        """Yield one row per picture, sorted by path."""
        for number, file in enumerate(self._pictures, 1):
            folders = file.split("/")[:-1]
            cells: dict[str, Any] = dict.fromkeys(self.columns) | {"id": file, "image": file}
            if folders and self._has_splits:
                cells["split"] = SPLIT_FOLDERS[folders.pop(0).lower()]
            if folders:
                cells["category"] = folders
            yield Row(number, cells)
