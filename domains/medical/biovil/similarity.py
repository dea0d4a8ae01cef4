"""What BioViL and CXR-BERT answer in words: scores of prompts, findings by prompt pairs, masked words.

Cosines of this system are small and not calibrated: compare prompts of one style, or use margins.

Reference: microsoft/hi-ml, ``health_multimodal/{text,vlp}/inference_engine.py``.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor
from torch.nn import functional as F

from ....core.errors import ConfigError, InputError
from ....core.inputs import encode_texts, on_device
from .model import STRIDE, BioViL
from .sections import sentences

if TYPE_CHECKING:
    from ....core.handle import ModelHandle

    Handle = TypeVar("Handle", bound=ModelHandle)
else:
    Handle = TypeVar("Handle")

PromptPair = tuple[Sequence[str], Sequence[str]]
"""(sentences that say the finding is there, sentences that say it is not)."""


@dataclass(frozen=True)
class FindingScore:
    """How a finding scores on one image.

    Attributes:
        positive, negative: cosine of the image with either side's prompts.
        margin: positive minus negative; above 0 the finding is the better description.
        probability: softmax of the two at the model's temperature; not calibrated.
    """

    positive: float
    negative: float
    margin: float
    probability: float


@dataclass(frozen=True)
class FindingScores:
    """The findings of one image, in the caller's order, and where the answer came from."""

    findings: Mapping[str, FindingScore]
    id: str | None
    model: str
    revision: str
    processor: str

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class WordGuess:
    """A word for a [MASK] and its probability among all words."""

    word: str
    probability: float


def biovil_of(model: ModelHandle) -> BioViL:
    """Return the model's network.

    Raises:
        InputError: it is of another architecture.
    """
    if not isinstance(model.network, BioViL):
        raise InputError(f"{model.id} is no BioViL. Use medical/biovil, medical/biovil-t or a CXR-BERT.")
    return model.network


def embed_prompts(model: ModelHandle, groups: Sequence[Sequence[str]]) -> Tensor:
    """Return one unit vector per group of prompts, float32 [G, D], on the CPU.

    The *raw* vectors of a group are averaged and the mean is normalized once, so a prompt with a long
    vector weighs more. (``Model.classify`` averages unit vectors instead.)

    Raises:
        InputError: no groups, an empty group, or a string where a list of prompts belongs.
    """
    listed = [_prompts(group, position) for position, group in enumerate(groups)]
    if not listed:
        raise InputError("There is nothing to compare with: the list of prompts is empty.")
    texts = [prompt for group in listed for prompt in group]
    vectors = encode_texts(model, texts, normalize=False)
    return torch.stack(
        [F.normalize(part.mean(dim=0), dim=0) for part in vectors.split([len(group) for group in listed])]
    )


def _prompts(group: Sequence[str], position: int) -> list[str]:
    if isinstance(group, str):
        raise InputError(f"prompts {position}: got the string {group[:60]!r}; give a list of sentences.")
    if not len(group):
        raise InputError(f"prompts {position}: the list is empty. Give at least one sentence.")
    return list(group)


def similarity(
    model: ModelHandle,
    items: Any,
    prompts: Sequence[str],
    *,
    ensemble: bool = False,
    batch_size: int = 8,
    **options: Any,
) -> Tensor:
    """Return cosines of images with prompts, float32 [B, P]; [B, 1] of all prompts as one ``ensemble``.

    Args:
        model: a BioViL or BioViL-T.
        items: files, samples, PIL images, arrays or tensors; one counts as a batch of one.
        prompts: sentences.
        ensemble: average the prompts' raw vectors and compare with their mean.
        batch_size: images per call of the network; the result does not depend on it.
        options: of the domain's loader.
    """
    listed = _prompts(prompts, 0)
    groups = [listed] if ensemble else [[prompt] for prompt in listed]
    texts = embed_prompts(model, groups)
    images = model.embed(items, modality="image", batch_size=batch_size, **options)
    return images.vectors @ texts.T


