"""From tokens to words, with both kinds of tokenizers."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from verticlip.core.config import ImageProcessing, ProcessorConfig, TextProcessing
from verticlip.core.errors import ConfigError
from verticlip.core.processing import Processor
from verticlip.domains.urban.coca.collate import collate_captions
from verticlip.domains.urban.coca.convert import config_from_open_clip
from verticlip.domains.urban.coca.model import CoCaModel
from verticlip.domains.urban.coca.wording import Wording

sys.path.insert(0, str(Path(__file__).parent))

import make_coca


def bpe():
    """CLIP's own tokenizer and a network of its vocabulary."""
    text = TextProcessing(tokenizer="open_clip_bpe", context_length=14)
    made = make_coca.arguments(text__vocab_size=49408, decoder__vocab_size=49408, text__layers=1)
    network = CoCaModel(config_from_open_clip("test/coca", made))
    return Processor(ProcessorConfig(image=ImageProcessing(size=16), text=text)), network


def test_words_of_clip():
    processor, network = bpe()
    assert (network.special.start, network.special.end) == (49406, 49407)
    wording = Wording.of(processor, network)
    texts = ["a satellite image of a large industrial area .", "Zürich's harbour"]
    ids = processor("text", texts)["input_ids"]
    assert wording.texts(ids) == [texts[0], "zürich 's harbour"]
    # Nothing behind the end counts, nor does a caption that was cut.
    assert wording.texts(torch.tensor([[*ids[0, :4], 49407, *ids[0, 4:7]]])) == ["a satellite image"]
    assert wording.texts(ids[:1, :3]) == ["a satellite"]
    begun = wording.begin("a satellite image of")
    assert begun.tolist() == ids[0, :5].tolist()


def test_pieces_become_words():
    processor, pieces = make_coca.word_processor()
    made = make_coca.arguments(text__vocab_size=pieces, decoder__vocab_size=pieces)
    network = CoCaModel(config_from_open_clip("test/coca", made, start_id=2, end_id=3))
    wording = Wording.of(processor, network)
    ids = processor("text", ["a river in the green field", "rivers"])["input_ids"]
    assert wording.texts(ids) == ["a river in the green field", "rivers"]
    assert wording.texts(torch.tensor([[2, 3, 5]])) == [""]


def test_labels_are_the_next_tokens():
    processor, _ = make_coca.word_processor()
    captions = ["a river", "houses in the red field"]
    labels = collate_captions([{}, {}], captions, processor, torch.Generator())["caption_labels"]
    ids = processor("text", captions)["input_ids"]
    assert torch.equal(labels, ids[:, 1:])
    assert labels[0].tolist()[-1] == 0


def test_labels_fit_what_open_clip_trains_on():
    from open_clip import get_tokenizer

    processor, network = bpe()
    captions = ["a satellite image of a harbor .", "trees!"]
    theirs = get_tokenizer("coca_ViT-B-32", context_length=14)(captions)
    ours = processor("text", captions)["input_ids"]
    padded = torch.nn.functional.pad(ours, (0, 14 - ours.shape[1]), value=network.special.pad)
    assert torch.equal(padded, theirs)


def test_without_a_tokenizer():
    _, network = bpe()
    silent = Processor(ProcessorConfig(image=ImageProcessing(size=16)))
    with pytest.raises(ConfigError, match="has no tokenizer: its captions would be numbers"):
        Wording.of(silent, network)
    with pytest.raises(ConfigError, match="Captions need a text tower"):
        collate_captions([{}], ["a"], silent, torch.Generator())
