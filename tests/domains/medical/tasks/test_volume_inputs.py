"""Volumes given to the verbs every model has."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import verticlip
from verticlip.core.errors import ConfigError, InputError
from verticlip.domains.medical.tasks.volume_inputs import embed_volume, is_volume


@pytest.fixture(scope="module")
def model():
    return verticlip.from_pretrained("medical/tiny")


@pytest.fixture
def scan(tmp_path):
    """Write a NIfTI file and return its path."""
    nibabel = pytest.importorskip("nibabel")

    def write(values: np.ndarray, name: str = "scan.nii.gz"):
        nibabel.Nifti1Image(values, np.eye(4)).to_filename(tmp_path / name)
        return tmp_path / name

    return write


VALUES = np.random.default_rng(0).integers(0, 900, (16, 18, 5)).astype(np.int16)


def test_what_counts_as_a_volume(scan, wheel_file, tmp_path):
    assert is_volume(None, tmp_path)
    assert is_volume(None, scan(VALUES))
    assert is_volume(None, scan(VALUES, "scan.nii"))
    assert not is_volume(None, wheel_file("CT_small.dcm"))
    # Thirty frames of ultrasound: a film, not a stack.
    assert not is_volume(None, wheel_file("examples_ybr_color.dcm"))
    assert not is_volume(None, tmp_path / "none.nii.gz")


def test_slices_that_show_nothing_do_not_count(model, scan):
    values = VALUES.copy()
    values[..., 0] = values[..., 4] = 0
    vector, meta = embed_volume(model, scan(values))
    assert meta["slices"] == 3
    assert float(vector.norm()) == pytest.approx(1, abs=1e-5)
    _, meta = embed_volume(model, scan(values), slices=[1, 3])
    assert meta["slices"] == 2


def test_all_verbs_take_a_volume_among_images(model, scan, wheel_file):
    path, image = scan(VALUES), wheel_file("MR_small.dcm")
    both = model.embed([image, path, image], modality="image")
    alone = model.embed(path, modality="image")
    torch.testing.assert_close(both.vectors[1], alone.vectors[0])
    torch.testing.assert_close(both.vectors[0], both.vectors[2])
    assert both.ids == (str(image), str(path), str(image))
    answers = model.classify([image, path], ["brain scan", "blood smear"])
    assert [answer.id for answer in answers] == [str(image), str(path)]
    assert answers[1].meta["slices"] == 5


def test_what_is_refused(model, scan, tmp_path, private):
    with pytest.raises(ConfigError, match="A volume has no option 'aggregate'; it has: window, axis, slices"):
        embed_volume(model, scan(VALUES), aggregate="mean")
    with pytest.raises(InputError, match="the volume: none of 5 axial slices shows anything") as caught:
        embed_volume(model, scan(np.zeros((16, 18, 5), np.int16)), window=(100, 200))
    private(caught.value)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="there are no files"):
        model.embed(tmp_path / "empty", modality="image")
    four = np.zeros((4, 4, 3, 2), np.int16)
    with pytest.raises(InputError, match="frame"):
        model.embed(scan(four), modality="image")


def test_a_model_without_a_domain_reads_files_only(model_folder, tmp_path):
    with pytest.raises(InputError, match="folder|directory|cannot"):
        verticlip.from_pretrained(model_folder).embed(tmp_path, modality="image")


def test_volumes_are_read_by_threads_and_encoded_by_the_caller(
    model, scan, wheel_file, tmp_path, monkeypatch
):
    import threading

    from verticlip.core.answers import Failure

    paths = [scan(VALUES, f"{number}.nii") for number in range(4)]
    broken = tmp_path / "broken.nii"
    broken.write_bytes(paths[0].read_bytes()[:400])
    items = [paths[0], wheel_file("MR_small.dcm"), paths[1], broken, *paths[2:]]
    ran: set[int] = set()
    encode = type(model.network).encode

    def noted(self, *given, **named):
        ran.add(threading.get_ident())
        return encode(self, *given, **named)

    monkeypatch.setattr(type(model.network), "encode", noted)
    report = model.embed_files([(str(n), path) for n, path in enumerate(items)], tmp_path / "v.parquet")
    assert (report.embedded, report.failed) == (5, 1)
    found = list(model.embed_each(items, batch_size=3))
    assert [isinstance(one, Failure) for one in found] == [False, False, False, True, False, False]
    torch.testing.assert_close(found[0].vectors, embed_volume(model, paths[0])[0][None])
    assert found[0].metas[0]["slices"] == 5
    assert ran == {threading.get_ident()}
