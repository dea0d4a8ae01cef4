"""One writer at a time: a lock file, and beside it who holds it."""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from ..errors import ConfigError

LOCK_FILE, HOLDER_FILE = "writer.lock", "writer.json"


class WriterLock:
    """The right to write to a folder; the system takes it back from a process that dies.

    Threads that share the object take turns; another object or process is refused.

    Args:
        folder: that is written to.
        name: of the files, ``<name>.lock`` and ``<name>.json``.
        doing: what the holder does, in the message to others.
    """

    def __init__(self, folder: Path, *, name: str = "writer", doing: str = "writing to it") -> None:
        self.folder, self._name, self._doing = folder, name, doing
        self._thread, self._held = threading.RLock(), 0

    @contextlib.contextmanager
    def held(self, wait_s: float = 0.0) -> Iterator[bool]:
        """Keep other writers out; yields whether this is the outermost of nested uses.

        Raises:
            ConfigError: another process, or another object of this one, is writing.
        """
        with self._thread:
            if self._held:
                yield False
                return
            lock = FileLock(self.folder / f"{self._name}.lock", timeout=wait_s, thread_local=False)
            try:
                lock.acquire()
            except Timeout:
                raise ConfigError(self._busy()) from None
            except OSError as error:
                raise ConfigError(f"{self.folder}: cannot be written ({error.strerror}).") from error
            try:
                self._held = 1
                self._holder.write_text(json.dumps({"pid": os.getpid()}), encoding="utf-8")
                yield True
            finally:
                self._held = 0
                lock.release()

    @property
    def _holder(self) -> Path:
        return self.folder / f"{self._name}.json"

    def _busy(self) -> str:
        who = "another process"
        with contextlib.suppress(OSError, ValueError, KeyError):
            who = f"process {int(json.loads(self._holder.read_text())['pid'])}"
        if who == f"process {os.getpid()}":
            who = "another part of this process"
        return f"{self.folder}: {who} is {self._doing}. Try again when it is done, or wait with wait_s."
