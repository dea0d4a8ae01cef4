"""The three towers against open_clip, transformers and the stored reference outputs."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest
import torch
from torch import nn
from verticlip.core.blocks import TransformerTower
from verticlip.core.config import BertTower, CausalTextTower, VisionTransformerTower
from verticlip.core.errors import ConfigError, InputError
from verticlip.core.transformer import Bert, CausalText, VisionTransformer

VISION = VisionTransformerTower(
    backend="vit", image_size=32, patch_size=8, width=48, layers=3, heads=4, mlp_width=96, output_dim=24
)
TEXT = CausalTextTower(
    backend="clip_text",
    context_length=20,
    vocab_size=100,
    width=32,
    layers=3,
    heads=4,
    mlp_width=64,
    output_dim=16,
)
BERT = BertTower(
    backend="bert", vocab_size=60, width=32, layers=2, heads=4, mlp_width=64, max_positions=24, dropout=0.1
)


def shake(module: nn.Module) -> nn.Module:
    """Give every parameter a seeded value so that no norm, bias or position is trivial."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return module


def captions() -> torch.Tensor:
    """Four texts of 5 to 12 tokens padded to 20; the end-of-text id 99 is the highest."""
    generator = torch.Generator().manual_seed(1)
    ids = torch.zeros(4, 20, dtype=torch.long)
    for row, length in enumerate((5, 12, 7, 9)):
        ids[row, :length] = torch.randint(1, 98, (length,), generator=generator)
        ids[row, length - 1] = 99
    return ids


def sentences() -> dict[str, torch.Tensor]:
    """Four texts of 5 to 12 tokens padded to 20 with an attention mask."""
    mask = (torch.arange(20) < torch.tensor([5, 12, 7, 9])[:, None]).long()
    ids = torch.randint(1, 60, (4, 20), generator=torch.Generator().manual_seed(2)) * mask
    return {"input_ids": ids, "attention_mask": mask}


def pixels() -> torch.Tensor:
    return torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(3))


def tower_and_inputs(name: str) -> tuple[TransformerTower, dict[str, torch.Tensor]]:
    if name == "vision":
        return VisionTransformer(VISION), {"pixels": pixels()}
    if name == "text":
        return CausalText(TEXT), {"input_ids": captions()}
    return Bert(BERT), sentences()


def assert_same_gradients(ours: nn.Module, reference: nn.Module) -> None:
    expected = dict(reference.named_parameters())
    for name, parameter in ours.named_parameters():
        assert parameter.grad is not None, name
        torch.testing.assert_close(parameter.grad, expected[name].grad, atol=1e-5, rtol=1e-5, msg=name)


