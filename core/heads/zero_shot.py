"""Zero-shot classification from class prompts, with a cache of class embeddings."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from ..checkpoint import read_weights
from ..config import Config
from ..errors import InputError, WeightsError
from ..files import atomic_path
from ..limits import MiB
from ..prompts import PromptSet
from ..types import Modality, Outputs
from .base import as_embeddings, parse_head, pick

logger = logging.getLogger(__name__)

Encode = Callable[[list[str]], Tensor]


class ClassEmbeddingCache:
    """Class embeddings by content key: bounded memory and, when given, a folder.

    Args:
        folder: keeps ``<key>.safetensors`` between processes; None keeps nothing on disk.
        memory_bytes: least recently used entries are dropped from memory above this.

    Example:
        >>> cache = ClassEmbeddingCache()
        >>> key = cache.key(model="f00d", processor="beef", prompts=PromptSet.from_labels(["cat", "dog"]))
        >>> cache.get(key) is None
        True
    """

    def __init__(self, folder: str | Path | None = None, *, memory_bytes: int = 256 * MiB) -> None:
        self.folder = None if folder is None else Path(folder)
        self.memory_bytes = memory_bytes
        self._entries: OrderedDict[str, Tensor] = OrderedDict()
        self._lock = threading.Lock()

    @staticmethod
    def key(*, model: str, processor: str, prompts: PromptSet) -> str:
        """Return the SHA-256 (hex) of everything a class embedding depends on.

        Args:
            model: fingerprint of weights and dtype. processor: fingerprint of the processor.
            prompts: texts, weights and class order.
        """
        parts = json.dumps([model, processor, prompts.fingerprint])
        return hashlib.sha256(parts.encode()).hexdigest()

    def get(self, key: str) -> Tensor | None:
        """Return class embeddings float32 [K, D] stored under ``key``, or None."""
        with self._lock:
            if key in self._entries:
                self._entries.move_to_end(key)
                return self._entries[key]
        if self.folder is None or not (path := self.folder / f"{key}.safetensors").is_file():
            return None
        try:
            stored = read_weights(path)["class_embeddings"]
        except (WeightsError, KeyError) as error:
            logger.warning("Class embeddings are computed again: %s", error)
            return None
        self._remember(key, stored)
        return stored

    def put(self, key: str, embeddings: Tensor) -> None:
        """Store class embeddings float32 [K, D] under ``key``."""
        from safetensors.torch import save_file

        embeddings = embeddings.detach().cpu().contiguous()
        self._remember(key, embeddings)
        if self.folder is not None:
            with atomic_path(self.folder / f"{key}.safetensors") as temporary:
                save_file({"class_embeddings": embeddings}, temporary)

    def _remember(self, key: str, embeddings: Tensor) -> None:
        with self._lock:
            self._entries[key] = embeddings
            self._entries.move_to_end(key)
            while len(self._entries) > 1 and self._bytes() > self.memory_bytes:
                self._entries.popitem(last=False)

    def _bytes(self) -> int:
        return sum(entry.numel() * entry.element_size() for entry in self._entries.values())


TEXTS_AT_ONCE = 4096
"""For encoders that batch by length themselves: many small calls come in more shapes, and the matrix library
keeps code for each of them (70 MB for eleven thousand prompts)."""


@torch.no_grad()
def class_embeddings(prompts: PromptSet, encode: Encode, *, batch_size: int = 256) -> Tensor:
    """Return one unit vector per class, float32 [K, D].

    Each prompt embedding is normalized, the prompts of a class are averaged with their weights, and
    the mean is normalized again.

    Args:
        prompts: K classes.
        encode: texts to float [n, D] embeddings, of any length.
        batch_size: texts per call of ``encode``; no effect on the result beyond rounding.

    Raises:
        InputError: ``encode`` gives another number of rows, zero or non-finite vectors, or the
            prompts of a class cancel out.

    Reference: Radford et al. 2021, section 3.1.4 (ensembling over embeddings).
    """
    texts: list[str] = []
    weights: list[float] = []
    class_of: list[int] = []
    for index, name in enumerate(prompts.class_names):
        own = prompts.texts(name)
        texts += own
        weights += prompts.text_weights(name)
        class_of += [index] * len(own)
    encoded = torch.cat(
        [_encoded(encode, texts[start : start + batch_size]) for start in range(0, len(texts), batch_size)]
    )
    total = encoded.new_zeros(len(prompts.classes), encoded.shape[1])
    rows = torch.tensor(class_of, device=encoded.device)
    total.index_add_(0, rows, encoded * encoded.new_tensor(weights)[:, None])
    lengths = total.norm(dim=1)
    if bool((lengths < 1e-6).any()):
        name = prompts.class_names[int(lengths.argmin())]
        raise InputError(f"The prompts of class {name!r} cancel out; change or remove some of them.")
    return F.normalize(total, dim=-1)


def _encoded(encode: Encode, texts: list[str]) -> Tensor:
    """Return unit embeddings float32 [n, D] of ``texts`` after checking what the encoder gave."""
    encoded = encode(texts)
    if encoded.ndim != 2 or len(encoded) != len(texts):
        raise InputError(
            f"The text encoder gave shape {tuple(encoded.shape)} for {len(texts)} prompts; "
            "expected one row per prompt."
        )
    norms = encoded.float().norm(dim=1)
    bad = ~torch.isfinite(norms) | (norms == 0)
    if bool(bad.any()):
        raise InputError(f"The embedding of prompt {texts[int(bad.nonzero()[0])]!r} is zero or not finite.")
    return F.normalize(encoded.float(), dim=-1)


class ZeroShotConfig(Config):
    """``head.json`` of a :class:`ZeroShotHead`."""

    kind: Literal["zero_shot"] = "zero_shot"
    modality: Modality = "image"
    class_names: tuple[str, ...] = Field(min_length=1)
    scale: float = Field(gt=0)
    bias: float | None = None


class ZeroShotHead:
    """Scores embeddings against one text embedding per class.

    Softmax models give a distribution, ``softmax(scale * e w)``; sigmoid models (``bias`` set) give
    independent probabilities, ``sigmoid(scale * e w + bias)``.

    Args:
        class_weights: float [K, D], unit length.
        class_names: K answer keys.
        scale: the model's logit scale (not its logarithm).
        bias: the model's logit bias; None for softmax models.
        modality: whose embeddings ``__call__`` reads.

    Raises:
        InputError: shapes disagree, rows are not unit length, scale is not positive and finite, or a
            softmax would have a single class.
    """

    kind: ClassVar[str] = "zero_shot"

    def __init__(
        self,
        class_weights: Tensor,
        class_names: Sequence[str],
        *,
        scale: float,
        bias: float | None = None,
        modality: Modality = "image",
    ) -> None:
        self.class_weights = as_embeddings(class_weights)
        self.class_names = tuple(class_names)
        self.scale = float(scale)
        self.bias = None if bias is None else float(bias)
        self.modality: Modality = modality
        if len(self.class_names) != len(self.class_weights):
            raise InputError(
                f"{len(self.class_names)} class names for {len(self.class_weights)} class weights."
            )
        if not (math.isfinite(self.scale) and self.scale > 0):
            raise InputError(
                f"scale must be positive and finite (the exp of the parameter), got {self.scale}."
            )
        lengths = self.class_weights.norm(dim=1)
        if bool(((lengths - 1).abs() > 1e-3).any()):
            raise InputError(
                f"Class weights must be unit vectors, got length {float(lengths.min()):.4g} to "
                f"{float(lengths.max()):.4g}. Normalize them first."
            )
        if bias is None and len(self.class_names) < 2:
            raise InputError(
                f"A softmax over one label {list(self.class_names)} is always 1. Add an alternative label."
            )

    @classmethod
    def from_prompts(
        cls,
        prompts: PromptSet,
        encode: Encode,
        *,
        scale: float,
        bias: float | None = None,
        modality: Modality = "image",
        cache: tuple[ClassEmbeddingCache, str] | None = None,
    ) -> ZeroShotHead:
        """Return the head of a prompt set, encoding its texts unless they are in the cache.

        Args:
            prompts: K classes.
            encode: texts to float [n, D] embeddings.
            scale, bias, modality: as in the constructor.
            cache: a :class:`ClassEmbeddingCache` and the key of this model, processor and prompt set.
        """
        weights = cache[0].get(cache[1]) if cache else None
        if weights is None:
            weights = class_embeddings(prompts, encode, batch_size=TEXTS_AT_ONCE)
            if cache:
                cache[0].put(cache[1], weights)
        return cls(weights, prompts.class_names, scale=scale, bias=bias, modality=modality)

    def logits(self, embeddings: Tensor) -> Tensor:
        """Return ``scale * normalized(embeddings) @ class_weights.T (+ bias)``, float32 [B, K]."""
        embeddings = as_embeddings(embeddings, width=self.class_weights.shape[1])
        # Embeddings stay where they are; the small class matrix follows them.
        weights = self.class_weights.to(embeddings.device)
        logits = self.scale * F.normalize(embeddings, dim=-1) @ weights.T
        return logits if self.bias is None else logits + self.bias

    def scores(self, embeddings: Tensor) -> Tensor:
        """Return probabilities float32 [B, K] for embeddings float [B, D]."""
        return self._probabilities(self.logits(embeddings))

    def __call__(self, outputs: Outputs) -> dict[str, Tensor]:
        """Return ``logits`` and ``probabilities`` float32 [B, K]."""
        logits = self.logits(pick(outputs, self.modality))
        return {"logits": logits, "probabilities": self._probabilities(logits)}

    def _probabilities(self, logits: Tensor) -> Tensor:
        return logits.softmax(dim=-1) if self.bias is None else logits.sigmoid()

    def to_config(self) -> dict[str, Any]:
        """Return everything but the class weights."""
        return ZeroShotConfig(
            modality=self.modality, class_names=self.class_names, scale=self.scale, bias=self.bias
        ).model_dump(mode="json")

    def tensors(self) -> dict[str, Tensor]:
        """Return ``class_weights`` [K, D]."""
        return {"class_weights": self.class_weights}

    @classmethod
    def from_config(cls, config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> ZeroShotHead:
        """Return the head that :meth:`to_config` and :meth:`tensors` describe."""
        parsed = parse_head(ZeroShotConfig, config, tensors, {"class_weights": ("K", "D")})
        return cls(
            tensors["class_weights"],
            parsed.class_names,
            scale=parsed.scale,
            bias=parsed.bias,
            modality=parsed.modality,
        )
