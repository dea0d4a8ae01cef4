from __future__ import annotations

import pytest
import torch
from verticlip.core.captions import CaptionPool, train_tokenizer
from verticlip.core.config import ProcessorConfig, TextProcessing
from verticlip.core.errors import ConfigError
from verticlip.core.processing import Processor
from verticlip.core.prompts import PromptSet
from verticlip.core.recipe import TokenizerConfig

TEXT = TextProcessing(context_length=32)
PROMPTS = PromptSet(
    name="p", classes={"glioma": ("glioma", "glial mass"), "none": ("no tumor",)}, templates=("an {}", "{}")
)


def captions() -> list[str]:
    return [text for name in PROMPTS.classes for text in PROMPTS.texts(name)]


def processor(**options) -> Processor:
    content = train_tokenizer(captions(), TokenizerConfig(**options), TEXT)
    return Processor(ProcessorConfig(text=TEXT), content)


def test_the_order_of_captions_does_not_matter():
    first = train_tokenizer(captions(), TokenizerConfig(), TEXT)
    assert first == train_tokenizer(list(reversed(captions())), TokenizerConfig(), TEXT)


def test_known_words_are_one_piece_and_others_are_spelled():
    def ids(text: str) -> list[int]:
        return processor()("text", [text])["input_ids"][0].tolist()

    assert len(ids("glioma")) == 3
    assert ids("GLIOMA") == ids("glioma")
    assert len(ids("gliomas")) == 4
    assert len(ids("xyz")) == 5
    assert 1 not in ids("glioma-xyz (left), 3 mm")
    assert 1 in ids("\u8111")


def test_small_vocabulary_and_other_padding_are_refused():
    with pytest.raises(ConfigError, match="vocab_size 64 is taken up by"):
        processor(vocab_size=64)
    with pytest.raises(ConfigError, match="pad_id is 3"):
        train_tokenizer(["a"], TokenizerConfig(), TextProcessing(context_length=4, pad_id=3))


def test_draws_are_captions_of_the_class_and_repeatable():
    made = processor()
    pool = CaptionPool([PROMPTS.texts(name) for name in PROMPTS.classes], made)
    labels = torch.tensor([0, 1, 0, 1, 1, 0, 0, 0])
    first, second = (pool.draw(labels, torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(first["input_ids"], second["input_ids"])
    known = {
        name: {tuple(row[row > 0].tolist()) for row in made("text", PROMPTS.texts(name))["input_ids"]}
        for name in PROMPTS.classes
    }
    rows = [tuple(row[row > 0].tolist()) for row in first["input_ids"]]
    names = list(PROMPTS.classes)
    assert all(row in known[names[label]] for row, label in zip(rows, labels.tolist(), strict=True))
    assert len({row for row, label in zip(rows, labels.tolist(), strict=True) if label == 0}) > 1
    assert torch.equal(first["attention_mask"], (first["input_ids"] > 0).long())
