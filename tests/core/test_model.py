from __future__ import annotations

import math
from typing import get_args

import pytest
import torch
from verticlip.core.config import ModelConfig, ProcessorConfig, TransformersTower, parse_config
from verticlip.core.errors import ConfigError, InputError
from verticlip.core.model import ContrastiveModel
from verticlip.core.processing import Processor
from verticlip.core.types import Batch

BERT = {
    "backend": "bert", "vocab_size": 50, "width": 16, "layers": 1, "heads": 2, "mlp_width": 32, "max_positions": 12,
}  # fmt: skip
TIMM = {
    "backend": "timm",
    "architecture": "resnet10t",
    "options": {"channels": [8, 8, 16, 16]},
    "projection": "mlp",
}
VIT = {"backend": "vit", "image_size": 16, "patch_size": 8, "width": 16, "layers": 1, "heads": 2, "mlp_width": 32,
       "projection": "linear"}  # fmt: skip


def build(**changes) -> ContrastiveModel:
    torch.manual_seed(0)
    raw = {"name": "t", "embed_dim": 8, "towers": {"image": TIMM, "text": BERT}, **changes}
    return ContrastiveModel(parse_config(ModelConfig, raw, source="t")).eval()


def inputs() -> dict:
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(1, 50, (3, 6), generator=generator)
    return {
        "image": {"pixels": torch.rand(3, 3, 32, 32, generator=generator)},
        "text": {"input_ids": ids, "attention_mask": torch.ones_like(ids)},
    }


def test_forward_gives_unit_embeddings_of_every_modality():
    outputs = build()(Batch(inputs()), tokens=("image", "text"))
    assert set(outputs.embeddings) == {"image", "text"}
    for embedding in outputs.embeddings.values():
        assert embedding.shape == (3, 8)
        torch.testing.assert_close(embedding.norm(dim=-1), torch.ones(3))
    assert outputs.tokens["image"].grid == (1, 1)
    assert outputs.tokens["text"].tokens.shape == (3, 6, 16)
    assert outputs.logit_bias is None
    assert outputs.logit_scale.item() == pytest.approx(1 / 0.07, rel=1e-5)


def test_five_towers_take_the_same_path():
    towers = {"image": VIT, "text": BERT, "audio": VIT, "video": VIT, "volume": VIT}
    model = build(towers=towers, logit_bias=-10.0, logit_scale=math.log(10))
    pixels = {"pixels": torch.rand(2, 3, 16, 16)}
    batch = Batch({**{name: pixels for name in towers if name != "text"}, "text": {
        "input_ids": torch.ones(2, 3, dtype=torch.int64), "attention_mask": torch.ones(2, 3, dtype=torch.int64)}})  # fmt: skip
    assert set(model(batch).embeddings) == set(towers)
    assert model.modalities == tuple(towers)
    image, text = (model.encode(name, batch.inputs[name]) for name in ("image", "text"))
    torch.testing.assert_close(model.logits(image, text), 10 * image @ text.T - 10)


def test_rows_do_not_depend_on_the_batch():
    model, given = build(), inputs()
    with torch.inference_mode():
        for name, arguments in given.items():
            whole = model.encode(name, arguments)
            for row in range(3):
                one = model.encode(name, {key: value[row : row + 1] for key, value in arguments.items()})
                torch.testing.assert_close(one[0], whole[row], atol=2e-6, rtol=0)


def test_encode_matches_forward_and_tokens_can_be_projected():
    model, given = build(), inputs()
    outputs = model(Batch(given))
    torch.testing.assert_close(model.encode("image", given["image"]), outputs.embeddings["image"])
    assert model.encode_tokens("text", given["text"], project=True).tokens.shape == (3, 6, 8)


def test_projected_tokens_end_in_the_joint_space():
    text = {"backend": "clip_text", "context_length": 6, "vocab_size": 50, "width": 16, "layers": 1, "heads": 2,
            "mlp_width": 32, "output_dim": 8}  # fmt: skip
    model = build(towers={"text": text})
    given = {"input_ids": torch.tensor([[1, 5, 49], [1, 49, 0]])}
    tokens = model.encode_tokens("text", given, project=True).tokens
    assert tokens.shape == (2, 3, 8)
    # The state at the end token is the one that is pooled.
    torch.testing.assert_close(tokens[[0, 1], [2, 1]], model.encode("text", given, normalize=False))


def test_tokens_that_cannot_be_projected_are_an_error():
    options = {"layers": 1, "width": 64, "image_size": 16, "patch_size": 8}
    model = build(
        towers={"image": {"backend": "open_clip", "kind": "vision", "output_dim": 8, "options": options}}
    )
    with pytest.raises(
        InputError, match="a projection of its own that tokens cannot take. Use project=False"
    ):
        model.encode_tokens("image", {"pixels": torch.rand(1, 3, 16, 16)}, project=True)


