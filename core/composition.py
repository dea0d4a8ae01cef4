"""One query vector from a picture and words: "like this, but in white", "like this, without a logo".

Everything here is arithmetic on embeddings; no text is written and no picture is read.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from .errors import InputError

NegativeMethod = Literal["project", "subtract"]
"""How a negative text acts: ``project`` removes what a query has of it, ``subtract`` always moves away."""

ALPHA_RANGE = (-0.5, 2.0)
"""Steps along the change of the words that its authors tried; values beyond it leave the space of answers."""


def pdv(
    image: Tensor,
    reference_text: Tensor,
    composed_text: Tensor,
    *,
    alpha_image: float = 1.0,
    alpha_text: float = 1.0,
    beta: float = 1.0,
) -> Tensor:
    """Return the queries that move a picture and its description by the change of the words.

    With all three at unit length, ``d = composed - reference``, ``query = normalize((1 - beta) (image +
    alpha_image d) + beta (reference + alpha_text d))``. The defaults give the composed text itself;
    ``beta=0, alpha_image=0`` gives the picture itself.

    Args:
        image: float [N, D], of the reference pictures; any length but 0.
        reference_text: float [N, D], what the pictures show, in words.
        composed_text: float [N, D], the same words with the change.
        alpha_image, alpha_text: step along the change from the picture and from its words, usually from
            -0.5 to 2; below 0 away from it.
        beta: from 0, the looks of the picture, to 1, the meaning of the words.

    Returns:
        float [N, D], unit length.

    Raises:
        InputError: other shapes, a vector that is not finite or of length 0, beta outside [0, 1].

    Example:
        >>> v, b, c = torch.randn(3, 2, 8).unbind()
        >>> bool(torch.allclose(pdv(v, b, c), torch.nn.functional.normalize(c, dim=-1)))
        True

    Reference: Tursun et al. 2025, PDV: Prompt Directional Vectors for Zero-shot Composed Image Retrieval,
    arXiv 2502.07215, algorithm 1.
    """
    _check_share("beta", beta)
    vectors = {"image": image, "reference_text": reference_text, "composed_text": composed_text}
    picture, words, _ = (_unit(name, value) for name, value in _alike(vectors).items())
    change = direction(reference_text, composed_text)
    mixed = (1 - beta) * (picture + alpha_image * change) + beta * (words + alpha_text * change)
    return _query(mixed)


def direction(reference_text: Tensor, composed_text: Tensor) -> Tensor:
    """Return the change of the words, ``normalize(composed) - normalize(reference)``: float [N, D].

    Raises:
        InputError: as :func:`pdv`.
    """
    vectors = _alike({"reference_text": reference_text, "composed_text": composed_text})
    words, composed = (_unit(name, value) for name, value in vectors.items())
    return composed - words


def weighted_sum(image: Tensor, text: Tensor, *, weight: float = 0.5) -> Tensor:
    """Return ``normalize(weight image + (1 - weight) text)`` of unit vectors: float [N, D], unit length.

    Args:
        image, text: float [N, D]; any length but 0.
        weight: of the picture, from 0 to 1.

    Raises:
        InputError: as :func:`pdv`, or picture and words that cancel each other.
    """
    _check_share("weight", weight)
    vectors = _alike({"image": image, "text": text})
    picture, words = (_unit(name, value) for name, value in vectors.items())
    return _query(weight * picture + (1 - weight) * words)


def without(
    query: Tensor,
    negative: Tensor,
    neutral: Tensor,
    *,
    strength: float = 1.0,
    method: NegativeMethod = "project",
) -> Tensor:
    """Return queries that avoid what a negative text says beyond a neutral one. Experimental.

    With unit vectors and ``n`` the unit direction from ``neutral`` to ``negative``:

    * ``project``: ``normalize(query - strength max(0, <query - neutral, n>) n)``. A query that has nothing
      of the negative text stays what it is; ``strength=1`` takes out just what is there.
    * ``subtract``: ``normalize(query - strength (negative - neutral))``, the negative step of :func:`pdv`,
      whatever the query has.

    Contrastive models know little of negation: "dress, not red" finds red dresses. So the text says what is
    not wanted without a "no", and what is left of it should be looked at.

    Args:
        query: float [N, D]. negative: float [N, D] or [1, D], of what is not wanted.
        neutral: float [N, D] or [1, D], of the same words without it.
        strength: 0 or more; 0 changes nothing.
        method: see above.

    Raises:
        InputError: as :func:`pdv`, a strength below 0, an unknown method, or a negative text that is the
            neutral one.
    """
    if not 0 <= strength < float("inf"):
        raise InputError(f"strength must be 0 or more, got {strength}.")
    if method not in ("project", "subtract"):
        raise InputError(f"method must be 'project' or 'subtract', got {method!r}.")
    start = _unit("query", query)
    wide = {"query": start}
    for name, value in (("negative", negative), ("neutral", neutral)):
        wide[name] = value.expand(len(start), -1) if value.shape[:1] == (1,) else value
    _alike(wide)
    plain = _unit("neutral", wide["neutral"])
    step = _unit("negative", wide["negative"]) - plain
    if bool((step.norm(dim=-1) < 1e-6).any()):
        raise InputError("The negative text says the same as the neutral one; name what is not wanted.")
    if method == "subtract":
        return _query(start - strength * step)
    away = F.normalize(step, dim=-1)
    present = ((start - plain) * away).sum(dim=-1, keepdim=True).clamp(min=0)
    return _query(start - strength * present * away)


def _alike(vectors: dict[str, Tensor]) -> dict[str, Tensor]:
    shapes = {name: tuple(value.shape) for name, value in vectors.items()}
    if len(set(shapes.values())) > 1 or any(len(shape) != 2 for shape in shapes.values()):
        given = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise InputError(f"A composed query needs vectors [N, D] of one shape, got {given}.")
    return vectors


def _unit(name: str, vectors: Tensor) -> Tensor:
    """Return vectors at unit length; a row without direction cannot be part of a query."""
    length = vectors.norm(dim=-1)
    bad = ~(torch.isfinite(length) & (length > 0))
    if bool(bad.any()):
        row = int(bad.nonzero()[0, 0])
        raise InputError(f"Row {row} of {name} is zero or not finite; give its embedding.")
    return F.normalize(vectors, dim=-1)


def _query(mixed: Tensor) -> Tensor:
    # Parts that cancel leave rounding noise, which points anywhere.
    if bool((mixed.norm(dim=-1) < 1e-6).any()):
        raise InputError("The parts of the query cancel each other; use other weights or other words.")
    return F.normalize(mixed, dim=-1)


def _check_share(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise InputError(f"{name} must be from 0 to 1, got {value}.")
