"""Versions of an index on disk: files that never change, and one small file per version that names them.

::

    index.json                      what never changes
    versions/0000000012.json        a version: its segments and graphs, with size and hash of every file
    segments/s0000000012-1f2e3d4c/  rows written together; deleted-<version>.bits says which are gone
    graphs/g0000000013-5a6b7c8d/    a graph over one view of one segment
    building/                       of the next version, while ``optimize`` makes it beside other writers
    writer.lock, writer.json        who writes; optimizer.lock, optimizer.json: who optimizes

A write puts new files beside the old ones and renames one file into ``versions`` last; killed before that,
it never happened. The next writer sweeps what it left, and the next ``optimize`` what one left that was
killed. Readers take no lock and remove nothing.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pydantic import ValidationError

from ..errors import ConfigError
from ..files import read_json, sha256_of, write_json_atomic
from .lock import WriterLock
from .manifest import Manifest
from .segment import check_hash, check_size

_VERSION = re.compile(r"(\d{10})\.json")
_PARTS, _BUILDING = ("segments", "graphs"), "building"
OWN_NAMES = {
    *_PARTS,
    _BUILDING,
    "versions",
    *(f"{name}.{kind}" for name in ("writer", "optimizer") for kind in ("lock", "json")),
}
"""What an index has in its folder beside its description."""


class SegmentStore:
    """The files of one index.

    Args:
        folder: of the index.
        keep: how many versions, the last one included, keep their files.
    """

    def __init__(self, folder: str | Path, *, keep: int = 3) -> None:
        self.folder, self.keep = Path(folder), keep
        self._lock = WriterLock(self.folder)
        self._optimizer = WriterLock(self.folder, name="optimizer", doing="optimizing it")

    def path(self, part: str, name: str) -> Path:
        """Return the folder of a segment or graph."""
        return self.folder / part / name

    def versions(self) -> list[int]:
        """Return the versions that can be opened, oldest first."""
        with contextlib.suppress(FileNotFoundError):
            names = os.listdir(self.folder / "versions")
            return sorted(int(match[1]) for name in names if (match := _VERSION.fullmatch(name)))
        return []

    def read(self, version: int | None = None) -> Manifest:
        """Return a version; None takes the last one.

        Raises:
            ConfigError: there is none such, or its file is damaged.
        """
        for _ in range(100):
            known = self.versions()
            if not known:
                raise ConfigError(f"{self.folder}: the index has no version; it was damaged. Build it anew.")
            wanted = known[-1] if version is None else version
            path = self.folder / "versions" / f"{wanted:010d}.json"
            if version is not None and wanted not in known:
                raise ConfigError(
                    f"{self.folder}: version {wanted} is not kept; versions: {', '.join(map(str, known))}."
                )
            try:
                return Manifest.from_json(read_json(path))
            except (ValidationError, ValueError) as error:
                # A writer may have removed an old version since the names were listed.
                if path.is_file():
                    reason = str(error).removeprefix(f"{path}: ").rstrip(".")
                    raise ConfigError(
                        f"versions/{path.name}: damaged: {reason}. Restore the index from a copy, open an "
                        "earlier version, or remove this file to go back to the one before; versions: "
                        f"{', '.join(map(str, known))}."
                    ) from None
        raise ConfigError(f"{self.folder}: versions come and go too fast to read one. Try again.")

    @contextlib.contextmanager
    def writing(self, wait_s: float = 0.0) -> Iterator[None]:
        """Hold the right to write, and sweep what a killed writer left.

        Raises:
            ConfigError: another process, or another object of this one, is writing.
        """
        with self._lock.held(wait_s) as outermost:
            if outermost:
                self._sweep()
            yield

    @contextlib.contextmanager
    def optimizing(self, wait_s: float = 0.0) -> Iterator[None]:
        """Hold the right to build, which keeps no writer out, and sweep what a killed builder left.

        Raises:
            ConfigError: another process, or another object of this one, is optimizing.
        """
        with self._optimizer.held(wait_s) as outermost:
            if outermost:
                _remove(self.folder / _BUILDING)
            try:
                yield
            finally:
                if outermost:
                    _remove(self.folder / _BUILDING)

    def new(self, part: str, version: int) -> Path:
        """Return the folder, not made yet, of a new segment or graph of a version."""
        return self.folder / part / f"{part[0]}{version:010d}-{secrets.token_hex(4)}"

    def building(self, part: str, version: int) -> Path:
        """Return the same as :meth:`new` in a place that no writer sweeps."""
        return self.folder / _BUILDING / self.new(part, version).name

    def adopt(self, part: str, name: str) -> None:
        """Move what was built beside other writers to where versions have it; the caller commits it."""
        self.path(part, name).parent.mkdir(exist_ok=True)
        os.replace(self.folder / _BUILDING / name, self.path(part, name))

    def sync(self) -> None:
        """Make the folder of the index itself survive a loss of power."""
        _sync({self.folder, self.folder.parent})

    def commit(self, manifest: Manifest) -> None:
        """Make a version the last one; older ones than are kept go, with files that only they name.

        The caller holds :meth:`writing` and has written all files.
        """
        old = self.read().folders() if self.versions() else {}
        new: set[Path] = set()
        for name, files in manifest.folders().items():
            folder = self.folder / name
            written = [folder / file for file in files if file not in old.get(name, {})]
            new.update(written)
            if written:
                new.update([folder, folder.parent])
        _sync(new)
        versions = self.folder / "versions"
        write_json_atomic(versions / f"{manifest.version:010d}.json", manifest.to_json())
        _sync({versions})
        self._sweep()

    def _sweep(self) -> None:
        """Remove old versions, and files that no version names."""
        known = self.versions()
        for version in known[: -self.keep]:
            _remove(self.folder / "versions" / f"{version:010d}.json")
        wanted: dict[str, set[str]] = {}
        try:
            for version in known[-self.keep :]:
                for name, files in self.read(version).folders().items():
                    wanted.setdefault(name, set()).update(files)
        except ConfigError:
            # Nobody can say what a damaged version needs, so everything stays.
            return
        for path in _entries(self.folder / "versions"):
            if not _VERSION.fullmatch(path.name):
                _remove(path)
        for part in _PARTS:
            for path in _entries(self.folder / part):
                files = wanted.get(f"{part}/{path.name}")
                if files is None:
                    _remove(path)
                    continue
                for file in _entries(path):
                    if file.name not in files:
                        _remove(file)

    def check_sizes(self, manifest: Manifest) -> None:
        """Refuse a version of which a file of rows is absent or of another size.

        Graphs follow from the rows: without one an index searches exactly, and ``optimize`` builds it anew.

        Raises:
            FileNotFoundError: a file is absent.
            ConfigError: a file has another size.
        """
        for one in manifest.segments:
            for file, expected in one.files.items():
                check_size(self.path("segments", one.name), file, expected)

    def verify(self, manifest: Manifest, progress: Callable[[str, float], None] | None = None) -> None:
        """Read every file of a version and compare its hash.

        Raises:
            ConfigError: a file is absent, cut or changed; the message names it.
        """
        todo = [
            (self.folder / name, file, expected)
            for name, files in manifest.folders().items()
            for file, expected in files.items()
        ]
        total, done = sum(expected.bytes for _, _, expected in todo) or 1, 0
        for folder, file, expected in todo:
            try:
                check_size(folder, file, expected)
                check_hash(folder, file, expected, sha256_of(folder / file))
            except FileNotFoundError:
                raise absent(f"{folder.parent.name}/{folder.name}/{file}") from None
            done += expected.bytes
            if progress:
                progress("verify", done / total)

    def bytes_on_disk(self) -> int:
        """Return the size of all files, those of kept versions included."""
        total = 0
        for part in ("versions", *_PARTS):
            for path in (self.folder / part).rglob("*"):
                with contextlib.suppress(FileNotFoundError):
                    total += path.stat().st_size if path.is_file() else 0
        return total


def absent(name: str) -> ConfigError:
    """Return the error about a file that should be there."""
    return ConfigError(f"{name}: absent. Restore the index from a copy or build it anew.")


def _sync(paths: Collection[Path]) -> None:
    """Make files and the names in folders survive a loss of power, where the system can."""

    def sync(path: Path) -> None:
        try:
            descriptor = os.open(path, os.O_RDONLY)
        except PermissionError:  # Windows opens no folders
            return
        try:
            os.fsync(descriptor)
        except OSError:
            if not path.is_dir():  # some file systems refuse folders
                raise
        finally:
            os.close(descriptor)

    # Each waits for the disk; file systems answer many that wait at once together.
    with ThreadPoolExecutor(max_workers=8) as pool:
        list(pool.map(sync, paths))


def _entries(folder: Path) -> list[Path]:
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        return list(folder.iterdir())
    return []


def _remove(path: Path) -> None:
    # What a reader holds open on Windows stays until a later sweep.
    with contextlib.suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink()