def test_a_model_sees_windows_unless_its_architecture_says_otherwise():
    model = build()
    assert not model.sees_whole("audio", 1.0)
    with pytest.raises(InputError, match="sees 'audio' window by window"):
        model.inputs_of_whole("audio", torch.zeros(9), Processor(ProcessorConfig()))


def test_unknown_modality_and_width_mismatch():
    with pytest.raises(InputError, match="no 'imge' tower; it takes: image, text. Did you mean 'image'"):
        build().encode("imge", {})
    with pytest.raises(ConfigError, match="ends in 16 values but embed_dim is 8"):
        build(towers={"text": {**BERT, "projection": "none"}})


@pytest.mark.parametrize(
    ("tower", "message"),
    [
        ({"backend": "timm", "architecture": "resnet10x"}, "timm has no architecture 'resnet10x'. Did you mean"),
        ({"backend": "timm", "architecture": "resnet10t", "options": {"chanels": 1}}, "does not take these options"),
        ({"backend": "timm", "architecture": "resnet10t", "options": {"checkpoint_path": "x"}}, "is refused"),
        ({"backend": "timm", "architecture": "resnet10t", "options": {"pretrained": True}}, "is refused"),
        ({"backend": "open_clip", "kind": "text", "output_dim": 8, "options": {"widht": 3}}, "Did you mean 'width'"),
        ({"backend": "open_clip", "kind": "text", "output_dim": 8, "options": {"hf_tokenizer_name": "x"}}, "refused"),
        ({"backend": "transformers", "model_type": "bert", "options": {"hidden_size": 7}}, "does not take"),
    ],
)  # fmt: skip
def test_towers_refuse_what_they_do_not_know(tower, message):
    with pytest.raises(ConfigError, match=message):
        build(towers={"image": tower})


def test_scale_is_clamped():
    model = build()
    with torch.no_grad():
        model.logit_scale.fill_(9.0)
    model.clamp_scale_()
    assert float(model.scale()) == pytest.approx(100.0, rel=1e-5)
    with torch.no_grad():
        model.logit_scale.fill_(-9.0)
    model.clamp_scale_()
    assert float(model.scale()) == 1.0


@pytest.mark.parametrize("kind", ["vision", "text"])
def test_open_clip_adapter_gives_its_own_outputs(kind):
    options = {"layers": 1, "width": 64}
    options |= {"image_size": 16, "patch_size": 8} if kind == "vision" else {"vocab_size": 60, "heads": 2}
    model = build(
        towers={"image": {"backend": "open_clip", "kind": kind, "output_dim": 8, "options": options}}
    )
    arguments = {"pixels": torch.rand(2, 3, 16, 16), "input_ids": torch.randint(1, 60, (2, 77))}
    tower = model.towers["image"]
    expected = tower.model(arguments["pixels" if kind == "vision" else "input_ids"])[0]
    torch.testing.assert_close(model.encode("image", arguments, normalize=False), expected)
    assert model.encode_tokens("image", arguments).tokens.shape[0] == 2


@pytest.mark.parametrize("model_type", get_args(TransformersTower.model_fields["model_type"].annotation))
def test_every_transformers_model_can_be_a_tower(model_type):
    options = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    arguments = {"input_ids": torch.tensor([[2, 5, 3], [2, 6, 3]])}
    if "vision" in model_type:
        options |= {"image_size": 16, "patch_size": 8}
        arguments = {"pixels": torch.rand(2, 3, 16, 16)}
    elif "audio" in model_type:
        options = {"hidden_size": 16, "patch_embeds_hidden_size": 8, "depths": [1, 1], "num_attention_heads": [1, 2],
                   "num_mel_bins": 16, "spec_size": 32, "patch_size": 4, "patch_stride": [4, 4], "window_size": 4}  # fmt: skip
        arguments = {"features": torch.rand(2, 1, 64, 16)}
    else:
        options |= {"vocab_size": 60}
    tower = {"backend": "transformers", "model_type": model_type, "options": options, "pooling": "pooler"}
    model = build(towers={"image": tower})
    assert model.encode("image", arguments).shape == (2, 8)
    tokens = model.encode_tokens("image", arguments).tokens
    assert (tokens.ndim, tokens.shape[0], tokens.shape[-1]) == (3, 2, 16)


def test_transformers_adapter_pools_only_real_tokens():
    options = {"vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
               "intermediate_size": 32}  # fmt: skip
    for pooling in ("cls", "mean", "last", "pooler"):
        tower = {"backend": "transformers", "model_type": "bert", "options": options, "pooling": pooling}
        model = build(towers={"text": tower})
        ids = torch.randint(1, 50, (2, 4))
        short = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        padded = {key: torch.nn.functional.pad(value, (0, 3)) for key, value in short.items()}
        torch.testing.assert_close(
            model.encode("text", short), model.encode("text", padded), atol=1e-5, rtol=0
        )
