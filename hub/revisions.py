"""What the Hub says of a file without its content, and which commit a branch or tag stands for."""

from __future__ import annotations

import contextlib
import logging
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from ..core.errors import ConfigError, WeightsError
from ..core.files import CONFIG_FILE, write_text_atomic
from ..core.names import is_repository
from .advice import (
    UnknownRevisionError,
    UnreachableError,
    Wanted,
    explain,
    is_explained,
    kinds_of,
    not_here,
    nothing_here,
)
from .watch import LONGEST_WAIT, SizeError, Watch, seconds_to_wait, watching

if TYPE_CHECKING:
    from huggingface_hub import HfFileMetadata

_log = logging.getLogger(__name__)

Answer = TypeVar("Answer")

PAUSES = (1.0, 2.0, 4.0)
"""Seconds between attempts after trouble of the server or the connection."""
_TROUBLE = (408, 429, 500, 502, 503, 504)
_COMMIT, _SHORT = re.compile(r"[0-9a-fA-F]{40}"), re.compile(r"[0-9a-f]{4,39}")
_REVISION = re.compile(r"(?![-/.])[^\x00-\x20\\:?#*~^\x7f]{1,200}(?<![/.])")


def resolve_commit(repo_id: str, revision: str | None = None) -> str:
    """Return the commit, 40 hex digits, that a branch or tag stands for now.

    A full commit is returned without network. When the Hub cannot be asked, the commit that the cache
    last knew is used, and that is logged.

    Args:
        repo_id: ``org/name``.
        revision: branch, tag or full commit; None is ``main``.

    Raises:
        ConfigError: no such repository, no access, or a shortened commit.
        UnknownRevisionError: no such revision.
        UnreachableError: the Hub cannot be asked, and the cache knows no commit.
    """
    from huggingface_hub import constants

    # The file need not exist.
    wanted = Wanted(repo_id, CONFIG_FILE, revision or "main")
    try:
        return commit_of(wanted)
    except UnreachableError:
        if constants.HF_HUB_OFFLINE:
            raise nothing_here(wanted) from None
        raise


def commit_of(wanted: Wanted) -> str:
    """Return the commit of what is wanted, as :func:`resolve_commit`."""
    from huggingface_hub import constants

    check_repository(wanted.repo_id)
    revision = wanted.revision
    if _COMMIT.fullmatch(revision):
        return revision.lower()
    if not _REVISION.fullmatch(revision) or ".." in revision or "@{" in revision:
        raise UnknownRevisionError(
            f"{wanted.repo_id}: {revision!r} cannot be a revision. Give a branch, a tag or a full commit."
        )
    known = _known_commit(wanted)
    if constants.HF_HUB_OFFLINE:
        if known is None:
            raise not_here(wanted)
        return _not_short(wanted, known)
    try:
        commit = _ask_commit(wanted, patient=known is None)
    except UnknownRevisionError:
        if _SHORT.fullmatch(revision):
            raise UnknownRevisionError(
                f"{wanted.repo_id}: no branch or tag {revision!r}. If it is the start of a commit, give all "
                "of its 40 digits."
            ) from None
        raise
    except (UnreachableError, ConfigError) as error:
        if known is None:
            raise
        _log.warning(
            "%s: the Hub cannot be asked for %r now (%s); using commit %s, which the cache has of it",
            *(wanted.repo_id, revision, error.reason if isinstance(error, UnreachableError) else error),
            known[:7],
        )
        commit = known
    else:
        _remember_commit(wanted, commit)
    return _not_short(wanted, commit)


def _not_short(wanted: Wanted, commit: str) -> str:
    if _SHORT.fullmatch(wanted.revision) and commit.startswith(wanted.revision):
        raise UnknownRevisionError(
            f"{wanted.repo_id}: {wanted.revision!r} is a shortened commit, and another one may start so "
            f"later. Give all 40 digits: {commit}"
        )
    return commit


