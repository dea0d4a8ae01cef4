"""Which concepts a picture shows: prompts with and without a concept, scored by picture and by patch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor
from torch.nn import functional as F

from ....core.answer_each import answer_each, check_batch_size
from ....core.answers import Failure
from ....core.config import Config, read_config
from ....core.errors import ConfigError, InputError, nearest
from ....core.inference import encode_by_length
from ....core.inputs import Fitted, as_items, fit, fitted_batches, fitted_inputs, on_device
from ....core.prompts import check_labels
from ..tasks.grounding import heat_maps
from .scoring import Filled, local_logits, mix, network_of, word_vectors

if TYPE_CHECKING:
    from ....core.handle import ModelHandle
    from ....core.heatmaps import HeatMap
    from ....core.processing import Processor
    from .model import ConceptClip

LISTS = Path(__file__).with_name("concepts.yaml")
"""The concept lists that come with the package."""


class ConceptSet(Config):
    """Concepts of one kind of picture and the two sentences they are asked with."""

    positive: str = "a medical image showing {}"
    """One ``{}`` where the concept goes."""
    negative: str = "a medical image"
    """The same sentence without a concept."""
    concepts: tuple[str, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _one_slot(self) -> ConceptSet:
        if self.positive.count("{}") != 1:
            raise ValueError(f"the positive sentence needs exactly one {{}}, got {self.positive!r}")
        if "{}" in self.negative or not self.negative.strip():
            raise ValueError(f"the negative sentence has no {{}} and is not empty, got {self.negative!r}")
        return self


class ConceptLists(Config):
    """A file of concept lists."""

    version: str = Field(min_length=1)
    lists: dict[str, ConceptSet] = Field(min_length=1)


def concept_set(name: str, *, path: str | Path = LISTS) -> ConceptSet:
    """Return one of the concept lists of a file: radiology, dermoscopy, histopathology, fundus ...

    Raises:
        ConfigError: no such list (the nearest is named), or a malformed file.
    """
    lists = read_config(ConceptLists, path).lists
    if name not in lists:
        raise ConfigError(f"No concept list {name!r}; there are: {', '.join(lists)}.{nearest(name, lists)}")
    return lists[name]


@dataclass(frozen=True)
class AnnotationRule:
    """How a concept is scored.

    Attributes:
        local_weight: share of the patches in the score, from 0 to 1.
        topk: patches that count; None counts all, as published.
        reads: ``"words"``: patches are compared with the concept's own tokens in the positive sentence,
            and with all words of the negative one. ``"last_position"``: with the last position of the
            padded sentence, and the mixed probabilities pass another softmax, as in the published script.
    """

    local_weight: float = 0.5
    topk: int | None = None
    reads: Literal["words", "last_position"] = "words"


@dataclass(frozen=True)
class ConceptScore:
    """How far a picture shows a concept rather than not, each in [0, 1].

    Attributes:
        concept: its words. score: the answer.
        whole: from the picture's embedding alone. local: from its patches alone.
    """

    concept: str
    score: float
    whole: float
    local: float


@dataclass(frozen=True)
class Annotation:
    """The concepts of one picture, in the order they were asked for.

    Attributes:
        scores: one per concept.
        maps: where each concept is, when maps were asked for.
        id: the path as given, the sample's id, or None.
        model, revision, processor: which model, weights and preprocessing answered.
    """

    scores: tuple[ConceptScore, ...]
    maps: tuple[HeatMap, ...]
    id: str | None
    meta: Mapping[str, Any]
    model: str
    revision: str
    processor: str

    def best(self, count: int = 5) -> list[ConceptScore]:
        """Return the ``count`` concepts with the highest scores, best first."""
        return sorted(self.scores, key=lambda one: -one.score)[:count]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON; maps as :meth:`HeatMap.to_dict` gives them."""
        named = {name: getattr(self, name) for name in ("id", "model", "revision", "processor")}
        return {
            **named,
            "meta": dict(self.meta),
            "concepts": [asdict(one) for one in self.scores],
            "maps": [one.to_dict() for one in self.maps],
        }


