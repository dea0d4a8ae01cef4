"""Models that embed a product as a whole: what ``unified_product`` and ``fused_product`` share.

A product has up to three embeddings in one space, its views: ``image`` (the text is left out), ``text`` (the
picture is left out) and ``product`` (whatever it has).

A training batch of pairs carries up to four products per row, told apart by a prefix of their inputs:

============  =========================================  ==========================================
prefix        product                                    embeddings of ``forward``
============  =========================================  ==========================================
(none)        left: what was looked at                   ``left``, ``left_image``, ``left_text``
``right_``    right: what was chosen                     ``right``
``changed_``  the left one, transformed                  ``changed``
``field_``    right, its parts to be weighed by a loss   ``field_image``, ``field_text``
============  =========================================  ==========================================

``batch.extras`` may say which rows have a part, by ``<prefix>has_image`` and ``<prefix>has_text`` (bool [B]);
without them every row has all parts that the batch has inputs of.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor

from ....core.config import ModelConfig
from ....core.errors import ConfigError, InputError
from ....core.model import ContrastiveModel
from ....core.types import Batch, Outputs
from .fusing import unit

View = Literal["image", "text", "product"]
VIEWS: tuple[View, ...] = ("image", "text", "product")
PARTS = ("image", "text")
SIDES = ("", "right_", "changed_", "field_")

Inputs = Mapping[str, Mapping[str, Tensor]]
"""Tower inputs under ``image`` and ``text``; one of them may be absent."""


class ProductModel(ContrastiveModel):
    """Base of the two architectures: an image and a text tower, and products from both.

    Args:
        config: with towers ``image`` and ``text``.

    Raises:
        ConfigError: other towers.
    """

    def __init__(self, config: ModelConfig) -> None:
        if set(config.towers) != set(PARTS):
            raise ConfigError(
                f"{config.name}: architecture {config.architecture} takes an image and a text tower, got "
                f"{', '.join(config.towers) or 'none'}."
            )
        super().__init__(config)

    def embed_views(
        self, inputs: Inputs, present: Mapping[str, Tensor], views: Sequence[View]
    ) -> dict[str, Tensor]:
        """Return raw embeddings float32 [B, D] by view; a row that lacks the part of a view has any value.

        Args:
            inputs: of image, text or both.
            present: bool [B] for each of ``inputs``; every row has something.
            views: those that ``inputs`` allow.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement embed_views().")

    def encode_views(
        self,
        inputs: Inputs,
        present: Mapping[str, Tensor] | None = None,
        *,
        views: Sequence[View] = VIEWS,
    ) -> dict[str, Tensor]:
        """Return unit embeddings float32 [B, D] by view, with zeros in rows that lack the part of a view.

        Args:
            inputs: tower inputs under ``image``, ``text`` or both.
            present: which rows have the part, bool [B]; a part that is not named is there in every row.
            views: what to return; views of parts that are not among ``inputs`` are left out.

        Raises:
            InputError: no inputs, parts of unequal length, or a row that has neither picture nor text.
        """
        given = {name: inputs[name] for name in PARTS if name in inputs}
        sizes = {name: len(next(iter(tensors.values()))) for name, tensors in given.items()}
        if not given or len(set(sizes.values())) > 1:
            raise InputError(f"Products need pictures, texts, or one of each per row; got {sizes or 'none'}.")
        count = next(iter(sizes.values()))
        known = {
            name: (present or {}).get(name, torch.ones(count, dtype=torch.bool)).to(self.device)
            for name in given
        }
        empty = (~torch.stack(list(known.values())).any(dim=0)).nonzero().flatten().tolist()
        if empty:
            raise InputError(f"Row {empty[0]} has neither picture nor text. Leave it out.")
        allowed: list[View] = [view for view in views if view == "product" or view in given]
        found = {name: unit(vectors) for name, vectors in self.embed_views(given, known, allowed).items()}
        return {
            name: vectors if name == "product" else torch.where(known[name][:, None], vectors, 0.0)
            for name, vectors in found.items()
        }

    def forward(self, batch: Batch, *, tokens: tuple[str, ...] = (), extras: tuple[str, ...] = ()) -> Outputs:
        """Return the embeddings of a batch of pairs, see the module text; of any other as the base does.

        Args:
            batch: inputs of products.
            tokens: modalities whose token states are kept; not of pairs.
            extras: none are known.

        Raises:
            InputError: as :meth:`encode_views`, or tokens of pairs.
        """
        if set(batch.inputs) <= set(PARTS):
            return super().forward(batch, tokens=tokens, extras=extras)
        if tokens:
            raise InputError("A batch of product pairs keeps no tokens. Ask for those of one product each.")
        embeddings: dict[str, Tensor] = {}
        for side in SIDES:
            inputs = {name: batch.inputs[side + name] for name in PARTS if side + name in batch.inputs}
            if not inputs:
                continue
            present = {
                name: batch.extras[f"{side}has_{name}"]
                for name in inputs
                if f"{side}has_{name}" in batch.extras
            }
            views = {"": VIEWS, "field_": PARTS}.get(side, ("product",))
            found = self.encode_views(inputs, present, views=views)
            embeddings |= {_name(side, view): vectors for view, vectors in found.items()}
        return Outputs(embeddings, self.scale(), self.logit_bias)


def _name(side: str, view: str) -> str:
    """Return what :meth:`ProductModel.forward` calls a view of a side."""
    first = "left_" if side == "" else side
    return first.removesuffix("_") if view == "product" else first + view
