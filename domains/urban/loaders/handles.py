"""Open files, never shared between threads or processes.

GDAL gives wrong pixels, without an error, when two threads or a process and its fork read through one open
dataset. Every thread of every process therefore opens its own, keeps the latest few, and drops what it
inherited from a fork.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any

OPEN_FILES = 16
"""Most datasets that one thread keeps open for one raster."""


class Handles:
    """The open datasets of one raster.

    Pickling or copying gives an empty one: files are opened again where they are read.
    """

    def __init__(self, limit: int = OPEN_FILES) -> None:
        self._limit = limit
        self._local = threading.local()

    def __reduce__(self) -> tuple[type[Handles], tuple[int]]:
        return Handles, (self._limit,)

    def get(self, key: Hashable, opener: Callable[[], Any]) -> Any:
        """Return this thread's open dataset of ``key``, opening it where there is none."""
        opened = self._mine()
        found = opened.get(key)
        if found is None:
            found = opened[key] = opener()
            while len(opened) > self._limit:
                opened.popitem(last=False)[1].close()
        else:
            opened.move_to_end(key)
        return found

    def close(self) -> None:
        """Close the datasets of this thread; those of others close when the threads end."""
        opened = self._mine()
        while opened:
            opened.popitem()[1].close()

    def __len__(self) -> int:
        return len(self._mine())

    def _mine(self) -> OrderedDict[Hashable, Any]:
        local = self._local
        opened = getattr(local, "opened", None)
        if opened is None or local.process != os.getpid():
            # What a fork inherited is kept but never used: closing it could wait for a lock of GDAL that a
            # thread of the parent held and that nobody here will release.
            local.inherited = (getattr(local, "inherited", None), opened)
            local.process = os.getpid()
            opened = local.opened = OrderedDict()
        return opened
