"""Token spans of a batch."""

from __future__ import annotations

import json

import pytest
import torch
from verticlip.core.errors import DataError, InputError
from verticlip.core.objectives.base import build_objective
from verticlip.core.registry import room
from verticlip.core.types import Batch
from verticlip.domains.medical.conceptclip.collate import (
    align_spans,
    collate_all_concepts,
    collate_concepts,
    report_spans,
)
from verticlip.domains.medical.conceptclip.pairs import read_concept_jsonl

CAPTION = "Chest x ray shows pleural effusion in the left lung."
FULL = {"umls_cui": "C0032227", "umls_similarity": 1.0, "start_char": 18, "end_char": 34, "tokens": ["pleural", "effusion"], "start_token": 4, "end_token": 6}  # fmt: skip


def write(folder, *records):
    path = folder / "pairs.jsonl"
    lines = [one if isinstance(one, str) else json.dumps(one) for one in records]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def pair(spans, caption=CAPTION, image="a.png", **more):
    return {"caption": caption, "image": image, "umls_meta_info": spans, **more}


def test_the_collate_gives_token_spans(tmp_path, processor):
    rows = read_concept_jsonl(
        write(tmp_path, pair([FULL, [42, 51]]), pair([], caption="a normal picture"), pair([[210, 215]], caption="signal " * 30 + "edema"))
    )  # fmt: skip
    texts = [row["text"] for row in rows]
    got = collate_concepts([row["extras"] for row in rows], texts, processor)
    assert got["concept_spans"].tolist() == [[[4, 6], [8, 10]], [[-1, -1]] * 2, [[-1, -1]] * 2]
    assert got["concept_dropped"].tolist() == [0, 0, 1]
    every = collate_all_concepts([row["extras"] for row in rows], texts, processor)
    assert every["concept_spans"][2].tolist() == [[30, 31], [-1, -1]]
    assert every["concept_dropped"].tolist() == [0, 0, 0]
    empty = collate_concepts([{}, {}], ["a", "b"], processor)
    assert empty["concept_spans"].shape == (2, 0, 2)
    assert room("medical").function("collates", "concept_spans") is collate_concepts
    assert room("medical").function("readers", "concept_jsonl") is read_concept_jsonl


def test_phrases_are_looked_up_in_the_text_that_was_drawn(processor):
    extras = [{"phrases": ["pleural effusion", "chest x ray"]}, {"phrases": ["edema"]}, {}]
    texts = ["Pleural effusion on a chest x ray.", "a normal chest x ray", "edema"]
    got = collate_concepts(extras, texts, processor)
    assert got["concept_spans"].tolist() == [[[0, 2], [4, 7]], [[-1, -1]] * 2, [[-1, -1]] * 2]
    late = collate_concepts([{"phrases": ["edema"]}], ["signal " * 30 + "edema"], processor)
    assert late["concept_spans"].shape == (1, 0, 2)
    assert late["concept_dropped"].tolist() == [1]


def test_texts_that_were_rewritten_keep_the_concepts_they_still_have(processor):
    concepts = [
        {"start": 18, "end": 34, "phrase": "pleural effusion"},
        {"start": 42, "end": 51, "phrase": "left lung"},
    ]
    aligned = align_spans("pleural effusion, right lung", concepts, processor)
    assert (aligned.spans, aligned.kept, aligned.dropped) == (((0, 2),), (0,), {"not_found": 1})


def test_what_does_not_fit_is_counted(tmp_path, processor):
    rows = read_concept_jsonl(
        write(tmp_path, pair([[0, 5], [42, 51]]), pair([[210, 215]], caption="signal " * 30 + "edema"))
    )
    report = report_spans(rows, processor)
    assert report.to_dict() == {
        "captions": 2, "without_concepts": 1, "concepts": 3, "kept": 2, "dropped": {"past_context": 1},
    }  # fmt: skip


def test_what_training_leaves_out_is_told_before_it_begins(processor, caplog):
    check = room("medical").function("collate_checks", "concept_spans")
    good = {"id": "a", "text": ["brain mri"], "extras": {"concepts": [{"start": 0, "end": 5}]}}
    late = {"id": "b", "text": "signal " * 30 + "edema", "extras": {"phrases": ["edema"], "unplaced": 2}}
    assert check([good], processor)["kept"] == 1
    assert not caplog.records
    found = check([good, late], processor)
    assert found["dropped"] == {"past_context": 1, "unplaced": 2}
    assert (found["captions"], found["concepts"], found["kept"]) == (2, 4, 1)
    assert "3 of 4 concepts are not used: 1 past context, 2 unplaced." in caplog.text
    with pytest.raises(DataError, match=r"None of 3 concepts in 1 captions can be used \(1 past context, 2"):
        check([late], processor)
    assert check([{"id": "c", "text": "brain", "extras": {}}], processor)["concepts"] == 0
    assert "No caption has concepts" in caplog.text
    everything = room("medical").function("collate_checks", "concept_spans_all")
    whole = {**late, "extras": {"concepts": [{"start": 210, "end": 215}]}}
    assert everything([whole], processor)["kept"] == 1


def test_bad_concepts_are_named(processor):
    with pytest.raises(
        InputError, match=r"row 1 of the batch: Concept 0: \[3, 99\) is outside the text of 5"
    ):
        collate_concepts([{}, {"concepts": [{"start": 3, "end": 99}]}], ["brain", "brain"], processor)
    with pytest.raises(InputError, match="Concept 0 has cui; expected 'start' and 'end'"):
        align_spans("brain", [{"cui": "C1"}], processor)
    with pytest.raises(InputError, match="2 records and 1 texts"):
        collate_concepts([{}, {}], ["a"], processor)
    with pytest.raises(InputError, match=r"r7: Concept 0: \[3, 99\)"):
        report_spans(
            [{"id": "r7", "text": "brain", "extras": {"concepts": [{"start": 3, "end": 99}]}}], processor
        )


def test_a_training_step_from_rows_to_gradients(tmp_path, processor, network, picture):
    rows = read_concept_jsonl(write(tmp_path, pair([FULL]), pair([], caption="brain mri")))
    texts = [row["text"] for row in rows]
    objective = build_objective("conceptclip", domain="medical")
    batch = Batch(
        {"image": processor("image", [picture, 255 - picture]), "text": processor("text", texts)},
        extras=collate_concepts([row["extras"] for row in rows], texts, processor),
    )
    parts = objective(network(batch, extras=objective.needs.output_extras), batch)
    parts["loss"].backward()
    assert torch.isfinite(parts["loss"])
    assert all(parameter.grad is not None for parameter in network.parameters())
    network.zero_grad(set_to_none=True)
