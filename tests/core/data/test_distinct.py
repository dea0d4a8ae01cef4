from __future__ import annotations

import json
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from verticlip.core.data import LoaderConfig, Record, ResumableLoader
from verticlip.core.data.distinct import DistinctTexts
from verticlip.core.errors import ConfigError, DataError


def records(texts: list[list[str]]) -> list[Record]:
    return [Record(f"r{number:03d}", path=f"{number}.png", source="s") for number in range(len(texts))]


def collate(rows: list[Record], generator: torch.Generator) -> tuple[list[str], list[str], float]:
    return (
        [row.id for row in rows],
        [str(row.text) for row in rows],
        float(torch.rand((), generator=generator)),
    )


def loader(texts: list[list[str]], size: int = 4, seed: int = 3, **options: Any) -> ResumableLoader[Any]:
    rows = records(texts)
    config = LoaderConfig(**{"batch_size": size, "seed": seed, "drop_last": True, "workers": 0, **options})
    plan = DistinctTexts({row.id: own for row, own in zip(rows, texts, strict=True)}, config)
    return ResumableLoader(rows, collate, config, plan=plan)


def corpus(count: int, seed: int = 0) -> list[list[str]]:
    """Rows with one to four of 60 captions, of which a few are very common, as in a real corpus."""
    generator = np.random.default_rng(seed)
    weights = 1 / np.arange(1, 61)
    return [
        [
            f"Caption {n}"
            for n in generator.choice(60, generator.integers(1, 5), replace=False, p=weights / weights.sum())
        ]
        for _ in range(count)
    ]


def test_no_text_stands_twice_in_a_batch_and_every_row_is_shown() -> None:
    texts = corpus(200)
    source = loader(texts, size=8)
    own = {f"r{number:03d}": set(found) for number, found in enumerate(texts)}
    plain = ResumableLoader(records(texts), collate, source.config)
    assert len(source) == len(plain) == 25
    for _ in range(3):
        batches = list(source)
        assert len(batches) == 25
        assert all(len(set(shown)) == 8 for _, shown, _ in batches)
        assert sorted(name for names, _, _ in batches for name in names) == sorted(own)
        assert all(
            text in own[name] for names, shown, _ in batches for name, text in zip(names, shown, strict=True)
        )


def test_rows_draw_all_of_their_texts_over_epochs() -> None:
    texts = [[f"{number} {word}" for word in "abc"] for number in range(12)]
    source = loader(texts)
    seen = Counter(text for _ in range(60) for _, shown, _ in source for text in shown)
    assert set(seen) == {text for own in texts for text in own}
    # 60 epochs of three texts: each 20 times, give or take.
    assert 7 <= min(seen.values()) <= max(seen.values()) <= 34


def test_epochs_and_seeds_differ_and_repeat() -> None:
    texts = corpus(80)
    first = [list(loader(texts)) for _ in range(2)]
    assert first[0] == first[1]
    source = loader(texts)
    assert list(source) != list(source)
    assert list(loader(texts, seed=4)) != first[0]
    assert list(loader(texts, workers=3)) == first[0]


@given(st.integers(0, 45), st.integers(0, 2))
@settings(max_examples=25, deadline=None)
def test_resuming_gives_the_rest_exactly(stop: int, workers: int) -> None:
    texts = corpus(80)
    whole = [batch for source in [loader(texts)] for _ in range(3) for batch in source]
    first = loader(texts, workers=workers)
    seen: list[Any] = []
    while len(seen) < stop:
        for batch in first:
            seen.append(batch)
            if len(seen) == stop:
                break
    second = loader(texts)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    while len(seen) < len(whole):
        seen += list(second)
    assert seen == whole


def test_a_state_belongs_to_its_texts_and_to_the_plan() -> None:
    texts = corpus(80)
    state = loader(texts).state_dict()
    others = [
        loader([[*texts[0], "new"], *texts[1:]]),
        ResumableLoader(records(texts), collate, loader(texts).config),
    ]
    for other in others:
        with pytest.raises(DataError, match="belongs to other records"):
            other.load_state_dict(state)


