from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from verticlip.core.errors import InputError
from verticlip.core.plots import made_by, plain_title, save_confusion_matrix, save_curves


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
    assert not path.exists()


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


def test_a_title_of_stray_bytes_can_be_drawn(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9") + "\n$x$"
    assert plain_title(name, 60) == r"caf\udce9\n\$x\$"
    save_confusion_matrix([[1, 0], [0, 1]], ["a", "b"], tmp_path / "a.png", title=plain_title(name, 60))


def test_letters_that_no_font_has_are_told_in_one_line(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("verticlip.core.plots._FURTHER_FONTS", ())
    with pytest.warns(UserWarning, match="boxes") as seen:
        save_confusion_matrix(np.eye(2, dtype=int), ["海淀", "朝阳"], tmp_path / "matrix.png")
    assert len(seen) == 1
    assert "matrix.png: no installed font has some of the letters" in str(seen[0].message)


def test_further_fonts_are_taken_where_they_are_installed(tmp_path: Path, monkeypatch) -> None:
    from matplotlib.font_manager import fontManager
    from verticlip.core.plots import _add_fonts, new_figure

    other = next(font.name for font in fontManager.ttflist if font.name != "DejaVu Sans")
    monkeypatch.setattr("verticlip.core.plots._FURTHER_FONTS", ("Not Installed", other))
    figure, axes = new_figure(2, 2)
    axes.set_title("海淀")
    axes.set_xlabel("plain")
    _add_fonts(figure)
    assert axes.title.get_fontfamily()[-1] == other
    assert other not in axes.xaxis.label.get_fontfamily()
