import pytest
from verticlip.core.errors import DataError
from verticlip.domains.ecommerce.products.picture_folder import PictureFolder
from verticlip.domains.ecommerce.products.rows import Notes


def fill(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")


def test_folders_are_categories(tmp_path):
    fill(tmp_path, "dress/evening/2.JPG", "dress/1.png", "3.webp", "readme.txt", ".hidden.jpg")
    notes = Notes()
    folder = PictureFolder(tmp_path, notes)
    assert len(folder) == 3
    assert folder.columns == ("id", "category", "image")
    rows = [(row.number, row.cells["id"], row.cells["category"]) for row in folder.rows()]
    assert rows == [
        (1, "3.webp", None),
        (2, "dress/1.png", ["dress"]),
        (3, "dress/evening/2.JPG", ["dress", "evening"]),
    ]
    assert notes.lines() == (f"{tmp_path.name}: 1 file that is no picture passed over",)


def test_parts_of_a_data_set_are_no_category(tmp_path):
    fill(tmp_path, "train/dress/1.jpg", "validation/hat/2.jpg")
    rows = [(row.cells["category"], row.cells["split"]) for row in PictureFolder(tmp_path, Notes()).rows()]
    assert rows == [(["dress"], "train"), (["hat"], "val")]


def test_a_folder_without_pictures(tmp_path):
    fill(tmp_path, "a.txt")
    with pytest.raises(DataError, match="no picture in this folder"):
        PictureFolder(tmp_path, Notes())
