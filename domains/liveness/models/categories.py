"""The architecture ``categories``: a picture is compared with the texts of every category of a taxonomy.

With ``v`` the image embedding and ``T(text)`` raw text embeddings::

    t_c = normalise(mean_k T(text_ck))          z_bc = exp(logit_scale) <v_b / |v_b|, t_c>
    p = softmax(z)                              p_live = sum of p over the live categories

With the default taxonomy this is the model of CLIPC8 (as far as its abstract says), with the binary one
FLIP-IT.

Reference: CLIPC8, arXiv 2311.17583; Srivatsan et al. 2023, FLIP, arXiv 2309.16649, section 3.2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ....core.config import ModelConfig
from ....core.conversion import build_empty
from ....core.errors import ConfigError, InputError
from ....core.inference import encode_by_length, write_marks
from ....core.model import ContrastiveModel
from ....core.processing import Processor
from ....core.types import Batch, Outputs
from .base import Average, LivenessModel

_TEXTS_AT_ONCE = 64
"""Texts per call of the text tower where only their values count."""


def mean_per_category(texts: Tensor, counts: Sequence[int], average: Average) -> Tensor:
    """Return one unit vector per category, [K, D].

    Args:
        texts: raw embeddings [P, D], category by category.
        counts: number of texts of each category; they sum to P.
        average: ``raw``: the mean of embeddings as they are; ``normalise_each``: of unit vectors.
    """
    if average == "normalise_each":
        texts = F.normalize(texts, dim=-1)
    return F.normalize(torch.stack([own.mean(dim=0) for own in texts.split(list(counts))]), dim=-1)


class CategoryModel(LivenessModel):
    """Image and text towers whose answer is a category of the taxonomy.

    ``forward`` gives, under ``extras``: ``category_logits`` [B, K] of the batch's images and their
    ``live_margin`` [B]; ``category_embeddings`` [K, D], the unit vectors ``t_c``; ``text_embeddings`` [P, D],
    raw, category by category. All are float32.

    Raises:
        ConfigError: no image or no text tower, or options of another architecture.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        missing = [name for name in ("image", "text") if name not in self.modalities]
        if missing:
            raise ConfigError(
                f"{config.name}: architecture {config.architecture!r} compares pictures with texts and has "
                f"no {missing[0]} tower. Add one."
            )
        self._tokens: dict[str, Tensor] = {}
        self._tokens_of: tuple[str, str] | None = None
        # Raw text embeddings and the state of the tower that they belong to.
        self._encoded: tuple[Any, Tensor] | None = None

    @classmethod
    def over(cls, network: ContrastiveModel, options: Mapping[str, Any]) -> CategoryModel:
        """Return a model of these options on the towers of another network, which both then share.

        Raises:
            ConfigError: the network does not compare pictures with texts by cosine alone.
        """
        if type(network) is not ContrastiveModel and not isinstance(network, CategoryModel):
            raise ConfigError(
                f"{network.config.name}: architecture {network.config.architecture!r} does not compare "
                "pictures with texts. Texts can be chosen for: contrastive, categories, flip_mcl."
            )
        raw = network.config.model_dump(mode="json")
        raw.update(domain="liveness", architecture="categories", options=dict(options), prompts=None)
        shared = build_empty(ModelConfig.model_validate(raw))
        if not isinstance(shared, CategoryModel):  # what the room's table says; for the type checker
            raise ConfigError("The architecture 'categories' is not that of this module.")
        shared.towers, shared.projections = network.towers, network.projections
        shared.logit_scale, shared.logit_bias = network.logit_scale, network.logit_bias
        shared.use_fast_towers(network._fast)
        return shared.eval() if not network.training else shared

    def set_taxonomy_tokens(self, tokens: Mapping[str, Tensor]) -> None:
        """Set the texts of the taxonomy as the text tower takes them.

        Args:
            tokens: {argument: tensor [P, ...]}, such as ``input_ids`` int64 [P, L], category by category in
                the order of the taxonomy.

        Raises:
            InputError: another number of texts than the taxonomy has.
        """
        expected = sum(self.taxonomy.counts)
        for name, tensor in tokens.items():
            if len(tensor) != expected:
                raise InputError(
                    f"{name}: {len(tensor)} rows for the {expected} texts of taxonomy {self.taxonomy.name!r}."
                )
        self._tokens, self._tokens_of, self._encoded = dict(tokens), None, None

    def use_processor(self, processor: Processor) -> None:
        """Make the tokens of the taxonomy with this processor; nothing happens when that is done already."""
        key = (processor.fingerprint, self.taxonomy.digest)
        if self._tokens_of != key:
            self.set_taxonomy_tokens(processor("text", list(self.taxonomy.texts)))
            self._tokens_of = key

    def text_embeddings(self) -> Tensor:
        """Return raw embeddings float32 [P, D] of all texts, category by category.

        While the text tower learns they are computed at every call, with gradient. Otherwise they are
        computed once for each state of its weights.

        Raises:
            ConfigError: the model has not met its processor yet.
        """
        if not self._tokens:
            raise ConfigError(
                f"{self.config.name} has no tokens of its taxonomy. Call use_processor(processor) first."
            )
        parts = (self.towers["text"], self.projections["text"])
        learns = any(one.requires_grad for part in parts for one in part.parameters())
        if (learns and torch.is_grad_enabled()) or self.towers["text"].training:
            return self.embed("text", self._on_device())[0]
        key = [mark for part in parts for mark in write_marks(part)], self.device, id(self._fast.get("text"))
        if self._encoded is None or self._encoded[0] != key:
            with torch.inference_mode():
                found = self._encode_all()
            with torch.inference_mode(False):
                # A plain copy: what was made in inference mode could not meet gradients of the image tower.
                self._encoded = key, found.clone()
        return self._encoded[1]

    def category_embeddings(self) -> Tensor:
        """Return the unit vector of each category, float32 [K, D]; computed as :meth:`text_embeddings`."""
        return mean_per_category(self.text_embeddings(), self.taxonomy.counts, self.options.average)

    def compare(self, images: Tensor, categories: Tensor) -> Tensor:
        """Return logits float32 [B, K] of image embeddings [B, D] of any length with unit vectors [K, D]."""
        # In bfloat16 a logit at scale 100 would move in steps of half a unit.
        with torch.autocast(images.device.type, enabled=False):
            return self.scale().float() * F.normalize(images.float(), dim=-1) @ categories.float().T

    def crop_logits(self, inputs: Mapping[str, Tensor], index: int) -> Tensor:
        """Return logits float32 [B, K] of ``pixels`` [B, 3, S, S]; all crops go through the same tower."""
        return self.compare(self.encode("image", inputs), self.category_embeddings())

    def forward(self, batch: Batch, *, tokens: tuple[str, ...] = (), extras: tuple[str, ...] = ()) -> Outputs:
        """Return embeddings of the batch and the ``extras`` that the text of the class names."""
        outputs = super().forward(batch, tokens=tokens)
        return replace(outputs, extras=self._extras(outputs, extras)) if extras else outputs

    def _extras(self, outputs: Outputs, names: Sequence[str]) -> dict[str, Tensor]:
        texts = self.text_embeddings()
        categories = mean_per_category(texts, self.taxonomy.counts, self.options.average)
        found = {"text_embeddings": texts, "category_embeddings": categories}
        if "image" in outputs.embeddings:
            found.update(self.logit_extras(self.compare(outputs.embeddings["image"], categories)))
        return {name: found[name] for name in names if name in found}

    def _on_device(self) -> dict[str, Tensor]:
        return {name: tensor.to(self.device) for name, tensor in self._tokens.items()}

    def _encode_all(self) -> Tensor:
        moved = self._on_device()

        def encode(part: Mapping[str, Tensor]) -> Tensor:
            return self.embed("text", part)[0]

        if "attention_mask" in moved:
            return encode_by_length(encode, moved)
        count = sum(self.taxonomy.counts)
        pieces = [
            {name: tensor[start : start + _TEXTS_AT_ONCE] for name, tensor in moved.items()}
            for start in range(0, count, _TEXTS_AT_ONCE)
        ]
        return torch.cat([encode(piece) for piece in pieces])
