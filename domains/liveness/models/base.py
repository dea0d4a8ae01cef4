"""What every liveness model is: pictures of a presentation in, one logit per category of a taxonomy out.

How the parts meet:

* **Inference.** ``score_crops(handle, crops)`` is the one way from pixels to :class:`Scores`. It asks the
  network to prepare its inputs (``prepare_crop``), hands it the processor once (``use_processor``: a model
  with a text tower makes the tokens of its taxonomy there) and calls ``liveness_scores``.
* **Training.** A task calls ``model.use_processor(processor)`` once before training. ``forward(batch,
  extras=("category_logits",))`` then gives ``Outputs.extras["category_logits"]`` float32 [B, K], and
  ``live_margin`` [B] when that is asked for; a text tower that learns is run again, with gradient, at every
  step. ``batch.labels`` are class indices of the taxonomy (-1: not known). Further extras are said in
  :mod:`.categories` and :mod:`.flip_mcl`.
* **Text.** Class embeddings are kept per state of the text tower and set of tokens: encoded once at
  inference, and anew as soon as a weight changes.

Reference: ISO/IEC 30107-3; Srivatsan et al. 2023, FLIP, arXiv 2309.16649, section 3.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from ....core.answer_each import check_batch_size
from ....core.config import Config, ModelConfig, parse_config
from ....core.errors import ConfigError, InputError
from ....core.inputs import on_device
from ....core.model import ContrastiveModel
from ..faces.crop import CropConfig
from ..faces.picture import check_picture
from ..taxonomy import Taxonomy, load_taxonomy

if TYPE_CHECKING:
    from pathlib import Path

    from ....core.handle import ModelHandle
    from ....core.processing import Processor

Average = Literal["raw", "normalise_each"]
"""How the texts of a category become one vector: their mean as they are, or of unit vectors."""


class LivenessOptions(Config):
    """What the ``options`` of every liveness architecture share.

    Attributes:
        taxonomy: classes of the logits, in order; its whole content lies with the weights.
        crops: what of the picture the model sees, one entry per input.
        average: how the texts of a category become one vector; of no effect where no text is read.
    """

    taxonomy: Taxonomy
    crops: tuple[CropConfig, ...] = Field(default=(CropConfig(),), min_length=1)
    average: Average = "raw"


def liveness_options(
    taxonomy: Taxonomy | str | Path, crops: Sequence[CropConfig] | None = None, **others: Any
) -> dict[str, Any]:
    """Return ``ModelConfig.options`` of a liveness architecture as plain data.

    Args:
        taxonomy: or its name or file; its content is copied.
        crops: None is one crop of :class:`CropConfig`'s defaults.
        others: further options of the architecture.
    """
    shared = LivenessOptions(
        taxonomy=load_taxonomy(taxonomy),
        **({} if crops is None else {"crops": tuple(crops)}),
        **({"average": others.pop("average")} if "average" in others else {}),
    )
    return {**shared.model_dump(mode="json"), **others}


@dataclass(frozen=True)
class Scores:
    """What a model says of B presentations.

    Attributes:
        logits: float32 [B, K], one column per category of the taxonomy; a softmax gives probabilities.
        taxonomy: names, kinds and species of the columns.

    Raises:
        InputError: another shape of logits.

    Example:
        >>> scores = Scores(torch.tensor([[1.0, 3.0]]), load_taxonomy("binary"))
        >>> round(float(scores.margin[0]), 4), round(float(scores.p_live[0]), 4)
        (2.0, 0.8808)
    """

    logits: Tensor
    taxonomy: Taxonomy

    def __post_init__(self) -> None:
        width = len(self.taxonomy.categories)
        if self.logits.ndim != 2 or self.logits.shape[1] != width:
            raise InputError(
                f"logits must be [B, {width}] for taxonomy {self.taxonomy.name!r}, got "
                f"{list(self.logits.shape)}."
            )

    def __len__(self) -> int:
        return len(self.logits)

    def __getitem__(self, rows: slice) -> Scores:
        return Scores(self.logits[rows], self.taxonomy)

    @property
    def probabilities(self) -> Tensor:
        """Softmax over the categories, float64 [B, K]."""
        return self.logits.double().softmax(dim=1)

    @property
    def margin(self) -> Tensor:
        """Log-odds of a live presentation, float64 [B]; tells apart what probabilities round to 0 or 1."""
        return live_margin(self.logits.double(), self.taxonomy)

    @property
    def p_live(self) -> Tensor:
        """Sum of the probabilities of the live categories, float64 [B]: the sigmoid of the margin."""
        return self.margin.sigmoid()

    def attack_types(self, row: int) -> list[tuple[str, str, float]]:
        """Return (category, species, probability given an attack) of one row, most probable first.

        The probabilities ``p_c / (1 - p_live)`` sum to one however sure the model is of a live person.
        """
        columns = list(self.taxonomy.attacks)
        shares = self.logits[row].double()[columns].softmax(dim=0).tolist()
        named = [
            (self.taxonomy.categories[column].id, self.taxonomy.categories[column].species, share)
            for column, share in zip(columns, shares, strict=True)
        ]
        return sorted(named, key=lambda one: -one[2])


def live_margin(logits: Tensor, taxonomy: Taxonomy) -> Tensor:
    """Return ``logsumexp(live columns) - logsumexp(attack columns)`` [B] of logits [B, K]."""
    live, attacks = (
        logits[:, list(columns)].logsumexp(dim=1) for columns in (taxonomy.live, taxonomy.attacks)
    )
    return live - attacks


def mean_of_probabilities(logits: Sequence[Tensor]) -> Tensor:
    """Return the logs [B, K] of the mean of several softmaxes; of a single one its logits as they are."""
    if len(logits) == 1:
        return logits[0]
    stacked = torch.stack([one.float().log_softmax(dim=1) for one in logits])
    return stacked.logsumexp(dim=0) - float(np.log(len(logits)))


class LivenessModel(ContrastiveModel):
    """Base of the liveness architectures; a subclass implements :meth:`crop_logits`.

    Args:
        config: whose ``options`` are an :attr:`options_type`.

    Attributes:
        options: checked ``ModelConfig.options``.

    Raises:
        ConfigError: options that this architecture does not have.
    """

    options_type: ClassVar[type[LivenessOptions]] = LivenessOptions

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.options = parse_config(self.options_type, config.options, source=f"{config.name}: options")

    @property
    def taxonomy(self) -> Taxonomy:
        """Classes of the logits."""
        return self.options.taxonomy

    @property
    def crops(self) -> tuple[CropConfig, ...]:
        """What of a picture each input shows."""
        return self.options.crops

    def use_processor(self, processor: Processor) -> None:
        """Take from the processor what scores need beside pictures; a model without text needs nothing."""

    def prepare_crop(
        self, processor: Processor, pictures: Sequence[np.ndarray], index: int
    ) -> dict[str, Tensor]:
        """Return the inputs of B cropped pictures, uint8 [h, w, 3] RGB each, for crop number ``index``."""
        return processor("image", list(pictures))

    def crop_logits(self, inputs: Mapping[str, Tensor], index: int) -> Tensor:
        """Return logits float32 [B, K] of the inputs of crop number ``index``."""
        raise NotImplementedError(f"{type(self).__name__} must implement crop_logits().")

    def logit_extras(self, logits: Tensor) -> dict[str, Tensor]:
        """Return the extras of ``forward`` that any liveness model has, of logits [B, K]."""
        return {"category_logits": logits, "live_margin": live_margin(logits, self.taxonomy)}

    def liveness_scores(self, inputs: Sequence[Mapping[str, Tensor]]) -> Tensor:
        """Return logits float32 [B, K]; several crops count by the mean of their probabilities.

        Args:
            inputs: one mapping {argument: tensor [B, ...]} per entry of :attr:`crops`.

        Raises:
            InputError: another number of crops.
        """
        if len(inputs) != len(self.crops):
            raise InputError(f"{self.config.name} looks at {len(self.crops)} crops, got {len(inputs)}.")
        return mean_of_probabilities([self.crop_logits(one, index) for index, one in enumerate(inputs)])


def liveness_network(handle: ModelHandle) -> LivenessModel:
    """Return the network of a handle.

    Raises:
        ConfigError: it is no liveness model.
    """
    if isinstance(handle.network, LivenessModel):
        return handle.network
    raise ConfigError(
        f"{handle.id} is no liveness model (architecture {handle.config.architecture!r}). A model of "
        "pictures and texts becomes one by with_taxonomy(model, taxonomy)."
    )


def score_crops(handle: ModelHandle, crops: Sequence[Sequence[np.ndarray]], *, batch_size: int = 8) -> Scores:
    """Return the scores of B presentations.

    Args:
        handle: a model of this room.
        crops: per entry of the network's ``crops`` the B pictures cropped by it, uint8 [h, w, 3] RGB.
        batch_size: presentations per call of the network; logits depend on it by rounding alone (about 1e-6).

    Raises:
        ConfigError: no liveness model, or ``batch_size`` below 1.
        InputError: nothing to score, another number of crops, or a picture that cannot be used.
    """
    network = liveness_network(handle)
    check_batch_size(batch_size)
    if len(crops) != len(network.crops):
        raise InputError(f"{handle.id} looks at {len(network.crops)} crops of a picture, got {len(crops)}.")
    counts = {len(pictures) for pictures in crops}
    if len(counts) > 1 or not min(counts):
        raise InputError(f"Every crop needs the same pictures, at least one; got {sorted(counts)}.")
    for place, picture in enumerate(chain.from_iterable(crops)):
        check_picture(picture, f"picture {place % min(counts)}")
    network.use_processor(handle.processor)
    context = handle.precision("image") if "image" in network.modalities else contextlib.nullcontext()
    rows = []
    with torch.inference_mode(), context:
        for start in range(0, min(counts), batch_size):
            inputs = [
                on_device(
                    handle,
                    network.prepare_crop(handle.processor, pictures[start : start + batch_size], index),
                )
                for index, pictures in enumerate(crops)
            ]
            rows.append(network.liveness_scores(inputs).float().cpu())
    logits = torch.cat(rows).clone()
    bad = (~torch.isfinite(logits).all(dim=1)).nonzero().flatten().tolist()
    if bad:
        raise InputError(f"picture {bad[0]}: the model's answer is not finite. Check the weights.")
    return Scores(logits, network.taxonomy)


def with_taxonomy(
    handle: ModelHandle,
    taxonomy: Taxonomy | str | Path,
    crops: Sequence[CropConfig] | None = None,
    *,
    average: Average | None = None,
) -> ModelHandle:
    """Return a handle that scores by the texts of another taxonomy: prompt zero-shot.

    The towers are shared with ``handle``, not copied. A general CLIP that never saw an attack answers by what
    its texts say; no calibration of another taxonomy holds for it.

    Args:
        handle: a model with an image tower and a text tower: architecture ``contrastive``, ``categories`` or
            ``flip_mcl``.
        taxonomy: or its name or file.
        crops: None keeps those of a liveness model, else takes one default crop.
        average: how the texts of a category become one vector; None keeps the way of a liveness model, else
            takes their mean as they are.

    Raises:
        ConfigError: the model does not compare pictures with texts, or the taxonomy cannot be read.
    """
    from .categories import CategoryModel

    taxonomy = load_taxonomy(taxonomy, limits=handle.limits)
    if isinstance(handle.network, LivenessModel):
        crops = handle.network.crops if crops is None else crops
        average = average or handle.network.options.average
    average = average or "raw"
    changed = copy.copy(handle)
    changed.network = CategoryModel.over(handle.network, liveness_options(taxonomy, crops, average=average))
    word = f"taxonomy-{taxonomy.digest}" + ("" if average == "raw" else f"-{average}")
    changed.prompts = taxonomy.prompts()
    changed.variant = f"{handle.variant}+{word}" if handle.variant else word
    return changed
