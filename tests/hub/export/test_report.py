from __future__ import annotations

import json

import pytest
import torch
from verticlip.core.errors import ConfigError, WeightsError
from verticlip.hub.export.report import (
    REPORT_FILE,
    ExportRefused,
    ExportReport,
    check_out,
    compare,
    file_hashes,
    stage,
    write_report,
)

ONE = torch.tensor([1.0, 2.0])


def report(*checks):
    return ExportReport("onnx", {"a": "0" * 64}, checks, 1e-5, {"torch": "2"}, model="a/b", revision="c")


def test_a_comparison_says_how_far_off_it_is():
    same = compare("x", ONE, ONE, 0.0)
    assert (same.status, same.error, same.tolerance) == ("ok", 0.0, 0.0)
    near = compare("x", ONE + 0.25, ONE.numpy(), 0.25)
    assert (near.status, near.error) == ("ok", 0.25)
    far = compare("x", [1.0, 2.5], ONE, 0.25)
    assert (far.status, far.error) == ("over", 0.5)


def test_another_shape_and_what_is_not_finite_fail():
    other = compare("x", ONE[:1], ONE, 1.0)
    assert (other.status, other.error, other.note) == ("shape", None, "got [1], expected [2]")
    broken = torch.tensor([1.0, float("nan")])
    for got, expected in ((broken, ONE), (ONE, broken), (broken, broken), (broken * torch.inf, ONE)):
        assert compare("x", got, expected, torch.inf).status == "over"


def test_a_report_passes_only_if_something_was_compared_and_all_of_it_held():
    good, bad = compare("x", ONE, ONE, 0.0), compare("y", ONE, ONE + 1, 0.0)
    assert report(good).passed
    report(good).require_passed()
    for checks in ((), (good, bad)):
        made = report(*checks)
        assert not made.passed
        with pytest.raises(ExportRefused) as caught:
            made.require_passed()
        assert caught.value.report is made
    assert isinstance(caught.value, WeightsError)
    said = "The onnx export of a/b does not agree with the model: y is off by 1 where 0 is allowed. Nothing"
    assert str(caught.value).startswith(said)
    with pytest.raises(ExportRefused, match="nothing was compared"):
        report().require_passed()
    with pytest.raises(ExportRefused, match=r"\(and 2 more\)"):
        report(*[bad] * 5).require_passed()
    with pytest.raises(ExportRefused, match=r"x \(got \[1\], expected \[2\]\)"):
        report(compare("x", ONE[:1], ONE, 1.0)).require_passed()


def test_a_report_is_plain_json(tmp_path):
    made = report(compare("x", torch.tensor([torch.nan]), torch.tensor([0.0]), 1.0))
    (tmp_path / "a").write_text("text")
    write_report(tmp_path, made)
    read = json.loads((tmp_path / REPORT_FILE).read_text(), parse_constant=pytest.fail)
    assert read == made.to_dict()
    assert (read["passed"], read["checks"][0]["error"]) == (False, "inf")


def test_hashes_are_those_of_the_files_without_the_report(tmp_path):
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "b").write_bytes(b"")
    (tmp_path / REPORT_FILE).write_text("{}")
    nothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert file_hashes(tmp_path) == {"inner/b": nothing}


@pytest.mark.parametrize("exists", [False, True])
def test_a_folder_appears_when_all_is_done(tmp_path, exists):
    out = tmp_path / "new" / "out"
    if exists:
        out.mkdir(parents=True)
    with stage(out) as folder:
        (folder / "file").write_text("whole")
        assert not (out / "file").exists()
    assert [path.name for path in tmp_path.rglob("*")] == ["new", "out", "file"]
    assert out.stat().st_mode & 0o777 == tmp_path.joinpath("new").stat().st_mode & 0o777


def test_nothing_is_left_of_an_export_that_fails(tmp_path):
    with pytest.raises(ZeroDivisionError), stage(tmp_path / "out") as folder:
        (folder / "file").write_text("half")
        raise ZeroDivisionError
    assert not list(tmp_path.iterdir())


def test_what_is_there_is_never_overwritten(tmp_path):
    full = tmp_path / "full"
    full.mkdir()
    (full / "mine").write_text("keep")
    with pytest.raises(
        ConfigError, match="full is not empty. Name a new folder: an export overwrites nothing"
    ):
        check_out(full)
    with pytest.raises(ConfigError, match="is not empty"), stage(full):
        pytest.fail("nothing may be staged")
    with pytest.raises(ConfigError, match="mine is not a folder. Name a new folder"):
        check_out(full / "mine")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="dangling is not a folder"):
        check_out(tmp_path / "dangling")
    with pytest.raises(ConfigError, match="is not empty"), stage(tmp_path / "late") as folder:
        (folder / "ours").write_text("new")
        (tmp_path / "late").mkdir()
        (tmp_path / "late" / "theirs").write_text("first")
    assert [path.name for path in (tmp_path / "late").iterdir()] == ["theirs"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dangling", "full", "late"]


def test_a_link_to_an_empty_folder_stays_one(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with stage(tmp_path / "link") as folder:
        (folder / "file").write_text("whole")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real" / "file").is_file()
