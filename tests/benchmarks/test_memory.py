"""Peak memory of fresh processes becomes a result row."""

from __future__ import annotations

import pytest
from verticlip.benchmarks.memory import memory_row, peak_mib
from verticlip.core.errors import VerticlipError


@pytest.fixture
def fake_module(tmp_path, monkeypatch):
    """Name of a module whose peer needs ``rows`` MiB and ours a fourth of it."""
    (tmp_path / "fake_peaks.py").write_text(
        "def peak_memory(variant, rows):\n"
        "    if rows < 0: raise ValueError('rows are negative')\n"
        "    return rows if variant == 'peer' else rows / 4\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return "fake_peaks"


@pytest.mark.parametrize(("gate", "passed"), [(4.0, True), (4.1, False)])
def test_row_holds_both_peaks_and_the_verdict(fake_module, gate, passed):
    row = memory_row(fake_module, 100, name="loss", peer_name="dense", gate=gate)
    assert row == {
        "name": "loss",
        "peer_name": "dense",
        "ours_mib": 25.0,
        "peer_mib": 100.0,
        "ratio": 4.0,
        "gate": gate,
        "passed": passed,
    }


def test_a_failing_process_is_reported(fake_module):
    with pytest.raises(VerticlipError, match=r"(?s)loss: measuring 'ours' failed: .*rows are negative"):
        memory_row(fake_module, -1, name="loss", peer_name="dense", gate=2.0)


def test_peak_grows_with_what_a_step_holds():
    assert peak_mib(lambda: bytearray(b"x") * (256 * 1024**2)) > 100
