"""Catalogues with copies in them; what makes them: ``from ecommerce.duplicates import make_copies``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from ecommerce.duplicates.make_copies import PixelEncoder, jpeg, photo, write
from verticlip.domains.ecommerce.catalog.catalog import Catalog

Build = Callable[[Sequence[Mapping[str, Any]]], Catalog]


@pytest.fixture
def build(tmp_path: Path) -> Build:
    """Return a function that makes a catalogue of rows; ``photo=7`` stands for the seventh picture."""

    def make(rows: Sequence[Mapping[str, Any]]) -> Catalog:
        photos = tmp_path / "photos"
        made = []
        for number, given in enumerate(rows):
            row = {"category": "dress", **given}
            if "photo" in row:
                content = row.pop("photo")
                content = jpeg(photo(content)) if isinstance(content, int) else content
                row["image"] = write(photos, f"{number}.jpg", content)
            made.append(row)
        catalog = Catalog.create(tmp_path / "catalog", model=PixelEncoder(), index="flat")
        report = catalog.ingest(made, image_root=photos)
        assert report.rejected == 0
        return catalog

    return make
