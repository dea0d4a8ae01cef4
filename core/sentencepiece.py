"""The vocabulary file of sentencepiece (``spiece.model``) as ``tokenizer.json``, read as data.

The file is a protocol buffer. The few fields that tell how text is split are read here; no library runs and
nothing in the file is executed.

Reference: google/sentencepiece, ``sentencepiece_model.proto``; Kudo 2018, Subword Regularization,
arXiv 1804.10959 (the unigram model).
"""

from __future__ import annotations

import base64
import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import ConfigError
from .limits import DEFAULT, Limits
from .protobuf import fields

_SPACE = "\u2581"
"""What stands for a space in pieces."""
_UNIGRAM = 1
_UNKNOWN, _CONTROL = 2, 3
_PUNCTUATION = r"[!-/:-@\[-`{-~]"
"""ASCII punctuation, as Python's ``string.punctuation``."""


@dataclass(frozen=True)
class SentencePieces:
    """What a unigram file says.

    Attributes:
        pieces: (text, log probability) in the order of their numbers.
        unknown: number of the piece for what is in no other. special: texts of control pieces.
        charsmap: normalization of characters, compiled; empty for none. byte_fallback: whether unknown
            characters become bytes.
    """

    pieces: tuple[tuple[str, float], ...]
    unknown: int
    special: tuple[str, ...]
    charsmap: bytes
    byte_fallback: bool

    def number(self, piece: str) -> int | None:
        """Return the number of a piece, or None."""
        return next((number for number, (text, _) in enumerate(self.pieces) if text == piece), None)


def read_sentencepiece(path: str | Path, *, limits: Limits = DEFAULT) -> SentencePieces:
    """Return what ``spiece.model`` says.

    Raises:
        ConfigError: not such a file, damaged, or of another kind than unigram.
        LimitError: larger than any vocabulary.
    """
    path = Path(path)
    limits.check("tokenizer_bytes", path.stat().st_size, what=f"{path.name}: bytes")
    pieces: list[tuple[str, float]] = []
    unknown, special, charsmap = 0, [], b""
    trainer: dict[int, Any] = {}
    try:
        for field, value in fields(path.read_bytes()):
            if field == 1:
                text, score, kind = _piece(value)
                if kind == _UNKNOWN:
                    unknown = len(pieces)
                elif kind == _CONTROL:
                    special.append(text)
                pieces.append((text, score))
            elif field == 2:
                trainer = dict(fields(value))
            elif field == 3:
                charsmap = bytes(dict(fields(value)).get(2, b""))
        kind = int(trainer.get(3, _UNIGRAM))
    except (ValueError, TypeError, IndexError, struct.error) as error:
        raise ConfigError(f"{path.name}: not a vocabulary of sentencepiece, or damaged ({error}).") from None
    if not pieces:
        raise ConfigError(f"{path.name}: not a vocabulary of sentencepiece: it has no pieces.")
    if kind != _UNIGRAM:
        raise ConfigError(
            f"{path.name}: a vocabulary of sentencepiece of kind {kind}; unigram (1) can be read. Add the "
            "tokenizer.json of the same model."
        )
    return SentencePieces(tuple(pieces), unknown, tuple(special), charsmap, bool(trainer.get(35, 0)))


def _piece(value: bytes) -> tuple[str, float, int]:
    found = dict(fields(value))
    score = struct.unpack("<f", found[2])[0] if 2 in found else 0.0
    return bytes(found.get(1, b"")).decode("utf-8"), score, int(found.get(3, 1))


def siglip_tokenizer(path: str | Path, *, lowercase: bool = True, limits: Limits = DEFAULT) -> str:
    """Return ``tokenizer.json`` that splits text as SigLIP's own tokenizer does with ``spiece.model``.

    Letters become small and ASCII punctuation goes before the vocabulary is asked; ``</s>`` ends every text.

    Raises:
        ConfigError: as :func:`read_sentencepiece`, or without ``</s>``.
    """
    words = read_sentencepiece(path, limits=limits)
    end = words.number("</s>")
    if end is None:
        raise ConfigError(f"{Path(path).name}: has no </s>, which ends every text of a SigLIP.")
    unknown = words.pieces[words.unknown][0]
    special = sorted({unknown, "</s>", *words.special}, key=lambda text: words.number(text) or 0)
    content = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {
                "id": words.number(text), "content": text, "single_word": False, "lstrip": True,
                "rstrip": True, "normalized": False, "special": True,
            }
            for text in special
        ],
        "normalizer": {"type": "Sequence", "normalizers": _siglip_steps(words.charsmap, lowercase)},
        "pre_tokenizer": {
            "type": "Metaspace", "replacement": _SPACE, "prepend_scheme": "never", "split": True,
        },
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [
                {"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "</s>", "type_id": 0}},
            ],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"</s>": {"id": "</s>", "ids": [end], "tokens": ["</s>"]}},
        },
        "decoder": {"type": "Metaspace", "replacement": _SPACE, "prepend_scheme": "never", "split": True},
        "model": {
            "type": "Unigram", "unk_id": words.unknown, "vocab": [list(piece) for piece in words.pieces],
            "byte_fallback": words.byte_fallback,
        },
    }  # fmt: skip
    return json.dumps(content, ensure_ascii=False)


def _siglip_steps(charsmap: bytes, lowercase: bool) -> list[dict[str, Any]]:
    """Return what happens to a text before it is split, in this order."""

    def replace(pattern: dict[str, str], content: str) -> dict[str, Any]:
        return {"type": "Replace", "pattern": pattern, "content": content}

    steps: list[dict[str, Any]] = [replace({"String": _SPACE}, " "), {"type": "Prepend", "prepend": _SPACE}]
    if lowercase:
        steps.append({"type": "Lowercase"})
    steps += [
        replace({"Regex": _PUNCTUATION}, ""),
        replace({"Regex": r"\s+"}, " "),
        {"type": "Strip", "strip_left": True, "strip_right": True},
    ]
    if charsmap:
        compiled = base64.b64encode(charsmap).decode("ascii")
        steps.append({"type": "Precompiled", "precompiled_charsmap": compiled})
    return [
        *steps,
        replace({"Regex": " {2,}"}, " "),
        replace({"String": " "}, _SPACE),
        # The vocabulary's own reader drops what is left of spaces at the end.
        replace({"Regex": f"{_SPACE}+$"}, ""),
    ]
