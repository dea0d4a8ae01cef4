"""A picture with words as one query: "this dress, but in white", "this mug, without a logo".

The default, PDV, needs no training: it moves the picture by the change that the words make to a description
of it. In a catalogue the description is the product's own title and attributes; of a picture from outside
nothing is said but that it is one, :data:`PLAIN_REFERENCE`: guessing its kind did worse where the guess was
wrong (``benchmarks/composed.py``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from ....core.composition import ALPHA_RANGE, NegativeMethod, pdv, weighted_sum, without
from ....core.config import Config
from ....core.errors import InputError

if TYPE_CHECKING:
    from ..encoders.product import ProductVectors

Method = Literal["pdv", "sum", "encoder"]
"""``pdv``: see :func:`verticlip.core.composition.pdv`; ``sum``: weighted mean of picture and words;
``encoder``: both as the two sides of one product, as a unified encoder was trained."""

PLAIN_REFERENCE = "a photo"
"""What is said of a picture of which nothing is known."""


class ComposeSettings(Config):
    """How a picture and words become one query.

    The defaults of ``pdv`` are the published setting of a ViT-L/14 with captions; fit your own with
    :func:`.fitting.fit` or ``verticlip catalog tune DIR --queries labelled.jsonl``.

    Reference: Tursun et al. 2025, PDV, arXiv 2502.07215.
    """

    method: Method = "pdv"
    alpha_image: float = Field(default=1.0, ge=ALPHA_RANGE[0], le=ALPHA_RANGE[1])
    """``pdv``: how far the picture is moved along the change of the words."""
    alpha_text: float = Field(default=1.3, ge=ALPHA_RANGE[0], le=ALPHA_RANGE[1])
    """``pdv``: how far the words are."""
    beta: float = Field(default=0.55, ge=0.0, le=1.0)
    """``pdv``: from 0, the looks of the picture, to 1, the meaning of the words."""
    weight: float = Field(default=0.5, ge=0.0, le=1.0)
    """``sum``: share of the picture."""
    negative_method: NegativeMethod = "project"
    negative_strength: float = Field(default=2.0, ge=0.0, le=4.0)
    """How much of a negative text is taken out; experimental. 0 leaves the query as it is, 1 takes out just
    what it has, which of pictures leaves some."""


class QueryEncoder(Protocol):
    """The part of :class:`..encoders.product.ProductEncoder` that a query needs."""

    @property
    def dim(self) -> int:
        """D."""
        ...

    @property
    def context_length(self) -> int:
        """Tokens of the longest text the model reads."""
        ...

    def count_tokens(self, text: str) -> int:
        """Return how many tokens a text takes."""
        ...

    def prepare_image(self, source: Any) -> Tensor:
        """Return a picture as the image tower takes it."""
        ...

    def encode(self, images: Sequence[Tensor | None], texts: Sequence[str | None]) -> ProductVectors:
        """Return the vectors of each product's picture, text and both."""
        ...


def compose(
    encoder: QueryEncoder,
    *,
    image: Any = None,
    text: str | None = None,
    reference_text: str | None = None,
    negative: str | None = None,
    settings: ComposeSettings | None = None,
) -> Tensor:
    """Return one query, float32 [1, D], unit length, to search the vectors of products with.

    A picture alone or words alone are that side's own vector. Style transfer is the picture of one product
    with the title of another as ``text``.

    Args:
        encoder: what the searched vectors were made with.
        image: path, bytes, picture or sample; or a tensor: [D] or [1, D] is its embedding (that of a product
            in the catalogue), [3, H, W] what ``encoder.prepare_image`` gave.
        text: what is wanted; with a picture, the change: "in white".
        reference_text: what the picture shows, in words. For a product of a catalogue its own text; None
            says :data:`PLAIN_REFERENCE`.
        negative: what is not wanted, said without a "no": "logo". Experimental.
        settings: how they are combined; None takes the defaults.

    Raises:
        InputError: neither picture nor words, an empty text, a picture that cannot be read, or
            ``method="encoder"`` with an embedding, which no encoder can take apart again.

    Example:
        >>> compose(encoder, image="dress.jpg", text="in white", reference_text="red dress")  # doctest: +SKIP

    Reference: Tursun et al. 2025, PDV, arXiv 2502.07215; Chen et al. 2023, eSSPR, arXiv 2302.05093 (one
    encoder for both).
    """
    settings = settings or ComposeSettings()
    wanted, excluded = _text("text", text), _text("negative", negative)
    known = _text("reference_text", reference_text)
    if image is None and wanted is None:
        hint = "; a negative text needs something to take it from" if excluded else ""
        raise InputError(f"A query needs a picture, words or both{hint}.")
    if image is None:
        query = encode_words(encoder, [str(wanted)])
    else:
        prepared, query = _picture(encoder, image)
        if wanted is not None:
            query = _both(encoder, prepared, query, (known or PLAIN_REFERENCE, wanted), settings)
    if excluded is None or settings.negative_strength == 0:
        return query
    # Its direction is taken from a text that says nothing: a description that names it already has none.
    neutral, against = encode_words(encoder, [PLAIN_REFERENCE, joined(PLAIN_REFERENCE, excluded)]).split(1)
    return without(
        query, against, neutral, strength=settings.negative_strength, method=settings.negative_method
    )


