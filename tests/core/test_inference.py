"""The fast path answers like the tower it stands for, and never leaks into training or saving."""

from __future__ import annotations

import copy
import itertools
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from verticlip.core import inference
from verticlip.core.blocks import TransformerTower
from verticlip.core.config import BertTower, CausalTextTower, ModelConfig, VisionTransformerTower
from verticlip.core.errors import ConfigError, InputError
from verticlip.core.inference import encode_by_length, prepare, prepare_model, token_budget_batches
from verticlip.core.model import ContrastiveModel
from verticlip.core.towers import Tower
from verticlip.core.transformer import Bert, CausalText, VisionTransformer

NAMES = ["vision", "vision-quick", "text", "text-quick", "bert-cls", "bert-mean"]


def make(name: str) -> tuple[TransformerTower, dict[str, torch.Tensor]]:
    """Return a small tower with non-trivial weights, in eval mode, and a batch of three for it."""
    torch.manual_seed(7)
    generator = torch.Generator().manual_seed(8)
    kind, _, option = name.partition("-")
    mask = (torch.arange(11) < torch.tensor([4, 9, 6])[:, None]).long()
    ids = torch.randint(1, 50, (3, 11), generator=generator) * mask
    if kind == "vision":
        tower = VisionTransformer(
            VisionTransformerTower(
                backend="vit",
                image_size=32,
                patch_size=8,
                width=64,
                layers=3,
                heads=4,
                mlp_width=128,
                output_dim=32,
                quick_gelu=option == "quick",
            )
        )
        inputs = {"pixels": torch.randn(3, 3, 32, 32, generator=generator)}
    elif kind == "text":
        tower = CausalText(
            CausalTextTower(
                backend="clip_text",
                context_length=12,
                vocab_size=60,
                width=64,
                layers=3,
                heads=4,
                mlp_width=128,
                output_dim=32,
                quick_gelu=option == "quick",
            )
        )
        ids[torch.arange(3), mask.sum(1) - 1] = 59
        inputs = {"input_ids": ids, "attention_mask": mask}
    else:
        tower = Bert(
            BertTower(
                backend="bert",
                vocab_size=60,
                width=64,
                layers=3,
                heads=4,
                mlp_width=128,
                max_positions=12,
                dropout=0.1,
                pooling="mean" if option == "mean" else "cls",
            )
        )
        inputs = {"input_ids": ids, "attention_mask": mask}
    with torch.no_grad():
        for parameter in tower.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    return tower.eval(), inputs


