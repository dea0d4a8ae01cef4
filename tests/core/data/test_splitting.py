from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from verticlip.core.data import Manifest, Record, check_leakage, split
from verticlip.core.errors import ConfigError, DataError


def made(rows: int, *, groups: int | None = None, classes: int = 3, seed: int = 0) -> Manifest:
    draw = random.Random(seed)
    records = [
        Record(
            f"r{index}",
            text=f"text {index}",
            label=f"c{draw.randrange(classes)}",
            group=None if groups is None else f"g{draw.randrange(groups)}",
        )
        for index in range(rows)
    ]
    return Manifest(Path(), tuple(records))


def assigned(manifest: Manifest) -> dict[str, str | None]:
    return {record.id: record.split for record in manifest}


SHARES = {"train": 0.8, "val": 0.1, "test": 0.1}


def test_shares_hold_within_every_class():
    parts = split(made(300), SHARES)
    per_class = Counter(record.label for record in parts)
    for (label, name), count in Counter((record.label, record.split) for record in parts).items():
        assert abs(count - SHARES[str(name)] * per_class[label]) <= 1


def test_without_stratification_only_the_total_is_kept():
    parts = split(made(300), SHARES, stratify=False)
    assert Counter(record.split for record in parts) == {"train": 240, "val": 30, "test": 30}


@given(st.integers(0, 1000), st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_file_order_does_not_matter_and_groups_stay_together(seed: int, order: int):
    manifest = made(60, groups=25, seed=seed)
    shuffled = list(manifest.records)
    random.Random(order).shuffle(shuffled)
    parts = split(manifest, {"train": 0.7, "val": 0.3}, seed=seed)
    assert assigned(parts) == assigned(
        split(Manifest(Path(), tuple(shuffled)), {"train": 0.7, "val": 0.3}, seed=seed)
    )
    assert not check_leakage(parts).groups


def test_a_row_keeps_its_split_when_other_classes_grow():
    small = made(40, classes=1)
    more = Manifest(Path(), (*small.records, *(Record(f"new{i}", text="x", label="z") for i in range(30))))
    grown = assigned(split(more, SHARES))
    assert {name: grown[name] for name in assigned(small)} == assigned(split(small, SHARES))


def test_seed_decides():
    parts = [assigned(split(made(60), SHARES, seed=seed)) for seed in (0, 0, 1)]
    assert parts[0] == parts[1] != parts[2]


def test_by_record_ignores_groups():
    parts = split(made(60, groups=3), SHARES, by="record")
    assert check_leakage(parts).groups


def test_a_group_named_like_an_id_is_not_the_same_unit():
    records = (Record("x", text="1"), Record("y", text="2", group="x"), Record("z", text="3", group="x"))
    with pytest.raises(DataError, match=r"2 units \(group\) are too few"):
        split(Manifest(Path(), records), {"a": 0.4, "b": 0.3, "c": 0.3})


@pytest.mark.parametrize("fractions", [{}, {"train": 0.5}, {"train": 1.2, "val": -0.2}])
def test_share_messages(fractions: dict[str, float]):
    with pytest.raises(ConfigError, match="must be above 0 and sum to 1"):
        split(made(10), fractions)


def test_an_empty_split_is_an_error():
    with pytest.raises(DataError, match=r"Split 'val' would be empty: 2 units \(group\)"):
        split(made(2, classes=1), SHARES)
