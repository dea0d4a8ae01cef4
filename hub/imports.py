"""Checkpoints of open_clip and transformers as models: found out, fetched, converted once, kept converted.

Nothing of a foreign repository is run, and no other repository that its config names is asked for anything.
What the files are is told from their names and one config; they are fetched by exact name at one commit,
their hashes recorded, and the conversion is kept in the cache folder. Later loads read that folder only.
"""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core import registry
from ..core.errors import WeightsError
from ..core.files import CARD_FILE, CONFIG_FILE, WEIGHTS_FILE, read_json, sha256_of, write_json_atomic
from . import conversions, foreign
from .advice import UnreachableError, Wanted
from .conversions import (
    SourceFile,
    conversions_folder,
    keep_converted,
    read_conversion,
    sweep_staging,
    verified_conversion,
)
from .download import Fetched, fetch
from .licences import is_non_commercial
from .loading import ResolvedModel
from .revisions import asked, resolve_commit, storage_of
from .trust import FirstUse, locked, record, recorded

if TYPE_CHECKING:
    from ..core.conversion import Converted

_log = logging.getLogger(__name__)

IMPORT = "import"
"""What ``converter`` of ``conversion.json`` says of these models."""
FOLDERS = "imported"
"""Where conversions of folders are kept."""


@dataclass(frozen=True)
class _File:
    """A file that a conversion reads: its role, its name in the repository or folder, where it lies."""

    role: str
    name: str
    path: Path
    sha256: str
    bytes: int


def import_repository(repo_id: str, revision: str | None = None) -> ResolvedModel:
    """Return the converted folder of a repository of open_clip or transformers, made on first use.

    Args:
        repo_id: ``org/name``.
        revision: branch, tag or commit; None is ``main``. The commit it stands for is recorded.

    Raises:
        ConfigError: no such repository or revision, no access, no checkpoint of a known kind, or one whose
            config asks for what we cannot do or never do: code, other repositories.
        WeightsError: a file cannot be fetched, is not the recorded one, or does not fit the config.
    """
    commit = resolve_commit(repo_id, revision)
    found = kept_import(repo_id, commit)
    if found is not None:
        return found
    with locked(repo_id):
        # Another process may have converted it while this one waited.
        found = kept_import(repo_id, commit)
        if found is not None:
            return found
        names = listed(repo_id, commit)
        get = functools.partial(fetched, repo_id, commit)
        chosen, files, index = _gather(names, get, source=repo_id)
        licence = (
            foreign.licence_of(get("card", CARD_FILE).path) if CARD_FILE in names else foreign.UNKNOWN_LICENCE
        )
        _log.warning("%s", _notice(repo_id, chosen, licence))
        sources = [_source(file, repo_id, commit) for file in (*files, *index)]
        folder = conversions_folder(repo_id) / _key(chosen, sources)
        # Without conversion.json it is what somebody left of an earlier one.
        shutil.rmtree(folder, ignore_errors=True)
        sweep_staging(folder.parent)
        about = {"model": repo_id, **_about(chosen)}
        _convert(chosen, files, folder, sources=sources, name=repo_id, licence=licence, about=about)
        today = datetime.now(timezone.utc).date().isoformat()
        record(FirstUse(repo_id, one.name, commit, commit, one.sha256, one.bytes, today) for one in sources)
    # What was written was hashed while it was.
    found = kept_import(repo_id, commit, verify=False)
    if found is None:
        raise WeightsError(f"{repo_id}: its converted folder {folder} disappeared. Load it again.")
    return found


def import_folder(folder: Path) -> ResolvedModel:
    """Return the converted folder of a folder of open_clip or transformers files, which stays as it is.

    Raises:
        ConfigError: no checkpoint of a known kind, or one whose config asks for what we cannot or never do.
        WeightsError: a file is damaged or does not fit the config.
    """
    folder = Path(folder)
    source = str(folder)
    names = {path.name for path in folder.iterdir() if path.is_file()}

    def get(role: str, name: str) -> _File:
        path = folder / name
        return _File(role, name, path, sha256_of(path), path.stat().st_size)

    chosen, files, index = _gather(names, get, source=source)
    sources = [_source(file, "", None) for file in (*files, *index)]
    kept = conversions_folder(FOLDERS) / _key(chosen, sources)
    made = False
    if read_conversion(kept) is None:
        with locked(FOLDERS):
            if read_conversion(kept) is None:
                card = folder / CARD_FILE
                licence = foreign.licence_of(card) if card.is_file() else foreign.UNKNOWN_LICENCE
                _log.warning("%s", _notice(source, chosen, licence))
                shutil.rmtree(kept, ignore_errors=True)
                sweep_staging(kept.parent)
                # A folder's name may say whose computer it is on.
                name = f"{FOLDERS}/{chosen.kind.replace(':', '-').replace('_', '-')}"
                about = {"model": name, **_about(chosen)}
                _convert(chosen, files, kept, sources=sources, name=name, licence=licence, about=about)
                made = True
    written = verified_conversion(kept, read_conversion(kept) or {}, source=source, verify=not made)
    return ResolvedModel(kept, source, None, None, written)


