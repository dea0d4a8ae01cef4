"""Caption files of satellite tiles, in every layout that has been published, and one that we write.

An entry is ``{"caption": text, "image": "<folder>/<tile>.jpg"}``. Published files hold a flat list of
entries, one list inside a list, or one list per image; some put several images into one group. All are read
the same way: entries are grouped by their image.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from statistics import fmean
from typing import Any, Literal

from ....core.errors import DataError, nearest
from ....core.files import unique_keys, write_json_atomic
from ....core.limits import DEFAULT, Limits

Layout = Literal["flat", "wrapped", "grouped"]
"""A list of entries; such a list inside a list; one list per image."""

_FILE_CEILINGS = 64
"""A caption file of a city is larger than the config of a model: so many times ``limits.config_bytes``."""
_LISTED = 20
"""Names that a message gives in full."""


class MissingImagesError(DataError):
    """Captions of pictures that are not there.

    Attributes:
        missing: every such picture, as the caption file names it.
    """

    def __init__(self, message: str, missing: tuple[str, ...]) -> None:
        super().__init__(message)
        self.missing = missing


@dataclass(frozen=True)
class TileCaptions(Mapping[str, tuple[str, ...]]):
    """Captions by picture, in the order of the file.

    Attributes:
        by_image: {picture, relative with forward slashes: its different captions}.
        layout: how the file was laid out.
        entries: how many it has. repeats: those that say of a picture what another one says of it.
        empty: those without a word.
    """

    by_image: Mapping[str, tuple[str, ...]]
    layout: Layout = "flat"
    entries: int = 0
    repeats: int = 0
    empty: int = 0

    def __getitem__(self, image: str) -> tuple[str, ...]:
        return self.by_image[image]

    def __iter__(self) -> Iterator[str]:
        return iter(self.by_image)

    def __len__(self) -> int:
        return len(self.by_image)


@dataclass(frozen=True)
class CorpusStatistics:
    """What a set of captions is like.

    Attributes:
        tiles, captions: counts.
        per_tile: (mean, fewest, most) captions of a tile. words: (mean, most) words of a caption.
        duplicates: captions that read the same as an earlier one, of any tile. In a batch they are wrong
            negatives of each other.
    """

    tiles: int
    captions: int
    per_tile: tuple[float, int, int]
    words: tuple[float, int]
    duplicates: int

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        mean, fewest, most = self.per_tile
        return {
            "tiles": self.tiles,
            "captions": self.captions,
            "captions_per_tile": {"mean": round(mean, 3), "min": fewest, "max": most},
            "words": {"mean": round(self.words[0], 3), "max": self.words[1]},
            "duplicate_captions": self.duplicates,
        }

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> CorpusStatistics:
        """Return the statistics that :meth:`to_dict` gave."""
        per_tile, words = raw["captions_per_tile"], raw["words"]
        return cls(
            tiles=raw["tiles"],
            captions=raw["captions"],
            per_tile=(per_tile["mean"], per_tile["min"], per_tile["max"]),
            words=(words["mean"], words["max"]),
            duplicates=raw["duplicate_captions"],
        )


def read_caption_file(path: str | Path, *, limits: Limits = DEFAULT) -> TileCaptions:
    """Return the captions of a JSON file by picture.

    Keys beside ``image`` and ``caption`` are not read. White space at the ends of a caption goes.

    Args:
        path: the file, UTF-8.
        limits: ceilings on the file and on each caption.

    Raises:
        DataError: no such file, not JSON, another structure, a value of another type, or a picture whose path
            is absolute, leaves its folder or is a URL; the message names the entry.
        LimitError: the file or a caption is over its ceiling.

    Example:
        >>> read_caption_file("beijing.json")["Beijing/16_12641_4726_s.jpg"]  # doctest: +SKIP
        ('A residential area with tall buildings', 'There is a river on the left.')
    """
    path = Path(path)
    layout, entries = _entries(_json_of(path, limits), path.name)
    grouped: dict[str, dict[str, None]] = {}
    repeats = empty = 0
    for where, entry in entries:
        image, caption = _entry(entry, where, limits)
        if not caption:
            empty += 1
            continue
        captions = grouped.setdefault(image, {})
        repeats += caption in captions
        captions[caption] = None
    if not grouped:
        raise DataError(
            f"{path.name}: {'every caption is empty' if empty else 'no captions'}. Expected a list of "
            '{"caption": text, "image": "folder/tile.jpg"}.'
        )
    by_image = {image: tuple(captions) for image, captions in grouped.items()}
    return TileCaptions(by_image, layout, len(entries), repeats, empty)


def write_caption_file(path: str | Path, captions: Mapping[str, tuple[str, ...] | list[str]]) -> None:
    """Write captions as a flat list of entries, through a temporary name, one entry per caption."""
    write_json_atomic(
        path, [{"caption": text, "image": image} for image, texts in captions.items() for text in texts]
    )


def check_images(captions: Mapping[str, object], folder: str | Path) -> None:
    """Raise :class:`MissingImagesError` when a picture is not a file below ``folder``."""
    folder = Path(folder)
    missing = tuple(image for image in captions if not (folder / image).is_file())
    if missing:
        more = f" and {len(missing) - _LISTED} more" if len(missing) > _LISTED else ""
        raise MissingImagesError(
            f"{len(missing)} of {len(captions)} pictures with captions are not in the folder: "
            f"{', '.join(missing[:_LISTED])}{more}. Name the folder that the paths start from, or leave "
            "these captions out (missing: skip).",
            missing,
        )


def corpus_statistics(captions: Mapping[str, tuple[str, ...] | list[str]]) -> CorpusStatistics:
    """Return counts of tiles, captions, words and exact duplicates."""
    sizes = [len(texts) for texts in captions.values()]
    words = [len(text.split()) for texts in captions.values() for text in texts]
    different = Counter(text for texts in captions.values() for text in texts)
    return CorpusStatistics(
        tiles=len(sizes),
        captions=sum(sizes),
        per_tile=(fmean(sizes), min(sizes), max(sizes)) if sizes else (0.0, 0, 0),
        words=(fmean(words), max(words)) if words else (0.0, 0),
        duplicates=sum(sizes) - len(different),
    )


def split_paragraph(text: str) -> list[str]:
    """Return the sentences of what an image-to-text model wrote, each to be a caption of its own.

    The rule of the published captions: a text ends where a full stop and a space stand; the stop of the last
    sentence stays. White space at the ends and empty pieces go.

    Example:
        >>> split_paragraph("A park. It has a lake. Trees.")
        ['A park', 'It has a lake', 'Trees.']

    Reference: siruzhong/UrbanCLIP-Dataset-Toolkit, caption stage.
    """
    # A full stop in the middle of white space is what a sentence without words leaves.
    pieces = (" ".join(piece.split()) for piece in text.split(". "))
    return [piece for piece in pieces if piece.strip(". ")]


def _json_of(path: Path, limits: Limits) -> Any:
    if not path.is_file():
        raise DataError(f"{path.name}: no such file. Name a JSON file of captions.")
    ceiling = limits.with_(config_bytes=_FILE_CEILINGS * limits.config_bytes)
    ceiling.check("config_bytes", path.stat().st_size, what=f"{path.name}: bytes")
    try:
        return json.loads(path.read_bytes().decode("utf-8-sig"), object_pairs_hook=unique_keys)
    except UnicodeDecodeError as error:
        raise DataError(f"{path.name}: not UTF-8 at byte {error.start}. Save it as UTF-8.") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path.name}: not valid JSON ({error}).") from None


def _entries(raw: Any, name: str) -> tuple[Layout, list[tuple[str, Any]]]:
    """Return the layout and (where, entry) of every entry."""
    if not isinstance(raw, list):
        raise DataError(f"{name}: expected a list of captions, got {_kind(raw)}.")
    lists = [isinstance(one, list) for one in raw]
    if not any(lists):
        return "flat", [(f"{name} entry {number}", one) for number, one in enumerate(raw, 1)]
    if not all(lists):
        odd = lists.index(not lists[0]) + 1
        raise DataError(
            f"{name} entry {odd}: {_kind(raw[odd - 1])} among {'lists' if lists[0] else 'entries'}. A file "
            "holds entries, or lists of entries, not both."
        )
    found = [
        (f"{name} group {group} entry {number}", one)
        for group, inner in enumerate(raw, 1)
        for number, one in enumerate(inner, 1)
    ]
    return ("wrapped" if len(raw) == 1 else "grouped"), found


def _entry(entry: Any, where: str, limits: Limits) -> tuple[str, str]:
    """Return (picture, caption) of an entry."""
    if not isinstance(entry, dict):
        raise DataError(f'{where}: expected {{"caption": ..., "image": ...}}, got {_kind(entry)}.')
    for key in ("image", "caption"):
        if key not in entry:
            raise DataError(f"{where}: no {key!r}.{nearest(key, entry)}")
        if not isinstance(entry[key], str):
            raise DataError(f"{where}: {key} is {_kind(entry[key])}, not text.")
    caption = entry["caption"].strip()
    limits.check("text_chars", len(caption), what=f"{where}: characters")
    return _picture(entry["image"], where), caption


def _picture(name: str, where: str) -> str:
    """Return the name of a picture as a relative path in one spelling."""
    shown = repr(name[:200])
    if not name.strip() or "\0" in name:
        raise DataError(f"{where}: the name of the image is empty or has a NUL.")
    if "://" in name:
        raise DataError(f"{where}: the image {shown} is a URL. Download it and name the file.")
    if "\\" in name or PureWindowsPath(name).drive or name.startswith("/"):
        raise DataError(f"{where}: the image {shown} is not a relative path with forward slashes.")
    path = PurePosixPath(name)
    if ".." in path.parts or not path.parts:
        raise DataError(f"{where}: the image {shown} leaves the folder of the pictures.")
    return path.as_posix()


def _kind(value: Any) -> str:
    kinds = {dict: "an object", list: "a list", str: "text", type(None): "null", bool: "true or false"}
    return kinds.get(type(value), "a number")
