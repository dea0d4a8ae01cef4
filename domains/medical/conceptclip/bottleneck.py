"""Concept bottleneck classifiers on any model with pictures and texts, and how much they give away.

The classifier itself is :class:`verticlip.core.heads.bottleneck.ConceptBottleneck`; this module gets
its concepts and pictures through a model and compares it with a linear probe, which may use every
direction of the embedding and says nothing about why.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from ....core.answers import Embeddings
from ....core.errors import ConfigError, InputError, nearest
from ....core.heads.bottleneck import BottleneckTraining, ConceptBottleneck, Explanation
from ....core.heads.classifiers import LinearProbe

if TYPE_CHECKING:
    from ....core.handle import ModelHandle
    from ....core.metrics.bootstrap import Estimate

Concepts = Mapping[str, Sequence[str]] | Sequence[str]
"""{class: concepts that speak for it}, or concepts without a class."""


def concept_embeddings(model: ModelHandle, concepts: Sequence[str], *, template: str = "{}") -> Tensor:
    """Return the text embedding of each concept, float32 [C, D], unit length.

    Args:
        model: with a text tower.
        concepts: words. template: a sentence with one ``{}`` to say them in.

    Raises:
        ConfigError: the template has no place for the words.
        InputError: no concept, or a model without texts.
    """
    if template.count("{}") != 1:
        raise ConfigError(f"template needs exactly one {{}}, got {template!r}.")
    if isinstance(concepts, str) or not len(concepts):
        raise InputError("Give the concepts as a list of at least one.")
    texts = [template.replace("{}", concept) for concept in concepts]
    return model.embed(texts, modality="text").vectors


def fit_bottleneck(
    model: ModelHandle,
    items: Any,
    labels: Sequence[str],
    *,
    concepts: Concepts,
    template: str = "{}",
    training: BottleneckTraining | None = None,
    **options: Any,
) -> ConceptBottleneck:
    """Return a classifier that decides through concepts, fitted on labelled pictures.

    Args:
        model: any model with pictures and texts.
        items: N pictures as ``model.embed`` takes them, or their :class:`Embeddings`.
        labels: class of each picture.
        concepts: {class: concepts}, whose keys are the classes in answer order; or concepts alone,
            then the classes are those of ``labels`` in alphabetical order.
        template: sentence that the concepts are said in.
        training: None is :class:`BottleneckTraining` as it stands: the published rate, batch size and
            epochs. Those were for dot products of features that are not normalized; here concepts are
            scored by cosines, so results differ. With less than a few thousand pictures
            ``BottleneckTraining(lr=0.05, epochs=100)`` comes further.
        options: ``batch_size`` and options of the domain's loader, for pictures.

    Raises:
        InputError: no concept, a label that is no class, a class without pictures.

    Example::

        head = fit_bottleneck(model, files, labels, concepts={
            "normal": ["clear lungs"], "pneumonia": ["consolidation", "air bronchogram"]})
        print(explain(model, head, "chest.png")[0])
        save_head(head, "chest-bottleneck")
    """
    names = list(concepts) if isinstance(concepts, Mapping) else sorted(set(labels))
    vectors = embed_pictures(model, items, **options)
    words = (
        list(dict.fromkeys(word for own in concepts.values() for word in own))
        if isinstance(concepts, Mapping)
        else list(concepts)
    )
    return ConceptBottleneck.fit(
        vectors,
        class_indices(labels, names),
        names,
        concepts=concepts,
        concept_weights=concept_embeddings(model, words, template=template),
        scale=model.network.scale().item(),
        training=training,
    )


def explain(
    model: ModelHandle, head: ConceptBottleneck, items: Any, *, label: str | None = None, **options: Any
) -> list[Explanation]:
    """Return for each picture what every concept added to its class; printing one shows a table.

    Args:
        model: the one the head was fitted with. head: from :func:`fit_bottleneck` or ``load_head``.
        items: pictures, or their embeddings.
        label: the class to explain; None is each picture's most probable one.
        options: ``batch_size`` and options of the domain's loader.
    """
    return head.explain(embed_pictures(model, items, **options), label)


@dataclass(frozen=True)
class BottleneckReport:
    """A bottleneck beside the linear probe on the same embeddings; both with bootstrap intervals.

    Attributes:
        bottleneck, probe: balanced accuracy on the test pictures.
        test, concepts: how many pictures and concepts.
    """

    bottleneck: Estimate
    probe: Estimate
    test: int
    concepts: int

    def __str__(self) -> str:
        return (
            f"balanced accuracy on {self.test} pictures: {self.bottleneck} through {self.concepts} concepts, "
            f"{self.probe} by a linear probe"
        )


def compare_with_probe(
    head: ConceptBottleneck,
    train: tuple[Tensor, Sequence[str]],
    test: tuple[Tensor, Sequence[str]],
    *,
    probe_c: float = 1.0,
) -> BottleneckReport:
    """Return what deciding through concepts costs against a linear probe fitted on the same pictures.

    Args:
        head: a fitted bottleneck.
        train: embeddings float [N, D] and N labels the probe is fitted on.
        test: embeddings and labels that neither has seen.
        probe_c: inverse regularization of the probe.

    Raises:
        InputError: a label that is no class of ``head``, or shapes that disagree.
    """
    from ....core.metrics import balanced_accuracy

    names = head.class_names
    probe = LinearProbe.fit(train[0], class_indices(train[1], names), names, c=probe_c)
    targets = class_indices(test[1], names)
    found = [
        balanced_accuracy(one.scores(test[0]).argmax(dim=1).cpu().numpy(), targets) for one in (head, probe)
    ]
    return BottleneckReport(found[0], found[1], len(targets), len(head.concepts))


def embed_pictures(model: ModelHandle, items: Any, **options: Any) -> Tensor:
    """Return picture embeddings float32 [N, D]: those given, or those the model makes of ``items``.

    Raises:
        InputError: embeddings of texts or of another model.
    """
    if isinstance(items, Tensor) and items.ndim == 2:
        return items
    if not isinstance(items, Embeddings):
        return model.embed(items, modality="image", **options).vectors
    if items.modality != "image" or (items.model, items.revision) != (model.id, model.revision):
        raise InputError(
            f"These are {items.modality} embeddings of {items.model} ({items.revision}); expected image "
            f"embeddings of {model.id} ({model.revision})."
        )
    return items.vectors


def class_indices(labels: Sequence[str], names: Sequence[str]) -> np.ndarray:
    """Return the position of each label among the class names, int64 [N].

    Raises:
        InputError: a label that is no class; the nearest class is named.
    """
    places = {name: index for index, name in enumerate(names)}
    for position, label in enumerate(labels):
        if label not in places:
            raise InputError(
                f"label {position} is {label!r}, which is none of the classes {', '.join(names)}."
                f"{nearest(str(label), names)}"
            )
    return np.asarray([places[label] for label in labels], dtype=np.int64)
