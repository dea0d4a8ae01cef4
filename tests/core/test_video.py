"""Films: what is opened, what is told of it, and their frames in order."""

from __future__ import annotations

import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from verticlip.core.errors import DependencyError, InputError, LimitError
from verticlip.core.limits import Limits
from verticlip.core.video import is_film, open_film, picture_of, probe_video, upright


def write(
    path: Path, count: int = 10, *, codec: str = "libx264", options: dict[str, str] | None = None
) -> Path:
    av = pytest.importorskip("av", reason="the video extra is not installed")
    with av.open(str(path), "w", options=options or {}) as container:
        track = container.add_stream(codec, rate=10)
        track.height, track.width, track.pix_fmt = 32, 48, "yuv420p"
        for index in range(count):
            frame = av.VideoFrame.from_ndarray(np.full((32, 48, 3), 20 * index, np.uint8), format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, 10)
            container.mux(track.encode(frame))
        container.mux(track.encode())
    return path


def test_films_are_turned_upright() -> None:
    picture = np.arange(6, dtype=np.uint8).reshape(2, 3, 1).repeat(3, axis=2)
    assert upright(picture, 0)[..., 0].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert upright(picture, 90)[..., 0].tolist() == [[2, 5], [1, 4], [0, 3]]
    assert upright(picture, -90)[..., 0].tolist() == [[3, 0], [4, 1], [5, 2]]
    assert upright(picture, 180)[..., 0].tolist() == [[5, 4, 3], [2, 1, 0]]


def test_header_count_and_frames(tmp_path) -> None:
    path = write(tmp_path / "a.mp4")
    info = probe_video(path)
    assert (info.height, info.width, info.fps, info.codec, info.has_audio) == (32, 48, 10.0, "h264", False)
    assert info.duration_s == pytest.approx(1.0)
    with open_film(path) as film:
        assert film.count_frames() == 10
        assert film.missing is None
    with open_film(path) as film:
        shown = [(seconds, picture_of(frame)) for seconds, frame in film.frames()]
    assert [seconds for seconds, _ in shown] == pytest.approx([index / 10 for index in range(10)])
    assert [float(picture.mean()) for _, picture in shown] == pytest.approx(
        [20 * i for i in range(10)], abs=3
    )
    assert shown[0][1].shape == (32, 48, 3)
    with open_film(path) as film:
        assert [seconds for seconds, _ in film.decoded()] == pytest.approx([i / 10 for i in range(10)])


def test_a_cut_film_is_refused_or_opened_as_asked(tmp_path) -> None:
    data = write(tmp_path / "a.mp4", options={"movflags": "faststart"}).read_bytes()
    cut = data[:-200]
    with (
        pytest.raises(InputError, match="film in memory: the file is damaged or cut off: .* % of the film"),
        open_film(cut),
    ):
        pass
    with open_film(cut, allow_truncated=True) as film:
        assert 0 < film.missing < 1
        assert 0 < film.count_frames() <= 10


def test_is_film(tmp_path) -> None:
    assert is_film(write(tmp_path / "a.mkv"))
    text = tmp_path / "a.mp4"
    text.write_text("no film")
    assert not is_film(text)
    assert not is_film("nul\0.mp4")
    assert not is_film(tmp_path)
    assert not is_film(tmp_path / "gone.mp4")


def test_what_cannot_be_opened(tmp_path) -> None:
    text = tmp_path / "a.mp4"
    text.write_text("no film at all")
    for limits, source, words in [
        (Limits(), text, "a.mp4: not a film; the content looks like text"),
        (Limits(), tmp_path / "gone.mp4", "gone.mp4: no such file. Check the path of the film"),
        (Limits(), b"RIFF0000WAVE" * 50, "a recording without a picture"),
    ]:
        with pytest.raises(InputError, match=words), open_film(source, limits=limits):
            pass
    path = write(tmp_path / "b.mp4")
    with pytest.raises(LimitError, match="pixels of a frame"), open_film(path, limits=Limits(pixels=100)):
        pass


def test_the_extra_of_the_caller_is_named(tmp_path, monkeypatch) -> None:
    path = write(tmp_path / "a.mp4")
    monkeypatch.setitem(sys.modules, "av", None)
    with (
        pytest.raises(DependencyError, match=r"a.mp4: .*verticlip\[video\]\"\.$"),
        open_film(path),
    ):
        pass
    with (
        pytest.raises(DependencyError, match=r"verticlip\[liveness\]\"\.$"),
        open_film(path, extra="liveness"),
    ):
        pass
