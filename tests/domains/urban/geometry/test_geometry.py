"""The names that users import from the package."""

from __future__ import annotations

from verticlip.domains.urban import geometry


def test_every_name_is_there_and_says_what_it_is():
    for name in geometry.__all__:
        assert getattr(geometry, name).__doc__, name
