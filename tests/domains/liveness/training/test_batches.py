from __future__ import annotations

from collections import Counter

import pytest
import torch
from verticlip.core.data import LoaderConfig, Record
from verticlip.core.errors import ConfigError, DataError
from verticlip.domains.liveness.training.batches import BalancedBatches, BalancedLoader, Place


def places(counts: dict[tuple[str, str], int]) -> dict[str, Place]:
    """Return places of {(domain, kind): rows}; kind "" is live."""
    return {
        f"{domain}/{kind or 'live'}/{number}": Place(domain, not kind, kind)
        for (domain, kind), count in counts.items()
        for number in range(count)
    }


def plan_of(given: dict[str, Place], size: int, *, steps: int = 10, seed: int = 0, live_share: float = 0.5):
    config = LoaderConfig(batch_size=size, seed=seed, shuffle=False, drop_last=True)
    return BalancedBatches(given, config, steps=steps, live_share=live_share)


FLAT = {("a", ""): 7, ("a", "print"): 31, ("b", ""): 12, ("b", "print"): 4}


def test_every_batch_has_the_same_number_of_each_domain_and_class():
    given = places(FLAT)
    plan = plan_of(given, 12)
    assert plan.parts == {"a, live": 3, "a, attack": 3, "b, live": 3, "b, attack": 3}
    assert plan.short == ()
    for step in range(50):
        counted = Counter((given[name].domain, given[name].live) for name in plan.batch(step))
        assert set(counted.values()) == {3}
    shares = plan_of(given, 20, live_share=0.3)
    assert shares.parts == {"a, live": 3, "a, attack": 7, "b, live": 3, "b, attack": 7}


def test_queues_start_again_by_themselves_and_leave_out_what_fills_no_place():
    given = places(FLAT)
    plan = plan_of(given, 12)
    rounds = {"a/live": 2, "a/print": 10, "b/live": 4, "b/print": 1}
    for part, length in rounds.items():
        taken = [[name for name in plan.batch(step) if name.startswith(part)] for step in range(length * 3)]
        for turn in range(3):
            one = [name for part_of in taken[turn * length : (turn + 1) * length] for name in part_of]
            # Within a round no row comes twice.
            assert len(set(one)) == 3 * length
        if length > 1:
            assert taken[:length] != taken[length : 2 * length]
    # What a round leaves out differs from round to round, so that every row comes up.
    seen = {name for step in range(40) for name in plan.batch(step)}
    assert seen == set(given)


def test_kinds_take_turns_whatever_their_size():
    given = places({("a", ""): 20, ("a", "print"): 50, ("a", "mask"): 2, ("a", "display"): 9})
    plan = plan_of(given, 10)
    counted = Counter(given[name].kind for step in range(30) for name in plan.batch(step))
    assert counted == {"": 150, "print": 50, "mask": 50, "display": 50}


def test_few_rows_repeat_in_a_batch_and_are_told():
    plan = plan_of(places({("a", ""): 1, ("a", "print"): 3}), 8)
    assert plan.short == ("a, live", "a, attack, print")
    assert Counter(plan.batch(0))["a/live/0"] == 4
    assert max(Counter(name for name in plan.batch(0) if "print" in name).values()) == 2


def test_a_kind_with_fewer_rows_than_its_turns_is_told():
    # Five places of three kinds: up to two for each.
    plan = plan_of(places({("a", ""): 9, ("a", "print"): 9, ("a", "mask"): 1, ("a", "display"): 2}), 10)
    assert plan.short == ("a, attack, mask",)
    assert max(Counter(name for name in plan.batch(0) if "mask" in name).values()) == 2


def test_batches_depend_on_seed_and_step_alone():
    given = places(FLAT)
    first, again, other = (
        plan_of(given, 12),
        plan_of(dict(reversed(given.items())), 12),
        plan_of(given, 12, seed=1),
    )
    late = [again.batch(step) for step in (41, 3, 17)]
    assert late == [first.batch(step) for step in (41, 3, 17)]
    assert [other.batch(step) for step in range(3)] != [first.batch(step) for step in range(3)]
    records = [Record(name) for name in given]
    assert first.fingerprint(records) == again.fingerprint(records)
    assert first.fingerprint(records) != plan_of(given, 12, steps=11).fingerprint(records)
    assert first.fingerprint(records) != plan_of(places({**FLAT, ("a", "print"): 30}), 12).fingerprint(
        records
    )


def test_a_further_data_set_leaves_the_order_of_the_others():
    def live_of_a(plan: BalancedBatches) -> list[str]:
        return [name for step in range(4) for name in sorted(plan.batch(step)) if name.startswith("a/live")]

    more = places({**FLAT, ("c", ""): 5, ("c", "print"): 5})
    assert live_of_a(plan_of(places(FLAT), 12)) == live_of_a(plan_of(more, 18))


def loader_of(given: dict[str, Place], **settings) -> BalancedLoader:
    config = LoaderConfig(batch_size=12, shuffle=False, drop_last=True, **settings)
    plan = BalancedBatches(given, config, steps=5)

    def collate(records, generator):
        return [record.id for record in records], float(torch.rand((), generator=generator))

    return BalancedLoader([Record(name) for name in given], collate, config, plan=plan, steps=5)


def test_the_loader_goes_on_at_the_exact_next_batch_and_across_epochs():
    given = places(FLAT)
    whole, plan = loader_of(given), plan_of(given, 12, steps=5)
    assert len(whole) == 5
    batches = [batch for _ in range(3) for batch in whole]
    assert [ids for ids, _ in batches] == [plan.batch(step) for step in range(15)]
    cut = loader_of(given, workers=0)
    taken = []
    for batch in cut:
        taken.append(batch)
        if len(taken) == 3:
            break
    state = cut.state_dict()
    after = loader_of(given)
    after.load_state_dict(state)
    rest = [batch for _ in range(3) for batch in after]
    assert taken + rest == batches
    with pytest.raises(DataError, match="belongs to other records"):
        loader_of(places({**FLAT, ("a", ""): 8})).load_state_dict(state)


def test_what_cannot_be_balanced():
    with pytest.raises(DataError, match="'a' has no attack to train with"):
        plan_of(places({("a", ""): 5, ("b", ""): 5, ("b", "print"): 5}), 8)
    with pytest.raises(DataError, match="'b' has no live presentation"):
        plan_of(places({("a", ""): 5, ("a", "print"): 5, ("b", "print"): 5}), 8)
    with pytest.raises(
        ConfigError, match=r"batch_size 25 cannot be divided among 2 data sets \(a, b\).*Use 22, 24, 26"
    ):
        plan_of(places(FLAT), 25)
    with pytest.raises(ConfigError, match="batch_size 2 cannot be divided"):
        plan_of(places(FLAT), 2)
