"""Preparations of pictures that the files of other libraries describe."""

from __future__ import annotations

import pytest
from verticlip.core.errors import ConfigError
from verticlip.core.layouts.pictures import open_clip_pictures, transformers_pictures


@pytest.mark.parametrize("deviation", [0, -1, [0.2, 0.0, 0.2], [0.2, 0.2], "x", float("nan")])
def test_pictures_are_not_divided_by_what_is_no_deviation(deviation: object) -> None:
    with pytest.raises(ConfigError, match=r"preprocessor_config.json: image_std"):
        transformers_pictures({"image_std": deviation}, 32, siglip=True)
    with pytest.raises(ConfigError, match=r"open_clip_config.json: preprocess_cfg: std"):
        open_clip_pictures({"std": deviation}, 32, source="open_clip_config.json")


def test_one_number_stands_for_three_channels() -> None:
    found = transformers_pictures({"image_std": 0.25, "image_mean": 0.5}, 32, siglip=True)
    assert (found.std, found.mean) == ((0.25,) * 3, (0.5,) * 3)
