"""One bad image is reported; the others are embedded as if it had not been there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import verticlip
from PIL import Image
from verticlip.core.embed_each import embed_images
from verticlip.core.errors import ConfigError


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    for index in range(5):
        pixels = np.full((20, 24, 3), 40 * index, np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{index}.png")
    (tmp_path / "2.png").write_bytes(b"nonsense")
    return [tmp_path / f"{index}.png" for index in range(5)] + [tmp_path / "none.png"]


@pytest.mark.parametrize("batch_size", [1, 2, 8])
def test_bad_images_are_told_apart(model_folder: Path, files: list[Path], batch_size: int) -> None:
    model = verticlip.from_pretrained(model_folder, device="cpu")
    seen: list[tuple[int, int]] = []
    found = embed_images(model, files, batch_size=batch_size, progress=lambda *at: seen.append(at))
    assert found.kept == (0, 1, 3, 4)
    assert [failure.id for failure in found.failures] == [str(files[2]), str(files[5])]
    assert all(failure.error for failure in found.failures)
    alone = model.embed([files[position] for position in found.kept]).vectors
    assert torch.allclose(found.vectors, alone, atol=1e-6)
    assert seen[-1] == (6, 6)


def test_ids_name_failures_and_nothing_usable_is_empty(model_folder: Path, files: list[Path]) -> None:
    model = verticlip.from_pretrained(model_folder, device="cpu")
    found = embed_images(model, files[5:], ids=["case 7"])
    assert (found.kept, found.failures[0].id) == ((), "case 7")
    assert found.vectors.shape == (0, 12)


@pytest.mark.parametrize("batch_size", [0, -1])
def test_a_batch_holds_something(model_folder: Path, files: list[Path], batch_size: int) -> None:
    model = verticlip.from_pretrained(model_folder, device="cpu")
    with pytest.raises(ConfigError, match=f"batch_size is at least 1, got {batch_size}"):
        embed_images(model, files, batch_size=batch_size)


def test_a_misspelt_loader_option_is_said_at_once(files: list[Path]) -> None:
    model = verticlip.from_pretrained("medical/tiny", device="cpu")
    with pytest.raises(ConfigError, match=r"windw.*Did you mean 'window'"):
        embed_images(model, files, windw="lung")
