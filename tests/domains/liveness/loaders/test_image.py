"""The loader that the registry names."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from verticlip.core.errors import InputError
from verticlip.domains.liveness.loaders.image import load_image


def test_a_picture_is_loaded_upright(tmp_path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (12, 17, 3), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "face.png"
    Image.fromarray(pixels).save(path, exif=exif)
    sample = load_image(path)
    assert sample.modality == "image"
    assert sample.id == "face.png"
    assert np.array_equal(sample.value.permute(1, 2, 0).numpy(), np.rot90(pixels, -1))


def test_films_and_missing_files(tmp_path) -> None:
    path = tmp_path / "a.mkv"
    path.write_bytes(b"\x1aE\xdf\xa3" + b"0" * 600)
    with pytest.raises(InputError, match="^a.mkv: is a film. Check it with `verticlip liveness check`"):
        load_image(path)
    with pytest.raises(InputError, match=str(path)):
        load_image(path, show_paths=True)
    with pytest.raises(InputError, match="gone.png: no such file"):
        load_image(tmp_path / "gone.png")
