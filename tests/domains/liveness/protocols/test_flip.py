"""FLIP's runs over lists: who is a source, what is tested, how frames join into videos."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from make_trees import casia_names, msu_names, touch
from verticlip.core.errors import ConfigError, DataError
from verticlip.domains.liveness.protocols.flip import flip_entries, read_flip
from verticlip.domains.liveness.protocols.flip_lists import write_lists
from verticlip.domains.liveness.protocols.flip_names import read_name, video_of
from verticlip.domains.liveness.protocols.protocol import hold_out_dev
from verticlip.domains.liveness.protocols.subjects import check_disjoint, is_shot


def frames_of(dataset: str) -> list[str]:
    """A small data set in FLIP's layout: both frames of each video."""
    if dataset == "casia":
        names = []
        for name in casia_names():
            part, subject, stem = name.removesuffix(".avi").split("/")
            kind = "real" if stem in {"1", "2", "HR_1"} else "fake"
            names.append(f"casia/{part.removesuffix('_release')}/{kind}/{subject}_{stem}")
    else:
        names = [
            f"msu/{'train' if '_client00' in name else 'test'}/{'real' if '/real/' in name else 'fake'}/"
            f"{Path(name).stem}"
            for name in msu_names()
        ]
    return [f"{name}_frame{number}.png" for name in names for number in (0, 1)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Complete CASIA-FASD and MSU-MFSD, and four pictures of CelebA-Spoof."""
    data = tmp_path_factory.mktemp("flip")
    celeb = ["celeb/real/1_live_000001.jpg", "celeb/fake/1_spoof_000002.jpg"]
    for dataset, names in (("casia", frames_of("casia")), ("msu", frames_of("msu")), ("celeb", celeb)):
        touch(data / "MCIO" / "frame", names)
        write_lists(dataset, names, data)
    return data


def test_one_to_one(folder: Path) -> None:
    read = read_flip(folder, target="M", sources=["C"], protocol=3, celeb=False)
    assert read.name == "flip protocol 3 C->M 0-shot"
    assert read.counts() == {
        "train": {"bona_fide": 150, "display": 150, "print": 150, "print_cut": 150},
        "test": {"bona_fide": 60} | read.counts()["test"],
    }
    assert sum(read.counts()["test"].values()) == 260
    assert {entry.dataset for entry in read.of("train")} == {"casia"}
    assert all(len(entry.frames) == 2 for entry in read.of("test"))
    assert all(not entry.frames and entry.path.name.endswith("_frame0.png") for entry in read.of("train"))
    assert len({entry.subject_id for entry in read.of("train")}) == 50
    assert read.rule == "test_eer"
    assert "lowest half total error rate" in (read.oracle_habit or "")
    assert any("Without CelebA-Spoof" in note for note in read.note)
    check_disjoint(read.entries)


def test_the_repository_itself_is_a_folder_too(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "data").symlink_to(folder)
    assert read_flip(tmp_path, target="msu", sources=["casia"], protocol=3, celeb=False).entries


def test_shots_are_the_first_five_four_times(folder: Path) -> None:
    read = read_flip(folder, target="msu", sources=["casia"], protocol=3, shots=5, celeb=False)
    shots = [entry for entry in read.of("train") if entry.dataset == "msu"]
    assert Counter(entry.label for entry in shots) == {"live": 20, "attack": 20}
    assert set(Counter(entry.id for entry in shots).values()) == {4}
    listed = (folder / "MCIO" / "txt" / "msu_real_shot.txt").read_text().split()
    used = {entry.path.relative_to(folder / "MCIO" / "frame").as_posix() for entry in shots}
    assert set(listed[:5]) <= used
    assert not set(listed[5:]) & used
    tested = {file for entry in read.of("test") for file in entry.files}
    assert not tested & {entry.path for entry in shots}
    assert any("5 shots per class are of the target" in note for note in read.note)
    check_disjoint(read.entries, few_shot=True)
    with pytest.raises(DataError, match="few_shot=True"):
        check_disjoint(read.entries)
    # Development people are held out of the sources: those of shots are people of the target.
    held = hold_out_dev(read, 0.2)
    assert {entry.dataset for entry in held.of("dev")} == {"casia"}
    assert sum(is_shot(entry) for entry in held.entries) == len(shots)
    check_disjoint(held.entries, few_shot=True)


def test_sets_are_known_by_all_their_names(folder: Path) -> None:
    one = read_flip(folder, target="M", sources=["C"], protocol=3, celeb=False)
    assert one == read_flip(folder, target="msu-mfsd", sources=["CASIA_FASD"], protocol=3, celeb=False)
    with pytest.raises(ConfigError, match="'nuaa' is not in protocol 1 of FLIP"):
        read_flip(folder, target="nuaa")


def test_celeb_joins_every_run(folder: Path) -> None:
    message = "celeb_real_train.txt has 1 lines, the published list 40,000"
    with pytest.raises(DataError, match=message):
        read_flip(folder, target="msu", sources=["casia"], protocol=3)
    read = read_flip(folder, target="msu", sources=["casia"], protocol=3, partial=True)
    assert any(message in note for note in read.note)
    celeb = [entry for entry in read.of("train") if entry.dataset == "celeb"]
    assert [(entry.species, entry.subject) for entry in celeb] == [("bona_fide", "1"), ("unspecified", "1")]


def test_names_of_celeb_that_contradict_their_list_are_counted(folder: Path, tmp_path: Path) -> None:
    touch(tmp_path / "MCIO" / "frame", frames_of("casia") + frames_of("msu"))
    for dataset in ("casia", "msu"):
        write_lists(dataset, frames_of(dataset), tmp_path)
    celeb = ["celeb/real/1_live_000001.jpg", "celeb/fake/1_live_000002.jpg", "celeb/fake/1_spoof_000003.jpg"]
    touch(tmp_path / "MCIO" / "frame", celeb)
    write_lists("celeb", celeb, tmp_path)
    read = read_flip(tmp_path, target="msu", sources=["casia"], protocol=3, partial=True)
    labels = [entry.label for entry in read.of("train") if entry.dataset == "celeb"]
    assert labels == ["live", "attack", "attack"]
    assert any(
        "celeb_fake_train.txt: 1 file names say the opposite of the list" in note for note in read.note
    )


def test_the_target_is_never_a_source(folder: Path) -> None:
    with pytest.raises(DataError, match="The target msu is among the sources"):
        read_flip(folder, target="msu", sources=["casia", "M"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": "ouluu"}, "Did you mean 'oulu'.*msu .M., casia .C., replay .I., oulu .O."),
        ({"target": "M", "protocol": 2}, "'M' is not in protocol 2 of FLIP"),
        ({"target": "M", "protocol": 3}, "Protocol 3 of FLIP trains on one data set: name one of casia"),
        ({"target": "M", "protocol": 3, "sources": ["C", "I"]}, "Protocol 3 of FLIP got 2 sources"),
        ({"target": "M", "shots": 3}, "shots 3: FLIP has runs of 0 and of 5"),
        ({"target": "M", "protocol": 9}, "protocol 9"),
    ],
)
def test_bad_runs(folder: Path, options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_flip(folder, **options)  # type: ignore[arg-type]


def test_what_is_missing_is_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="replay_real_train.txt: no such list.*Found: casia_fake_shot.txt"):
        read_flip(folder, target="msu", celeb=False)
    with pytest.raises(DataError, match="no such folder. Expected FLIP's data folder"):
        read_flip(tmp_path / "none", target="msu")
    touch(tmp_path, ["a.txt"])
    with pytest.raises(DataError, match="neither MCIO/ nor WCS/ in it.*Found: a.txt"):
        read_flip(tmp_path, target="msu")
    touch(tmp_path, ["MCIO/frame/x.png"])
    with pytest.raises(DataError, match="Found: no folder txt"):
        read_flip(tmp_path, target="msu")


def test_missing_frames_are_refused_or_noted(tmp_path: Path) -> None:
    for dataset in ("casia", "msu"):
        names = frames_of(dataset)
        write_lists(dataset, names, tmp_path)
        # The second frames of the target are absent.
        touch(tmp_path / "MCIO" / "frame", [name for name in names if "frame0" in name])
    touch(tmp_path / "MCIO" / "frame", [name for name in frames_of("msu") if "client00" in name])
    with pytest.raises(DataError, match="msu_real_test.txt: frames of .* presentations are missing"):
        read_flip(tmp_path, target="msu", sources=["casia"], protocol=3, celeb=False)
    read = read_flip(tmp_path, target="msu", sources=["casia"], protocol=3, celeb=False, partial=True)
    assert any("Incomplete: msu_fake_test.txt: frames of" in note for note in read.note)
    assert {entry.subject for entry in read.of("test")} == {f"00{number}" for number in range(1, 10)}


def test_frames_of_a_series_join() -> None:
    lines = [f"cefa/test/fake/1_268_3_2_2_{n:02d}.jpg" for n in (4, 0, 1)]
    (one,) = flip_entries(lines, Path("f"), dataset="cefa", kind="fake", split="test")
    assert one.video_id == "cefa/test/fake/1_268_3_2_2"
    assert [file.name[-6:-4] for file in one.files] == ["04", "00", "01"]
    assert (one.species, one.subject, one.groups) == ("print", "1_268", {"ethnicity": "code_1"})
    surf = [f"surf/test/real/Val_0007_{n:06d}-color.jpg" for n in range(3)]
    assert len(flip_entries(surf, Path("f"), dataset="surf", kind="real", split="test")) == 3


@pytest.mark.parametrize(
    ("dataset", "path", "species", "subject"),
    [
        ("casia", "casia/train/fake/19_7_frame0.png", "display", "train-19"),
        ("casia", "casia/test/fake/19_HR_3_frame0.png", "print_cut", "test-19"),
        (
            "msu",
            "msu/test/fake/attack_client042_android_SD_iphone_video_scene01_frame0.png",
            "display",
            "042",
        ),
        ("msu", "msu/test/fake/attack_client042_laptop_SD_printed_photo_scene01_frame0.png", "print", "042"),
        ("msu", "msu/test/real/real_client001_laptop_SD_scene01_frame0.png", "bona_fide", "001"),
        (
            "replay",
            "replay/train/fake/hand_attack_print_client004_session01_highdef_photo_adverse_frame0.png",
            "print",
            "004",
        ),
        (
            "replay",
            "replay/test/real/real_client021_session01_webcam_authenticate_adverse_1_frame0.png",
            "bona_fide",
            "021",
        ),
        ("oulu", "oulu/train/fake/4_1_04_4_frame0.png", "display", "04"),
        ("cefa", "cefa/test/real/3_299_1_1_1_00.jpg", "bona_fide", "3_299"),
        ("cefa", "cefa/train/fake/2_092_3_1_4_05.jpg", "display", "2_092"),
        ("wmca", "wmca/train/fake/24.01.18_019_01_013_2_87_40.jpg", "mask", "019"),
        ("wmca", "wmca/test/real/07.02.18_029_02_000_0_00_07.jpg", "bona_fide", "029"),
        (
            "surf",
            "surf/train/fake/Training_fake_part_CLKJ_BS1144_05_enm_s.rssdk_color_121.jpg",
            "unspecified",
            "BS1144",
        ),
        ("surf", "surf/test/real/Val_0009_009155-color.jpg", "bona_fide", None),
        ("celeb", "celeb/fake/1793_spoof_312036.jpg", "unspecified", "1793"),
        ("oulu", "oulu/train/fake/strange_frame0.png", "unspecified", None),
    ],
)
def test_what_names_say(dataset: str, path: str, species: str, subject: str | None) -> None:
    fact = read_name(dataset, path)
    assert (fact.species, fact.subject) == (species, subject)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("msu/train/fake/a_frame0.png", "list row 1: .*expected casia/.../real/"),
        ("casia/train/fake/1_7.png", "list row 1: .*a frame of casia ends like _frame0.png"),
        ("casia/train/real/1_1_frame0.png", "is live, in a list of fake frames"),
        ("casia/train/fake/1_1_frame0.png", "the folder says fake, the file name says bona_fide"),
        ("../casia/train/fake/1_7_frame0.png", "leaves the data folder"),
    ],
)
def test_bad_lines(line: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        flip_entries([line], Path("f"), dataset="casia", kind="fake", split="train")
    line = "casia/train/fake/1_7_frame0.png"
    with pytest.raises(DataError, match="list row 2: .*stands twice"):
        flip_entries([line, line], Path("f"), dataset="casia", kind="fake", split="train")


def test_videos_lose_their_frame() -> None:
    assert video_of("oulu", "oulu/a_frame1.png") == "oulu/a"
    assert video_of("wmca", "wmca/a_07.jpg") == "wmca/a"
    assert video_of("surf", "surf/a_07.jpg") == "surf/a_07"
