from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from verticlip.core.data import Manifest, Record, check_leakage, difference_hash, group_near_duplicates
from verticlip.core.errors import DataError, InputError


def manifest(root: Path, *records: Record) -> Manifest:
    return Manifest(root.resolve(), records)


def test_equal_files_across_splits(tmp_path: Path):
    for name, text in (("a", "same"), ("b", "same"), ("c", "diff"), ("d", "longer"), ("e", "same")):
        (tmp_path / name).write_text(text)
    report = check_leakage(
        manifest(
            tmp_path,
            Record("a", path="a", split="train", label="x"),
            Record("b", path="b", split="val", label="y"),
            Record("c", path="c", split="val", label="x"),
            Record("d", path="d", split="val", label="x"),
            Record("e", path="e", split="train", label="x"),
        )
    )
    assert report.duplicates == (("a", "b", "e"),)
    assert report.conflicts == (("a", "b", "e"),)
    assert report.repeats == 2
    assert not report.clean
    assert json.loads(json.dumps(report.to_dict()))["clean"] is False
    with pytest.raises(DataError, match=r"Splits share 1 equal files \(a, b, ...\).*Split again"):
        report.raise_if_leaking()


def test_equal_files_within_a_split_are_counted_but_do_not_leak(tmp_path: Path):
    for name in "ab":
        (tmp_path / name).write_text("same")
    rows = [Record(name, path=name, split="train", label="x") for name in "ab"]
    report = check_leakage(manifest(tmp_path, *rows))
    assert report.clean
    assert report.repeats == 1
    report.raise_if_leaking()


def test_shared_groups(tmp_path: Path):
    report = check_leakage(
        manifest(
            tmp_path,
            Record("a", text="1", split="train", group="patient 1"),
            Record("b", text="2", split="val", group="patient 1"),
            Record("c", text="3", split="val", group="patient 2"),
        )
    )
    assert report.groups == {"patient 1": ("train", "val")}
    with pytest.raises(DataError, match=r"Splits share 1 groups \('patient 1' in train, val, ...\)"):
        report.raise_if_leaking()


def test_equal_texts_and_parts_of_one_file(tmp_path: Path):
    (tmp_path / "volume").write_text("x")
    report = check_leakage(
        manifest(
            tmp_path,
            Record("a", text="same", split="train"),
            Record("b", text="same", split="val"),
            Record("c", path="volume", locator="slice=1", split="train"),
            Record("d", path="volume", locator="slice=2", split="val"),
        )
    )
    assert report.duplicates == (("a", "b"),)


def test_missing_file_is_named(tmp_path: Path):
    with pytest.raises(DataError, match=r"gone.png: no such file"):
        check_leakage(manifest(tmp_path, Record("a", path="gone.png")))


def smooth(seed: int, size: tuple[int, int] = (64, 72)) -> np.ndarray:
    coarse = np.random.default_rng(seed).random((8, 9)).astype(np.float32)
    return np.asarray(Image.fromarray(coarse).resize(size[::-1], Image.Resampling.BICUBIC))


def distance(first: np.ndarray, second: np.ndarray) -> int:
    return bin(difference_hash(first) ^ difference_hash(second)).count("1")


def test_difference_hash_by_hand():
    falling = np.tile(np.arange(9.0, 0.0, -1.0), (8, 1))
    assert difference_hash(falling) == 2**64 - 1
    assert difference_hash(falling[:, ::-1]) == 0
    assert difference_hash(np.zeros((8, 9))) == 0
    one = np.zeros((8, 9))
    one[2, 3] = 1.0
    assert difference_hash(one) == 1 << (8 * 2 + 3)


def test_difference_hash_survives_size_brightness_and_compression():
    image = smooth(0)
    larger = np.asarray(Image.fromarray(image).resize((144, 128), Image.Resampling.BILINEAR))
    packed = io.BytesIO()
    Image.fromarray((image.clip(0, 1) * 255).astype(np.uint8)).save(packed, "JPEG", quality=60)
    assert distance(image, larger) <= 3
    assert distance(image, image * 0.6 + 0.1) == 0
    assert distance(image, np.asarray(Image.open(packed))) <= 3
    assert distance(image, smooth(1)) > 15


def test_noise_in_a_flat_background_decides_nothing():
    scan = np.zeros((64, 72), dtype=np.float32)
    scan[20:44, 24:48] = 1.0
    noise = np.random.default_rng(0).random(scan.shape).astype(np.float32)
    assert distance(scan, scan + 0.02 * noise) == 0


@pytest.mark.parametrize("image", [np.zeros((0, 4)), np.zeros((3, 4, 3)), np.full((4, 4), np.nan)])
def test_difference_hash_messages(image: np.ndarray):
    with pytest.raises(InputError, match=r"grey image \[H, W\] of finite values is needed"):
        difference_hash(image)


def test_near_duplicates_and_earlier_groups_are_joined():
    images = {"a": smooth(0), "b": smooth(0) * 0.9, "c": smooth(1), "d": smooth(2), "e": smooth(3)}
    records = [Record(name, text=name) for name in ("c", "b", "a")]
    records += [Record("d", text="d", group="p"), Record("e", text="e", group="p")]
    found = group_near_duplicates(manifest(Path(), *records), lambda record: images[record.id])
    assert {record.id: record.group for record in found} == {"a": "a", "b": "a", "c": "c", "d": "d", "e": "d"}
    assert [record.id for record in found] == [record.id for record in records]


@given(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=12), st.integers(0, 20))
@settings(max_examples=60, deadline=None)
def test_groups_are_the_connected_components(hashes: list[int], limit: int):
    records = [Record(f"{index:02d}", text="x") for index in range(len(hashes))]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("verticlip.core.data.leakage.difference_hash", lambda value: int(value))
        found = group_near_duplicates(
            manifest(Path(), *records), lambda record: hashes[int(record.id)], max_distance=limit
        )
    component = list(range(len(hashes)))
    for _ in hashes:
        for i, first in enumerate(hashes):
            for j, second in enumerate(hashes):
                if bin(first ^ second).count("1") <= limit:
                    component[i] = component[j] = min(component[i], component[j])
    assert [record.group for record in found] == [f"{root:02d}" for root in component]


def test_many_equal_images_are_cheap():
    records = [Record(str(index), text="x") for index in range(3000)]
    found = group_near_duplicates(manifest(Path(), *records), lambda record: np.zeros((2, 2)))
    assert {record.group for record in found} == {"0"}


def test_distance_is_checked():
    with pytest.raises(InputError, match="max_distance must be from 0 to 32 of 64 bits, got 64"):
        group_near_duplicates(
            manifest(Path(), Record("a", text="x")), lambda record: smooth(0), max_distance=64
        )
