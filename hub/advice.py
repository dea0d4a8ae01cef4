"""What went wrong on the way to the Hub, said in our own errors with what to do next.

The client's own messages hold addresses, some with a signature in them, and one kind of its errors holds
the token. None of that is repeated here; where it might be, the cause is not kept either.
"""

from __future__ import annotations

import errno
import os
import socket
import ssl
from dataclasses import dataclass
from urllib.parse import urlsplit

from ..core import registry
from ..core.errors import ConfigError, VerticlipError, WeightsError, nearest
from ..core.files import WEIGHTS_FILE

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)
_PROXIES = ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy")


class UnknownRevisionError(ConfigError):
    """The repository has no such branch, tag or commit."""


class UnreachableError(WeightsError):
    """The Hub could not be asked now; a copy in the cache may do instead.

    Attributes:
        reason: why, in a few words.
    """

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class Wanted:
    """One file of one revision, and what a message about it should add.

    Attributes:
        repo_id: ``org/name``.
        name: path inside the repository.
        revision: branch, tag or commit.
        gated: where to ask for access, for a repository known to be gated.
        hint: what else the user can do when the file cannot be fetched.
    """

    repo_id: str
    name: str
    revision: str
    gated: str = ""
    hint: str = ""

    @property
    def said(self) -> str:
        """The file in words."""
        return f"{self.repo_id}: {self.name} at {self.revision!r}"

    @property
    def otherwise(self) -> str:
        """The way that needs no Hub."""
        return self.hint or "give a folder that holds the files"


def is_explained(error: Exception) -> bool:
    """Return whether an error is one of the client, the network or the disk, and no slip of a program.

    The client lets errors of several libraries through: of HTTP, of Xet (``RuntimeError`` and its own), and
    wraps some in ``ValueError``.
    """
    if isinstance(error, VerticlipError | OSError | ValueError | RuntimeError):
        return True
    return any(kind in ("HTTPError", "InvalidURL") or kind.startswith("Xet") for kind in kinds_of(error))


def explain(error: Exception, wanted: Wanted) -> VerticlipError:
    """Return our own error for one of the Hub's client, of the network below it, or of the disk."""
    from huggingface_hub import errors

    if isinstance(error, VerticlipError):
        return error
    if isinstance(error, errors.LocalEntryNotFoundError) and isinstance(error.__cause__, Exception):
        # Not in the cache either: what the server or the network did stands behind it.
        error = error.__cause__
    if isinstance(error, errors.GatedRepoError):
        return not_granted(wanted)
    if isinstance(error, errors.RepositoryNotFoundError):
        return _no_repository(wanted)
    if isinstance(error, errors.RevisionNotFoundError):
        return UnknownRevisionError(
            f"{wanted.repo_id}: no revision {wanted.revision!r}. Give a branch, a tag or a full commit."
        )
    if isinstance(error, errors.RemoteEntryNotFoundError):
        only = " Only safetensors weights are loaded." if wanted.name == WEIGHTS_FILE else ""
        return WeightsError(
            f"{wanted.repo_id}: {wanted.name} is not in the repository at {wanted.revision!r}.{only}"
        )
    if isinstance(error, errors.HfHubHTTPError):
        return _of_a_status(error.response.status_code, wanted)
    if isinstance(error, errors.OfflineModeIsEnabled):
        return not_here(wanted)
    if isinstance(error, OSError) and is_of_the_disk(error):
        return WeightsError(
            f"{wanted.repo_id}: {wanted.name} cannot be kept in the Hub's cache: "
            f"{os.strerror(error.errno or 0)}. Free space there and let the folder be written to, or choose "
            "another one by HF_HOME."
        )
    return _of_the_network(error, wanted)


def not_granted(wanted: Wanted) -> ConfigError:
    """Return the error for a repository whose owner decides who may read it."""
    has = token_is_set()
    page = wanted.gated or f"{endpoint()}/{wanted.repo_id}"
    mine = " The token in use has no access yet." if has else ""
    return ConfigError(
        f"{wanted.repo_id}: its owner grants access one by one. Ask at {page}, then run: hf auth login "
        f"(or set HF_TOKEN).{mine}"
    )


def not_here(wanted: Wanted) -> WeightsError:
    """Return the error for a file that is not in the cache while the Hub may not be asked."""
    return UnreachableError(
        f"{wanted.said} is not in the cache, and offline mode (HF_HUB_OFFLINE) forbids fetching it. "
        f"{_online_once(wanted, wanted.name)}",
        "offline mode",
    )


def nothing_here(wanted: Wanted) -> UnreachableError:
    """Return the error for a model that is not in the cache while the Hub may not be asked what it is."""
    return UnreachableError(
        f"{wanted.repo_id} at {wanted.revision!r}: neither verticlip's files nor another library's are in "
        f"the cache, and offline mode (HF_HUB_OFFLINE) forbids fetching them. {_online_once(wanted)}",
        "offline mode",
    )


def _online_once(wanted: Wanted, *names: str) -> str:
    revision = () if wanted.revision == "main" else ("--revision", wanted.revision)
    command = " ".join(("hf download", wanted.repo_id, *names, *revision))
    return (
        "Load it once without HF_HUB_OFFLINE, or run where there is a network: "
        f"{command}; or {wanted.otherwise}."
    )


def token_is_set() -> bool:
    """Return whether the client sends a token."""
    from huggingface_hub import constants, get_token

    return not constants.HF_HUB_DISABLE_IMPLICIT_TOKEN and get_token() is not None


