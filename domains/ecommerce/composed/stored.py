"""How a catalogue combines pictures and words, once it was fitted: ``compose.json`` in its folder."""

from __future__ import annotations

from pathlib import Path

from ....core.config import read_config
from ....core.files import write_json_atomic
from .query import ComposeSettings

COMPOSE_FILE = "compose.json"


def load_settings(folder: str | Path) -> ComposeSettings:
    """Return the fitted settings of a catalogue's folder, or the defaults where it has none.

    Raises:
        ConfigError: the file is damaged.
    """
    path = Path(folder) / COMPOSE_FILE
    return read_config(ComposeSettings, path) if path.is_file() else ComposeSettings()


def save_settings(folder: str | Path, settings: ComposeSettings) -> Path:
    """Write settings into a catalogue's folder and return where; searches take them from there."""
    path = Path(folder) / COMPOSE_FILE
    write_json_atomic(path, settings.model_dump(mode="json"))
    return path
