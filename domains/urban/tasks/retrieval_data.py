"""Images and their captions: caption files of RSICD, RSITMD and UCM-captions, and tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ....core.data.files import inside
from ....core.data.tables import read_table
from ....core.errors import DataError, InputError
from ....core.files import read_json
from ....core.limits import DEFAULT, Limits

IMAGE_COLUMNS = ("filepath", "filename", "image", "path", "file", "image_path")
TEXT_COLUMNS = ("title", "caption", "text", "sentence")
SPLIT = "test"
_FILE_CEILINGS = 64
"""A caption file is larger than the config of a model: so many times ``limits.config_bytes``."""


@dataclass(frozen=True)
class CaptionedImage:
    """An image and what is said about it, in the order of the file; the same sentence may stand twice."""

    path: Path
    captions: tuple[str, ...]


@dataclass(frozen=True)
class CaptionedImages:
    """The part of a data set that is measured.

    Attributes:
        name: of the data set, as its file says it or is called.
        images: each one once, in the order of their names.
        split: which part; "" where the file has none.
        missing: images that the file names and the folder does not hold.
    """

    name: str
    images: tuple[CaptionedImage, ...]
    split: str
    missing: tuple[str, ...] = ()


def read_pairs(
    table: str | Path, images: str | Path, *, split: str | None = None, limits: Limits = DEFAULT
) -> CaptionedImages:
    """Return the images of one split with their captions.

    Args:
        table: JSON with ``images``, each ``{"filename", "split", "sentences": [{"raw"}]}``, as RSICD, RSITMD
            and UCM-captions are shared; or a CSV or JSON-lines file with one row per caption, whose columns
            are filepath, filename, image, path or file, and title, caption, text or sentence.
        images: folder that the names are relative to.
        split: which part; None takes ``test``, or everything of a file without splits.

    Raises:
        DataError: another kind of file, a name outside ``images``, a split that is not there, or not a single
            image of it.
    """
    table, folder = Path(table), Path(images).resolve()
    if table.suffix.lower() == ".json":
        rows, name = _of_json(table, limits)
    else:
        rows, name = _of_table(table, limits), table.stem
    splits = sorted({part for _, _, part in rows if part})
    wanted = split or (SPLIT if splits else "")
    if wanted not in ("", *splits):
        had = f"it has: {', '.join(splits)}" if splits else "its rows name no split"
        raise DataError(f"{table.name}: no split {wanted!r}; {had}.")
    captions: dict[str, list[str]] = {}
    for file, caption, part in rows:
        if part == wanted or not wanted:
            captions.setdefault(file, []).append(caption)
    found, missing = [], []
    # By name, as the reference sorts them: it decides between equal scores.
    for file in sorted(captions):
        try:
            path = folder / inside(folder, file)
        except InputError as error:
            raise DataError(f"{table.name}: {error}") from error
        if path.is_file():
            found.append(CaptionedImage(path, tuple(captions[file])))
        else:
            missing.append(file)
    if not found:
        first = f" The first is {missing[0]!r}." if missing else ""
        raise DataError(f"{table.name}: none of its {len(missing)} images is in {folder.name}.{first}")
    return CaptionedImages(name, tuple(found), wanted, tuple(missing))


Row = tuple[str, str, str]
"""(file name, caption, split)."""


def read_caption_json(table: Path, limits: Limits = DEFAULT) -> tuple[str, list[Any]]:
    """Return the name of the data set and its ``images`` of a file in the layout of ``dataset_rsicd.json``.

    Raises:
        ConfigError: not JSON. DataError: no list of images. LimitError: the file or the list is too long.
    """
    larger = limits.with_(config_bytes=limits.config_bytes * _FILE_CEILINGS)
    content = read_json(table, limits=larger)
    images = content.get("images") if isinstance(content, dict) else None
    if not isinstance(images, list):
        raise DataError(f"{table.name}: no list of 'images'; expected the layout of dataset_rsicd.json.")
    limits.check("manifest_rows", len(images), what=f"{table.name}: images")
    # What the file is called says more than what it was copied from; UCM-captions is called dataset.json.
    said = content.get("dataset")
    called = table.stem.removeprefix("dataset_")
    return said if called == "dataset" and isinstance(said, str) and said else called, images


def _of_json(table: Path, limits: Limits) -> tuple[list[Row], str]:
    called, images = read_caption_json(table, limits)
    rows: list[Row] = []
    for position, image in enumerate(images):
        where = f"{table.name}: image {position}"
        if not isinstance(image, dict):
            raise DataError(f"{where}: {type(image).__name__} is not an object with filename and sentences.")
        name, sentences = image.get("filename"), image.get("sentences")
        if not isinstance(name, str) or not name or not isinstance(sentences, list):
            raise DataError(f"{where}: needs a filename and a list of sentences.")
        for sentence in sentences:
            raw = sentence.get("raw") if isinstance(sentence, dict) else sentence
            if not isinstance(raw, str) or not raw.strip():
                raise DataError(f"{where} ({name}): a sentence without words in 'raw'.")
            rows.append((name, raw, str(image.get("split") or "")))
    return rows, called


def _of_table(table: Path, limits: Limits) -> list[Row]:
    rows = read_table(table, (), limits=limits)
    image, text = (_column(rows[0][1], names, table) for names in (IMAGE_COLUMNS, TEXT_COLUMNS))
    found: list[Row] = []
    for where, row in rows:
        name, words = row.get(image), row.get(text)
        if not isinstance(name, str) or not isinstance(words, str) or not words.strip():
            raise DataError(f"{where}: {image} and {text} must be words, and not empty.")
        found.append((name, words, str(row.get("split") or "")))
    return found


def _column(row: Mapping[str, Any], names: tuple[str, ...], table: Path) -> str:
    for name in names:
        if name in row:
            return name
    raise DataError(f"{table.name}: none of the columns {', '.join(names)}; it has {', '.join(row)}.")
