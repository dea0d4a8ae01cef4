"""The list of rows that a run could not use."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import TracebackType

from ..products.record import Reject
from .config import REJECTS_FILE


class RejectLog:
    """Rejects of one run, written as they come and put in place of the last run's when the run ends.

    Args:
        folder: of the catalogue.
        keep_ids: remember the ids of rejected rows.
    """

    def __init__(self, folder: Path, *, keep_ids: bool = False) -> None:
        self.path = folder / REJECTS_FILE
        self.ids: set[str] = set()
        self.nameless = 0
        self._count, self._keep_ids = 0, keep_ids
        # Left by a run that was killed, this file is written anew by the next one.
        self._partial = folder / f".{REJECTS_FILE}.partial"
        self._file = self._partial.open("w", encoding="utf-8", errors="backslashreplace")

    def __len__(self) -> int:
        return self._count

    def add(self, reject: Reject) -> None:
        """Note one row."""
        self._count += 1
        if reject.id is None:
            self.nameless += 1
        elif self._keep_ids:
            self.ids.add(reject.id)
        self._file.write(json.dumps(reject.to_dict(), ensure_ascii=False) + "\n")

    def __enter__(self) -> RejectLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        if self._count:
            os.replace(self._partial, self.path)
        else:
            self._partial.unlink(missing_ok=True)
            self.path.unlink(missing_ok=True)
