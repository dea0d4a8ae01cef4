"""Every file of a model with its hash, what the hash should be, and who says so."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from ..core import registry
from ..core.config import Config
from ..core.errors import VerticlipError
from ..core.files import OPTIONAL_FILES, REQUIRED_FILES, read_json
from ..core.names import is_commit
from ..core.registry import ModelSpec, PublishedWeights, WeightsRef
from .advice import Wanted
from .conversions import CONVERSION_FILE
from .download import fetch_if_there
from .integrity import cached_name, digests_of, is_hash
from .loading import ResolvedModel
from .revisions import metadata_of
from .stored_probe import PROBE_FILE, PROBE_TENSORS

Witness = Literal["registry", "hub", "cache", "first use", "conversion", "probe"]
"""Who stated a hash, the strongest first: this package; the Hub, asked just now about the commit; the name
that its cache on this machine keeps a file by; the record of the first download; the record of the conversion
on this machine; the stored probe beside the files."""

_PROBE = (PROBE_FILE, PROBE_TENSORS)
_ABSENT = "none"
FILES = frozenset((*REQUIRED_FILES, *OPTIONAL_FILES, *_PROBE))
"""What a certificate may name in a model folder."""


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


class _Hub:
    """The Hub as a witness; once it cannot be asked, the names of its cache speak for it."""

    def __init__(self) -> None:
        from huggingface_hub import constants

        self._reachable = not constants.HF_HUB_OFFLINE

    def witness(self, row: FileCheck, path: Path, wanted: Wanted, *, verified: str = "") -> FileCheck:
        """Return the row with what the Hub says that this content is, else what its cache says.

        Args:
            path: of the file. verified: the SHA-256 it had when it was resolved, for a cache without names.
        """
        by, name = "hub", self._asked(wanted)
        if name is None:
            by, name = "cache", cached_name(path)
        if name == _ABSENT:
            return row.witnessed(by, _ABSENT, agrees=False)
        if name is None or not is_hash(name):
            return row.witnessed("cache", verified or None)
        if len(name) == 64:
            return row.witnessed(by, name)
        return row.witnessed(by, f"git:{name}", agrees=digests_of(path, name).agree_with(name))

    def _asked(self, wanted: Wanted) -> str | None:
        from huggingface_hub.errors import RemoteEntryNotFoundError

        if not self._reachable:
            return None
        try:
            return metadata_of(wanted, patient=False).etag
        except RemoteEntryNotFoundError:
            return _ABSENT
        except VerticlipError:
            self._reachable = False
            return None


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
    """Return every file that loading reads, the stored probe, and what a conversion read.

    Each is compared with what is stated; a Hub that can be asked is asked about every file.
    """
    spec, folder, hub = resolved.spec, resolved.folder, _Hub()
    registered = spec.weights.files if spec and isinstance(spec.weights, WeightsRef) else {}
    conversion = _conversion(folder)
    written = conversion.get("written", {})
    names = dict.fromkeys([*REQUIRED_FILES, *OPTIONAL_FILES, *registered, *_PROBE])
    repo_id = _repository(resolved)
    rows = []
    for name in names:
        path = folder / name
        if not path.is_file():
            continue
        row = FileCheck.of(path).witnessed("registry", registered.get(name))
        if repo_id is not None and name not in written:
            wanted = Wanted(repo_id, name, str(resolved.commit))
            row = hub.witness(row, path, wanted, verified=resolved.files.get(name, ""))
        rows.append(row.witnessed("conversion", written.get(name)))
    # A folder in another library's format was converted from what lies in it.
    own = Path(resolved.id) if spec is None and resolved.commit is None else None
    return (*rows, *_sources(spec, conversion, own, hub))


def _repository(resolved: ResolvedModel) -> str | None:
    """Return the repository of the Hub in whose own folder the files of a model lie, or None."""
    spec, commit = resolved.spec, resolved.commit
    if not commit or "+" in commit or (resolved.folder / CONVERSION_FILE).is_file():
        return None
    return spec.weights.repo_id if spec and isinstance(spec.weights, WeightsRef) else resolved.id


def fetch_probe(resolved: ResolvedModel) -> str:
    """Fetch the stored probe of a Hub repository in our own format, where it has one.

    Returns:
        Why it could not be asked for; empty where it is here now, or where there is none.
    """
    repo_id = _repository(resolved)
    try:
        for name in _PROBE:
            if repo_id is None or fetch_if_there(repo_id, name, str(resolved.commit)) is None:
                break
    except VerticlipError as error:
        return " ".join(str(error).split())
    return ""


def _conversion(folder: Path) -> dict[str, Any]:
    path = folder / CONVERSION_FILE
    found = read_json(path) if path.is_file() else {}
    return found if isinstance(found, dict) else {}


def _sources(
    spec: ModelSpec | None, conversion: dict[str, Any], own: Path | None, hub: _Hub
) -> Iterator[FileCheck]:
    """Yield the files a conversion read: hashed where they are still here.

    Args:
        own: folder of the user's that was converted. hub: to ask.
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
            if from_hub:
                row = hub.witness(row, where, Wanted(repo_id, name, one["commit"]))
            yield row.witnessed(recorded, sha256)
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

    if not repo_id or not isinstance(commit, str) or not is_commit(commit):
        return None
    try:
        found = try_to_load_from_cache(repo_id, name, revision=commit)
    except ValueError:  # a page that a person downloaded it from is no repository
        return None
    return Path(found) if isinstance(found, str) else None
