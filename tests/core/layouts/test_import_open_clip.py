"""Random models that open_clip builds and saves answer here as they do there, from the picture to the logit."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch.nn.functional import normalize
from verticlip.core.checkpoint import load_strict
from verticlip.core.conversion import Converted, build_empty
from verticlip.core.errors import ConfigError, WeightsError
from verticlip.core.layouts.import_open_clip import convert
from verticlip.core.processing import Processor

TEXTS = [
    "a photo of a cat",
    "",
    "word " * 90,
    "HTML &amp; café 你好",
    "don't stop! 123_456",
    "Cats, and Dogs.",
]
VISION = {"layers": 2, "width": 64, "head_width": 32, "patch_size": 8, "image_size": 32}
TEXT = {"context_length": 20, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2}
PLAIN = {"embed_dim": 16, "vision_cfg": VISION, "text_cfg": TEXT}
FILES = {
    "config": "open_clip_config.json",
    "tokenizer": "tokenizer.json",
    "tokenizer_config": "tokenizer_config.json",
}


def pictures() -> list[Image.Image]:
    rng = np.random.default_rng(0)
    noise = [
        Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8))
        for size in ((32, 32), (47, 71), (71, 48), (15, 20), (90, 33))
    ]
    return [*noise, noise[1].resize((201, 99))]


def words(folder: Path, *, bert: bool) -> None:
    """Save a tokenizer as transformers does: byte pairs that end in </s>, or BERT's."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import BertTokenizer, PreTrainedTokenizerFast

    if bert:
        letters = "abcdefghijklmnopqrstuvwxyz0123456789,.!'"
        pieces = [
            "[PAD]",
            "[UNK]",
            "[CLS]",
            "[SEP]",
            "[MASK]",
            *letters,
            *("##" + one for one in letters),
            "cat",
        ]
        BertTokenizer(vocab={piece: number for number, piece in enumerate(pieces)}).save_pretrained(folder)
        return
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {piece: number for number, piece in enumerate(["<pad>", "</s>", *alphabet, "ca", "cat"])}
    tokenizer = Tokenizer(models.BPE(vocab, [("c", "a"), ("ca", "t")]))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(), decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing("$A </s>", special_tokens=[("</s>", 1)])
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>")
    fast.save_pretrained(folder)


def saved(folder: Path, config: dict, *, pickled: bool = False, **preprocess) -> None:
    """Write a random model as open_clip's own writer for the Hub does."""
    from open_clip.model import set_model_preprocess_cfg
    from open_clip.push_to_hf_hub import save_for_hf

    torch.manual_seed(0)
    open_clip.factory._MODEL_CONFIGS["test"] = json.loads(json.dumps(config))
    try:
        model = open_clip.create_model("test", pretrained_text=False)
    finally:
        del open_clip.factory._MODEL_CONFIGS["test"]
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn_like(parameter)
            # Matrices large enough that pictures differ; norms and biases near where they are.
            parameter.copy_(0.15 * noise if parameter.ndim > 1 else parameter + 0.05 * noise)
    torch.nn.init.constant_(model.logit_scale, 2.5)
    set_model_preprocess_cfg(model, {**model.visual.preprocess_cfg, **preprocess})
    model.visual.image_mean, model.visual.image_std = (0.4, 0.5, 0.6), (0.3, 0.2, 0.25)

    class Words:
        def save_pretrained(self, _: str) -> None: ...

    save_for_hf(model, Words(), config, str(folder), safe_serialization=not pickled)


def files_of(folder: Path) -> dict[str, Path]:
    weights = next(folder.glob("open_clip_*model.*"))
    there = {role: folder / name for role, name in FILES.items() if (folder / name).is_file()}
    return {**there, "weights": weights}


