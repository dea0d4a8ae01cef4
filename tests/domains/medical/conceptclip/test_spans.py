from __future__ import annotations

import pytest
from verticlip.core.config import ProcessorConfig, TextProcessing
from verticlip.core.errors import ConfigError, InputError
from verticlip.core.processing import Processor
from verticlip.domains.medical.conceptclip.spans import (
    TokenLocator,
    fits,
    match_phrases,
    phrase_positions,
    word_positions,
)

TEXT = "Chest x ray shows pleural effusion in the left lung."


def words_of(text, span, processor):
    """The characters that a token span covers, by the tokenizer's own offsets."""
    offsets = processor.token_offsets(text)[1:-1]
    return processor.clean_text(text)[offsets[span[0]][0] : offsets[span[1] - 1][1]]


def test_characters_become_tokens(processor):
    locator = TokenLocator(TEXT, processor)
    assert locator.find(18, 34) == (4, 6)
    assert words_of(TEXT, (4, 6), processor) == "pleural effusion"
    assert locator.find(20, 21) == (4, 5), "part of a word is the whole token"
    assert locator.find(5, 6) is None, "a blank has no token"


def test_words_of_several_pieces(processor):
    text = "sign of dermatoscopyly lesions"
    start = text.index("lesions")
    span = TokenLocator(text, processor).find(start, start + 7)
    assert span[1] - span[0] == 2
    assert words_of(text, span, processor) == "lesions"


@pytest.mark.parametrize(
    "text",
    [
        "Chest  x ray\n shows   pleural  effusion in the lung",
        "Chest x ray &amp; ct: pleural effusion",
        "Chest x ray shows \u201cno\u201d pleural effusion",
    ],
)
def test_cleaning_the_text_moves_spans_with_it(processor, text):
    start = text.index("pleural")
    end = text.index("effusion") + len("effusion")
    span = TokenLocator(text, processor).find(start, end)
    assert words_of(text, span, processor) == "pleural effusion"


def test_another_wording_is_searched_by_the_words(processor):
    locator = TokenLocator("left lung: pleural effusion; right lung", processor)
    assert locator.find(18, 34, phrase="Pleural effusion") == (3, 5)
    # The nearest of several places counts.
    assert locator.find(30, 34, phrase="lung") == (7, 8)
    assert locator.find(0, 4, phrase="lung") == (1, 2)
    assert locator.find(0, 4, phrase="glaucoma") is None


def test_phrases_are_matched_as_whole_words_longest_first(processor):
    text = "Lung  nodule, lung and lungs; a LIVER lesion"
    found = match_phrases(text, ["lung", "lung nodule", "liver lesion", "edema"], processor)
    assert [(one.phrase, one.tokens) for one in found] == [
        ("lung nodule", (0, 2)),
        ("lung", (3, 4)),
        ("liver lesion", (9, 11)),
    ]
    assert [text[one.start : one.end] for one in found] == ["Lung  nodule", "lung", "LIVER lesion"]
    assert match_phrases("brain", ["lung"], processor) == []


def test_a_phrase_behind_the_context_has_no_tokens(processor):
    text = "signal " * 30 + "edema"
    assert [one.tokens for one in match_phrases(text, ["edema"], processor)] == [None]


def test_bad_phrases_are_named(processor):
    for phrases in ([], "lung"):
        with pytest.raises(InputError, match="list of at least one string"):
            match_phrases("lung", phrases, processor)
    with pytest.raises(InputError, match="is empty"):
        match_phrases("lung", ["lung", " "], processor)


def test_positions_of_words_in_prompts(processor):
    texts = ["a scan of scan of knee", "brain mri"]
    marks = word_positions(texts, [(10, 14), (6, 9)], processor, length=10)
    assert marks.nonzero().tolist() == [[0, 4], [1, 2]], "the second 'scan', not the first"
    with pytest.raises(InputError, match=r"words 'ab' have no tokens of their own|words 'edema'"):
        word_positions(["signal " * 30 + "edema"], [(210, 215)], processor, length=24)


def test_phrases_in_token_ids(processor):
    ids = processor("text", ["lung nodule in the lung", "brain mri"])["input_ids"]
    marks = phrase_positions(ids, ["lung", "brain mri"], processor)
    assert marks.nonzero().tolist() == [[0, 5], [1, 1], [1, 2]]
    with pytest.raises(InputError, match="Phrase 0, 'nodule lung', is not in the text"):
        phrase_positions(ids, ["nodule lung", "mri"], processor)


def test_fitting(processor):
    assert fits((20, 22), processor)
    assert not fits((20, 23), processor)


def test_tokenizers_that_cannot_tell_are_refused(processor):
    text = TextProcessing(tokenizer="open_clip_bpe", context_length=77)
    with pytest.raises(ConfigError, match=r"Only a model with tokenizer.json"):
        TokenLocator("lung", Processor(ProcessorConfig(text=text)))
    from tokenizers import Tokenizer, models, pre_tokenizers

    plain = Tokenizer(models.WordLevel({"[UNK]": 0, "lung": 1}, unk_token="[UNK]"))
    plain.pre_tokenizer = pre_tokenizers.Whitespace()
    bare = Processor(ProcessorConfig(text=TextProcessing(context_length=8)), plain.to_str())
    with pytest.raises(InputError, match="a start and an end token"):
        TokenLocator("lung", bare)
