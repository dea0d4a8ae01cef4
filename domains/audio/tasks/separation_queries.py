"""What a user asks a separator for, as query vectors: words, a picture, or a vector of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from ....core.errors import ConfigError, InputError, nearest
from ....core.inputs import encode_inputs, encode_texts
from ....core.prompts import PromptSet
from ....core.types import Sample
from ..clipsep.model import ClipSep

if TYPE_CHECKING:
    from ....core.handle import ModelHandle

LONGEST_QUERY = 500
"""Characters; text towers read some 60 to 80 words, and letters without spaces are one word to them."""

Query = str | Path | Sample | Tensor
"""Words; a picture, or a film whose middle frame counts; or a query vector float [D]."""


def separator_of(model: ModelHandle) -> ClipSep:
    """Return the model's network as a separator.

    Raises:
        InputError: it is of another architecture.
    """
    if not isinstance(model.network, ClipSep):
        raise InputError(
            f"{model.id} cannot separate: its architecture is {model.config.architecture!r}. Choose a model "
            "of architecture 'clipsep', such as audio/tiny-sep."
        )
    return model.network


def as_queries(queries: Query | Sequence[Query] | None) -> list[Query]:
    """Return queries as a list; one is a list of one.

    Raises:
        InputError: there are none, or one is empty, too long or no query at all.
    """
    if queries is None:
        return []
    single = isinstance(queries, (str, Path, Sample)) or (isinstance(queries, Tensor) and queries.ndim == 1)
    listed: list[Query] = [queries] if single else list(queries)  # type: ignore[arg-type, list-item]
    if not listed:
        raise InputError("Say what to separate: there is no query.")
    for number, query in enumerate(listed, 1):
        if not isinstance(query, (str, Path, Sample, Tensor)):
            raise InputError(
                f"Query {number} is of type {type(query).__name__!r}; a query is words, the Path of a "
                "picture, a sample, or a vector."
            )
        if not isinstance(query, str):
            continue
        if not query.strip():
            raise InputError(f"Query {number} is empty. Say what to separate, for example 'dog barking'.")
        if len(query) > LONGEST_QUERY:
            raise InputError(
                f"Query {number} has {len(query):,} characters: {query[:40]!r}... A query is at most "
                f"{LONGEST_QUERY}; say in a few words what to separate."
            )
    return listed


def query_vectors(
    model: ModelHandle, queries: Sequence[Query], *, templates: PromptSet | Sequence[str] | None = None
) -> Tensor | None:
    """Return the queries as the separator takes them: float32 [Q, D], or int64 [Q] for its table of labels.

    Words that the model's prompt set knows become the mean of that class's texts, other words the mean over
    its templates; without a prompt set they are embedded as they are.

    Args:
        model: a separator.
        queries: none for a separator of the kind ``pit``.
        templates: sentences with one ``{}``, or a prompt set, instead of the model's own.

    Raises:
        InputError: queries of a kind that the model does not take, too long, or of another size.
        ConfigError: a template without a place for the words.
    """
    options = separator_of(model).options
    if options.kind == "pit":
        if queries:
            raise InputError(f"{model.id} takes no queries: it gives two sources in either order.")
        return None
    if not queries:
        raise InputError("Say what to separate: there is no query.")
    if options.kind == "label":
        return torch.tensor([_label(model, options.labels, query) for query in queries])
    return torch.stack([_vector(model, query, templates) for query in queries])


def _label(model: ModelHandle, labels: Sequence[str], query: Query) -> int:
    if not isinstance(query, str):
        raise InputError(f"{model.id} separates by label; a query is one of its labels.")
    if query not in labels:
        known = ", ".join(labels[:8]) + (", ..." if len(labels) > 8 else "") if labels else "numbers only"
        raise InputError(f"{model.id} has no label {query[:80]!r}.{nearest(query, labels)} It has: {known}.")
    return labels.index(query)


def _vector(model: ModelHandle, query: Query, templates: PromptSet | Sequence[str] | None) -> Tensor:
    options = separator_of(model).options
    if isinstance(query, Tensor):
        if query.shape != (options.query_dim,) or not query.is_floating_point():
            raise InputError(
                f"A query vector is float [{options.query_dim}], got {query.dtype} {list(query.shape)}."
            )
        vector = query.detach().float().cpu()
        if not (vector.isfinite().all() and vector.any()):
            raise InputError("A query vector holds NaN or infinite values, or only zeros.")
        return vector
    modality = "text" if isinstance(query, str) else "image"
    if modality not in model.network.modalities:
        what = "words" if modality == "text" else "a picture"
        has = ", ".join(model.network.modalities) or "no towers at all; give query vectors"
        raise InputError(f"{model.id} cannot be asked with {what}: it has {has}.")
    if isinstance(query, str):
        return _text(model, query, templates)
    sample = query if isinstance(query, Sample) else model.load(query, modality="image")
    inputs = model.processor("image", [sample])
    return encode_inputs(model, "image", inputs, normalize=options.normalize_queries)[0]


def _text(model: ModelHandle, query: str, templates: PromptSet | Sequence[str] | None) -> Tensor:
    """Return the weighted mean of a query's texts [D]: raw, or of unit vectors where weights want those."""
    normalize = separator_of(model).options.normalize_queries
    if templates is None and model.prompts is None:
        return encode_texts(model, [query], normalize=normalize)[0]
    prompts = model.prompts_for([query], templates)
    weights = torch.tensor(prompts.text_weights(query))
    return weights @ encode_texts(model, prompts.texts(query), normalize=normalize)


