"""What a repository of the Hub is, told without its weights."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from ..core.files import CONFIG_FILE, WEIGHTS_FILE, read_json
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
        kind, weights, pickled, dim = "verticlip", WEIGHTS_FILE, False, config.get("embed_dim")
        modalities = list(_mapping(config.get("towers")))
    else:
        _, chosen = choose(names, get, source=repo_id)
        kind, weights, pickled = chosen.kind, chosen.weights, chosen.pickled
        raw = _mapping(read_json(get("config", chosen.files["config"]).path))
        dim = _mapping(raw.get("model_cfg", raw)).get("embed_dim", raw.get("projection_dim"))
        modalities = ["audio", "text"] if kind.endswith("clap") else ["image", "text"]
    card = foreign.CARD_FILE in names
    found = kept_import(repo_id, commit, verify=False)
    return {
        "name": repo_id,
        "commit": commit,
        "format": kind,
        "modalities": modalities,
        "embed_dim": dim if isinstance(dim, int) else None,
        "weights": weights,
        "pickled": pickled,
        "licence": foreign.licence_of(get("card", foreign.CARD_FILE).path)
        if card
        else foreign.UNKNOWN_LICENCE,
        "converted": str(found.folder) if found else None,
    }


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
