from __future__ import annotations

import pytest
from verticlip.core.errors import DependencyError, nearest, require
from verticlip.core.limits import Limits


def test_require_names_the_pip_command():
    with pytest.raises(DependencyError, match=r'pip install "verticlip\[audio\]"'):
        require("surely_not_installed_xyz", extra="audio")
    assert require("json", extra="audio").dumps({}) == "{}"


def test_nearest():
    assert nearest("medcal/tiny", ["medical/tiny", "b"]) == " Did you mean 'medical/tiny'?"
    assert nearest("zzz", ["medical/tiny"]) == ""


def test_limits_name_the_value_and_the_way_out():
    from verticlip.core.errors import ConfigError, LimitError

    limits = Limits().with_(pixels=10)
    limits.check("pixels", 10, what="a.png: pixels")
    with pytest.raises(LimitError, match=r"a.png: pixels 11 is over the limit of 10.*Limits\(pixels=11\)"):
        limits.check("pixels", 11, what="a.png: pixels")
    with pytest.raises(ConfigError, match="Unknown limit 'pixel'"):
        limits.with_(pixel=1)
