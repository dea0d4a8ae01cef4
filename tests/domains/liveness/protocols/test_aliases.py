"""One data set is one, whichever of its names is used."""

from __future__ import annotations

import pytest
from verticlip.core.errors import ConfigError
from verticlip.domains.liveness.protocols import casia_fasd, msu_mfsd, nuaa, oulu_npu, replay_attack
from verticlip.domains.liveness.protocols.aliases import PUBLIC, canonical_dataset, known_datasets
from verticlip.domains.liveness.protocols.flip_names import EXTRA, MCIO, WCS
from verticlip.domains.liveness.protocols.registry import READERS


def test_names_of_flip_and_of_the_readers_meet() -> None:
    pairs = {"oulu": oulu_npu, "replay": replay_attack, "casia": casia_fasd, "msu": msu_mfsd}
    assert set(pairs) == set(MCIO)
    for name, reader in pairs.items():
        assert canonical_dataset(name) == canonical_dataset(reader.NAME) == reader.NAME
    assert {canonical_dataset(name) for name in (*WCS, EXTRA, nuaa.NAME)} <= set(PUBLIC)
    assert set(READERS) - {"flip"} <= set(PUBLIC)


def test_spelling_does_not_count() -> None:
    for name in ("OULU_NPU", "oulu npu", "OuluNPU", " Oulu "):
        assert canonical_dataset(name) == "oulu-npu"
    assert canonical_dataset(" Branch_7 ") == "branch_7"
    assert canonical_dataset("branch-7") != canonical_dataset("branch_7")


def test_no_name_stands_for_two_sets() -> None:
    for name, others in PUBLIC.items():
        assert {canonical_dataset(word) for word in (name, *others)} == {name}


def test_a_misspelt_name_is_refused() -> None:
    assert known_datasets(["oulu", "OULU-NPU", "Branch"], ["branch", "msu"], option="target") == (
        "oulu-npu",
        "branch",
    )
    with pytest.raises(ConfigError, match=r"target 'olou-npu'.*Did you mean 'oulu-npu'.*rows are branch"):
        known_datasets(["olou-npu"], ["Branch"], option="target")
    with pytest.raises(ConfigError, match=r"'brnach'.*Did you mean 'branch'.*as split test"):
        known_datasets(["brnach"], ["Branch"], option="target")
    with pytest.raises(ConfigError, match=r"'zzz': no public data set.*rows are none"):
        known_datasets(["zzz"], [], option="target")
