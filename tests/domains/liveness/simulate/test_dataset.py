"""A folder of photos becomes pictures and a manifest that the room reads back."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest
from liveness.simulate import make_pictures
from PIL import Image
from typer.testing import CliRunner
from verticlip.core.errors import ConfigError, DataError, InputError
from verticlip.domains.liveness.commands import app
from verticlip.domains.liveness.protocols.manifest import read_manifest
from verticlip.domains.liveness.protocols.subjects import check_disjoint
from verticlip.domains.liveness.simulate.dataset import Plan, split_of, write_dataset


@pytest.fixture
def photos(tmp_path):
    make_pictures.save(tmp_path / "photos", 6)
    return tmp_path / "photos"


def contents(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def test_manifest_is_read_back_with_subjects_apart(photos, tmp_path):
    plan = Plan(attacks=3, bona_fide=2, dev_share=0.4)
    written = write_dataset(photos, tmp_path / "out", plan)
    entries = read_manifest(written.manifest)
    assert len(entries) == 6 * 5
    assert written.subjects == 6
    check_disjoint(entries)
    assert Counter(entry.label for entry in entries) == {"live": 12, "attack": 18}
    assert {entry.split for entry in entries} == {"train", "dev"}
    for entry in entries:
        assert (entry.label == "live") == (entry.groups["category"] == "live")
        assert ("severity" in entry.groups) == (entry.label == "attack")
        assert entry.split == split_of(str(entry.subject), "train", 0.4)
        assert Image.open(entry.path).format == "JPEG"
    families = Counter(entry.groups["family"] for entry in entries)
    assert len(families) == 10
    assert set(families.values()) == {2, 12}


def test_equal_plans_write_equal_files_and_another_seed_others(photos, tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_dataset(photos, tmp_path / name, Plan(part="test", seed=seed, attacks=1))
    first = contents(tmp_path / "a")
    assert first == contents(tmp_path / "b")
    assert set(first) != set(contents(tmp_path / "c"))


def test_the_test_part_is_one_split(photos, tmp_path):
    written = write_dataset(photos, tmp_path / "out", Plan(part="test", attacks=1, families=("print",)))
    assert set(written.counts) == {("test", "bona_fide"), ("test", "print")}


def test_only_the_splits_asked_for_are_written(photos, tmp_path):
    whole = write_dataset(photos, tmp_path / "a", Plan(dev_share=0.4, attacks=0))
    part = write_dataset(photos, tmp_path / "b", Plan(dev_share=0.4, attacks=0, splits=("dev",)))
    assert set(part.counts) == {("dev", "bona_fide")}
    assert part.counts["dev", "bona_fide"] == whole.counts["dev", "bona_fide"]
    with pytest.raises(DataError, match="no photo is left for the splits test"):
        write_dataset(photos, tmp_path / "c", Plan(splits=("test",)))


def test_leaving_a_family_out_changes_no_other_picture(photos, tmp_path):
    write_dataset(photos, tmp_path / "a", Plan(attacks=3))
    write_dataset(photos, tmp_path / "b", Plan(attacks=3, leave_out=("composite", "screen")))
    whole, part = contents(tmp_path / "a"), contents(tmp_path / "b")
    kept = {
        name for name in whole if name.endswith(".jpg") and name.split("/")[1] not in ("composite", "screen")
    }
    assert {name for name in part if name.endswith(".jpg")} == kept
    assert all(whole[name] == part[name] for name in kept)
    with pytest.raises(ConfigError, match="Did you mean 'screen'"):
        write_dataset(photos, tmp_path / "c", Plan(leave_out=("sceen",)))


def test_nearly_equal_photos_are_one_subject_and_can_be_left_out(photos, tmp_path):
    copy = Image.open(photos / "000.png").convert("RGB")
    (tmp_path / "others").mkdir()
    copy.save(photos / "copy.jpg", quality=90)
    copy.save(tmp_path / "others" / "held.jpg", quality=85)
    written = write_dataset(photos, tmp_path / "out", Plan(attacks=0))
    assert written.subjects == 6
    subjects = Counter(entry.subject for entry in read_manifest(written.manifest))
    assert subjects["000.png"] == 2
    apart = write_dataset(photos, tmp_path / "apart", Plan(attacks=0), apart_from=tmp_path / "others")
    assert apart.left_out == 2
    assert "000.png" not in {entry.subject for entry in read_manifest(apart.manifest)}


def test_bad_folders_are_told_and_nothing_is_left(photos, tmp_path):
    with pytest.raises(DataError, match="is no folder of photos"):
        write_dataset(tmp_path / "absent", tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no photos"):
        write_dataset(tmp_path / "empty", tmp_path / "out")
    with pytest.raises(ConfigError, match="is there already"):
        write_dataset(photos, photos)
    with pytest.raises(ConfigError, match="lies among the photos"):
        write_dataset(photos, photos / "attacks")
    (photos / "broken.jpg").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"broken\.jpg"):
        write_dataset(photos, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_photos_of_one_name_in_folders_of_one_name_stay_apart(tmp_path):
    rng = np.random.default_rng(0)
    for person in ("anna", "ben"):
        folder = tmp_path / "photos" / person / "day"
        folder.mkdir(parents=True)
        Image.fromarray(rng.integers(0, 256, (48, 48, 3), np.uint8)).save(folder / "a.png")
    written = write_dataset(tmp_path / "photos", tmp_path / "out", Plan(bona_fide=1, attacks=1))
    entries = read_manifest(written.manifest)
    assert len(entries) == len({entry.path for entry in entries}) == 4
    assert len({entry.subject for entry in entries}) == 2


def test_a_photo_too_small_leaves_no_half_folder(photos, tmp_path):
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(photos / "zz.png")
    with pytest.raises(InputError, match=r"at least 32 pixels"):
        write_dataset(photos, tmp_path / "out", Plan(attacks=1))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photos"]


def test_the_command_writes_and_says_what(photos, tmp_path):
    words = ["simulate", str(photos), str(tmp_path / "out"), "--families", "print,low_light", "--json"]
    result = CliRunner().invoke(app, [*words, "--part", "test", "--attacks", "2", "--seed", "3"])
    assert result.exit_code == 0, result.output
    rows = [json.loads(line) for line in result.stdout.splitlines() if line.startswith("{")]
    assert {row["family"]: row["pictures"] for row in rows} == {"bona_fide": 6, "low_light": 6, "print": 6}
    assert (tmp_path / "out" / "manifest.csv").is_file()


def test_the_command_refuses_an_unknown_family(photos, tmp_path):
    words = ["simulate", str(photos), str(tmp_path / "out"), "--families", "prnt"]
    result = CliRunner().invoke(app, words)
    assert isinstance(result.exception, ConfigError)
    assert "Did you mean 'print'" in str(result.exception)
