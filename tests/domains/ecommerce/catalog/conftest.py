"""Small catalogues; what makes them is imported by name: ``from ecommerce import make_shop``."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from ecommerce.make_shop import HashEncoder, picture, row


@pytest.fixture
def encoder() -> HashEncoder:
    return HashEncoder()


@pytest.fixture
def shop(tmp_path: Path) -> Callable[[int], Path]:
    """Return a function that writes a JSON lines table of N products with pictures."""

    def write(count: int, *, name: str = "items.jsonl") -> Path:
        folder = tmp_path / "shop"
        (folder / "img").mkdir(parents=True, exist_ok=True)
        rows = []
        for number in range(count):
            path = folder / "img" / f"{number}.png"
            if not path.exists():
                path.write_bytes(picture((number % 256, number // 256, 90), side=64))
            rows.append(row(number))
        table = folder / name
        table.write_text("".join(json.dumps(one) + "\n" for one in rows), encoding="utf-8")
        return table

    return write
