from __future__ import annotations

import hashlib
import logging
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from verticlip.core.errors import ConfigError, InputError, WeightsError
from verticlip.core.heads import ClassEmbeddingCache, ZeroShotHead, class_embeddings, load_head, save_head
from verticlip.core.prompts import PromptSet
from verticlip.core.types import Outputs


class Encoder:
    """A text tower stand-in: a fixed random vector of varying length per text, and a call log."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []

    def __call__(self, texts: list[str]) -> Tensor:
        self.calls.append(texts)
        return torch.stack([self.of(text) for text in texts])

    @staticmethod
    def of(text: str) -> Tensor:
        seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")
        generator = torch.Generator().manual_seed(seed)
        return torch.randn(6, generator=generator) * (1 + 9 * torch.rand(1, generator=generator))


PROMPTS = PromptSet(
    name="x",
    classes={"cat": ("cat", "kitten"), "dog": ("dog",)},
    templates=("a {}", "the {}."),
    weights=(3, 1),
)


def unit(*shape: int) -> Tensor:
    return F.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(0)), dim=-1)


def test_class_embeddings_by_hand():
    def one(text: str) -> Tensor:
        return F.normalize(Encoder.of(text), dim=0)

    cat = 0.375 * (one("a cat") + one("a kitten")) + 0.125 * (one("the cat.") + one("the kitten."))
    dog = 0.75 * one("a dog") + 0.25 * one("the dog.")
    expected = F.normalize(torch.stack([cat, dog]), dim=-1)
    torch.testing.assert_close(class_embeddings(PROMPTS, Encoder()), expected)


def test_batch_size_only_cuts_the_work():
    encoder = Encoder()
    small = class_embeddings(PROMPTS, encoder, batch_size=4)
    assert [len(texts) for texts in encoder.calls] == [4, 2]
    torch.testing.assert_close(small, class_embeddings(PROMPTS, Encoder()))


def test_class_embeddings_take_no_gradient():
    def encode(texts: list[str]) -> Tensor:
        return torch.ones(len(texts), 3, requires_grad=True)

    assert not class_embeddings(PROMPTS, encode).requires_grad


def test_softmax_head_gives_a_distribution():
    head = ZeroShotHead(unit(3, 6), ["a", "b", "c"], scale=20.0)
    images = torch.randn(5, 6) * 7
    expected = (20.0 * F.normalize(images, dim=-1) @ head.class_weights.T).softmax(dim=-1)
    torch.testing.assert_close(head.scores(images), expected)
    torch.testing.assert_close(head.scores(images).sum(dim=1), torch.ones(5))


def test_sigmoid_head_gives_independent_probabilities():
    head = ZeroShotHead(unit(3, 6), ["a", "b", "c"], scale=10.0, bias=-10.0)
    images = unit(5, 6)
    torch.testing.assert_close(head.scores(images), torch.sigmoid(10 * images @ head.class_weights.T - 10))
    alone = ZeroShotHead(unit(3, 6)[:1], ["a"], scale=10.0, bias=-10.0)
    torch.testing.assert_close(alone.scores(images), head.scores(images)[:, :1])


def test_permuting_classes_permutes_scores():
    weights, order = unit(4, 6), [2, 0, 3, 1]
    head = ZeroShotHead(weights, list("abcd"), scale=5.0)
    other = ZeroShotHead(weights[order], [list("abcd")[index] for index in order], scale=5.0)
    torch.testing.assert_close(other.scores(unit(3, 6)), head.scores(unit(3, 6))[:, order])


def test_call_reads_its_modality():
    head = ZeroShotHead(unit(2, 6), ["a", "b"], scale=5.0, modality="audio")
    outputs = Outputs({"audio": unit(3, 6)}, torch.tensor(1.0))
    answer = head(outputs)
    torch.testing.assert_close(answer["probabilities"], head.scores(unit(3, 6)))
    torch.testing.assert_close(answer["logits"].softmax(dim=1), answer["probabilities"])
    with pytest.raises(InputError, match="reads 'audio' embeddings; the outputs hold image"):
        head(Outputs({"image": unit(3, 6)}, torch.tensor(1.0)))


def test_cache_spares_the_encoder():
    encoder, cache = Encoder(), ClassEmbeddingCache()
    entry = (cache, cache.key(model="m", processor="p", prompts=PROMPTS))
    first = ZeroShotHead.from_prompts(PROMPTS, encoder, scale=5.0, cache=entry)
    again = ZeroShotHead.from_prompts(PROMPTS, encoder, scale=9.0, cache=entry)
    assert len(encoder.calls) == 1
    assert torch.equal(first.class_weights, again.class_weights)
    ZeroShotHead.from_prompts(PROMPTS, encoder, scale=5.0)
    assert len(encoder.calls) == 2


def test_cache_key_follows_everything_that_matters():
    def key(model: str = "m", processor: str = "p", prompts: PromptSet = PROMPTS) -> str:
        return ClassEmbeddingCache.key(model=model, processor=processor, prompts=prompts)

    other = PROMPTS.model_copy(update={"weights": (1, 1)})
    assert len({key(), key(model="n"), key(processor="q"), key(prompts=other), key("mp", "")}) == 5
    assert key() == key()


def test_cache_folder_survives_the_process(tmp_path: Path):
    weights = unit(3, 6)
    ClassEmbeddingCache(tmp_path).put("abc", weights)
    assert [path.name for path in tmp_path.iterdir()] == ["abc.safetensors"]
    found = ClassEmbeddingCache(tmp_path).get("abc")
    assert found is not None
    assert torch.equal(found, weights)
    assert ClassEmbeddingCache(tmp_path).get("def") is None


def test_damaged_cache_file_is_computed_again(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    (tmp_path / "abc.safetensors").write_bytes(b"half a fi")
    with caplog.at_level(logging.WARNING):
        assert ClassEmbeddingCache(tmp_path).get("abc") is None
    assert "computed again" in caplog.text


def test_cache_memory_is_bounded_and_keeps_the_latest():
    cache = ClassEmbeddingCache(memory_bytes=2 * 3 * 6 * 4)
    for key in "abc":
        cache.put(key, unit(3, 6))
        cache.get("a")
    assert cache.get("a") is not None
    assert cache.get("b") is None
    assert cache.get("c") is not None


def test_save_and_load(tmp_path: Path):
    head = ZeroShotHead(unit(2, 6), ["no_tumor", "tumor"], scale=14.3, bias=-2.0, modality="volume")
    save_head(head, tmp_path)
    again = load_head(tmp_path)
    assert isinstance(again, ZeroShotHead)
    assert again.to_config() == head.to_config()
    assert again.class_names == ("no_tumor", "tumor")
    assert torch.equal(again.scores(unit(4, 6)), head.scores(unit(4, 6)))


def test_construction_messages():
    with pytest.raises(InputError, match="1 class names for 2 class weights"):
        ZeroShotHead(unit(2, 6), ["a"], scale=1.0)
    with pytest.raises(InputError, match="scale must be positive and finite"):
        ZeroShotHead(unit(2, 6), ["a", "b"], scale=float("nan"))
    with pytest.raises(InputError, match="must be unit vectors, got length 2 to 2"):
        ZeroShotHead(unit(2, 6) * 2, ["a", "b"], scale=1.0)
    with pytest.raises(InputError, match=r"softmax over one label \['a'\] is always 1"):
        ZeroShotHead(unit(1, 6), ["a"], scale=1.0)


def test_embedding_messages():
    head = ZeroShotHead(unit(2, 6), ["a", "b"], scale=1.0)
    with pytest.raises(InputError, match=r"must be \[B, 6\], got \(3, 5\)"):
        head.scores(unit(3, 5))
    with pytest.raises(InputError, match="Embedding of row 1 is not finite"):
        head.scores(torch.tensor([[1.0] * 6, [float("inf")] * 6]))


def test_encoder_messages():
    with pytest.raises(InputError, match=r"gave shape \(1, 6\) for 6 prompts"):
        class_embeddings(PROMPTS, lambda texts: torch.ones(1, 6))
    with pytest.raises(InputError, match="embedding of prompt 'a kitten' is zero or not finite"):
        class_embeddings(
            PROMPTS, lambda texts: torch.stack([torch.full((6,), float("kitten" not in t)) for t in texts])
        )
    opposite = PromptSet(name="x", classes={"a": ("up", "down")}, templates=("{}",))
    with pytest.raises(InputError, match="prompts of class 'a' cancel out"):
        class_embeddings(opposite, lambda texts: torch.tensor([[1.0, 0.0], [-1.0, 0.0]]))


def test_loading_messages(tmp_path: Path):
    with pytest.raises(ConfigError, match="no such file"):
        load_head(tmp_path)
    save_head(ZeroShotHead(unit(2, 6), ["a", "b"], scale=1.0), tmp_path)
    config = (tmp_path / "head.json").read_text()
    (tmp_path / "head.json").write_text(config.replace("zero_shot", "zero_shoot"))
    with pytest.raises(ConfigError, match=r"unknown head 'zero_shoot'.*Did you mean 'zero_shot'"):
        load_head(tmp_path)
    (tmp_path / "head.json").write_text(config.replace('"scale"', '"scales": 1, "scale"'))
    with pytest.raises(ConfigError, match=r"head.json: unknown key 'scales'.*Did you mean 'scale'"):
        load_head(tmp_path)
    with pytest.raises(WeightsError, match=r"holds \['bias'\], expected \['class_weights'\]"):
        ZeroShotHead.from_config({"class_names": ["a", "b"], "scale": 1.0}, {"bias": unit(2, 6)})
    with pytest.raises(WeightsError, match=r"'class_weights' has shape \(6,\), expected \[K, D\]"):
        ZeroShotHead.from_config({"class_names": ["a", "b"], "scale": 1.0}, {"class_weights": unit(6)})