def score_findings(
    model: ModelHandle,
    items: Any,
    findings: Mapping[str, PromptPair],
    *,
    batch_size: int = 8,
    **options: Any,
) -> list[FindingScores]:
    """Return, per image, how each finding's positive prompts score against its negative ones.

    Example::

        pneumonia = (["Findings suggesting pneumonia"], ["There is no pneumonia"])
        score_findings(model, "chest.dcm", {"pneumonia": pneumonia})[0].findings["pneumonia"].margin

    Args:
        model: a BioViL or BioViL-T.
        items: as for :func:`similarity`.
        findings: {name: (positive prompts, negative prompts)}; each side is averaged as raw vectors.

    Raises:
        InputError: no findings, or one without prompts on both sides.
    """
    if not findings:
        raise InputError("There are no findings to look for. Pass {name: (positive, negative prompts)}.")
    for name, pair in findings.items():
        if isinstance(pair, str) or len(pair) != 2:
            raise InputError(f"finding {name!r}: give two lists, positive and negative prompts.")
    texts = embed_prompts(model, [side for pair in findings.values() for side in pair])
    images = model.embed(items, modality="image", batch_size=batch_size, **options)
    cosines = (images.vectors @ texts.T).unflatten(1, (len(findings), 2))
    probabilities = (cosines * model.network.scale().item()).softmax(dim=-1)[..., 0]
    origin = (model.id, model.revision, model.processor.fingerprint)
    answers = []
    for row, chances, identifier in zip(cosines.tolist(), probabilities.tolist(), images.ids, strict=True):
        scores = {
            name: FindingScore(positive, negative, positive - negative, chance)
            for name, (positive, negative), chance in zip(findings, row, chances, strict=True)
        }
        answers.append(FindingScores(scores, identifier, *origin))
    return answers


def pairwise_similarity(model: ModelHandle, left: Sequence[str], right: Sequence[str]) -> Tensor:
    """Return the cosine of each sentence with its partner, float32 [N].

    Raises:
        InputError: the lists differ in length or are empty.
    """
    first, second = _prompts(left, 0), _prompts(right, 1)
    if len(first) != len(second):
        raise InputError(f"{len(first)} sentences against {len(second)}. Both lists need the same length.")
    vectors = encode_texts(model, [*first, *second])
    return (vectors[: len(first)] * vectors[len(first) :]).sum(dim=1)


def embed_reports(model: ModelHandle, reports: Sequence[str]) -> Tensor:
    """Return one unit vector per report, float32 [R, D], for matching reports with images.

    A report that is longer than the text tower's context is taken in pieces of whole sentences, whose raw
    vectors are averaged by their number of sentences.

    Raises:
        InputError: no reports, or a sentence that is itself longer than the context.
    """
    pieces = [_pieces(model, report) for report in _prompts(reports, 0)]
    vectors = encode_texts(model, [text for parts in pieces for text, _ in parts], normalize=False)
    rows = []
    for part, own in zip(vectors.split([len(parts) for parts in pieces]), pieces, strict=True):
        weights = torch.tensor([float(count) for _, count in own])
        rows.append(F.normalize((part * weights[:, None]).sum(dim=0), dim=0))
    return torch.stack(rows)


def _pieces(model: ModelHandle, report: str) -> list[tuple[str, int]]:
    """Return (text, number of sentences) of parts that each fit the context."""
    config = model.processor.config.text
    if config is None:
        raise ConfigError(f"{model.id} reads no text.")
    if model.processor.count_tokens([report])[0] <= config.context_length:
        return [(report, 1)]
    parts: list[list[str]] = [[]]
    for sentence in sentences(report):
        joined = " ".join([*parts[-1], sentence])
        if parts[-1] and model.processor.count_tokens([joined])[0] > config.context_length:
            parts.append([])
        parts[-1].append(sentence)
    return [(" ".join(part), len(part)) for part in parts]


def fill_mask(model: ModelHandle, text: str, *, top: int = 5) -> list[list[WordGuess]]:
    """Return, for each [MASK] in order, the ``top`` most probable words, best first.

    Example::

        fill_mask(model, "Moderate [MASK] pleural effusions")[0][0].word

    Raises:
        InputError: the text has no [MASK], the model no masked-word head, or ``top`` is out of range.
    """
    network = biovil_of(model)
    words = json.loads(model.processor.tokenizer_json or "{}").get("model", {}).get("vocab", {})
    if not isinstance(text, str) or "[MASK]" not in text:
        raise InputError(f"The text {str(text)[:60]!r} has no [MASK]. Write it where a word is wanted.")
    if not 1 <= top <= len(words):
        raise InputError(f"top must be between 1 and {len(words)}, got {top}.")
    inputs = on_device(model, model.processor("text", [text]))
    at = inputs["input_ids"] == words["[MASK]"]
    with torch.inference_mode(), model.precision("text"):
        chances = network.word_logits(inputs, at).float().softmax(dim=-1)
    values, numbers = chances.cpu().topk(top, dim=-1)
    by_number = {number: word for word, number in words.items()}
    return [
        [WordGuess(by_number[number], value) for number, value in zip(row, guesses, strict=True)]
        for row, guesses in zip(numbers.tolist(), values.tolist(), strict=True)
    ]


def with_finer_grid(model: Handle) -> Handle:
    """Return the same model with a patch grid twice as fine; see :meth:`BioViL.dilated`.

    Both share their weights. Scores differ a little from those of the coarse grid, on which the model
    was trained, so the revision that answers carry ends in ``+stride16``: vectors of the two are not
    taken for those of one model.
    """
    finer = copy.copy(model)
    finer.network = biovil_of(model).dilated()
    finer.variant = f"stride{STRIDE // 2}"
    return finer
