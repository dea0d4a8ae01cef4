"""From words to tokens and back, with the tokenizer of a model's processor."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ....core.errors import ConfigError, require
from ....core.processing import Processor
from ....core.tokenizer import read_tokenizer
from .model import CoCaModel
from .options import SpecialTokens


@dataclass(frozen=True)
class Wording:
    """The words of a model's tokens.

    Attributes:
        processor: of the model. special: its special tokens.
        decode: from word ids to text.
    """

    processor: Processor
    special: SpecialTokens
    decode: Callable[[list[int]], str]

    @classmethod
    def of(cls, processor: Processor, network: CoCaModel) -> Wording:
        """Return the words of a model.

        Raises:
            ConfigError: the model takes no text, or its tokenizer begins, ends or fills texts with other
                tokens than the network knows.
        """
        if processor.config.text is None:
            raise ConfigError(f"{network.config.name} has no tokenizer: its captions would be numbers.")
        special = network.special
        ids = processor("text", ["a"])
        row = ids["input_ids"][0][ids["attention_mask"][0].bool()].tolist()
        found = SpecialTokens(processor.config.text.pad_id, row[0], row[-1])
        if found != special:
            raise ConfigError(
                f"{network.config.name}: the tokenizer fills, begins and ends texts with tokens {found.pad}, "
                f"{found.start} and {found.end}, the network with {special.pad}, {special.start} and "
                f"{special.end}. Set pad_id, start_id and end_id of the options to the tokenizer's."
            )
        return cls(processor, special, _decoder(processor))

    def begin(self, prefix: str) -> Tensor:
        """Return int64 [P]: the start token and the words of ``prefix``."""
        ids = self.processor("text", [prefix])
        row = ids["input_ids"][0][ids["attention_mask"][0].bool()]
        return row[:-1]

    def texts(self, ids: Tensor) -> list[str]:
        """Return the text of each row of token ids int64 [B, L], up to its end token or padding."""
        return [self.decode(self._words(row)) for row in ids.tolist()]

    def _words(self, row: list[int]) -> list[int]:
        words: list[int] = []
        for token in row:
            if token in (self.special.end, self.special.pad):
                break
            if token != self.special.start:
                words.append(token)
        return words


def _decoder(processor: Processor) -> Callable[[list[int]], str]:
    if processor.tokenizer_json is None:
        tokenizer = require("open_clip.tokenizer", extra="urban").SimpleTokenizer()
        return lambda words: tokenizer.decode(words).strip()
    from tokenizers import decoders

    fast: Any = read_tokenizer(processor.tokenizer_json)
    if fast.decoder is None and type(fast.model).__name__ == "WordPiece":
        # Files made for reading only do not say how pieces become words again.
        fast.decoder = decoders.WordPiece()
    return lambda words: fast.decode(words, skip_special_tokens=True).strip()
