"""OpenAI CLIP from its files to a model that embeds pictures and texts, against the libraries it comes from."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import verticlip
from verticlip.core import registry
from verticlip.core.clip_layout import clip_towers
from verticlip.core.config import ModelConfig
from verticlip.core.conversion import build_empty
from verticlip.core.errors import ConfigError, VerticlipError, WeightsError
from verticlip.core.model import build_model
from verticlip.core.recipe import load_recipe
from verticlip.core.start import Start, fill, model_config
from verticlip.domains.audio.clip.convert import convert
from verticlip.hub.conversions import convert_files

sys.path.insert(0, str(Path(__file__).parents[3]))

import make_clip

NAME = "audio/openai-clip-vit-b32"
WORDS = ["a photo of a dog barking.", "playing bagpipes, outdoors"]


def pictures(folder: Path) -> list[Path]:
    from PIL import Image

    rng = np.random.default_rng(0)
    found = []
    for number, shape in enumerate([(40, 60, 3), (90, 50, 3)]):
        path = folder / f"{number}.png"
        Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)).save(path)
        found.append(path)
    return found


def loaded(network: torch.nn.Module, folder: Path) -> verticlip.Model:
    path = make_clip.save(network, folder / "weights.safetensors")
    convert_files(registry.model_spec(NAME), {"weights": path}, folder / "model")
    return verticlip.from_pretrained(folder / "model", device="cpu")


@torch.no_grad()
def test_a_user_gets_the_embeddings_of_open_clip(tmp_path):
    import open_clip
    from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
    from PIL import Image

    theirs, files = make_clip.open_clip_model(), pictures(tmp_path)
    model = loaded(theirs, tmp_path)
    prepare = open_clip.image_transform(
        make_clip.SIZE, is_train=False, mean=OPENAI_DATASET_MEAN, std=OPENAI_DATASET_STD
    )
    pixels = torch.stack([prepare(Image.open(path)) for path in files])
    normal = torch.nn.functional.normalize
    expected = normal(theirs.encode_image(pixels), dim=-1)
    assert float((model.embed(files).vectors - expected).abs().max()) < 1e-5
    expected = normal(theirs.encode_text(open_clip.get_tokenizer("ViT-B-32")(WORDS)), dim=-1)
    assert float((model.embed(WORDS, modality="text").vectors - expected).abs().max()) < 1e-5
    assert model.network.scale().item() == pytest.approx(theirs.logit_scale.exp().item(), rel=1e-6)
    assert model.classify(files[0], ["dog", "bagpipes"])[0].label in ("dog", "bagpipes")
    assert model.config.licence == "MIT"


@torch.no_grad()
def test_the_file_of_transformers_gives_its_embeddings(tmp_path):
    theirs = make_clip.transformers_model()
    model = loaded(theirs, tmp_path)
    tokens = model.processor("text", WORDS)["input_ids"]
    expected = theirs.get_text_features(tokens)
    expected = getattr(expected, "pooler_output", expected)
    found = model.network.encode("text", {"input_ids": tokens}, normalize=False)
    assert float((found - expected).abs().max()) < 1e-5


def test_half_precision_and_pickles_convert_alike(tmp_path):
    network = make_clip.open_clip_model()
    whole = convert(NAME, {"weights": make_clip.save(network, tmp_path / "a.safetensors")}, {})
    torch.save(network.half().state_dict(), tmp_path / "b.bin")
    half = convert(NAME, {"weights": tmp_path / "b.bin"}, {})
    assert half.config.towers == whole.config.towers
    assert half.config.logit_scale == pytest.approx(whole.config.logit_scale, abs=2e-3)
    assert whole.config.prompts is None
    assert whole.report.complete
    assert set(half.state) == set(whole.state) == set(build_empty(whole.config).state_dict())
    other = convert(NAME, {"weights": tmp_path / "a.safetensors"}, {"quick_gelu": False, "licence": "X"})
    assert (other.config.towers["text"].quick_gelu, other.config.licence) == (False, "X")


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:FutureWarning")
def test_what_cannot_be_converted_says_why(tmp_path):
    class Two(torch.nn.Module):
        def forward(self, value: torch.Tensor) -> torch.Tensor:
            return value * 2

    archive = tmp_path / "ViT-B-32.pt"
    torch.jit.script(Two()).save(str(archive))
    with pytest.raises(
        WeightsError,
        match=r"ViT-B-32.pt is a TorchScript archive.*loaded to get at its weights. The same.*timm/vit_base",
    ):
        convert(NAME, {"weights": archive}, {})
    with pytest.raises(ConfigError, match="needs a 'weights' file, for example open_clip_model.safetensors"):
        convert(NAME, {}, {})
    with pytest.raises(ConfigError, match="converter options"):
        convert(NAME, {"weights": archive}, {"gelu": True})
    with pytest.raises(WeightsError, match="no such file"):
        convert(NAME, {"weights": tmp_path / "none.safetensors"}, {})
    state = make_clip.open_clip_model().state_dict()
    del state["visual.ln_post.bias"]
    torch.save(state, tmp_path / "short.bin")
    with pytest.raises(WeightsError, match=r"short.bin: 1 tensors are missing, first visual.ln_post.bias"):
        convert(NAME, {"weights": tmp_path / "short.bin"}, {})


ARCHITECTURES = {
    "audio/openai-clip-vit-b32": ("ViT-B-32-quickgelu", 151.3),
    "audio/openai-clip-vit-l14": ("ViT-L-14-quickgelu", 427.6),
}


def published(name: str) -> torch.nn.Module:
    """Return the network that published weights are of, without values."""
    from open_clip import get_model_config
    from open_clip.model import CLIP

    with torch.device("meta"):
        return CLIP(**get_model_config(ARCHITECTURES[name][0]))


@pytest.mark.parametrize("recipe", ["clipsep", "clipsep-nit", "clipsonic"])
def test_recipes_start_from_a_clip_of_their_sizes(recipe, root):
    loaded_recipe = load_recipe(root / "domains" / "audio" / "recipes" / f"{recipe}.yaml").recipe
    assert loaded_recipe.start is not None
    name = loaded_recipe.start.model
    network = published(name)
    assert sum(one.numel() for one in network.parameters()) / 1e6 == pytest.approx(
        ARCHITECTURES[name][1], abs=0.1
    )
    found = clip_towers(network.state_dict(), source="published")
    spec = registry.model_spec(name)
    assert spec.embed_dim == found.embed_dim == loaded_recipe.model.embed_dim
    assert spec.modalities == tuple(found.towers)
    config = ModelConfig.model_validate(
        {"name": name, "domain": "audio", "embed_dim": found.embed_dim, "towers": found.towers}
    )
    assert config.towers == loaded_recipe.model.towers
    assert loaded_recipe.freeze == ("image", "text")


@pytest.mark.parametrize("recipe", ["clipsep", "clipsep-nit", "clipsonic"])
def test_a_small_clip_fills_the_model_of_a_recipe(recipe, root, tmp_path):
    given = load_recipe(root / "domains" / "audio" / "recipes" / f"{recipe}.yaml").recipe
    small = loaded(make_clip.open_clip_model(), tmp_path)
    options = dict(given.model.options)
    if recipe == "clipsonic":
        options["denoiser"] = {
            "channels": [8, 16],
            "attention": [False, True],
            "layers": 1,
            "head_width": 8,
            "groups": 4,
        }
    else:
        options |= {"query_dim": make_clip.DIMENSION, "ngf": 1, "channels": 2}
    towers = small.config.towers
    model = given.model.model_copy(
        update={"towers": towers, "embed_dim": make_clip.DIMENSION, "options": options}
    )
    given = given.model_copy(update={"model": model})
    start = Start(small.network, small.processor, small.prompts, NAME, "0" * 40)
    network = build_model(model_config(given, start))
    report = fill(network, start, given.start)
    assert report.dropped == ()
    assert report.loaded == len(small.network.state_dict())
    parts = {one.partition(".")[0] for one in report.new}
    assert parts == ({"denoiser", "bridge", "null_condition"} if recipe == "clipsonic" else {"separator"})
    assert torch.equal(network.towers["text"].text_projection, small.network.towers["text"].text_projection)


def test_the_hub_name_points_to_the_registered_one():
    with pytest.raises(
        VerticlipError,
        match=r"Load it by name, with its domain .*: 'audio/openai-clip-vit-b32' or 'urban/openai-",
    ):
        verticlip.from_pretrained("timm/vit_base_patch32_clip_224.openai")
