"""What ``verticlip doctor`` reports: versions, devices, optional parts, packaged weights, download cache."""

from __future__ import annotations

import os
import platform
import re
from importlib import metadata
from typing import Any

from . import __version__
from .core import registry
from .core.errors import VerticlipError
from .core.torchaudio_fit import torchaudio_fit

_EXTRA = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^]]*\])?[^;]*;.*extra == ['\"]([\w-]+)['\"]")


def diagnose() -> dict[str, dict[str, Any]]:
    """Return {section: {name: plain value}}."""
    return {
        "versions": _versions(),
        "devices": _devices(),
        "extras": _extras(),
        "others": {"torchaudio": torchaudio_fit()[1]},
        "models": _models(),
        "cache": _cache(),
    }


def _installed(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _requirements() -> list[str]:
    try:
        return metadata.requires("verticlip") or []
    except metadata.PackageNotFoundError:
        return []


def _versions() -> dict[str, Any]:
    names = [
        re.split(r"[^A-Za-z0-9._-]", line, maxsplit=1)[0]
        for line in _requirements()
        if "extra ==" not in line
    ]
    versions = {name: _installed(name) or "missing" for name in names}
    return {"verticlip": __version__, "python": platform.python_version(), **versions}


def _devices() -> dict[str, Any]:
    import torch

    devices: dict[str, Any] = {
        "cpu": f"{os.cpu_count()} CPUs, {torch.get_num_threads()} threads, {platform.machine()}"
    }
    for index in range(torch.cuda.device_count()):
        facts = torch.cuda.get_device_properties(index)
        devices[f"cuda:{index}"] = f"{facts.name}, {facts.total_memory / 2**30:.0f} GiB"
    return devices


def _extras() -> dict[str, Any]:
    """Return {extra: "ready" or what is missing}; extras made of other extras are left out."""
    missing: dict[str, list[str]] = {}
    for line in _requirements():
        match = _EXTRA.match(line)
        if match and match[1] != "verticlip":
            found = missing.setdefault(match[2], [])
            if _installed(match[1]) is None:
                found.append(match[1])
    return {
        extra: f"missing {', '.join(names)}; pip install 'verticlip[{extra}]'" if names else "ready"
        for extra, names in missing.items()
    }


def _models() -> dict[str, Any]:
    """Return the state of packaged and published weights; nothing is fetched."""
    from .hub.loading import resolve
    from .hub.published import published_facts

    states = {}
    for name, spec in registry.models().items():
        if isinstance(spec.weights, registry.PublishedWeights):
            folder = published_facts(spec)["converted"]
            states[name] = f"converted, {folder}" if folder else "not fetched; the first load converts it"
        elif spec.weights.packaged is not None:
            try:
                states[name] = f"ready, {resolve(name).revision}"
            except VerticlipError as error:
                states[name] = str(error)
    return states


def _cache() -> dict[str, Any]:
    from huggingface_hub import CacheNotFound, scan_cache_dir
    from huggingface_hub.constants import HF_HUB_CACHE, HF_HUB_OFFLINE

    from .hub.trust import cache_folder

    facts: dict[str, Any] = {
        "folder": HF_HUB_CACHE,
        "offline": bool(HF_HUB_OFFLINE),
        "converted": str(cache_folder()),
    }
    try:
        found = scan_cache_dir()
    except CacheNotFound:
        return {**facts, "repositories": 0, "bytes": 0}
    return {**facts, "repositories": len(found.repos), "bytes": found.size_on_disk}
