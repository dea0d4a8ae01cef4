"""Reports as sections and sentences, and what the collate makes of them."""

from __future__ import annotations

import pytest
import torch
from verticlip.core.errors import ConfigError, DataError, InputError
from verticlip.core.registry import room
from verticlip.domains.medical.biovil.model import IGNORED_LABEL
from verticlip.domains.medical.biovil.sections import (
    check_sections,
    collate_sections,
    fit_sentences,
    mask_words,
    report_text,
    sentences,
    shuffle_sentences,
    split_report,
    vocabulary_of,
)

REPORT = """                                 FINAL REPORT
 EXAMINATION:  CHEST (PA AND LAT)

 INDICATION:  cough: new

 FINDINGS:

 Lungs are clear.  The heart size is
 normal.

 IMPRESSION:
 No pneumonia.

 RECOMMENDATION(S):  None.
"""


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (REPORT, {"findings": "Lungs are clear. The heart size is normal.", "impression": "No pneumonia."}),
        ("FINDINGS: a. IMPRESSION: b.", {"findings": "a.", "impression": "b."}),
        ("Findings: a\nConclusion: b", {"findings": "a", "impression": "b"}),
        ("IMPRESSION: one.\nIMPRESSION: two.", {"impression": "one. two."}),
        ("FINDINGS: the lungs: clear\nTechnique: x", {"findings": "the lungs: clear"}),
        ("FINDINGS AND IMPRESSION: clear", {"findings": "clear"}),
        ("IMPRESSION:\n\n", {}),
        ("no sections here", {}),
        ("", {}),
    ],
)
def test_sections(text, expected):
    assert split_report(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("No effusion. Size 1.2 cm. Clear?", ["No effusion.", "Size 1.2 cm.", "Clear?"]),
        ("1. Edema. 2. Effusion.", ["1. Edema.", "2. Effusion."]),
        ("one sentence", ["one sentence"]),
        ("  ", []),
    ],
)
def test_sentences(text, expected):
    assert sentences(text) == expected


def test_shuffling_keeps_the_sentences_and_follows_the_generator():
    text = "A one. B two. C three. D four."
    orders = {shuffle_sentences(text, generator(seed)) for seed in range(8)}
    assert len(orders) > 3
    assert all(sorted(sentences(order)) == sentences(text) for order in orders)
    assert shuffle_sentences(text, generator(1)) == shuffle_sentences(text, generator(1))
    assert shuffle_sentences("", generator()) == ""


def test_a_report_is_its_impression_then_its_findings():
    text = report_text({"findings": "F one. F two.", "impression": "I one. I two."}, generator())
    assert [sentence[0] for sentence in sentences(text)] == ["I", "I", "F", "F"]
    assert report_text({"findings": "F one."}, generator()) == "F one."


def test_masking_hides_fifteen_percent_of_the_words(processor):
    vocabulary = vocabulary_of(processor)
    assert vocabulary_of(processor) is vocabulary, "read once"
    assert set(vocabulary.words.tolist()) == set(range(vocabulary.size)) - set(vocabulary.special)
    assert vocabulary.mask == 4
    assert vocabulary.size == 60
    assert set(vocabulary.special) == {0, 1, 2, 3, 4}
    ids = torch.randint(5, 60, (400, 30), generator=generator())
    ids[:, 0], ids[:, -1] = 2, 3
    attention = torch.ones_like(ids)
    attention[::2, 20:] = 0
    masked = mask_words({"input_ids": ids, "attention_mask": attention}, vocabulary, generator(1))
    chosen = masked["labels"] != IGNORED_LABEL
    assert not chosen[:, 0].any()
    assert not chosen[:, -1].any()
    assert not chosen[attention == 0].any()
    assert torch.equal(masked["labels"][chosen], ids[chosen])
    assert torch.equal(masked["input_ids"][~chosen], ids[~chosen])
    words = int(attention.sum()) - 400 - 200
    assert abs(int(chosen.sum()) / words - 0.15) < 0.01
    hidden = masked["input_ids"][chosen] == 4
    assert abs(float(hidden.float().mean()) - 0.8) < 0.03
    changed = (masked["input_ids"][chosen] != ids[chosen]) & ~hidden
    assert abs(float(changed.float().mean()) - 0.1) < 0.03
    assert int(masked["input_ids"].max()) < 60
    again = mask_words({"input_ids": ids, "attention_mask": attention}, vocabulary, generator(1))
    assert torch.equal(again["input_ids"], masked["input_ids"])


