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
