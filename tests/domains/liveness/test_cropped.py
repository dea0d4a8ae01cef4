"""Face crops remember how they were cut."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from verticlip.core.errors import InputError
from verticlip.domains.liveness.cropped import check_cropped_as, crop_settings, save_crop
from verticlip.domains.liveness.faces.crop import CropConfig

PIXELS = np.random.default_rng(0).integers(0, 255, (20, 30, 3), np.uint8)


def test_settings_travel_with_the_pixels(tmp_path):
    config = CropConfig(scale=2.7, shift=True, size=80)
    path = save_crop(tmp_path / "face.png", PIXELS, config)
    assert crop_settings(path) == config
    with Image.open(path) as picture:
        assert (np.asarray(picture) == PIXELS).all()
    check_cropped_as(path, [CropConfig(scale=2.7, shift=True, size=224)], detects=False)
    with pytest.raises(InputError, match=r"face.png: was cropped with other settings \(scale 2.7, shift\)"):
        check_cropped_as(path, [config, CropConfig(scale=4.0, shift=True)], detects=False)
    with pytest.raises(InputError, match="Check crops with detector 'none'"):
        check_cropped_as(path, [config], detects=True)


def test_files_that_say_nothing(tmp_path):
    Image.fromarray(PIXELS).save(tmp_path / "a.png")
    Image.fromarray(PIXELS).save(tmp_path / "a.jpg")
    (tmp_path / "bad.png").write_bytes(b"nothing")
    for name in ("a.png", "a.jpg", "bad.png", "none.png"):
        assert crop_settings(tmp_path / name) is None
        check_cropped_as(tmp_path / name, [CropConfig()], detects=True)


def test_damaged_settings_and_other_formats(tmp_path):
    words = PngInfo()
    words.add_text("verticlip-crop", '{"scale": -1}')
    Image.fromarray(PIXELS).save(tmp_path / "a.png", pnginfo=words)
    with pytest.raises(InputError, match="its crop settings cannot be read"):
        crop_settings(tmp_path / "a.png")
    with pytest.raises(InputError, match="are .png files"):
        save_crop(tmp_path / "a.jpg", PIXELS, CropConfig())
