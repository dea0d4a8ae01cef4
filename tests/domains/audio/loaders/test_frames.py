"""``load_image`` of the audio room takes pictures and films."""

from __future__ import annotations

import pytest
import torch
from PIL import Image
from verticlip.core.errors import ConfigError, InputError
from verticlip.domains.audio.loaders.frames import load_image


def test_a_film_gives_its_middle_or_the_frame_asked_for(film) -> None:
    middle = load_image(film)
    assert middle.modality == "image"
    assert middle.value.shape == (3, 48, 64)
    assert middle.value.dtype == torch.uint8
    assert middle.meta == {"format": "MP4, M4A or QuickTime", "height": 48, "width": 64, "time_s": 2.0}
    assert not torch.equal(middle.value, load_image(film, time_s=0.5).value)


def test_pictures_are_as_everywhere(tmp_path) -> None:
    Image.new("RGB", (5, 4), (1, 2, 3)).save(tmp_path / "a.png")
    assert load_image(tmp_path / "a.png").value[:, 0, 0].tolist() == [1, 2, 3]
    with pytest.raises(ConfigError, match="time_s 1 chooses a frame of a film; a.png is none"):
        load_image(tmp_path / "a.png", time_s=1.0)
    with pytest.raises(InputError, match="no such file"):
        load_image(tmp_path / "gone.png")
