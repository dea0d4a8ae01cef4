"""Weights in their authors' own format: fetched, checked, converted once, and kept converted.

The first load of such a model fetches its files, compares each with the SHA-256 of the registry or
with the record of its first download, converts them, and keeps the result in the cache folder. Later
loads read that folder only. Another commit, file, option or converter version converts anew.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ..core.errors import ConfigError, WeightsError
from ..core.registry import ModelSpec, PublishedFile
from . import conversions
from .advice import UnknownRevisionError
from .conversions import (
    CONVERSION_FILE,
    SourceFile,
    conversions_folder,
    convert_into,
    converter_version,
    read_conversion,
    sweep_staging,
    verified_conversion,
    weights_of,
)
from .download import MismatchError, fetch
from .licences import is_non_commercial
from .loading import ResolvedModel
from .trust import FirstUse, forget, locked, record, recorded

_log = logging.getLogger(__name__)


def resolve_published(spec: ModelSpec, revision: str | None = None) -> ResolvedModel:
    """Return the converted folder of a published model, fetching and converting it on first use.

    Args:
        spec: with :class:`PublishedWeights`.
        revision: branch, tag or commit instead of the registered one; only for models whose weights
            come from one repository. Files of another repository (a vocabulary) keep theirs.

    Raises:
        ConfigError: access is not granted, no such revision, a revision for several repositories, or a
            file that only a person can download.
        WeightsError: a file cannot be fetched, is not the one that was registered or recorded, or is
            not a checkpoint of this system.
    """
    if weights_of(spec).by_hand:
        raise ConfigError(how_by_hand(spec))
    files = _planned(spec, revision)
    found = _converted(spec, files)
    if found is not None:
        return found
    with locked(spec.name):
        # Another process may have converted it while this one waited.
        found = _converted(spec, files)
        if found is not None:
            return found
        _log.warning("%s", notice(spec))
        paths = {file.role: _fetch(spec, file) for file in files}
        used = _first_uses(files)
        sources = [
            SourceFile(
                role=file.role,
                repo_id=file.repo_id,
                name=file.name,
                commit=first.commit,
                sha256=first.sha256,
                bytes=first.bytes,
                registered=True if file.sha256 else None,
            )
            for file, first in zip(files, used, strict=True)
        ]
        start = time.monotonic()
        folder = _folder(spec, used)
        # Without conversion.json it is what somebody left of an earlier one.
        shutil.rmtree(folder, ignore_errors=True)
        # A conversion that was killed leaves gigabytes; nobody else converts this model now.
        sweep_staging(folder.parent)
        convert_into(spec, paths, sources, folder)
        seconds = time.monotonic() - start
        _log.info(
            "%s: converted in %.0f s, kept in %s; the download itself is not needed any more",
            spec.name,
            seconds,
            folder,
        )
    # What was written was hashed while it was; a second reading of gigabytes would tell nothing new.
    found = _converted(spec, files, verify=False)
    if found is None:
        raise WeightsError(f"{spec.name}: its converted folder {folder} disappeared. Load it again.")
    return found


def notice(spec: ModelSpec) -> str:
    """Return what a user has to know before using somebody else's weights."""
    limits = ", which forbids commercial use" if is_non_commercial(spec.licence) else ""
    under = "no stated licence" if spec.licence == "unknown" else spec.licence
    return f"{spec.name}: weights under {under}{limits}. Intended use: {spec.intended_use}"


def how_by_hand(spec: ModelSpec) -> str:
    """Return how to get a model whose weights only a person can download, or "" for any other."""
    files = weights_of(spec).by_hand
    if not files:
        return ""
    places = " and ".join(f"{Path(file.name).name} from {file.page}" for file in files)
    given = " ".join(f"--file {file.role}={Path(file.name).name}" for file in files)
    more = [file for file in weights_of(spec).files if file.optional]
    return (
        f"{spec.name}: its weights are on no model hub. Download {places}, then run: "
        f"verticlip models convert {spec.name} {given} --out FOLDER, and use FOLDER as the model."
        + (f" It also takes: {'; '.join(map(_extra, more))}." if more else "")
    )


def _extra(file: PublishedFile) -> str:
    """Return how an optional file is given, where it is, and what for."""
    said = f"--file {file.role}={Path(file.name).name}"
    home = f"https://huggingface.co/{file.repo_id}" if file.repo_id else file.page
    said += f" from {home}" if home else ""
    return f"{said} ({file.purpose})" if file.purpose else said


def published_facts(spec: ModelSpec) -> dict[str, Any]:
    """Return what is known of a published model without fetching anything."""
    files = _planned(spec, None)
    rows = []
    for file in files:
        first = _recorded(file)
        unknown = "recorded at first use" if file.repo_id else "not known"
        rows.append(
            {
                "role": file.role,
                "repo_id": file.repo_id,
                "page": file.page,
                "optional": file.optional,
                "purpose": file.purpose,
                "name": file.name,
                "revision": file.revision or "main",
                "commit": first.commit if first else None,
                "sha256": file.sha256 or (first.sha256 if first else unknown),
                "size": file.size or (f"{first.bytes / 1e9:.2f} GB" if first else ""),
            }
        )
    used = [_recorded(file) for file in files]
    folder = _folder(spec, [first for first in used if first]) if all(used) else None
    ready = folder is not None and (folder / CONVERSION_FILE).is_file()
    return {"gated": weights_of(spec).gated, "files": rows, "converted": str(folder) if ready else None}


