from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from verticlip.core.errors import ConfigError, InputError
from verticlip.core.inputs import as_items, encode_texts, fit, fitted_batches, fitted_inputs, on_device
from verticlip.core.types import Sample


@pytest.fixture(scope="module")
def model(model_folder: Path):
    import verticlip

    return verticlip.from_pretrained(model_folder)


@pytest.fixture
def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (20, 28, 3), dtype=np.uint8)


def test_one_input_is_a_list_of_one(picture) -> None:
    for one in (picture, torch.zeros(3, 4, 4), "a text", Path("x.png"), Sample(picture, "image")):
        assert len(as_items(one)) == 1
    assert len(as_items(np.stack([picture, picture]))) == 2
    assert as_items(iter(["a", "b"])) == ["a", "b"]
    with pytest.raises(InputError, match="There is nothing to do: the batch is empty"):
        as_items([])


def test_texts_are_unit_or_as_they_leave_the_projection(model) -> None:
    texts = ["red", "a photo of a very red cat", "cat"]
    raw = encode_texts(model, texts, normalize=False)
    unit = encode_texts(model, texts)
    torch.testing.assert_close(unit, F.normalize(raw, dim=-1))
    torch.testing.assert_close(unit, model.embed(texts).vectors)
    assert not torch.allclose(raw.norm(dim=1), torch.ones(3))
    assert not raw.is_inference()


def test_images_keep_the_way_back_to_their_file(model, picture, tmp_path) -> None:
    from PIL import Image

    Image.fromarray(picture).save(tmp_path / "a.png")
    one = fit(model, tmp_path / "a.png", 0, {})
    assert (one.id, one.size, one.file_size) == (str(tmp_path / "a.png"), (20, 28), (20, 28))
    inputs = fitted_inputs(model, [one])
    torch.testing.assert_close(inputs["pixels"], model.processor("image", [picture])["pixels"])
    assert on_device(model.network, inputs)["pixels"].device == model.device
    spread = one.spread(torch.zeros(2, 2, 2), model.processor, "bilinear", model.limits)
    assert spread.shape == (2, 20, 28)
    with pytest.raises(InputError, match="image 3: a sample of 'text'; expected one image"):
        fit(model, Sample("x", "text"), 3, {})


def test_batches_come_one_at_a_time(model, picture) -> None:
    sizes = [len(some) for some in fitted_batches(model, [picture] * 5, batch_size=2, options={})]
    assert sizes == [2, 2, 1]
    with pytest.raises(ConfigError, match="batch_size is at least 1, got 0"):
        next(fitted_batches(model, [picture], batch_size=0, options={}))
    with pytest.raises(InputError, match="image 1"):
        list(fitted_batches(model, [picture, np.zeros((0, 4))], batch_size=2, options={}))
