"""What ground a tile of a model covers."""

from __future__ import annotations

import pytest
from verticlip.core.config import ModelConfig
from verticlip.core.errors import ConfigError
from verticlip.domains.urban.tile_settings import TileSettings, tile_settings


def config(**options):
    towers = {"image": {"backend": "timm", "architecture": "resnet10t"}}
    return ModelConfig.model_validate(
        {"name": "test/tiles", "embed_dim": 8, "towers": towers, "options": options}
    )


def test_settings_of_any_architecture():
    assert tile_settings(config()) == TileSettings()
    found = tile_settings(config(tile_px=64, resolution_m=10, sensor="sentinel-2-rgb8", other={"a": 1}))
    assert found == TileSettings(tile_px=64, resolution_m=10.0, sensor="sentinel-2-rgb8")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tile_px": 0}, r"test/tiles: options: tile_px: .*greater than or equal to 1 \(got 0\)"),
        ({"resolution_m": -10.0}, r"resolution_m: .*greater than 0 \(got -10.0\)"),
        ({"sensor": "Sentinel 2"}, "sensor"),
    ],
)
def test_values_that_cannot_be(options, message):
    with pytest.raises(ConfigError, match=message):
        tile_settings(config(**options))
