from __future__ import annotations

import importlib

import pytest
from verticlip.core.lazy import lazy_names


@pytest.mark.parametrize("name", ["data", "heads", "metrics", "objectives"])
def test_every_public_name_of_a_package_exists(name: str) -> None:
    package = importlib.import_module(f"verticlip.core.{name}")
    assert sorted(package._HOMES) == sorted(package.__all__)
    for public in package.__all__:
        assert getattr(package, public).__name__ == public


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(AttributeError, match="'verticlip.core' has no attribute 'x'; it has: ConfigError"):
        lazy_names("verticlip.core", {"ConfigError": "errors"})("x")