def kept_import(repo_id: str, commit: str, *, verify: bool = True) -> ResolvedModel | None:
    """Return the model that was converted before from a commit, without asking the Hub, or None.

    Args:
        verify: compare the converted files with what was noted of them when they were written.

    Raises:
        WeightsError: the converted folder was changed or damaged.
    """
    home = conversions_folder(repo_id)
    for folder in sorted(home.iterdir()) if home.is_dir() else ():
        content = read_conversion(folder)
        if content is None or not is_current(content) or not _is_of(content, repo_id, commit):
            continue
        written = verified_conversion(folder, content, source=repo_id, verify=verify)
        return ResolvedModel(folder, repo_id, commit, None, written)
    return None


def _is_of(content: Mapping[str, Any], repo_id: str, commit: str) -> bool:
    """Return whether a conversion was made from files of a commit that are on record."""
    try:
        files = [(file["name"], file["commit"], file["sha256"]) for file in content["files"]]
    except (KeyError, TypeError):
        return False
    known = [recorded(repo_id, name, commit) for name, _, _ in files]
    return bool(files) and all(
        at == commit and first is not None and first.sha256 == sha256
        for (_, at, sha256), first in zip(files, known, strict=True)
    )


def is_at_hand(repo_id: str, commit: str) -> bool:
    """Return whether the Hub's cache holds a checkpoint of another library, as far as its names tell."""
    names = _cached_names(repo_id, commit)
    path = _snapshot(repo_id, commit) / CONFIG_FILE
    config = read_json(path) if CONFIG_FILE in names else None
    kind = foreign.kind_of_files(names, config if isinstance(config, Mapping) else None)
    return kind not in (None, "verticlip")


def is_current(content: Mapping[str, Any]) -> bool:
    """Return whether ``conversion.json`` of an import was written by this version of its converter."""
    made_by = content.get("converter"), content.get("format")
    return made_by == (IMPORT, conversions.FORMAT) and content.get("converter_version") == _version(
        str(content.get("kind"))
    )


_Get = Callable[[str, str], _File]
"""From (role, name) to the file, fetched and verified."""


def choose(names: set[str], get: _Get, *, source: str) -> tuple[Mapping[str, Any] | None, foreign.Plan]:
    """Return (content of ``config.json`` where it decides, or None; which files are read)."""
    from ..core.layouts.foreign_config import read_transformers

    config = None
    if CONFIG_FILE in names and not foreign.has_open_clip_safetensors(names):
        config = read_transformers(get("config", CONFIG_FILE).path)
    return config, foreign.plan(names, config, source=source)


def _gather(names: set[str], get: _Get, *, source: str) -> tuple[foreign.Plan, list[_File], list[_File]]:
    """Return (plan, every file that is read, weights first, and the index that named their pieces)."""
    _, chosen = choose(names, get, source=source)
    small = [get(role, name) for role, name in chosen.files.items()]
    if not chosen.indexed:
        return chosen, [get("weights", chosen.weights), *small], []
    index = get("index", chosen.weights)
    content = read_json(index.path)
    shards = foreign.shards_of(
        content if isinstance(content, Mapping) else {}, name=chosen.weights, present=names
    )
    pieces = [get(f"weights {number}", name) for number, name in enumerate(shards, 1)]
    return chosen, [*pieces, *small], [index]


def fetched(repo_id: str, commit: str, role: str, name: str) -> _File:
    """Return a file of a commit, verified, and the same as at its first use."""
    first = recorded(repo_id, name, commit)
    found: Fetched = fetch(repo_id, name, commit, sha256=first.sha256 if first else None)
    return _File(role, name, found.path, found.sha256, found.bytes)


def listed(repo_id: str, commit: str) -> set[str]:
    """Return the names of a commit's files: of the Hub or, where it cannot be asked, of the cache.

    Raises:
        ConfigError: no such repository, or no access to it.
        UnreachableError: the Hub cannot be asked now, and the cache has no whole checkpoint.
    """
    from huggingface_hub import HfApi, constants

    def ask() -> set[str]:
        info = HfApi().model_info(repo_id, revision=commit, timeout=constants.HF_HUB_ETAG_TIMEOUT)
        return {sibling.rfilename for sibling in info.siblings or ()}

    try:
        return asked(ask, Wanted(repo_id, CONFIG_FILE, commit))
    except UnreachableError:
        if is_at_hand(repo_id, commit):
            return _cached_names(repo_id, commit)
        raise


def _snapshot(repo_id: str, commit: str) -> Path:
    return storage_of(Wanted(repo_id, CONFIG_FILE, commit)) / "snapshots" / commit