def joined(reference: str, change: str) -> str:
    """Return a description with a change, as PDV's composed text: "red dress, in white"."""
    return f"{reference.rstrip(' ,.;')}, {change}"


def shortened(encoder: QueryEncoder, reference: str, change: str) -> str:
    """Return as many words of a description as leave room for the change in the model's context.

    A text that is cut at its end would lose the change, and with it the whole query.

    Raises:
        InputError: the change is too long by itself.
    """
    words = reference.split()
    fits, too_many = 0, len(words) + 1
    while too_many - fits > 1:
        middle = (fits + too_many) // 2
        if encoder.count_tokens(joined(" ".join(words[:middle]), change)) <= encoder.context_length:
            fits = middle
        else:
            too_many = middle
    if not fits:
        raise InputError(
            f"The model reads {encoder.context_length} tokens and the change alone takes "
            f"{encoder.count_tokens(change)}: {change!r:.80}. Say it in fewer words."
        )
    return " ".join(words[:fits])


def encode_words(encoder: QueryEncoder, texts: Sequence[str]) -> Tensor:
    """Return the text vectors of N texts, float32 [N, D]."""
    return encoder.encode([None] * len(texts), list(texts)).text


def _both(
    encoder: QueryEncoder,
    prepared: Tensor | None,
    vector: Tensor,
    words: tuple[str, str],
    settings: ComposeSettings,
) -> Tensor:
    said, wanted = words
    if settings.method == "encoder":
        if prepared is None:
            raise InputError(
                "method 'encoder' needs the picture itself, not its embedding; give the picture or use 'pdv'."
            )
        return encoder.encode([prepared], [wanted]).product
    said = shortened(encoder, said, wanted)
    texts = [wanted] if settings.method == "sum" else [said, joined(said, wanted)]
    return combine(vector, encode_words(encoder, texts).split(1), settings)


def combine(image: Tensor, texts: Sequence[Tensor], settings: ComposeSettings) -> Tensor:
    """Return queries float32 [N, D] of pictures and words that are vectors already.

    Args:
        image: float [N, D]. settings: method ``pdv`` or ``sum``.
        texts: for ``sum`` the change alone; for ``pdv`` the description and the description with the change;
            float [N, D] each.
    """
    if settings.method == "sum":
        return weighted_sum(image, texts[0], weight=settings.weight)
    return pdv(
        image,
        texts[0],
        texts[1],
        alpha_image=settings.alpha_image,
        alpha_text=settings.alpha_text,
        beta=settings.beta,
    )


def _picture(encoder: QueryEncoder, image: Any) -> tuple[Tensor | None, Tensor]:
    """Return (what the tower takes, or None; the embedding [1, D])."""
    if isinstance(image, Tensor) and image.ndim < 3:
        vector = image.float().reshape(1, -1)
        if vector.shape[1] != encoder.dim or (image.ndim == 2 and len(image) != 1):
            raise InputError(
                f"image has shape {tuple(image.shape)}; an embedding of one picture is [{encoder.dim}]."
            )
        if not bool(torch.isfinite(vector).all()) or not bool(vector.any()):
            raise InputError(
                "The embedding of the picture is zero or not finite; the product has no picture."
            )
        return None, F.normalize(vector, dim=-1)
    prepared = image if isinstance(image, Tensor) else encoder.prepare_image(image)
    return prepared, encoder.encode([prepared], [None]).image


def _text(name: str, text: str | None) -> str | None:
    if text is None:
        return None
    if not isinstance(text, str) or not text.strip():
        raise InputError(f"{name} must be words, got {text!r:.80}; leave it out instead.")
    return " ".join(text.split())
