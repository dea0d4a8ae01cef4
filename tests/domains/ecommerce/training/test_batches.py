from __future__ import annotations

from collections import Counter

import pytest
from verticlip.core.data import LoaderConfig, Record, ResumableLoader
from verticlip.core.errors import ConfigError
from verticlip.domains.ecommerce.training.batches import CategoryBatches

SIZE = 8
CONFIG = LoaderConfig(batch_size=SIZE, seed=5, drop_last=True, workers=0)


def make_records(counts: dict[str | None, int]) -> list[Record]:
    return [
        Record(id=f"{label}{number}", path=None, text="x", label=label)
        for label, count in counts.items()
        for number in range(count)
    ]


def make_loader(counts: dict[str | None, int], share: float = 0.5) -> ResumableLoader[list[Record]]:
    return ResumableLoader(
        make_records(counts), lambda rows, generator: rows, CONFIG, plan=CategoryBatches(CONFIG, share=share)
    )


def most(batch: list[Record]) -> int:
    return max(Counter(record.label for record in batch if record.label).values())


def test_half_of_each_batch_is_of_one_category():
    loader = make_loader({"mugs": 30, "lamps": 30, "shoes": 28})
    batches = list(loader)
    assert len(batches) == 11
    assert all(most(batch) >= 4 for batch in batches)
    seen = Counter(record.id for batch in batches for record in batch)
    assert set(seen.values()) == {1}
    assert len(seen) == 88
    assert len({tuple(sorted(Counter(r.label for r in batch).items())) for batch in batches}) > 1


def test_rows_that_are_left_change_from_epoch_to_epoch():
    loader = make_loader({"mugs": 30, "lamps": 29})
    first, second = ({r.id for batch in loader for r in batch} for _ in range(2))
    assert len(first) == len(second) == 56
    assert first != second


def test_small_categories_give_mixed_batches():
    loader = make_loader({**{f"c{number}": 1 for number in range(20)}, "mugs": 9, None: 11})
    batches = list(loader)
    assert len(batches) == 5
    assert sum(most(batch) >= 4 for batch in batches) >= 2
    assert len({record.id for batch in batches for record in batch}) == 40


def test_it_resumes_at_the_exact_next_batch():
    counts = {"mugs": 20, "lamps": 20}
    whole = [[record.id for record in batch] for batch in make_loader(counts)]
    interrupted = make_loader(counts)
    iterator = iter(interrupted)
    start = [[record.id for record in next(iterator)] for _ in range(2)]
    resumed = make_loader(counts)
    resumed.load_state_dict(interrupted.state_dict())
    assert start + [[record.id for record in batch] for batch in resumed] == whole
    assert resumed.fingerprint != make_loader(counts, share=0.25).fingerprint


def test_no_share_leaves_the_order_alone():
    plain = ResumableLoader(make_records({"mugs": 20, "lamps": 20}), lambda rows, generator: rows, CONFIG)
    assert list(make_loader({"mugs": 20, "lamps": 20}, share=0)) == list(plain)


def test_it_needs_full_batches():
    with pytest.raises(ConfigError, match="set drop_last"):
        CategoryBatches(LoaderConfig(batch_size=4))
