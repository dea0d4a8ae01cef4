"""Protocols by name."""

from __future__ import annotations

from pathlib import Path

import pytest
from make_trees import casia_names, touch
from verticlip.core.errors import ConfigError, DataError
from verticlip.domains.liveness.protocols.registry import READERS, SUMMARIES, open_protocol


def test_every_reader_is_described() -> None:
    assert list(READERS) == list(SUMMARIES)


def test_a_protocol_is_opened_with_its_options(tmp_path: Path) -> None:
    touch(tmp_path, casia_names())
    assert open_protocol("casia-fasd", tmp_path).rule == "test_eer"
    held = open_protocol("casia-fasd", tmp_path, dev_share=0.25)
    assert held.counts()["dev"] == {"bona_fide": 15, "display": 15, "print": 15, "print_cut": 15}


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("oulu", {}, "Protocol 'oulu'. Did you mean 'oulu-npu'.*Known: oulu-npu, replay-attack"),
        ("oulu-npu", {}, "oulu-npu needs the option protocol"),
        ("flip", {"protocol": 1}, "flip needs the option target"),
        (
            "nuaa",
            {"verson": "raw"},
            "nuaa has no option 'verson'. Did you mean 'version'.*Options: version, partial",
        ),
    ],
)
def test_names_and_options_are_checked(name: str, options: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        open_protocol(name, "nowhere", **options)


def test_the_folder_is_checked_by_the_reader(tmp_path: Path) -> None:
    for name, options in (
        ("oulu-npu", {"protocol": 1}),
        ("flip", {"target": "M"}),
        ("nuaa", {}),
        ("msu-mfsd", {}),
    ):
        with pytest.raises(DataError, match=r"Expected .*Found"):
            open_protocol(name, tmp_path, **options)  # type: ignore[arg-type]