@dataclass(frozen=True)
class Questions:
    """What a separator is asked, ready for any number of recordings.

    Attributes:
        names: Q, as results call them. words: of each query, or None for one that is not words.
        vectors: as :func:`query_vectors` gives them.
        hard: whether masks are cut to 0 or 1. overlap: of windows.
    """

    names: tuple[str, ...]
    words: tuple[str | None, ...]
    vectors: Tensor | None
    hard: bool
    overlap: float

    @classmethod
    def of(
        cls,
        model: ModelHandle,
        queries: Query | Sequence[Query] | None,
        *,
        mask: str = "soft",
        overlap: float = 0.5,
        templates: PromptSet | Sequence[str] | None = None,
    ) -> Questions:
        """Return the questions of a user; arguments and errors as for :func:`.separation.separate`."""
        separator_of(model)
        if mask not in ("soft", "hard"):
            raise ConfigError(f"mask is 'soft' or 'hard', got {mask!r}.{nearest(mask, ('soft', 'hard'))}")
        if not 0 <= overlap <= 0.5:
            raise ConfigError(f"overlap is 0 to 0.5 of a window, got {overlap:g}.")
        listed = as_queries(queries)
        vectors = query_vectors(model, listed, templates=templates)
        names = tuple(_name(query, number) for number, query in enumerate(listed, 1))
        words = tuple(query if isinstance(query, str) else None for query in listed)
        if vectors is None:
            names, words = ("source 1", "source 2"), (None, None)
        return cls(names, words, vectors, mask == "hard", overlap)

    def rest(self, recording: Tensor, targets: Tensor) -> Tensor:
        """Return the recording [C, n] minus what answers the queries [Q, C, n].

        What is asked for twice, in the same or in other words, is taken out once.
        """
        return recording - targets[self._distinct()].sum(dim=0)

    def _distinct(self) -> list[int]:
        """Return the queries that are not the same as one before."""
        if self.vectors is None:
            return list(range(len(self.names)))
        found: list[int] = []
        for number, vector in enumerate(self.vectors):
            if not any(torch.allclose(vector, self.vectors[other], rtol=1e-4) for other in found):
                found.append(number)
        return found


def as_directions(vectors: Tensor) -> Tensor:
    """Return query vectors [Q, D] at unit length."""
    return F.normalize(vectors, dim=-1)


def _name(query: Query, number: int) -> str:
    """Return what a query is called in results: its words, the name of its picture, or its number."""
    if isinstance(query, str):
        return query
    if isinstance(query, Path):
        return query.name
    if isinstance(query, Sample) and query.id:
        return query.id
    return f"query {number}"
