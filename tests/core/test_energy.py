from __future__ import annotations

import pytest
from verticlip.core.energy import CPU_THREAD_WATTS, FACILITY, GRID_G_PER_KWH, estimate_energy


def test_threads_times_watts_times_hours_times_building():
    found = estimate_energy("2 CPU threads", 7200)
    assert found is not None
    assert found.kwh == pytest.approx((2 * 1.7 * 2 / 1000, 2 * 8.6 * 1.58 * 2 / 1000))
    assert found.grams == pytest.approx(tuple(GRID_G_PER_KWH * kwh for kwh in found.kwh))
    for stated in (*CPU_THREAD_WATTS, *FACILITY, GRID_G_PER_KWH):
        assert f"{stated:g}" in found.assumption


@pytest.mark.parametrize(
    ("device", "watts"),
    [
        ("NVIDIA H100 80GB HBM3", 700),
        ("NVIDIA H100 PCIe", 350),
        ("Tesla T4", 70),
        ("NVIDIA A100-SXM4-40GB", 400),
    ],
)
def test_gpus_by_their_rated_power(device, watts):
    found = estimate_energy(device, 3600)
    assert found is not None
    assert found.kwh == pytest.approx((0.4 * watts / 1000, 1.58 * watts / 1000))
    assert f"the {watts} W that the GPU is rated at" in found.assumption


@pytest.mark.parametrize(
    ("device", "seconds"),
    [
        ("", 1),
        ("some accelerator", 1),
        ("1 CPU thread", -1),
        ("1 CPU thread", float("nan")),
        ("x CPU threads", 1),
    ],
)
def test_nothing_is_made_up_for_what_is_not_known(device, seconds):
    assert estimate_energy(device, seconds) is None


def test_no_time_is_no_energy():
    found = estimate_energy("1 CPU thread", 0)
    assert found is not None
    assert found.grams == (0, 0)