def _ask_commit(wanted: Wanted, *, patient: bool) -> str:
    from huggingface_hub.errors import RemoteEntryNotFoundError

    try:
        commit = metadata_of(wanted, patient=patient).commit_hash
    except RemoteEntryNotFoundError as error:
        # The repository and the revision are there, and that answer names the commit as well.
        commit = error.response.headers.get("X-Repo-Commit")
    if commit is None or not _COMMIT.fullmatch(commit):
        raise WeightsError(
            f"{wanted.repo_id}: the Hub named no commit for revision {wanted.revision!r}. If HF_ENDPOINT is "
            "set, check it; otherwise try again later."
        )
    return commit.lower()


def metadata_of(wanted: Wanted, *, patient: bool = True) -> HfFileMetadata:
    """Ask the Hub for size, ETag and commit of a file, again after trouble where that may help.

    Raises:
        RemoteEntryNotFoundError: the revision lacks the file.
        VerticlipError: as in :func:`explain`.
    """
    import huggingface_hub as hub

    url = hub.hf_hub_url(wanted.repo_id, wanted.name, revision=wanted.revision)

    def ask() -> HfFileMetadata:
        metadata = hub.get_hf_file_metadata(url, timeout=hub.constants.HF_HUB_ETAG_TIMEOUT)
        if metadata.commit_hash is None or metadata.etag is None:
            raise hub.errors.FileMetadataError("no commit or no ETag")
        return metadata

    return asked(ask, wanted, patient=patient)


def asked(ask: Callable[[], Answer], wanted: Wanted, *, patient: bool = True) -> Answer:
    """Return what ``ask`` gets from the Hub, asking again after trouble where that may help.

    Raises:
        RemoteEntryNotFoundError: the revision lacks the file.
        VerticlipError: as in :func:`explain`.
    """
    from huggingface_hub import constants
    from huggingface_hub.errors import HfHubHTTPError, RemoteEntryNotFoundError

    pauses = list(PAUSES) if patient and not constants.HF_HUB_OFFLINE else []
    with watching(Watch(wanted)):
        while True:
            try:
                return ask()
            except RemoteEntryNotFoundError:
                raise
            except Exception as error:
                if not is_explained(error):
                    raise
                if not pauses or not may_pass(error):
                    raise explain(error, wanted) from None
                wait = pauses.pop(0)
                if isinstance(error, HfHubHTTPError):
                    wait = min(seconds_to_wait(error.response) or wait, LONGEST_WAIT)
            _log.info("%s: the Hub has trouble; trying again in %.0f s", wanted.said, wait)
            time.sleep(wait)


def may_pass(error: Exception) -> bool:
    """Return whether an error is of a kind that another attempt may not meet."""
    from huggingface_hub.errors import HfHubHTTPError

    if isinstance(error, HfHubHTTPError):
        return error.response.status_code in (*_TROUBLE, 416)
    if isinstance(error, SizeError):
        return True
    if kinds_of(error) & {"TimeoutException", "ReadError", "WriteError", "RemoteProtocolError"}:
        return True
    return isinstance(error, OSError) and error.errno is None and "Consistency check" in str(error)


def check_repository(repo_id: str) -> None:
    """Raise ``ConfigError`` for what cannot be the name of a repository."""
    if not is_repository(repo_id):
        raise ConfigError(
            f"{repo_id!r} cannot be a Hub repository: 'org/name' has letters, digits, '-', '_' and '.', no "
            "'--' or '..', and at most 96 characters in each part."
        )


def storage_of(wanted: Wanted) -> Path:
    """Return the folder in which the Hub's cache keeps a repository."""
    from huggingface_hub import constants

    return (
        Path(constants.HF_HUB_CACHE).expanduser().absolute() / f"models--{wanted.repo_id.replace('/', '--')}"
    )


def _known_commit(wanted: Wanted) -> str | None:
    """Return the commit that a branch or tag had when the Hub was last asked."""
    try:
        commit = (storage_of(wanted) / "refs" / wanted.revision).read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return None
    return commit if _COMMIT.fullmatch(commit) else None


def _remember_commit(wanted: Wanted, commit: str) -> None:
    """Note what a branch or tag stands for, where the client itself would, for times without network."""
    if _known_commit(wanted) != commit:
        with contextlib.suppress(OSError):
            write_text_atomic(storage_of(wanted) / "refs" / wanted.revision, commit)
