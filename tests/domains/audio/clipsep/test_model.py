"""The architecture: batches in, masks and extras out, with and without query towers."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F
from verticlip.core.config import ModelConfig
from verticlip.core.errors import ConfigError, InputError
from verticlip.core.model import build_model
from verticlip.core.types import Batch
from verticlip.domains.audio.clipsep.masking import separate_wave
from verticlip.domains.audio.clipsep.model import ENERGIES, EXTRAS, ClipSep

OPTIONS = {"layers": 5, "channels": 4, "ngf": 2, "query_dim": 8, "frames": 32}
TEXT = {
    "backend": "bert",
    "vocab_size": 20,
    "width": 8,
    "layers": 1,
    "heads": 1,
    "mlp_width": 8,
    "pooling": "mean",
}


def network(towers: bool = False, **options) -> ClipSep:
    torch.manual_seed(0)
    built = build_model(
        ModelConfig.model_validate(
            {
                "name": "audio/test",
                "domain": "audio",
                "architecture": "clipsep",
                "embed_dim": 8 if towers else 0,
                "towers": {"text": TEXT} if towers else {},
                "options": {**OPTIONS, **options},
            }
        )
    )
    for one in built.separator.parameters():
        if one.ndim > 1:
            torch.nn.init.normal_(one, std=0.1)
    return built.eval()


def noise(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * 0.1


def test_waves_and_magnitudes_are_the_same_batch():
    model, waves, queries = network(kind="nit"), noise(2, 2, 31 * 256), noise(2, 2, 8)
    mixture, sources = model.spectra.mix(waves)
    given = Batch({"mixture": {"waves": waves}}, extras={"queries": queries})
    stored = Batch(
        {"mixture": {"magnitude": mixture}}, extras={"queries": queries, "source_magnitudes": sources}
    )
    first, second = (model(batch, extras=EXTRAS).extras for batch in (given, stored))
    assert {name: tuple(value.shape) for name, value in first.items()} == {
        "query_logits": (2, 2, 256, 32),
        "noise_logits": (2, 2, 256, 32),
        "mixture_magnitude": (2, 1, 256, 32),
        "source_magnitudes": (2, 2, 256, 32),
    }
    for name in EXTRAS:
        assert torch.equal(first[name], second[name]), name


def test_only_what_is_asked_for_is_computed():
    model, passes = network(), []
    model.separator.sound_net.register_forward_hook(lambda *_: passes.append(1))
    batch = Batch({"mixture": {"waves": noise(1, 2, 31 * 256)}}, extras={"queries": noise(1, 2, 8)})
    assert set(model(batch, extras=("source_magnitudes",)).extras) == {"source_magnitudes"}
    assert not passes
    assert model(batch).extras == {}


def test_a_tower_input_is_the_query_of_its_row():
    model = network(towers=True)
    words = {"input_ids": torch.tensor([[1, 2, 3], [4, 5, 6]]), "attention_mask": torch.ones(2, 3).long()}
    mixture = {"waves": noise(2, 2, 31 * 256)}
    outputs = model(Batch({"mixture": mixture, "text": words}), extras=("query_logits",))
    assert outputs.extras["query_logits"].shape == (2, 1, 256, 32)
    assert torch.allclose(outputs.embeddings["text"].norm(dim=-1), torch.ones(2))
    same = Batch({"mixture": mixture}, extras={"queries": model.query("text", words)[:, None]})
    assert torch.equal(
        model(same, extras=("query_logits",)).extras["query_logits"], outputs.extras["query_logits"]
    )


def test_queries_are_raw_unless_the_weights_want_unit_vectors():
    words = {"input_ids": torch.tensor([[1, 2, 3]]), "attention_mask": torch.ones(1, 3).long()}
    raw = network(towers=True).query("text", words).detach()
    unit = network(towers=True, normalize_queries=True).query("text", words)
    assert float(raw.norm()) != pytest.approx(1.0, abs=1e-2)
    assert torch.allclose(F.normalize(raw, dim=-1), unit, atol=1e-6)


@pytest.mark.parametrize("frames", [1, 31, 32, 50])
def test_masks_of_any_number_of_frames(frames):
    model = network()
    log = model.spectra.log_magnitude(noise(2, 1, 513, frames).abs())[1]
    masks = model.masks(log, noise(3, 8))
    assert masks.shape == (2, 3, 256, frames)
    assert bool(((masks >= 0) & (masks <= 1)).all())


def test_frames_are_filled_up_with_silence():
    model = network()
    magnitude = torch.cat([noise(1, 1, 513, 20).abs(), torch.zeros(1, 1, 513, 12)], dim=-1)
    log = model.spectra.log_magnitude(magnitude)[1]
    assert torch.allclose(
        model.masks(log[..., :20], noise(1, 8)), model.masks(log, noise(1, 8))[..., :20], atol=1e-4
    )


def test_every_row_may_have_queries_of_its_own():
    model = network()
    log, queries = noise(2, 1, 256, 32), noise(2, 3, 8)
    together = model.masks(log, queries)
    for row in range(2):
        assert torch.allclose(
            model.masks(log[row : row + 1], queries[row]), together[row : row + 1], atol=1e-6
        )


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("kind", ["late", "nit", "middle", "pit"])
@torch.inference_mode()
def test_inputs_follow_the_network_to_its_device(kind):
    model, queries = network(kind=kind), None if kind == "pit" else noise(2, 8)
    wave, log_magnitude = noise(1, 40_000), noise(1, 1, 256, 32)
    masks, apart = model.masks(log_magnitude, queries), separate_wave(model, wave, queries)
    model.cuda()
    assert torch.allclose(model.masks(log_magnitude, queries).cpu(), masks, atol=1e-4)
    assert torch.allclose(separate_wave(model, wave.cuda(), queries), apart, atol=1e-4)
    with torch.autocast("cuda", dtype=torch.bfloat16):
        assert torch.allclose(separate_wave(model, wave, queries), apart, atol=2e-2)


def test_bfloat16_is_for_the_network_alone():
    model, waves, queries = network(kind="nit"), noise(1, 2, 31 * 256), noise(1, 2, 8)
    batch = Batch({"mixture": {"waves": waves}}, extras={"queries": queries})
    with torch.inference_mode():
        exact = model(batch, extras=(*EXTRAS, *ENERGIES)).extras
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rounded = model(batch, extras=(*EXTRAS, *ENERGIES)).extras
    for name, value in exact.items():
        assert rounded[name].dtype == torch.float32
        learned = name.endswith("logits")
        assert torch.equal(rounded[name], value) != learned
        assert torch.allclose(rounded[name], value, atol=0.1 if learned else 0.0)


def test_kinds_without_query_vectors():
    log = noise(2, 1, 256, 32)
    assert network(kind="pit").masks(log, None).shape == (2, 2, 256, 32)
    labelled = network(kind="label", n_labels=3, labels=["dog", "rain", "sea"])
    assert labelled.masks(log, torch.tensor([2, 0])).shape == (2, 2, 256, 32)
    assert labelled.options.labels == ("dog", "rain", "sea")


def test_errors_say_what_to_do():
    model = network()
    batch = Batch({"mixture": {"waves": noise(1, 2, 31 * 256)}}, extras={"queries": noise(1, 2, 8)})
    with pytest.raises(InputError, match="no extra 'query_logit'; it gives: .* Did you mean 'query_logits'"):
        model(batch, extras=("query_logit",))
    with pytest.raises(InputError, match="has no noise heads, so it gives no 'noise_logits'"):
        model(batch, extras=("noise_logits",))
    with pytest.raises(InputError, match=r"needs inputs\['mixture'\] with 'waves'"):
        model(Batch({}), extras=("query_logits",))
    with pytest.raises(InputError, match="no input of a query tower and no extras"):
        model(Batch(batch.inputs), extras=("query_logits",))
    stored = Batch({"mixture": {"magnitude": noise(1, 1, 513, 32).abs()}}, extras=batch.extras)
    with pytest.raises(InputError, match="no 'source_magnitudes'"):
        model(stored, extras=("source_magnitudes",))
    with pytest.raises(InputError, match=r"takes query vectors only. Give vectors of 8 values"):
        model.query("text", {})
    with pytest.raises(ConfigError, match="queries of 8 values and the separator takes 9"):
        network(towers=True, query_dim=9)
    with pytest.raises(ConfigError, match="multiples of 32, got 256 rows and 33 frames"):
        network(frames=33)


def test_towers_freeze_and_the_separator_learns():
    model = network(towers=True)
    model.freeze("text")
    model.train()
    assert model.separator.training
    assert not model.towers["text"].training
    assert all(one.requires_grad for one in model.separator.parameters())