def reference(folder: Path):
    model, _, prepare = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    model.eval()
    tokens = open_clip.get_tokenizer(f"local-dir:{folder}")
    with torch.no_grad():
        pixels = torch.stack([prepare(picture) for picture in pictures()])
        image = model.encode_image(pixels, normalize=True)
        text = model.encode_text(tokens(TEXTS), normalize=True)
        logits = model.logit_scale.exp() * image @ text.T
    return pixels, tokens(TEXTS), image, text, logits + (0 if model.logit_bias is None else model.logit_bias)


def agrees(made: Converted, pixels, tokens, image, text, logits) -> None:
    network = build_empty(made.config)
    load_strict(network, made.state, source="test")
    network.eval()
    processor = Processor(made.processor, made.tokenizer_json)
    given, read = processor("image", pictures()), processor("text", TEXTS)
    assert torch.equal(given["pixels"], pixels)
    assert read["input_ids"].tolist() == tokens.tolist()
    with torch.no_grad():
        mine = normalize(network.embed("image", given)[0], dim=-1)
        said = normalize(network.embed("text", read)[0], dim=-1)
        bias = 0 if network.logit_bias is None else network.logit_bias
        assert (mine - image).abs().max() < 2e-6
        assert (said - text).abs().max() < 2e-6
        assert (network.scale() * mine @ said.T + bias - logits).abs().max() < 2e-5
    assert image.std(dim=0).mean() > 1e-3
    assert text.std(dim=0).mean() > 0.01


