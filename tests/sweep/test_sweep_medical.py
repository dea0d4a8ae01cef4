"""Every medical model of the registry."""

from __future__ import annotations

from sweep.model_sweep import ModelSweep

ROOM = "medical"


class TestModels(ModelSweep):
    """One test of each kind for each model."""
