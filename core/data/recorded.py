"""What a run was trained on, as a record that others can compare their copy with."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

from ..files import sha256_of
from .manifest import Manifest

MAX_HASHED_BYTES = 20_000_000_000
"""Sources larger than this are recorded by names and sizes: reading them once more takes minutes."""


def source_files(manifest: Manifest, names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Return {source: {files, bytes, sha256, by}} of the files that the rows of each source lie in.

    ``sha256`` is that of the lines ``<path below the data folder> <SHA-256 of the file>``, sorted by path, or
    with sizes for hashes where ``by`` is ``names and sizes``; it is None for rows that have no files.

    Example:
        >>> source_files(manifest, ["shapes"])["shapes"]["files"]  # doctest: +SKIP
        240
    """
    return {name: _of_source(manifest, name) for name in names}


def _of_source(manifest: Manifest, name: str) -> dict[str, Any]:
    paths = sorted({record.path for record in manifest if record.source == name and record.path})
    files = [(path, manifest.root / path) for path in paths]
    files = [(path, file) for path, file in files if file.is_file()]
    sizes = {path: file.stat().st_size for path, file in files}
    by_content = sum(sizes.values()) <= MAX_HASHED_BYTES
    lines = [f"{path} {sha256_of(file) if by_content else sizes[path]}" for path, file in files]
    digest = hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()
    return {
        "files": len(files),
        "bytes": sum(sizes.values()),
        "sha256": digest if files else None,
        "by": "content" if by_content else "names and sizes",
    }
