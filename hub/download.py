"""One file of one commit of a Hub repository: fetched by exact name, verified, and only then handed out.

Content is compared with a SHA-256 where one is known, else with the ETag that the Hub's cache keeps it
under. What does not agree is fetched again once, and then refused. What can go wrong on the way is said in
our own errors; see :mod:`.advice`.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import shutil
import time
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.errors import ConfigError, WeightsError
from ..core.files import PROBE_TENSORS, TOKENIZER_FILE
from ..core.limits import DEFAULT
from .advice import UnreachableError, Wanted, explain, is_explained, not_granted, not_here, token_is_set
from .integrity import Digests, cached_name, digests_of, is_hash
from .leftovers import sweep
from .revisions import PAUSES, check_repository, commit_of, may_pass, metadata_of, storage_of
from .trust import FirstUse, record, recorded
from .watch import SizeError, Watch, bar_of, watching

if TYPE_CHECKING:
    from huggingface_hub.errors import RemoteEntryNotFoundError

_log = logging.getLogger(__name__)

_NAME = re.compile(r"(?!/)(?!.*//)[^\x00-\x1f\\:?#*\x7f]{1,255}(?<!/)")
_TEXT = (".json", ".yaml", ".yml", ".md", ".txt", ".jinja", ".model")
_TOKENS = (TOKENIZER_FILE, "vocab.json", "vocab.txt", "merges.txt")
_LARGE = 1_000_000
"""Bytes from which fetching a file is told before it starts."""


class MismatchError(WeightsError):
    """A file is whole and not the one that was expected.

    Attributes:
        got: SHA-256 of the file. expected: the SHA-256 that was asked for.
    """

    def __init__(self, message: str, got: str, expected: str) -> None:
        super().__init__(message)
        self.got, self.expected = got, expected


class DamagedError(WeightsError):
    """A file is not what it was when somebody stated its hash, and cannot be had whole."""


@dataclass(frozen=True)
class Fetched:
    """A file that lies in the Hub's cache.

    Attributes:
        path: where.
        commit: 40 hex digits that it belongs to.
        sha256: of its content, read just now.
        bytes: its size.
        verified: whether it was compared with a hash; False where neither cache nor Hub could name one.
    """

    path: Path
    commit: str
    sha256: str
    bytes: int
    verified: bool


def fetch(
    repo_id: str,
    name: str,
    revision: str,
    *,
    sha256: str | None = None,
    optional: bool = False,
    gated: str = "",
    hint: str = "",
) -> Fetched:
    """Return one file of one revision, from the cache or the Hub, whose content was verified.

    A copy in the cache is used without asking anybody when ``revision`` is a full commit. A branch or tag
    is resolved to its commit first.

    Args:
        repo_id: ``org/name``.
        name: path inside the repository.
        revision: branch, tag or full commit.
        sha256: what the content has to be, 64 hex digits; else the cache's own name for it decides.
        optional: let ``RemoteEntryNotFoundError`` pass.
        gated: where to ask for access, for a repository known to be gated.
        hint: what else the user can do when the file cannot be fetched.

    Raises:
        ConfigError: no such repository, or access to it is not granted.
        UnknownRevisionError: no such revision.
        UnreachableError: it is not in the cache, and the Hub cannot be asked now.
        MismatchError: the Hub has another file than ``sha256`` says.
        DamagedError: the copy in the cache is damaged and cannot be fetched again, or all that comes is.
        WeightsError: the file is not in the repository, is larger than a file of its kind may be, or cannot
            be stored.
        RemoteEntryNotFoundError: the repository lacks the file and it is ``optional``.
    """
    if not _NAME.fullmatch(name) or {"..", "."} & set(name.split("/")):
        raise ConfigError(f"{repo_id}: {name!r} is not the name of a file inside a repository.")
    check_repository(repo_id)
    wanted = Wanted(repo_id, name, revision, gated, hint)
    if gated and not token_is_set() and _in_cache(wanted) is None:
        # Without a token the answer is known, and needs no network.
        raise not_granted(wanted)
    commit = commit_of(wanted)
    wanted = replace(wanted, revision=commit)
    path = _in_cache(wanted)
    found = _checked(wanted, path, sha256) if path is not None else None
    if isinstance(found, Fetched):
        return found
    from huggingface_hub.errors import RemoteEntryNotFoundError

    try:
        return _fetch(wanted, sha256, revision=revision, again=found is not None)
    except RemoteEntryNotFoundError as error:
        if optional:
            raise
        raise explain(error, wanted) from None


def fetch_if_there(repo_id: str, name: str, commit: str) -> Fetched | None:
    """Return a file that a commit need not have, as :func:`fetch`, or None where it lacks it."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import RemoteEntryNotFoundError

    known = try_to_load_from_cache(repo_id, name, revision=commit)
    if known is not None and not isinstance(known, str):
        # The cache notes that this commit lacks it.
        return None
    try:
        return fetch(repo_id, name, commit, optional=True)
    except RemoteEntryNotFoundError:
        return None


