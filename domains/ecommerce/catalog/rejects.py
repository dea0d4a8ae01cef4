"""The list of rows that a run could not use."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from types import TracebackType
from typing import Any

from ....core.files import write_text_atomic
from ..products.record import Reject
from .config import REJECTS_FILE

_SORTED = 200_000
"""Lines up to which a list is put in the order of the source."""


class RejectLog:
    """Rejects of one run, written as they come and put in place of the last run's when the run ends.

    Several threads may add to it.

    Args:
        folder: of the catalogue.
        keep_ids: remember the ids of rejected rows.
    """

    def __init__(self, folder: Path, *, keep_ids: bool = False) -> None:
        self.path = folder / REJECTS_FILE
        self.ids: set[str] = set()
        self.nameless = 0
        self._lock = threading.Lock()
        self._count, self._notes, self._keep_ids = 0, 0, keep_ids
        # Left by a run that was killed, this file is written anew by the next one.
        self._partial = folder / f".{REJECTS_FILE}.partial"
        self._file = self._partial.open("w", encoding="utf-8", errors="backslashreplace")

    def __len__(self) -> int:
        return self._count

    def add(self, reject: Reject) -> None:
        """Note one row."""
        with self._lock:
            self._count += 1
            if reject.id is None:
                self.nameless += 1
            elif self._keep_ids:
                self.ids.add(reject.id)
            self._write(reject.to_dict())

    def note(self, reject: Reject) -> None:
        """Note trouble with a row that was taken in all the same."""
        with self._lock:
            self._notes += 1
            self._write({**reject.to_dict(), "taken_in": True})

    def _write(self, line: dict[str, Any]) -> None:
        self._file.write(json.dumps(line, ensure_ascii=False) + "\n")

    @property
    def written(self) -> Path | None:
        """The list, or None where it has no lines."""
        return self.path if self._count or self._notes else None

    def __enter__(self) -> RejectLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        if self._count + self._notes <= _SORTED:
            # Threads wrote side by side; people read along the source.
            lines = self._partial.read_text(encoding="utf-8").splitlines(keepends=True)
            lines.sort(key=lambda line: json.loads(line)["row"])
            write_text_atomic(self._partial, "".join(lines))
        if self.written is not None:
            os.replace(self._partial, self.path)
        else:
            self._partial.unlink(missing_ok=True)
            self.path.unlink(missing_ok=True)
