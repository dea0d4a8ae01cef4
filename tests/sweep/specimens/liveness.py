"""FLIP, MiniFASNet, and general CLIPs that answer by texts about faces."""

from __future__ import annotations

from pathlib import Path

import torch
from liveness.minifasnet import make_networks
from liveness.models import flip_oracle
from safetensors.torch import load_file
from verticlip.core.registry import ModelSpec
from verticlip.domains.liveness.minifasnet.network import NetworkConfig

from .clips import clip, sizes
from .specimen import GOLDEN, Specimen, place, published, put


def _minifasnet(spec: ModelSpec, folder: Path) -> dict[str, Path]:
    released = load_file(GOLDEN / "clipc8" / "minifasnet" / "weights.safetensors")
    second = make_networks.random_network(NetworkConfig(architecture="MiniFASNetV1SE"))
    return {
        "v2": put(spec, folder, released, "v2"),
        "v1se": make_networks.save_released(second, place(spec, folder, "v1se")),
    }


def _flip_mcl(spec: ModelSpec, folder: Path) -> dict[str, Path]:
    generator = torch.Generator().manual_seed(0)
    towers = sizes(spec.embed_dim, published(spec).options["image_size"], 16)
    state = {f"model.{name}": one for name, one in flip_oracle.clip_state(towers, generator).items()}
    projector = flip_oracle.projector_state(towers, {"ssl_mlp_dim": 10, "ssl_emb_dim": 6}, generator)
    state |= {f"image_mlp.{name}": one for name, one in projector.items()}
    state = {name: one.float() if one.is_floating_point() else one for name, one in state.items()}
    torch.save({"epoch": 12, "state_dict": state, "threshold": 0.51}, place(spec, folder, "weights"))
    return {"weights": place(spec, folder, "weights")}


FLIP = Specimen("flip", _flip_mcl)

SPECIMENS = {
    "liveness/minifasnet": Specimen("faces", _minifasnet),
    "liveness/flip-mcl": FLIP,
    "liveness/flip-mcl-wcs": FLIP,
    "liveness/clip-vit-b16": clip(16, kind="categories"),
    "liveness/clip-vit-b32": clip(32, kind="categories"),
}