def cosine(left: torch.Tensor, right: torch.Tensor) -> float:
    return nn.functional.cosine_similarity(left.float(), right.float(), dim=-1).min().item()


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_float32_equals_the_tower(name: str, packed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not packed:
        monkeypatch.setattr(inference, "uses_onednn", lambda dtype: False)
    tower, inputs = make(name)
    fast = prepare(tower)
    assert fast is not tower
    with torch.inference_mode():
        expected = tower(inputs, tokens=True)
        pooled_only, with_tokens = fast(inputs), fast(inputs, tokens=True)
    assert pooled_only.tokens is None
    torch.testing.assert_close(pooled_only.pooled, expected.pooled, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(with_tokens.pooled, expected.pooled, atol=1e-5, rtol=1e-5)
    real = expected.tokens.mask if expected.tokens.mask is not None else slice(None)
    torch.testing.assert_close(
        with_tokens.tokens.tokens[real], expected.tokens.tokens[real], atol=1e-5, rtol=1e-5
    )
    assert with_tokens.tokens.grid == expected.tokens.grid


@pytest.mark.parametrize("cap", [inference.UNFUSED_BYTES, 0])
@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_bfloat16_stays_close(name: str, packed: bool, cap: int, monkeypatch: pytest.MonkeyPatch) -> None:
    if not packed:
        monkeypatch.setattr(inference, "uses_onednn", lambda dtype: False)
    monkeypatch.setattr(inference, "UNFUSED_BYTES", cap)
    tower, inputs = make(name)
    fast = prepare(tower, "bfloat16")
    with torch.inference_mode():
        expected = tower(inputs, tokens=True)
        pooled_only, with_tokens = fast(inputs), fast(inputs, tokens=True)
    assert pooled_only.pooled.dtype == expected.pooled.dtype == torch.float32
    assert cosine(pooled_only.pooled, expected.pooled) > 0.999
    assert cosine(with_tokens.pooled, expected.pooled) > 0.999
    real = expected.tokens.mask if expected.tokens.mask is not None else slice(None)
    assert cosine(with_tokens.tokens.tokens[real], expected.tokens.tokens[real]) > 0.999
    assert not torch.equal(pooled_only.pooled, expected.pooled), "nothing was computed in bfloat16"


def test_the_packed_path_runs_where_it_exists(monkeypatch: pytest.MonkeyPatch) -> None:
    if not inference.uses_onednn(torch.float32):
        pytest.skip("this torch has no usable oneDNN linear")
    tower, inputs = make("vision")
    fast = prepare(tower)
    seen: list[tuple[int, ...]] = []
    original = inference._Linear.__call__

    def watch(self, states):
        assert self.packed
        assert states.is_contiguous()
        seen.append(tuple(states.shape))
        return original(self, states)

    monkeypatch.setattr(inference._Linear, "__call__", watch)
    with torch.inference_mode():
        fast(inputs)
    # Three blocks of four linears; in the last one only the class token goes on after attention.
    assert len(seen) == 12
    assert seen[8:] == [(3, 17, 64), (3, 64), (3, 64), (3, 128)]


@pytest.mark.parametrize("name", ["vision", "text", "bert-cls"])
def test_outside_inference_mode_the_tower_itself_answers(name: str) -> None:
    tower, inputs = make(name)
    fast = prepare(tower, "bfloat16")
    expected = tower(inputs).pooled
    assert torch.equal(fast(inputs).pooled, expected)
    with torch.no_grad():
        assert torch.equal(fast(inputs).pooled, expected)
    fast(inputs).pooled.sum().backward()
    assert all(parameter.grad is not None for parameter in tower.parameters() if parameter.ndim > 1)


def test_a_tower_in_training_mode_answers_itself() -> None:
    tower, inputs = make("bert-cls")
    fast = prepare(tower)
    tower.train()
    with torch.inference_mode():
        torch.manual_seed(0)
        expected = tower(inputs).pooled
        torch.manual_seed(0)
        assert torch.equal(fast(inputs).pooled, expected), "not the dropout of the tower"


@pytest.mark.parametrize("how", ["step", "load", "assign"])
def test_changed_weights_are_packed_again(how: str) -> None:
    tower, inputs = make("vision")
    fast = prepare(tower)
    with torch.inference_mode():
        before = fast(inputs).pooled
    if how == "step":
        with torch.no_grad():
            tower.transformer.resblocks[0].mlp.c_fc.weight.mul_(1.5)
    else:
        state = {key: value * 1.5 for key, value in tower.state_dict().items()}
        tower.load_state_dict(state, assign=how == "assign")
    with torch.inference_mode():
        after, expected = fast(inputs).pooled, tower(inputs).pooled
    assert (after - before).abs().max() > 1e-3
    torch.testing.assert_close(after, expected, atol=1e-5, rtol=1e-5)


def test_packed_weights_are_never_saved_and_copies_work() -> None:
    tower, inputs = make("text")
    fast = prepare(tower)
    assert fast.state_dict() == {}
    assert list(fast.parameters()) == []
    with torch.inference_mode():
        expected = fast(inputs).pooled
        for twin in (copy.deepcopy(fast), pickle.loads(pickle.dumps(fast))):
            assert twin.source is not tower
            assert torch.equal(twin(inputs).pooled, expected)


def test_preparing_leaves_the_tower_and_global_precision_alone() -> None:
    tower, inputs = make("vision")
    before = {key: value.clone() for key, value in tower.state_dict().items()}
    precision = torch.get_float32_matmul_precision()
    with torch.inference_mode():
        prepare(tower, "bfloat16")(inputs)
    assert torch.get_float32_matmul_precision() == precision
    assert all(torch.equal(before[key], value) for key, value in tower.state_dict().items())


def test_autocast_does_not_change_the_fast_path() -> None:
    tower, inputs = make("vision")
    fast = prepare(tower)
    with torch.inference_mode():
        expected = fast(inputs).pooled
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert torch.equal(fast(inputs).pooled, expected)


def test_half_weights_give_half_outputs() -> None:
    tower, inputs = make("vision")
    expected = tower(inputs).pooled
    fast = prepare(tower.to(torch.bfloat16), "bfloat16")
    with torch.inference_mode():
        pooled, with_tokens = fast(inputs).pooled, fast(inputs, tokens=True)
    assert pooled.dtype == with_tokens.pooled.dtype == torch.bfloat16
    assert with_tokens.tokens.tokens.dtype == torch.bfloat16
    assert cosine(pooled, expected) > 0.99


def test_other_towers_come_back_unchanged_and_prepared_ones_are_not_nested() -> None:
    class Other(Tower):
        width = 1

    other = Other()
    assert prepare(other) is other
    tower, _ = make("vision")
    assert prepare(prepare(tower), "bfloat16").source is tower


def test_unknown_precision_names_the_choices() -> None:
    tower, _ = make("vision")
    with pytest.raises(
        ConfigError, match=r"'bfloat' is not offered; choose from: float32, bfloat16.*Did you mean"
    ):
        prepare(tower, "bfloat")


@pytest.mark.parametrize(
    "failure", [AttributeError("gone"), RuntimeError("unsupported"), TypeError("arguments"), None]
)
def test_a_missing_or_inexact_operator_is_not_used(failure, monkeypatch: pytest.MonkeyPatch) -> None:
    def reorder(weight, *_):
        if failure is not None:
            raise failure
        return weight.bfloat16().float()

    class Private:
        _reorder_linear_weight = staticmethod(reorder)
        _linear_pointwise = staticmethod(lambda x, w, b, *_: nn.functional.linear(x, w, b))

    monkeypatch.setattr(torch.ops, "mkldnn", Private, raising=False)
    assert inference.uses_onednn.__wrapped__(torch.float32) is False


def test_prepare_model_speeds_up_every_tower_and_keeps_the_state_dict() -> None:
    text, inputs = make("text")
    config = ModelConfig(
        name="tiny",
        embed_dim=32,
        towers={
            "image": VisionTransformerTower(
                backend="vit",
                image_size=32,
                patch_size=8,
                width=64,
                layers=2,
                heads=4,
                mlp_width=64,
                output_dim=32,
            ),
            "text": CausalTextTower(
                backend="clip_text",
                context_length=12,
                vocab_size=60,
                width=64,
                layers=3,
                heads=4,
                mlp_width=128,
                output_dim=32,
            ),
        },
    )
    model = ContrastiveModel(config).eval()
    model.towers["text"].load_state_dict(text.state_dict())
    keys = list(model.state_dict())
    plain = model.encode("text", inputs)
    assert prepare_model(model, "bfloat16") is model
    assert list(model.state_dict()) == keys
    with torch.inference_mode():
        fast = model.encode("text", inputs)
    assert cosine(fast, plain) > 0.999
    assert not torch.equal(fast, plain), "the fast tower was not used"


@given(st.lists(st.integers(1, 300), max_size=60), st.integers(1, 500))
@settings(deadline=None)
def test_token_budget_batches_cover_every_text_once_within_budget(lengths: list[int], budget: int) -> None:
    batches = token_budget_batches(lengths, budget)
    flat = [index for batch in batches for index in batch]
    assert sorted(flat) == list(range(len(lengths)))
    assert [lengths[index] for index in flat] == sorted(lengths)
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(lengths[index] for index in batch) <= budget
    for left, right in itertools.pairwise(batches):
        assert (len(left) + 1) * lengths[right[0]] > budget, "two batches would have fitted in one"


def test_a_budget_below_one_is_refused() -> None:
    with pytest.raises(ConfigError, match="at least 1 token, got 0"):
        token_budget_batches([1], 0)


def test_encode_by_length_restores_the_order() -> None:
    tower, inputs = make("text")
    sizes: list[int] = []

    def encode(part):
        sizes.append(len(part["input_ids"]))
        return tower(part).pooled

    result = encode_by_length(encode, inputs, budget=12)
    assert sizes == [2, 1]
    torch.testing.assert_close(result, tower(inputs).pooled, atol=1e-5, rtol=1e-5)


def test_encode_by_length_needs_a_mask() -> None:
    with pytest.raises(InputError, match="needs a non-empty attention_mask"):
        encode_by_length(lambda part: part["input_ids"], {"input_ids": torch.ones(1, 2)})
    with pytest.raises(InputError, match="needs a non-empty attention_mask"):
        encode_by_length(lambda part: part["attention_mask"], {"attention_mask": torch.ones(0, 2)})
