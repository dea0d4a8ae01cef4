"""Replaying stored cases: errors against tolerances, and nothing passes by being absent."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import pytest
import torch
from safetensors.torch import save_file
from verticlip.core import registry, verify
from verticlip.core.errors import ConfigError, InputError


@pytest.fixture
def system(monkeypatch) -> ModuleType:
    """A domain system "toy" with the cases "double" and "double.more"."""
    module = ModuleType("toy_goldens")
    module.seen = []

    def replay(config, inputs, case_dir):
        module.seen.append((config["case"], sorted(inputs), case_dir))
        return {"y": inputs["x"] * 2}

    module.CASES = {"double": replay, "double.more": replay}
    module.TOLERANCES = {"double": (1e-3, 0.0), "double.more": (0.0, 0.5)}
    medical = registry.room("medical")
    monkeypatch.setitem(medical.goldens, "toy", "unused")
    monkeypatch.setattr(registry.Room, "module", lambda self, kind, word: module)
    return module


def make_case(folder: Path, case: str = "double", **outputs: torch.Tensor) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"case": case}))
    save_file({"x": torch.tensor([1.0, 2.0])}, folder / "inputs.safetensors")
    save_file(outputs or {"y": torch.tensor([2.0, 4.0])}, folder / "outputs.safetensors")
    return folder


def test_equal_outputs_pass(system, tmp_path: Path) -> None:
    report = verify.replay("toy", make_case(tmp_path / "case"))
    assert report.passed
    assert report.checks == (verify.OutputCheck("y", "ok", 0.0, pytest.approx(4e-3)),)
    assert system.seen == [("double", ["x"], tmp_path / "case")]


def test_an_output_over_its_tolerance_fails(system, tmp_path: Path) -> None:
    report = verify.replay("toy", make_case(tmp_path / "case", y=torch.tensor([2.0, 4.01])))
    assert not report.passed
    assert report.checks[0].status == "over"
    assert report.checks[0].error == pytest.approx(0.01, rel=1e-3)


def test_the_longest_known_name_replays_a_suffixed_case(system, tmp_path: Path) -> None:
    report = verify.replay("toy", make_case(tmp_path / "case", "double.more_2", y=torch.tensor([2.0, 4.4])))
    assert report.passed
    assert (report.case, report.checks[0].tolerance) == ("double.more_2", 0.5)


def test_a_tolerance_function_is_asked(system, tmp_path: Path) -> None:
    system.tolerance = lambda case, name, expected: 7.0 if (case, name) == ("double", "y") else 0.0
    assert verify.replay("toy", make_case(tmp_path / "case", y=torch.tensor([2.0, 10.0]))).passed


def test_a_measure_of_its_own_takes_the_place_of_the_largest_difference(system, tmp_path: Path) -> None:
    system.error = lambda case, name, got, expected: float((got - expected).square().mean().sqrt())
    report = verify.replay("toy", make_case(tmp_path / "case", y=torch.tensor([2.0, 4.005])))
    assert report.passed
    assert report.checks[0].error == pytest.approx(0.005 / 2**0.5, rel=1e-3)
    system.error = lambda case, name, got, expected: None
    assert not verify.replay("toy", make_case(tmp_path / "again", y=torch.tensor([2.0, 4.005]))).passed
    system.error = lambda case, name, got, expected: float("nan")
    assert not verify.replay("toy", make_case(tmp_path / "nan")).passed


def test_outputs_that_are_not_made_fail_unless_documented(system, tmp_path: Path) -> None:
    folder = make_case(tmp_path / "case", y=torch.tensor([2.0, 4.0]), z=torch.zeros(1))
    report = verify.replay("toy", folder)
    assert not report.passed
    assert report.checks[1] == verify.OutputCheck("z", "not replayed")
    system.NOT_REPLAYED = {"double": {"z": "needs the other library"}}
    report = verify.replay("toy", folder)
    assert report.passed
    assert report.checks[1] == verify.OutputCheck("z", "documented", note="needs the other library")


def test_nothing_compared_is_not_a_pass(system, tmp_path: Path) -> None:
    system.NOT_REPLAYED = {"double": {"z": "no"}}
    assert not verify.replay("toy", make_case(tmp_path / "case", z=torch.zeros(1))).passed


def test_another_shape_fails(system, tmp_path: Path) -> None:
    report = verify.replay("toy", make_case(tmp_path / "case", y=torch.zeros(2, 1)))
    assert not report.passed
    assert report.checks[0] == verify.OutputCheck("y", "shape", note="got [2], expected [2, 1]")


@pytest.mark.parametrize(
    ("got", "expected", "error"),
    [
        ([1.0, 2.0], [1.0, 2.5], 0.5),
        ([float("nan"), float("inf")], [float("nan"), float("inf")], 0.0),
        ([float("nan")], [1.0], float("inf")),
        ([1.0], [float("inf")], float("inf")),
        ([float("inf")], [float("-inf")], float("inf")),
        ([], [], 0.0),
    ],
)
def test_largest_error(got: list[float], expected: list[float], error: float) -> None:
    assert verify.largest_error(torch.tensor(got), torch.tensor(expected)) == error


def test_largest_error_of_integers_and_booleans() -> None:
    assert verify.largest_error(torch.tensor([1, 5]), torch.tensor([1, 3])) == 2
    assert verify.largest_error(torch.tensor([True, False]), torch.tensor([True, True])) == 1


def test_unknown_systems_and_cases_list_the_known(system, tmp_path: Path) -> None:
    folder = make_case(tmp_path / "case", "dubble")
    with pytest.raises(ConfigError, match=r"No golden system 'toi'; there are: core, .*Did you mean 'toy'"):
        verify.replay("toi", folder)
    with pytest.raises(
        ConfigError, match=r"no case 'dubble'. Did you mean 'double'.* Known: double, double.more"
    ):
        verify.replay("toy", folder)


def test_incomplete_folders_are_named(system, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere: no such folder"):
        verify.replay("toy", tmp_path / "nowhere")
    folder = make_case(tmp_path / "case")
    (folder / "outputs.safetensors").write_bytes(b"short")
    with pytest.raises(InputError, match=r"outputs\.safetensors: not a whole safetensors file"):
        verify.replay("toy", folder)
    (folder / "inputs.safetensors").unlink()
    with pytest.raises(InputError, match=r"inputs\.safetensors is missing"):
        verify.replay("toy", folder)
    (folder / "config.json").write_text("[]")
    with pytest.raises(InputError, match="expected a mapping, got list"):
        verify.replay("toy", folder)
    (folder / "config.json").unlink()
    with pytest.raises(InputError, match=r"neither config\.json nor case\.json is here"):
        verify.replay("toy", folder)


def test_case_json_and_folder_names_serve_too(system, tmp_path: Path) -> None:
    folder = make_case(tmp_path / "double")
    (folder / "config.json").rename(folder / "case.json")
    (folder / "case.json").write_text("{}")
    assert verify.replay("toy", folder).passed


def test_every_declared_system_can_be_opened() -> None:
    # Systems of which further cases exist under any name replay those like the one they declare.
    flexible = {"unimed_clip", "conceptclip", "biovil", "clipsep", "clipsonic"}
    for name in set(verify.systems()) - flexible:
        with pytest.raises(ConfigError, match="has no case 'no-such-case'"):
            verify._find(name, "no-such-case")
    for name in flexible:
        module, known = verify._find(name, "no-such-case")
        assert known == module.ANY_CASE
        assert known in module.CASES
