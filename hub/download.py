"""One file of one revision of a Hub repository; what can go wrong is said in our own errors."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from ..core.errors import ConfigError, WeightsError
from ..core.files import WEIGHTS_FILE


class UnknownRevisionError(ConfigError):
    """The repository has no such branch, tag or commit."""


def download(
    repo_id: str, name: str, revision: str, *, optional: bool = False, gated: str = "", hint: str = ""
) -> Path:
    """Return the local path of one file of one revision, from the cache or the Hub.

    Args:
        repo_id: ``org/name``.
        name: path inside the repository.
        revision: branch, tag or commit.
        optional: let ``RemoteEntryNotFoundError`` pass.
        gated: where to ask for access, for a repository known to be gated.
        hint: what else the user can do when the file cannot be fetched.

    Raises:
        ConfigError: no such repository, or access to it is not granted.
        UnknownRevisionError: no such revision.
        WeightsError: the file is not in the repository, cannot be fetched now, or cannot be stored.
        RemoteEntryNotFoundError: the repository lacks the file and it is ``optional``.
    """
    from huggingface_hub import errors, get_token, hf_hub_download, try_to_load_from_cache

    if (
        gated
        and get_token() is None
        and not isinstance(try_to_load_from_cache(repo_id, name, revision=revision), str)
    ):
        # Without a token the answer is known, and needs no network.
        raise _not_granted(repo_id, gated)
    try:
        return Path(hf_hub_download(repo_id, name, revision=revision))
    except errors.GatedRepoError:
        raise _not_granted(repo_id, gated) from None
    except errors.RepositoryNotFoundError:
        raise ConfigError(
            f"No model {repo_id!r} on the Hub (or it is private). Check the name, or run: hf auth login"
        ) from None
    except errors.RevisionNotFoundError:
        raise UnknownRevisionError(
            f"{repo_id}: no revision {revision!r}. Give a branch, a tag or a full commit."
        ) from None
    except errors.RemoteEntryNotFoundError:
        if optional:
            raise
        only = " Only safetensors weights are loaded." if name == WEIGHTS_FILE else ""
        raise WeightsError(f"{repo_id}: {name} is not in the repository at {revision!r}.{only}") from None
    except OSError as error:
        if _is_of_the_disk(error):
            raise WeightsError(
                f"{repo_id}: {name} cannot be kept in the Hub's cache: {os.strerror(error.errno or 0)}. Free "
                "space there and let the folder be written to, or choose another one by HF_HOME."
            ) from error
        raise _unreachable(repo_id, name, revision, hint, error) from error
    except _network_errors() as error:
        raise _unreachable(repo_id, name, revision, hint, error) from error


def _not_granted(repo_id: str, gated: str) -> ConfigError:
    page = f"at {gated}" if gated else "on the model's page"
    return ConfigError(
        f"{repo_id}: its owner grants access one by one. Ask {page}, then run: hf auth login"
        + (" (or set HF_TOKEN)" if gated else "")
    )


def _network_errors() -> tuple[type[Exception], ...]:
    """Return what the library below the Hub client raises: the Hub's own error is one of its kind."""
    from huggingface_hub.errors import HfHubHTTPError

    return tuple(base for base in HfHubHTTPError.__bases__ if issubclass(base, Exception))


def _is_of_the_disk(error: OSError) -> bool:
    """Return whether the file system refused; network errors are OSErrors too, and name no file."""
    full = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)
    return error.errno in full or (error.errno is not None and error.filename is not None)


def _unreachable(repo_id: str, name: str, revision: str, hint: str, error: Exception) -> WeightsError:
    way = hint or "give a folder that holds the files"
    return WeightsError(
        f"{repo_id}: {name} at {revision!r} is not in the cache and the Hub cannot be reached "
        f"({type(error).__name__}). Go online once, or {way}."
    )
