"""What ground a tile of a model covers: three optional keys of ``ModelConfig.options``."""

from __future__ import annotations

from pydantic import Field

from ...core.config import Config, ModelConfig, parse_config


class TileSettings(Config):
    """The tiles a model was trained on; None where its weights do not say."""

    tile_px: int | None = Field(default=None, ge=1, le=8192)
    """Side of a tile in pixels of the raster."""
    resolution_m: float | None = Field(default=None, gt=0)
    """Ground size of a pixel in meters."""
    sensor: str | None = Field(default=None, pattern=r"^[a-z0-9][a-z0-9_-]*$")
    """Word of a band profile, e.g. ``sentinel-2-rgb8``."""


def tile_settings(config: ModelConfig) -> TileSettings:
    """Return the tile settings of a model of any architecture; keys of other meaning are left alone.

    Raises:
        ConfigError: one of the three keys holds a value that it cannot have.
    """
    own = {key: config.options[key] for key in TileSettings.model_fields if key in config.options}
    return parse_config(TileSettings, own, source=f"{config.name}: options")
