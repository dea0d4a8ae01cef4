"""The right frames of films of every kind, and what is told of damaged ones."""

from __future__ import annotations

import io

import numpy as np
import pytest
from verticlip.core.errors import DependencyError, InputError, LimitError
from verticlip.core.limits import Limits
from verticlip.domains.liveness.frames.film import read_film
from verticlip.domains.liveness.frames.sampling import Sampling

FLIP = Sampling(kind="flip_mcio")


@pytest.mark.parametrize("suffix", [".mp4", ".webm", ".mkv", ".avi", ".ts"])
def test_flips_frames_are_exact_in_every_container(films, tmp_path, suffix) -> None:
    found = read_film(films.film(tmp_path / f"a{suffix}", 41), FLIP)
    assert found.indices == (6, 26)
    assert films.numbers(found.frames) == [6, 26]
    assert found.total == 41
    assert found.fps == pytest.approx(25, abs=0.1)
    assert found.times_s == pytest.approx((6 / 25, 26 / 25), abs=2e-3)
    assert found.warnings == ()
    assert found.frames[0].dtype == np.uint8
    assert found.frames[0].shape == (48, 64, 3)
    assert found.frames[0].flags.c_contiguous


def test_equidistant_and_all(films, tmp_path) -> None:
    path = films.film(tmp_path / "a.mp4", 30)
    assert films.numbers(read_film(path, Sampling(count=3)).frames) == [5, 15, 25]
    assert films.numbers(read_film(path, Sampling(kind="all")).frames) == list(range(30))
    assert read_film(path, Sampling(kind="all")).total == 30


def test_bytes_and_files_opened_by_the_caller(films, tmp_path) -> None:
    path = films.film(tmp_path / "a.mp4", 20)
    for source in (path, str(path), path.read_bytes(), io.BytesIO(path.read_bytes())):
        assert films.numbers(read_film(source, FLIP).frames) == [6, 16]


def test_by_time_with_an_even_rate(films, tmp_path) -> None:
    path = films.film(tmp_path / "a.mp4", 50, fps=25)
    found = read_film(path, Sampling(kind="every", seconds=0.4))
    assert films.numbers(found.frames) == [0, 10, 20, 30, 40]
    assert found.times_s == pytest.approx((0, 0.4, 0.8, 1.2, 1.6))
    assert found.total == 50


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_by_time_with_a_rate_that_changes(films, tmp_path, suffix) -> None:
    # Ten frames at 50 ms, a pause of a second, then ten frames at 200 ms.
    times = [*range(0, 500, 50), *range(1500, 3500, 200)]
    path = films.film(tmp_path / f"a{suffix}", 20, times_ms=times)
    found = read_film(path, Sampling(kind="every", seconds=0.5))
    # The first frame of each half second; the pause has none and is not filled.
    assert found.indices == (0, 10, 13, 15, 18)
    assert films.numbers(found.frames) == [0, 10, 13, 15, 18]
    assert found.times_s == pytest.approx((0, 1.5, 2.1, 2.5, 3.1), abs=2e-3)
    # Indices count frames, whatever the time between them.
    assert films.numbers(read_film(path, FLIP).frames) == [6, 16]


def test_one_frame(films, tmp_path) -> None:
    path = films.film(tmp_path / "a.mp4", 1)
    for sampling in (FLIP, Sampling(), Sampling(kind="all"), Sampling(kind="every")):
        found = read_film(path, sampling)
        assert found.indices == (0,)
        assert found.total == 1


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_phone_films_are_turned_upright(films, tmp_path, quarters) -> None:
    path = films.film(tmp_path / "a.mp4", 8)
    plain = read_film(path, FLIP).frames[0]
    turned = read_film(films.turn(path, quarters), FLIP).frames[0]
    assert np.array_equal(turned, np.rot90(plain, -quarters))
    assert turned.flags.c_contiguous


# Damage.


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi", ".ts"])
def test_cut_films_give_the_frames_before_the_cut(films, tmp_path, suffix) -> None:
    options = {"movflags": "faststart"} if suffix == ".mp4" else None
    path = films.film(tmp_path / f"a{suffix}", 48, size=(96, 128), options=options, key_frames=4)
    data = path.read_bytes()
    cut = data[: len(data) * 6 // 10]
    found = read_film(cut, Sampling(count=5))
    assert 5 < found.total < 48
    assert films.numbers(found.frames) == list(found.indices)
    assert found.indices[-1] < found.total
    assert len(found.frames) == 5
    if suffix != ".ts":
        assert any("cut off" in warning for warning in found.warnings), found.warnings
    every = read_film(cut, Sampling(kind="all"))
    assert films.numbers(every.frames) == list(every.indices)
    if suffix != ".ts":
        assert every.warnings[-1] == f"film in memory: {every.total} frames could be read."


def test_a_film_cut_in_its_header_is_no_film(films, tmp_path) -> None:
    data = films.film(tmp_path / "a.mp4", 20).read_bytes()
    with pytest.raises(InputError, match="film in memory: .*damaged or cut off"):
        read_film(data[: len(data) // 2], FLIP)


def test_a_film_without_frames(films, tmp_path) -> None:
    import av

    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        track = container.add_stream("libx264", rate=25)
        track.height, track.width, track.pix_fmt = 48, 64, "yuv420p"
        container.start_encoding()
    for sampling in (FLIP, Sampling(kind="all")):
        with pytest.raises(InputError, match="a.mkv: (no frame of the film can be decoded|.*damaged)"):
            read_film(path, sampling)


def test_sound_only(films, tmp_path) -> None:
    import av

    path = tmp_path / "voice.m4a"
    with av.open(str(path), "w") as container:
        track = container.add_stream("aac", rate=16_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), format="fltp", layout="mono")
        frame.sample_rate, frame.pts = 16_000, 0
        container.mux(track.encode(frame))
        container.mux(track.encode())
    with pytest.raises(
        InputError, match="voice.m4a: .* has no picture, only sound. Give a film or a picture"
    ):
        read_film(path, FLIP)


def test_ceilings(films, tmp_path) -> None:
    path = films.film(tmp_path / "a.mp4", 40)
    with pytest.raises(LimitError, match="a.mp4: 11 frames to look at, over max_frames 10"):
        read_film(path, Sampling(kind="all", max_frames=10))
    with pytest.raises(LimitError, match="a.mp4: frames 40 is over the limit of 39"):
        read_film(path, FLIP, limits=Limits(frames=39))
    with pytest.raises(LimitError, match="a.mp4: frames 40 is over the limit of 39"):
        read_film(path, Sampling(kind="every", seconds=10), limits=Limits(frames=39))
    with pytest.raises(LimitError, match="bytes of the frames"):
        read_film(path, FLIP, limits=Limits(decoded_bytes=10_000))
    with pytest.raises(LimitError, match="pixels of a frame 3,072"):
        read_film(path, FLIP, limits=Limits(pixels=3000))
    with pytest.raises(LimitError, match="seconds"):
        read_film(path, FLIP, limits=Limits(seconds=1))


def test_without_pyav_the_extra_is_named(films, tmp_path, monkeypatch) -> None:
    import sys

    path = films.film(tmp_path / "a.mp4", 3)
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(DependencyError, match=r"a.mp4: MP4, M4A or QuickTime files.*verticlip\[liveness\]"):
        read_film(path, FLIP)
