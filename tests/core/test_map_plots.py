"""Pictures with maps: colours, places, sizes, and what stands beside them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from verticlip.core.errors import InputError
from verticlip.core.map_plots import Panel, save_heat_map, save_montage, save_tile_map

GREY = np.full((60, 80), 0.5)


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB")).astype(int)


def tint(path: Path, x: float, y: float) -> tuple[int, int]:
    """(red - blue, brightness) at a place given as shares of the picture, read clear of any line."""
    found = pixels(path)
    height, width, _ = found.shape
    area = found[int(y * height) - 4 : int(y * height) + 4, int(x * width) - 4 : int(x * width) + 4]
    red, green, blue = np.median(area.reshape(-1, 3), axis=0)
    return int(red - blue), int(red + green + blue)


def test_a_map_is_blue_below_zero_red_above_and_clear_where_it_is_nan(tmp_path: Path):
    values = np.full((60, 80), np.nan)
    values[:, 30:50], values[:, 60:] = -0.9, 0.9
    save_heat_map(values, GREY, tmp_path / "map.png", title="where")
    assert abs(tint(tmp_path / "map.png", 0.1, 0.5)[0]) <= 2
    assert tint(tmp_path / "map.png", 0.4, 0.5)[0] < -30
    assert tint(tmp_path / "map.png", 0.72, 0.5)[0] > 30


def test_numbers_without_a_fixed_range_are_coloured_by_what_there_is(tmp_path: Path):
    values = np.linspace(-12, -8, 80)[None].repeat(60, axis=0)
    save_heat_map(values, np.zeros((60, 80)), tmp_path / "map.png", value_range=(-106.0, 86.0))
    assert tint(tmp_path / "map.png", 0.72, 0.6)[1] > tint(tmp_path / "map.png", 0.1, 0.6)[1] + 100


def test_a_montage_has_a_place_per_picture_and_one_colour_bar(tmp_path: Path):
    plain = [Panel(GREY, title=f"picture {number}") for number in range(5)]
    save_montage(plain, tmp_path / "plain.png", columns=3, title="five")
    mapped = [Panel(GREY, GREY * 1.5, boxes=[(10, 10, 30, 30, 0.7)], spacing=(2.0, 1.0)), *plain[1:]]
    save_montage(mapped, tmp_path / "mapped.png", columns=3, value_range=(0.0, 1.0))
    assert pixels(tmp_path / "plain.png").shape[1] > 900
    # Twice as high a pixel makes the figure higher.
    assert pixels(tmp_path / "mapped.png").shape[0] > 1.3 * pixels(tmp_path / "plain.png").shape[0]
    yellow = pixels(tmp_path / "mapped.png")
    assert ((yellow[..., 0] > 200) & (yellow[..., 1] > 190) & (yellow[..., 2] < 110)).sum() > 50


def test_a_large_picture_is_drawn_smaller_with_its_boxes_in_place(tmp_path: Path):
    image = np.zeros((3000, 2000))
    image[1000:2000, 500:1500] = 1
    save_heat_map(image * 0.8, image, tmp_path / "large.png", boxes=[(500, 1000, 1500, 2000)])
    assert pixels(tmp_path / "large.png").shape[0] < 1500
    found = pixels(tmp_path / "large.png")
    yellow = np.argwhere((found[..., 0] > 200) & (found[..., 1] > 190) & (found[..., 2] < 110))
    red = np.argwhere((found[..., 0] - found[..., 2] > 30) & (found[..., 1] < 180) & (found[..., 2] > 60))
    red = red[red[:, 1] < found.shape[1] * 0.75]  # without the colour bar
    assert np.abs(yellow.min(axis=0) - red.min(axis=0)).max() <= 8


def test_attention_lies_where_the_tiles_are(tmp_path: Path):
    places = [(512 * x, 512 * y) for y in range(4) for x in range(6)]
    weights = np.zeros(24)
    weights[1] = 1  # second of the first row: top left, for y counts downwards
    save_tile_map(weights, places, tmp_path / "tiles.png", title="slide")
    found = pixels(tmp_path / "tiles.png")
    bright = np.argwhere((found[..., 0] > 230) & (found[..., 2] > 150) & (found[..., 2] < 215))
    bright = bright[bright[:, 1] < found.shape[1] * 0.75]
    assert len(bright) > 500
    assert bright[:, 0].mean() < found.shape[0] * 0.45
    assert bright[:, 1].mean() < found.shape[1] * 0.45
    save_tile_map([0.0], [(5, 5)], tmp_path / "one.png")


def test_colour_pictures_keep_their_colours_and_a_note_stands_below(tmp_path: Path) -> None:
    red = np.zeros((40, 40, 3))
    red[..., 0] = 1.0
    save_heat_map(np.full((40, 40), np.nan), red, tmp_path / "red.png")
    save_heat_map(np.full((40, 40), np.nan), red, tmp_path / "noted.png", note="not for diagnosis")
    plain, noted = (
        np.asarray(Image.open(tmp_path / name).convert("RGB")) for name in ("red.png", "noted.png")
    )
    assert ((plain == (255, 0, 0)).all(axis=-1)).mean() > 0.3
    assert (plain.shape, plain.tobytes()) != (noted.shape, noted.tobytes())
    with pytest.raises(InputError, match=r"\[H, W\] or \[H, W, 3\]"):
        save_heat_map(np.zeros((4, 4)), np.zeros((4, 4, 2)), tmp_path / "x.png")


def test_what_cannot_be_drawn_is_said(tmp_path: Path):
    path = tmp_path / "x.png"
    with pytest.raises(InputError, match="at least one panel"):
        save_montage([], path)
    with pytest.raises(InputError, match=r"got \(60, 80\) and \(2, 2\)"):
        save_heat_map(np.zeros((2, 2)), GREY, path)
    with pytest.raises(InputError, match="lowest < highest"):
        save_heat_map(GREY, GREY, path, value_range=(1.0, 1.0))
    with pytest.raises(InputError, match=r"weights must be \[N\] and places \[N, 2\]"):
        save_tile_map([1.0, 2.0], [(0, 0)], path)
    with pytest.raises(InputError, match="must be finite"):
        save_tile_map([np.nan], [(0, 0)], path)
    assert not path.exists()