def _fetch(wanted: Wanted, sha256: str | None, *, revision: str, again: bool) -> Fetched:
    """Fetch a file that the cache lacks, or (``again``) has a damaged copy of."""
    from huggingface_hub import constants
    from huggingface_hub.errors import RemoteEntryNotFoundError

    if constants.HF_HUB_OFFLINE:
        if again:
            raise _damaged_here(wanted, "offline mode (HF_HUB_OFFLINE) forbids fetching it again")
        raise not_here(replace(wanted, revision=revision))
    if again:
        _log.warning("%s: the copy in the Hub's cache is damaged; fetching it again", wanted.said)
    try:
        metadata = metadata_of(wanted)
    except RemoteEntryNotFoundError as error:
        _note_absence(wanted, error)
        raise
    except UnreachableError as error:
        if not again:
            raise
        raise _damaged_here(wanted, f"it cannot be fetched again now: {error}") from None
    watch = Watch(wanted, _ceiling(wanted, metadata.size))
    sweep(storage_of(wanted))
    # Another commit may have the same content; it is only linked then.
    here = (storage_of(wanted) / "blobs" / (metadata.etag or "")).is_file() and not again
    if metadata.size is not None and not here:
        _refuse_without_space(wanted, metadata.size)
    if metadata.size is not None and metadata.size >= _LARGE and not here:
        _log.info("%s: fetching %s (%s)", wanted.repo_id, wanted.name, _size(metadata.size))
    found = _checked(wanted, _transfer(wanted, watch, again=again), sha256, etag=metadata.etag)
    if isinstance(found, _Wrong) and not again:
        _log.warning("%s came damaged; fetching it again", wanted.said)
        found = _checked(wanted, _transfer(wanted, watch, again=True), sha256, etag=metadata.etag)
    if isinstance(found, _Wrong):
        _discard(found.path)
        raise DamagedError(
            f"{wanted.said} came damaged from the Hub: it has {_kind(found.stated)} {found.got}, expected "
            f"{found.stated}. Nothing was loaded. Try again later or from another network; if it stays so, "
            "tell the owner of the repository."
        )
    return found


def _damaged_here(wanted: Wanted, why: str) -> DamagedError:
    return DamagedError(
        f"{wanted.said}: the copy in the Hub's cache is damaged, and {why.rstrip('.')}. Load it once while "
        f"the Hub can be reached, or {wanted.otherwise}."
    )


def _ceiling(wanted: Wanted, size: int | None) -> int | None:
    """Return how many bytes a file may have, before anything of it is fetched."""
    suffix = Path(wanted.name).suffix.lower()
    if wanted.name == PROBE_TENSORS:
        limit = DEFAULT.probe_bytes
    elif suffix not in _TEXT:
        return size
    else:
        config = suffix != ".model" and Path(wanted.name).name not in _TOKENS
        limit = DEFAULT.config_bytes if config else DEFAULT.tokenizer_bytes
    if size is not None and size > limit:
        raise WeightsError(
            f"{wanted.said} has {size:,} bytes; files of its kind may have {limit:,}. Not fetched."
        )
    return limit if size is None else size


def _refuse_without_space(wanted: Wanted, size: int) -> None:
    place = storage_of(wanted)
    while not place.exists() and place != place.parent:
        place = place.parent
    with contextlib.suppress(OSError):
        usage = shutil.disk_usage(place)
        if usage.total and usage.free < size:
            raise WeightsError(
                f"{wanted.said} takes {_size(size)} and the disk of the Hub's cache has {_size(usage.free)} "
                "left. Free space there, or choose another folder by HF_HOME."
            )


def _transfer(wanted: Wanted, watch: Watch, *, again: bool) -> Path:
    """Let the client fetch a file, and again after trouble where that may help."""
    import huggingface_hub as hub
    from huggingface_hub.errors import RemoteEntryNotFoundError

    storage, pauses, place = storage_of(wanted), list(PAUSES[:2]), wanted.name.split("/")
    if again and (old := _in_cache(wanted)) is not None:
        # A commit's own copy, in a cache without links, would be kept by the client as it is.
        with contextlib.suppress(OSError):
            old.unlink()
    while True:
        try:
            with watching(watch):
                path = hub.hf_hub_download(
                    wanted.repo_id,
                    wanted.name,
                    revision=wanted.revision,
                    force_download=again,
                    tqdm_class=bar_of(watch),
                )
            if Path(path).parts[-1 - len(place) :] != (wanted.revision, *place):
                raise WeightsError(
                    f"{wanted.said}: the server answers for another commit. Nothing was loaded."
                )
            return Path(path)
        except RemoteEntryNotFoundError:
            raise
        except Exception as error:
            if not is_explained(error):
                raise
            # With force, the client wraps what the first request met.
            inner = error.__cause__ if isinstance(error, ValueError) else error
            inner = inner if isinstance(inner, Exception) else error
            # After "too many requests" the client itself was patient already. The Hub named the file a
            # moment ago: what is refused or gone now may be a signed address that is too old.
            passes = (may_pass(inner) and _status(inner) != 429) or _status(inner) in (403, 404)
            if not pauses or not passes:
                raise explain(inner, wanted) from None
            if isinstance(inner, SizeError):
                # One of two answers was wrong about the size; ask anew which.
                watch.ceiling = _ceiling(wanted, metadata_of(wanted).size)
            wait = pauses.pop(0)
            _log.info("%s: the transfer broke off; starting again in %.0f s", wanted.said, wait)
            time.sleep(wait)
        finally:
            sweep(storage)


