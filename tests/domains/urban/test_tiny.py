"""The weights that ship: whole, small, as good on unseen patches as their card says, in words people use."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import verticlip
from torch.nn import functional as F
from verticlip.core.checkpoint import read_weights
from verticlip.core.recipe import load_recipe
from verticlip.domains.urban.facts import claims_held, facts_of
from verticlip.domains.urban.readers import CLASSES, read_eurosat


@pytest.fixture(scope="module")
def model():
    torch.set_num_threads(1)
    return verticlip.from_pretrained("urban/tiny")


@pytest.fixture(scope="module")
def folder(root) -> Path:
    return root / "domains" / "urban" / "weights" / "tiny"


@pytest.fixture(scope="module")
def validation(data_dir) -> list[dict]:
    """Every validation patch: sixty of each class."""
    return [one for one in read_eurosat(data_dir / "urban/eurosat_rgb") if one["split"] == "val"]


@pytest.fixture(scope="module")
def records(validation) -> list[dict]:
    """Every fifth one."""
    return validation[::5]


@pytest.fixture(scope="module")
def patches(records, model) -> torch.Tensor:
    return torch.stack([model.load(record["path"]).value for record in records])


def test_weights_are_small_and_half_precision(folder):
    assert (folder / "model.safetensors").stat().st_size <= 6 * 1024**2
    kinds = {str(tensor.dtype) for tensor in read_weights(folder / "model.safetensors").values()}
    assert kinds <= {"torch.float16", "torch.int64"}


def test_metrics_meet_what_the_recipe_was_made_for(folder):
    metrics = json.loads((folder / "metrics.json").read_text())
    found = metrics["validation"]["sources"]["eurosat"]
    assert found["accuracy"]["value"] >= 0.92
    assert min(one["recall"]["value"] for one in found["per_class"].values()) >= 0.75
    assert metrics["further"]["zero_shot"]["accuracy"]["value"] == pytest.approx(
        found["accuracy"]["value"], abs=0.01
    )
    assert metrics["further"]["facts"]["map of facts and families"] >= 0.9


def test_the_weights_are_those_of_the_recipe_in_the_repository(folder):
    recorded = json.loads((folder / "metrics.json").read_text())["recipe"]
    assert recorded == load_recipe("urban/tiny").recipe.digest


def test_the_model_says_what_tiles_it_was_made_for(model):
    assert model.config.options == {"tile_px": 64, "resolution_m": 10, "sensor": "sentinel-2-rgb8"}
    assert model.processor.config.image.size == 64


def test_labels_as_people_write_them_mean_the_classes(model):
    usual = model.prompts_for(["annual crop", "sea or lake", "residential", "highway"])
    folders = model.prompts_for(["AnnualCrop", "SeaLake", "houses", "Road"])
    for one, other in zip(usual.class_names, folders.class_names, strict=True):
        assert usual.texts(one) == folders.texts(other)


def test_words_of_a_class_lie_together_and_other_sentences_beside_them(model):
    sentences = {
        "forest": ["a thick forest of pine trees", "deep woods seen from above"],
        "residential": ["many houses in a suburb", "streets with family homes"],
        "industrial": ["a large factory with warehouses", "industrial halls and factories"],
        "sea or lake": ["the water of a lake", "open sea far from land"],
        "river": ["a winding river between fields", "a broad river"],
        "highway": ["a motorway with a junction", "a road through land"],
        "permanent crop": ["vineyards on a hill", "an orchard of fruit trees"],
    }
    names = list(model.prompts.class_names)
    classes = torch.stack([model.embed(model.prompts.texts(name)[::7]).vectors.mean(0) for name in names])
    for name, said in sentences.items():
        nearest = (model.embed(said).vectors @ F.normalize(classes, dim=1).T).argmax(dim=1).tolist()
        assert [names[one] for one in nearest] == [name] * len(said)


def hits(answers, records) -> float:
    return float(np.mean([one.label == row["label"] for one, row in zip(answers, records, strict=True)]))


@pytest.mark.data
def test_unseen_patches_by_the_names_of_their_folders(model, folder, validation):
    """What the card says, measured again with the weights that ship."""
    answers = model.classify([Path(one["path"]) for one in validation], list(CLASSES), batch_size=64)
    found = hits(answers, validation)
    assert len(validation) == 600
    assert found >= 0.92
    stored = json.loads((folder / "metrics.json").read_text())["further"]["zero_shot"]["accuracy"]["value"]
    assert found == pytest.approx(stored, abs=0.01)


@pytest.mark.data
def test_one_sentence_for_each_class_is_enough(model, patches, records):
    said = ["crops on a field", "a forest", "shrubs", "a motorway", "factories", "a meadow", "an orchard"]
    said += ["houses", "a river", "a lake"]
    text = model.embed(said).vectors
    seen = model.embed(list(patches), batch_size=32).vectors
    found = (seen @ text.T).argmax(1)
    wanted = torch.tensor([CLASSES.index(record["label"]) for record in records])
    assert float((found == wanted).float().mean()) >= 0.85


@pytest.mark.data
@pytest.mark.parametrize("name", ["turned", "mirrored", "brighter", "darker"])
def test_north_and_light_matter_little(model, patches, records, name):
    changed = {
        "turned": patches.rot90(1, (2, 3)),
        "mirrored": patches.flip(3),
        "brighter": (patches * 1.2).clamp(max=1),
        "darker": patches * 0.8,
    }[name]
    assert hits(model.classify(list(changed), list(CLASSES), batch_size=32), records) >= 0.85


@pytest.mark.data
@pytest.mark.parametrize(
    ("text", "claims"),
    [
        ("a dark area", {"dark"}),
        ("green land", {"green"}),
        ("brown land", {"brown"}),
        ("a smooth surface", {"smooth"}),
        ("a busy scene", {"busy"}),
        ("water", {"water"}),
        ("buildings", {"buildings"}),
        ("a dark forest", {"Forest", "dark"}),
        ("a bright bare field", {"AnnualCrop", "bright", "brown"}),
    ],
)
def test_patches_are_found_by_what_they_show(model, patches, records, text, claims):
    held = [claims_held(row["label"], facts_of(patch)) for row, patch in zip(records, patches, strict=True)]
    scores = model.embed(list(patches), batch_size=32).vectors @ model.embed([text]).vectors[0]
    best = scores.argsort(descending=True)[:3].tolist()
    assert sum(claims <= held[one][1] for one in best) >= 2
    assert claims <= held[best[0]][1]


@pytest.mark.data
def test_tiles_of_a_geotiff_are_what_the_patches_were(model, patches, records, tmp_path):
    rasterio = pytest.importorskip("rasterio")
    from verticlip.domains.urban.loaders.raster import Raster

    scene = torch.cat([torch.cat(list(row), 2) for row in patches[:120].view(10, 12, 3, 64, 64)], 1)
    profile = {"driver": "GTiff", "height": 640, "width": 768, "count": 3, "dtype": "uint8"}
    transform = rasterio.transform.from_origin(500_000, 5_500_000, 10, 10)
    with rasterio.open(tmp_path / "scene.tif", "w", **profile, crs="EPSG:32632", transform=transform) as file:
        file.write((scene * 255).round().to(torch.uint8).numpy())
    raster = Raster.open(tmp_path / "scene.tif")
    tiles = [raster.read((64 * x, 64 * y, 64, 64)).image for y in range(10) for x in range(12)]
    assert float((torch.stack(tiles) - patches[:120]).abs().max()) < 2 / 255
    assert hits(model.classify(tiles, list(CLASSES), batch_size=32), records[:120]) >= 0.88


def test_patches_are_embedded_the_same_every_time(model):
    patch = torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(0))
    first, second = (model.embed([patch], modality="image").vectors for _ in range(2))
    assert torch.equal(first, second)


@pytest.mark.data
def test_the_recipe_reads_its_data_and_every_caption_fits(data_dir):
    """A run of the recipe on a few patches, as its first steps."""
    rows = read_eurosat(data_dir / "urban/eurosat_rgb/val", captions=2)
    assert len(rows) == 600
    assert all(len(row["text"]) == 2 for row in rows)
