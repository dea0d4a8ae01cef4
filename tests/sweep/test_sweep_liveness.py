"""Every liveness model of the registry."""

from __future__ import annotations

from sweep.model_sweep import ModelSweep

ROOM = "liveness"


class TestModels(ModelSweep):
    """One test of each kind for each model."""
