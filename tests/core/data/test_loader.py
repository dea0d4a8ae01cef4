from __future__ import annotations

import json
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from verticlip.core.data import LoaderConfig, Record, ResumableLoader
from verticlip.core.errors import ConfigError, DataError

RECORDS = [
    Record(f"r{index:02d}", text="x", label="ab"[index % 5 == 0], source=f"s{index % 3}")
    for index in range(23)
]


def collate(records: list[Record], generator: torch.Generator) -> tuple[list[str], list[float]]:
    """Ids and one random number per row: what an augmentation would draw."""
    return [record.id for record in records], torch.rand(len(records), generator=generator).tolist()


def loader(
    records: list[Record] = RECORDS, **settings: Any
) -> ResumableLoader[tuple[list[str], list[float]]]:
    return ResumableLoader(records, collate, LoaderConfig(**{"batch_size": 4, "seed": 5, **settings}))


def epochs(source: ResumableLoader[Any], count: int) -> list[Any]:
    return [batch for _ in range(count) for batch in source]


def test_an_epoch_holds_every_record_once():
    batches = list(loader())
    assert len(batches) == len(loader()) == 6
    assert sorted(name for names, _ in batches for name in names) == [record.id for record in RECORDS]
    assert [len(names) for names, _ in batches] == [4] * 5 + [3]
    assert len(list(loader(drop_last=True))) == len(loader(drop_last=True)) == 5


def test_epochs_and_seeds_differ_and_repeat():
    first, second = (epochs(loader(), 2) for _ in range(2))
    assert first == second
    assert first[:6] != first[6:]
    assert epochs(loader(seed=6), 1) != first[:6]
    plain = [name for names, _ in loader(shuffle=False) for name in names]
    assert plain == [record.id for record in RECORDS]


def test_augmentation_numbers_differ_between_batches_and_epochs():
    drawn = [number for _, numbers in epochs(loader(), 2) for number in numbers]
    assert len(set(drawn)) == len(drawn)


@given(st.integers(0, 18), st.integers(0, 3), st.booleans())
@settings(max_examples=40, deadline=None)
def test_resuming_after_any_batch_gives_the_rest_exactly(stop: int, workers: int, balanced: bool):
    settings_ = {"workers": workers, "balance": "class" if balanced else "none"}
    whole = epochs(loader(**settings_), 4)
    first = loader(**settings_)
    seen = []
    while len(seen) < stop:
        for batch in first:
            seen.append(batch)
            if len(seen) == stop:
                break
    state = json.loads(json.dumps(first.state_dict()))
    second = loader(workers=0, balance=settings_["balance"])
    second.load_state_dict(state)
    rest: list[Any] = []
    while len(seen) + len(rest) < len(whole):
        rest += list(second)
    assert seen + rest == whole


def test_an_unused_iterator_changes_nothing():
    source = loader()
    state = source.state_dict()
    source.load_state_dict({**state, "position": 2})
    iter(source)
    iter(source)
    assert list(source) == list(loader())[2:]


def test_leaving_an_epoch_early_starts_the_next_one():
    source = loader()
    next(iter(source))
    assert list(source) == epochs(loader(), 2)[6:]


def test_resuming_happens_once():
    source = loader()
    source.load_state_dict({**source.state_dict(), "position": 2})
    next(iter(source))
    assert list(source) == epochs(loader(), 2)[6:]


def test_state_counts_handed_out_batches_not_prefetched_ones():
    source = loader(workers=2, prefetch=4)
    iterator = iter(source)
    next(iterator)
    assert source.state_dict()["position"] == 1
    iterator.close()  # type: ignore[attr-defined]


def test_set_epoch_is_the_interface_of_samplers():
    source = loader()
    source.sampler.set_epoch(3)
    assert list(source) == epochs(loader(), 4)[18:]
    source.load_state_dict({**source.state_dict(), "epoch": 2, "position": 4})
    source.set_epoch(2)
    assert list(source) == epochs(loader(), 3)[16:]


@pytest.mark.parametrize("workers", [1, 4])
def test_threads_do_not_change_the_batches(workers: int):
    def slow(records: list[Record], generator: torch.Generator) -> tuple[list[str], list[float]]:
        # Later batches of a pool finish first.
        time.sleep(0.01 * (int(records[0].id[1:]) % 3))
        return collate(records, generator)

    config = LoaderConfig(batch_size=4, seed=5, workers=workers, prefetch=3)
    assert list(ResumableLoader(RECORDS, slow, config)) == list(loader(workers=0))


def test_threads_end_with_the_iterator():
    before = threading.active_count()
    iterator = iter(loader(workers=3))
    next(iterator)
    iterator.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before


def test_prefetch_is_bounded():
    started = []

    def count(records: list[Record], generator: torch.Generator) -> int:
        started.append(1)
        return len(records)

    many = [Record(str(index), text="x") for index in range(100)]
    source = ResumableLoader(many, count, LoaderConfig(batch_size=1, workers=4, prefetch=3))
    iterator = iter(source)
    next(iterator)
    time.sleep(0.05)
    assert len(started) <= 4
    iterator.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("settings_", "expected"),
    [
        ({"balance": "class"}, {"a": 12, "b": 11}),
        ({"balance": "class", "weights": {"a": 3.0, "b": 1.0}}, {"a": 17, "b": 6}),
    ],
)
def test_balanced_epochs_have_exact_shares(settings_: dict[str, Any], expected: dict[str, int]):
    labels = {record.id: record.label for record in RECORDS}
    for epoch in range(3):
        drawn = [RECORDS[index].id for index in loader(**settings_).order(epoch)]
        assert Counter(labels[name] for name in drawn) == expected
        # Rare rows repeat evenly, frequent rows do not repeat.
        counts = Counter(drawn)
        for label in "ab":
            own = [counts[name] for name in labels if labels[name] == label]
            assert max(own) - min(own) <= 1


