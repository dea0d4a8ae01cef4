"""Runs of these tests draw no curves: a quarter of a second each, and core's own tests look at them."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="module", autouse=True)
def no_curves():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("verticlip.core.train.save_curves", lambda *args, **kwargs: None)
        yield
