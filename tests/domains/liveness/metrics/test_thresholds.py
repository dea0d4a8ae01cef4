"""Rules that fix the threshold."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from liveness.metrics import pad_oracle
from verticlip.core.errors import ConfigError, DataError, InputError
from verticlip.domains.liveness.metrics.iso import iso_report
from verticlip.domains.liveness.metrics.thresholds import MODES, Rule, choose, parse_rule, settle

rows_of = st.lists(
    st.tuples(
        st.one_of(st.none(), st.integers(0, 12).map(lambda n: n / 12)),
        st.sampled_from(["bona_fide", "print", "display"]),
    ),
    max_size=40,
).map(lambda rows: [*rows, (0.75, "bona_fide"), (0.25, "print")])
rates = st.sampled_from([0.0, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0])


def columns(rows):
    return [score for score, _ in rows], [name for _, name in rows]


@given(rows_of, rates)
def test_the_smallest_threshold_that_holds_apcer_down(rows, allowed):
    scores, species = columns(rows)
    found = choose(Rule("dev_apcer", allowed), scores, species)
    assert found.report.apcer_max <= allowed
    lower = [score for score in scores if score is not None and score < found.value]
    assert all(pad_oracle.iso(scores, species, one)["apcer_max"] > allowed for one in lower)


@given(rows_of, rates)
def test_the_largest_threshold_that_holds_bpcer_down(rows, allowed):
    found = choose(Rule("dev_bpcer", allowed), *columns(rows))
    assert found.value == pad_oracle.dev_bpcer(*columns(rows), allowed)
    assert found.report.bpcer.value <= allowed


@given(rows_of)
def test_equal_errors_among_responses(rows):
    responses = [(score, name == "bona_fide") for score, name in rows if score is not None]
    scores, live = [score for score, _ in responses], [label for _, label in responses]
    expected = pad_oracle.equal_error(scores, live, [*sorted(set(scores)), math.inf])
    found = choose("dev_eer", *columns(rows))
    assert (found.eer, found.value) == expected


@given(rows_of, st.sampled_from(["dev_eer", "dev_apcer=0.1", "dev_bpcer=0.1"]))
def test_margins_find_the_same_decisions(rows, rule):
    scores, species = columns(rows)
    # A strictly rising function of the score.
    margins = [None if score is None else 40 * score**3 - 7 for score in scores]
    found, by_margin = choose(rule, scores, species), choose(rule, scores, species, margins=margins)
    assert by_margin.value == found.value
    assert found.margin is None
    assert by_margin.report.apcer == found.report.apcer
    assert by_margin.report.bpcer == found.report.bpcer


@given(rows_of, rows_of, st.sampled_from(["dev_eer", "dev_apcer=0.05", "dev_bpcer=0.05"]))
def test_a_threshold_carries_over_as_a_number(dev, test, rule):
    threshold = choose(rule, *columns(dev)).value
    assert (
        iso_report(*columns(test), threshold).apcer_max
        == pad_oracle.iso(*columns(test), threshold)["apcer_max"]
    )


def test_saturated_scores_are_told_apart_by_margins():
    species = ["bona_fide"] * 3 + ["print"] * 3
    scores = [1.0, 1.0, 1.0, 1.0, 0.2, None]
    margins = [60.0, 52.0, 45.0, 41.0, -1.4, None]
    blind = choose("dev_apcer=0", scores, species)
    assert blind.value == math.inf
    assert blind.report.bpcer.value == 1
    found = choose("dev_apcer=0", scores, species, margins=margins)
    assert (found.value, found.margin) == (1.0, 45.0)
    assert (found.report.apcer_max, found.report.bpcer.value) == (0, 0)
    assert found.counts == {"bona_fide": 3, "print": 3}


def test_all_or_nothing():
    # The best attack outdoes every bona fide: only refusing all keeps the rule.
    assert choose("dev_apcer=0.01", [0.4, 0.6], ["bona_fide", "print"]).value == math.inf
    # Refusing all would keep a BPCER of 100 %, and so does the highest score.
    assert choose("dev_bpcer=1", [0.4, 0.6], ["bona_fide", "print"]).value == 0.6
    assert choose("dev_bpcer=0", [None, None], ["bona_fide", "print"]).value == math.inf
    # Non-responses stay in N: one of four may be refused, and the responses are two.
    found = choose("dev_bpcer=0.25", [0.4, 0.6, None, None, 0.1], ["bona_fide"] * 4 + ["print"])
    assert found.value == 0.6


def test_non_responses_do_not_make_refusing_everyone_a_way_to_keep_bpcer():
    scores = [0.9, 0.8, *[None] * 198, 0.1]
    found = choose("dev_bpcer=0.01", scores, ["bona_fide"] * 200 + ["print"])
    assert found.value == 0.9
    assert found.report.bpcer.errors == 1


def test_settled_thresholds_decide_as_before():
    margins = [1.0, 1.0 + 1e-7, 5.0, None, -3.0]
    for chosen in (1.0, 1.0 + 1e-7, 5.0, -3.0):
        settled = settle(chosen, margins)
        assert settled < chosen
        for margin in (one for one in margins if one is not None):
            assert (margin >= settled) == (margin >= chosen)
    assert settle(5.0, margins) == pytest.approx(5.0, abs=1e-4)
    # The same presentation, scored in another batch.
    assert settle(5.0, margins) <= 5.0 - 2e-5
    assert settle(math.inf, margins) == math.inf


def test_fixed_thresholds_need_no_set_to_be_found_on():
    found = choose("fixed=0.5", [0.5, 0.4], ["print", "print"])
    assert (found.value, found.margin, found.report.apcer_max, found.eer) == (0.5, None, 0.5, None)
    assert choose(Rule("fixed", math.inf), [0.5], ["print"]).report.apcer_max == 0


def test_the_oracle_is_marked():
    found = choose("test_eer", [0.9, 0.1], ["bona_fide", "print"])
    assert found.oracle_threshold
    assert parse_rule("test_eer").oracle
    assert not parse_rule("test_eer").needs_dev
    assert not choose("dev_eer", [0.9, 0.1], ["bona_fide", "print"]).oracle_threshold


@pytest.mark.parametrize(
    "text", ["dev_eer", "dev_apcer=0.01", "dev_bpcer=0.01", "fixed=0.5", "fixed=-Infinity"]
)
def test_rules_are_written_as_they_are_read(text):
    assert str(parse_rule(text)) == text
    assert parse_rule(parse_rule(text)) == parse_rule(text)


def test_modes_are_rules():
    assert {mode: str(parse_rule(mode)) for mode in MODES} == MODES


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dev_err", r"No threshold rule 'dev_err'. Did you mean 'dev_eer'\?.*modes: secure, balanced"),
        ("dev_eer=0.1", "dev_eer takes no number"),
        ("dev_apcer", "dev_apcer needs a number.*dev_apcer=0.01"),
        ("dev_apcer=1%", "dev_apcer is '1%'"),
        ("dev_bpcer=5", "a fraction from 0 to 1 .0.01 is 1 %., got 5"),
        ("fixed=nan", "expected a number"),
        ("", "No threshold rule ''"),
    ],
)
def test_bad_rules(text, message):
    with pytest.raises(ConfigError, match=message):
        parse_rule(text)


@pytest.mark.parametrize("rule", ["dev_eer", "dev_apcer=0.1", "dev_bpcer=0.1", "test_eer"])
def test_a_set_of_one_class(rule):
    with pytest.raises(DataError, match=f"{rule} needs bona fide and attack.*0 bona fide and 2 attack"):
        choose(rule, [0.1, 0.2], ["print", "mask"])


@pytest.mark.parametrize(
    ("margins", "message"),
    [
        ([1.0], "1 margins for 2 scores"),
        ([1.0, None], "a score 0.1 and a margin None; give both or none"),
        ([1.0, 2.0], "the larger margin 2 has the smaller score 0.1"),
    ],
)
def test_margins_that_do_not_fit(margins, message):
    with pytest.raises(InputError, match=message):
        choose("dev_eer", [0.9, 0.1], ["bona_fide", "print"], margins=margins)
