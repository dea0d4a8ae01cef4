"""``verticlip doctor``: what is missing is named with the command that brings it."""

from __future__ import annotations

from verticlip import diagnosis


def test_extras_name_what_is_missing(monkeypatch) -> None:
    requirements = [
        "numpy>=1.26",
        'pip>=1; extra == "train"',
        'no-such-package<3,>=1.0; extra == "audio"',
        "other-missing[x]>=1 ; python_version >= '3.10' and extra == 'audio'",
        'verticlip[medical]; extra == "demo"',
    ]
    monkeypatch.setattr(diagnosis, "_requirements", lambda: requirements)
    facts = diagnosis.diagnose()
    assert facts["extras"] == {
        "train": "ready",
        "audio": "missing no-such-package, other-missing; pip install 'verticlip[audio]'",
    }
    assert set(facts["versions"]) == {"verticlip", "python", "numpy"}


def test_a_missing_core_package_is_said(monkeypatch) -> None:
    monkeypatch.setattr(diagnosis, "_requirements", lambda: ["no-such-package>=1"])
    assert diagnosis.diagnose()["versions"]["no-such-package"] == "missing"


def test_packaged_models_are_checked(monkeypatch) -> None:
    from verticlip.core.errors import WeightsError
    from verticlip.hub import loading

    def broken(name: str) -> None:
        raise WeightsError(f"{name}: damaged")

    monkeypatch.setattr(loading, "resolve", broken)
    assert diagnosis.diagnose()["models"]["medical/tiny"] == "medical/tiny: damaged"


def test_the_cache_is_counted(monkeypatch, tmp_path) -> None:
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "none"))
    assert diagnosis.diagnose()["cache"]["repositories"] == 0