@dataclass(frozen=True)
class ConceptVectors:
    """What pictures are compared with: the two sentences of every concept.

    Attributes:
        whole: float32 [N, 2, D], unit text embeddings of the negative and the positive sentence.
        local: float32 [N, 2, D], vectors in the local space, not normalized.
    """

    whole: Tensor
    local: Tensor


def concept_vectors(
    network: ConceptClip, processor: Processor, concepts: ConceptSet, rule: AnnotationRule
) -> ConceptVectors:
    """Return the vectors of both sentences of every concept.

    Raises:
        InputError: a concept whose words have no tokens of their own in its sentence.
    """
    # The whole negative sentence: it has no words of a concept to read. It is the same for all.
    filled = [
        Filled(concepts.negative, 0, len(concepts.negative)),
        *(Filled.of(concepts.positive, concept) for concept in concepts.concepts),
    ]
    inputs = on_device(network, processor("text", [one.text for one in filled]))
    whole = encode_by_length(lambda part: network.encode("text", part), inputs)
    if rule.reads == "last_position":
        local = encode_by_length(lambda part: _last_position(network, processor, part["input_ids"]), inputs)
    else:
        local = word_vectors(network, processor, filled)
    return ConceptVectors(_pairs(whole), _pairs(local))


def _pairs(vectors: Tensor) -> Tensor:
    """Return [N, 2, D], the negative beside each positive, from the negative and N positives [1 + N, D]."""
    return torch.stack([vectors[:1].expand(len(vectors) - 1, -1), vectors[1:]], dim=1)


def _last_position(network: ConceptClip, processor: Processor, ids: Tensor) -> Tensor:
    """Return the local vectors [n, D] that the published script reads: those of the last padded position."""
    text = processor.config.text
    context = ids.shape[1] if text is None else text.context_length
    padded = F.pad(ids, (0, context - ids.shape[1]), value=network.options.pad_id)
    return network.project_tokens(network.padded_text_states(padded)[:, -1]).float()


