"""Tokenizer files that make the library below panic are errors of ours, at reading and at the first text."""

from __future__ import annotations

import base64
import json
import struct

import pytest
from verticlip.core.config import ProcessorConfig, TextProcessing
from verticlip.core.errors import ConfigError
from verticlip.core.layouts.vocabularies import Words
from verticlip.core.processing import Processor
from verticlip.core.tokenizer import panics_as_errors, read_tokenizer

NO_MAP = "AAAA"
WILD_MAP = base64.b64encode(struct.pack("<I", 4) + b"\xff\xff\xff\x7f" + b"abc").decode()
"""A table of one entry that points far behind its end; it is read without a word."""


def tokenizer_json(charsmap: str | None) -> str:
    normalizer = {"type": "Precompiled", "precompiled_charsmap": charsmap} if charsmap else None
    empty = dict.fromkeys(("pre_tokenizer", "post_processor", "decoder"))
    model = {"type": "WordLevel", "vocab": {"a": 0, "[UNK]": 1}, "unk_token": "[UNK]"}
    return json.dumps(
        {"version": "1.0", "added_tokens": [], "normalizer": normalizer, **empty, "model": model}
    )


def test_a_sound_file_is_read_without_its_padding_and_cutting() -> None:
    raw = json.loads(tokenizer_json(None))
    raw["truncation"] = {"direction": "Right", "max_length": 1, "strategy": "LongestFirst", "stride": 0}
    tokenizer = read_tokenizer(json.dumps(raw))
    assert tokenizer.truncation is None
    assert tokenizer.encode("a").ids == [0]


@pytest.mark.parametrize("content", ["[]", "not JSON", tokenizer_json(NO_MAP)])
def test_a_file_that_cannot_be_read_is_our_error(content: str) -> None:
    with pytest.raises(ConfigError, match=r"^vocabulary\.json: not a tokenizer file \("):
        read_tokenizer(content, source="vocabulary.json")


def test_a_processor_and_a_converter_survive_a_panic() -> None:
    config = ProcessorConfig(text=TextProcessing(context_length=4))
    with pytest.raises(ConfigError, match=r"tokenizer\.json: not a tokenizer file"):
        Processor(config, tokenizer_json(NO_MAP))
    processor = Processor(config, tokenizer_json(WILD_MAP))
    for use in (lambda: processor("text", ["a"]), lambda: processor.token_offsets("a")):
        with pytest.raises(ConfigError, match=r"tokenizer\.json: it cannot cut this text into tokens"):
            use()
    with pytest.raises(ConfigError, match=r"pieces\.json: not a tokenizer file"):
        Words(tokenizer_json(NO_MAP), "pieces.json", "a").pad_id()
    with pytest.raises(ConfigError, match=r"pieces\.json: it cannot cut a text into tokens"):
        _ = Words(tokenizer_json(WILD_MAP), "pieces.json").closes


@pytest.mark.parametrize("signal", [KeyboardInterrupt, SystemExit])
def test_the_user_may_still_stop_it(signal: type[BaseException]) -> None:
    with pytest.raises(signal), panics_as_errors("never said"):
        raise signal
