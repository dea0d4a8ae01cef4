"""Recordings with frames: what is computed once, and which sound a frame is shown with."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image
from verticlip.core.config import ImageProcessing, ModelConfig, ProcessorConfig, parse_config
from verticlip.core.data import Manifest, Record
from verticlip.core.errors import DataError
from verticlip.core.model import build_model
from verticlip.core.processing import Processor
from verticlip.core.sources import Row
from verticlip.core.start import Start
from verticlip.domains.audio.clipsonic.bridge import Bridge
from verticlip.domains.audio.clipsonic.collate import DiffusionCollate, DiffusionOptions
from verticlip.domains.audio.clipsonic.features import FeatureStore
from verticlip.domains.audio.clipsonic.options import ClipSonicOptions

sys.path.insert(0, str(Path(__file__).parent))
import make_sonic

SECONDS = 4


@pytest.fixture(scope="module")
def start() -> Start:
    """Eyes of a few kilobytes."""
    towers = {
        "image": {"backend": "timm", "architecture": "resnet18d", "options": {"channels": [4, 4, 8, 8]}}
    }
    raw = {"name": "eyes", "embed_dim": 8, "towers": towers}
    torch.manual_seed(0)
    network = build_model(ModelConfig.model_validate(raw)).eval()
    return Start(network, Processor(ProcessorConfig(image=ImageProcessing(size=32))), None, "eyes", "0" * 40)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip of four seconds, each louder than the one before, with another pattern to see."""
    folder = tmp_path_factory.mktemp("films")
    rate = make_sonic.RATE
    rng = np.random.default_rng(0)
    wave = np.concatenate([rng.standard_normal(rate) * 0.005 * 4**second for second in range(SECONDS)])
    (folder / "audio").mkdir()
    soundfile.write(folder / "audio" / "a.wav", wave.clip(-1, 1), rate, subtype="FLOAT")
    frames = folder / "frames" / "a"
    frames.mkdir(parents=True)
    for second in range(SECONDS):
        pixels = np.zeros((32, 32, 3), np.uint8)
        pixels[:: second + 2, :: 4 - second] = 255
        Image.fromarray(pixels).save(frames / f"{second + 1:06d}.jpg", quality=95)
    return folder


def row(**extras: object) -> Row:
    record = Record(id="films/a", path="audio/a.wav", source="films")
    return Row(record, extras={"frames": "frames/a", "count": SECONDS, "fps": 1.0, **extras})


def store(start: Start, folder: Path) -> FeatureStore:
    manifest = Manifest.from_records([row().record], root=folder)
    target = parse_config(ClipSonicOptions, options(), source="options").target
    return FeatureStore(start, target, modalities=("image",), manifest=manifest)


def options() -> dict[str, object]:
    return make_sonic.options(condition={"modality": "image"})


def test_every_frame_has_an_embedding_and_a_moment(start: Start, folder: Path) -> None:
    made = store(start, folder)
    kept = made.fill([row()], least_peak=1e-3)
    found = made.of(kept[0])
    assert found.mel.shape == (SECONDS * make_sonic.RATE // make_sonic.HOP, 16)
    assert found.embeddings["image"].shape == (SECONDS, 8)
    assert torch.allclose(found.embeddings["image"].norm(dim=1), torch.ones(SECONDS))
    assert found.times["image"].tolist() == [0.5, 1.5, 2.5, 3.5]


def test_the_count_of_the_table_is_kept_to(start: Start, folder: Path) -> None:
    made = store(start, folder)
    kept = made.fill([row(count=2, fps=2.0)], least_peak=1e-3)
    assert made.of(kept[0]).times["image"].tolist() == [0.25, 0.75]


def test_the_sound_of_a_frame_is_that_around_it(start: Start, folder: Path) -> None:
    made = store(start, folder)
    kept = made.fill([row()], least_peak=1e-3)
    sonic = parse_config(ClipSonicOptions, options(), source="options")
    task = DiffusionOptions(conditions={"image": 1.0}, place="condition")
    collate = DiffusionCollate(kept, made, None, bridge=Bridge(("image",), 8), options=task, sonic=sonic)
    batch = collate([row().record] * 24, torch.Generator().manual_seed(0)).inputs["mel"]
    vectors = made.of(kept[0]).embeddings["image"]
    # Eyes with random weights see hardly a difference.
    shown = (batch["condition"][:, None] - vectors).abs().sum(dim=2).argmin(dim=1)
    assert set(shown.tolist()) == {0, 1, 2, 3}
    levels = torch.stack([batch["target"][shown == frame].mean() for frame in range(SECONDS)])
    # A factor of four in magnitude from one second to the next.
    config = sonic.target
    step = 2 * torch.log(torch.tensor(4.0)) / (config.high - config.low)
    assert torch.allclose(levels.diff(), step.expand(3), atol=0.05)


def test_a_clip_without_frames_cannot_be_used(start: Start, folder: Path) -> None:
    bare = Row(row().record)
    with pytest.raises(DataError, match="has no frames; an image condition needs one"):
        store(start, folder).fill([bare], least_peak=1e-3)
