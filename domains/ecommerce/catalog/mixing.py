"""The same products with other shares of picture and text, without encoding anything again."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from ....core.errors import ConfigError
from ....core.index.base import Identity, Kind, Rows
from ....core.index.copying import copy_index
from ....core.index.opening import create_index, open_index
from ..composed.stored import COMPOSE_FILE
from ..encoders.fusing import Fusion, fuse
from .catalog import Catalog
from .config import INDEX_FOLDER, MadeBy
from .encoders import encoder_of
from .further import FURTHER_FOLDER
from .search import has_view

if TYPE_CHECKING:
    from collections.abc import Callable

    from ....core.handle import ModelHandle
    from ....core.index.base import VectorIndex
    from .encode import ProductEncoding


def mixed_anew(
    catalog: Catalog, folder: str | Path, *, model: ModelHandle | ProductEncoding, fusion: Fusion
) -> Catalog:
    """Return a new catalogue of the same products whose vectors are mixed with other shares.

    The vectors of pictures and texts are taken over, and so are settings fitted for composed queries and, by
    building it anew, a graph. The folder appears when everything is in it; the catalogue that is read stays
    as it is.

    Args:
        catalog: to read; of a model that mixes by weights.
        folder: of the new one, absent.
        model: of both.
        fusion: shares of picture and text.

    Raises:
        ConfigError: the folder exists, the catalogue is empty or of another model, or the model puts both
            together by itself.
    """
    folder, config = Path(folder), catalog.config
    if folder.exists():
        raise ConfigError(f"{folder}: exists. Name a new folder.")
    if config.fusion is None:
        raise ConfigError(
            f"{config.model} puts pictures and texts together by itself; there are no shares to change."
        )
    config.check_encoder(encoder_of(model, config.fusion)[0])
    encoder, _ = encoder_of(model, fusion)
    made_by = MadeBy.of(encoder.identity).model_copy(update={"text": config.made_by.text})
    source, partial = catalog.index, folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        config.model_copy(update={"fusion": fusion, "made_by": made_by}).save(partial)
        _copied(
            source, partial / INDEX_FOLDER, config.kind, made_by.identity, lambda rows: _mixed(rows, fusion)
        )
        if (catalog.folder / FURTHER_FOLDER / "index.json").is_file():
            further = open_index(catalog.folder / FURTHER_FOLDER, read_only=True)
            _copied(further, partial / FURTHER_FOLDER, config.kind, made_by.identity, lambda rows: rows)
            further.close()
        if (catalog.folder / COMPOSE_FILE).is_file():
            shutil.copyfile(catalog.folder / COMPOSE_FILE, partial / COMPOSE_FILE)
        os.replace(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return Catalog.open(folder, model)


def _copied(
    source: VectorIndex, folder: Path, kind: Kind, identity: Identity, change: Callable[[Rows], Rows]
) -> None:
    """Copy an index to a folder under another identity, its rows changed."""
    made = create_index(folder, kind=kind, identity=identity, views=source.views, schema=source.schema)
    copy_index(source, made, change=change)
    if any(source.stats().indexed.values()):
        made.optimize()
    made.close()


def _mixed(rows: Rows, fusion: Fusion) -> Rows:
    """Return rows whose product vectors have other shares of picture and text."""
    sides = {view: torch.from_numpy(np.array(rows.vectors[view])) for view in ("image", "text")}
    present = {view: torch.tensor([has_view(rows, view, row) for row in range(len(rows))]) for view in sides}
    shares = fusion.shares(len(rows), rows.payload.column("category").to_pylist())
    product = fuse(sides["image"], sides["text"], shares, present).numpy()
    return Rows(rows.ids, rows.payload, {**rows.vectors, "product": product}, rows.present)
