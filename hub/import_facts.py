"""What a repository of the Hub is, told without its weights."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..core.files import CARD_FILE, CONFIG_FILE, WEIGHTS_FILE, read_json
from . import foreign
from .imports import choose, fetched, kept_import, listed
from .revisions import resolve_commit


def import_facts(repo_id: str, revision: str | None = None) -> dict[str, Any]:
    """Return what a repository holds: verticlip's own format, or a checkpoint of open_clip or transformers.

    Keys: ``name, commit, format, modalities, embed_dim`` (None where no config says it), ``weights`` (name),
    ``pickled, licence`` and ``converted``: the folder of a conversion, or None.

    Args:
        repo_id: ``org/name``.
        revision: branch, tag or commit; None is ``main``.

    Raises:
        ConfigError: no such repository or revision, no access, or no checkpoint that can be loaded, with the
            reason as far as it shows before the weights are read.
        WeightsError: a config cannot be fetched now.
    """
    commit = resolve_commit(repo_id, revision)
    names = listed(repo_id, commit)
    get = functools.partial(fetched, repo_id, commit)
    config = _mapping(read_json(get("config", CONFIG_FILE).path)) if CONFIG_FILE in names else {}
    if foreign.kind_of_files(names, config) == "verticlip":
        dim = config.get("embed_dim")
        told: dict[str, Any] = {
            "format": "verticlip",
            "modalities": list(_mapping(config.get("towers"))),
            "embed_dim": dim if isinstance(dim, int) else None,
            "weights": WEIGHTS_FILE,
            "pickled": False,
        }
    else:
        _, chosen = choose(names, get, source=repo_id)
        told = _plan_facts(chosen, get("config", chosen.files["config"]).path)
    card = CARD_FILE in names
    found = kept_import(repo_id, commit, verify=False)
    return {
        "name": repo_id,
        "commit": commit,
        **told,
        "licence": foreign.licence_of(get("card", CARD_FILE).path) if card else foreign.UNKNOWN_LICENCE,
        "converted": str(found.folder) if found else None,
    }


def import_folder_facts(folder: Path) -> dict[str, Any]:
    """Return what a folder of open_clip or transformers files holds; its weights stay unread.

    Keys: ``format, modalities, embed_dim, weights, pickled, licence``, as in :func:`import_facts`.

    Raises:
        ConfigError: no checkpoint that can be loaded, with the reason as far as it shows.
    """
    from ..core.layouts.foreign_config import read_transformers

    names = {path.name for path in folder.iterdir() if path.is_file()}
    decides = CONFIG_FILE in names and not foreign.has_open_clip_safetensors(names)
    config = read_transformers(folder / CONFIG_FILE) if decides else None
    chosen = foreign.plan(names, config, source=str(folder))
    return {
        **_plan_facts(chosen, folder / chosen.files["config"]),
        "licence": foreign.licence_of(folder / CARD_FILE) if CARD_FILE in names else foreign.UNKNOWN_LICENCE,
    }


def _plan_facts(chosen: foreign.Plan, config: Path) -> dict[str, Any]:
    """Return what the config of a checkpoint of another library says of it."""
    raw = _mapping(read_json(config))
    dim = _mapping(raw.get("model_cfg", raw)).get("embed_dim", raw.get("projection_dim"))
    return {
        "format": chosen.kind,
        "modalities": ["audio", "text"] if chosen.kind.endswith("clap") else ["image", "text"],
        "embed_dim": dim if isinstance(dim, int) else None,
        "weights": chosen.weights,
        "pickled": chosen.pickled,
    }


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
