"""One writer at a time: a lock file, and beside it who holds it."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from ..errors import ConfigError

LOCK_FILE, HOLDER_FILE = "writer.lock", "writer.json"


class WriterLock:
    """The right to write to a folder; the system takes it back from a process that dies.

    Args:
        folder: that is written to.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self._held = folder, 0

    @contextlib.contextmanager
    def held(self, wait_s: float = 0.0) -> Iterator[bool]:
        """Keep other writers out; yields whether this is the outermost of nested uses.

        Raises:
            ConfigError: another process, or another object of this one, is writing.
        """
        if self._held:
            self._held += 1
            try:
                yield False
            finally:
                self._held -= 1
            return
        lock = FileLock(self.folder / LOCK_FILE, timeout=wait_s, thread_local=False)
        try:
            lock.acquire()
        except Timeout:
            raise ConfigError(self._busy()) from None
        except OSError as error:
            raise ConfigError(f"{self.folder}: cannot be written ({error.strerror}).") from error
        try:
            self._held = 1
            (self.folder / HOLDER_FILE).write_text(json.dumps({"pid": os.getpid()}), encoding="utf-8")
            yield True
        finally:
            self._held = 0
            lock.release()

    def _busy(self) -> str:
        who = "another process"
        with contextlib.suppress(OSError, ValueError, KeyError):
            who = f"process {int(json.loads((self.folder / HOLDER_FILE).read_text())['pid'])}"
        if who == f"process {os.getpid()}":
            who = "another part of this process"
        return f"{self.folder}: {who} is writing to it. Try again when it is done, or wait with wait_s."
