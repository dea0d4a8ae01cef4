"""Specimens of the registered models, by room; see ``specimen.py``."""

from __future__ import annotations

import importlib

from .specimen import Specimen


def specimens_of(room: str) -> dict[str, Specimen]:
    """Return {name of a model: its specimen} of a room, those in the package first."""
    packaged = importlib.import_module(f"{__package__}.packaged").SPECIMENS
    own = importlib.import_module(f"{__package__}.{room}").SPECIMENS
    return {**{name: one for name, one in packaged.items() if name.startswith(f"{room}/")}, **own}
