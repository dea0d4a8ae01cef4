"""What a training run took from the grid, as a range: nothing was metered, so nothing finer can be said."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

CPU_THREAD_WATTS = (1.7, 8.6)
"""Power of one busy hardware thread of a server: the smallest and the largest figure, AMD EPYC of the second
generation and Intel Sandy Bridge, that Cloud Carbon Footprint derives from SPECpower_ssj2008 results."""

GPU_WATTS = {
    "H200": 700.0,
    "H100 PCIe": 350.0,
    "H100": 700.0,
    "A100": 400.0,
    "L4": 72.0,
    "T4": 70.0,
    "V100": 300.0,
    "RTX 4090": 450.0,
    "RTX 3090": 350.0,
}
"""Rated board power by a word of the device's name, from NVIDIA's data sheets; the first that fits counts."""

GPU_LOAD = (0.4, 1.0)
"""Share of the rated power that a board draws while it trains; small models leave it waiting."""

FACILITY = (1.0, 1.58)
"""Energy of the building over that of the machine: none, and the average that data centers reported to the
Uptime Institute's survey of 2023."""

GRID_G_PER_KWH = 480.0
"""Grams of CO2 equivalent per kWh: average of the world's electricity in 2023, Ember, Global Electricity
Review 2024. Where a run took place is not recorded; grids of single countries are far cleaner or dirtier."""


@dataclass(frozen=True)
class EnergyEstimate:
    """Bounds on what a run took.

    Attributes:
        kwh, grams: lowest and highest estimate of energy in kWh and of CO2 equivalent in g.
        assumption: how they came about, for people.
    """

    kwh: tuple[float, float]
    grams: tuple[float, float]
    assumption: str


def estimate_energy(device: str, seconds: float) -> EnergyEstimate | None:
    """Return bounds on the energy of a run, or None where nothing is known of its device.

    Args:
        device: as :func:`verticlip.core.provenance.describe_device` has it: ``2 CPU threads``, a GPU's name.
        seconds: how long it ran.

    Example:
        >>> estimate_energy("2 CPU threads", 3600).kwh[0]
        0.0034
    """
    if not math.isfinite(seconds) or seconds < 0:
        return None
    threads = re.fullmatch(r"(\d+) CPU threads?", device)
    if threads:
        count = int(threads[1])
        watts = (count * CPU_THREAD_WATTS[0], count * CPU_THREAD_WATTS[1])
        said = f"{CPU_THREAD_WATTS[0]:g} to {CPU_THREAD_WATTS[1]:g} W for each CPU thread"
    else:
        rated = next((power for word, power in GPU_WATTS.items() if word in device), None)
        if rated is None:
            return None
        watts = (rated * GPU_LOAD[0], rated * GPU_LOAD[1])
        said = f"{GPU_LOAD[0]:.0%} to {GPU_LOAD[1]:.0%} of the {rated:g} W that the GPU is rated at"
    hours = seconds / 3600
    kwh = (watts[0] * FACILITY[0] * hours / 1000, watts[1] * FACILITY[1] * hours / 1000)
    assumption = (
        f"{said}, times {FACILITY[0]:g} to {FACILITY[1]:g} for the building, times the recorded time; "
        f"{GRID_G_PER_KWH:g} g of CO2 equivalent per kWh, the world's average of 2023, because the place is "
        "not "
        "recorded"
    )
    return EnergyEstimate(kwh, (kwh[0] * GRID_G_PER_KWH, kwh[1] * GRID_G_PER_KWH), assumption)
