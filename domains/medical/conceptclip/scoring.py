"""Zero-shot diagnosis from the whole picture and from the patches that match the class words best."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from ....core.answer_each import check_batch_size
from ....core.answers import Prediction
from ....core.errors import ConfigError, InputError
from ....core.heads.zero_shot import class_embeddings
from ....core.inference import encode_by_length
from ....core.inputs import Fitted, fitted_batches, fitted_inputs, on_device
from ....core.prompts import PromptSet, prompt_words
from .model import ConceptClip
from .spans import word_positions

if TYPE_CHECKING:
    from ....core.handle import ModelHandle
    from ....core.processing import Processor

Reads = Literal["words", "first_occurrence"]

WORDS_TEMPLATE = "a medical image of {}"
"""Says class words where ready sentences do not; the example of the published model card."""


@dataclass(frozen=True)
class Filled:
    """A prompt, the characters [start, end) of it that name the class, and its weight within the class."""

    text: str
    start: int
    end: int
    weight: float = 1.0

    @classmethod
    def of(cls, template: str, words: str, weight: float = 1.0) -> Filled:
        """Return ``template`` with ``words`` in place of its ``{}``."""
        at = template.index("{}")
        return cls(template.replace("{}", words), at, at + len(words), weight)


@dataclass(frozen=True)
class Weights:
    """How the two scores are joined; see :func:`classify`."""

    local_weight: float = 0.5
    topk: int | None = 128
    multi_label: bool = False

    def check(self) -> None:
        """Raise ``ConfigError`` for a share outside [0, 1] or a number of patches below 1."""
        if not 0.0 <= self.local_weight <= 1.0:
            raise ConfigError(f"local_weight is a share from 0 to 1, got {self.local_weight}.")
        if self.topk is not None and self.topk < 1:
            raise ConfigError(f"topk must be at least 1 patch, or None for all; got {self.topk}.")


def network_of(model: ModelHandle) -> ConceptClip:
    """Return the network of a model of this architecture.

    Raises:
        InputError: another architecture.
    """
    if not isinstance(model.network, ConceptClip):
        raise InputError(
            f"{model.id} is of architecture {model.config.architecture!r}; scores of patches need "
            "'conceptclip'. Use model.classify(...) for scores of the whole picture."
        )
    return model.network


def filled_prompts(prompts: PromptSet, *, template: str = WORDS_TEMPLATE) -> dict[str, list[Filled]]:
    """Return {class: prompts with the place of its words}.

    Templates are filled with every word of a class. Ready sentences are taken as they are where each
    of them names its class; if any does not ("sharp costophrenic angles"), all classes with ready
    sentences are asked with the first of their words in ``template``, so that they stay comparable.

    Args:
        prompts: words, templates and ready sentences of each class.
        template: a sentence with one ``{}``, for classes whose sentences do not name them.

    Raises:
        ConfigError: ``template`` has no place for the words.
    """
    if template.count("{}") != 1:
        raise ConfigError(f"template needs exactly one {{}} where the words go, got {template!r}.")
    named = {name: _named_in(prompts, name) for name in prompts.prompts}
    silent = any(one is None for found in named.values() for one in found)
    filled: dict[str, list[Filled]] = {}
    for name, words in prompts.classes.items():
        if name not in named:
            texts = [(sentence, word) for sentence in prompts.templates for word in words]
            shares = prompts.text_weights(name)
            filled[name] = [Filled.of(*text, share) for text, share in zip(texts, shares, strict=True)]
        elif silent:
            filled[name] = [Filled.of(template, words[0])]
        else:
            filled[name] = [one for one in named[name] if one is not None]
    return filled


def _named_in(prompts: PromptSet, name: str) -> list[Filled | None]:
    """Return each ready sentence of a class with the last place of its longest words, None without any."""
    words = {prompt_words(word) for word in (*prompts.classes[name], name)}
    patterns = [
        re.compile(rf"(?<!\w){re.escape(word)}(?!\w)", re.IGNORECASE)
        for word in sorted(words, key=lambda word: (-len(word), word))
    ]
    found: list[Filled | None] = []
    for text in prompts.prompts[name]:
        places = next((hits for one in patterns if (hits := list(one.finditer(text)))), [])
        found.append(Filled(text, *places[-1].span()) if places else None)
    return found


def word_vectors(
    network: ConceptClip, processor: Processor, filled: Sequence[Filled], *, reads: Reads = "words"
) -> Tensor:
    """Return the local vector of the class words inside each prompt, float32 [n, D], not normalized.

    It is the mean over the words' own tokens, found by their characters, so that the same word
    elsewhere in the prompt does not matter. However many prompts there are, a call of the network
    sees a bounded number of tokens.

    Args:
        network, processor: of one model. filled: n prompts.
        reads: ``"first_occurrence"`` takes the first place of each token in the prompt, as the
            published script does, which is another word's when the template repeats it.

    Raises:
        InputError: words without tokens, or behind the context length.
    """
    texts = [one.text for one in filled]
    inputs = processor("text", texts)
    places = [(one.start, one.end) for one in filled]
    marks = word_positions(texts, places, processor, length=inputs["input_ids"].shape[1]).float()
    if reads == "first_occurrence":
        marks = _first_occurrences(inputs["input_ids"], marks)

    def read(part: Mapping[str, Tensor]) -> Tensor:
        tower = {name: value for name, value in part.items() if name != "marks"}
        states = network.encode_tokens("text", tower, project=True).tokens.float()
        weights = part["marks"][:, : states.shape[1], None].to(states)
        return (weights * states).sum(1) / weights.sum(1)

    return encode_by_length(read, on_device(network, {**inputs, "marks": marks}))


def _first_occurrences(ids: Tensor, marks: Tensor) -> Tensor:
    """Return how often each position [n, L] is read when every marked token is taken at its first place."""
    counts = torch.zeros(marks.shape)
    for row, position in marks.nonzero().tolist():
        counts[row, int((ids[row] == ids[row, position]).nonzero()[0])] += 1
    return counts


def local_classifier(
    network: ConceptClip,
    processor: Processor,
    filled: Mapping[str, Sequence[Filled]],
    *,
    reads: Reads = "words",
) -> Tensor:
    """Return one unit vector per class in the local space, float32 [K, D].

    The word vectors of a class's prompts are averaged with the prompts' weights, then normalized.

    Args:
        filled: {class: prompts}, as :func:`filled_prompts` makes them.
        reads: as in :func:`word_vectors`.
    """
    vectors = word_vectors(network, processor, [one for some in filled.values() for one in some], reads=reads)
    blocks = vectors.split([len(some) for some in filled.values()])
    means = []
    for some, block in zip(filled.values(), blocks, strict=True):
        weights = vectors.new_tensor([one.weight for one in some])
        means.append((weights[:, None] * block).sum(0) / weights.sum())
    return F.normalize(torch.stack(means), dim=-1)


def global_classifier(network: ConceptClip, processor: Processor, prompts: PromptSet) -> Tensor:
    """Return one unit text embedding per class, float32 [K, D], as plain CLIP uses it."""

    def encode(texts: list[str]) -> Tensor:
        inputs = on_device(network, processor("text", texts))
        return encode_by_length(lambda part: network.encode("text", part), inputs)

    return class_embeddings(prompts, encode)


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
    Weights(topk=topk).check()
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
    Weights(local_weight).check()

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
    topk: int | None = 128,
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
        topk: patches that count; None, or more than the picture has, counts all. The published value is
            for 729.
        batch_size: pictures per call of the network; the result does not depend on it.
        options: of the domain's loader.

    Raises:
        InputError: another architecture, labels or items that cannot be used, or class words without
            tokens of their own.
        ConfigError: a weight outside [0, 1], or a topk below 1.

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
    topk: int | None = 128,
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


@dataclass(frozen=True, eq=False)
class PatchScorer:
    """A model with classes that are encoded already, for any number of pictures.

    Attributes:
        model: of architecture ``conceptclip``. class_names: K.
        whole: unit text embeddings float32 [K, D].
        words: vectors of the class words in the local space float32 [K, D]; None when they do not count.
        weights: how the two scores are joined.
    """

    model: ModelHandle
    class_names: tuple[str, ...]
    whole: Tensor
    words: Tensor | None
    weights: Weights

    @classmethod
    def of(
        cls,
        model: ModelHandle,
        prompts: PromptSet,
        weights: Weights,
        *,
        filled: Mapping[str, Sequence[Filled]] | None = None,
    ) -> PatchScorer:
        """Return a scorer for the classes of ``prompts``.

        Args:
            model: of architecture ``conceptclip``.
            prompts: what the whole picture is compared with.
            weights: how the two scores are joined.
            filled: {class: prompts} whose words the patches are compared with, in the same order; None
                takes :func:`filled_prompts`.

        Raises:
            InputError: another architecture, or class words without tokens of their own.
            ConfigError: weights that cannot be used.
        """
        network, words = network_of(model), None
        weights.check()
        with torch.inference_mode(), model.precision("text"):
            whole = global_classifier(network, model.processor, prompts)
            if weights.local_weight:
                filled = filled_prompts(prompts) if filled is None else filled
                words = local_classifier(network, model.processor, filled)
        return cls(model, prompts.class_names, whole, words, weights)

    def scores(self, fitted: Sequence[Fitted]) -> Tensor:
        """Return scores float32 [B, K] on the CPU of pictures of :func:`~verticlip.core.inputs.fit`."""
        inputs = fitted_inputs(self.model, fitted)
        with torch.inference_mode(), self.model.precision("image"):
            rows = score_images(network_of(self.model), inputs, (self.whole, self.words), self.weights)
        return rows.float().cpu().clone()


def _predict(
    model: ModelHandle,
    items: Any,
    prompts: PromptSet,
    weights: Weights,
    *,
    batch_size: int,
    options: Mapping[str, Any],
) -> list[Prediction]:
    check_batch_size(batch_size)
    scorer = PatchScorer.of(model, prompts, weights)
    answers = []
    origin = (model.id, model.revision, model.processor.fingerprint)
    for pictures in fitted_batches(model, items, batch_size=batch_size, options=options):
        for one, row in zip(pictures, scorer.scores(pictures).tolist(), strict=True):
            scores = dict(zip(prompts.class_names, row, strict=True))
            best = max(scores, key=scores.__getitem__)
            answers.append(Prediction(best, scores[best], scores, one.id, one.meta, *origin))
    return answers
