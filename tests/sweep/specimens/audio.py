"""CLIPSep, CLAP, BigVGAN and the diffusion priors, beside the CLIPs that they listen with."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from audio.clap import make_clap
from safetensors.torch import load_file
from verticlip.core.registry import ModelSpec

from .clips import clip, clip_state
from .specimen import GOLDEN, Maker, Specimen, place, put


def _clipsep(spec: ModelSpec, folder: Path) -> dict[str, Path]:
    state = load_file(GOLDEN / "clipsep" / "clipsep_nit" / "weights.safetensors")
    torch.save({f"module.{name}": one for name, one in state.items()}, place(spec, folder, "weights"))
    asked = clip_state(512, 224, 32, width=16)
    return {"weights": place(spec, folder, "weights"), "clip": put(spec, folder, asked, "clip")}


def clap(*, fusion: bool) -> Specimen:
    """Return a CLAP that sees one window of a recording, or several at once."""
    return Specimen("clap", lambda spec, folder: make_clap.saved(folder, fusion=fusion)[0], dimension=24)


def bigvgan(case: str) -> Maker:
    """Return a maker of a generator of the sizes of a golden case."""

    def make(spec: ModelSpec, folder: Path) -> dict[str, Path]:
        home = GOLDEN / "clipsonic" / case
        torch.save({"generator": load_file(home / "weights.safetensors")}, place(spec, folder, "weights"))
        shutil.copy(home / "config.json", place(spec, folder, "config"))
        return {role: place(spec, folder, role) for role in ("weights", "config")}

    return make


_PRIOR = {
    "net": {"dim": 32, "depth": 2, "max_text_len": 12},
    "image_embed_dim": 32,
    "timesteps": 100,
    "cond_drop_prob": 0.0,
    "loss_type": "l2",
    "predict_x_start": True,
    "beta_schedule": "cosine",
    "condition_on_text_encodings": True,
}


def prior(case: str) -> Maker:
    """Return a maker of a prior of the sizes of a golden case, with a config where the authors give one."""

    def make(spec: ModelSpec, folder: Path) -> dict[str, Path]:
        state = load_file(GOLDEN / "clipsonic" / case / "weights.safetensors")
        files = {"weights": put(spec, folder, state)}
        if any(file.role == "config" for file in spec.weights.files):  # pyright: ignore
            files["config"] = place(spec, folder, "config")
            files["config"].write_text(json.dumps({"prior": _PRIOR}))
        return files

    return make


SECOND, FIRST = Specimen("vocoder", bigvgan("bigvgan")), Specimen("vocoder", bigvgan("bigvgan_first_version"))

SPECIMENS = {
    "audio/clipsep-nit": Specimen("separator", _clipsep),
    "audio/openai-clip-vit-b32": clip(32),
    "audio/openai-clip-vit-l14": clip(14),
    "audio/clap-htsat-unfused": clap(fusion=False),
    "audio/clap-htsat-fused": clap(fusion=True),
    "audio/larger-clap-general": clap(fusion=False),
    "audio/larger-clap-music": clap(fusion=False),
    "audio/larger-clap-music-and-speech": clap(fusion=False),
    "audio/bigvgan-v2-44khz-128band-512x": SECOND,
    "audio/bigvgan-v2-44khz-128band-256x": SECOND,
    "audio/bigvgan-v2-24khz-100band-256x": SECOND,
    "audio/bigvgan-v2-22khz-80band-256x": SECOND,
    "audio/bigvgan-v2-22khz-80band-fmax8k-256x": SECOND,
    "audio/bigvgan-24khz-100band": FIRST,
    "audio/bigvgan-base-24khz-100band": FIRST,
    "audio/bigvgan-22khz-80band": FIRST,
    "audio/bigvgan-base-22khz-80band": FIRST,
    "audio/laion-prior-vit-l14": Specimen("prior", prior("diffusion_prior_v1_1")),
    "audio/conditioned-prior-vit-l14": Specimen("prior", prior("diffusion_prior")),
    "audio/conditioned-prior-vit-b32": Specimen("prior", prior("diffusion_prior_v1_1")),
}
