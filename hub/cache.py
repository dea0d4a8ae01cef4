"""Converted models in the cache that nothing loads any more: found, and removed on request."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from ..core import registry
from ..core.registry import ModelSpec, PublishedWeights
from . import conversions
from .conversions import (
    CONVERSION_FILE,
    conversions_folder,
    converter_version,
    read_conversion,
    sweep_staging,
    weights_of,
)
from .imports import IMPORT, is_current
from .trust import all_recorded, cache_folder, locked


@dataclass(frozen=True)
class Stale:
    """A folder of the cache that no load would read.

    Attributes:
        model: it belongs to. folder: where it is. bytes: that it takes. reason: why it is not read.
    """

    model: str
    folder: Path
    bytes: int
    reason: str


def prune(name: str | None = None, *, dry_run: bool = False) -> list[Stale]:
    """Remove conversions that no load would read, and return them.

    These are the leavings of killed conversions, and conversions by an earlier version of their
    converter, with other options, from files that were forgotten, or of models that are not registered.

    Args:
        name: of one model, or of a repository that was imported; None looks at all.
        dry_run: only say what would go.

    Raises:
        ConfigError: no such model.
    """
    known = registry.models()
    if name is not None:
        if name not in known and not conversions_folder(name).is_dir():
            registry.model_spec(name)
        folders = [conversions_folder(name)]
    else:
        root = cache_folder() / "converted"
        folders = sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
    names = {conversions_folder(model).name: model for model in known}
    found: list[Stale] = []
    for folder in folders:
        model = names.get(folder.name, folder.name.replace("--", "/"))
        # No other process converts into the folder while it is looked at.
        with locked(model):
            stale = list(_stale_of(model, known.get(model), folder))
            if not dry_run:
                sweep_staging(folder)
                for one in stale:
                    shutil.rmtree(one.folder, ignore_errors=True)
                if folder.is_dir() and not any(folder.iterdir()):
                    folder.rmdir()
        found += stale
    return found


def _stale_of(model: str, spec: ModelSpec | None, folder: Path) -> Iterator[Stale]:
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.is_dir():
            reason = _reason(spec, path)
            if reason:
                size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
                yield Stale(model, path, size, reason)


def _reason(spec: ModelSpec | None, folder: Path) -> str:
    """Return why no load would read a folder, or ""."""
    if not (folder / CONVERSION_FILE).is_file():
        return "unfinished"
    content = read_conversion(folder)
    if content is None:
        return "damaged"
    imported = content.get("converter") == IMPORT
    if not imported and (spec is None or not isinstance(spec.weights, PublishedWeights)):
        return "not a model of the registry"
    try:
        files = [(file["repo_id"], file["name"], file["commit"]) for file in content["files"]]
        made_by = content["converter"], content["converter_version"], content["format"]
        options = content["options"]
    except (KeyError, TypeError):
        return "damaged"
    if imported:
        current = is_current(content)
    else:
        weights = weights_of(cast("ModelSpec", spec))
        current = made_by == (
            weights.converter,
            converter_version(cast("ModelSpec", spec)),
            conversions.FORMAT,
        )
        if current and options != dict(weights.options):
            return "made with other options"
    if not current:
        return "made by another version of the converter"
    # Files of a user's own folder have no commit and stand in no record.
    fetched = {file for file in files if file[2] is not None}
    if not fetched <= {(one.repo_id, one.name, one.commit) for one in all_recorded()}:
        return "made from files that were forgotten"
    return ""
