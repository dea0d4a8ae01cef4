from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

SOUND_RATE = 4000
SOUND_PROMPTS = """
name: sounds
templates: ["{}", "the sound of a {}"]
classes:
  low: [low tone, hum]
  high: [high tone, whistle]
  noise: [noise]
"""
SOUND_RECIPE = """
name: sounds
seed: 3
domain: audio
prompts: words
model:
  name: test/sounds
  domain: audio
  embed_dim: 16
  towers:
    audio:
      backend: timm
      architecture: resnet10t
      options: {channels: [8, 8, 16, 16], stem_width: 8, in_chans: 1}
    text: {backend: bert, vocab_size: 99, width: 16, layers: 1, heads: 2, mlp_width: 32, max_positions: 16}
audio:
  sampling_rate: 4000
  window_s: 0.4
  mel: {n_fft: 128, hop_length: 64, n_mels: 16}
  mean: -40.0
  std: 20.0
text: {context_length: 16}
tokenizer: {vocab_size: 200}
data:
  sources: [{name: sounds, path: sounds}]
  validation: {fraction: 0.25}
objective: {name: infonce, options: {positives: labels, modalities: [audio, text]}}
audio_augment: {gain_db: 6.0, shift: 0.5, mix: 0.5, time_masks: 1}
optim: {lr: 0.01, ema_decay: 0.8, warmup_steps: 2}
batch_size: 9
epochs: 20
checkpoint_steps: 1
evaluation: {every_epochs: 4, min_above_chance: 0.2}
"""


def sound(kind: str, seconds: float, rng: np.random.Generator) -> np.ndarray:
    time = np.arange(int(seconds * SOUND_RATE)) / SOUND_RATE
    low, high = {"low": (150, 250), "high": (900, 1400), "noise": (400, 500)}[kind]
    wave = 0.4 * np.sin(2 * np.pi * rng.uniform(low, high) * time + rng.uniform(0, 6))
    noise = rng.normal(0, 1, len(time))
    return 0.2 * noise if kind == "noise" else wave + 0.02 * noise


@pytest.fixture(scope="session")
def sounds(tmp_path_factory) -> Path:
    """A folder with a recipe, its prompt set and 48 recordings, some longer than the model's window."""
    soundfile = pytest.importorskip("soundfile")
    folder = tmp_path_factory.mktemp("sounds")
    (folder / "recipe.yaml").write_text(SOUND_RECIPE)
    (folder / "words.yaml").write_text(SOUND_PROMPTS)
    rng = np.random.default_rng(0)
    for name in ("low", "high", "noise"):
        (folder / "sounds" / name).mkdir(parents=True)
        for number in range(16):
            wave = sound(name, rng.uniform(0.2, 1.0), rng)
            soundfile.write(folder / "sounds" / name / f"{number}.wav", wave, SOUND_RATE)
    return folder
