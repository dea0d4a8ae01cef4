"""Late fusion: one vector of a product from that of its picture and that of its text."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Annotated

import torch
from pydantic import Field, model_validator
from torch import Tensor
from torch.nn import functional as F

from ....core.config import Config
from ....core.errors import InputError

CATEGORY_SEPARATOR = " > "
FLOOR = 1e-12
"""Least length that a vector is divided by."""

Weight = Annotated[float, Field(ge=0.0)]


def unit(vectors: Tensor) -> Tensor:
    """Return [..., D] along the same directions with length 1; zero vectors stay zero."""
    return F.normalize(vectors, dim=-1, eps=FLOOR)


class FusionWeights(Config):
    """Shares of picture and text; only their ratio counts."""

    image: Weight = 0.9
    text: Weight = 0.1

    @model_validator(mode="after")
    def _something(self) -> FusionWeights:
        if self.image + self.text <= 0:
            raise ValueError("the weights of image and text are both 0; one must be above")
        return self


class Fusion(FusionWeights):
    """``normalize(w_i normalize(image) + w_t normalize(text))``; where one is missing, the other alone.

    The default shares are those of the published fashion models. Where pictures say little, machinery and
    spare parts, equal shares do better; :func:`..evaluation.own_fitting.fit_share` finds them by labelled
    queries.

    Example:
        >>> Fusion(by_category={"Machinery": FusionWeights(image=0.5, text=0.5)}).of("Machinery > Pumps").text
        0.5

    Reference: marqo-FashionCLIP's evaluation (0.9 and 0.1), Apache-2.0.
    """

    by_category: dict[str, FusionWeights] = Field(default_factory=dict)
    """Shares of a category and those below it; the closest one counts. Categories are paths with `` > ``."""

    def of(self, category: str | None) -> FusionWeights:
        """Return the shares for a category path; an unknown one, or None, gets the general shares."""
        names = [part.strip() for part in (category or "").split(CATEGORY_SEPARATOR.strip())]
        for length in range(len(names), 0, -1):
            found = self.by_category.get(CATEGORY_SEPARATOR.join(names[:length]))
            if found is not None:
                return found
        return self

    def shares(self, count: int, categories: Sequence[str | None] | None = None) -> Tensor:
        """Return float32 [N, 2], image before text.

        Raises:
            InputError: not one category for each of the ``count`` rows.
        """
        if categories is not None and len(categories) != count:
            raise InputError(f"There are {len(categories)} categories for {count} products. Give one each.")
        chosen = [self.of(category) for category in categories or [None] * count]
        return torch.tensor([[one.image, one.text] for one in chosen]).reshape(count, 2)

    @property
    def fingerprint(self) -> str:
        """What an index remembers of the fusion, short and readable: ``image0.9+text0.1``."""
        said = f"image{self.image:g}+text{self.text:g}"
        if not self.by_category:
            return said
        content = json.dumps(self.model_dump(mode="json")["by_category"], sort_keys=True)
        return f"{said}+{hashlib.sha256(content.encode()).hexdigest()[:8]}"


def fuse(image: Tensor, text: Tensor, shares: Tensor, present: Mapping[str, Tensor]) -> Tensor:
    """Return unit vectors [N, D] of products.

    Args:
        image, text: [N, D], any length; the rows of a missing side are not read.
        shares: [N, 2] or [2], image before text.
        present: bool [N] under ``image`` and ``text``; one of them holds in every row.
    """
    return fuse_fields([(image, present["image"]), (text, present["text"])], shares)


def fuse_fields(fields: Sequence[tuple[Tensor, Tensor]], shares: Tensor) -> Tensor:
    """Return unit vectors [N, D] of any number of fields, of each row those it has.

    A field that a row lacks leaves its share to the others; a row of one field is that field, whatever its
    share.

    Args:
        fields: F of (vectors [N, D] of any length, bool [N] whether a row has it).
        shares: [N, F] or [F].
    """
    sides = [torch.where(has[:, None], unit(vectors), 0.0) for vectors, has in fields]
    mixed = torch.stack([shares[..., place, None] * side for place, side in enumerate(sides)]).sum(dim=0)
    count = torch.stack([has for _, has in fields]).sum(dim=0)
    return torch.where(count[:, None] > 1, unit(mixed), torch.stack(sides).sum(dim=0))
