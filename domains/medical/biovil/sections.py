"""Reports as sections, sentences and masked words: what training on whole reports needs.

Reference: Boecking et al., "Making the Most of Text Semantics to Improve Biomedical Vision-Language
Processing", 2022 (sentences shuffled inside a section, masked words, section matching).
"""

from __future__ import annotations

import functools
import json
import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ....core.errors import ConfigError, DataError, InputError
from ....core.processing import BERT_SPECIAL_TOKENS
from ....core.sentences import sentences
from .model import IGNORED_LABEL

if TYPE_CHECKING:
    from ....core.processing import Processor

_log = logging.getLogger(__name__)

SECTION_NAMES: Mapping[str, str] = {
    "findings": "findings",
    "finding": "findings",
    "findings and impression": "findings",
    "impression": "impression",
    "impressions": "impression",
    "conclusion": "impression",
    "conclusions": "impression",
    "summary": "impression",
    "opinion": "impression",
}
"""{heading in a report: the section it opens}. A heading that is not here ends a section."""

_HEADING = re.compile(
    rf"(?:^[ \t]*|(?<=\s))((?:{'|'.join(sorted(map(str.upper, SECTION_NAMES), key=len, reverse=True))})):"
    r"|^[ \t]*([A-Za-z][A-Za-z /&()-]{2,40}):",
    re.MULTILINE,
)
_OTHER_HEADINGS = frozenset(
    (
        "addendum", "clinical", "comparison", "comparisons", "exam", "examination", "final", "for", "history",
        "indication", "information", "notification", "of", "procedure", "read", "reason", "recommendation",
        "recommendations", "report", "study", "technique", "type", "view", "views", "wet",
    )
)  # fmt: skip
"""Words that headings of other sections are made of."""
MASK_SHARE = 0.15
_MASKED, _RANDOM = 0.8, 0.1


def split_report(text: str) -> dict[str, str]:
    """Return the sections of a report, {"findings": ..., "impression": ...}; what it lacks is left out.

    A heading is a line's first words before a colon, in capitals or one that reports are known to
    have; those of :data:`SECTION_NAMES` count anywhere when in capitals. White space is collapsed. A
    section that comes twice is joined.

    Example:
        >>> split_report("FINDINGS: Lungs are clear. IMPRESSION: Normal chest.\\nTECHNIQUE: portable")
        {'findings': 'Lungs are clear.', 'impression': 'Normal chest.'}
    """
    found: dict[str, list[str]] = {}
    headings = [match for match in _HEADING.finditer(text) if match[1] or _is_heading(match[2])]
    for position, match in enumerate(headings):
        end = headings[position + 1].start() if position + 1 < len(headings) else len(text)
        section = SECTION_NAMES.get(_heading_words(match[1] or match[2]))
        body = " ".join(text[match.end() : end].split())
        if section and body:
            found.setdefault(section, []).append(body)
    return {name: " ".join(parts) for name, parts in found.items()}


def _heading_words(heading: str) -> str:
    return " ".join(heading.lower().split())


def _is_heading(heading: str) -> bool:
    words = _heading_words(heading)
    return (
        heading.isupper() or words in SECTION_NAMES or all(word in _OTHER_HEADINGS for word in words.split())
    )


def shuffle_sentences(text: str, generator: torch.Generator) -> str:
    """Return the same sentences in a random order drawn from ``generator``."""
    parts = sentences(text)
    return " ".join(parts[index] for index in torch.randperm(len(parts), generator=generator).tolist())


def report_text(sections: Mapping[str, str], generator: torch.Generator) -> str:
    """Return impression and findings as one text, the sentences shuffled inside each section."""
    parts = (sections.get(name, "") for name in ("impression", "findings"))
    return " ".join(shuffle_sentences(part, generator) for part in parts if part)