def _cached_names(repo_id: str, commit: str) -> set[str]:
    snapshot = _snapshot(repo_id, commit)
    return {path.name for path in snapshot.iterdir() if path.is_file()} if snapshot.is_dir() else set()


def _source(file: _File, repo_id: str, commit: str | None) -> SourceFile:
    return SourceFile(file.role, repo_id, file.name, commit, file.sha256, file.bytes, None)


def _version(kind: str) -> int:
    """Return the version of the module that converts a kind; it rises when a file converts differently."""
    if kind == "transformers:clap":
        return int(getattr(registry.room("audio").module("converters", "clap"), "VERSION", 1))
    from ..core.layouts import import_open_clip, import_transformers

    return (import_open_clip if kind == "open_clip" else import_transformers).VERSION


def _about(chosen: foreign.Plan) -> dict[str, Any]:
    return {
        "variant": False,
        "converter": IMPORT,
        "converter_version": _version(chosen.kind),
        "kind": chosen.kind,
        "options": {},
    }


def _key(chosen: foreign.Plan, sources: Sequence[SourceFile]) -> str:
    """Return the name of the folder that a conversion of these files by this version is kept in."""
    content = [conversions.FORMAT, _about(chosen), [asdict(source) for source in sources]]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def _convert(
    chosen: foreign.Plan,
    files: Sequence[_File],
    out: Path,
    *,
    sources: Sequence[SourceFile],
    name: str,
    licence: str,
    about: Mapping[str, Any],
) -> None:
    """Convert files into ``out`` under the name and licence that the model gets."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=conversions.STAGING) as scratch:
        paths = {file.role: file.path for file in files if not file.role.startswith("weights ")}
        if chosen.indexed:
            pieces = [file for file in files if file.role.startswith("weights ")]
            paths["weights"] = _joined(pieces, Path(scratch) / WEIGHTS_FILE)
        converted = _converted(chosen, paths, name, licence, Path(scratch))
        library = "open_clip" if chosen.kind == "open_clip" else "transformers"
        description = converted.config.description or f"Imported from a checkpoint of {library}."
        changes: dict[str, Any] = {"name": name, "licence": licence, "description": description}
        if chosen.kind != "transformers:clap":
            changes["domain"] = None
        config = converted.config.model_copy(update=changes)
        keep_converted(replace(converted, config=config), sources, out, about=about)


def _converted(
    chosen: foreign.Plan, paths: Mapping[str, Path], name: str, licence: str, scratch: Path
) -> Converted:
    from ..core.layouts import import_open_clip, import_transformers

    if chosen.kind == "open_clip":
        return import_open_clip.convert(name, paths, {})
    if chosen.kind == "transformers:clip":
        return import_transformers.convert_clip(name, paths, {})
    if chosen.kind == "transformers:siglip":
        return import_transformers.convert_siglip(name, paths, {})
    clap = registry.room("audio").function("converters", "clap")
    # The converter is the registry's, and reads the settings of the recordings from a file of their own.
    return clap(name, _with_preparation(paths, scratch), {"licence": licence, "overlong": "truncate"})


def _with_preparation(paths: Mapping[str, Path], scratch: Path) -> dict[str, Path]:
    """Return files with ``preprocessor``; newer releases keep it inside ``processor_config.json``."""
    given = dict(paths)
    nested = given.pop("processor", None)
    if "preprocessor" not in given and nested is not None:
        raw = read_json(nested)
        content = raw.get("feature_extractor") if isinstance(raw, Mapping) else None
        if isinstance(content, Mapping):
            given["preprocessor"] = scratch / "preprocessor_config.json"
            write_json_atomic(given["preprocessor"], dict(content))
    return given


def _joined(pieces: Sequence[_File], out: Path) -> Path:
    """Write the tensors of several files as one.

    Raises:
        WeightsError: a tensor in two files, or a damaged one.
    """
    from ..core.conversion import read_checkpoint, write_state

    state: dict[str, Any] = {}
    for piece in pieces:
        tensors = read_checkpoint(piece.path)
        twice = sorted(set(tensors) & set(state))
        if twice:
            raise WeightsError(f"{piece.name}: {twice[0]} stands in another piece as well. Fetch them again.")
        state |= tensors
    write_state(state, out)
    return out


def _notice(source: str, chosen: foreign.Plan, licence: str) -> str:
    """Return what a user has to know before using somebody else's weights."""
    library = "open_clip" if chosen.kind == "open_clip" else "transformers"
    limits = ", which forbids commercial use" if is_non_commercial(licence) else ""
    under = "no stated licence" if licence == foreign.UNKNOWN_LICENCE else licence
    said = f"{source}: importing a checkpoint of {library}; weights under {under}{limits}."
    if chosen.pickled:
        said += " Its weights are a pickle: only tensors are read from it, and nothing in it is run."
    return said