def is_of_the_disk(error: OSError) -> bool:
    """Return whether the file system refused; network errors are OSErrors too, and name no file."""
    return error.errno in _FULL or (error.errno is not None and error.filename is not None)


def kinds_of(error: Exception) -> set[str]:
    """Return the names of an error's classes; the library below the client is not always the same one."""
    return {kind.__name__ for kind in type(error).__mro__}


def _no_repository(wanted: Wanted) -> ConfigError:
    mine = "the token in use may not read it" if token_is_set() else "it is private, and no token is set"
    # Most names here are other people's: only what looks like a slip of the finger is taken for ours.
    meant = nearest(wanted.repo_id, registry.models(), likeness=0.8)
    return ConfigError(
        f"No model {wanted.repo_id!r} on the Hub (or {mine}).{meant} "
        "Check the name; for a private one run: hf auth login (or set HF_TOKEN)"
    )


def _of_a_status(status: int, wanted: Wanted) -> VerticlipError:
    if status == 401 and token_is_set():
        return ConfigError(
            f"{wanted.repo_id}: the Hub does not accept the token in use; it is wrong, expired or revoked. "
            "Run: hf auth login, or unset HF_TOKEN (public models need none)."
        )
    if status == 401:
        return ConfigError(
            f"{wanted.repo_id}: the Hub asks for a token. Run: hf auth login, or set HF_TOKEN."
        )
    if status == 403:
        return ConfigError(
            f"{wanted.repo_id}: the Hub refuses access (403): the repository is disabled, or the token in "
            "use lacks the right to read it. See its page, or use another token."
        )
    if status == 429:
        return too_busy(wanted, None)
    if status >= 500 or status == 408:
        return UnreachableError(
            f"{wanted.said} is not in the cache and the Hub has trouble now (status {status}). Try again "
            f"later (https://status.huggingface.co), or {wanted.otherwise}.",
            f"status {status}",
        )
    return UnreachableError(
        f"{wanted.said}: the Hub answered with status {status}. Try again, or {wanted.otherwise}.",
        f"status {status}",
    )


def too_busy(wanted: Wanted, seconds: float | None) -> UnreachableError:
    """Return the error for a server that asks for patience, with the seconds it asked for."""
    wait = f" and asks to wait {seconds:,.0f} s" if seconds else ""
    token = "" if token_is_set() else " With a token (hf auth login) it answers more of them."
    return UnreachableError(
        f"{wanted.said} is not in the cache and the Hub has had too many requests from here (status "
        f"429){wait}. Try again then.{token} Or {wanted.otherwise}.",
        "status 429",
    )


def _of_the_network(error: Exception, wanted: Wanted) -> WeightsError:
    from huggingface_hub.errors import FileMetadataError

    if isinstance(error, FileMetadataError):
        return UnreachableError(
            f"{wanted.said} is not in the cache, and what answers at {_host()} is not the Hub: the login "
            f"page of this network, or a proxy. Open a page in a browser first, or {wanted.otherwise}.",
            f"what answers at {_host()} is not the Hub",
        )
    if isinstance(error, UnicodeError) or "LocalProtocolError" in kinds_of(error):
        return WeightsError(
            f"{wanted.said}: the token in use holds characters that cannot be sent. Run: hf auth login, or "
            "set HF_TOKEN anew."
        )
    if isinstance(error, OSError) and error.errno is None and "Consistency check" in str(error):
        return UnreachableError(
            f"{wanted.said}: the Hub sent another number of bytes than it announced, several times. Try "
            f"again later, or {wanted.otherwise}.",
            "the number of bytes is not the announced one",
        )
    reason = _reason(error)
    return UnreachableError(
        f"{wanted.said} is not in the cache and the Hub cannot be reached ({reason}).{_proxy()} Go "
        f"online once, or {wanted.otherwise}.",
        reason,
    )


def _reason(error: Exception) -> str:
    """Return what failed below the client, without its text: that may hold addresses."""
    chain: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in chain:
        chain.append(link)
        link = link.__cause__ or link.__context__
    if any(isinstance(one, ssl.SSLCertVerificationError) for one in chain):
        return f"the certificate of {_host()} cannot be verified; SSL_CERT_FILE names other authorities"
    if any(isinstance(one, socket.gaierror) for one in chain):
        return f"the name {_host()} is not known to DNS"
    if "TooManyRedirects" in kinds_of(error):
        return f"{_host()} redirects in a circle"
    if "TimeoutException" in kinds_of(error):
        return (
            f"{_host()} does not answer in time; HF_HUB_DOWNLOAD_TIMEOUT and HF_HUB_ETAG_TIMEOUT set how long"
        )
    if kinds_of(error) & {"ReadError", "WriteError", "RemoteProtocolError"}:
        return f"the connection to {_host()} breaks off"
    if "ConnectError" in kinds_of(error):
        return f"{_host()} takes no connection"
    return type(error).__name__


def _proxy() -> str:
    """Return that a proxy is set; its address may hold a password and is not shown."""
    found = next((name for name in _PROXIES if os.environ.get(name)), None)
    return f" A proxy is set by {found}; check it." if found else ""


def endpoint() -> str:
    """Return the address of the Hub as it may be shown: without user and password."""
    from huggingface_hub import constants

    parts = urlsplit(constants.ENDPOINT)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path.rstrip('/')}"


def _host() -> str:
    return urlsplit(endpoint()).netloc
