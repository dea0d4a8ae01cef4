"""The architecture ``flip_mcl``: FLIP-IT with a projector that two further views of a picture go through.

The projector serves training alone; at inference this is :class:`.categories.CategoryModel`.

Reference: Srivatsan et al. 2023, FLIP, arXiv 2309.16649, section 3.3.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from ....core.config import ModelConfig
from ....core.errors import ConfigError, InputError
from ....core.types import Batch, Outputs
from .base import LivenessOptions
from .categories import CategoryModel

VIEWS = ("view_1", "view_2")
"""Keys of ``Batch.extras``: pixels float32 [B, 3, S, S] of two random views of each picture."""

PromptViews = Literal["reference", "disjoint"]
"""How the texts of a category become two subsets: see :func:`draw_prompt_views`."""


class FlipMCLOptions(LivenessOptions):
    """``options`` of a model config with ``architecture: flip_mcl``.

    Attributes:
        ssl_width, ssl_dim: hidden and last width of the projector.
    """

    ssl_width: int = Field(default=4096, ge=1)
    ssl_dim: int = Field(default=256, ge=1)


class Projector(nn.Module):
    """Linear, batch norm, ReLU, twice, and a linear layer; from image embeddings [B, D] to [B, ssl_dim].

    The names of the parameters are those of published checkpoints.
    """

    def __init__(self, inputs: int, width: int, dim: int) -> None:
        super().__init__()
        self.layer1 = nn.Linear(inputs, width)
        self.bn1 = nn.BatchNorm1d(width)
        self.layer2 = nn.Linear(width, width)
        self.bn2 = nn.BatchNorm1d(width)
        self.layer3 = nn.Linear(width, dim)

    def forward(self, embeddings: Tensor) -> Tensor:
        """Return [B, ssl_dim] of raw image embeddings [B, D].

        Raises:
            InputError: a single row in training, which has no batch statistics.
        """
        if self.training and len(embeddings) < 2:
            raise InputError("FLIP-MCL trains on batches of at least 2 pictures, got 1. Drop the last batch.")
        states = self.bn1(self.layer1(embeddings)).relu()
        return self.layer3(self.bn2(self.layer2(states)).relu())


class FlipMCL(CategoryModel):
    """FLIP-MCL: text decides, and two views of each picture keep image and text embeddings consistent.

    Beside those of :class:`.categories.CategoryModel`, ``forward`` gives the extras ``view_1_embeddings``
    and ``view_2_embeddings`` [B, D], raw, and ``view_1_projections`` and ``view_2_projections``
    [B, ssl_dim], when ``batch.extras`` has the pixels :data:`VIEWS`. Each view is one batch of the batch
    norms, the first view first.
    """

    options_type: ClassVar[type[LivenessOptions]] = FlipMCLOptions
    options: FlipMCLOptions

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.image_mlp = Projector(config.embed_dim, self.options.ssl_width, self.options.ssl_dim)

    def forward(self, batch: Batch, *, tokens: tuple[str, ...] = (), extras: tuple[str, ...] = ()) -> Outputs:
        """Return embeddings of the batch and the ``extras`` that the text of the class names.

        Raises:
            InputError: an extra of a view, and the batch has no such view.
        """
        outputs = super().forward(batch, tokens=tokens, extras=extras)
        found = dict(outputs.extras)
        for view in VIEWS:
            wanted = [name for name in extras if name.startswith(f"{view}_")]
            if not wanted:
                continue
            if view not in batch.extras:
                raise InputError(
                    f"batch.extras has no {view!r}; FLIP-MCL trains on two more views of a picture."
                )
            raw, _ = self.embed("image", {"pixels": batch.extras[view]})
            found[f"{view}_embeddings"] = raw
            if f"{view}_projections" in wanted:
                found[f"{view}_projections"] = self.image_mlp(raw.to(self.dtype)).float()
        return replace(outputs, extras={name: found[name] for name in extras if name in found})


def draw_prompt_views(
    labels: Tensor,
    counts: Sequence[int],
    *,
    generator: torch.Generator,
    mode: PromptViews = "reference",
) -> tuple[Tensor, Tensor]:
    """Return two subsets of the texts of each row's category, as rows of all texts.

    Of the ``n`` texts of a category ``reference`` draws ``n // 2`` with replacement, as FLIP's code does, and
    the other subset is all that were not drawn; ``disjoint`` splits the texts in two halves, as its paper
    says.

    Args:
        labels: int64 [B], category of each row.
        counts: number of texts of each category (``Taxonomy.counts``).
        generator: source of the draws; each row is drawn by itself.
        mode: see above.

    Returns:
        Two int64 tensors [B, n_1] and [B, n_2] of indices into the texts, category by category; -1 fills the
        end of a row.

    Raises:
        InputError: a label that is no category. ConfigError: a category has fewer than two texts.
    """
    few = [index for index, count in enumerate(counts) if count < 2]
    if few:
        raise ConfigError(
            f"Two views of the texts need two texts; category number {few[0]} has one. Add some."
        )
    first: list[list[int]] = []
    second: list[list[int]] = []
    for row, label in enumerate(labels.tolist()):
        if not 0 <= label < len(counts):
            raise InputError(f"row {row}: label {label} is none of the {len(counts)} categories.")
        count, start = counts[label], sum(counts[:label])
        if mode == "reference":
            drawn = torch.randint(count, (count // 2,), generator=generator).tolist()
            others = [index for index in range(count) if index not in drawn]
        else:
            order = torch.randperm(count, generator=generator).tolist()
            drawn, others = order[: count // 2], order[count // 2 :]
        first.append([start + index for index in drawn])
        second.append([start + index for index in others])
    return _padded(first), _padded(second)


def _padded(rows: Sequence[Sequence[int]]) -> Tensor:
    length = max(map(len, rows), default=0)
    return torch.tensor([[*row, *[-1] * (length - len(row))] for row in rows], dtype=torch.int64)
