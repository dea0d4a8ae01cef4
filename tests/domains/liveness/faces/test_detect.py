"""Finding faces with OpenCV's own detector on networks that find squares; files that are no detector."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from verticlip.core.errors import ConfigError, DependencyError, InputError, WeightsError
from verticlip.domains.liveness.faces import detect
from verticlip.domains.liveness.faces.detect import Face, FaceDetector, YuNet, by_area, open_detector

pytest.importorskip("cv2", reason="the liveness extra is not installed")
PLAIN = Path(__file__).with_name("yunet_colors.onnx")


def test_box_landmarks_and_score_of_one_face(squares, yunet_path) -> None:
    (face,) = YuNet(yunet_path).detect(squares.draw(160, 256, ("blue", 3, 2)))
    assert face.box == squares.box_of("blue", 3, 2) == (80.0, 48.0, 144.0, 112.0)
    assert np.array_equal(face.landmarks, squares.landmarks_of("blue", 3, 2))
    assert face.landmarks.dtype == np.float32
    assert face.score > 0.99
    assert (face.width, face.height, face.area, face.eye_distance) == (64, 64, 4096, 32)


def test_faces_come_the_largest_first(squares, yunet_path) -> None:
    shown = [("red", 3, 3), ("blue", 5, 3), ("green", 3, 12)]
    faces = YuNet(yunet_path).detect(squares.draw(250, 301, *shown))
    assert [face.box for face in faces] == [squares.box_of(*shown[index]) for index in (1, 2, 0)]
    assert YuNet(yunet_path).detect(squares.draw(40, 30)) == []


def test_a_box_over_the_border_is_kept(squares, yunet_path) -> None:
    (face,) = YuNet(yunet_path).detect(squares.draw(96, 96, ("blue", 0, 1)))
    assert face.box == (-16.0, 16.0, 48.0, 80.0)


def test_scaling_is_exact_where_the_reduced_picture_is_the_small_one(squares, yunet_path) -> None:
    small = squares.draw(160, 256, ("blue", 3, 2))
    large = small.repeat(4, axis=0).repeat(4, axis=1)
    (face,) = YuNet(yunet_path, max_side=256).detect(large)
    assert face.box == (320.0, 192.0, 576.0, 448.0)
    assert np.array_equal(face.landmarks, 4 * squares.landmarks_of("blue", 3, 2))
    assert len(YuNet(yunet_path, max_side=1024).detect(large)) > 1, "unscaled, its parts are found"


def test_a_face_in_the_dark_is_looked_for_twice(squares, yunet_path) -> None:
    picture = squares.draw(160, 256, ("blue", 3, 2))
    dark = (picture // 12).astype(np.uint8)
    assert YuNet(yunet_path, lift_dark=False).detect(dark) == []
    (face,) = YuNet(yunet_path).detect(dark)
    assert face.box == squares.box_of("blue", 3, 2)
    assert dark.max() == 21, "the picture itself stays dark"
    for nothing in (np.zeros_like(picture), np.full_like(picture, 3), np.full_like(picture, 200)):
        assert YuNet(yunet_path).detect(nothing) == []


def test_one_pixel_and_thin_pictures(yunet_path) -> None:
    detector = YuNet(yunet_path)
    for shape in ((1, 1, 3), (1, 900, 3), (2000, 3, 3)):
        assert detector.detect(np.zeros(shape, np.uint8)) == []


def test_many_threads_share_one_detector(squares, yunet_path) -> None:
    detector = YuNet(yunet_path)
    shown = [("blue", 1 + index % 7, 1 + index % 3) for index in range(40)]
    pictures = [squares.draw(130 + index, 300 - index, one) for index, one in enumerate(shown)]
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(detector.detect, pictures))
    assert [faces[0].box for faces in found] == [squares.box_of(*one) for one in shown]


def test_an_engine_that_runs_a_fixed_file_at_its_size_only(squares, monkeypatch) -> None:
    # The newer engine of OpenCV 5 may refuse other sizes: the picture is then put into one of that size.
    real = detect._detect

    def strict(cv2, detector, picture, fixed):
        if fixed is None:
            raise cv2.error("shapes differ")
        return real(cv2, detector, picture, fixed)

    monkeypatch.setattr(detect, "_detect", strict)
    detector = YuNet(PLAIN.with_name("yunet_colors_fixed.onnx"))
    (face,) = detector.detect(squares.draw(160, 256, ("blue", 3, 2)))
    assert face.box == squares.box_of("blue", 3, 2)
    with pytest.raises(WeightsError, match="cannot run this file as YuNet"):
        YuNet(PLAIN)


def test_the_digest_says_file_and_settings(yunet_path) -> None:
    first = YuNet(yunet_path)
    assert len(first.sha256) == len(first.digest) == 64
    assert YuNet(yunet_path).digest == first.digest
    assert YuNet(yunet_path, score_threshold=0.7).digest != first.digest
    assert YuNet(yunet_path, max_side=320).digest != first.digest
    assert YuNet(yunet_path, lift_dark=False).digest != first.digest
    assert isinstance(first, FaceDetector)


def test_the_committed_networks_are_what_the_script_writes(squares) -> None:
    onnx = pytest.importorskip("onnx", reason="the export extra is not installed")
    for name, size in (("yunet_colors.onnx", None), ("yunet_colors_fixed.onnx", 640)):
        stored = onnx.load_from_string(PLAIN.with_name(name).read_bytes())
        assert stored == onnx.load_from_string(squares.network(size))


def test_faces_of_one_size_have_a_fixed_order() -> None:
    faces = [Face((10, 0, 20, 10)), Face((0, 5, 10, 15)), Face((0, 0, 10, 10)), Face((5, 5, 15, 15), 0.5)]
    assert [face.box[:2] for face in by_area(faces)] == [(0, 0), (0, 5), (10, 0), (5, 5)]
    assert Face((0, 0, 1, 1)).eye_distance is None


# How a detector is chosen, and what is said of files that are none.


def test_opening_by_name_variable_or_object(yunet_path, monkeypatch) -> None:
    assert open_detector("none") is None
    monkeypatch.setenv(detect.VARIABLE, str(yunet_path))
    found = open_detector("yunet")
    assert isinstance(found, YuNet)
    assert open_detector(found) is found
    with pytest.raises(
        ConfigError, match=r"Unknown face detector 'yunett'; known: yunet, none. Did you mean 'yunet'"
    ):
        open_detector("yunett")
    with pytest.raises(ConfigError, match="'int' is no face detector: it needs name, digest and detect"):
        open_detector(3)
    with pytest.raises(ConfigError, match='detector is "none". Pass detector="yunet"'):
        open_detector("none", yunet_path)
    with pytest.raises(ConfigError, match="beside a detector object"):
        open_detector(found, yunet_path)


def test_without_a_file_the_message_says_extra_file_source_and_variable(monkeypatch) -> None:
    monkeypatch.delenv(detect.VARIABLE, raising=False)
    with pytest.raises(WeightsError) as caught:
        open_detector("yunet")
    for word in (
        "verticlip[liveness]",
        "2023mar.onnx",
        "MIT",
        "OpenCV Zoo",
        "VERTICLIP_YUNET",
        'detector="none"',
    ):
        assert word in str(caught.value)


def test_files_that_are_no_detector(squares, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv(detect.VARIABLE, str(tmp_path / "gone.onnx"))
    with pytest.raises(WeightsError, match=r"gone.onnx \(from VERTICLIP_YUNET\): no such file"):
        YuNet()
    with pytest.raises(WeightsError, match=r"\(from detector_path\): is a folder"):
        YuNet(tmp_path)
    whole = PLAIN.read_bytes()
    for content, words in {
        b"version https://git-lfs.github.com/spec/v1\noid": "a Git LFS pointer, not the file itself",
        b"": "not a whole ONNX file: there is no graph",
        b"<!doctype html>": "not a whole ONNX file",
        whole[: len(whole) // 2]: "it ends too early; the download or copy was cut off",
        whole[:-1]: "the download or copy was cut off",
        bytes(range(256)) * 9: "not a whole ONNX file",
    }.items():
        path = tmp_path / "a.onnx"
        path.write_bytes(content)
        with pytest.raises(WeightsError, match=words) as caught:
            YuNet(path)
        assert "OpenCV Zoo" in str(caught.value)
    monkeypatch.setattr(detect, "_MAX_BYTES", 10)
    with pytest.raises(WeightsError, match="bytes are not YuNet, which has 0.2 MB"):
        YuNet(PLAIN)


def test_another_network_is_refused_by_its_outputs(squares, tmp_path) -> None:
    pytest.importorskip("onnx", reason="the export extra is not installed")
    path = tmp_path / "other.onnx"
    path.write_bytes(squares.network(None, leave_out="kps_16"))
    with pytest.raises(WeightsError, match="not YuNet in its form since 2023: it lacks the outputs kps_16"):
        YuNet(path)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"score_threshold": 0}, "score_threshold is over 0 and at most 1, got 0"),
        ({"nms_threshold": 1.5}, "nms_threshold is over 0"),
        ({"top_k": 0}, "top_k is at least 1"),
        ({"max_side": 0}, "max_side is at least 1"),
    ],
)
def test_settings(options, words) -> None:
    with pytest.raises(ConfigError, match=words):
        YuNet(PLAIN, **options)


def test_what_is_no_picture() -> None:
    detector = YuNet(PLAIN)
    for item, words in [
        ("face.jpg", "The picture is 'str', expected a uint8 array"),
        (np.zeros((4, 4), np.uint8), r"has shape \(4, 4\), expected \[H, W, 3\]"),
        (np.zeros((4, 4, 3)), "has dtype float64, expected uint8"),
        (np.zeros((0, 4, 3), np.uint8), "at least one pixel"),
    ]:
        with pytest.raises(InputError, match=words):
            detector.detect(item)


def test_opencv_missing_or_too_old(monkeypatch) -> None:
    cv2 = sys.modules["cv2"]
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(DependencyError, match=r"'cv2' is needed here.*verticlip\[liveness\]"):
        YuNet(PLAIN)
    monkeypatch.setitem(sys.modules, "cv2", cv2)
    monkeypatch.delattr(cv2, "FaceDetectorYN")
    with pytest.raises(DependencyError, match="has no FaceDetectorYN"):
        YuNet(PLAIN)
