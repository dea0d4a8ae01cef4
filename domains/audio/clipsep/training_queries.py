"""From the settings of a run to what asks its separator, with everything that towers say computed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ....core.checkpoint import read_weights
from ....core.data.files import inside
from ....core.errors import ConfigError, DataError
from ..loaders.frames import load_image
from .queries import (
    HybridQueries,
    ImageQueries,
    LabelQueries,
    Queries,
    TextQueries,
    VectorQueries,
    embed_frames,
    encoder,
)

if TYPE_CHECKING:
    from ....core.gather import GatheredRows
    from ....core.processing import Processor
    from ....core.start import Start
    from .separator import SeparatorConfig
    from .training import MixAndSeparateConfig

TOWERS = {"text": ("text",), "image": ("image",), "hybrid": ("image", "text")}
"""{kind of query: towers that it needs}."""


def training_queries(
    options: MixAndSeparateConfig,
    rows: GatheredRows,
    *,
    separator: SeparatorConfig,
    processor: Processor,
    start: Start | None,
    folder: Path,
) -> Queries | None:
    """Return what asks for the sources of mixtures, or None for a separator that is not asked.

    Args:
        options: of the task. rows: of all splits. folder: of the data.
        separator: how queries are scaled. processor, start: of the towers.

    Raises:
        ConfigError: no captions for a label, no towers, or a cache of other ones.
        DataError: a record without the frames that its query is made of.
    """
    if options.queries == "none":
        return None
    labels = sorted({str(row.record.label) for row in rows.rows if row.record.label is not None})
    if options.queries == "label":
        return LabelQueries(separator.labels or labels)
    if options.queries == "vectors":
        path = folder / inside(folder, str(options.vectors))
        return VectorQueries({name: vector.float() for name, vector in read_weights(path).items()})
    if start is None:
        raise ConfigError("Queries by text or image need a start, whose towers make them.")
    encode = encoder(start.network, normalize=separator.normalize_queries)
    made: dict[str, Queries] = {}
    if "text" in TOWERS[options.queries]:
        if rows.prompts is None:
            raise ConfigError("Text queries need captions of the labels. Name a prompt set: prompts: NAME.")
        made["text"] = TextQueries(rows.prompts, labels, processor=processor, encode=encode)
    if "image" in TOWERS[options.queries]:
        files = {row.record.id: _frame_files(row.extras, row.record.id, folder) for row in rows.rows}
        cache = None if options.frame_cache is None else folder / inside(folder, options.frame_cache)
        identity = {"model": start.id, "revision": start.revision, "processor": processor.fingerprint}
        identity["normalize"] = str(separator.normalize_queries)
        made["image"] = ImageQueries(
            embed_frames(
                files, load_image, processor=processor, encode=encode, cache=cache, identity=identity
            )
        )
    return HybridQueries(made["image"], made["text"]) if len(made) > 1 else next(iter(made.values()))


def _frame_files(extras: Mapping[str, Any], name: str, folder: Path) -> list[str]:
    """Return the frames of a row in order of time."""
    if "frames" not in extras:
        raise DataError(f"{name} has no frames, and queries are pictures. Use a reader that gives frames.")
    home = folder / inside(folder, str(extras["frames"]))
    files = sorted(str(path) for path in home.glob("*.jpg"))
    if not files:
        raise DataError(f"{name}: no frames (*.jpg) in {extras['frames']}.")
    return files[: int(extras["count"])]
