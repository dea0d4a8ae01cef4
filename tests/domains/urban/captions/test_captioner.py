"""The captioners: each gives a text per picture, the same for the same seed, whatever stands beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import verticlip
from PIL import Image
from urban.captions import make_captioners, make_coca
from verticlip.core.errors import ConfigError, InputError, WeightsError
from verticlip.domains.urban.captions.captioner import as_picture, to_pil
from verticlip.domains.urban.captions.coca_captioner import CoCaCaptioner
from verticlip.domains.urban.captions.fact_captioner import FactCaptioner, label_of_folder
from verticlip.domains.urban.captions.layouts import split_paragraph
from verticlip.domains.urban.captions.transformers_captioner import TransformersCaptioner, WritingOptions
from verticlip.domains.urban.loaders.records import TileImage

TRANSFORM = (10.0, 0.0, 0.0, 0.0, -10.0, 0.0)


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    """Model folders: three of transformers, and a CoCa."""
    folder = tmp_path_factory.mktemp("captioners")
    return {
        "blip": make_captioners.blip(folder / "blip"),
        "git": make_captioners.git(folder / "git"),
        "pair": make_captioners.encoder_decoder(folder / "pair"),
        "llava": make_captioners.llava(folder / "llava"),
        "coca": make_coca.coca(folder / "coca"),
    }


@pytest.fixture(scope="module")
def pictures() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.rand(3, 20, 24, generator=generator) for _ in range(3)]


# --- pictures


def test_pixels_without_data_become_the_mean_of_the_others():
    image = torch.tensor([0.2, 0.4, 0.6]).view(3, 1, 1).expand(3, 4, 4).clone()
    mask = torch.ones(4, 4, dtype=torch.bool)
    mask[0] = False
    image[:, ~mask] = 0.0
    image[:, 3] += 0.1
    found = as_picture(TileImage(image, mask, TRANSFORM, "EPSG:32618", "t"))
    assert torch.allclose(found[:, 0, 0], image[:, mask].mean(1))
    assert torch.equal(found[:, mask], image[:, mask])


def test_one_band_becomes_gray_and_pillow_gets_eight_bits():
    found = as_picture(torch.full((1, 4, 4), 0.5))
    assert found.shape == (3, 4, 4)
    assert to_pil(found).getpixel((0, 0)) == (128, 128, 128)
    assert to_pil(Image.new("L", (3, 3), 7)).mode == "RGB"


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (torch.zeros(4, 8, 8), "t: a caption is written for a picture of one band or three .* has 4"),
        (torch.zeros(8, 8), "one band or three"),
        (torch.full((3, 4, 4), 3.0), "t: values from 3 to 3; a picture has 0 to 1"),
        (torch.full((3, 4, 4), float("nan")), "values from nan to nan"),
    ],
)
def test_tiles_that_are_no_pictures(image, message):
    with pytest.raises(InputError, match=message):
        as_picture(TileImage(image, torch.ones(image.shape[-2:], dtype=torch.bool), TRANSFORM, "", "t"))


def test_a_tile_without_data():
    with pytest.raises(InputError, match="t: no pixel has data"):
        as_picture(TileImage(torch.zeros(3, 4, 4), torch.zeros(4, 4, dtype=torch.bool), TRANSFORM, "", "t"))


# --- transformers


@pytest.mark.parametrize("kind", ["blip", "git", "pair", "llava"])
def test_texts_of_transformers(kind, folders, pictures):
    captioner = TransformersCaptioner(folders[kind], options=WritingOptions(max_tokens=8))
    texts = captioner.caption(pictures)
    assert len(texts) == 3
    assert all(text and "[" not in text for text in texts)
    # A batch changes nothing, nor does the kind of picture.
    assert [captioner.caption([one])[0] for one in pictures] == texts
    assert captioner.caption([to_pil(one) for one in pictures]) == texts
    assert captioner.caption([]) == []


@pytest.mark.parametrize("kind", ["blip", "git"])
def test_a_prompt_begins_every_text(kind, folders, pictures):
    options = WritingOptions(prompt="a satellite image of", max_tokens=6)
    texts = TransformersCaptioner(folders[kind], options=options).caption(pictures)
    assert all(text.startswith("a satellite image of") for text in texts)
    assert any(len(text.split()) > 4 for text in texts)


def test_a_model_that_is_asked_gives_its_answer_alone(folders, pictures):
    texts = [
        TransformersCaptioner(folders["llava"], options=WritingOptions(prompt=prompt, max_tokens=6)).caption(
            pictures
        )
        for prompt in ("houses near trees", "dark lake", None)
    ]
    assert all(len(text.split()) <= 6 for found in texts for text in found)
    assert not any(text.startswith("houses near trees") for text in texts[0])
    assert texts[0] != texts[1] != texts[2]


def test_draws_depend_on_the_seed_alone(folders, pictures):
    options = WritingOptions(method="top_p", top_p=0.95, temperature=1.5, max_tokens=10)
    captioner = TransformersCaptioner(folders["blip"], options=options)
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    first = captioner.caption(pictures, seed=5)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(2)
    assert captioner.caption(pictures, seed=5) == first
    assert any(captioner.caption(pictures, seed=seed) != first for seed in range(6, 9))
    beam = TransformersCaptioner(
        folders["blip"], options=WritingOptions(method="beam", beams=2, max_tokens=4)
    )
    assert len(beam.caption(pictures)) == 3


def test_identity_tells_models_and_settings_apart(folders):
    one = TransformersCaptioner(folders["blip"])
    other = TransformersCaptioner(folders["blip"], options=WritingOptions(prompt="a"))
    assert one.identity["captioner"] == "blip"
    assert one.identity["revision"].startswith("sha256:")
    assert one.identity["options"] != other.identity["options"]
    assert one.identity["revision"] != TransformersCaptioner(folders["git"]).identity["revision"]


def test_prompts_that_cannot_be(folders, pictures):
    captioner = TransformersCaptioner(folders["pair"], options=WritingOptions(prompt="a"))
    with pytest.raises(ConfigError, match="takes no prompt"):
        captioner.caption(pictures)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": "top-p"}, "method 'top-p' is not one of greedy, beam, top_p. Did you mean 'top_p'?"),
        ({"max_tokens": 0}, "max_tokens 0"),
        ({"min_tokens": 9, "max_tokens": 3}, "min_tokens 9, max_tokens 3"),
        ({"top_p": 0.0}, "top_p 0 is over 0"),
        ({"temperature": 0.0}, "temperature 0 is over 0"),
    ],
)
def test_writing_options(settings: dict[str, Any], message: str):
    with pytest.raises(ConfigError, match=message.replace("?", r"\?")):
        WritingOptions(**settings)


def test_folders_that_are_no_captioners(folders, tmp_path):
    with pytest.raises(ConfigError, match="no config.json"):
        TransformersCaptioner(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ConfigError, match="a model of kind 'bert' writes no texts for images"):
        TransformersCaptioner(tmp_path)
    (tmp_path / "config.json").write_text((folders["blip"] / "config.json").read_text())
    (tmp_path / "pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(WeightsError, match="no weights in safetensors. Pickled weights"):
        TransformersCaptioner(tmp_path)


def test_weights_of_another_model_are_refused(folders, tmp_path):
    from safetensors.torch import load_file, save_file

    for file in folders["git"].iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    state = load_file(tmp_path / "model.safetensors")
    lost = sorted(state)[0]
    save_file({name: value for name, value in state.items() if name != lost}, tmp_path / "model.safetensors")
    with pytest.raises(WeightsError, match="tensors of the model are not in its file"):
        TransformersCaptioner(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"\x08\0\0\0")
    with pytest.raises(WeightsError, match="the model cannot be read"):
        TransformersCaptioner(tmp_path)


@pytest.mark.parametrize(
    ("source", "revision", "message"),
    [
        ("org/name", None, "pinned to a commit of 40 hex digits, got none"),
        ("org/name", "main", "pinned to a commit of 40 hex digits, got 'main'"),
        ("no-such-folder", None, "no such folder, and not a repository org/name"),
        ("../org/name", None, "no such folder, and not a repository org/name"),
    ],
)
def test_repositories_are_pinned(source: str, revision: str | None, message: str):
    with pytest.raises(ConfigError, match=message):
        TransformersCaptioner(source, revision=revision)


def test_a_revision_is_for_repositories(folders):
    with pytest.raises(ConfigError, match="is for a repository, and blip is a folder"):
        TransformersCaptioner(folders["blip"], revision="0" * 40)


def test_what_cannot_be_fetched():
    # Tests run offline: what a repository lacks and what the network does not give look alike.
    with pytest.raises(WeightsError, match="org/name at 0{40} cannot be fetched"):
        TransformersCaptioner("org/name", revision="0" * 40)


# --- CoCa


def test_texts_of_coca(folders, pictures):
    model = verticlip.from_pretrained(folders["coca"], device="cpu")
    captioner = CoCaCaptioner(model, method="greedy", length=8, min_length=3)
    texts = captioner.caption(pictures)
    assert len(texts) == 3
    assert [captioner.caption([one])[0] for one in pictures] == texts
    begun = CoCaCaptioner(model, prefix="a satellite image of", length=10).caption(pictures)
    assert all(text.startswith("a satellite image of") for text in begun)
    drawn = CoCaCaptioner(model, method="top_p", top_p=1.0, temperature=2.0, length=12)
    assert drawn.caption(pictures, seed=1) == drawn.caption(pictures, seed=1)
    assert any(drawn.caption(pictures, seed=1) != drawn.caption(pictures, seed=seed) for seed in range(2, 5))
    assert captioner.identity["options"] == "{'prefix': '', 'length': 8, 'method': 'greedy', 'min_length': 3}"


def test_coca_messages(folders, model_folder, pictures):
    with pytest.raises(ConfigError, match="writes no captions"):
        CoCaCaptioner(verticlip.from_pretrained(model_folder))
    with pytest.raises(ConfigError, match="unknown key 'metod'"):
        CoCaCaptioner(verticlip.from_pretrained(folders["coca"]), metod="greedy").caption(pictures)


# --- facts


def test_facts_say_what_is_measured_and_what_the_folder_tells():
    dark = torch.full((3, 64, 64), 0.1)
    captioner = FactCaptioner(label_of=label_of_folder, count=4)
    named, plain = captioner.caption([dark, dark], names=["train/Forest/1.jpg", "scene_1"], seed=1)
    assert len(split_paragraph(named)) == len(split_paragraph(plain)) == 4
    assert any(word in named for word in ("forest", "wood", "trees", "vegetation"))
    assert "forest" not in plain
    # Each caption says at least one thing that holds: dark, gray, smooth, uniform.
    assert any(word in plain for word in ("dark", "dim", "gray", "smooth", "uniform"))
    again = captioner.caption([dark], names=["scene_1"], seed=1)
    assert again == [plain]
    assert captioner.caption([dark], names=["scene_1"], seed=2) != again


def test_facts_ask_a_model_for_the_land_use():
    class Guess:
        id, revision, prompts = "guess", "r", None

        def classify(self, items: list[Any], labels: list[str], **_: Any) -> list[Any]:
            self.asked = (len(items), labels)
            return [type("Prediction", (), {"label": "sea lake"})() for _ in items]

    model: Any = Guess()
    captioner = FactCaptioner(model, label_of=label_of_folder, count=6)
    texts = captioner.caption([torch.full((3, 64, 64), 0.3)] * 2, names=["River/1.jpg", "x"])
    assert model.asked[0] == 1
    assert model.asked[1][-1] == "sea lake"
    assert any(word in texts[1] for word in ("lake", "sea", "water"))
    assert captioner.identity == {
        "captioner": "facts",
        "count": "6",
        "named": "True",
        "model": "guess",
        "revision": "r",
    }


def test_facts_need_a_count():
    with pytest.raises(ConfigError, match="at least one caption, got count 0"):
        FactCaptioner(count=0)
