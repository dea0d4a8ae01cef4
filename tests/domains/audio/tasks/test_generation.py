from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent.parent / "clipsonic"))
import make_sonic
from verticlip.core.config import ModelConfig, ProcessorConfig
from verticlip.core.errors import ConfigError, InputError, LimitError
from verticlip.core.model import build_model
from verticlip.core.processing import Processor
from verticlip.domains.audio.tasks.generation import Generation, GenerationOptions, can_generate, generate
from verticlip.facade import Model

FAST = GenerationOptions(steps=3, seconds=0.3)


@pytest.fixture(scope="module")
def sonic() -> Model:
    return make_sonic.model()


def vocoder(**mel: Any) -> Model:
    sizes = {"n_mels": 16, "channels": 8, "rates": [8, 8], "kernels": [16, 16]}
    options = {
        "sampling_rate": make_sonic.RATE,
        "mel": {**make_sonic.MEL, **mel},
        "generator": {**sizes, "block_kernels": [3], "block_dilations": [[1]]},
    }
    config = ModelConfig(name="vocoder", domain="audio", architecture="bigvgan", embed_dim=0, options=options)
    torch.manual_seed(0)
    return Model(build_model(config).eval(), Processor(ProcessorConfig()))


def test_a_text_becomes_a_sound_of_the_length_asked_for(sonic: Model) -> None:
    found = generate(sonic, "rain", FAST, seconds=0.4321)
    assert isinstance(found, Generation)
    assert can_generate(sonic)
    assert found.waves.shape == (1, round(0.4321 * make_sonic.RATE))
    assert found.rate == make_sonic.RATE
    assert found.log_mels.shape == (1, 16, -(-found.waves.shape[1] // make_sonic.HOP))
    assert torch.isfinite(found.waves).all()
    assert found.waves.abs().max() <= 1
    assert found.waves.mean().abs() < 1e-4
    assert len(found) == 1


def test_the_default_length_is_that_of_the_training_windows(sonic: Model) -> None:
    assert generate(sonic, "rain", steps=2).waves.shape == (1, 32 * make_sonic.HOP)


def test_one_sample_is_possible(sonic: Model) -> None:
    assert generate(sonic, "rain", FAST, seconds=1e-5).waves.shape == (1, 1)


def test_equal_calls_give_equal_bits(sonic: Model) -> None:
    first, second = (generate(sonic, ["rain", "dog"], FAST, seed=2).waves for _ in range(2))
    assert torch.equal(first, second)


@pytest.mark.parametrize("sampler", ["dpm", "ddim", "ddpm", "unipc", "deis", "euler"])
def test_every_sampler_repeats_itself_in_any_company(sonic: Model, sampler: Any) -> None:
    both = generate(sonic, ["rain", "the dog"], FAST, sampler=sampler, seed=6)
    alone = generate(sonic, "the dog", FAST, sampler=sampler, seed=7)
    small = generate(sonic, ["rain", "the dog"], FAST, sampler=sampler, seed=6, batch_size=1)
    assert torch.allclose(both.waves[1], alone.waves[0], atol=1e-3)
    assert torch.allclose(both.waves, small.waves, atol=1e-3)
    assert both.metas[1]["seed"] == 7
    other = generate(sonic, "the dog", FAST, sampler=sampler, seed=8)
    assert not torch.allclose(alone.waves, other.waves, atol=1e-2)


def test_meta_says_everything_that_repeats_the_sound(sonic: Model) -> None:
    found = generate(sonic, ["rain"], FAST, negative="dog", seed=5).metas[0]
    assert found["prompt"] == "rain"
    assert found["model"] == "sonic"
    assert found["revision"] == "unsaved"
    assert (found["seed"], found["steps"], found["guidance"], found["sampler"]) == (5, 3, 3.0, "dpm")
    assert (found["condition"], found["bridge"], found["vocoder"]) == ("text", "shift", "griffin_lim")
    assert found["negative"] == "dog"
    assert -1 <= found["agreement"] <= 1


def test_what_is_asked_for_matters(sonic: Model) -> None:
    plain = generate(sonic, "rain", FAST).waves
    assert not torch.allclose(plain, generate(sonic, "dog", FAST).waves, atol=1e-2)
    assert not torch.allclose(plain, generate(sonic, "rain", FAST, guidance=1.0).waves, atol=1e-2)
    assert not torch.allclose(plain, generate(sonic, "rain", FAST, bridge="none").waves, atol=1e-2)
    assert not torch.allclose(plain, generate(sonic, "rain", FAST, negative="dog").waves, atol=1e-2)


def test_without_guidance_the_condition_does_not_matter(sonic: Model) -> None:
    first, second = (generate(sonic, word, FAST, guidance=0.0).waves for word in ("rain", "dog"))
    assert torch.allclose(first, second, atol=1e-5)


def test_a_recording_can_be_asked_for_more(sonic: Model) -> None:
    recording = 0.1 * torch.randn(4000, generator=torch.Generator().manual_seed(0))
    found = generate(sonic, [recording], FAST, condition="audio")
    assert found.metas[0]["bridge"] == "none"
    assert found.waves.shape[1] == 2400


def test_a_vocoder_replaces_the_search_for_phases(sonic: Model) -> None:
    found = generate(sonic, "rain", FAST, vocoder=vocoder())
    assert found.metas[0]["vocoder"] == "vocoder"
    assert not torch.allclose(found.waves, generate(sonic, "rain", FAST).waves, atol=1e-3)


def test_a_vocoder_can_be_part_of_the_weights() -> None:
    sizes = {"n_mels": 16, "channels": 8, "rates": [8, 8], "kernels": [16, 16]}
    own = {**sizes, "block_kernels": [3], "block_dilations": [[1]]}
    model = make_sonic.model(vocoder={"kind": "bigvgan", "generator": own})
    found = generate(model, "rain", FAST)
    assert found.metas[0]["vocoder"] == "bigvgan"
    assert any(name.startswith("vocoder.") for name in model.network.state_dict())


def test_long_sounds_carry_a_note(sonic: Model) -> None:
    assert "is over 4 times" in generate(sonic, "rain", FAST, seconds=1.5).metas[0]["note"]


def test_progress_counts_to_the_end(sonic: Model) -> None:
    seen: list[tuple[int, int]] = []
    generate(sonic, ["rain", "dog", "tone"], FAST, batch_size=2, progress=lambda *at: seen.append(at))
    assert seen[-1] == (9, 9)
    assert [done for done, _ in seen] == [2, 4, 6, 7, 8, 9]


@pytest.mark.parametrize(
    ("changes", "kind", "message"),
    [
        ({"seconds": 0}, ConfigError, "seconds must be over 0"),
        ({"seconds": 1e6}, LimitError, "over the limit of 60"),
        ({"guidance": -1}, ConfigError, "guidance must be from 0"),
        ({"guidance": float("nan")}, ConfigError, "guidance must be from 0"),
        ({"steps": 0}, ConfigError, "steps must be from 1"),
        ({"steps": 2000}, ConfigError, "more than the 1000"),
        ({"sampler": "dpmm"}, ConfigError, "Did you mean 'dpm'"),
        ({"seed": -1}, ConfigError, "seed must be"),
        ({"condition": "words"}, ConfigError, "No condition 'words'"),
        ({"condition": "image"}, InputError, "has no image tower"),
        ({"condition": "text+prior"}, ConfigError, "needs a prior"),
        ({"bridge": "tunnel"}, ConfigError, "No bridge 'tunnel'"),
        ({"step": 3}, ConfigError, "Did you mean 'steps'"),
        ({"negative": " "}, InputError, "negative is empty"),
    ],
)
def test_settings_out_of_range_are_refused(
    sonic: Model, changes: dict[str, Any], kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        generate(sonic, "rain", **changes)


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ("", "prompt 0 is empty"),
        (["rain", "  "], "prompt 1 is empty"),
        ("x" * 5000, "5,000 characters; the limit is 1,000"),
        ("rain " * 100, "102 tokens; this model takes 16"),
        ([], "empty"),
        ([3], "prompt 0 is int, not text"),
    ],
)
def test_prompts_that_say_nothing_or_too_much_are_refused(sonic: Model, items: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        generate(sonic, items, FAST)


def test_parts_that_do_not_fit_are_refused(sonic: Model) -> None:
    with pytest.raises(InputError, match="vocoder takes spectrograms with f_max 3000"):
        generate(sonic, "rain", FAST, vocoder=vocoder(f_max=3000))
    with pytest.raises(InputError, match="sonic is no vocoder"):
        generate(sonic, "rain", FAST, vocoder=sonic)
    with pytest.raises(ConfigError, match="condition 'text' uses no prior"):
        generate(sonic, "rain", FAST, prior=sonic)
    with pytest.raises(InputError, match="sonic is no diffusion prior"):
        generate(sonic, "rain", FAST, prior=sonic, condition="text+prior")
    with pytest.raises(InputError, match="vocoder makes no sound.*tiny-sonic"):
        generate(vocoder(), "rain", FAST)


def test_an_even_spectrogram_makes_no_offset_and_no_overload(sonic: Model) -> None:
    made = generate(sonic, ["rain"] * 3, FAST, guidance=20.0)
    assert made.waves.abs().max() <= 1
    assert all(0 < meta["gain"] <= 1 for meta in made.metas)


BERT = {**make_sonic.TOWERS["text"], "width": 8, "projection": "none"}
# Reads no further than the last token with the highest id, whatever the padding.
CLIP = {
    "backend": "clip_text",
    "vocab_size": 16,
    "context_length": 16,
    "width": 8,
    "layers": 1,
    "heads": 2,
    "mlp_width": 8,
}


@pytest.mark.parametrize(("tower", "read"), [(BERT, 6), (CLIP, 4)])
def test_a_prior_makes_image_embeddings_of_texts(
    tower: dict[str, Any], read: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from verticlip.domains.audio.clipsonic.prior import DiffusionPrior

    towers = {
        "text": tower,
        "image": {
            "backend": "timm",
            "architecture": "resnet18d",
            "options": make_sonic.TOWERS["audio"]["options"],
        },
    }
    raw = make_sonic.config(condition={"modality": "image"}).model_dump(mode="json")
    torch.manual_seed(0)
    network = build_model(ModelConfig.model_validate({**raw, "towers": towers}))
    sonic = Model(
        network.eval(), Processor(ProcessorConfig(text={"context_length": 16}), make_sonic.tokenizer())
    )
    sizes = {"dim": 8, "depth": 1, "heads": 2, "head_dim": 4, "mlp_width": 16, "text_length": 16}
    config = ModelConfig(
        name="prior",
        domain="audio",
        architecture="diffusion_prior",
        embed_dim=0,
        options={"network": sizes, "timesteps": 64},
    )
    prior = Model(build_model(config).eval(), Processor(ProcessorConfig()))
    seen: list[torch.Tensor] = []
    sample = DiffusionPrior.sample

    def spy(self: Any, embed: torch.Tensor, encodings: torch.Tensor, **options: Any) -> torch.Tensor:
        seen.append(encodings)
        return sample(self, embed, encodings, **options)

    monkeypatch.setattr(DiffusionPrior, "sample", spy)
    found = generate(sonic, ["rain on the dog", "rain"], FAST, prior=prior, condition="text+prior", seed=1)
    assert found.metas[1]["prior"] == "prior"
    assert found.metas[0]["bridge"] == "none"
    assert seen[0].shape == (1, read, 8)
    assert "agreement" not in found.metas[0]
    alone = generate(sonic, "rain", FAST, prior=prior, condition="text+prior", seed=2)
    assert torch.allclose(found.waves[1], alone.waves[0], atol=1e-3)
    with pytest.raises(InputError, match="carry no mean of text embeddings"):
        generate(sonic, "rain", FAST)
    with pytest.raises(InputError, match="was trained with those of audio"):
        generate(make_sonic.model(), "rain", FAST, prior=prior, condition="text+prior")