def forget_first_use(spec: ModelSpec) -> list[FirstUse]:
    """Take the files of a model off the record of first downloads: the next load records them anew.

    This is how to accept a file that its authors replaced. Every revision is forgotten, those as well
    that were asked for instead of the registered one.
    """
    return forget((file.repo_id, file.name) for file in weights_of(spec).files)


def _planned(spec: ModelSpec, revision: str | None) -> tuple[PublishedFile, ...]:
    """Return the files to fetch; a registered hash holds for the registered revision only."""
    files = weights_of(spec).files
    if revision is None:
        return files
    homes = {file.repo_id for file in files if file.role != "vocab"}
    if len(homes) > 1:
        raise ConfigError(
            f"{spec.name}: its weights come from {' and '.join(sorted(homes))}, so revision {revision!r} is "
            "not clear. Leave revision out."
        )
    return tuple(
        replace(file, revision=revision, sha256=None)
        if file.repo_id in homes and revision != (file.revision or "main")
        else file
        for file in files
    )


def _recorded(file: PublishedFile) -> FirstUse | None:
    return recorded(file.repo_id, file.name, file.revision or "main")


def _first_uses(files: Sequence[PublishedFile]) -> list[FirstUse]:
    return [first for first in map(_recorded, files) if first is not None]


def _fetch(spec: ModelSpec, file: PublishedFile) -> Path:
    """Return the local path of a file that is the registered one, or the one of the first download."""
    first = _recorded(file)
    asked = file.revision or "main"
    hint = f"convert files you have: verticlip models convert {spec.name}"
    gated = weights_of(spec).gated
    expected = file.sha256 or (first.sha256 if first else None)
    try:
        found = fetch(
            file.repo_id, file.name, first.commit if first else asked, sha256=expected, gated=gated, hint=hint
        )
    except UnknownRevisionError:
        if first is None:
            raise
        raise WeightsError(
            f"{file.repo_id}: commit {first.commit}, recorded on {first.date}, is gone: its history was "
            f"rewritten. {_how_to_accept(spec, first)}"
        ) from None
    except MismatchError as error:
        _refuse_other(spec, file, first, error.got)
        raise
    if first is None:
        today = datetime.now(timezone.utc).date().isoformat()
        record([FirstUse(file.repo_id, file.name, asked, found.commit, found.sha256, found.bytes, today)])
    elif found.sha256 != first.sha256:
        # The registry states a hash now, and the record is of another file from before it did.
        _refuse_other(spec, replace(file, sha256=None), first, found.sha256)
    return found.path


def _refuse_other(spec: ModelSpec, file: PublishedFile, first: FirstUse | None, got: str) -> None:
    """Raise for a file that is whole and not the registered or recorded one."""
    asked = file.revision or "main"
    if file.sha256 is not None:
        raise MismatchError(
            f"{file.repo_id}: {file.name} at {asked} has SHA-256 {got}; the registry states "
            f"{file.sha256}. Its authors replaced it; a release of this package may know the new one.",
            got,
            file.sha256,
        ) from None
    if first is not None:
        raise MismatchError(
            f"{file.repo_id}: {file.name} at {asked} has SHA-256 {got}; on {first.date} it was "
            f"{first.sha256} (commit {first.commit}). {_how_to_accept(spec, first)}",
            got,
            first.sha256,
        ) from None


def _how_to_accept(spec: ModelSpec, first: FirstUse) -> str:
    return (
        "Delete a damaged copy from the Hub's cache. If the authors replaced the file and you trust the new "
        f"one, run: verticlip models forget {spec.name} (it takes {first.name} off the record of first "
        "downloads)."
    )


def _folder(spec: ModelSpec, used: Sequence[FirstUse]) -> Path:
    """Return where the conversion of these files by this version of the converter is kept."""
    weights = weights_of(spec)
    content = {
        "format": conversions.FORMAT,
        "converter": weights.converter,
        "version": converter_version(spec),
        "options": dict(weights.options),
        "files": [[file.role, first.repo_id, first.name, first.commit, first.sha256]
                  for file, first in zip(weights.files, used, strict=True)],
    }  # fmt: skip
    key = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
    return conversions_folder(spec.name) / key


def _converted(
    spec: ModelSpec, files: Sequence[PublishedFile], *, verify: bool = True
) -> ResolvedModel | None:
    """Return the model converted before from these files, checked unless it was just made, or None."""
    used = _first_uses(files)
    if len(used) < len(files):
        return None
    folder = _folder(spec, used)
    content = read_conversion(folder)
    if content is None:
        return None
    written = verified_conversion(folder, content, source=spec.name, verify=verify)
    commits = [first.commit for file, first in zip(files, used, strict=True) if file.role != "vocab"]
    return ResolvedModel(folder, spec.name, "+".join(dict.fromkeys(commits)), spec, written)