@dataclass(frozen=True)
class Vocabulary:
    """The ids that masking needs.

    Attributes:
        mask: id of [MASK]. size: V. special: ids that are never masked and never drawn.
    """

    mask: int
    size: int
    special: tuple[int, ...]

    @functools.cached_property
    def words(self) -> Tensor:
        """The ids that are drawn in place of others, int64 [V - special]."""
        ordinary = torch.ones(self.size, dtype=torch.bool)
        ordinary[[one for one in self.special if one < self.size]] = False
        return ordinary.nonzero()[:, 0]


def vocabulary_of(processor: Processor) -> Vocabulary:
    """Return the ids of a WordPiece processor.

    Raises:
        ConfigError: its tokenizer has no [MASK].
    """
    return _vocabulary(processor.tokenizer_json or "{}")


# A batch asks for it every time; a file of 30,000 words takes longer to read than the batch.
@functools.lru_cache(maxsize=4)
def _vocabulary(tokenizer_json: str) -> Vocabulary:
    content: dict[str, Any] = json.loads(tokenizer_json)
    words = content.get("model", {}).get("vocab", {})
    if not isinstance(words, dict) or "[MASK]" not in words:
        raise ConfigError(
            "Masked words need a tokenizer.json with [MASK], as CXR-BERT's. Use that tokenizer."
        )
    added = {token["id"] for token in content.get("added_tokens", ())}
    # A tokenizer made for a recipe lists its special tokens among the words only.
    added |= {int(words[name]) for name in BERT_SPECIAL_TOKENS if name in words}
    return Vocabulary(int(words["[MASK]"]), len(words), tuple(sorted(added)))


def mask_words(
    inputs: Mapping[str, Tensor],
    vocabulary: Vocabulary,
    generator: torch.Generator,
    *,
    share: float = MASK_SHARE,
) -> dict[str, Tensor]:
    """Return ``input_ids`` with some words masked, ``attention_mask``, and ``labels``, int64 [B, L].

    Each real token that is not special is chosen with probability ``share``; of the chosen, 80 % become
    [MASK], 10 % a random word, 10 % stay. Labels are the original ids at the chosen places and -100
    elsewhere.

    Reference: Devlin et al., "BERT", 2019, section 3.1; 15 % is BERT's share (CXR-BERT's is not verified).
    """
    ids, attention = inputs["input_ids"], inputs["attention_mask"]
    special = torch.isin(ids, torch.tensor(vocabulary.special))
    chosen = (torch.rand(ids.shape, generator=generator) < share) & attention.bool() & ~special
    kind = torch.rand(ids.shape, generator=generator)
    drawn = vocabulary.words[torch.randint(len(vocabulary.words), ids.shape, generator=generator)]
    masked = torch.where(chosen & (kind < _MASKED), vocabulary.mask, ids)
    masked = torch.where(chosen & (kind >= _MASKED) & (kind < _MASKED + _RANDOM), drawn, masked)
    labels = torch.where(chosen, ids, IGNORED_LABEL)
    return {"input_ids": masked, "attention_mask": attention, "labels": labels}


def fit_sentences(text: str, processor: Processor) -> str:
    """Return ``text`` without the last sentences that the text tower has no room for.

    A first sentence that alone is too long is left to the processor where ``text.overlong`` is
    "truncate".

    Raises:
        InputError: such a sentence, where it is "error".
    """
    config = processor.config.text
    if config is None:
        raise ConfigError("This model's processor has no text.")
    room, parts = config.context_length, sentences(text) or [text]
    while len(parts) > 1 and processor.count_tokens([" ".join(parts)])[0] > room:
        parts.pop()
    fitted = " ".join(parts)
    if config.overlong != "truncate" and processor.count_tokens([fitted])[0] > room:
        raise InputError(
            f"A sentence of this report is longer than {room} tokens. Divide it, or set text.overlong to "
            "truncate."
        )
    return fitted


