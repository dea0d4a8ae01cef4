"""Random models that transformers builds and saves answer here as they do there, from the picture to the logit."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tokenizers.pre_tokenizers import ByteLevel
from torch.nn.functional import normalize
from transformers import (
    CLIPConfig,
    CLIPModel,
    CLIPProcessor,
    CLIPTokenizer,
    SiglipConfig,
    SiglipModel,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil
from verticlip.core.checkpoint import load_strict
from verticlip.core.conversion import Converted, build_empty
from verticlip.core.errors import ConfigError, WeightsError
from verticlip.core.layouts.import_transformers import convert_clip, convert_siglip
from verticlip.core.processing import Processor

LENGTH, PAIRS = 24, (("c", "a"), ("ca", "t</w>"), ("o", "f</w>"), ("d", "o"))
TEXTS = [
    "a photo of a cat",
    "",
    "word " * 90,
    "HTML &amp; café 你好",
    "don't stop! 123_456",
    "cats stop dogs",
]
FILES = {
    "config": "config.json", "tokenizer": "tokenizer.json", "tokenizer_config": "tokenizer_config.json",
    "vocab": "vocab.json", "merges": "merges.txt", "preprocessor": "preprocessor_config.json",
    "processor": "processor_config.json",
}  # fmt: skip


def pictures() -> list[Image.Image]:
    rng = np.random.default_rng(0)
    noise = [
        Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8))
        for size in ((32, 32), (47, 71), (71, 48), (15, 20), (90, 33))
    ]
    return [*noise, noise[1].resize((201, 99))]


def byte_pairs() -> dict[str, int]:
    alphabet = sorted(ByteLevel.alphabet())
    words = [*alphabet, *(letter + "</w>" for letter in alphabet), *("".join(pair) for pair in PAIRS)]
    return {word: number for number, word in enumerate([*words, "<|startoftext|>", "<|endoftext|>"])}


def stir(model: torch.nn.Module) -> torch.nn.Module:
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn_like(parameter)
            parameter.copy_(0.15 * noise if parameter.ndim > 1 else parameter + 0.05 * noise)
    return model.eval()


def clip(
    folder: Path, *, end: int | None = None, added: int = 0, acts=("quick_gelu", "quick_gelu"), **images
):
    """Save a CLIP as transformers does and return (model, tokenizer, image processor)."""
    words = byte_pairs()
    tokenizer = CLIPTokenizer(vocab=words, merges=list(PAIRS), model_max_length=LENGTH)
    if added:
        tokenizer.add_tokens(["stop"])
    last = words["<|endoftext|>"]
    shared = {"num_hidden_layers": 2, "intermediate_size": 80}
    text = {
        "vocab_size": len(words) + added, "hidden_size": 32, "num_attention_heads": 4, "hidden_act": acts[0],
        "max_position_embeddings": LENGTH, "eos_token_id": last if end is None else end,
        "bos_token_id": last - 1, "pad_token_id": last, **shared,
    }  # fmt: skip
    vision = {
        "hidden_size": 48, "num_attention_heads": 3, "image_size": 32, "patch_size": 8, "hidden_act": acts[1],
        **shared,
    }  # fmt: skip
    model = stir(CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=16)))
    settings = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}, **images}
    prepare = CLIPImageProcessorPil(**settings)
    for part in (model, tokenizer, prepare):
        part.save_pretrained(folder)
    return model, tokenizer, prepare


def files_of(folder: Path) -> dict[str, Path]:
    there = {role: folder / name for role, name in FILES.items() if (folder / name).is_file()}
    return {**there, "weights": folder / "model.safetensors"}


def agrees(made: Converted, model, prepare, ids, inputs) -> None:
    network = build_empty(made.config)
    load_strict(network, made.state, source="test")
    network.eval()
    processor = Processor(made.processor, made.tokenizer_json)
    given, read = processor("image", pictures()), processor("text", TEXTS)
    with torch.no_grad():
        pixels = prepare(images=pictures(), return_tensors="pt")["pixel_values"]
        assert torch.equal(given["pixels"], pixels)
        assert read["input_ids"].tolist() == ids.tolist()
        image = normalize(model.get_image_features(pixel_values=pixels).pooler_output, dim=-1)
        text = normalize(model.get_text_features(**inputs).pooler_output, dim=-1)
        mine = normalize(network.embed("image", given)[0], dim=-1)
        said = normalize(network.embed("text", read)[0], dim=-1)
        assert (mine - image).abs().max() < 2e-6
        assert (said - text).abs().max() < 2e-6
        theirs = model.logit_scale.exp() * image @ text.T + getattr(model, "logit_bias", 0)
        ours = network.scale() * mine @ said.T + (0 if network.logit_bias is None else network.logit_bias)
        assert (theirs - ours).abs().max() < 2e-5
    assert image.std(dim=0).mean() > 1e-3
    assert text.std(dim=0).mean() > 0.01


CASES = {
    "as saved": {},
    "gelu and a margin": {"acts": ("gelu", "gelu"), "size": {"shortest_edge": 37}},
    "two activations": {"acts": ("gelu", "quick_gelu"), "resample": 2, "image_mean": [0.5] * 3},
    "old end": {"end": 2},
    "added words": {"added": 3},
    "bytes as they are": {"do_normalize": False},
}


@pytest.mark.parametrize("name", CASES)
def test_a_saved_clip_answers_as_in_transformers(name: str, tmp_path: Path) -> None:
    model, tokenizer, prepare = clip(tmp_path, **CASES[name])
    inputs = tokenizer(TEXTS, padding="max_length", truncation=True, return_tensors="pt")
    made = convert_clip(name, files_of(tmp_path), {})
    agrees(made, model, prepare, inputs["input_ids"], inputs)
    assert made.config.towers["text"].backend == ("open_clip" if name == "added words" else "clip_text")


def test_old_files_without_a_fast_tokenizer(tmp_path: Path) -> None:
    model, tokenizer, prepare = clip(tmp_path)
    (tmp_path / "tokenizer.json").unlink()
    (tmp_path / "vocab.json").write_text(json.dumps(byte_pairs()))
    lines = "\n".join(" ".join(pair) for pair in PAIRS)
    (tmp_path / "merges.txt").write_text(f"#version: 0.2\n{lines}\n")
    # Settings of 2021: sizes are numbers, and a second copy of a tower's settings counts.
    content = json.loads((tmp_path / "config.json").read_text())
    content["text_config_dict"], content["text_config"] = content["text_config"], {"hidden_size": 7}
    (tmp_path / "config.json").write_text(json.dumps(content))
    settings = {"size": 32, "crop_size": 32, "feature_extractor_type": "CLIPFeatureExtractor", "resample": 3}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(settings))
    inputs = tokenizer(TEXTS, padding="max_length", truncation=True, return_tensors="pt")
    agrees(convert_clip("test", files_of(tmp_path), {}), model, prepare, inputs["input_ids"], inputs)


def test_settings_that_newer_releases_keep_in_one_file(tmp_path: Path) -> None:
    model, tokenizer, prepare = clip(tmp_path, size={"shortest_edge": 40})
    CLIPProcessor(prepare, tokenizer).save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").unlink()
    inputs = tokenizer(TEXTS, padding="max_length", truncation=True, return_tensors="pt")
    agrees(convert_clip("test", files_of(tmp_path), {}), model, prepare, inputs["input_ids"], inputs)


@pytest.mark.parametrize("kind", ["Siglip2Tokenizer", "GemmaTokenizer"])
def test_a_saved_siglip_answers_as_in_transformers(kind: str, tmp_path: Path) -> None:
    import transformers

    pieces = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", *(f"<0x{byte:02X}>" for byte in range(256))]
    pieces += [*"\u2581abcdefghijklmnopqrstuvwxyzABC.,!?'", "ca", "cat", "\u2581cat"]
    tokenizer = getattr(transformers, kind)(
        vocab={piece: number for number, piece in enumerate(pieces)},
        merges=[("c", "a"), ("ca", "t"), ("\u2581", "cat")],
        add_bos_token=False, add_eos_token=True, model_max_length=12, padding_side="right",
    )  # fmt: skip
    shared = {"num_hidden_layers": 2, "intermediate_size": 80}
    text = {
        "vocab_size": len(pieces), "hidden_size": 32, "num_attention_heads": 4, "projection_size": 48,
        "max_position_embeddings": 12, "bos_token_id": 2, "eos_token_id": 1, "pad_token_id": 0, **shared,
    }  # fmt: skip
    vision = {"hidden_size": 48, "num_attention_heads": 3, "image_size": 32, "patch_size": 8, **shared}
    model = stir(SiglipModel(SiglipConfig(text_config=text, vision_config=vision)))
    prepare = SiglipImageProcessorPil(size={"height": 32, "width": 32})
    for part in (model, tokenizer, prepare):
        part.save_pretrained(tmp_path)
    ids = tokenizer(TEXTS, padding="max_length", truncation=True, return_tensors="pt")["input_ids"]
    made = convert_siglip("test", files_of(tmp_path), {})
    agrees(made, model, prepare, ids, {"input_ids": ids})
    assert made.config.logit_bias is not None


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("plain")
    clip(folder)
    return folder


def changed(
    plain: Path, out: Path, *, text=None, vision=None, images=None, tokens=None, **top
) -> dict[str, Path]:
    """Return the files of a copy whose settings say something else."""
    files = files_of(plain)
    for role, parts in (
        ("config", {None: top, "text_config": text, "vision_config": vision}),
        ("preprocessor", {None: images}), ("tokenizer_config", {None: tokens}),
    ):  # fmt: skip
        content = json.loads(files[role].read_text())
        for part, changes in parts.items():
            (content if part is None else content[part]).update(changes or {})
        files[role] = out / files[role].name
        files[role].write_text(json.dumps(content))
    return files


REFUSED = {
    "code": ({"auto_map": {"AutoModel": "evil--code.Model"}}, "'auto_map' names code of the repository"),
    "trust": ({"text": {"trust_remote_code": True}}, "'trust_remote_code' names code"),
    "code of the tokenizer": (
        {"tokens": {"auto_map": {"x": "evil--code"}}},
        "tokenizer_config.json: 'auto_map'",
    ),
    "code of pictures": (
        {"images": {"auto_map": {"x": "evil--code"}}},
        "preprocessor_config.json: 'auto_map'",
    ),
    "a huge context": (
        {"text": {"max_position_embeddings": 10**9}},
        "max_position_embeddings: .*equal to 8192",
    ),
    "a huge width": ({"vision": {"hidden_size": 2**40}}, "hidden_size: .*less than or equal to 16384"),
    "a huge vocabulary": ({"text": {"vocab_size": 2**40}}, "vocab_size: .*equal to 2000000"),
    "an unknown key": ({"vision": {"rope_theta": 5.0}}, "vision_config: unknown key 'rope_theta'"),
    "another activation": (
        {"text": {"hidden_act": "relu"}},
        "text_config.hidden_act is 'relu'; supported are",
    ),
    "another epsilon": ({"text": {"layer_norm_eps": 1e-3}}, "layer_norm_eps 0.001 is not supported"),
    "pruned": ({"text": {"pruned_heads": {"0": [1]}}}, "pruned_heads is not supported"),
    "quantized": ({"quantization_config": {"bits": 4}}, "quantized weights are not supported"),
    "no resizing": ({"images": {"do_resize": False}}, "do_resize false is not supported"),
    "another range": (
        {"images": {"rescale_factor": 1 / 127.5}},
        "rescale_factor 0.00784314 is not supported",
    ),
    "another filter": ({"images": {"resample": 0}}, "resample is 0; supported are 3, 2"),
    "other sizes": ({"images": {"crop_size": {"height": 40, "width": 40}}}, "come out with 40 pixels a side"),
    "an unknown step": ({"images": {"do_flip": True}}, "unknown key 'do_flip'"),
    "left": ({"tokens": {"padding_side": "left"}}, "fills texts up on the left"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_settings_may_not_ask_for(name: str, plain: Path, tmp_path: Path) -> None:
    changes, said = REFUSED[name]
    with pytest.raises(ConfigError, match=said):
        convert_clip("test", changed(plain, tmp_path, **changes), {})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"vision": {"hidden_size": 24}}, "the image tower has width 48, config.json states 24"),
        ({"vision": {"num_hidden_layers": 3}}, "the image tower has layers 2, config.json states 3"),
        ({"vision": {"image_size": 64}}, "the image tower has image_size 32, config.json states 64"),
        ({"text": {"max_position_embeddings": 8192}}, "context_length 24, config.json states 8192"),
        ({"text": {"vocab_size": 2_000_000}}, "vocab_size 518, config.json states 2000000"),
    ],
)
def test_weights_of_another_size_are_refused(changes, said: str, plain: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=said):
        convert_clip("test", changed(plain, tmp_path, **changes), {})


def test_a_tokenizer_with_more_words_than_rows_is_refused(plain: Path, tmp_path: Path) -> None:
    content = json.loads((plain / "tokenizer.json").read_text())
    content["added_tokens"].append({**content["added_tokens"][-1], "id": 9999, "content": "<extra>"})
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(ConfigError, match=r"tokens up to number \d+; the word table of .* has 518 rows"):
        convert_clip("test", {**files_of(plain), "tokenizer": tmp_path / "tokenizer.json"}, {})


def test_without_a_tokenizer_that_is_data_nothing_is_converted(plain: Path) -> None:
    files = {role: path for role, path in files_of(plain).items() if role != "tokenizer"}
    with pytest.raises(ConfigError, match="no tokenizer that can be read as data; it needs tokenizer.json"):
        convert_clip("test", files, {})
