"""What lies in a folder before it is published: which files count, what the others are, and their content.

Only names of :data:`PUBLISHED` ever leave the computer. Everything is judged by what the file system says
of the entry itself (no link is followed) and by its first bytes, never by its ending alone.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from ..core.errors import ConfigError
from ..core.files import (
    CARD_FILE,
    CONFIG_FILE,
    LICENCE_FILE,
    METRICS_FILE,
    PROCESSOR_FILE,
    PROMPTS_FILE,
    RECIPE_FILE,
    THRESHOLD_FILE,
    TOKENIZER_FILE,
    WEIGHTS_FILE,
)
from ..core.limits import DEFAULT
from .conversions import CONVERSION_FILE
from .stored_probe import PROBE_FILE, PROBE_TENSORS

PUBLISHED = (
    CONFIG_FILE,
    PROCESSOR_FILE,
    WEIGHTS_FILE,
    TOKENIZER_FILE,
    PROMPTS_FILE,
    RECIPE_FILE,
    METRICS_FILE,
    CONVERSION_FILE,
    THRESHOLD_FILE,
    LICENCE_FILE,
    PROBE_FILE,
    PROBE_TENSORS,
    CARD_FILE,
)
"""Every name that a published model may hold."""

TENSOR_FILES = (WEIGHTS_FILE, PROBE_TENSORS)
_KEPT_BYTES = 8 * 1024**2
_MOST_ENTRIES = 5000

# First bytes of files that can run code when they are read, and of what people keep data in.
_MAGIC: tuple[tuple[str, int, tuple[bytes, ...]], ...] = (
    ("pickle", 0, (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")),
    ("archive", 0, (b"PK\x03\x04", b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"7z\xbc\xaf", b"\x28\xb5\x2f\xfd")),
    ("archive", 257, (b"ustar",)),
    ("data", 0, (b"\x89HDF\r\n", b"PAR1", b"\x93NUMPY", b"SQLite format 3", b"%PDF", b"ARROW1")),
    ("image", 0, (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"II*\x00", b"MM\x00*", b"BM")),
    ("image", 0, (b"\x00\x00\x00\x0cjP  ",)),
    ("image", 8, (b"WEBP",)),
    ("audio", 0, (b"fLaC", b"OggS", b"ID3", b"\xff\xfb")),
    ("audio", 8, (b"WAVE",)),
    ("video", 0, (b"\x1aE\xdf\xa3",)),
    ("video", 4, (b"ftyp",)),
    ("medical", 128, (b"DICM",)),
    ("medical", 344, (b"n+1\x00",)),
)
_ENDINGS = {
    ending: kind
    for kind, endings in {
        "pickle": "pkl pickle pt pth bin ckpt joblib dill msgpack h5 hdf5 keras tar",
        "program": "py pyc so dll dylib exe sh bat ps1 js ipynb",
        "archive": "zip gz tgz bz2 xz 7z zst whl",
        "data": "csv tsv parquet arrow jsonl ndjson npy npz db sqlite xlsx lmdb feather pdf",
        "image": "png jpg jpeg gif bmp tif tiff webp jp2 heic avif",
        "audio": "wav flac ogg mp3 m4a opus aac",
        "video": "mp4 avi mov mkv webm",
        "medical": "dcm dicom nii mha mhd nrrd",
    }.items()
    for ending in endings.split()
}
SAMPLES = frozenset({"data", "image", "audio", "video", "medical"})
"""Kinds that may hold somebody's data."""


@dataclass(frozen=True)
class Entry:
    """One entry of a folder.

    Attributes:
        name: path inside the folder, with ``/``.
        kind: ``file``, ``folder``, ``link``, ``special`` (a pipe, a device), or ``many``: the listing ends.
        content: for files what they look like: ``pickle``, ``archive``, ``program``, one of
            :data:`SAMPLES`, or "".
        bytes: size of a file.
    """

    name: str
    kind: str
    content: str = ""
    bytes: int = 0


@dataclass(frozen=True)
class StoredFile:
    """One file as it was when it was looked at.

    Attributes:
        sha256, bytes: of its content.
        git_sha1: name that git gives the content.
        content: the bytes of texts, and of other files up to 8 MiB; larger ones are read again later.
        stamp: what the file system said of it; a later write changes it.
    """

    name: str
    sha256: str
    git_sha1: str
    bytes: int
    content: bytes | None = field(repr=False)
    stamp: tuple[int, ...] = field(repr=False)