@dataclass(frozen=True)
class _Wrong:
    """A file whose content is not what was stated: the digest it has, of the kind of the stated one."""

    path: Path
    got: str
    stated: str


def _status(error: Exception) -> int | None:
    """Return the status of the answer behind an error, or None."""
    return getattr(getattr(error, "response", None), "status_code", None)


def _checked(wanted: Wanted, path: Path, sha256: str | None, *, etag: str | None = None) -> Fetched | _Wrong:
    """Read a file of the cache once and say whether its content is right.

    Args:
        etag: what the Hub names the content, from a request just made.

    Raises:
        MismatchError: it is what the Hub has, and not what ``sha256`` says.
    """
    name = cached_name(path)
    known = None if sha256 or name else recorded(wanted.repo_id, wanted.name, wanted.revision)
    expected = sha256 or (known.sha256 if known else None)
    if name is None and expected is None:
        name = etag or _etag_of(wanted)
    if path.exists() and not path.is_file():
        # A pipe would be waited for without an end.
        raise WeightsError(
            f"{wanted.said}: what the Hub's cache keeps under this name is no file. Delete it, or choose "
            "another cache by HF_HOME."
        )
    try:
        digests = digests_of(path, name)
    except OSError as error:
        raise WeightsError(
            f"{wanted.said}: the copy in the Hub's cache cannot be read: {os.strerror(error.errno or 0)}. "
            "Let it be read, delete it, or choose another cache by HF_HOME."
        ) from error
    found = Fetched(path, wanted.revision, digests.sha256, digests.bytes, verified=True)
    whole = digests.agree_with(name) if name is not None and is_hash(name) else None
    if expected is not None:
        if digests.sha256 == expected:
            return found
        if not whole:
            return _Wrong(path, digests.sha256, expected)
        raise MismatchError(
            f"{wanted.said} has SHA-256 {digests.sha256}, expected {expected}. It is whole: the repository "
            "has another file than the registered one.",
            digests.sha256,
            expected,
        )
    if name is None or whole is None:
        return _unverified(wanted, found)
    if not whole:
        return _Wrong(path, digests.like(name), name)
    if cached_name(path) is None:
        _remember_content(wanted, digests)
    return found


def _unverified(wanted: Wanted, found: Fetched) -> Fetched:
    _log.warning(
        "%s could not be verified: the cache keeps no hash of it here, and the Hub %s",
        *(wanted.said, "names none or cannot be asked"),
    )
    return Fetched(found.path, found.commit, found.sha256, found.bytes, verified=False)


def _etag_of(wanted: Wanted) -> str | None:
    """Return what the Hub names a file that the cache has without a name; None where it cannot be asked."""
    from huggingface_hub import constants
    from huggingface_hub.errors import RemoteEntryNotFoundError

    if constants.HF_HUB_OFFLINE:
        return None
    try:
        return metadata_of(wanted, patient=False).etag
    except (ConfigError, WeightsError, RemoteEntryNotFoundError):
        return None


def _remember_content(wanted: Wanted, digests: Digests) -> None:
    """Record what a cache without names holds, so that no later load has to ask the Hub."""
    today = datetime.now(timezone.utc).date().isoformat()
    commit = wanted.revision
    with contextlib.suppress(OSError, WeightsError):
        record([FirstUse(wanted.repo_id, wanted.name, commit, commit, digests.sha256, digests.bytes, today)])


def _note_absence(wanted: Wanted, error: RemoteEntryNotFoundError) -> None:
    """Note where the client does that a commit lacks a file, so that no later load has to ask the Hub."""
    if error.response.headers.get("X-Repo-Commit", "").lower() == wanted.revision:
        with contextlib.suppress(OSError):
            note = storage_of(wanted) / ".no_exist" / wanted.revision / wanted.name
            note.parent.mkdir(parents=True, exist_ok=True)
            note.touch()


def _discard(path: Path) -> None:
    """Take a wrong file out of the cache, where other programs would use it as it is."""
    blob = path.parent / path.readlink() if cached_name(path) is not None else path
    for one in (path, blob):
        with contextlib.suppress(OSError):
            one.unlink()


def _in_cache(wanted: Wanted) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(
        wanted.repo_id, wanted.name, cache_dir=storage_of(wanted).parent, revision=wanted.revision
    )
    return Path(found) if isinstance(found, str) else None


def _kind(digest: str) -> str:
    return "SHA-256" if len(digest) == 64 else "git blob SHA-1"


def _size(count: int) -> str:
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
