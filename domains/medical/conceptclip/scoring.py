"""Zero-shot diagnosis from the whole picture and from the patches that match the class words best."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from ....core.answers import Prediction
from ....core.errors import ConfigError, InputError
from ....core.heads.zero_shot import class_embeddings
from ....core.prompts import PromptSet
from ....core.types import Sample
from ..tasks.grounding import Fitted, as_items, fit, on_device
from .model import ConceptClip
from .spans import word_positions

if TYPE_CHECKING:
    from ....core.handle import ModelHandle
    from ....core.processing import Processor

Reads = Literal["words", "first_occurrence"]

_TEXTS_PER_CALL = 64


@dataclass(frozen=True)
class Filled:
    """A prompt and the characters [start, end) of it that name the class."""

    text: str
    start: int
    end: int


@dataclass(frozen=True)
class Weights:
    """How the two scores are joined; see :func:`classify`."""

    local_weight: float = 0.5
    topk: int | None = 128
    multi_label: bool = False


def network_of(model: ModelHandle) -> ConceptClip:
    """Return the network of a model of this architecture.

    Raises:
        ConfigError: another architecture.
    """
    if not isinstance(model.network, ConceptClip):
        raise ConfigError(
            f"{model.id} is of architecture {model.config.architecture!r}; scores of patches need "
            "'conceptclip'. Use model.classify(...) for scores of the whole picture."
        )
    return model.network


def filled_prompts(prompts: PromptSet, name: str) -> list[Filled]:
    """Return the prompts of a class, in the order of ``prompts.texts``, with the place of its words.

    Raises:
        InputError: a ready sentence has none of the class's words.
    """
    words = prompts.classes[name]
    if name not in prompts.prompts:
        places = [(template, template.index("{}"), word) for template in prompts.templates for word in words]
        return [Filled(template.replace("{}", word), at, at + len(word)) for template, at, word in places]
    found = []
    for text in prompts.prompts[name]:
        at, word = max((text.casefold().rfind(word.casefold()), word) for word in (*words, name))
        if at < 0:
            raise InputError(
                f"The prompt {text[:80]!r} of class {name!r} has none of its words ({', '.join(words)}), so "
                "there are no tokens to compare patches with. Give templates with {} instead."
            )
        found.append(Filled(text, at, at + len(word)))
    return found


def word_vectors(
    network: ConceptClip, processor: Processor, filled: Sequence[Filled], *, reads: Reads = "words"
) -> Tensor:
    """Return the local vector of the class words inside each prompt, float32 [n, D], not normalized.

    It is the mean over the words' own tokens, found by their characters, so that the same word
    elsewhere in the prompt does not matter.

    Args:
        network, processor: of one model. filled: n prompts.
        reads: ``"first_occurrence"`` takes the first place of each token in the prompt, as the
            published script does, which is another word's when the template repeats it.

    Raises:
        InputError: words without tokens, or behind the context length.
    """
    rows = []
    for start in range(0, len(filled), _TEXTS_PER_CALL):
        some = filled[start : start + _TEXTS_PER_CALL]
        texts = [one.text for one in some]
        inputs = {key: value.to(network.device) for key, value in processor("text", texts).items()}
        length = inputs["input_ids"].shape[1]
        places = [(one.start, one.end) for one in some]
        marks = word_positions(texts, places, processor, length=length)
        if reads == "first_occurrence":
            marks = _first_occurrences(inputs["input_ids"].cpu(), marks)
        states = network.encode_tokens("text", inputs, project=True).tokens.float()
        weights = marks[:, : states.shape[1], None].to(states)
        rows.append((weights * states).sum(1) / weights.sum(1))
    return torch.cat(rows)


def _first_occurrences(ids: Tensor, marks: Tensor) -> Tensor:
    """Return how often each position [n, L] is read when every marked token is taken at its first place."""
    counts = torch.zeros(marks.shape)
    for row, position in marks.nonzero().tolist():
        counts[row, int((ids[row] == ids[row, position]).nonzero()[0])] += 1
    return counts


def local_classifier(
    network: ConceptClip, processor: Processor, prompts: PromptSet, *, reads: Reads = "words"
) -> Tensor:
    """Return one unit vector per class in the local space, float32 [K, D].

    The word vectors of a class's prompts are averaged with the prompts' weights, then normalized.
    """
    filled = {name: filled_prompts(prompts, name) for name in prompts.class_names}
    listed = [one for some in filled.values() for one in some]
    vectors = word_vectors(network, processor, listed, reads=reads)
    blocks = vectors.split([len(some) for some in filled.values()])
    means = [
        (vectors.new_tensor(prompts.text_weights(name))[:, None] * block).sum(0)
        for name, block in zip(filled, blocks, strict=True)
    ]
    return F.normalize(torch.stack(means), dim=-1)


def global_classifier(network: ConceptClip, processor: Processor, prompts: PromptSet) -> Tensor:
    """Return one unit text embedding per class, float32 [K, D], as plain CLIP uses it."""

    def encode(texts: list[str]) -> Tensor:
        inputs = {key: value.to(network.device) for key, value in processor("text", texts).items()}
        return network.encode("text", inputs)

    return class_embeddings(prompts, encode, batch_size=_TEXTS_PER_CALL)


def local_logits(network: ConceptClip, patches: Tensor, concepts: Tensor, *, topk: int | None) -> Tensor:
    """Return ``s_c`` times the mean of the ``topk`` largest cosines of patches with each concept, [B, N].

    Args:
        network: for its concept scale; no bias is added.
        patches: float [B, P, D], projected.
        concepts: float [N, D].
        topk: patches that count, at most P; None counts all.

    Raises:
        ConfigError: ``topk`` is not positive.
    """
    if topk is not None and topk < 1:
        raise ConfigError(f"topk must be at least 1 patch, or None for all; got {topk}.")
    unit = F.normalize(patches.float(), dim=-1)
    cosines = unit @ F.normalize(concepts.float(), dim=-1).T
    count = cosines.shape[1] if topk is None else min(topk, cosines.shape[1])
    return network.concept_scale().float() * cosines.topk(count, dim=1).values.mean(dim=1)


def mix(
    global_logits: Tensor, local: Tensor | None, *, local_weight: float, multi_label: bool = False
) -> Tensor:
    """Return ``w l + (1 - w) g`` [B, K]: probabilities of patches and picture; sums to 1 unless multi-label.

    Args:
        global_logits: ``s v.G`` [B, K], without bias. local: ``[B, K]`` likewise; None when w is 0.
        local_weight: w in [0, 1].
        multi_label: a sigmoid of each logit instead of the softmax over classes.

    Raises:
        ConfigError: ``local_weight`` outside [0, 1].
    """
    if not 0.0 <= local_weight <= 1.0:
        raise ConfigError(f"local_weight is a share from 0 to 1, got {local_weight}.")

    def probabilities(logits: Tensor) -> Tensor:
        return logits.sigmoid() if multi_label else logits.softmax(dim=-1)

    if local is None or local_weight == 0.0:
        return probabilities(global_logits)
    return local_weight * probabilities(local) + (1 - local_weight) * probabilities(global_logits)


def classify(
    model: ModelHandle,
    items: Any,
    classnames: Sequence[str] | None = None,
    *,
    templates: PromptSet | Sequence[str] | None = None,
    local_weight: float = 0.5,
    topk: int = 128,
    batch_size: int = 8,
    **options: Any,
) -> list[Prediction]:
    """Return one prediction per item from the whole picture and from its best patches.

    ``g = softmax(s v.G)`` compares the picture with the class prompts, ``l = softmax`` of the mean of
    the ``topk`` best patches compares patches with the class words inside the prompts; the score is
    ``local_weight l + (1 - local_weight) g``. With ``local_weight=0`` this is plain CLIP.

    Args:
        model: of architecture ``conceptclip``.
        items: files, PIL images, arrays, tensors or samples; one item counts as a list of one.
        classnames: None takes the classes of ``templates`` or of the model.
        templates: sentences with one ``{}``, or a prompt set; None takes the model's own.
        topk: patches that count; more than the picture has counts all. The published value is for 729.
        batch_size: pictures per call of the network; the result does not depend on it.
        options: of the domain's loader.

    Raises:
        InputError: labels or items that cannot be used, or class words without tokens of their own.
        ConfigError: another architecture, or a weight outside [0, 1].

    Reference: zero-shot diagnosis of the published evaluation code; biases are not used.
    """
    prompts = model.prompts_for(classnames, templates)
    weights = Weights(local_weight, topk, multi_label=False)
    return _predict(model, items, prompts, weights, batch_size=batch_size, options=options)


def classify_findings(
    model: ModelHandle,
    items: Any,
    classnames: Sequence[str] | None = None,
    *,
    templates: PromptSet | Sequence[str] | None = None,
    local_weight: float = 0.5,
    topk: int = 128,
    batch_size: int = 8,
    **options: Any,
) -> list[Prediction]:
    """Return one prediction per item where several classes may hold at once.

    As :func:`classify` with a sigmoid of each logit in place of both softmaxes. The scores do not sum
    to 1 and are not calibrated; they rank pictures for each finding.
    """
    prompts = model.prompts_for(classnames, templates)
    weights = Weights(local_weight, topk, multi_label=True)
    return _predict(model, items, prompts, weights, batch_size=batch_size, options=options)


def score_images(
    network: ConceptClip,
    image_inputs: Mapping[str, Tensor],
    classifiers: tuple[Tensor, Tensor | None],
    weights: Weights,
) -> Tensor:
    """Return scores float32 [B, K] of pictures for a global and a local classifier, each [K, D]."""
    whole, words = classifiers
    if words is None:
        embedding, patches = network.encode("image", image_inputs), None
    else:
        embedding, states = network.embed("image", image_inputs, tokens=True)
        embedding = F.normalize(embedding, dim=-1)
        patches = None if states is None else network.project_patches(states.tokens)
    local = (
        None if patches is None or words is None else local_logits(network, patches, words, topk=weights.topk)
    )
    global_logits = network.scale().float() * embedding @ whole.to(embedding).T
    return mix(global_logits, local, local_weight=weights.local_weight, multi_label=weights.multi_label)


def _predict(
    model: ModelHandle,
    items: Any,
    prompts: PromptSet,
    weights: Weights,
    *,
    batch_size: int,
    options: Mapping[str, Any],
) -> list[Prediction]:
    network = network_of(model)
    with torch.inference_mode(), model.precision("text"):
        whole = global_classifier(network, model.processor, prompts)
        words = local_classifier(network, model.processor, prompts) if weights.local_weight else None
    answers = []
    origin = (model.id, model.revision, model.processor.fingerprint)
    for pictures in picture_batches(model, items, batch_size=batch_size, options=options):
        with torch.inference_mode(), model.precision("image"):
            rows = score_images(network, pictures.inputs, (whole, words), weights).tolist()
        for one, meta, row in zip(pictures.fitted, pictures.metas, rows, strict=True):
            scores = dict(zip(prompts.class_names, row, strict=True))
            best = max(scores, key=scores.__getitem__)
            answers.append(Prediction(best, scores[best], scores, one.id, meta, *origin))
    return answers


@dataclass(frozen=True)
class Pictures:
    """A batch of pictures on the model's device.

    Attributes:
        fitted: where each picture comes from and how to get back to its file.
        metas: what the loader reports about each. inputs: of the image tower.
    """

    fitted: tuple[Fitted, ...]
    metas: tuple[Mapping[str, Any], ...]
    inputs: Mapping[str, Tensor]


def picture_batches(
    model: ModelHandle, items: Any, *, batch_size: int, options: Mapping[str, Any]
) -> Iterator[Pictures]:
    """Yield batches of pictures; one batch is in memory at a time.

    Raises:
        InputError: nothing to do, or an item that cannot be used; it is named by its position.
        ConfigError: ``batch_size`` is not positive.
    """
    if batch_size < 1:
        raise ConfigError(f"batch_size is at least 1, got {batch_size}.")
    listed = as_items(items)
    for start in range(0, len(listed), batch_size):
        fitted: list[Fitted] = []
        metas: list[Mapping[str, Any]] = []
        for position, item in enumerate(listed[start : start + batch_size], start):
            name = str(item) if isinstance(item, (str, Path)) else None
            if name is not None:
                item = model.load(name, modality="image", **options)
            one = fit(model, item, position, options)
            fitted.append(replace(one, id=name or one.id))
            metas.append(item.meta if isinstance(item, Sample) else {})
        inputs = model.processor.finish_images(torch.stack([one.pixels for one in fitted]))
        yield Pictures(tuple(fitted), tuple(metas), on_device(model, inputs))
