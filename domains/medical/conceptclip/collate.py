"""From concepts in a caption to token spans of a batch, and how many of them a model can use."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from ....core.errors import DataError, InputError
from .pairs import Row
from .spans import TokenLocator, TokenSpan, fits, match_phrases

if TYPE_CHECKING:
    from ....core.processing import Processor

Fit = Literal["drop", "keep"]

_log = logging.getLogger(__name__)
_USUAL_LOSS = 0.2
"""A larger share of unused concepts is told."""


@dataclass(frozen=True)
class AlignedSpans:
    """Token spans of one text, and what became of the concepts that have none.

    Attributes:
        spans: token spans [start, end).
        kept: index into the given concepts of each span.
        dropped: {reason: count}; ``past_context``, ``not_found``.
    """

    spans: tuple[TokenSpan, ...]
    kept: tuple[int, ...]
    dropped: Mapping[str, int] = field(default_factory=dict)


def align_spans(
    text: str, concepts: Sequence[Mapping[str, Any]], processor: Processor, *, fit: Fit = "drop"
) -> AlignedSpans:
    """Return the token spans of a text's concepts.

    Characters go through the offsets of the tokenizer, so that any vocabulary may be used. A concept
    whose words the text does not have (another wording of the caption) is looked for by its words.

    Args:
        text: caption, as it is given to the processor.
        concepts: as :class:`ConceptPairs` gives them in ``extras["concepts"]``.
        fit: ``"drop"`` leaves out spans behind the context length; ``"keep"`` keeps every span of
            which the whole text has tokens.

    Raises:
        InputError: an entry is neither characters nor tokens, or lies outside the text.
    """
    if not concepts:
        return AlignedSpans((), ())
    locator = TokenLocator(text, processor)
    spans: list[TokenSpan] = []
    kept: list[int] = []
    dropped: Counter[str] = Counter()
    for number, concept in enumerate(concepts):
        span = _span_of(concept, locator, number)
        if span is None:
            dropped["not_found"] += 1
        elif fit == "drop" and (not fits(span, processor) or span[1] > len(locator)):
            dropped["past_context"] += 1
        else:
            spans.append(span)
            kept.append(number)
    return AlignedSpans(tuple(spans), tuple(kept), dict(dropped))


def _span_of(concept: Mapping[str, Any], locator: TokenLocator, number: int) -> TokenSpan | None:
    if "tokens" in concept:
        start, end = (int(value) for value in concept["tokens"])
        return start, end
    if not {"start", "end"} <= set(concept):
        raise InputError(
            f"Concept {number} has {', '.join(concept) or 'nothing'}; expected 'start' and 'end' in "
            "characters, or 'tokens'."
        )
    start, end, phrase = int(concept["start"]), int(concept["end"]), concept.get("phrase")
    if not 0 <= start < end or (end > len(locator.text) and phrase is None):
        raise InputError(
            f"Concept {number}: [{start}, {end}) is outside the text of {len(locator.text)} characters."
        )
    return locator.find(start, end, phrase=phrase)


def collate_concepts(
    records_extras: Sequence[Mapping[str, Any]],
    texts: Sequence[str],
    processor: Processor,
    generator: torch.Generator | None = None,
) -> dict[str, Tensor]:
    """Return the concept spans of a batch as the objectives read them.

    Args:
        records_extras: B ``extras`` of rows: ``concepts`` with their places, ``phrases`` to look up
            wherever they stand in the text, both, or none.
        texts: the B texts that were drawn for them.
        processor: the model's own.
        generator: unused; nothing is drawn.

    Returns:
        ``concept_spans`` int64 [B, K, 2], filled up with -1, and ``concept_dropped`` int64 [B], how
        many concepts of each text have no span (behind the context length, or not in the text).

    Raises:
        InputError: a concept outside its text; the row of the batch is named.
    """
    return _collate(records_extras, texts, processor, fit="drop")


def collate_all_concepts(
    records_extras: Sequence[Mapping[str, Any]],
    texts: Sequence[str],
    processor: Processor,
    generator: torch.Generator | None = None,
) -> dict[str, Tensor]:
    """Return what :func:`collate_concepts` does, with the spans behind the context length as well.

    Only for comparison with the published training code, which keeps them; the objective then needs
    ``beyond: last``.
    """
    return _collate(records_extras, texts, processor, fit="keep")


def _collate(
    records_extras: Sequence[Mapping[str, Any]], texts: Sequence[str], processor: Processor, *, fit: Fit
) -> dict[str, Tensor]:
    if len(records_extras) != len(texts):
        raise InputError(f"{len(records_extras)} records and {len(texts)} texts; one text per record.")
    rows: list[tuple[TokenSpan, ...]] = []
    dropped: list[int] = []
    for row, (extras, text) in enumerate(zip(records_extras, texts, strict=True)):
        try:
            aligned = align_spans(text, extras.get("concepts") or (), processor, fit=fit)
        except InputError as error:
            raise InputError(f"row {row} of the batch: {error}") from error
        looked_up = match_phrases(text, extras["phrases"], processor) if extras.get("phrases") else []
        found = tuple(match.tokens for match in looked_up if match.tokens is not None)
        rows.append(aligned.spans + found)
        dropped.append(sum(aligned.dropped.values()) + len(looked_up) - len(found))
    widest = max(map(len, rows), default=0)
    spans = torch.full((len(rows), widest, 2), -1, dtype=torch.int64)
    for row, own in enumerate(rows):
        if own:
            spans[row, : len(own)] = torch.tensor(own)
    return {"concept_spans": spans, "concept_dropped": torch.tensor(dropped, dtype=torch.int64)}


@dataclass(frozen=True)
class SpanReport:
    """What training on a set of pairs would use of its concepts.

    Attributes:
        captions: number of rows. without_concepts: of those, how many have no usable span.
        concepts: spans in the data. kept: spans that training would use.
        dropped: {reason: count} of the others.
    """

    captions: int
    without_concepts: int
    concepts: int
    kept: int
    dropped: Mapping[str, int]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {**self.__dict__, "dropped": dict(self.dropped)}


def report_spans(rows: Iterable[Row], processor: Processor, *, fit: Fit = "drop") -> SpanReport:
    """Return how many concepts of ``rows`` have tokens that fit the text of this model.

    Args:
        rows: ``id``, ``text`` (one caption or a list of them) and ``extras`` with ``concepts`` or
            ``phrases``.
        processor: the model's own.
        fit: as in :func:`align_spans`.

    Raises:
        InputError: a span outside its text; the row is named by its id.
    """
    captions = without = concepts = kept = 0
    dropped: Counter[str] = Counter()
    for row in rows:
        given = row["extras"].get("concepts") or ()
        phrases = row["extras"].get("phrases")
        for text in [row["text"]] if isinstance(row["text"], str) else row["text"]:
            try:
                aligned = align_spans(text, given, processor, fit=fit)
            except InputError as error:
                raise InputError(f"{row['id']}: {error}") from error
            looked_up = match_phrases(text, phrases, processor) if phrases else []
            late = sum(match.tokens is None for match in looked_up)
            usable = len(aligned.spans) + len(looked_up) - late
            captions += 1
            without += not usable
            concepts += len(given) + len(looked_up)
            kept += usable
            dropped.update(aligned.dropped)
            dropped.update({"past_context": late} if late else {})
        if unplaced := row["extras"].get("unplaced"):
            concepts += unplaced
            dropped["unplaced"] += unplaced
    return SpanReport(captions, without, concepts, kept, dict(dropped))


def check_spans(rows: Iterable[Row], processor: Processor) -> dict[str, Any]:
    """Return what training with the collate ``concept_spans`` would use, before its first step.

    Losses over concepts say nothing of those that were left out: a few are usual, all of them mean
    that the file was read in another way than it was written.

    Returns:
        :meth:`SpanReport.to_dict`.

    Raises:
        DataError: there are concepts and none of them can be used.
        InputError: as :func:`report_spans`.
    """
    return _checked(report_spans(rows, processor))


def check_all_spans(rows: Iterable[Row], processor: Processor) -> dict[str, Any]:
    """Return what :func:`check_spans` does for the collate ``concept_spans_all``."""
    return _checked(report_spans(rows, processor, fit="keep"))


def _checked(report: SpanReport) -> dict[str, Any]:
    lost = report.concepts - report.kept
    reasons = ", ".join(f"{count} {reason.replace('_', ' ')}" for reason, count in report.dropped.items())
    if report.concepts and not report.kept:
        raise DataError(
            f"None of {report.concepts} concepts in {report.captions} captions can be used ({reasons}). "
            "Check what the spans count (the reader's option 'offsets') and text.context_length."
        )
    if not report.concepts:
        _log.warning("No caption has concepts: their loss is zero throughout.")
    elif lost > _USUAL_LOSS * report.concepts:
        _log.warning("%d of %d concepts are not used: %s.", lost, report.concepts, reasons)
    return report.to_dict()
