"""One model repository on the Hub, looked at and written to; what goes wrong is said in our own errors."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from ..core.errors import ConfigError, VerticlipError
from ..core.limits import DEFAULT
from .advice import endpoint, is_explained, kinds_of, token_is_set
from .folder_files import Snapshot, StoredFile

if TYPE_CHECKING:
    from huggingface_hub import CommitOperationAdd

T = TypeVar("T")
_WAITS_S = (0.5, 2.0)
"""Before a question that was not answered is asked again; what changes something is never sent twice."""


class PushError(VerticlipError):
    """The Hub did not take what was pushed; the message says what is there now."""


@dataclass(frozen=True)
class RemoteFile:
    """A file of a repository: its SHA-256 where it is kept as a large file, else its git hash."""

    sha256: str | None
    git_sha1: str
    bytes: int

    def holds(self, file: StoredFile) -> bool:
        """Return whether this is the content of a local file."""
        if self.bytes != file.bytes:
            return False
        return self.sha256 == file.sha256 if self.sha256 else self.git_sha1 == file.git_sha1


@dataclass(frozen=True)
class RemoteState:
    """A repository at one moment.

    Attributes:
        commit: head of ``main``, or None before the first commit.
        private: whether strangers see it.
        files: {name: what it holds}.
        created: when, as the Hub says it, or None where it does not.
    """

    commit: str | None
    private: bool
    files: Mapping[str, RemoteFile]
    created: str | None = None


class Repository:
    """A model repository ``org/name``, with the token that it is reached with.

    Args:
        repo_id: ``org/name``.
        token: None takes ``HF_TOKEN`` or that of ``hf auth login``.
    """

    def __init__(self, repo_id: str, token: str | None = None) -> None:
        from huggingface_hub import HfApi

        self.repo_id = repo_id
        self.has_token = bool(token) or token_is_set()
        self._api = HfApi(token=token or None)

    @property
    def url(self) -> str:
        """Page of the repository."""
        return f"{endpoint()}/{self.repo_id}"

    def look(self, commit: str | None = None) -> RemoteState | None:
        """Return what is in the repository, or None where there is none that this token may see.

        Args:
            commit: to look at instead of the head of ``main``.

        Raises:
            PushError: the Hub cannot be asked, or the repository has another name by now.
        """
        from huggingface_hub import RepoFile
        from huggingface_hub.errors import RepositoryNotFoundError

        try:
            with self._explained("look at"):
                info = _ask(lambda: self._api.model_info(self.repo_id, revision=commit))
                # The client asks for a listing again by itself.
                listed = (
                    list(self._api.list_repo_tree(self.repo_id, recursive=True, revision=info.sha))
                    if info.sha
                    else []
                )
        except RepositoryNotFoundError:
            return None
        if info.id != self.repo_id:
            raise PushError(f"{self.repo_id} is called {info.id} by now. Push there: its name decides.")
        files = {
            item.path: RemoteFile(item.lfs.sha256 if item.lfs else None, item.blob_id, item.size)
            for item in listed
            if isinstance(item, RepoFile)
        }
        created = info.created_at.isoformat() if info.created_at else None
        return RemoteState(info.sha, bool(info.private), files, created)

    def text(self, state: RemoteState, name: str) -> str:
        """Return a text file of a repository, "" where there is none or none of a sensible size."""
        if name not in state.files or state.files[name].bytes > DEFAULT.config_bytes:
            return ""
        with self._explained("look at"), tempfile.TemporaryDirectory() as folder:
            path = _ask(
                lambda: self._api.hf_hub_download(self.repo_id, name, revision=state.commit, local_dir=folder)
            )
            return Path(path).read_text(encoding="utf-8", errors="replace")

    def need_token(self) -> None:
        """Raise ``ConfigError`` where there is no token to write with."""
        if not self.has_token:
            raise ConfigError(
                f"There is no token to publish {self.repo_id} with. Run: hf auth login (or set HF_TOKEN to a "
                f"token that may write, from {endpoint()}/settings/tokens)."
            )

    def create(self) -> None:
        """Create the repository, private."""
        from huggingface_hub.errors import RepositoryNotFoundError

        try:
            with self._explained("create"):
                self._api.create_repo(self.repo_id, private=True, repo_type="model")
        except RepositoryNotFoundError:
            raise PushError(self._refused("create")) from None

    def commit(
        self,
        snapshot: Snapshot,
        names: Sequence[str],
        deleted: Sequence[str],
        *,
        parent: str | None,
        message: str,
    ) -> str:
        """Make one commit on top of ``parent`` and return it.

        Raises:
            PushError: the Hub refuses, or ``main`` is not at ``parent`` any more.
            ConfigError: a file was changed while it was uploaded; nothing is committed.
        """
        from huggingface_hub import CommitOperationDelete
        from huggingface_hub.errors import RepositoryNotFoundError

        files = [snapshot.files[name] for name in names]
        removed = [CommitOperationDelete(name, is_folder=False) for name in deleted]
        try:
            with _opened(snapshot, files) as added, self._explained("write to"):
                # Large files go first; a commit that names them follows when they are what was checked.
                self._api.preupload_lfs_files(self.repo_id, added, free_memory=False)
                self._refuse_changed(snapshot, files, added)
                made = self._api.create_commit(
                    self.repo_id, [*added, *removed], commit_message=message, parent_commit=parent
                )
        except RepositoryNotFoundError:
            raise PushError(self._refused("write to")) from None
        return made.oid

    def _refuse_changed(
        self, snapshot: Snapshot, files: Sequence[StoredFile], added: Sequence[CommitOperationAdd]
    ) -> None:
        """Raise where the bytes that were read for the upload are not those that were checked."""
        touched = set(snapshot.changed())
        for file, operation in zip(files, added, strict=True):
            if operation.upload_info.sha256.hex() != file.sha256 or (
                file.content is None and file.name in touched
            ):
                raise ConfigError(
                    f"{file.name} was changed while it was pushed. Nothing was committed; push again when it "
                    "is finished."
                )
            if getattr(operation, "_should_ignore", False):
                raise PushError(
                    f"{self.repo_id} has a .gitignore that leaves out {file.name}. Remove it there and push "
                    "again."
                )

    def publish(self) -> None:
        """Let everybody see the repository."""
        with self._explained("change"):
            self._api.update_repo_settings(self.repo_id, private=False)

    def _refused(self, verb: str) -> str:
        who = "this token may not" if self.has_token else "there is no token to"
        return (
            f"{self.repo_id}: {who} {verb} it. Check the name, and use a token with write access to it: "
            "hf auth login, or HF_TOKEN."
        )

    @contextlib.contextmanager
    def _explained(self, verb: str) -> Iterator[None]:
        """Turn what the Hub client raises into our own errors; an unknown repository passes.

        No cause is kept: one kind of the client's errors holds the token, others addresses.
        """
        from huggingface_hub.errors import RepositoryNotFoundError

        try:
            yield
        except (RepositoryNotFoundError, VerticlipError):
            raise
        except Exception as error:
            # The client wraps what ended an upload.
            inner = error.__cause__ if isinstance(error, RuntimeError) else None
            if isinstance(inner, RepositoryNotFoundError):
                raise inner from None
            said = self._said(inner if isinstance(inner, Exception) else error, verb)
            if said is None:
                raise
            raise said from None

    def _said(self, error: Exception, verb: str) -> VerticlipError | None:
        """Return our own error for one of the client's, or None for a slip of a program."""
        from huggingface_hub import errors

        if isinstance(error, errors.OfflineModeIsEnabled):
            return PushError(
                f"{self.repo_id}: HF_HUB_OFFLINE is set, so the Hub is not asked. Unset it to publish."
            )
        if isinstance(error, errors.HfHubHTTPError):
            return PushError(self._answered(verb, error.response.status_code))
        if isinstance(error, UnicodeError) or "LocalProtocolError" in kinds_of(error):
            return ConfigError(
                f"{self.repo_id}: the token in use holds characters that cannot be sent. Run: hf auth login, "
                "or set HF_TOKEN anew."
            )
        if isinstance(error, ValueError) and not isinstance(error, json.JSONDecodeError):
            # What the Hub says of a card; an address may hold a password.
            what = re.sub(r"\w+://\S+", endpoint(), " ".join(str(error).split()))
            return PushError(f"{self.repo_id}: the Hub refuses it: {what}")
        if isinstance(error, ValueError | TypeError | LookupError | AttributeError):
            return PushError(f"{self.repo_id}: {endpoint()} does not answer as a Hub does.")
        if isinstance(error, FileNotFoundError | PermissionError):
            return _taken_away()
        if is_explained(error):
            return PushError(
                f"{self.repo_id}: the Hub cannot be reached or broke off ({type(error).__name__}). Run again "
                "when it answers."
            )
        return None

    def _answered(self, verb: str, status: int) -> str:
        said = {
            401: "it does not accept this token. Run: hf auth login, or set HF_TOKEN to a valid one.",
            402: "its owner's storage is full or not paid for.",
            403: (
                f"this token may not {verb} it. Use one with write access: hf auth login, or HF_TOKEN "
                f"(tokens are made at {endpoint()}/settings/tokens)."
            ),
            409: "somebody created it meanwhile. Run again.",
            412: "somebody else wrote to it meanwhile. Look at what they changed and run again.",
            413: "it is too large for it.",
            429: "it was asked too often. Wait some minutes and run again.",
        }
        more = said.get(status, "Run again later." if status >= 500 else "")
        return f"{self.repo_id}: the Hub answers with status {status}: {more}".rstrip(": ")


