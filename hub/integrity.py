"""Whether a file is the one it should be: hashes computed in one pass, and the names the Hub's cache keeps.

The cache of the Hub's client stores content once, under the ETag of the server, and points to it from a
folder for each commit. That ETag is the SHA-256 of a large file and the git blob SHA-1 of a small one, so
the cache can be checked without asking anybody. The client itself never does: it trusts what lies there.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from ..core.names import is_commit, is_sha256

_BLOCK = 1024 * 1024


@dataclass(frozen=True)
class Digests:
    """What one reading of a file yields.

    Attributes:
        bytes: size of what was read.
        sha256: 64 hex digits.
        sha1: the digests of 40 hex digits that a name may stand for, git's own first; empty unless asked for.
    """

    bytes: int
    sha256: str
    sha1: tuple[str, ...] = ()

    def agree_with(self, name: str) -> bool:
        """Return whether content and ``name``, an ETag that :func:`is_hash` accepts, belong together."""
        return name == self.sha256 or name in self.sha1

    def like(self, name: str) -> str:
        """Return the digest of the kind that ``name`` is, for messages that show both."""
        return self.sha1[0] if self.sha1 and len(name) == 40 else self.sha256


def is_hash(name: str | None) -> bool:
    """Return whether a name (an ETag) can be a hash of content; plain storage names things otherwise."""
    return is_sha256(name) or is_commit(name)


def digests_of(path: str | Path, name: str | None = None) -> Digests:
    """Read a file once, in blocks of 1 MiB, and return what is needed to compare it with ``name``.

    Args:
        path: of a file of any size.
        name: an ETag: with one of 40 hex digits the SHA-1 digests are computed too, as git names a blob and,
            for mirrors that name files so, of the content alone.
    """
    with Path(path).open("rb") as handle:
        sha256, sha1 = hashlib.sha256(), []
        if is_commit(name):
            size = os.fstat(handle.fileno()).st_size
            # SHA-1 protects nothing here: the name it is compared with was chosen by the server anyway.
            sha1 = [hashlib.sha1(start, usedforsecurity=False) for start in (b"blob %d\0" % size, b"")]
        read = 0
        while block := handle.read(_BLOCK):
            read += len(block)
            for digest in (sha256, *sha1):
                digest.update(block)
    return Digests(read, sha256.hexdigest(), tuple(digest.hexdigest() for digest in sha1))


def cached_name(path: str | Path) -> str | None:
    """Return the ETag under which the Hub's cache keeps a file, or None where it keeps no such name.

    There is none in a cache without symbolic links (Windows, some mounts), where each commit holds copies.
    """
    try:
        target = Path(os.readlink(path))
    except OSError:
        return None
    # Only the first link counts: what is kept under an ETag may be a link into a store for all caches.
    return target.name if target.parent.name == "blobs" else None