def presence(
    network: ConceptClip, image_inputs: Mapping[str, Tensor], vectors: ConceptVectors, rule: AnnotationRule
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return scores of pictures for every concept, and the patches [B, P, D] they were compared with.

    Returns:
        Mixed, global and local probabilities of (negative, positive), each float32 [B, N, 2], and the
        projected patches.
    """
    embedding, states = network.embed("image", image_inputs, tokens=True)
    if states is None:
        raise InputError(f"The image tower of {network.config.name!r} keeps no patches.")
    patches = network.project_patches(states.tokens)
    cosines = torch.einsum("bd,nkd->bnk", F.normalize(embedding, dim=-1), vectors.whole)
    global_logits = network.scale().float() * cosines
    local = local_logits(network, patches, vectors.local.flatten(0, 1), topk=rule.topk)
    local = local.unflatten(1, (-1, 2))
    mixed = mix(global_logits, local, local_weight=rule.local_weight)
    if rule.reads == "last_position":
        mixed = mixed.softmax(dim=-1)
    return mixed, global_logits.softmax(dim=-1), local.softmax(dim=-1), patches


def annotate(
    model: ModelHandle,
    items: Any,
    concepts: ConceptSet | Sequence[str],
    *,
    rule: AnnotationRule | None = None,
    maps: bool = False,
    batch_size: int = 8,
    **options: Any,
) -> list[Annotation]:
    """Return which concepts each picture shows.

    The picture is compared with a sentence that names the concept and with the same sentence without
    it, globally by its embedding and locally by its patches. Scores of a concept compare pictures;
    they are not calibrated across concepts.

    Args:
        model: of architecture ``conceptclip``.
        items: files, PIL images, arrays, tensors or samples; one item counts as a list of one.
        concepts: words, asked with general sentences, or a list with its own such as
            ``concept_set("dermoscopy")``.
        rule: how scores are made; None is :class:`AnnotationRule` as it stands.
        maps: also return a heat map per concept, in the pixels of the file.
        batch_size: pictures per call of the network; the result does not depend on it.
        options: of the domain's loader.

    Raises:
        InputError: another architecture, no concept, an empty or repeated one, or an item that cannot
            be used.

    Example:
        >>> annotate(model, "lesion.png", concept_set("dermoscopy"))[0].best(3)  # doctest: +SKIP
    """
    check_batch_size(batch_size)
    annotator = Annotator.of(model, concepts, rule, maps=maps)
    batches = fitted_batches(model, items, batch_size=batch_size, options=options)
    return [answer for fitted in batches for answer in annotator.answer(fitted)]


def annotate_each(
    model: ModelHandle,
    items: Any,
    concepts: ConceptSet | Sequence[str],
    *,
    rule: AnnotationRule | None = None,
    maps: bool = False,
    batch_size: int = 8,
    **options: Any,
) -> Iterator[Annotation | Failure]:
    """Yield the answer or the failure of each picture, in order; a bad one does not stop the others.

    Arguments as in :func:`annotate`. The sentences are encoded once; memory holds one batch at a time.
    """
    listed, annotator = as_items(items), Annotator.of(model, concepts, rule, maps=maps)

    def prepare(item: Any, position: int) -> Fitted:
        return fit(model, item, position, options)

    for _, answer in answer_each(listed, prepare, annotator.answer, batch_size=batch_size):
        yield answer


@dataclass(frozen=True, eq=False)
class Annotator:
    """A model with concepts that are encoded already, for any number of pictures.

    Attributes:
        model: of architecture ``conceptclip``. concepts: what is asked for. rule: how it is scored.
        vectors: both sentences of each concept.
        shown: vectors of the concepts' own words float32 [N, D] in the local space, which maps show
            whatever the score reads; None for no maps.
    """

    model: ModelHandle
    concepts: ConceptSet
    rule: AnnotationRule
    vectors: ConceptVectors
    shown: Tensor | None

    @classmethod
    def of(
        cls,
        model: ModelHandle,
        concepts: ConceptSet | Sequence[str],
        rule: AnnotationRule | None = None,
        *,
        maps: bool = False,
    ) -> Annotator:
        """Return an annotator; arguments and errors as in :func:`annotate`."""
        network = network_of(model)
        given = concepts
        if not isinstance(given, ConceptSet):
            check_labels(given, limits=model.limits)
            given = ConceptSet(concepts=tuple(given))
        rule, shown = rule or AnnotationRule(), None
        with torch.inference_mode(), model.precision("text"):
            vectors = concept_vectors(network, model.processor, given, rule)
            if maps:
                words = (
                    vectors
                    if rule.reads == "words"
                    else concept_vectors(network, model.processor, given, AnnotationRule())
                )
                shown = words.local[:, 1]
        return cls(model, given, rule, vectors, shown)

    def answer(self, fitted: Sequence[Fitted]) -> list[Annotation]:
        """Return the annotation of each picture of :func:`~verticlip.core.inputs.fit`."""
        model, network, names = self.model, network_of(self.model), self.concepts.concepts
        with torch.inference_mode(), model.precision("image"):
            inputs = fitted_inputs(model, fitted)
            *scores, patches = presence(network, inputs, self.vectors, self.rule)
            grids = None if self.shown is None else _grids(network, patches, self.shown)
        origin = (model.id, model.revision, model.processor.fingerprint)
        rows = torch.stack([one[..., 1] for one in scores], dim=-1).tolist()
        answers = []
        for position, (one, row) in enumerate(zip(fitted, rows, strict=True)):
            shown: list[HeatMap] = []
            if grids is not None:
                values = [score for score, _, _ in row]
                shown = heat_maps(model, one, names, grids[position], values, interpolation="bilinear")
            found = tuple(ConceptScore(concept, *three) for concept, three in zip(names, row, strict=True))
            answers.append(Annotation(found, tuple(shown), one.id, one.meta, *origin))
        return answers


def _grids(network: ConceptClip, patches: Tensor, concepts: Tensor) -> Tensor:
    """Return concept logits on the grid of patches, float32 [B, N, h, w] on the CPU."""
    grid = network.patch_grid
    logits = network.concept_logits(patches, concepts).transpose(1, 2).unflatten(-1, grid)
    return logits.float().cpu().clone()