CASES = {
    "own-towers": (PLAIN, {"resize_mode": "longest"}, None),
    "quick-gelu": (
        {**PLAIN, "quick_gelu": True, "custom_text": True, "vision_cfg": {**VISION, "mlp_ratio": 3.3}},
        {"resize_mode": "squash", "interpolation": "bilinear"},
        None,
    ),
    "resnet": ({**PLAIN, "vision_cfg": {"layers": [1, 1, 1, 1], "width": 8, "image_size": 32}}, {}, None),
    "timm": (
        {
            **PLAIN,
            "custom_text": True,
            "init_logit_bias": -10,
            "vision_cfg": {
                "timm_model_name": "test_vit", "timm_model_pretrained": False, "timm_pool": "avg",
                "timm_proj": "linear", "timm_drop": 0.0, "timm_drop_path": 0.1, "image_size": 160,
            },
            "text_cfg": {
                **TEXT, "vocab_size": 300, "hf_tokenizer_name": "elsewhere/model", "no_causal_mask": True,
                "tokenizer_kwargs": {"clean": "canonicalize"}, "proj_bias": True, "pool_type": "last",
                "norm_kwargs": {"eps": 1e-6}, "act_kwargs": {"approximate": "tanh"},
            },
        },
        {},
        "pairs",
    ),
    "clipa": (
        {
            **PLAIN,
            "vision_cfg": {**VISION, "no_ln_pre": True, "pool_type": "avg", "final_ln_after_pool": True},
            "text_cfg": {
                **TEXT, "hf_tokenizer_name": "bert-base-uncased", "tokenizer_kwargs": {"strip_sep_token": True},
                "pool_type": "last", "no_causal_mask": True,
            },
        },
        {},
        "bert",
    ),
    "coca": (
        {
            **PLAIN,
            "custom_text": True,
            "vision_cfg": {**VISION, "attentional_pool": True, "attn_pooler_heads": 2, "output_tokens": True},
            "text_cfg": {**TEXT, "embed_cls": True, "output_tokens": True},
            "multimodal_cfg": {**TEXT, "layers": 1, "attn_pooler_heads": 2},
        },
        {},
        None,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_saved_model_answers_as_in_open_clip(name: str, tmp_path: Path) -> None:
    config, preprocess, tokens = CASES[name]
    saved(tmp_path, config, pickled=name == "own-towers", **preprocess)
    if tokens:
        words(tmp_path, bert=tokens == "bert")
    made = convert(name, files_of(tmp_path), {})
    agrees(made, *reference(tmp_path))
    assert made.config.description == ""
    backends = {tower.backend for tower in made.config.towers.values()}
    assert ("open_clip" in backends) == (name not in ("own-towers", "quick-gelu"))


def test_positions_are_stretched_to_another_size_as_there(tmp_path: Path) -> None:
    saved(tmp_path, PLAIN)
    path = tmp_path / "open_clip_config.json"
    content = json.loads(path.read_text())
    content["model_cfg"]["vision_cfg"]["image_size"] = 48
    content["model_cfg"]["text_cfg"]["context_length"] = 31
    path.write_text(json.dumps(content))
    made = convert("test", files_of(tmp_path), {})
    assert "its tables of positions were stretched" in made.config.description
    agrees(made, *reference(tmp_path))


@pytest.mark.parametrize(("family", "pool"), [("roberta", "mean"), ("bert", "cls_last_hidden_state")])
def test_a_text_tower_of_transformers_is_known_by_name(family: str, pool: str, tmp_path: Path) -> None:
    from transformers import BertConfig, RobertaConfig, RobertaTokenizer

    tower, out = tmp_path / "tower", tmp_path / "model"
    shared = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 1, "intermediate_size": 96}
    if family == "bert":
        words(out, bert=True)
        BertConfig(vocab_size=99, max_position_embeddings=40, **shared).save_pretrained(tower)
    else:
        from tokenizers.pre_tokenizers import ByteLevel

        pieces = ["<s>", "<pad>", "</s>", "<unk>", *sorted(ByteLevel.alphabet()), "ca", "<mask>"]
        RobertaTokenizer(
            vocab={piece: number for number, piece in enumerate(pieces)}, merges=[("c", "a")]
        ).save_pretrained(out)
        RobertaConfig(
            vocab_size=262, max_position_embeddings=40, type_vocab_size=1, layer_norm_eps=1e-5, **shared
        ).save_pretrained(tower)
    text = {
        "hf_model_name": str(tower), "hf_tokenizer_name": "roberta-base", "hf_proj_type": "mlp",
        "hf_pooler_type": f"{pool}_pooler", "context_length": 24,
    }  # fmt: skip
    saved(out, {**PLAIN, "text_cfg": text})
    expected = reference(out)
    path = out / "open_clip_config.json"
    content = json.loads(path.read_text())
    content["model_cfg"]["text_cfg"]["hf_model_name"] = {"bert": "bert-base-uncased"}.get(
        family, "roberta-base"
    )
    path.write_text(json.dumps(content))
    made = convert("test", files_of(out), {})
    assert made.config.towers["text"].backend == "bert"
    agrees(made, *expected)


def test_every_architecture_that_open_clip_ships_is_understood(tmp_path: Path) -> None:
    from verticlip.core.layouts import import_open_clip as layout
    from verticlip.core.layouts.foreign_config import read_open_clip

    refused = set()
    for name in open_clip.list_models():
        path = tmp_path / "open_clip_config.json"
        path.write_text(json.dumps({"model_cfg": open_clip.get_model_config(name)}))
        settings, _ = read_open_clip(path)
        try:
            towers = {"image": layout._image(settings, name)[0], "text": layout._text(settings, name)[0]}
        except ConfigError:
            refused.add(name.split("-")[0])
        else:
            assert set(towers) == {"image", "text"}
    assert refused == {"mt5", "nllb"}


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("plain")
    saved(folder, PLAIN)
    return folder


def changed(plain: Path, out: Path, *, text=None, vision=None, preprocess=None, **model) -> dict[str, Path]:
    """Return the files of a copy whose config says something else."""
    content = json.loads((plain / "open_clip_config.json").read_text())
    content["model_cfg"] |= model
    content["model_cfg"]["text_cfg"] |= text or {}
    content["model_cfg"]["vision_cfg"] |= vision or {}
    content["preprocess_cfg"] |= preprocess or {}
    path = out / "open_clip_config.json"
    path.write_text(json.dumps(content))
    return {"config": path, "weights": plain / "open_clip_model.safetensors"}


REFUSED = {
    "another tower's repository": (
        {"text": {"hf_model_name": "evil/repository"}},
        "text tower is that of 'evil/repository', a repository whose config would have to be fetched",
    ),
    "another tokenizer's repository": (
        {"text": {"hf_tokenizer_name": "evil/repository"}},
        "names the tokenizer 'evil/repository', and there is no tokenizer.json beside it. Other repositories are",
    ),
    "code": ({"auto_map": {"AutoModel": "evil--code.Model"}}, "'auto_map' names code of the repository"),
    "trust": ({"text": {"tokenizer_kwargs": {"trust_remote_code": True}}}, "'trust_remote_code' names code"),
    "a URL": ({"text": {"hf_model_name": "https://host/x"}}, "the URL 'https://host/x'"),
    "a path": ({"text": {"hf_model_name": "../../etc"}}, "leaves the folder"),
    "a huge context": (
        {"text": {"context_length": 10**9}},
        r"text_cfg.context_length: .*less than or equal to 8192",
    ),
    "a huge width": ({"vision": {"width": 2**40}}, r"vision_cfg.width: .*less than or equal to 16384"),
    "a huge vocabulary": ({"text": {"vocab_size": 2**40}}, r"vocab_size: .*less than or equal to 2000000"),
    "many layers": ({"vision": {"layers": 2**40}}, "vision_cfg.layers"),
    "a huge picture": ({"vision": {"image_size": 2**40}}, "vision_cfg.image_size"),
    "an unknown key": ({"vision": {"widht": 3}}, "unknown key 'vision_cfg.widht'. Did you mean 'width'"),
    "an unknown timm": (
        {"vision": {"timm_model_name": "test_vitt"}},
        "no architecture 'test_vitt'. Did you mean",
    ),
    "no squares": ({"vision": {"image_size": [32, 64]}}, r"only square pictures"),
    "random words": (
        {"text": {"tokenizer_kwargs": {"reduction_mask": "random"}}},
        "reduction_mask is not supported",
    ),
    "white bars": (
        {"preprocess": {"resize_mode": "longest", "fill_color": 255}},
        "fill_color 255 is not supported",
    ),
    "another filter": (
        {"preprocess": {"interpolation": "nearest"}},
        "interpolation is 'nearest'; supported are",
    ),
    "few words": ({"text": {"vocab_size": 100}}, "vocab_size is 100; open_clip's tokenizer has 49408"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_config_may_not_ask_for(name: str, plain: Path, tmp_path: Path) -> None:
    changes, said = REFUSED[name]
    with pytest.raises(ConfigError, match=said):
        convert("test", changed(plain, tmp_path, **changes), {})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"vision": {"width": 96}}, "of another shape|describes"),
        ({"vision": {"layers": 3}}, "image: 12 missing"),
        ({"text": {"layers": 1}}, "text: 12 unexpected"),
        ({"text": {"width": 8192, "layers": 200}}, "the config describes .* values and the file holds"),
        ({"vision": {"qk_norm": True}}, "missing"),
    ],
)
def test_weights_of_another_size_are_refused_before_a_network_is_filled(
    changes, said, plain, tmp_path
) -> None:
    with pytest.raises(WeightsError, match=said):
        made = convert("test", changed(plain, tmp_path, **changes), {})
        load_strict(build_empty(made.config), made.state, source="test")


def test_a_tensor_too_many_or_too_few_is_named(plain: Path, tmp_path: Path) -> None:
    state = load_file(plain / "open_clip_model.safetensors")
    files = changed(plain, tmp_path) | {"weights": tmp_path / "open_clip_model.safetensors"}
    save_file(state | {"visual.stranger": torch.zeros(2)}, files["weights"])
    with pytest.raises(WeightsError, match=r"image: 1 unexpected \(visual.stranger\)"):
        convert("test", files, {})
    state.pop("ln_final.weight")
    save_file(state, files["weights"])
    with pytest.raises(WeightsError, match=r"text: 1 missing \(towers.text.ln_final.weight\)"):
        convert("test", files, {})
