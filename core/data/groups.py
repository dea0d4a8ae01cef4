"""What belongs together: sets that grow by joining, and files of equal content."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Generic, TypeVar

from ..files import sha256_of

Item = TypeVar("Item", str, int)


class Groups(Generic[Item]):
    """Sets of strings or of numbers that grow together; see :meth:`join`."""

    def __init__(self) -> None:
        self._parents: dict[Item, Item] = {}

    def find(self, item: Item) -> Item:
        """Return what names the set an item is in: its lowest one."""
        parents = self._parents
        root = parents.setdefault(item, item)
        while parents[root] != root:
            root = parents[root]
        while parents[item] != root:
            parents[item], item = root, parents[item]
        return root

    def join(self, first: Item, second: Item) -> None:
        """Make one set of those of two items."""
        one, other = self.find(first), self.find(second)
        if one != other:
            self._parents[max(one, other)] = min(one, other)


def content_keys(files: Mapping[str, Path]) -> dict[str, str]:
    """Return {name: key}, equal keys for files of equal content; only files of one size are read.

    Args:
        files: {name: file that exists}.
    """
    by_size: defaultdict[int, list[str]] = defaultdict(list)
    for name, path in files.items():
        by_size[path.stat().st_size].append(name)
    keys: dict[str, str] = {}
    for names in by_size.values():
        alone = len({files[name] for name in names}) == 1
        for name in names:
            keys[name] = f"path:{files[name]}" if alone else f"sha256:{sha256_of(files[name])}"
    return keys
