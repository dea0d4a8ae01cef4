from __future__ import annotations

import pytest
from verticlip.core.errors import LimitError
from verticlip.core.limits import Limits


def test_a_fraction_over_a_ceiling_is_shown_and_suggested_as_more_than_it():
    with pytest.raises(LimitError, match=r"^ratio 201 is over the limit of 200\..*inflate_ratio=201\)"):
        Limits().check("inflate_ratio", 200.0000026, what="ratio")
