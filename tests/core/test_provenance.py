"""Records say when and by what they were made."""

from __future__ import annotations

from datetime import datetime, timedelta
from importlib import metadata

from verticlip.core import provenance


def test_the_time_is_utc_to_the_second():
    found = datetime.fromisoformat(provenance.now())
    assert found.utcoffset() == timedelta(0)
    assert found.microsecond == 0


def test_a_bare_checkout_has_no_version(monkeypatch):
    def absent(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", lambda name: f"1.2 of {name}")
    assert provenance.version() == "1.2 of verticlip"
    monkeypatch.setattr(metadata, "version", absent)
    assert provenance.version() == ""


def test_versions_name_what_is_installed():
    assert set(provenance.versions_of(["torch", "no-such-package"])) == {"torch"}
