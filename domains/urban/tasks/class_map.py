"""Maps of land use by words: every tile of a scene gets the label whose text fits it best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from ....core.errors import ConfigError
from ....core.heads.zero_shot import ZeroShotHead
from ....core.inputs import encode_texts
from ....core.plots import made_by
from ..outputs.geoparquet import EmbeddingTable
from ..outputs.maps import origin_tags, write_class_map, write_map
from ..outputs.picture import save_map
from ..outputs.vector import write_layer
from ..protocols import Background
from .text_queries import check_maker, check_text, satellite_prompts

if TYPE_CHECKING:
    from ....core.handle import ModelHandle
    from ....core.prompts import PromptSet

_BATCH = 65_536
_BANDS = 255


@dataclass(frozen=True, eq=False)
class ClassMap:
    """What each tile of a scene shows.

    Attributes:
        class_names: K labels.
        probabilities: float32 [N, K]; they sum to 1 for softmax models.
        table: the N tiles.
        min_probability: below it a tile has no class.
    """

    class_names: tuple[str, ...]
    probabilities: NDArray[np.float32]
    table: EmbeddingTable
    min_probability: float = 0.0

    @property
    def classes(self) -> NDArray[np.int64]:
        """Position of each tile's label int64 [N]; -1 where none is probable enough."""
        best = self.probabilities.argmax(axis=1)
        return np.where(self.best >= self.min_probability, best, -1)

    @property
    def best(self) -> NDArray[np.float32]:
        """Probability of each tile's best label, float32 [N]."""
        return self.probabilities.max(axis=1)

    @property
    def labels(self) -> list[str | None]:
        """Label of each tile; None where none is probable enough."""
        return [None if place < 0 else self.class_names[place] for place in self.classes.tolist()]

    def counts(self) -> dict[str, int]:
        """Return how many tiles each label has."""
        found = np.bincount(self.classes[self.classes >= 0], minlength=len(self.class_names))
        return dict(zip(self.class_names, found.tolist(), strict=True))

    def save(
        self,
        folder: str | Path,
        *,
        name: str = "classes",
        background: Background | None = None,
        cog: bool = False,
        note: str = "",
    ) -> dict[str, Path]:
        """Write the map into a folder and return what was written.

        ``NAME.tif`` has the class of each tile with a colour table, ``NAME_probabilities.tif`` a band per
        label, ``NAME.gpkg`` a polygon per tile with its label, and ``NAME.png`` is a quick look.

        Args:
            folder: made where there is none.
            name: first part of the file names.
            background: raster to show below the picture.
            cog: GeoTIFFs as Cloud Optimized ones.
            note: what readers of the picture should know first; stands in its title.
        """
        folder, tiles = Path(folder), self.table.tiles()
        tags = origin_tags(self.table)
        bands = {label: self.probabilities[:, place] for place, label in enumerate(self.class_names)}
        if len(bands) > _BANDS:
            raise ConfigError(f"A map holds at most {_BANDS} classes, got {len(bands)}.")
        columns = {
            "label": self.labels,
            "probability": self.best,
            **{f"p_{label}": values for label, values in bands.items()},
        }
        made = made_by(str(self.table.meta.get("model_id", "")), str(self.table.meta.get("revision", "")))
        files = {
            "classes": folder / f"{name}.tif",
            "probabilities": folder / f"{name}_probabilities.tif",
            "layer": folder / f"{name}.gpkg",
            "picture": folder / f"{name}.png",
        }
        write_class_map(files["classes"], self.classes, self.class_names, tiles, tags=tags, cog=cog)
        units = dict.fromkeys(bands, "probability")
        write_map(files["probabilities"], bands, tiles, tags=tags, units=units, cog=cog)
        write_layer(files["layer"], tiles, columns, layer=name)
        save_map(
            files["picture"], self.classes, tiles, title=_title(self.table.source, note),
            background=background, classes=self.class_names, note=made,
        )  # fmt: skip
        return files


def classify_tiles(
    model: ModelHandle,
    table: EmbeddingTable,
    labels: Sequence[str] | None = None,
    *,
    templates: PromptSet | Sequence[str] | None = None,
    min_probability: float = 0.0,
) -> ClassMap:
    """Return the label of each tile, by comparing its embedding with the text of each label.

    Args:
        model: that made the embeddings.
        labels: at least two; None takes the classes of ``templates`` or of the model.
        templates: sentences with one ``{}``, or a prompt set; None takes the model's own.
        min_probability: below it a tile has no label.

    Raises:
        ConfigError: another model made the embeddings, or an impossible ``min_probability``.
        InputError: labels that cannot be used.
    """
    if not 0 <= min_probability <= 1:
        raise ConfigError(f"min_probability is from 0 to 1, got {min_probability}.")
    check_maker(model, table)
    check_text(model)
    prompts = satellite_prompts(model, labels, templates)
    bias = model.network.logit_bias
    head = ZeroShotHead.from_prompts(
        prompts,
        lambda texts: encode_texts(model, texts),
        scale=model.network.scale().item(),
        bias=None if bias is None else bias.item(),
    )
    found = [
        head.scores(F.normalize(torch.from_numpy(table.vectors[start : start + _BATCH]), dim=-1)).numpy()
        for start in range(0, len(table), _BATCH)
    ]
    probabilities = np.concatenate(found) if found else np.empty((0, len(prompts.class_names)), np.float32)
    return ClassMap(tuple(prompts.class_names), probabilities, table, min_probability)


def _title(source: str, note: str) -> str:
    title = f"Classes of {source}" if source else "Classes"
    return f"{title}, {note}" if note else title
