from __future__ import annotations

import torch
from verticlip.domains.ecommerce.training.collate import drop_tokens


def text(*lengths: int, size: int = 12) -> dict[str, torch.Tensor]:
    ids = torch.zeros(len(lengths), size, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, length in enumerate(lengths):
        ids[row, :length] = torch.arange(1, length + 1) + 100 * row
        mask[row, :length] = 1
    return {"input_ids": ids, "attention_mask": mask}


def drop(inputs, share, seed=0, pad_id=0):
    generator = torch.Generator().manual_seed(seed)
    return drop_tokens(inputs, share, pad_id=pad_id, generator=generator)


def test_tokens_go_and_their_order_stays():
    given = text(12, 7, 3)
    found = drop(given, 0.5)
    for row, length in enumerate((12, 7, 3)):
        kept = found["input_ids"][row][found["attention_mask"][row].bool()].tolist()
        assert kept == sorted(kept)
        assert kept[0] == 1 + 100 * row
        assert kept[-1] == length + 100 * row
        assert 3 <= len(kept) <= length
        assert found["attention_mask"][row].tolist() == [1] * len(kept) + [0] * (12 - len(kept))
    assert found["attention_mask"].sum() < given["attention_mask"].sum()
    assert given["attention_mask"].sum() == 22


def test_one_word_always_stays():
    found = drop(text(9, 3, 2), 0.999999, pad_id=55)
    assert found["attention_mask"].sum(dim=1).tolist() == [3, 3, 2]
    assert found["input_ids"][2].tolist() == [201, 202, *[55] * 10]


def test_no_share_changes_nothing_and_draws_repeat():
    given = text(12, 7, 3)
    same = drop(given, 0.0)
    assert torch.equal(same["input_ids"], given["input_ids"])
    assert torch.equal(drop(given, 0.3)["input_ids"], drop(given, 0.3)["input_ids"])
    assert not torch.equal(drop(given, 0.5)["input_ids"], drop(given, 0.5, seed=1)["input_ids"])


def test_the_share_is_kept_on_average():
    found = drop(text(*[12] * 2000), 0.15)
    assert abs(float(found["attention_mask"].sum()) / 2000 - (12 - 10 * 0.15)) < 0.05