def test_balance_by_source():
    drawn = [RECORDS[index].source for index in loader(balance="source").order(0)]
    assert sorted(Counter(drawn).values()) == [7, 8, 8]


def test_every_row_of_a_frequent_class_comes_up_over_epochs():
    source = loader(balance="class")
    seen = {int(index) for epoch in range(8) for index in source.order(epoch)}
    assert seen == set(range(23))


def test_processes_share_an_epoch_without_overlap():
    parts = [list(loader(rank=rank, world_size=2, drop_last=True, batch_size=2)) for rank in range(2)]
    assert [len(part) for part in parts] == [5, 5]
    whole = loader(drop_last=True).order(0)
    for step in range(5):
        together = [name for part in parts for name in part[step][0]]
        assert together == [RECORDS[index].id for index in whole[4 * step : 4 * step + 4]]
    assert parts[0][0][1] != parts[1][0][1]


def test_order_is_a_permutation():
    for epoch in range(3):
        assert np.array_equal(np.sort(loader().order(epoch)), np.arange(23))


@pytest.mark.parametrize(
    ("settings_", "message"),
    [
        ({"rank": 2, "world_size": 2, "drop_last": True}, "rank 2 must be below world_size 2"),
        ({"world_size": 2}, "needs drop_last"),
        ({"balance": "class", "shuffle": False}, "needs shuffle"),
        ({"weights": {"a": 1.0}}, "weights need balance"),
        ({"balance": "class", "weights": {"a": 0.0}}, "must be above 0"),
    ],
)
def test_config_messages(settings_: dict[str, Any], message: str):
    with pytest.raises(ValidationError, match=message):
        LoaderConfig(batch_size=1, **settings_)


def test_record_messages():
    with pytest.raises(DataError, match="There are no records to load"):
        loader([])
    with pytest.raises(DataError, match="3 records do not fill one batch of 4 x 1 processes"):
        loader(RECORDS[:3], drop_last=True)
    with pytest.raises(DataError, match="Record 'x' has no class; it cannot be balanced by it"):
        loader([Record("x", text="x")], balance="class")
    with pytest.raises(
        ConfigError, match=r"weights must name exactly \['a', 'b'\]; 'c' is missing or unknown"
    ):
        loader(balance="class", weights={"a": 1.0, "b": 1.0, "c": 1.0})


def test_state_messages():
    source = loader()
    state = source.state_dict()
    with pytest.raises(DataError, match=r"Not a loader state: keys \['epoch'\]"):
        source.load_state_dict({"epoch": 1})
    with pytest.raises(DataError, match="position 7 is outside 0 to 6"):
        source.load_state_dict({**state, "position": 7})
    others = (loader(RECORDS[:20]), loader(seed=6), loader(batch_size=3), loader(balance="class"))
    for other in others:
        with pytest.raises(DataError, match="belongs to other records, another batch size, seed or balance"):
            other.load_state_dict(state)
    loader(workers=0, prefetch=9).load_state_dict(state)


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_names_the_batch(workers: int):
    def fail(records: list[Record], generator: torch.Generator) -> None:
        raise OSError("disk is gone")

    source = ResumableLoader(RECORDS, fail, LoaderConfig(batch_size=2, shuffle=False, workers=workers))
    with pytest.raises(DataError, match=r"Epoch 0, batch 0 \(r00, r01, ...\): OSError: disk is gone"):
        next(iter(source))


@pytest.mark.slow
@pytest.mark.parametrize("stop", [1, 3, 5, 7])
def test_lightning_resumes_at_the_next_batch(stop: int, tmp_path: Path):
    lightning = pytest.importorskip("lightning.pytorch", reason="the train extra is not installed")

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))
            self.seen: list[Any] = []

        def training_step(self, batch: Any, index: int) -> torch.Tensor:
            self.seen.append(batch)
            return self.weight.sum() * sum(batch[1])

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD([self.weight], lr=0.1)

    def fit(steps: int, *, resume: Path | None = None, save: Path | None = None) -> list[Any]:
        trainer = lightning.Trainer(
            max_steps=steps,
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=tmp_path,
            callbacks=[Save(save)] if save else [],
        )
        module = Module()
        trainer.fit(module, loader(RECORDS[:20]), ckpt_path=resume)
        return module.seen

    class Save(lightning.Callback):
        def __init__(self, path: Path) -> None:
            self.path = path

        def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
            if trainer.global_step == stop:
                trainer.save_checkpoint(self.path)

    # 20 records make 5 batches: 5 is the end of an epoch, 7 inside the second one.
    whole = fit(10)
    assert len(whole) == 10
    fit(stop, save=tmp_path / "mid.ckpt")
    assert fit(10, resume=tmp_path / "mid.ckpt") == whole[stop:]
