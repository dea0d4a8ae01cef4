"""Who a threshold may be chosen on."""

from __future__ import annotations

from pathlib import Path

import pytest
from verticlip.core.errors import DataError
from verticlip.domains.liveness.calibration.dev_set import development_entries, name_of
from verticlip.domains.liveness.protocols.entry import Entry, Split
from verticlip.domains.liveness.protocols.subjects import FEW_SHOT


def entry(name: str, subject: str, split: Split, dataset: str = "branch", **groups: str) -> Entry:
    return Entry(
        Path(f"{dataset}-{name}"), name, "live", subject=subject, split=split, dataset=dataset, groups=groups
    )


def test_only_the_development_part_is_taken() -> None:
    dev = entry("b", "2", "dev")
    assert development_entries([entry("a", "1", "train"), dev, entry("c", "3", "test")]) == [dev]
    assert name_of([dev, entry("d", "4", "dev", "agency")]) == "agency+branch"
    with pytest.raises(DataError, match=r"No presentation is in split dev \(found: train 1\)"):
        development_entries([entry("a", "1", "train")])


def test_nobody_is_in_another_part_or_in_the_test_set() -> None:
    dev = [entry("b", "2", "dev")]
    with pytest.raises(DataError, match=r"branch/2 \(train and dev\)"):
        development_entries([*dev, entry("a", "2", "train")])
    with pytest.raises(DataError, match=r"branch/2 \(dev and test\)"):
        development_entries(dev, [entry("c", "2", "test")])
    # Whatever the two sets call it.
    with pytest.raises(DataError, match=r"oulu-npu/2 \(dev and test\)"):
        development_entries([entry("b", "2", "dev", "oulu")], [entry("c", "2", "test", "oulu-npu")])


def test_shots_may_be_of_people_who_are_tested_and_of_nobody_else() -> None:
    dev, tested = entry("b", "2", "dev"), entry("c", "3", "test")
    shot = entry("c (shot)", "3", "train", **{FEW_SHOT: "target"})
    assert development_entries([dev, tested, shot]) == [dev]
    with pytest.raises(DataError, match=r"branch/2 \(train and dev\)"):
        development_entries([dev, tested, entry("b (shot)", "2", "train", **{FEW_SHOT: "target"})])
