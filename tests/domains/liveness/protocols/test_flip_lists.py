"""Rebuilt lists have the published counts."""

from __future__ import annotations

from pathlib import Path

import pytest
from make_trees import casia_names, flip_frames, msu_names, oulu_names, replay_names, touch
from verticlip.core.errors import ConfigError, DataError
from verticlip.domains.liveness.protocols.flip import LINES
from verticlip.domains.liveness.protocols.flip_lists import (
    build_lists,
    names_in,
    names_of_videos,
    write_lists,
)


def mcio(dataset: str, folder: Path) -> list[str]:
    """Names of frames from a made-up tree of a complete data set's videos."""
    names = {"casia": casia_names, "replay": replay_names, "oulu": oulu_names, "msu": msu_names}[dataset]()
    if dataset == "oulu":
        names = [name.replace("_files", "_files") for name in names]
    touch(folder, names)
    if dataset == "msu":
        for part, clients in (("train", range(1, 16)), ("test", range(16, 36))):
            (folder / f"{part}_sub_list.txt").write_text("\n".join(map(str, clients)))
    return names_of_videos(dataset, folder)


def check(dataset: str, lists: dict[str, list[str]]) -> None:
    for kind in ("real", "fake"):
        mine = {which: lists[f"{dataset}_{kind}_{which}"] for which in LINES[dataset, kind]}
        assert {which: len(lines) for which, lines in mine.items()} == LINES[dataset, kind]
        assert all(len(set(lines)) == len(lines) for lines in mine.values())
        if dataset == "celeb":
            continue
        assert not set(mine["test"]) & set(mine["shot"])
        union = set(mine["test"]) | set(mine["shot"])
        if dataset == "wmca":
            assert not union & set(mine["train"])
        elif dataset in {"cefa", "surf"}:
            assert union < set(mine["train"])
        else:
            assert union == set(mine["train"])


@pytest.mark.parametrize("dataset", ["casia", "msu", "replay", "oulu"])
def test_lists_of_videos_have_the_published_counts(dataset: str, tmp_path: Path) -> None:
    names = mcio(dataset, tmp_path)
    assert len(names) == 2 * sum(LINES[dataset, kind]["train"] for kind in ("real", "fake"))
    lists = build_lists(dataset, names)
    check(dataset, lists)
    assert all(line.endswith("_frame0.png") for lines in lists.values() for line in lines)


@pytest.mark.parametrize("dataset", ["wmca", "celeb"])
def test_lists_of_frames_have_the_published_counts(dataset: str) -> None:
    check(dataset, build_lists(dataset, flip_frames(dataset)))


def test_cefa_trains_on_its_test_frames_too() -> None:
    lists = build_lists("cefa", flip_frames("cefa"))
    check("cefa", lists)


def test_surf_trains_on_its_test_frames_too() -> None:
    lists = build_lists("surf", flip_frames("surf"))
    check("surf", lists)


def test_names_are_those_of_the_lists(tmp_path: Path) -> None:
    lists = build_lists("casia", mcio("casia", tmp_path / "c"))
    assert "casia/train/fake/19_7_frame0.png" in lists["casia_fake_train"]
    assert "casia/test/real/28_HR_1_frame0.png" in lists["casia_real_train"]
    lists = build_lists("replay", mcio("replay", tmp_path / "r"))
    assert (
        "replay/train/fake/fixed_attack_print_client012_session01_highdef_photo_controlled_frame0.png"
        in lists["replay_fake_train"]
    )
    assert (
        "replay/train/real/real_client004_session01_webcam_authenticate_adverse_1_frame0.png"
        in lists["replay_real_train"]
    )


def test_shots_are_the_same_at_every_call_and_in_every_order(tmp_path: Path) -> None:
    names = mcio("casia", tmp_path)
    assert build_lists("casia", names) == build_lists("casia", names[::-1])


def test_development_parts_and_second_frames_stay_out(tmp_path: Path) -> None:
    names = mcio("msu", tmp_path)
    more = [name.replace("/train/", "/dev/") for name in names if "/train/" in name]
    assert build_lists("msu", [*names, *more, "msu/notes.txt"]) == build_lists("msu", names)
    oulu = [
        f"oulu/train/{kind}/1_1_{user:02d}_{file}_frame0.png"
        for user in (*range(1, 13), 21)
        for kind, file in (("real", 1), ("fake", 2))
    ]
    assert len(build_lists("oulu", oulu)["oulu_real_train"]) == 12


def test_lists_are_written_beside_the_frames(tmp_path: Path) -> None:
    names = [f"wmca/{part}/{kind}/a{n:03d}_00.jpg" for part in ("train", "test") for kind in ("real", "fake")
             for n in range(12)]  # fmt: skip
    touch(tmp_path / "WCS" / "frame", names)
    assert names_in("wmca", tmp_path) == sorted(names)
    counts = write_lists("wmca", names, tmp_path)
    assert counts["wmca_real_test.txt"] == (2, 3460)
    text = (tmp_path / "WCS" / "txt" / "wmca_real_test.txt").read_bytes()
    assert text.count(b"\n") == 2
    assert b"\r" not in text


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Data set 'casja'. Did you mean 'casia'"):
        build_lists("casja", [])
    with pytest.raises(ConfigError, match="Data set 'wmca'. Videos: casia, msu, replay, oulu|'wmca'"):
        names_of_videos("wmca", tmp_path)
    with pytest.raises(DataError, match="no casia/ in it.*Found: no such folder"):
        names_in("casia", tmp_path)
    with pytest.raises(DataError, match="0 frames in casia/.../real/ to test; more than 10 are needed"):
        build_lists("casia", [])
    with pytest.raises(DataError, match="no pictures in celeb/real/"):
        build_lists("celeb", [])
