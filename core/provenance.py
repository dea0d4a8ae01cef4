"""When a record was made, and by which version of this package."""

from __future__ import annotations

from datetime import datetime, timezone


def now() -> str:
    """Return the time in UTC to the second, ISO 8601."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def version() -> str:
    """Return the version of this package as it is installed; empty for a bare checkout."""
    from importlib import metadata

    try:
        return metadata.version("verticlip")
    except metadata.PackageNotFoundError:
        return ""
