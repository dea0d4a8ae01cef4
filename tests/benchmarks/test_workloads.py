"""The inputs of the benchmark rows are what the rows say, and their checks can fail."""

from __future__ import annotations

import io

import pytest
import torch
from verticlip.benchmarks import import_time, preprocess, text_embed
from verticlip.benchmarks.memory import peak_mib
from verticlip.benchmarks.runner import run_workload
from verticlip.core.config import ImageProcessing, ProcessorConfig
from verticlip.core.errors import VerticlipError
from verticlip.core.processing import Processor


def test_texts_end_in_the_highest_id_and_match_their_mask() -> None:
    lengths = text_embed.make_lengths(50, 9, 77)
    assert min(lengths) >= 9
    assert max(lengths) <= 77
    inputs = text_embed.make_texts(lengths, context=77, vocabulary=100)
    assert inputs["attention_mask"].sum(dim=1).tolist() == lengths
    assert (inputs["input_ids"].argmax(dim=1) + 1).tolist() == lengths
    assert torch.equal(inputs["input_ids"] != 0, inputs["attention_mask"].bool())


def test_text_check_fails_on_other_embeddings() -> None:
    embeddings = torch.randn(4, 8, generator=torch.Generator().manual_seed(0))
    assert text_embed.check(lambda: embeddings, lambda: embeddings)["min_cosine"] > text_embed.LEAST_COSINE
    with pytest.raises(VerticlipError, match="min_cosine is"):
        text_embed.check(lambda: embeddings, lambda: embeddings.flip(0))


def test_import_row_reports_cpu_seconds_of_a_light_package() -> None:
    import_time.check()
    (workload,) = import_time.workloads()
    program = workload.ours()
    assert program.startswith("import verticlip,")
    light = run_workload(
        type(workload)("w", lambda: program, lambda: program, "itself", 0.5, fresh_process=True),
        rounds=1,
        warm_ups=0,
    )
    assert 0 < light["ours"]["median"] < 1


def test_import_check_names_what_is_heavy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_time, "HEAVY", ("sys",))
    with pytest.raises(VerticlipError, match="import verticlip also imports: sys"):
        import_time.check()


def test_jpegs_decode_to_the_size_of_the_row() -> None:
    from PIL import Image

    files = preprocess.make_jpegs(2, 40, 53)
    assert len(files) == 2
    assert files[0] != files[1]
    assert Image.open(io.BytesIO(files[0])).size == (53, 40)
    assert preprocess.make_jpegs(2, 40, 53) == files


def test_preprocessing_stays_within_two_steps_of_open_clip() -> None:
    transform = pytest.importorskip("open_clip.transform").image_transform
    config = ImageProcessing(size=64)
    processor = Processor(ProcessorConfig(image=config))
    files = preprocess.make_jpegs(2, 100, 133)
    peer = transform(64, is_train=False, mean=config.mean, std=config.std)
    figures = preprocess.check(
        lambda: preprocess.prepare_ours(processor, files),
        lambda: preprocess.prepare_peer(peer, files),
        config.std,
    )
    assert figures["mean_levels"] < 0.1
    with pytest.raises(VerticlipError, match="Pixels differ by"):
        preprocess.check(
            lambda: preprocess.prepare_ours(processor, files).flip(-1),
            lambda: preprocess.prepare_peer(peer, files),
            config.std,
        )


def test_peak_memory_counts_what_a_step_adds() -> None:
    # Larger than anything this process held before, so that the peak moves.
    before = peak_mib(lambda: None)
    assert before == 0
    grown = peak_mib(lambda: torch.ones(1536 * 1024**2 // 4).sum())
    assert grown > 100


def test_padding_changes_cost_and_not_embeddings() -> None:
    from functools import partial

    from verticlip.benchmarks import prompts_padding
    from verticlip.core.config import BertTower
    from verticlip.core.transformer import Bert

    config = BertTower(backend="bert", vocab_size=50, width=16, layers=2, heads=2, mlp_width=32)
    padded, cut = prompts_padding.PaddedBert(config).eval(), Bert(config).eval()
    cut.load_state_dict(padded.state_dict())
    inputs = text_embed.make_texts([3, 5], context=40, vocabulary=50)
    assert padded.embed(inputs).states.shape[1] == 40
    assert cut.embed(inputs).states.shape[1] == 5
    ours, peer = (partial(text_embed.encode, tower, inputs) for tower in (cut, padded))
    assert prompts_padding.check(ours, peer)["largest_difference"] <= prompts_padding.LARGEST_DIFFERENCE
    with pytest.raises(VerticlipError, match="Padding changes the embeddings"):
        prompts_padding.check(ours, partial(torch.ones, 2, 16))


VIT = {
    "backend": "vit",
    "image_size": 16,
    "patch_size": 8,
    "width": 16,
    "layers": 1,
    "heads": 2,
    "mlp_width": 32,
}
BERT = {"backend": "bert", "vocab_size": 50, "width": 16, "layers": 1, "heads": 2, "mlp_width": 32}


def test_class_cache_row_counts_passes_of_the_text_tower(monkeypatch: pytest.MonkeyPatch) -> None:
    from verticlip.benchmarks import class_cache, models

    image, text = {**VIT, "projection": "linear"}, {**BERT, "projection": "linear"}
    model = models.random_model(image, text, ImageProcessing(size=16), embed_dim=8)
    phrases = models.make_phrases(200)
    assert len(set(phrases)) == 200
    pixels = torch.rand(1, 3, 16, 16)
    assert class_cache.check(model, pixels, phrases[:3])["text_passes_second"] == 0
    monkeypatch.setattr(type(model._classes), "get", lambda *_: None)
    with pytest.raises(VerticlipError, match="the second must make none"):
        class_cache.check(model, pixels, phrases[3:6])


def test_the_one_image_path_gives_our_maps(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("scipy")
    from verticlip.benchmarks import grounding, models
    from verticlip.domains.medical.biovil.model import BioViL

    trunk = {"layers": [1, 1, 1, 1], "channels": [8, 8, 16, 16], "stem_width": 8}
    image = {"backend": "timm", "architecture": "resnet50", "options": trunk, "projection": "mlp"}
    processing = ImageProcessing(
        size=96, short_side=104, interpolation="bilinear", resampler="pillow", mean=(0, 0, 0), std=(1, 1, 1)
    )
    settings = {"architecture": "biovil", "domain": "medical", "options": {"masked_words": False}}
    text = {**BERT, "projection": "mlp"}
    model = models.random_model(image, text, processing, embed_dim=8, build=BioViL, **settings)
    images = grounding.make_images(2, 110)
    assert grounding.check(model, images, "left lung")["largest_difference"] < 1e-5
    monkeypatch.setattr(grounding, "_SIGMA", 1.0)
    with pytest.raises(VerticlipError, match="The maps differ by"):
        grounding.check(model, images, "left lung")
