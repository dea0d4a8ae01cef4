"""No registered model is left out of the sweep, and each can be looked up and says what it was checked against."""

from __future__ import annotations

import json

import pytest
from sweep.specimens.by_room import specimens_of
from verticlip.core import registry
from verticlip.core.registry import WeightsRef
from verticlip.hub.parity import find_case, replay_parity

SPECS = registry.models()
NO_CASES = {"clap"}
"""Converters of models without golden cases: tests of ``domains/audio/clap`` compare with transformers itself."""

CASES = sorted({case for spec in SPECS.values() for case in spec.parity})


@pytest.mark.parametrize("room", registry.ROOMS)
def test_every_model_has_a_specimen(room):
    found = specimens_of(room)
    for name, spec in registry.room(room).models.items():
        packaged = isinstance(spec.weights, WeightsRef)
        place = f"tests/sweep/specimens/{'packaged' if packaged else room}.py"
        what = (
            'its kind, e.g. Specimen("words and pictures")'
            if packaged
            else "a Specimen that writes small files in the layout of its authors"
        )
        assert name in found, f"{name} is in no sweep: add it to SPECIMENS of {place}, with {what}"
        assert (found[name].make is None) == packaged, f"{name} belongs into {place}"
    unknown = set(found) - set(registry.room(room).models)
    assert not unknown, f"no registered model is called {sorted(unknown)}: take them out of the specimens"


@pytest.mark.parametrize("name", SPECS)
def test_every_model_names_cases_that_exist(name, small_golden):
    spec = SPECS[name]
    assert spec.parity or getattr(spec.weights, "converter", "") in NO_CASES, f"{name} names no golden case"
    for case in spec.parity:
        assert find_case(case, (small_golden,)) is not None, f"tests/golden has no {case}"


@pytest.mark.parametrize("case", CASES)
def test_every_case_passes(case, small_golden):
    """Each once, whatever the number of models that name it."""
    (check,) = replay_parity((case,), small_golden)
    assert check.status == "passed", check.reason
    assert check.compared


def test_every_model_has_a_row_of_the_catalogue(run):
    status, out, _ = run("models", "list", "--json")
    assert status == 0
    rows = [json.loads(line) for line in out.splitlines()]
    assert [row["name"] for row in rows] == list(SPECS)
    for row in rows:
        for key in ("system", "summary", "tasks", "licence", "access", "measured"):
            assert row[key], (row["name"], key)
        assert row["parity"] == list(SPECS[row["name"]].parity)
        for figure in row["measured"]:
            assert figure["value"], row["name"]
            assert figure["command"] or figure["source"], (row["name"], figure)


@pytest.mark.parametrize("name", SPECS)
def test_every_model_can_be_looked_up(run, name, monkeypatch, tmp_path):
    monkeypatch.setenv("VERTICLIP_CACHE", str(tmp_path))
    status, out, _ = run("models", "info", name, "--json")
    assert status == 0
    (row,) = [json.loads(line) for line in out.splitlines()]
    spec = SPECS[name]
    assert (row["name"], row["licence"]) == (name, spec.licence)
    assert row["embed_dim"] == spec.embed_dim
    if not isinstance(spec.weights, WeightsRef):
        assert [file["role"] for file in row["files"]] == [file.role for file in spec.weights.files]
