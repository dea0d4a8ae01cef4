"""Rows of npz image sets, without unpickling and with sizes checked from the array header."""

from __future__ import annotations

import io
import pickle
import zipfile

import numpy as np
import pytest
from verticlip.core.limits import Limits
from verticlip.domains.medical.io import load_image
from verticlip.domains.medical.loaders import errors


@pytest.fixture
def archive(tmp_path):
    path = tmp_path / "set.npz"
    gray = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    color = np.arange(48, dtype=np.uint16).reshape(1, 4, 4, 3)
    np.savez_compressed(path, gray=gray, color=color, labels=np.zeros((2, 1), np.int64))
    return path


def test_rows(archive):
    image = load_image(archive, array="gray", index=1)
    assert np.allclose(image.pixels[0] * 255, np.arange(12, 24).reshape(3, 4))
    assert load_image(archive, array="gray", index=1, window=None).pixels[0, 0, 0] == 12
    assert load_image(archive, array="color", index=0).pixels.shape == (3, 4, 4)


def test_a_changed_file_is_read_again(archive):
    load_image(archive, array="gray", index=0)
    np.savez(archive, gray=np.full((1, 2, 2), 7, np.uint8))
    assert load_image(archive, array="gray", index=0, window=None).pixels.unique().tolist() == [7]


@pytest.mark.parametrize(
    ("options", "kind", "said"),
    [
        ({}, errors.FrameError, "Pass array="),
        ({"array": "gray"}, errors.FrameError, "index="),
        ({"array": "gray", "index": 2}, errors.FrameError, "has 2 rows"),
        ({"array": "gray", "index": -1}, errors.FrameError, "has 2 rows"),
        ({"array": "grey", "index": 0}, errors.MedicalImageError, "it has: gray, color, labels"),
        ({"array": "labels", "index": 0}, errors.UnsupportedEncoding, "expected uint8 or uint16"),
        ({"array": "gray", "index": 0, "window": "lung"}, errors.UnsupportedEncoding, "take no window"),
    ],
)
def test_bad_choices(archive, private, options, kind, said):
    with pytest.raises(kind, match=said) as caught:
        load_image(archive, **options)
    private(caught.value)


def write_npy(path, header: dict, data: bytes) -> None:
    out = io.BytesIO()
    np.lib.format.write_array_header_1_0(out, header)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
        target.writestr("a.npy", out.getvalue() + data)


def test_a_declared_size_is_refused_before_reading(tmp_path, private):
    header = {"descr": "|u1", "fortran_order": False, "shape": (10**6, 10**6)}
    write_npy(tmp_path / "a.npz", header, b"")
    with pytest.raises(errors.OverLimit) as caught:
        load_image(tmp_path / "a.npz", array="a", index=0)
    private(caught.value)


def test_an_inflating_member_is_refused(tmp_path):
    size = 40 * 1024**2
    header = {"descr": "|u1", "fortran_order": False, "shape": (1, 1024, size // 1024)}
    write_npy(tmp_path / "a.npz", header, bytes(size))
    with pytest.raises(errors.OverLimit, match="inflate ratio"):
        load_image(tmp_path / "a.npz", array="a", index=0)
    assert load_image(
        tmp_path / "a.npz", array="a", index=0, limits=Limits(inflate_ratio=2000), size=(4, 4)
    ).pixels.shape == (1, 4, 4)


def test_objects_are_never_unpickled(tmp_path):
    header = {"descr": "|O", "fortran_order": False, "shape": (1,)}
    write_npy(tmp_path / "a.npz", header, pickle.dumps([1]))
    with pytest.raises(errors.UnsupportedEncoding, match="Python objects"):
        load_image(tmp_path / "a.npz", array="a", index=0)


def test_short_and_damaged_archives(archive, tmp_path):
    header = {"descr": "|u1", "fortran_order": False, "shape": (2, 3, 4)}
    write_npy(tmp_path / "a.npz", header, bytes(20))
    with pytest.raises(errors.CorruptFile, match="20 bytes, 24 expected"):
        load_image(tmp_path / "a.npz", array="a", index=0)
    archive.write_bytes(archive.read_bytes()[:150])
    with pytest.raises(errors.CorruptFile, match="not a readable npz"):
        load_image(archive, array="gray", index=0)
