"""Public labelled sets of products with a random model: layouts, protocols, reports."""

from __future__ import annotations

import json

import pytest
from PIL import Image
from verticlip.core.errors import ConfigError, DataError
from verticlip.core.prompts import PromptSet
from verticlip.domains.ecommerce.evaluation import sets


@pytest.fixture
def model(model_folder):
    import verticlip

    found = verticlip.from_pretrained(model_folder, device="cpu")
    # Read by the loader of this room, as its own models are.
    found.network.config = found.network.config.model_copy(update={"domain": "ecommerce"})
    return found


def photos(root, name="clothing", under="validation"):
    for number, kind in enumerate(sets.evaluation_set(name).classes):
        folder = root / under / kind
        folder.mkdir(parents=True)
        for copy in range(2):
            # Published sets hold pictures that a catalogue would refuse as too small.
            Image.new("RGB", (28, 28), (20 * number, 90, 10 * copy)).save(folder / f"{copy}.png")
    return root


def test_a_set_is_measured_and_reported(model, tmp_path):
    root = photos(tmp_path / "data" / "clothing")
    result = sets.evaluate_set(model, "clothing", root, out=tmp_path / "out")
    assert result.images == 20
    assert 0 <= result.metrics["accuracy"].value <= 1
    assert result.origin["protocol"] == "plain", "the random model has no prompts for garments"
    assert any("20 images; the published set has 341" in note for note in result.notes)
    stored = json.loads((tmp_path / "out" / "report.json").read_text())
    assert stored["set"] == "clothing"
    assert (tmp_path / "out" / "confusion.png").stat().st_size > 1000
    # The training part is not what is measured.
    photos(tmp_path / "data" / "clothing", under="train")
    assert sets.evaluate_set(model, "clothing", root).images == 20
    table = sets.evaluate_all(model, tmp_path / "data")
    assert set(table.results) == {"clothing"}
    assert "fashion-mnist" in table.missing


def test_prompts_by_protocol(model, tmp_path):
    plain = sets.evaluation_set("clothing").plain_prompts()
    assert plain.texts("outwear") == ["a photo of a jacket"]
    assert plain.texts("dress") == ["a photo of a dress"]
    classes = {name: (name,) for name in sets.evaluation_set("clothing").classes}
    model.prompts = PromptSet(name="own", classes=classes, templates=("an image of {}",))
    root = photos(tmp_path)
    assert sets.evaluate_set(model, "clothing", root).origin["protocol"] == "model"
    assert sets.evaluate_set(model, "clothing", root, protocol="plain").origin["protocol"] == "plain"
    own = sets.evaluate_set(model, "clothing", root, prompts=model.prompts)
    assert own.origin["prompt_set"] == "own 1"
    with pytest.raises(ConfigError, match="Give prompts or the protocol 'plain', not both"):
        sets.evaluate_set(model, "clothing", root, prompts=model.prompts, protocol="plain")
    model.prompts = None
    with pytest.raises(ConfigError, match="has no prompts of its own; use the protocol 'plain'"):
        sets.evaluate_set(model, "clothing", root, protocol="model")


def test_what_is_wrong_is_named(model, tmp_path):
    with pytest.raises(ConfigError, match="No evaluation set 'cloth'; .* Did you mean 'clothing'"):
        sets.evaluation_set("cloth")
    with pytest.raises(ConfigError, match="No protocol 'plian'; .* Did you mean 'plain'"):
        sets.evaluate_set(model, "clothing", tmp_path, protocol="plian")
    with pytest.raises(DataError, match="no files of clothing"):
        sets.read_set("clothing", tmp_path)
    with pytest.raises(DataError, match="no set could be measured"):
        sets.evaluate_all(model, tmp_path)
    assert sets.published("fashion-mnist")[0]["metric"] == "weighted F1"


@pytest.mark.data
def test_the_real_photos_are_found(data_dir):
    rows, layout = sets.read_set("clothing", data_dir / "ecommerce" / "clothing")
    assert len(rows) == 341
    assert "validation" in layout
