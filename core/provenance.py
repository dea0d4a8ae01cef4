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


NOTED = ("verticlip", "torch", "numpy", "timm", "open_clip_torch", "transformers", "lightning")
"""Packages whose version may change what a run gives."""


def environment() -> dict[str, str]:
    """Return {what: version} of Python, the system and the packages of :data:`NOTED` that are installed.

    Nothing of the machine itself: no name, no path, no user.
    """
    import platform
    from importlib import metadata

    found = {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}".strip(),
    }
    for name in NOTED:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
