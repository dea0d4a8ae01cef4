"""Relevance as a record: plain values, a heat map, an overlay only over its own pixels."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest
from verticlip.core.errors import InputError
from verticlip.domains.liveness.explain.relevance import Relevance

FOUND = Relevance(((0.0, 1.0), (-2.0, 0.5)), "print_photo", 1.25, (10, 20, 50, 80), (100, 120))


def test_read_as_written():
    assert Relevance.from_dict(json.loads(json.dumps(asdict(FOUND)))) == FOUND


def test_heat_map_is_in_pixels_of_the_box():
    found = FOUND.heat_map(id="a", model="m")
    assert tuple(found.values.shape) == (60, 40)
    assert found.value_range == (-2.0, 2.0)
    assert (found.phrase, found.score) == ("print_photo", 1.25)
    assert FOUND.peak == (40.0, 35.0)
    x, y = found.peak
    assert x >= 20
    assert y < 30


def test_overlay_needs_the_pixels_of_the_box(tmp_path):
    FOUND.save_overlay(tmp_path / "map.png", np.full((60, 40, 3), 90, np.uint8), model="m", revision="r")
    assert (tmp_path / "map.png").read_bytes()[:4] == b"\x89PNG"
    with pytest.raises(InputError, match="The map covers 40 x 60 pixels, the picture has 120 x 100"):
        FOUND.save_overlay(tmp_path / "other.png", np.zeros((100, 120, 3), np.uint8))
    assert not (tmp_path / "other.png").exists()
