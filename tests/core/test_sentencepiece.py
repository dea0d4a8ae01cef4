"""``spiece.model`` read as data: what SigLIP's own tokenizer makes of a text, and what damage is told."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from tokenizers import Tokenizer
from verticlip.core.errors import ConfigError, LimitError
from verticlip.core.limits import DEFAULT
from verticlip.core.sentencepiece import read_sentencepiece, siglip_tokenizer

NORMAL, UNKNOWN, CONTROL = 1, 2, 3
PIECES = [
    ("</s>", 0.0, CONTROL), ("<unk>", 0.0, UNKNOWN), ("\u2581", -2.0, NORMAL), ("\u2581cat", -3.0, NORMAL),
    ("\u2581a", -2.5, NORMAL), ("s", -3.5, NORMAL), ("\u2581dog", -3.2, NORMAL), ("dont", -6.0, NORMAL),
    *((letter, -5.0 - number / 10, NORMAL) for number, letter in enumerate("abcdefghijklmnopqrtuvwxyz0123456789é")),
]  # fmt: skip
# What SiglipTokenizer of transformers 5.23 with sentencepiece 0.2.3 makes of them.
EXPECTED = {
    "a cat": [4, 3, 0],
    "": [0],
    "  Cats,   AND Dogs!  ": [2, 3, 5, 4, 21, 11, 6, 5, 0],
    " leading": [2, 2, 19, 12, 8, 11, 16, 21, 14, 0],
    "trailing  ": [2, 26, 25, 8, 16, 19, 16, 21, 14, 0],
    "a_b c-d": [4, 9, 2, 10, 11, 0],
    "Don't": [2, 7, 0],
    "é ß": [2, 43, 2, 1, 0],
    "...": [0],
    "\tcat\n dog": [2, 3, 6, 0],
    "\u2581x \u2581": [2, 2, 30, 0],
    "日本 cat 日本": [2, 1, 3, 2, 1, 0],
    "x\u3000y": [2, 30, 2, 31, 0],
}


def varint(number: int) -> bytes:
    out = b""
    while number > 127:
        out += bytes([number & 127 | 128])
        number >>= 7
    return out + bytes([number])


def field(number: int, value: bytes | int) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def model_bytes(pieces=PIECES, *, kind: int = 1) -> bytes:
    """Return a vocabulary file: pieces, trainer (kind), normalizer without a table of characters."""
    out = b""
    for text, score, sort in pieces:
        body = field(1, text.encode()) + varint(2 << 3 | 5) + struct.pack("<f", score)
        out += field(1, body + (b"" if sort == NORMAL else field(3, sort)))
    # Numbers of unknown, start, end and filling: -1 is none, written in ten bytes.
    none = 2**64 - 1
    numbers = field(40, 1) + field(41, none) + field(42, 0) + field(43, none)
    normalizer = field(1, b"identity") + field(3, 1) + field(4, 1) + field(5, 1)
    return out + field(2, field(3, kind) + field(4, len(pieces)) + numbers) + field(3, normalizer)


@pytest.fixture
def spiece(tmp_path: Path) -> Path:
    path = tmp_path / "spiece.model"
    path.write_bytes(model_bytes())
    return path


@pytest.mark.parametrize("text", EXPECTED)
def test_texts_become_the_tokens_of_the_own_tokenizer(text: str, spiece: Path) -> None:
    assert Tokenizer.from_str(siglip_tokenizer(spiece)).encode(text).ids == EXPECTED[text]


def test_a_long_text_is_split_the_same_way_throughout(spiece: Path) -> None:
    ids = Tokenizer.from_str(siglip_tokenizer(spiece)).encode("a cat " * 3000).ids
    assert ids == [*([4, 3] * 3000), 0]


def test_capitals_stay_where_the_settings_say_so(spiece: Path) -> None:
    ids = Tokenizer.from_str(siglip_tokenizer(spiece, lowercase=False)).encode("A cat").ids
    assert ids == [2, 1, 3, 0]


def test_what_a_file_says(spiece: Path) -> None:
    words = read_sentencepiece(spiece)
    assert (len(words.pieces), words.unknown, words.special, words.byte_fallback) == (44, 1, ("</s>",), False)
    assert words.pieces[3] == ("\u2581cat", -3.0)
    assert words.number("\u2581dog") == 6
    assert words.number("bird") is None


DAMAGED = {
    "empty": (b"", "has no pieces"),
    "text": (b"<html>not found</html>", "not a vocabulary of sentencepiece"),
    "cut": (model_bytes()[:-3], "ends too early"),
    "endless number": (b"\x0a" + b"\xff" * 20, "no protocol buffer"),
    "a field of 2^60 bytes": (b"\x0a" + varint(2**60) + b"x", "ends too early"),
    "byte pairs": (model_bytes(kind=2), r"of kind 2; unigram \(1\) can be read. Add the tokenizer.json"),
    "no end": (model_bytes(PIECES[1:]), "has no </s>, which ends every text"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damage_is_told(name: str, tmp_path: Path) -> None:
    content, said = DAMAGED[name]
    (tmp_path / "spiece.model").write_bytes(content)
    with pytest.raises(ConfigError, match=said):
        siglip_tokenizer(tmp_path / "spiece.model")


def test_a_file_over_the_limit_is_not_read(spiece: Path) -> None:
    with pytest.raises(LimitError, match=r"spiece\.model: bytes"):
        siglip_tokenizer(spiece, limits=DEFAULT.with_(tokenizer_bytes=100))


def test_the_own_tokenizer_agrees_where_it_is_installed(spiece: Path) -> None:
    pytest.importorskip("sentencepiece")
    from transformers import SiglipTokenizer

    own = SiglipTokenizer(str(spiece))
    assert {text: own(text)["input_ids"] for text in EXPECTED} == EXPECTED
