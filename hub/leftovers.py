"""Partial files that killed processes leave in the Hub's cache.

The client writes each download to a name of its own, ``<etag>.<8 hex digits>.incomplete``, and removes it
when it stops for any reason but a kill. Nobody ever reads such a file again, nor removes it: each kill costs
the size of what had come. While it writes, the client holds the lock of that ETag.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections import defaultdict
from pathlib import Path

_PARTIAL = re.compile(r"([\w.:+=-]{1,200})\.[0-9a-f]{8}\.incomplete")
_ABANDONED_S = 6 * 3600.0
"""Age from which a partial file is taken for abandoned where locks mean nothing."""


def sweep(storage: Path) -> list[Path]:
    """Remove the partial files of a repository that no process writes any more, and return them.

    Args:
        storage: folder of the repository in the Hub's cache, ``models--org--name``.
    """
    groups: dict[str, list[Path]] = defaultdict(list)
    with contextlib.suppress(OSError):
        for path in (storage / "blobs").iterdir():
            if match := _PARTIAL.fullmatch(path.name):
                groups[match[1]].append(path)
    gone = []
    for etag, paths in groups.items():
        lock = storage.parent / ".locks" / storage.name / f"{etag}.lock"
        with _held(lock) as alone:
            for path in paths:
                if alone or (alone is None and _age_s(path) > _ABANDONED_S):
                    with contextlib.suppress(OSError):
                        path.unlink()
                        gone.append(path)
    return gone


@contextlib.contextmanager
def _held(path: Path):
    """Yield whether the lock was free and is held now; None where locks of this file system tell nothing."""
    from filelock import FileLock, Timeout

    if not path.is_file():
        # Whoever writes made it first.
        yield None
        return
    first, second = FileLock(path, timeout=0), FileLock(path, timeout=0)
    state: bool | None = None
    try:
        first.acquire()
        state = True
        # Some network file systems grant every lock to everybody.
        second.acquire()
        state = None
    except Timeout:
        state = state or False
    except (OSError, NotImplementedError):
        state = None
    try:
        yield state
    finally:
        for lock in (second, first):
            with contextlib.suppress(OSError):
                lock.release()


def _age_s(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except OSError:
        return 0.0