@dataclass(frozen=True)
class Snapshot:
    """The files of a folder that count, read once: what is checked is what is published."""

    folder: Path
    files: Mapping[str, StoredFile]

    def changed(self) -> list[str]:
        """Return the names that were changed, added or taken away since, in order."""
        now = {name: _stamp(self.folder / name) for name in PUBLISHED if _is_file(self.folder / name)}
        before = {name: file.stamp for name, file in self.files.items()}
        return sorted(name for name in {*now, *before} if now.get(name) != before.get(name))


def take_snapshot(folder: str | Path) -> Snapshot:
    """Return the files of ``folder`` that count, with their hashes; links are left out.

    Raises:
        ConfigError: no such folder, or a file cannot be read or changes while it is read.
    """
    folder = Path(folder)
    if not folder.is_dir():
        kind = "is a file" if folder.exists() else "does not exist"
        raise ConfigError(f"{folder}: {kind}; give the folder of a model.")
    try:
        files = {name: _read(folder / name) for name in PUBLISHED if _is_file(folder / name)}
    except OSError as error:
        raise ConfigError(f"{folder}: a file cannot be read ({error.strerror}).") from error
    return Snapshot(folder, MappingProxyType(files))


def entries(folder: Path) -> Iterator[Entry]:
    """Yield what lies in a folder and below, in name order; links are not followed."""
    yield from _walk(folder, "", [0])


def _walk(folder: Path, prefix: str, count: list[int]) -> Iterator[Entry]:
    for item in sorted(os.scandir(folder), key=lambda item: item.name):
        count[0] += 1
        name = f"{prefix}{item.name}"
        if count[0] > _MOST_ENTRIES:
            if count[0] == _MOST_ENTRIES + 1:
                yield Entry(name, "many")
            return
        if item.is_symlink():
            yield Entry(name, "link")
        elif item.is_dir(follow_symlinks=False):
            yield Entry(name, "folder")
            yield from _walk(Path(item.path), f"{name}/", count)
        elif item.is_file(follow_symlinks=False):
            yield Entry(name, "file", kind_of(Path(item.path)), item.stat(follow_symlinks=False).st_size)
        else:
            yield Entry(name, "special")


def kind_of(path: Path) -> str:
    """Return what a file looks like, by its first bytes and then by its ending; "" for anything else."""
    try:
        with path.open("rb") as handle:
            head = handle.read(512)
    except OSError:
        head = b""
    if not _is_text(head) and not _is_tensors(head):
        for kind, start, magics in _MAGIC:
            if head[start:].startswith(magics):
                return kind
    return _ENDINGS.get(path.name.lower().rpartition(".")[2], "")


def _is_tensors(head: bytes) -> bool:
    """Return whether a file begins as safetensors do, with a length that may be any of the magic numbers."""
    return head[5:9] == b"\x00\x00\x00{"


def _is_text(head: bytes) -> bool:
    """Return whether the first bytes are printable text, as those of a card that begins with ``BM`` are."""
    return all(byte >= 32 or byte in b"\t\n\r\f" for byte in head) and b"\x7f" not in head and head.isascii()


def _is_file(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


def _stamp(path: Path) -> tuple[int, ...]:
    """Return what changes with every write, and with every other file that takes the name."""
    found = path.lstat()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _read(path: Path) -> StoredFile:
    before = _stamp(path)
    most = max(_KEPT_BYTES, DEFAULT.tokenizer_bytes if path.name == TOKENIZER_FILE else 0)
    digest, kept, total = hashlib.sha256(), [], 0
    git = hashlib.sha1(b"blob %d\0" % before[2], usedforsecurity=False)
    # A link that takes the name between the listing and here is not followed.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0))
    with os.fdopen(descriptor, "rb") as handle:
        while block := handle.read(1024**2):
            digest.update(block)
            git.update(block)
            total += len(block)
            if total <= most:
                kept.append(block)
    if _stamp(path) != before:
        raise ConfigError(f"{path.name} is being written at this moment. Wait until it is done.")
    content = b"".join(kept) if total <= most else None
    return StoredFile(path.name, digest.hexdigest(), git.hexdigest(), total, content, before)
