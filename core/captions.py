"""Captions by class: a tokenizer for them, and random captions for labelled samples."""

from __future__ import annotations

import string
from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor

from .config import TextProcessing
from .errors import ConfigError
from .processing import Processor
from .recipe import TokenizerConfig

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def train_tokenizer(captions: Sequence[str], config: TokenizerConfig, text: TextProcessing) -> str:
    """Return ``tokenizer.json`` of a WordPiece tokenizer for ``captions``: whole words plus characters.

    The most frequent words become pieces, ties in alphabetical order, so that the same captions give
    the same file (the trainers of the tokenizers library do not promise that). Every ASCII character
    is a piece at the start and inside a word: a word that no caption has is spelled out, an ending is
    added to the stem it has.

    Raises:
        ConfigError: the vocabulary size leaves no room for words, or padding is not id 0.
    """
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    if text.pad_id != 0:
        raise ConfigError(f"text.pad_id is {text.pad_id}; a tokenizer made here pads with 0.")
    normalizer = normalizers.BertNormalizer(lowercase=config.lowercase)
    splitter = pre_tokenizers.BertPreTokenizer()
    counts = Counter(
        word
        for caption in captions
        for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(caption))
    )
    letters = string.ascii_lowercase if config.lowercase else string.ascii_letters
    characters = letters + string.digits + string.punctuation
    pieces = [*SPECIAL_TOKENS, *characters, *(f"##{character}" for character in letters + string.digits)]
    words = sorted((word for word in counts if word not in pieces), key=lambda word: (-counts[word], word))
    room = config.vocab_size - len(pieces)
    if room <= 0:
        raise ConfigError(
            f"tokenizer.vocab_size {config.vocab_size} is taken up by {len(pieces)} characters."
        )
    vocabulary = {piece: index for index, piece in enumerate(pieces + words[:room])}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = splitter
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[(token, vocabulary[token]) for token in ("[CLS]", "[SEP]")]
    )
    return tokenizer.to_str()


class CaptionPool:
    """Every caption of every class, tokenized once; draws one per sample.

    Args:
        captions: one list of texts per class.
        processor: the processor of the model that is trained.
    """

    def __init__(self, captions: Sequence[Sequence[str]], processor: Processor) -> None:
        rows = [processor("text", list(texts)) for texts in captions]
        length = max(row["input_ids"].shape[1] for row in rows)
        self._inputs = {
            key: torch.cat(
                [torch.nn.functional.pad(row[key], (0, length - row[key].shape[1])) for row in rows]
            )
            for key in ("input_ids", "attention_mask")
        }
        self._counts = torch.tensor([len(row["input_ids"]) for row in rows])
        self._starts = self._counts.cumsum(0) - self._counts

    def draw(self, labels: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        """Return text inputs [B, L] of one random caption for each class index in ``labels`` [B]."""
        picks = (torch.rand(len(labels), generator=generator) * self._counts[labels]).long()
        rows = self._starts[labels] + picks
        mask = self._inputs["attention_mask"][rows]
        longest = int(mask.sum(dim=1).max())
        return {"input_ids": self._inputs["input_ids"][rows, :longest], "attention_mask": mask[:, :longest]}
