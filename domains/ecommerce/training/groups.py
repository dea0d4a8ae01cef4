"""Which products are one style: whatever pairs, shared pictures and given groups join."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

from ....core.files import sha256_of


class Groups:
    """Sets of product ids that grow together; see :meth:`join`."""

    def __init__(self) -> None:
        self._parents: dict[str, str] = {}

    def find(self, identifier: str) -> str:
        """Return the name of the set an id is in: the lowest id of the set."""
        self._parents.setdefault(identifier, identifier)
        root = identifier
        while self._parents[root] != root:
            root = self._parents[root]
        while self._parents[identifier] != root:
            self._parents[identifier], identifier = root, self._parents[identifier]
        return root

    def join(self, first: str, second: str) -> None:
        """Make one set of those of two ids."""
        one, other = self.find(first), self.find(second)
        self._parents[max(one, other)] = min(one, other)

    def join_all(self, identifiers: Iterable[str]) -> None:
        """Make one set of those of all ids."""
        listed = list(identifiers)
        for identifier in listed[1:]:
            self.join(listed[0], identifier)


def equal_pictures(files: Mapping[str, Path]) -> list[list[str]]:
    """Return lists of ids whose pictures are equal files; only files of one size are read.

    Args:
        files: {id: file that exists}.
    """
    by_size: defaultdict[int, list[str]] = defaultdict(list)
    for identifier, path in files.items():
        by_size[path.stat().st_size].append(identifier)
    found: list[list[str]] = []
    for identifiers in by_size.values():
        if len(identifiers) > 1:
            by_content: defaultdict[str, list[str]] = defaultdict(list)
            for identifier in identifiers:
                by_content[sha256_of(files[identifier])].append(identifier)
            found += [same for same in by_content.values() if len(same) > 1]
    return found
