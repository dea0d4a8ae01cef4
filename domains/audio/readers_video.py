"""Readers of clips with sound and frames: the lists that CLIPSep trains on, and VGGSound's own table.

Each record is {"id", "path", "label", "split", "group", "locator", "extras"}; ``extras`` is {"frames":
folder, "count": frames, "fps": frames per second}, the folder as an absolute path.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ...core.data.files import inside
from ...core.errors import DataError, InputError
from ...core.limits import DEFAULT, Limits

Record = dict[str, Any]

_SPLITS = {"train": "train", "val": "val", "valid": "val", "test": "test"}
_COLUMNS = 4


def read_clipsep_csv(
    path: str | Path,
    *,
    files: Sequence[str] | None = None,
    root: str | None = None,
    min_seconds: float = 0.0,
    fps: float = 1.0,
    limits: Limits = DEFAULT,
) -> list[Record]:
    """Return one record per row of CLIPSep's lists: ``audio.wav,frames folder,number of frames,label``.

    The lists have no header. A list called train, val or test gives its rows that split; any other leaves the
    split open. The group is the clip, so that two parts of one film can be given the same one by their name.

    Args:
        path: a list, or a folder of lists.
        files: names of the lists in the folder; None takes every ``*.csv`` in it.
        root: folder below that of the lists that their paths start from; None is that of the list.
        min_seconds: clips with fewer seconds of frames are left out; the published lists keep those over 8.
        fps: frames per second on disk.
        limits: ceiling of the size of a list.

    Raises:
        DataError: no list, no rows, a row of another form, or a path that leaves the folder.

    Reference: sony/CLIPSep, the index files of VGGSound and MUSIC.
    """
    lists = _lists(Path(path), files)
    records = [
        record
        for table in lists
        for record in _list_rows(table, table.parent / root if root else table.parent, fps, limits)
        if record["extras"]["count"] > min_seconds * fps or not min_seconds
    ]
    if not records:
        raise DataError(
            f"{path}: no clips with over {min_seconds:g} seconds of frames in {len(lists)} lists."
        )
    return records


def read_vggsound(
    path: str | Path,
    *,
    table: str = "vggsound.csv",
    audio: str = "audio",
    frames: str = "frames",
    fps: float = 1.0,
    limits: Limits = DEFAULT,
) -> list[Record]:
    """Return one record per clip of VGGSound that is on disk: ``youtube id,start second,label,split``.

    Sound lies at ``AUDIO/ID_SECOND.wav`` and frames in ``FRAMES/ID_SECOND``, the second with six digits. Many
    films of the table can no longer be had, so clips that are not there are left out. Commas in labels become
    spaces, as CLIPSep writes them in prompts. Clips of one film form a group.

    Args:
        path: folder of the set. table: below it, without header. audio, frames: folders below it.
        fps: frames per second on disk.
        limits: ceiling of the size of the table.

    Raises:
        DataError: no table, a row of another form, or none of its clips is there.

    Reference: Chen et al. 2020, VGGSound, arXiv 2004.14368.
    """
    folder = Path(path)
    records: list[Record] = []
    rows = 0
    for where, row in _rows(folder / table, limits):
        rows += 1
        film, second, label, split = row
        if split not in _SPLITS or not second.isdigit():
            raise DataError(f"{where}: expected youtube id, start second, label, train or test; got {row}.")
        name = f"{film}_{int(second):06d}"
        sound = folder / _inside(folder, f"{audio}/{name}.wav", where)
        pictures = folder / _inside(folder, f"{frames}/{name}", where)
        if not sound.is_file():
            continue
        count = sum(1 for _ in pictures.glob("*.jpg")) if pictures.is_dir() else 0
        if count:
            record = _record(name, sound, " ".join(label.replace(",", " ").split()), _SPLITS[split], film)
            records.append(record | {"text": record["label"], "extras": _extras(pictures, count, fps)})
    if not records:
        raise DataError(
            f"{path}: none of the {rows} clips of {table} is there with sound ({audio}/ID_SECOND.wav) and "
            f"frames ({frames}/ID_SECOND/*.jpg)."
        )
    return records


def _lists(path: Path, files: Sequence[str] | None) -> list[Path]:
    if path.is_file():
        return [path]
    chosen = [path / name for name in files] if files is not None else sorted(path.glob("*.csv"))
    missing = [table.name for table in chosen if not table.is_file()]
    if missing or not chosen:
        raise DataError(f"{path}: {f'no list {missing[0]!r}' if missing else 'no *.csv lists'} here.")
    return chosen


def _list_rows(table: Path, root: Path, fps: float, limits: Limits) -> Iterator[Record]:
    split = _SPLITS.get(table.stem)
    for where, (sound, frames, count, label) in _rows(table, limits):
        if not count.isdigit() or int(count) < 1:
            raise DataError(f"{where}: {count!r} is no number of frames.")
        name = _inside(root, sound, where)
        pictures = root / _inside(root, frames, where)
        record = _record(Path(name).with_suffix("").as_posix(), root / name, label.strip(), split, name)
        yield record | {"extras": _extras(pictures, int(count), fps)}


def _rows(table: Path, limits: Limits) -> Iterator[tuple[str, list[str]]]:
    """Yield (where, four cells) of a table without header."""
    if not table.is_file():
        raise DataError(f"{table.name}: no such table in {table.parent.name!r}.")
    limits.check("file_bytes", table.stat().st_size, what=f"{table.name}: bytes")
    with table.open(encoding="utf-8", newline="") as handle:
        try:
            for number, row in enumerate(csv.reader(handle, strict=True), 1):
                limits.check("manifest_rows", number, what=f"{table.name}: rows")
                if len(row) != _COLUMNS:
                    raise DataError(
                        f"{table.name} row {number}: {len(row)} columns; expected {_COLUMNS}, no header."
                    )
                yield f"{table.name} row {number}", row
        except (UnicodeDecodeError, csv.Error) as error:
            raise DataError(f"{table.name}: not a CSV in UTF-8 ({error}).") from None


def _inside(root: Path, path: str, where: str) -> str:
    try:
        return inside(root.absolute(), path)
    except InputError as error:
        raise DataError(f"{where}: {error}") from None


def _record(name: str, sound: Path, label: str, split: str | None, group: str) -> Record:
    return {
        "id": name,
        "path": str(sound.absolute()),
        "label": label,
        "split": split,
        "group": group,
        "locator": None,
    }


def _extras(pictures: Path, count: int, fps: float) -> dict[str, Any]:
    return {"frames": str(pictures.absolute()), "count": count, "fps": fps}