@given(st.integers(0, 10_000))
@settings(max_examples=60, deadline=None)
def test_a_place_is_found_whenever_there_is_one(seed: int) -> None:
    """Rows compete for few texts; what the plan leaves out is exactly what no plan could place."""
    generator = np.random.default_rng(seed)
    count, size = int(generator.integers(6, 30)), int(generator.integers(2, 5))
    pool = [chr(97 + n) for n in range(int(generator.integers(3, 9)))]
    texts = [
        list(generator.choice(pool, int(generator.integers(1, min(4, len(pool)) + 1)), replace=False))
        for _ in range(count)
    ]
    batches = count // size
    if batches == 0:
        return
    most = _most_placed(texts, batches)
    if most < batches * size:
        with pytest.raises(DataError, match="no text may stand twice in a batch"):
            loader(texts, size=size)
        return
    for _, shown, _ in loader(texts, size=size):
        assert len(set(shown)) == size


def _most_placed(texts: list[list[str]], batches: int) -> int:
    """Return how many rows can have a text when each text has ``batches`` places: a maximum matching."""
    seats: dict[tuple[str, int], int] = {}

    def place(row: int, tried: set[tuple[str, int]]) -> bool:
        for seat in [(text, number) for text in texts[row] for number in range(batches)]:
            if seat not in tried:
                tried.add(seat)
                if seat not in seats or place(seats[seat], tried):
                    seats[seat] = row
                    return True
        return False

    return sum(place(row, set()) for row in range(len(texts)))


def test_rows_without_a_place_are_those_that_the_epoch_leaves_out() -> None:
    # 14 rows make three batches of four; the two rows left over hide two of the five that say the same.
    texts = [["same"]] * 5 + [[f"other {number}"] for number in range(9)]
    source = loader(texts)
    shown = Counter()
    for _ in range(20):
        batches = list(source)
        assert all(len(set(captions)) == 4 for _, captions, _ in batches)
        shown.update(name for names, _, _ in batches for name in names)
    # Not always the same two.
    assert all(shown[f"r{number:03d}"] > 4 for number in range(5))


def test_too_many_equal_texts_say_what_to_do() -> None:
    texts = [["The same."], ["the  SAME."]] * 6 + [[f"other {number}"] for number in range(4)]
    with pytest.raises(
        DataError,
        match=r"8 of 16 rows of an epoch have no place: 12 rows have nothing but the same few texts, such as "
        r"'[Tt]he +(same|SAME)\.', an epoch has 4 batches of 4, and no text may stand twice in a batch. Lower "
        r"batch_size, leave repeated texts out of the data, or allow repeats",
    ):
        loader(texts)


def test_many_rows_without_a_place_are_found_quickly() -> None:
    texts = [["a", "b"]] * 4000 + [[f"other {number}"] for number in range(100)]
    with pytest.raises(DataError, match="4000 rows have nothing but the same few texts"):
        loader(texts, size=50)


def test_processes_share_batches_without_repeats() -> None:
    texts = corpus(96)
    parts = [list(loader(texts, rank=rank, world_size=2)) for rank in range(2)]
    assert [len(part) for part in parts] == [12, 12]
    for one, other in zip(*parts, strict=True):
        assert len({*one[1], *other[1]}) == 8


def test_sources_keep_their_shares() -> None:
    texts = corpus(60)
    rows = [Record(f"r{number:03d}", path="x", source="ab"[number % 3 == 0]) for number in range(60)]
    config = LoaderConfig(batch_size=5, drop_last=True, balance="source", workers=0)
    plan = DistinctTexts({row.id: own for row, own in zip(rows, texts, strict=True)}, config)
    shown = [name for names, _, _ in ResumableLoader(rows, collate, config, plan=plan) for name in names]
    assert Counter(int(name[1:]) % 3 == 0 for name in shown) == {True: 30, False: 30}


def test_a_rest_is_refused() -> None:
    with pytest.raises(ConfigError, match="set drop_last"):
        DistinctTexts({}, LoaderConfig(batch_size=2))
