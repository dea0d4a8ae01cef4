"""The parameters of simulated attacks: train and test never meet, and draws stay inside."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError
from verticlip.core.errors import ConfigError
from verticlip.domains.liveness.simulate.families import FAMILIES
from verticlip.domains.liveness.simulate.ranges import (
    PARTS,
    Draw,
    Range,
    check_families,
    check_part,
    load_ranges,
    strength_of,
)
from verticlip.domains.liveness.taxonomy import load_taxonomy

RANGES = load_ranges()
OWNERS = {"camera": RANGES.camera, **RANGES.families}
PARAMETERS = [(owner, name) for owner, drawn in OWNERS.items() for name in drawn.parameters]


@pytest.mark.parametrize(("owner", "name"), PARAMETERS)
def test_no_value_of_train_is_one_of_test(owner, name):
    given = OWNERS[owner].parameters[name]
    if not given.is_number:
        assert not set(given.words("train")) & set(given.words("test"))
        return
    for low, high in given.intervals("train"):
        for start, end in given.intervals("test"):
            assert high < start or end < low


@pytest.mark.parametrize(("owner", "name"), PARAMETERS)
@pytest.mark.parametrize("part", PARTS)
def test_draws_lie_in_their_part(owner, name, part):
    given = OWNERS[owner].parameters[name]
    for seed in range(20):
        draw = Draw(OWNERS[owner], part, np.random.default_rng(seed))
        if given.is_number:
            value = draw.number(name)
            assert any(low <= value <= high for low, high in given.intervals(part))
            assert draw.number(name) == value
        else:
            assert draw.word(name) in given.words(part)


def test_every_interval_is_drawn_from():
    given = RANGES.families["print"].parameters["pitch"]
    values = [
        Draw(RANGES.families["print"], "train", np.random.default_rng(seed)).number("pitch")
        for seed in range(60)
    ]
    for low, high in given.intervals("train"):
        assert any(low <= value <= high for value in values)


@pytest.mark.parametrize(
    ("train", "test", "words"),
    [
        ([[0.0, 0.5]], [[0.5, 1.0]], "must be apart"),
        ([[0.0, 0.7]], [[0.5, 1.0]], "must be apart"),
        ([[0.0, 1.0]], [[0.4, 0.5]], "must be apart"),
        ([[0.6, 0.5]], [[0.7, 1.0]], "ends before it begins"),
        (["round"], ["line", "round"], "round is in train and in test"),
        (["round"], [[0.0, 1.0]], "both words"),
    ],
)
def test_overlap_is_refused(train, test, words):
    with pytest.raises(ValidationError, match=words):
        Range.model_validate({"train": train, "test": test})


def test_families_are_those_that_can_be_made_and_their_categories_exist():
    assert set(RANGES.families) == set(FAMILIES)
    taxonomy = load_taxonomy("default")
    for family in RANGES.families.values():
        assert family.category in taxonomy.ids
        assert taxonomy.index(family.category) in taxonomy.attacks


def test_strength_runs_from_weak_to_strong():
    low_light = RANGES.families["low_light"]
    ((low, high),) = low_light.parameters["exposure"].intervals("test")
    assert strength_of(low_light, "test", {"exposure": low}) == 1.0
    assert strength_of(low_light, "test", {"exposure": high}) == pytest.approx(0.0)
    screen = RANGES.families["screen"]
    ((low, high),) = screen.parameters["contrast"].intervals("test")
    assert strength_of(screen, "test", {"contrast": low}) == 0.0
    assert strength_of(screen, "test", {"contrast": (low + high) / 2}) == pytest.approx(0.5)


def test_unknown_names_are_told_with_the_nearest():
    with pytest.raises(ConfigError, match=r"'screens'.*Did you mean 'screen'"):
        check_families(["screens"])
    with pytest.raises(ConfigError, match="'tets' is not train or test"):
        check_part("tets")
    assert check_families([]) == tuple(FAMILIES)