def test_a_tokenizer_without_mask_is_refused(processor):
    from verticlip.core.processing import Processor

    content = processor.tokenizer_json.replace("[MASK]", "[MUSK]")
    with pytest.raises(ConfigError, match=r"need a tokenizer.json with \[MASK\]"):
        vocabulary_of(Processor(processor.config, content))


def test_sentences_without_room_are_left_out(processor):
    sentence = "Small left pleural effusion. "
    fitted = fit_sentences(sentence * 12, processor)
    assert fitted == (sentence * 7).strip()
    assert processor.count_tokens([fitted])[0] <= 40
    with pytest.raises(InputError, match="longer than 40 tokens"):
        fit_sentences("small " * 50, processor)


def truncating(processor):
    text = processor.config.text.model_copy(update={"overlong": "truncate"})
    config = processor.config.model_copy(update={"text": text})
    return type(processor)(config, processor.tokenizer_json)


def test_a_sentence_that_is_too_long_is_cut_where_the_recipe_says_so(processor):
    cutting, long = truncating(processor), "small " * 50 + "effusion."
    extras = collate_sections([{"findings": long}], [long], cutting, generator())
    assert extras["text.input_ids"].shape == extras["mlm_input_ids"].shape == (1, 40)
    assert extras["findings_attention_mask"].sum() == 40
    with pytest.raises(InputError, match="Divide it, or set text.overlong to truncate"):
        collate_sections([{"findings": long}], [long], processor, generator())


def test_what_the_collate_will_use_is_known_before_the_first_step(processor, caplog):
    check = room("medical").function("collate_checks", "report_sections")
    assert check is check_sections
    rows = [
        {"id": "a", "text": ["x"], "extras": {"findings": "Lungs clear.", "impression": "Normal."}},
        {"id": "b", "text": ["FINDINGS: Large opacity. IMPRESSION: Edema."], "extras": {}},
        {"id": "c", "text": ["small " * 50], "extras": {}},
    ]
    found = {"reports": 2, "with_both_sections": 2, "cut_sentences": 0}
    assert check(rows[:2], processor) == found
    assert check(rows, truncating(processor)) == {**found, "reports": 3, "cut_sentences": 1}
    assert not caplog.records
    with pytest.raises(DataError, match="1 sentences have more than 40 tokens, first of 'c'"):
        check(rows, processor)
    with pytest.raises(InputError, match="^d: findings is int"):
        check([{"id": "d", "text": ["x"], "extras": {"findings": 3}}], processor)
    assert check(rows[2:], truncating(processor))["with_both_sections"] == 0
    assert "No report has both" in caplog.text


def test_the_collate(processor):
    records = [
        {"findings": "Lungs clear. Heart size normal.", "impression": "No pneumonia."},
        {"findings": "Small effusion."},
        {},
        {},
    ]
    texts = ["drawn", "drawn", "FINDINGS: Large opacity. IMPRESSION: Pneumonia.", "No edema."]
    extras = collate_sections(records, texts, processor, generator())
    assert extras["has_sections"].tolist() == [True, False, True, False]
    for part in ("mlm", "findings", "impression"):
        ids, mask = extras[f"{part}_input_ids"], extras[f"{part}_attention_mask"]
        assert ids.shape == mask.shape
        assert len(ids) == 4
    # A report without the section is an empty text, which is [CLS] [SEP].
    assert extras["impression_attention_mask"].sum(dim=1).tolist() == [4, 2, 3, 2]
    texts_seen = processor("text", ["Small effusion.", "No edema."])["input_ids"]
    for row, seen in zip((1, 3), texts_seen, strict=True):
        length = int(extras["text.attention_mask"][row].sum())
        assert torch.equal(extras["text.input_ids"][row, :length], seen[:length])
    assert int(extras["text.attention_mask"][0].sum()) > 8
    visible = extras["mlm_labels"] == IGNORED_LABEL
    assert torch.equal(extras["mlm_input_ids"][visible], extras["text.input_ids"][visible])
    again = collate_sections(records, texts, processor, generator())
    assert all(torch.equal(again[name], value) for name, value in extras.items())


def test_the_collate_is_declared_and_names_bad_rows(processor):
    assert room("medical").function("collates", "report_sections") is collate_sections
    with pytest.raises(InputError, match="record 0: findings is int"):
        collate_sections([{"findings": 3}], ["a"], processor, generator())
    with pytest.raises(InputError, match="1 records for 2 texts"):
        collate_sections([{}], ["a", "b"], processor, generator())
