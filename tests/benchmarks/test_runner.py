"""The runner with fake workloads: order, ratios, verdicts, exit codes and output."""

from __future__ import annotations

import json
import sys
import types

import pytest
from verticlip.benchmarks import runner
from verticlip.benchmarks.runner import Workload, require_at_least, run_workload
from verticlip.core.errors import ConfigError, DependencyError, VerticlipError


class Clock:
    """A clock that only the workloads move."""

    def __init__(self) -> None:
        self.now = 0.0
        self.calls: list[str] = []

    def __call__(self) -> float:
        return self.now

    def task(self, name: str, *seconds: float):
        steps = iter(seconds * 50)

        def run() -> None:
            self.calls.append(name)
            self.now += next(steps)

        return run


def make(clock: Clock, *, peer=(6.0,), gate: float = 2.0, **more) -> Workload:
    return Workload("work", clock.task("ours", 2.0), clock.task("peer", *peer), "the peer", gate, **more)


def test_variants_take_turns_and_warm_ups_do_not_count() -> None:
    clock = Clock()
    # Two warm-up turns of 100 s, then 4, 5, 6, 7, 8.
    row = run_workload(make(clock, peer=(100.0, 100.0, 4.0, 5.0, 6.0, 7.0, 8.0)), clock=clock)
    assert clock.calls[:6] == ["peer", "ours", "ours", "peer", "peer", "ours"]
    assert clock.calls.count("ours") == clock.calls.count("peer") == 7
    assert row["ours"] == {"median": 2.0, "min": 2.0, "max": 2.0}
    assert row["peer"] == {"median": 6.0, "min": 4.0, "max": 8.0}
    assert (row["ratio"], row["ratio_min"], row["ratio_max"]) == (3.0, 2.0, 4.0)
    assert row["met"]
    assert not row["failed"]


@pytest.mark.parametrize(
    ("gate", "met", "failed"), [(3.0, True, False), (5.9, False, False), (6.1, False, True)]
)
def test_a_row_fails_only_below_half_of_its_gate(gate: float, met: bool, failed: bool) -> None:
    clock = Clock()
    row = run_workload(make(clock, gate=gate), clock=clock)
    assert (row["met"], row["failed"]) == (met, failed)


def test_wrong_results_fail_the_row_without_timing_it() -> None:
    clock = Clock()
    row = run_workload(make(clock, check=lambda: require_at_least({"cosine": 0.5}, cosine=0.9)), clock=clock)
    assert row["failed"]
    assert row["error"] == "cosine is 0.5000000, below 0.9."
    assert clock.calls == []


def test_correctness_figures_are_kept() -> None:
    clock = Clock()
    row = run_workload(make(clock, check=lambda: {"cosine": 0.95}), clock=clock)
    assert row["check"] == {"cosine": 0.95}
    assert run_workload(make(clock, check=lambda: None), clock=clock)["check"] == {}


def test_a_figure_that_is_not_a_number_is_out_of_bounds() -> None:
    with pytest.raises(VerticlipError, match="cosine is nan"):
        require_at_least({"cosine": float("nan")}, cosine=0.9)
    assert require_at_least({"cosine": 0.9}, cosine=0.9) == {"cosine": 0.9}


def test_fresh_processes_report_the_number_they_print_last() -> None:
    work = Workload("w", lambda: "print('talk'); print(2)", lambda: "print(5)", "p", 2.0, fresh_process=True)
    row = run_workload(work, rounds=1, warm_ups=0)
    assert row["ratio"] == 2.5


def test_a_failing_process_fails_its_row_with_the_reason() -> None:
    work = Workload(
        "w", lambda: "raise SystemExit('no disk')", lambda: "print(5)", "p", 2.0, fresh_process=True
    )
    row = run_workload(work, rounds=1, warm_ups=0)
    assert row["failed"]
    assert "A benchmark process failed: no disk" in row["error"]


@pytest.fixture
def fake_module(monkeypatch: pytest.MonkeyPatch):
    """Make ``fake`` the only benchmark; the test fills in its workloads."""
    module = types.ModuleType("verticlip.benchmarks.fake")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(runner, "MODULES", ("fake",))
    return module


def task(count: int):
    return lambda: sum(range(count))


def test_main_writes_json_and_a_table(fake_module, tmp_path, capsys) -> None:
    seen: list[bool] = []

    def workloads(quick: bool) -> list[Workload]:
        seen.append(quick)
        return [Workload("sum", task(1000), task(1_000_000), "a longer sum", 2.0, lambda: {"cosine": 1.0})]

    fake_module.workloads = workloads
    fake_module.extra_rows = lambda quick: [
        {
            "name": "memory",
            "peer_name": "p",
            "ours_mib": 1,
            "peer_mib": 8,
            "ratio": 8,
            "gate": 2,
            "passed": True,
        }
    ]
    out = tmp_path / "runs" / "bench.json"
    assert runner.main(["--quick", "--only", "fake", "--out", str(out)]) == 0
    assert seen == [True]
    report = json.loads(out.read_text())
    assert [row["name"] for row in report["rows"]] == ["sum", "memory"]
    assert all(row["module"] == "fake" and row["met"] and not row["failed"] for row in report["rows"])
    assert report["clock"] == "process CPU time"
    assert report["machine"]["threads"] == 1
    assert report["machine"]["versions"]["torch"]
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "cosine=1" in captured.err
    assert "ok" in captured.err
    assert runner.main([]) == 0
    assert json.loads(capsys.readouterr().out)["quick"] is False


def test_main_fails_on_wrong_results_and_on_half_of_a_gate(fake_module, capsys) -> None:
    fake_module.workloads = lambda quick: [
        Workload("bad", task(1), task(1), "p", 2.0, lambda: require_at_least({"cosine": 0.0}, cosine=1.0))
    ]
    assert runner.main([]) == 1
    assert "WRONG: cosine is 0.0000000, below 1.0." in capsys.readouterr().err
    row = {"name": "memory", "peer_name": "p", "ours_mib": 1, "peer_mib": 1, "gate": 4, "passed": False}
    fake_module.workloads = lambda quick: []
    fake_module.extra_rows = lambda quick: [{**row, "ratio": 1.9}]
    assert runner.main([]) == 1
    assert "FAILED" in capsys.readouterr().err
    fake_module.extra_rows = lambda quick: [{**row, "ratio": 2.1}]
    assert runner.main([]) == 0
    assert "below gate" in capsys.readouterr().err


def test_a_missing_extra_is_skipped_aloud(fake_module, capsys) -> None:
    def workloads(quick: bool) -> list[Workload]:
        raise DependencyError("'pydicom' is needed here")

    fake_module.workloads = workloads
    assert runner.main([]) == 0
    captured = capsys.readouterr()
    assert "SKIPPED: 'pydicom' is needed here" in captured.err
    assert json.loads(captured.out)["rows"][0]["skipped"]


def test_bad_options_are_refused(capsys) -> None:
    with pytest.raises(
        ConfigError, match=r"No benchmark 'image_embeds'; known: .*Did you mean 'image_embed'\?"
    ):
        runner.run(["image_embeds"])
    with pytest.raises(ConfigError, match="2 threads need --wall"):
        runner.run([], threads=2)
    assert runner.main(["--only", "nothing"]) == 2
    assert "No benchmark 'nothing'" in capsys.readouterr().err
