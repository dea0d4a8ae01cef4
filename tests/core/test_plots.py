from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from verticlip.core.errors import InputError
from verticlip.core.plots import (
    Panel,
    made_by,
    save_confusion_matrix,
    save_curves,
    save_heat_map,
    save_montage,
    save_tile_map,
)


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB")).astype(int)


def dark_blue(path: Path) -> int:
    found = pixels(path)
    return int(((found[..., 2] - found[..., 0] > 60) & (found[..., 0] < 60)).sum())


@pytest.mark.parametrize("classes", [1, 2, 10, 35])
def test_confusion_matrix_is_a_png_of_sensible_size(classes: int, tmp_path: Path):
    names = [f"class_{index}" for index in range(classes)]
    save_confusion_matrix(np.eye(classes, dtype=int) * 7, names, tmp_path / "matrix.png")
    height, width, _ = pixels(tmp_path / "matrix.png").shape
    assert 200 < width < 3500
    assert 200 < height < 3500
    assert [path.name for path in tmp_path.iterdir()] == ["matrix.png"]


def test_colour_follows_the_share_of_the_row(tmp_path: Path):
    save_confusion_matrix([[50, 50], [500, 500]], ["a", "b"], tmp_path / "even.png")
    save_confusion_matrix([[100, 0], [0, 9]], ["a", "b"], tmp_path / "right.png")
    assert dark_blue(tmp_path / "right.png") > 3 * dark_blue(tmp_path / "even.png")


def test_odd_class_names(tmp_path: Path):
    names = ["$x", "a" * 200, "_^{}"]
    save_confusion_matrix(np.zeros((3, 3), dtype=int), names, tmp_path / "odd.png")
    assert pixels(tmp_path / "odd.png").shape[1] < 1500


def test_equal_inputs_give_equal_bytes(tmp_path: Path):
    for name in ("a.png", "b.png"):
        save_curves({"loss": {"train": ([0, 1], [1.0, 0.5])}}, tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_curves_have_a_panel_per_quantity_and_a_gap_for_nan(tmp_path: Path):
    series = {"train": ([0, 1, 2, 3], [1.0, float("nan"), float("inf"), 0.2])}
    save_curves({"loss": series}, tmp_path / "one.png")
    save_curves(
        {"loss": series, "accuracy": {"val": ([0], [0.5]), "train": ([0], [0.4])}}, tmp_path / "two.png"
    )
    assert pixels(tmp_path / "two.png").shape[1] > 1.7 * pixels(tmp_path / "one.png").shape[1]


GREY = np.full((60, 80), 0.5)


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


def test_nothing_global_is_left_behind(tmp_path: Path):
    code = (
        "import sys; from verticlip.core.plots import save_curves; assert 'matplotlib' not in sys.modules; "
        f"save_curves({{'loss': {{'train': ([0, 1], [1, 2])}}}}, {str(tmp_path / 'x.png')!r}); "
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_messages(tmp_path: Path):
    path = tmp_path / "x.png"
    with pytest.raises(InputError, match=r"integer counts \[3, 3\] for 3 class names, got int64 \(2, 2\)"):
        save_confusion_matrix([[1, 2], [3, 4]], ["a", "b", "c"], path)
    with pytest.raises(InputError, match=r"integer counts .* got float64"):
        save_confusion_matrix([[0.5]], ["a"], path)
    with pytest.raises(InputError, match="at least one quantity"):
        save_curves({}, path)
    with pytest.raises(InputError, match="at least one quantity with one series"):
        save_curves({"loss": {}}, path)
    with pytest.raises(InputError, match="loss/train: 2 x values for 1 y values"):
        save_curves({"loss": {"train": ([1, 2], [3.0])}}, path)
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


@pytest.mark.parametrize(
    ("model", "line"),
    [
        ("medical/tiny", "medical/tiny, sha256:0123456789ab, only a test"),
        ("/home/somebody/runs/mine", "mine, sha256:0123456789ab, only a test"),
        ("./runs/mine", "mine, sha256:0123456789ab, only a test"),
        ("", "sha256:0123456789ab, only a test"),
    ],
)
def test_the_line_below_names_no_folders_of_the_machine(model: str, line: str) -> None:
    assert made_by(model, "sha256:0123456789abcdef", "only a test") == line
