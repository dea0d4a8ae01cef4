"""File names of complete data sets, and empty files of small ones."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product
from pathlib import Path


def touch(folder: Path, names: Iterable[str]) -> Path:
    """Make empty files below a folder."""
    for name in names:
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    return folder


def oulu_names(users: Iterable[int] = range(1, 56)) -> list[str]:
    """All videos of OULU-NPU, or those of some users."""
    return [
        f"{'Train' if user <= 20 else 'Dev' if user <= 35 else 'Test'}_files/{phone}_{session}_{user:02d}_{file}.avi"
        for user, phone, session, file in product(users, range(1, 7), range(1, 4), range(1, 6))
    ]


def replay_names() -> list[str]:
    """All 1,300 videos of Replay-Attack, enrolment included."""
    clients = {"train": range(1, 16), "devel": range(16, 31), "test": range(31, 51)}
    names = []
    for split, mine in clients.items():
        for client, light in product(mine, ("adverse", "controlled")):
            person = f"client{client:03d}_session01"
            names += [f"{split}/real/{person}_webcam_authenticate_{light}_{take}.mov" for take in (1, 2)]
            names.append(f"enroll/{split}/{person}_webcam_enroll_{light}_1.mov")
            for support in ("fixed", "hand"):
                folder = f"{split}/attack/{support}"
                names.append(f"{folder}/attack_print_{person}_highdef_photo_{light}.mov")
                names += [
                    f"{folder}/attack_{device}_{person}_{device}_{media}_{light}.mov"
                    for device, media in product(("mobile", "highdef"), ("photo", "video"))
                ]
    return names


def casia_names() -> list[str]:
    """All 600 videos of CASIA-FASD."""
    stems = [*map(str, range(1, 9)), "HR_1", "HR_2", "HR_3", "HR_4"]
    return [
        f"{part}/{subject}/{stem}.avi"
        for part, subjects in (("train_release", 20), ("test_release", 30))
        for subject in range(1, subjects + 1)
        for stem in stems
    ]


def msu_names(clients: Iterable[int] = range(1, 36)) -> list[str]:
    """All 280 videos of MSU-MFSD, or those of some clients."""
    names = []
    for client, (camera, suffix) in product(clients, (("android", "mp4"), ("laptop", "mov"))):
        person = f"client{client:03d}_{camera}_SD"
        names.append(f"scene01/real/real_{person}_scene01.{suffix}")
        names += [
            f"scene01/attack/attack_{person}_{kind}_scene01.{suffix}"
            for kind in ("ipad_video", "iphone_video", "printed_photo")
        ]
    return names


def flip_frames(dataset: str) -> list[str]:
    """First frames of a complete data set as FLIP's folder ``frame`` holds them."""
    if dataset == "celeb":
        return [
            f"celeb/{kind}/{number % 9999}_{word}_{number:06d}.jpg"
            for kind, word in (("real", "live"), ("fake", "spoof"))
            for number in range(40_000)
        ]
    return [f"{dataset}/{part}/{kind}/{name}" for part, kind, name in _WCS[dataset]()]


def _cefa() -> Iterable[tuple[str, str, str]]:
    # 500 people of each of three groups, one bona fide and three attack series of ten frames.
    for group, person, frame in product(range(1, 4), range(500), range(10)):
        part = "test" if 200 <= person < 300 else "train"
        yield part, "real", f"{group}_{person:03d}_1_1_1_{frame:02d}.jpg"
        for codes in ("3_1_2", "3_2_2", "3_1_4"):
            yield part, "fake", f"{group}_{person:03d}_{codes}_{frame:02d}.jpg"


def _surf() -> Iterable[tuple[str, str, str]]:
    for kind, trained, tested in (("real", 26_400, 2_994), ("fake", 60_576, 6_614)):
        for number in range(trained):
            yield "train", kind, f"Training_{kind}_part_CLKJ_CS{number % 300:04d}_x.rssdk_color_{number}.jpg"
        for number in range(tested):
            yield "test", kind, f"Val_{number % 9:04d}_{number:06d}-color.jpg"


def _wmca() -> Iterable[tuple[str, str, str]]:
    for kind, trained, tested in (("real", 3_470, 3_470), ("fake", 13_288, 5_480)):
        code = 0 if kind == "real" else 3
        for part, count in (("train", trained), ("test", tested)):
            for number in range(count):
                series = f"01.02.18_{number // 10 % 999:03d}_{number // 9990:02d}_000_{code}_07"
                yield part, kind, f"{series}_{number % 10:02d}.jpg"


_WCS = {"cefa": _cefa, "surf": _surf, "wmca": _wmca}
