"""Fingerprints are worked out once per picture and are gone with it."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from ecommerce.duplicates.make_copies import CHANGES, jpeg, photo
from PIL import Image
from verticlip.domains.ecommerce.duplicates import prints as module
from verticlip.domains.ecommerce.duplicates.prints import collect_prints, look_alike, looks, print_of


@pytest.fixture
def pictures(tmp_path):
    """{sha256: file} of three pictures."""
    found = {}
    for seed in range(3):
        content = jpeg(photo(seed))
        path = tmp_path / f"{seed}.jpg"
        path.write_bytes(content)
        found[hashlib.sha256(content).hexdigest()] = path
    return found


def test_what_is_known_is_not_read_again(pictures, tmp_path, monkeypatch):
    cache = tmp_path / "made" / "pictures.parquet"
    seen = []
    first, failed = collect_prints(pictures, cache, progress=lambda *done: seen.append(done))
    assert (len(first), failed) == (3, [])
    assert seen == [(1, 3), (2, 3), (3, 3)]
    monkeypatch.setattr(module, "read_bytes", lambda *_: pytest.fail("read again"))
    again, failed = collect_prints(pictures, cache)
    assert (again, failed) == (first, [])
    some = dict(list(pictures.items())[:1])
    assert set(collect_prints(some, cache)[0]) == set(some)
    assert collect_prints(pictures, cache)[0] == first


@pytest.mark.parametrize("content", [b"", b"PAR1 damaged", None])
def test_a_damaged_cache_is_made_anew(pictures, tmp_path, content):
    cache = tmp_path / "pictures.parquet"
    first, _ = collect_prints(pictures, cache)
    cache.write_bytes(cache.read_bytes()[:200] if content is None else content)
    assert collect_prints(pictures, cache)[0] == first
    assert collect_prints({}, cache)[0] == {}


def test_a_cache_that_cannot_be_written_is_done_without(pictures, tmp_path):
    (tmp_path / "duplicates").write_text("a file where a folder should be")
    found, failed = collect_prints(pictures, tmp_path / "duplicates" / "pictures.parquet")
    assert (len(found), failed) == (3, [])


def test_a_picture_that_has_changed_or_broken_is_a_failure(pictures, tmp_path):
    (tmp_path / "0.jpg").write_bytes(jpeg(photo(9)))
    (tmp_path / "1.jpg").write_bytes(b"broken")
    (tmp_path / "2.jpg").unlink()
    found, failed = collect_prints(pictures)
    assert found == {}
    said = sorted(one.error for one in failed)
    assert "0.jpg: has changed since it was taken in" in said[0]
    assert "1.jpg: has changed" in said[1]
    assert "2.jpg: no such file" in said[2]


def test_a_flat_picture_has_no_hash():
    assert print_of(Image.new("RGB", (90, 90), "white")).is_flat
    assert not print_of(photo(1)).is_flat


def test_looks_agree_for_copies_and_not_for_other_colors():
    originals = [photo(seed) for seed in range(8)]
    looked = looks([print_of(image) for image in originals])
    for name in ("saved again", "half the size", "brighter"):
        copies = looks([print_of(CHANGES[name](image)) for image in originals])
        assert look_alike(looked, copies).all(), name
    mirrored = looks([print_of(CHANGES["mirrored"](image)) for image in originals])
    assert look_alike(looked, mirrored[:, :, ::-1]).all()
    assert not look_alike(looked, np.roll(looked, 1, axis=0)).any()
    recolored = looks([print_of(Image.merge("RGB", image.split()[::-1])) for image in originals])
    assert look_alike(looked, recolored).sum() <= 1
