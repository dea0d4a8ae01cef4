"""Presentations: a picture, several, a film, several."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from PIL import Image
from verticlip.core.errors import InputError, LimitError
from verticlip.core.limits import Limits
from verticlip.core.types import Sample
from verticlip.domains.liveness.frames.media import read_media
from verticlip.domains.liveness.frames.sampling import Sampling

PIXELS = np.random.default_rng(0).integers(0, 256, (12, 17, 3), np.uint8)


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "face.png"
    Image.fromarray(PIXELS).save(path)
    return path


def test_a_still_picture(photo) -> None:
    media = read_media(photo)
    assert (media.is_video, media.frames_total, media.asked, media.name) == (False, 1, 1, "face.png")
    assert (media.indices, media.times_s, media.frame_rates, media.warnings) == ((0,), (None,), (), ())
    assert np.array_equal(media.frames[0], PIXELS)
    assert read_media(photo, show_paths=True).name == str(photo)
    assert read_media(photo, name="case 7").name == "case 7"
    assert read_media(media) is media
    for item in (PIXELS, PIXELS[..., 0], torch.from_numpy(PIXELS).permute(2, 0, 1), photo.read_bytes()):
        assert len(read_media(item).frames) == 1
    assert read_media(PIXELS).name == "presentation"
    assert read_media(Sample(torch.zeros(3, 4, 4), "image", {}, id="id 3")).name == "id 3"


def test_several_pictures_are_frames_of_one_film(photo) -> None:
    media = read_media([photo, PIXELS[:5], PIXELS])
    assert (media.is_video, media.frames_total, media.asked, media.name) == (True, 3, 5, "face.png")
    assert media.indices == (0, 1, 2)
    assert [frame.shape for frame in media.frames] == [(12, 17, 3), (5, 17, 3), (12, 17, 3)]
    assert not read_media([photo]).is_video
    # How many are given is not how many are needed.
    assert read_media([photo, photo], Sampling(kind="flip_mcio")).asked == 2
    assert read_media([photo, photo], Sampling(kind="all")).asked is None
    stack = np.stack([PIXELS, 255 - PIXELS])
    assert np.array_equal(read_media(stack).frames[1], 255 - PIXELS)
    assert len(read_media(torch.from_numpy(stack).permute(0, 3, 1, 2)).frames) == 2


def test_a_film(films, tmp_path) -> None:
    path = films.film(tmp_path / "a.mp4", 30)
    media = read_media(path, Sampling(count=3))
    assert (media.is_video, media.frames_total, media.asked, media.name) == (True, 30, 3, "a.mp4")
    assert media.frame_rates == (25.0,)
    assert media.indices == (5, 15, 25)
    assert films.numbers(media.frames) == [5, 15, 25]
    assert len(read_media(path).frames) == 5
    assert len(read_media(path.read_bytes()).frames) == 5
    assert read_media(path, Sampling(kind="all")).asked is None


def test_films_of_different_rate_and_size(films, tmp_path) -> None:
    first = films.film(tmp_path / "a.mp4", 20, fps=25)
    second = films.film(tmp_path / "b.mkv", 20, fps=10, size=(32, 32))
    media = read_media([first, second], Sampling(kind="flip_mcio"))
    assert media.frame_rates == (25.0, 10.0)
    assert media.indices == (6, 16, 6, 16)
    assert media.times_s == pytest.approx((0.24, 0.64, 0.6, 1.6), abs=2e-3)
    assert (media.frames_total, media.asked) == (40, 4)
    assert {frame.shape for frame in media.frames} == {(48, 64, 3), (32, 32, 3)}


def test_what_is_no_presentation(films, photo, tmp_path) -> None:
    path = films.film(tmp_path / "a.mp4", 3)
    with pytest.raises(InputError, match="a.mp4: mixes films and pictures"):
        read_media([path, photo])
    for empty in ([], (), np.zeros((0, 4, 4, 3), np.uint8)):
        with pytest.raises(InputError, match="presentation: has no frames"):
            read_media(empty)
    with pytest.raises(InputError, match="presentation, picture 1: dtype int64"):
        read_media([PIXELS, PIXELS.astype(np.int64)])
    with pytest.raises(InputError, match="NoneType is not an image"):
        read_media(None)
    with pytest.raises(InputError, match="gone.mp4: no such file"):
        read_media(tmp_path / "gone.mp4")


def test_ceilings(films, tmp_path) -> None:
    with pytest.raises(LimitError, match="presentation: 4 frames to look at, over max_frames 3"):
        read_media([PIXELS] * 4, Sampling(max_frames=3))
    with pytest.raises(LimitError, match="bytes of the frames"):
        read_media([PIXELS] * 4, limits=Limits(decoded_bytes=2000))
    path = films.film(tmp_path / "a.mp4", 8)
    with pytest.raises(LimitError, match="bytes of the frames"):
        read_media([path, path], limits=Limits(decoded_bytes=6 * 48 * 64 * 3))


def test_threads_read_at_once(films, photo, tmp_path) -> None:
    path = films.film(tmp_path / "a.mp4", 30)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(read_media, [path, photo] * 8))
    for media in found[::2]:
        assert films.numbers(media.frames) == [3, 9, 15, 21, 27]
