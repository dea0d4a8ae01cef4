"""What a user gets from a published file: converted by name, loaded, and asked about a picture."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import verticlip
from PIL import Image
from verticlip.core import registry
from verticlip.core.errors import WeightsError
from verticlip.hub.conversions import convert_files

sys.path.insert(0, str(Path(__file__).parents[3]))
sys.path.insert(0, str(Path(__file__).parent))

import make_clip
import make_siglip

TEXTS = ["a satellite image of a river", "a river"]


def picture(folder: Path) -> Path:
    path = folder / "scene.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)).save(path)
    return path


def loaded(name: str, files: dict[str, Path], folder: Path, **options: int) -> verticlip.Model:
    pytest.importorskip("rasterio")
    convert_files(registry.model_spec(name), files, folder / "model", any_file=True, options=options)
    return verticlip.from_pretrained(folder / "model", device="cpu")


@torch.no_grad()
def test_a_remoteclip_answers_as_open_clip_does(tmp_path):
    import open_clip
    from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD

    theirs = make_clip.open_clip_model()
    files = {"weights": make_clip.save(theirs, tmp_path / "RemoteCLIP-ViT-B-32.pt")}
    path = picture(tmp_path)
    model = loaded("urban/remoteclip-vit-b32", files, tmp_path, embed_dim=24, image_size=32)
    prepare = open_clip.image_transform(32, is_train=False, mean=OPENAI_DATASET_MEAN, std=OPENAI_DATASET_STD)
    normal = torch.nn.functional.normalize
    expected = normal(theirs.encode_image(prepare(Image.open(path))[None]), dim=-1)
    assert float((model.embed(path).vectors - expected).abs().max()) < 1e-5
    expected = normal(theirs.encode_text(open_clip.get_tokenizer("ViT-B-32")(TEXTS)), dim=-1)
    assert float((model.embed(TEXTS, modality="text").vectors - expected).abs().max()) < 1e-5
    assert model.classify(path, ["river", "forest"])[0].label in ("river", "forest")
    assert model.config.licence == "unknown"
    stored = json.loads((tmp_path / "model" / "conversion.json").read_text())
    assert stored["options"]["quick_gelu"] is True
    assert stored["variant"], "weights of other sizes are not the published ones"
    with pytest.raises(WeightsError, match="has embed_dim 24; urban/remoteclip-vit-b32 has 512"):
        convert_files(
            registry.model_spec("urban/remoteclip-vit-b32"), files, tmp_path / "other", any_file=True
        )


@torch.no_grad()
def test_a_git_rsclip_answers_as_transformers_does(tmp_path):
    import transformers

    text = {**make_siglip.TEXT, "projection_size": make_siglip.VISION["hidden_size"]}
    theirs = make_siglip.siglip(text)
    files = make_siglip.saved(theirs, tmp_path, text=text)
    path = picture(tmp_path)
    model = loaded("urban/git-rsclip-base", files, tmp_path, embed_dim=32)
    size = {"height": 40, "width": 40}
    prepare = transformers.SiglipImageProcessorPil(size=size, resample=3)
    pixels = torch.as_tensor(np.array(prepare(Image.open(path), return_tensors="np")["pixel_values"]))
    ids = model.processor("text", TEXTS)["input_ids"]
    # transformers' own answer: a probability for every text by itself.
    expected = theirs(input_ids=ids, pixel_values=pixels).logits_per_image.sigmoid()[0].tolist()
    found = model.classify(path, ["river", "a river"], templates=["a satellite image of a {}"])[0].scores
    assert found["river"] == pytest.approx(expected[0], abs=1e-5)
    vectors = model.embed(TEXTS, modality="text").vectors
    theirs_text = torch.nn.functional.normalize(theirs.get_text_features(input_ids=ids).pooler_output, dim=-1)
    # Texts of other lengths in one call are padded alike: a shorter one sees the same padding.
    assert float((vectors - theirs_text).abs().max()) < 1e-5
    alone = model.embed(TEXTS[1:], modality="text").vectors
    assert float((vectors[1:] - alone).abs().max()) < 1e-6
