"""When a record was made, and by which version of this package."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from datetime import datetime, timezone
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def now() -> str:
    """Return the time in UTC to the second, ISO 8601."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def version() -> str:
    """Return the version of this package as it is installed; empty for a bare checkout."""
    return versions_of(("verticlip",)).get("verticlip", "")


def versions_of(packages: Iterable[str]) -> dict[str, str]:
    """Return {package: version} of those ``packages`` that are installed."""
    from importlib import metadata

    found = {}
    for name in packages:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


NOTED = ("verticlip", "torch", "numpy", "timm", "open_clip_torch", "transformers", "lightning")
"""Packages whose version may change what a run gives."""


def environment() -> dict[str, str]:
    """Return {what: version} of Python, the system and the packages of :data:`NOTED` that are installed.

    Nothing of the machine itself: no name, no path, no user.
    """
    import platform

    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}".strip(),
        **versions_of(NOTED),
    }


def describe_device(device: torch.device) -> str:
    """Return what ran, for people: the GPU's name, or the number of CPU threads."""
    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"{threads} CPU thread{'s' if threads > 1 else ''}"
