"""What the names of the Hub look like: repositories, commits and hashes."""

from __future__ import annotations

import re
from typing import TypeGuard

_PART = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,95}(?<![.-])"
_REPOSITORY = re.compile(rf"(?!.*(?:--|\.\.)){_PART}/{_PART}(?<!\.git)")


def is_repository(name: str) -> bool:
    """Return whether a name can be one of a Hub repository, ``org/name``."""
    return bool(_REPOSITORY.fullmatch(name))


def is_commit(revision: str | None) -> TypeGuard[str]:
    """Return whether a revision is a full commit, 40 hex digits in lower case, and so a pin."""
    return revision is not None and bool(re.fullmatch(r"[0-9a-f]{40}", revision))


def is_sha256(digest: str | None) -> TypeGuard[str]:
    """Return whether a text can be a SHA-256, 64 hex digits in lower case."""
    return digest is not None and bool(re.fullmatch(r"[0-9a-f]{64}", digest))