def collate_sections(
    records: Sequence[Mapping[str, Any]],
    texts: Sequence[str],
    processor: Processor,
    generator: torch.Generator,
) -> dict[str, Tensor]:
    """Return what the text tower, masked words and section matching read, as ``Batch.extras``.

    The text of a row that has sections becomes its impression and findings, sentences shuffled inside
    each; sentences that the text tower has no room for are left out, other ones each time.

    Args:
        records: one per row: ``findings`` and ``impression`` as strings where the report has them; with
            neither, the sections are looked for in the row's text.
        texts: the drawn texts. processor: the model's. generator: of this batch.

    Returns:
        ``text.input_ids``, ``text.attention_mask`` int64 [B, L]; ``mlm_input_ids``,
        ``mlm_attention_mask``, ``mlm_labels`` int64 [B, L] of the same texts, words masked;
        ``findings_input_ids``, ``findings_attention_mask``, ``impression_...`` int64 [B, L'];
        ``has_sections`` bool [B].

    Raises:
        InputError: numbers of records and texts differ, or a section that is not a string.
    """
    if len(records) != len(texts):
        raise InputError(f"{len(records)} records for {len(texts)} texts. One record per text.")
    reports = [
        _sections(record, text, f"record {row}")
        for row, (record, text) in enumerate(zip(records, texts, strict=True))
    ]
    whole = [report_text(report, generator) or text for report, text in zip(reports, texts, strict=True)]
    inputs = processor("text", [fit_sentences(text, processor) for text in whole])
    masked = mask_words(inputs, vocabulary_of(processor), generator)
    extras = {f"text.{name}": tensor for name, tensor in inputs.items()}
    extras |= {f"mlm_{name}": tensor for name, tensor in masked.items()}
    for name in ("findings", "impression"):
        shuffled = [shuffle_sentences(report.get(name, ""), generator) for report in reports]
        inputs = processor("text", [fit_sentences(text, processor) if text else "" for text in shuffled])
        extras |= {f"{name}_{key}": tensor for key, tensor in inputs.items()}
    has = [bool(report.get("findings") and report.get("impression")) for report in reports]
    return {**extras, "has_sections": torch.tensor(has)}


def check_sections(rows: Iterable[Mapping[str, Any]], processor: Processor) -> dict[str, Any]:
    """Return what training with the collate ``report_sections`` would use, before its first step.

    Args:
        rows: ``id``, ``text`` (a list of texts) and ``extras`` of each report.

    Returns:
        ``reports``, ``with_both_sections``, of which section matching learns, and ``cut_sentences``, how many
        different ones are cut to what the text tower takes.

    Raises:
        DataError: a sentence that is too long, where ``text.overlong`` is not "truncate".
        InputError: a section that is not a string. ConfigError: a tokenizer without [MASK].
    """
    vocabulary_of(processor)
    config = processor.config.text
    owners: dict[str, str] = {}
    reports = both = 0
    for row in rows:
        found = [(_sections(row["extras"], text, row["id"]), text) for text in row["text"]]
        reports += 1
        both += any({"findings", "impression"} <= report.keys() for report, _ in found)
        for report, text in found:
            for part in report.values() or (text,):
                owners |= {sentence: row["id"] for sentence in sentences(part) if sentence not in owners}
    room = 0 if config is None else config.context_length
    counts = processor.count_tokens(list(owners))
    long = [owner for owner, count in zip(owners.values(), counts, strict=True) if count > room]
    if long and (config is None or config.overlong != "truncate"):
        raise DataError(
            f"{len(long)} sentences have more than {room} tokens, first of {long[0]!r}. Divide them, or set "
            "text.overlong to truncate."
        )
    if not both:
        _log.warning("No report has both findings and impression: matching them learns nothing.")
    return {"reports": reports, "with_both_sections": both, "cut_sentences": len(long)}


def _sections(record: Mapping[str, Any], text: str, where: str) -> Mapping[str, str]:
    given = {name: record[name] for name in ("findings", "impression") if record.get(name)}
    for name, section in given.items():
        if not isinstance(section, str):
            raise InputError(f"{where}: {name} is {type(section).__name__}, not a string.")
    return given or split_report(text)
