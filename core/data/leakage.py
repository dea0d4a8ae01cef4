"""Leakage between splits: equal files, shared groups, and grouping of near-equal images."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError, InputError
from .groups import Groups, content_keys
from .manifest import Manifest, Record


@dataclass(frozen=True)
class LeakageReport:
    """What the splits of a manifest share.

    Attributes:
        duplicates: ids of rows with equal content that lie in different splits, one tuple per content.
        groups: {group: splits} of the groups that lie in several splits.
        conflicts: ids of rows with equal content and different labels, one tuple per content.
        repeats: rows beyond the first of each content, within and across splits.
    """

    duplicates: tuple[tuple[str, ...], ...]
    groups: dict[str, tuple[str, ...]]
    conflicts: tuple[tuple[str, ...], ...]
    repeats: int

    @property
    def clean(self) -> bool:
        """True when no content and no group lies in two splits."""
        return not self.duplicates and not self.groups

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self) | {"clean": self.clean}

    def raise_if_leaking(self) -> None:
        """Raise ``DataError`` with the first examples unless :attr:`clean`."""
        if self.clean:
            return
        found = []
        if self.duplicates:
            found.append(f"{len(self.duplicates)} equal files ({', '.join(self.duplicates[0][:2])}, ...)")
        if self.groups:
            name, splits = next(iter(self.groups.items()))
            found.append(f"{len(self.groups)} groups ({name!r} in {', '.join(splits)}, ...)")
        raise DataError(
            f"Splits share {' and '.join(found)}, so scores on them would be too good. "
            'Split again with split(manifest, fractions, by="group"), or drop the rows.'
        )


def check_leakage(manifest: Manifest) -> LeakageReport:
    """Return which equal files and which groups lie in more than one split.

    Content is compared by SHA-256; rows of text only by their text. Two parts (``locator``) of one
    file are different content: give them a group. Rows without a split count as one more split.
    """
    contents: defaultdict[tuple[str, str | None], list[Record]] = defaultdict(list)
    for record, content in _contents(manifest):
        contents[content, record.locator].append(record)
    same = [records for records in contents.values() if len(records) > 1]
    groups: defaultdict[str, set[str]] = defaultdict(set)
    for record in manifest.records:
        if record.group is not None:
            groups[record.group].add(record.split or "(none)")
    return LeakageReport(
        duplicates=tuple(_ids(records) for records in same if len({record.split for record in records}) > 1),
        groups={name: tuple(sorted(found)) for name, found in sorted(groups.items()) if len(found) > 1},
        conflicts=tuple(_ids(records) for records in same if len({record.label for record in records}) > 1),
        repeats=sum(len(records) - 1 for records in same),
    )


def _ids(records: list[Record]) -> tuple[str, ...]:
    return tuple(record.id for record in records)


def _contents(manifest: Manifest) -> list[tuple[Record, str]]:
    """Each record with a string that is equal for equal content."""
    files = {record.path: manifest.file_of(record) for record in manifest if record.path is not None}
    for path, file in files.items():
        if not file.is_file():
            raise DataError(f"{path}: no such file, so its content cannot be compared.")
    keys = content_keys(files)
    return [
        (record, f"text:{record.text}" if record.path is None else keys[record.path]) for record in manifest
    ]


def difference_hash(image: NDArray[Any]) -> int:
    """Return the 64-bit difference hash of a grey image.

    The image is averaged down to 8 rows of 9 values; bit ``8 * row + column`` tells whether a value
    is clearly above its right neighbour. Robust to resizing, compression and brightness.

    Args:
        image: float or integer [H, W].

    Raises:
        InputError: not a finite, non-empty two-dimensional array.

    Reference: Krawetz 2013, "Kind of Like That" (dHash).
    """
    pixels = np.asarray(image, dtype=np.float32)
    if pixels.ndim != 2 or not pixels.size or not np.isfinite(pixels).all():
        raise InputError(f"A grey image [H, W] of finite values is needed, got shape {np.shape(image)}.")
    from PIL import Image

    small = np.asarray(Image.fromarray(pixels).resize((9, 8), Image.Resampling.BOX))
    # Without a dead zone, compression noise would decide the bits of a flat background.
    bits = (small[:, :-1] - small[:, 1:] > 0.01 * np.ptp(small)).ravel()
    return int(np.packbits(bits, bitorder="little").view(np.uint64)[0])


def group_near_duplicates(
    manifest: Manifest, load: Callable[[Record], NDArray[Any]], *, max_distance: int = 4
) -> Manifest:
    """Return the manifest with one group per cluster of near-equal images.

    Two images are near-equal when their difference hashes differ in at most ``max_distance`` of 64
    bits; clusters are the connected components, so neighbouring slices of a scan chain together.
    Existing groups are merged with them. A group is named after its lowest id.

    Args:
        manifest: rows with files.
        load: record to grey image [H, W].
        max_distance: 0 to 2 finds re-encoded copies; 2 to 4 also neighbouring frames or slices. Large
            values chain unrelated images (of 2,809 brain MRI slices the largest group has 24 at 2,
            419 at 4 and 1,342 at 6): look at the largest group before training.

    Raises:
        InputError: ``max_distance`` is outside [0, 32].
    """
    if not 0 <= max_distance <= 32:
        raise InputError(f"max_distance must be from 0 to 32 of 64 bits, got {max_distance}.")
    hashes = np.array([difference_hash(load(record)) for record in manifest], dtype=np.uint64)
    # Equal hashes are joined first: a thousand blank images must not become half a million pairs.
    unique, first_row, hash_of_row = np.unique(hashes, return_index=True, return_inverse=True)
    groups: Groups[int] = Groups()
    for row, first in enumerate(first_row[hash_of_row].tolist()):
        groups.join(first, row)
    for first, second in first_row[_near_pairs(unique, max_distance)].tolist():
        groups.join(first, second)
    return _grouped(manifest, groups)


def group_equal(manifest: Manifest, content: Callable[[Record], str | bytes]) -> Manifest:
    """Return the manifest with one group per cluster of rows of equal ``content``.

    Existing groups are merged with them. A group is named after its lowest id.
    """
    groups: Groups[int] = Groups()
    first: dict[str | bytes, int] = {}
    for index, record in enumerate(manifest):
        groups.join(first.setdefault(content(record), index), index)
    return _grouped(manifest, groups)


def group_equal_files(manifest: Manifest) -> Manifest:
    """Return the manifest with rows of equal files, or of parts of one file, in one group."""
    contents = {record.id: content for record, content in _contents(manifest)}
    return group_equal(manifest, lambda record: contents[record.id])


def _grouped(manifest: Manifest, groups: Groups[int]) -> Manifest:
    """Return the manifest with sets of its rows, and its own groups, as groups."""
    first_of: dict[str, int] = {}
    for index, record in enumerate(manifest):
        if record.group is not None:
            groups.join(first_of.setdefault(record.group, index), index)
    roots = [groups.find(index) for index in range(len(manifest))]
    names: dict[int, str] = {}
    for index, record in sorted(enumerate(manifest), key=lambda pair: pair[1].id):
        names.setdefault(roots[index], record.id)
    return replace(
        manifest,
        records=tuple(
            replace(record, group=names[root]) for record, root in zip(manifest, roots, strict=True)
        ),
    )


def _near_pairs(hashes: NDArray[np.uint64], max_distance: int) -> NDArray[np.int64]:
    """Index pairs [P, 2] of hashes at most ``max_distance`` bits apart."""
    bits = np.unpackbits(hashes.view(np.uint8).reshape(-1, 8), axis=1)
    # As signs, the dot product of two hashes is 64 - 2 * distance, exact in float32.
    signs = bits.astype(np.float32) * 2 - 1
    pairs = []
    for start in range(0, len(signs), 1024):
        near = signs[start : start + 1024] @ signs[start:].T >= 64 - 2 * max_distance
        rows, columns = np.nonzero(np.triu(near, k=1))
        pairs.append(np.stack([rows, columns], axis=1) + start)
    return np.concatenate(pairs) if pairs else np.empty((0, 2), dtype=np.int64)
