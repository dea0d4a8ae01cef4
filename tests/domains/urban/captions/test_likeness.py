from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import verticlip
from PIL import Image
from verticlip.core.errors import ConfigError
from verticlip.domains.urban.captions.filtering import CaptionFilter, FilterRules
from verticlip.domains.urban.captions.likeness import image_text_likeness

CAPTIONS = {
    "a.png": ("a red square", "a blue square"),
    "sub/b.png": ("a red square", "a red square a blue square of no tumor glioma cat dog an image of a cat"),
    "broken.png": ("a cat",),
}


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    (tmp_path / "sub").mkdir()
    rng = np.random.default_rng(0)
    for name in ("a.png", "sub/b.png"):
        Image.fromarray(rng.integers(0, 255, (20, 20, 3), np.uint8)).save(tmp_path / name)
    (tmp_path / "broken.png").write_bytes(b"no picture")
    return tmp_path


def test_the_cosine_is_that_of_the_model(model_folder: Path, pictures: Path) -> None:
    model = verticlip.from_pretrained(model_folder, device="cpu")
    told = []
    found = image_text_likeness(model, pictures, batch_size=2, progress=lambda *now: told.append(now))(
        CAPTIONS
    )
    image = model.embed([pictures / "a.png"], modality="image").vectors
    texts = model.embed(list(CAPTIONS["a.png"]), modality="text").vectors
    assert found["a.png"] == pytest.approx((image @ texts.T)[0].tolist(), abs=1e-5)
    # Too long for the model, and no picture.
    assert math.isnan(found["sub/b.png"][1])
    assert not math.isnan(found["sub/b.png"][0])
    assert math.isnan(found["broken.png"][0])
    assert told[-1] == (3, 3)


def test_a_filter_counts_what_cannot_be_compared(model_folder: Path, pictures: Path) -> None:
    likeness = image_text_likeness(verticlip.from_pretrained(model_folder, device="cpu"), pictures)
    kept, report = CaptionFilter(FilterRules(min_similarity=-1.0), likeness=likeness)(CAPTIONS)
    assert kept == {"a.png": CAPTIONS["a.png"], "sub/b.png": CAPTIONS["sub/b.png"][:1]}
    assert report.unscored == 2
    assert report.removed == {"min_similarity": 2}
    least = likeness(CAPTIONS)["a.png"]
    kept, _ = CaptionFilter(FilterRules(min_similarity=max(least)), likeness=likeness)(CAPTIONS)
    assert kept["a.png"] == (CAPTIONS["a.png"][least.index(max(least))],)


def test_models_without_one_of_the_towers_are_refused(model_folder: Path, tmp_path: Path) -> None:
    class Sound:
        id = "sounds"
        config = type("Config", (), {"towers": {"audio": None, "text": None}})
        network = type("Network", (), {"modalities": ("audio", "text")})

    with pytest.raises(ConfigError, match="sounds has no image tower"):
        image_text_likeness(Sound(), tmp_path)  # pyright: ignore[reportArgumentType]
