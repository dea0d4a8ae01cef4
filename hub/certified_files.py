"""Every file of a model with its hash, what the hash should be, and who says so."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from ..core import registry
from ..core.config import Config
from ..core.errors import VerticlipError
from ..core.files import read_json
from ..core.registry import ModelSpec, PublishedWeights, WeightsRef
from .conversions import CONVERSION_FILE
from .download import fetch
from .integrity import cached_name, digests_of, is_hash
from .loading import OPTIONAL_FILES, REQUIRED_FILES, ResolvedModel
from .stored_probe import PROBE_FILE, PROBE_TENSORS

Witness = Literal["registry", "hub", "first use", "conversion", "probe"]
"""Who stated a hash, the strongest first: this package; the Hub, for the commit; the record of the first
download; the record of the conversion on this machine; the stored probe beside the files."""


class FileCheck(Config):
    """One file.

    Attributes:
        name: in the model folder; of a file that a conversion read ``org/name: file``.
        bytes, sha256: of the content now; None for a file that is not here.
        expected: SHA-256 or, for small files of the Hub, ``git:`` and the SHA-1 of its blob; None where
            nobody stated one.
        expected_by: who stated it; of several the strongest.
        ok: whether all agree; None where there is nothing to compare.
        agree, disagree: all who stated a hash of it.
    """

    name: str
    bytes: int | None
    sha256: str | None
    expected: str | None = None
    expected_by: Witness | None = None
    ok: bool | None = None
    agree: tuple[Witness, ...] = ()
    disagree: tuple[Witness, ...] = ()

    @classmethod
    def of(cls, path: Path, name: str = "") -> FileCheck:
        """Return the row of a file with nothing compared yet."""
        digests = digests_of(path)
        return cls(name=name or path.name, bytes=digests.bytes, sha256=digests.sha256)

    def witnessed(self, by: Witness, expected: str | None, *, agrees: bool | None = None) -> FileCheck:
        """Return the row with what one more witness states; None states nothing.

        Args:
            agrees: for a hash of another kind than SHA-256; None compares.
        """
        if expected is None:
            return self
        same = expected == self.sha256 if agrees is None else agrees
        changes: dict[str, Any] = {"ok": same and self.ok is not False}
        changes |= {"agree": (*self.agree, by)} if same else {"disagree": (*self.disagree, by)}
        if self.expected_by is None:
            changes |= {"expected": expected, "expected_by": by}
        return self.model_copy(update=changes)


def named_here(row: FileCheck) -> bool:
    """Return whether a row is of a file in the model folder, and not of one that a conversion read."""
    return ": " not in row.name and row.sha256 is not None


def packaged_files(spec: ModelSpec) -> tuple[FileCheck, ...]:
    """Return the files of weights in this package, compared with the registry; empty for others."""
    if not isinstance(spec.weights, WeightsRef) or spec.weights.packaged is None:
        return ()
    folder = registry.room(spec.domain).folder / spec.weights.packaged
    rows = []
    for name, sha256 in spec.weights.files.items():
        if (folder / name).is_file():
            rows.append(FileCheck.of(folder / name).witnessed("registry", sha256))
        else:
            rows.append(
                FileCheck(
                    name=name, bytes=None, sha256=None, expected=sha256, expected_by="registry", ok=False
                )
            )
    return tuple(rows)


def resolved_files(resolved: ResolvedModel) -> tuple[FileCheck, ...]:
    """Return every file that loading reads, and what a conversion read, each compared with what is stated."""
    spec, folder = resolved.spec, resolved.folder
    registered = spec.weights.files if spec and isinstance(spec.weights, WeightsRef) else {}
    conversion = _conversion(folder)
    written = conversion.get("written", {})
    names = dict.fromkeys([*REQUIRED_FILES, *OPTIONAL_FILES, *registered])
    rows = []
    for name in names:
        path = folder / name
        if not path.is_file():
            continue
        row = FileCheck.of(path).witnessed("registry", registered.get(name))
        row = _as_cached(row, path)
        if resolved.commit and not row.agree and not row.disagree and name not in written:
            # A cache without names: resolving asked the Hub, or the record of the first download, just now.
            row = row.witnessed("hub", resolved.files.get(name) or None)
        rows.append(row.witnessed("conversion", written.get(name)))
    # A folder in another library's format was converted from what lies in it.
    own = Path(resolved.id) if spec is None and resolved.commit is None else None
    return (*rows, *_sources(spec, conversion, own))


def fetch_probe(resolved: ResolvedModel) -> str:
    """Fetch the stored probe of a Hub repository in our own format, where it has one.

    Returns:
        Why it could not be asked for; empty where it is here now, or where there is none.
    """
    if not resolved.commit or "+" in resolved.commit or (resolved.folder / CONVERSION_FILE).is_file():
        return ""
    spec = resolved.spec
    repo_id = spec.weights.repo_id if spec and isinstance(spec.weights, WeightsRef) else resolved.id
    try:
        for name in (PROBE_FILE, PROBE_TENSORS):
            if repo_id is None or not _fetch_if_there(repo_id, name, resolved.commit):
                break
    except VerticlipError as error:
        return " ".join(str(error).split())
    return ""


def _fetch_if_there(repo_id: str, name: str, commit: str) -> bool:
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import RemoteEntryNotFoundError

    known = try_to_load_from_cache(repo_id, name, revision=commit)
    if known is not None and not isinstance(known, str):
        return False  # the cache notes that this commit lacks it
    try:
        fetch(repo_id, name, commit, optional=True)
    except RemoteEntryNotFoundError:
        return False
    return True


def _as_cached(row: FileCheck, path: Path) -> FileCheck:
    """Return the row with what the Hub called this content for the commit, as far as its cache knows."""
    name = cached_name(path)
    if name is None or not is_hash(name):
        return row
    if len(name) == 64:
        return row.witnessed("hub", name)
    return row.witnessed("hub", f"git:{name}", agrees=digests_of(path, name).agree_with(name))


def _conversion(folder: Path) -> dict[str, Any]:
    path = folder / CONVERSION_FILE
    found = read_json(path) if path.is_file() else {}
    return found if isinstance(found, dict) else {}


def _sources(spec: ModelSpec | None, conversion: dict[str, Any], own: Path | None) -> Iterator[FileCheck]:
    """Yield the files a conversion read: hashed where they are still here.

    Args:
        own: folder of the user's that was converted.
    """
    stated = spec.weights.files if spec and isinstance(spec.weights, PublishedWeights) else ()
    registered = {(one.repo_id, one.name): one.sha256 for one in stated}
    for one in conversion.get("files", ()):
        repo_id, name = str(one.get("repo_id", "")), str(one.get("name", ""))
        sha256 = str(one.get("sha256", "")) or None
        from_hub = isinstance(one.get("commit"), str)
        recorded: Witness = "first use" if from_hub else "conversion"
        where = _cached(repo_id, name, one.get("commit")) if from_hub else None
        if own is not None and (own / name).is_file():
            where = own / name
        label = f"{repo_id or 'by hand'}: {name if from_hub else Path(name).name}"
        if where is not None:
            row = FileCheck.of(where, label).witnessed("registry", registered.get((repo_id, name)))
            yield _as_cached(row, where).witnessed(recorded, sha256)
            continue
        # What the conversion read was compared then; there is nothing left to compare now.
        by: Witness = "registry" if one.get("registered") else recorded
        yield FileCheck(
            name=label,
            bytes=one.get("bytes"),
            sha256=None,
            expected=sha256,
            expected_by=by if sha256 else None,
        )


def _cached(repo_id: str, name: str, commit: Any) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    if not repo_id or not isinstance(commit, str) or not re.fullmatch(r"[0-9a-f]{40}", commit):
        return None
    try:
        found = try_to_load_from_cache(repo_id, name, revision=commit)
    except ValueError:  # a page that a person downloaded it from is no repository
        return None
    return Path(found) if isinstance(found, str) else None