def _taken_away() -> ConfigError:
    return ConfigError("A file was taken away while it was pushed. Nothing was committed.")


@contextlib.contextmanager
def _opened(snapshot: Snapshot, files: Sequence[StoredFile]) -> Iterator[list[CommitOperationAdd]]:
    """Yield files as the client takes them, opened until they are sent.

    Of open files the client asks every Hub how to send them. Given names it would use Xet where that is
    installed, without asking, and fail on a Hub of one's own that has none.
    """
    from huggingface_hub import CommitOperationAdd

    client = logging.getLogger("huggingface_hub._commit_api")
    with contextlib.ExitStack() as stack:
        client.addFilter(_tells_more)
        stack.callback(client.removeFilter, _tells_more)
        try:
            added = [
                CommitOperationAdd(
                    file.name,
                    io.BytesIO(file.content)
                    if file.content is not None
                    else stack.enter_context((snapshot.folder / file.name).open("rb")),
                )
                for file in files
            ]
        except (ValueError, OSError):
            raise _taken_away() from None
        yield added


def _tells_more(record: logging.LogRecord) -> bool:
    """Return whether a line of the client's log says anything but that it sends an open file."""
    return "Falling back to HTTP" not in record.getMessage()


def network_errors() -> tuple[type[Exception], ...]:
    """Return what the library below the Hub client raises, and what the system does."""
    from huggingface_hub.errors import HfHubHTTPError

    return tuple(base for base in HfHubHTTPError.__bases__ if issubclass(base, Exception))


def _ask(question: Callable[[], T]) -> T:
    """Return the answer to a question that changes nothing, asked again where the Hub is not well."""
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    for wait in _WAITS_S:
        try:
            return question()
        except OfflineModeIsEnabled:
            raise
        except HfHubHTTPError as error:
            if error.response.status_code < 500 and error.response.status_code != 429:
                raise
        except network_errors() as error:
            if "LocalProtocolError" in kinds_of(error):
                raise
        time.sleep(wait)
    return question()
