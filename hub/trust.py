"""Trust on first use: which commit and content a file had when it was first fetched.

Most authors publish no hash of their weights. The first download of such a file is recorded; from
then on that commit is asked for, and a file with other content is refused.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from ..core.errors import ConfigError, WeightsError
from ..core.files import read_json, write_json_atomic

_log = logging.getLogger(__name__)

FIRST_USE_FILE = "first-use.json"
_SILENCE = 5.0
"""Seconds to wait for a lock before saying so."""


def cache_folder() -> Path:
    """Return where verticlip keeps what it made: ``VERTICLIP_CACHE``, else below ``XDG_CACHE_HOME``."""
    own = os.environ.get("VERTICLIP_CACHE")
    if own:
        return Path(own).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "verticlip"


@contextlib.contextmanager
def locked(name: str) -> Iterator[None]:
    """Hold a lock of the cache folder against other threads and processes.

    Whoever has it is waited for, however long a conversion takes; from ``_SILENCE`` on that is told.

    Raises:
        WeightsError: the cache folder cannot be written to.
    """
    from filelock import FileLock, Timeout

    folder = cache_folder() / "locks"
    lock = FileLock(folder / f"{name.replace('/', '--')}.lock")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=_SILENCE)
        except Timeout:
            _log.warning(
                "%s: waiting for another process or thread of verticlip that works on it; if none does, end "
                "the one that hangs",
                name,
            )
            lock.acquire()
    except OSError as error:
        raise WeightsError(
            f"{name}: nothing can be kept in the cache of verticlip: {os.strerror(error.errno or 0)}. Let "
            "the folder be written to, or choose another one by VERTICLIP_CACHE."
        ) from error
    try:
        yield
    finally:
        lock.release()


@dataclass(frozen=True)
class FirstUse:
    """What was fetched when ``name`` of ``repo_id`` at ``revision`` was asked for the first time."""

    repo_id: str
    name: str
    revision: str
    commit: str
    sha256: str
    bytes: int
    date: str

    @property
    def key(self) -> tuple[str, str, str]:
        """What was asked for: repository, file, revision."""
        return self.repo_id, self.name, self.revision


def recorded(repo_id: str, name: str, revision: str) -> FirstUse | None:
    """Return the record of one file, or None before its first use.

    Raises:
        ConfigError: the record file is damaged.
    """
    return _read().get((repo_id, name, revision))


def all_recorded() -> list[FirstUse]:
    """Return the whole record, sorted by repository, file and revision."""
    known = _read()
    return [known[key] for key in sorted(known)]


def record(files: Iterable[FirstUse]) -> None:
    """Add files to the record; what stands there already stays."""
    with locked(FIRST_USE_FILE):
        known = _read()
        for file in files:
            known.setdefault(file.key, file)
        _write(known)


def forget(files: Iterable[tuple[str, str]]) -> list[FirstUse]:
    """Take (repository, file) off the record, at every revision, and return what was known of them."""
    wanted = set(files)
    with locked(FIRST_USE_FILE):
        known = _read()
        gone = [known.pop(key) for key in sorted(known) if key[:2] in wanted]
        _write(known)
    return gone


def _path() -> Path:
    return cache_folder() / FIRST_USE_FILE


def _read() -> dict[tuple[str, str, str], FirstUse]:
    path = _path()
    if not path.is_file():
        return {}
    raw = read_json(path)
    names = {field.name for field in fields(FirstUse)}
    try:
        rows = [FirstUse(**{name: row[name] for name in names}) for row in raw["files"]]
    except (KeyError, TypeError):
        raise ConfigError(
            f"{path}: not a record of first downloads. Repair it, or delete it to record anew."
        ) from None
    return {row.key: row for row in rows}


def _write(known: dict[tuple[str, str, str], FirstUse]) -> None:
    rows = [asdict(known[key]) for key in sorted(known)]
    write_json_atomic(_path(), {"version": 1, "files": rows})
