"""Replay-Attack: counts, species and groups from file names."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from make_trees import replay_names, touch
from verticlip.core.errors import DataError
from verticlip.domains.liveness.protocols.replay_attack import read_replay_attack, replay_entries
from verticlip.domains.liveness.protocols.subjects import check_disjoint


def test_the_complete_data_set(tmp_path: Path) -> None:
    names = replay_names()
    assert len(names) == 1300
    read = read_replay_attack(touch(tmp_path, names))
    assert (read.rule, read.note, read.oracle_habit) == ("dev_eer", (), None)
    assert read.counts() == {
        "train": {"bona_fide": 60, "display": 240, "print": 60},
        "dev": {"bona_fide": 60, "display": 240, "print": 60},
        "test": {"bona_fide": 80, "display": 320, "print": 80},
    }
    check_disjoint(read.entries)
    counts = Counter(entry.groups.get("support") for entry in read.entries)
    assert counts == {None: 200, "fixed": 500, "hand": 500}


def test_what_names_say() -> None:
    entries, unknown = replay_entries(
        [
            "test/attack/hand/attack_highdef_client009_session01_highdef_video_controlled.mov",
            "devel/real/client003_session01_webcam_authenticate_adverse_2.mov",
            "enroll/test/client009_session01_webcam_enroll_adverse_1.mov",
            "test/attack/attack_print_client009_session01_highdef_photo_adverse.mov",
            "test/real/other.mov",
        ]
    )
    attack, live = entries
    assert (attack.species, attack.subject, attack.split) == ("display", "009", "test")
    assert attack.groups == {"device": "highdef", "light": "controlled", "media": "video", "support": "hand"}
    assert attack.video_id.startswith("hand_attack_highdef_")
    assert (live.label, live.split, live.groups) == ("live", "dev", {"light": "adverse"})
    assert len(unknown) == 2


def test_a_folder_that_is_not_complete(tmp_path: Path) -> None:
    touch(tmp_path, replay_names()[:40])
    with pytest.raises(DataError, match="published are 60 and 300"):
        read_replay_attack(tmp_path)
    assert any(
        "Incomplete: dev has 0 live" in note for note in read_replay_attack(tmp_path, partial=True).note
    )
    with pytest.raises(DataError, match="no such folder. Expected the folder of Replay-Attack"):
        read_replay_attack(tmp_path / "none")
