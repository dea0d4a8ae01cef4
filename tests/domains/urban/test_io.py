"""The public names of the room: each in one list, found, and said what it is."""

from __future__ import annotations

from types import ModuleType

import pytest
from verticlip.domains.urban import geometry, io, tasks


@pytest.mark.parametrize("module", [io, tasks], ids=["io", "tasks"])
def test_every_name_is_there_and_says_what_it_is(module: ModuleType):
    for name in module.__all__:
        assert name.isupper() or getattr(module, name).__doc__, name


def test_no_name_stands_in_two_lists():
    assert set(io.__all__).isdisjoint(tasks.__all__)
    assert not hasattr(geometry, "__all__")