@pytest.mark.parametrize("quick_gelu", [False, True])
def test_vision_equals_open_clip_with_the_same_state_dict(quick_gelu: bool) -> None:
    transformer = pytest.importorskip("open_clip.transformer")
    act = transformer.QuickGELU if quick_gelu else nn.GELU
    reference = transformer.VisionTransformer(
        32, 8, 48, 3, 4, 2.0, output_dim=24, act_layer=act, output_tokens=True
    )
    ours = VisionTransformer(VISION.model_copy(update={"quick_gelu": quick_gelu}))
    ours.load_state_dict(shake(reference).state_dict(), strict=True)
    pooled, tokens = reference(pixels())
    output = ours({"pixels": pixels()}, tokens=True)
    assert output.tokens is not None
    torch.testing.assert_close(output.pooled, pooled, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(output.tokens.tokens, tokens, atol=1e-5, rtol=1e-5)
    assert output.tokens.grid == (4, 4)
    torch.testing.assert_close(ours({"pixels": pixels()}).pooled, output.pooled)
    (pooled**2).mean().backward()
    (output.pooled**2).mean().backward()
    assert_same_gradients(ours, reference)


@pytest.mark.parametrize("quick_gelu", [False, True])
def test_text_equals_padded_open_clip_with_the_same_state_dict(quick_gelu: bool) -> None:
    transformer = pytest.importorskip("open_clip.transformer")
    act = transformer.QuickGELU if quick_gelu else nn.GELU
    reference = transformer.TextTransformer(
        20, 100, 32, 4, 3, 2.0, output_dim=16, act_layer=act, output_tokens=True
    )
    ours = CausalText(TEXT.model_copy(update={"quick_gelu": quick_gelu}))
    ours.load_state_dict(shake(reference).state_dict(), strict=True)
    pooled, tokens = reference(captions())
    output = ours({"input_ids": captions()}, tokens=True)
    assert output.tokens is not None
    assert output.tokens.mask is not None
    torch.testing.assert_close(output.pooled, pooled, atol=1e-5, rtol=1e-5)
    assert output.tokens.tokens.shape == (4, 12, 32)
    assert output.tokens.mask.sum(dim=1).tolist() == [5, 12, 7, 9]
    torch.testing.assert_close(output.tokens.tokens, tokens[:, :12], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(ours({"input_ids": captions()}).pooled, output.pooled)
    (pooled**2).mean().backward()
    (output.pooled**2).mean().backward()
    assert_same_gradients(ours, reference)


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_bert_equals_transformers_with_the_same_state_dict(pooling: str) -> None:
    transformers = pytest.importorskip("transformers")
    settings = transformers.BertConfig(
        vocab_size=60,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=24,
    )
    reference = transformers.BertModel(settings, add_pooling_layer=False).eval()
    ours = Bert(BERT.model_copy(update={"pooling": pooling})).eval()
    ours.load_state_dict(shake(reference).state_dict(), strict=True)
    inputs = sentences()
    states = reference(**inputs).last_hidden_state
    mask = inputs["attention_mask"].unsqueeze(-1)
    pooled = states[:, 0] if pooling == "cls" else (states * mask).sum(1) / mask.sum(1)
    output = ours(inputs, tokens=True)
    assert output.tokens is not None
    assert output.tokens.mask is not None
    assert output.tokens.mask.sum(dim=1).tolist() == [5, 12, 7, 9]
    torch.testing.assert_close(output.pooled, pooled, atol=1e-5, rtol=1e-5)
    real = output.tokens.mask
    torch.testing.assert_close(output.tokens.tokens[real], states[:, :12][real], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(ours(inputs).pooled, output.pooled)
    (pooled**2).mean().backward()
    (output.pooled**2).mean().backward()
    assert_same_gradients(ours, reference)


def test_bert_without_a_mask_reads_every_position() -> None:
    ours = Bert(BERT).eval()
    ids = torch.tensor([[3, 4, 5], [6, 7, 8]])
    with_mask = ours({"input_ids": ids, "attention_mask": torch.ones_like(ids)})
    torch.testing.assert_close(ours({"input_ids": ids}).pooled, with_mask.pooled)


def test_bert_dropout_acts_in_training_only() -> None:
    ours, inputs = Bert(BERT), sentences()
    assert not torch.equal(ours(inputs).pooled, ours(inputs).pooled)
    ours.eval()
    assert torch.equal(ours(inputs).pooled, ours(inputs).pooled)


def test_padding_changes_neither_text_tower() -> None:
    for name in ("text", "bert"):
        tower, inputs = tower_and_inputs(name)
        tower.eval()
        cut = {key: value[:1, :5] for key, value in inputs.items()}
        padded = {key: value[:1] for key, value in inputs.items()}
        torch.testing.assert_close(tower(padded).pooled, tower(cut).pooled, atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(tower(inputs).pooled[:1], tower(cut).pooled, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("name", ["vision", "text", "bert"])
def test_no_linear_sees_a_strided_batch(name: str) -> None:
    tower, inputs = tower_and_inputs(name)
    tower.eval()
    seen: list[tuple[str, bool]] = []

    class Watch(torch.overrides.TorchFunctionMode):
        """See functional calls too: the fused projection is not a module."""

        def __torch_function__(self, function, types, args=(), kwargs=None):
            if function in (torch.nn.functional.linear, torch.matmul, torch.Tensor.matmul):
                seen.append((function.__name__, args[0].ndim != 3 or args[0].is_contiguous()))
            return function(*args, **(kwargs or {}))

    hooks = [
        module.register_forward_pre_hook(
            lambda module, args: seen.append((str(module), args[0].ndim != 3 or args[0].is_contiguous()))
        )
        for module in tower.modules()
        if isinstance(module, nn.Linear)
    ]
    with torch.inference_mode(), Watch():
        tower(inputs, tokens=True)
    for hook in hooks:
        hook.remove()
    assert len(seen) > len(hooks) > 0
    assert [entry for entry in seen if not entry[1]] == []


@pytest.mark.parametrize("name", ["vision", "text", "bert"])
def test_batch_of_one_equals_its_row_in_a_batch(name: str) -> None:
    tower, inputs = tower_and_inputs(name)
    tower.eval()
    whole = tower(inputs).pooled
    single = tower({key: value[1:2] for key, value in inputs.items()}).pooled
    torch.testing.assert_close(single, whole[1:2], atol=1e-5, rtol=1e-5)
    assert whole.shape == (len(next(iter(inputs.values()))), tower.width)


@pytest.mark.parametrize("name", ["vision", "text", "bert"])
def test_autocast_and_half_weights_stay_close(name: str) -> None:
    tower, inputs = tower_and_inputs(name)
    tower.eval()
    expected = tower(inputs).pooled
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = tower(inputs).pooled.float()
    assert torch.nn.functional.cosine_similarity(cast, expected).min() > 0.99
    half = tower.to(torch.bfloat16)(inputs).pooled.float()
    assert torch.nn.functional.cosine_similarity(half, expected).min() > 0.99


def test_towers_without_output_dim_keep_their_width() -> None:
    vision = VisionTransformer(VISION.model_copy(update={"output_dim": None}))
    text = CausalText(TEXT.model_copy(update={"output_dim": None}))
    assert (vision.width, text.width) == (48, 32)
    assert "proj" not in dict(vision.named_parameters())
    assert vision({"pixels": pixels()}).pooled.shape == (3, 48)
    assert text({"input_ids": captions()}).pooled.shape == (4, 32)


def test_start_values_have_the_published_spread() -> None:
    torch.manual_seed(0)
    text, bert = CausalText(TEXT), Bert(BERT)
    for parameter, std in (
        (text.token_embedding.weight, 0.02),
        (text.positional_embedding, 0.01),
        (text.text_projection, 32**-0.5),
        (text.transformer.resblocks[0].attn.in_proj_weight, 32**-0.5),
        (text.transformer.resblocks[0].mlp.c_proj.weight, (32 * 6) ** -0.5),
        (bert.embeddings.word_embeddings.weight, 0.02),
        (bert.encoder["layer"][0].intermediate.dense.weight, 0.02),
        (VisionTransformer(VISION).positional_embedding, 48**-0.5),
    ):
        assert parameter.std().item() == pytest.approx(std, rel=0.15)


def test_building_on_meta_does_not_import_the_compiler() -> None:
    """torch imports its compiler, one second, to run ``normal_`` on the meta device."""
    source = """
        import sys, torch
        from verticlip.core.config import BertTower, CausalTextTower, VisionTransformerTower
        from verticlip.core.towers import build_tower
        shared = {"width": 8, "layers": 1, "heads": 2, "mlp_width": 8}
        with torch.device("meta"):
            vision = VisionTransformerTower(backend="vit", image_size=8, patch_size=4, output_dim=4, **shared)
            towers = [vision, CausalTextTower(backend="clip_text", output_dim=4, **shared)]
            towers.append(BertTower(backend="bert", vocab_size=9, **shared))
            for tower in towers:
                assert all(parameter.is_meta for parameter in build_tower(tower).parameters())
        print(*[name for name in ("torch._dynamo", "sympy") if name in sys.modules])
    """
    command = [sys.executable, "-c", textwrap.dedent(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def load_golden(folder, *, prefix: str = ""):
    from safetensors.torch import load_file

    weights = load_file(folder / "weights.safetensors")
    kept = {key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)}
    return kept, load_file(folder / "inputs.safetensors"), load_file(folder / "outputs.safetensors")


@pytest.mark.data
def test_vision_reproduces_the_unimed_reference(golden_dir) -> None:
    weights, inputs, outputs = load_golden(golden_dir / "unimed_clip" / "tiny_b16", prefix="visual.")
    tower = VisionTransformer(VISION.model_copy(update={"heads": 3, "mlp_width": 192, "quick_gelu": True}))
    tower.load_state_dict(weights, strict=True)
    pooled = tower({"pixels": inputs["images"]}).pooled
    torch.testing.assert_close(pooled, outputs["image_features"], atol=1e-5, rtol=1e-5)


@pytest.mark.data
def test_bert_reproduces_the_unimed_reference(golden_dir) -> None:
    folder = golden_dir / "unimed_clip" / "tiny_b16"
    weights, inputs, outputs = load_golden(folder, prefix="text_encoder.transformer.")
    config = BertTower(
        backend="bert", vocab_size=134, width=40, layers=2, heads=4, mlp_width=80, max_positions=64
    )
    tower = Bert(config).eval()
    tower.load_state_dict(weights, strict=True)
    projection, _, _ = load_golden(folder, prefix="text_encoder.proj.")
    ids = inputs["token_ids"]
    pooled = tower({"input_ids": ids, "attention_mask": (ids != 0).long()}).pooled
    features = torch.nn.functional.gelu(pooled @ projection["0.weight"].T) @ projection["2.weight"].T
    torch.testing.assert_close(features, outputs["text_features"], atol=1e-5, rtol=1e-5)


@pytest.mark.data
def test_bert_reproduces_the_biovil_reference(golden_dir) -> None:
    weights, inputs, outputs = load_golden(golden_dir / "biovil" / "text_encoder", prefix="bert.")
    config = BertTower(
        backend="bert", vocab_size=59, width=48, layers=3, heads=4, mlp_width=96, max_positions=40
    )
    tower = Bert(config).eval()
    tower.load_state_dict(weights, strict=True)
    output = tower(inputs, tokens=True)
    assert output.tokens is not None
    real = inputs["attention_mask"].bool()
    expected = outputs["last_hidden_state"]
    torch.testing.assert_close(
        output.tokens.tokens[real], expected[real], atol=1e-5 * float(expected.abs().max()), rtol=0
    )


def test_bad_inputs_say_what_to_do() -> None:
    vision, text, bert = VisionTransformer(VISION), CausalText(TEXT), Bert(BERT)
    with pytest.raises(InputError, match=r"needs 'pixels', got \['images'\]"):
        vision({"images": pixels()})
    with pytest.raises(InputError, match=r"expected \[B, 3, 32, 32\], got \[3, 3, 16, 16\]"):
        vision({"pixels": pixels()[..., :16, :16]})
    with pytest.raises(InputError, match=r"expected \[B >= 1, 1\.\.20\], got \[1, 21\]"):
        text({"input_ids": torch.ones(1, 21, dtype=torch.long)})
    with pytest.raises(InputError, match=r"got \[0, 4\]"):
        text({"input_ids": torch.ones(0, 4, dtype=torch.long)})
    with pytest.raises(InputError, match=r"1\.\.100 is outside the vocabulary 0\.\.99"):
        text({"input_ids": torch.tensor([[1, 100]])})
    ids = torch.tensor([[1, 2], [3, 4]])
    with pytest.raises(InputError, match=r"attention_mask: expected \[2, 2\] like input_ids, got \[2, 3\]"):
        bert({"input_ids": ids, "attention_mask": torch.ones(2, 3)})
    with pytest.raises(InputError, match="row 1 has no real token"):
        bert({"input_ids": ids, "attention_mask": torch.tensor([[1, 1], [0, 0]])})


def test_bad_configs_say_what_to_do() -> None:
    with pytest.raises(ConfigError, match="width 48 is not a multiple of heads 5"):
        VisionTransformer(VISION.model_copy(update={"heads": 5}))
    with pytest.raises(ConfigError, match="width 32 is not a multiple of heads 5"):
        Bert(BERT.model_copy(update={"heads": 5}))
    with pytest.raises(ConfigError, match="patch_size 64 is larger than image_size 32"):
        VisionTransformer(VISION.model_copy(update={"patch_size": 64}))
