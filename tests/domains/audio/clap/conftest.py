"""Small CLAP models as transformers writes them; each is made once."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import make_clap


@pytest.fixture(scope="session")
def clap_files(tmp_path_factory):
    """A function: fusion or not -> (files by role, the transformers model, its feature extractor)."""
    made = {}

    def files(*, fusion):
        if fusion not in made:
            made[fusion] = make_clap.saved(tmp_path_factory.mktemp("clap"), fusion=fusion)
        return made[fusion]

    return files
