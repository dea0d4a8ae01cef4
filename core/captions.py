"""Captions from a prompt set: a tokenizer learned on them, and random captions for labelled samples."""

from __future__ import annotations

import string
from collections.abc import Sequence

import torch
from torch import Tensor

from .config import TextProcessing
from .errors import ConfigError
from .processing import Processor
from .prompts import PromptSet
from .recipe import TokenizerConfig

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def train_tokenizer(captions: Sequence[str], config: TokenizerConfig, text: TextProcessing) -> str:
    """Return ``tokenizer.json`` of a WordPiece tokenizer learned on ``captions``.

    Every ASCII letter, digit and mark is in the vocabulary, so a word that no caption has is spelled
    out instead of becoming unknown.
    """
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

    if text.pad_id != 0:
        raise ConfigError(f"text.pad_id is {text.pad_id}; a tokenizer trained here pads with 0.")
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=config.lowercase)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    alphabet = string.ascii_lowercase + string.digits + string.punctuation
    if not config.lowercase:
        alphabet += string.ascii_uppercase
    trainer = trainers.WordPieceTrainer(
        vocab_size=config.vocab_size,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=list(alphabet) + [f"##{letter}" for letter in alphabet],
        show_progress=False,
    )
    tokenizer.train_from_iterator(sorted(set(captions)), trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        special_tokens=[(token, tokenizer.token_to_id(token)) for token in ("[CLS]", "[SEP]")],
    )
    return tokenizer.to_str()


class CaptionPool:
    """Every caption of every class, tokenized once; draws one per sample.

    Args:
        prompts: classes, synonyms and templates.
        processor: the processor of the model that is trained.
    """

    def __init__(self, prompts: PromptSet, processor: Processor) -> None:
        self.classes = tuple(prompts.classes)
        rows = [processor("text", prompts.captions(name)) for name in self.classes]
        length = max(row["input_ids"].shape[1] for row in rows)
        self._inputs = {
            key: torch.cat([torch.nn.functional.pad(row[key], (0, length - row[key].shape[1])) for row in rows])
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
