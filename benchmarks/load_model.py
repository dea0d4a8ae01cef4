"""A CLIP ViT-B/16 with 150 M parameters from disk to ready: our safetensors path against open_clip's."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..core.checkpoint import load_strict, read_weights, save_weights
from ..core.config import ModelConfig
from ..core.model import ContrastiveModel
from .image_embed import VIT_B16, make_pixels
from .runner import Workload, require_at_least
from .stress import agreement
from .text_embed import CLIP_TEXT

PEER_ARCHITECTURE = "ViT-B-16"
TIME_GATE, MEMORY_GATE = 8.0, 1 / 0.55
LEAST_COSINE = 0.999999
CONFIG = ModelConfig(name="benchmark/vit-b16", embed_dim=512, towers={"image": VIT_B16, "text": CLIP_TEXT})


def load_ours(path: str) -> ContrastiveModel:
    """Return the model built without storage and filled from a safetensors file."""
    with torch.device("meta"):
        model = ContrastiveModel(CONFIG)
    load_strict(model, read_weights(path), source=path)
    return model.eval()


def load_peer(path: str) -> Any:
    """Return open_clip's model filled from a ``.pt`` file."""
    import open_clip

    return open_clip.create_model(PEER_ARCHITECTURE, pretrained=path).eval()


def touch(model: torch.nn.Module) -> float:
    """Return the sum of all weights, so that no page of the file stays unread."""
    return sum(float(parameter.detach().sum()) for parameter in model.parameters())


def write_both(folder: Path) -> tuple[str, str]:
    """Write one set of seeded weights as our safetensors and as open_clip's ``.pt``; return the paths."""
    import open_clip

    torch.manual_seed(0)
    state = open_clip.create_model(PEER_ARCHITECTURE).state_dict()
    torch.save(state, folder / "peer.pt")
    ours: dict[str, Tensor] = {}
    for name, value in state.items():
        if name.startswith("visual."):
            name = f"towers.image.{name.removeprefix('visual.')}"
        elif name != "logit_scale":
            name = f"towers.text.{name}"
        ours[name] = value
    with torch.device("meta"):
        model = ContrastiveModel(CONFIG)
    load_strict(model, ours, source="open_clip")
    save_weights(model, folder / "ours.safetensors")
    return str(folder / "ours.safetensors"), str(folder / "peer.pt")


def source(variant: str, path: str, *, memory: bool) -> str:
    """Return a program that loads once after its imports and prints CPU seconds or peak MiB."""
    load = f"touch(load_{variant}({path!r}))"
    lines = [
        "import time, open_clip" if variant == "peer" else "import time, safetensors.torch",
        f"from {__name__} import load_{variant}, touch",
        "import torch; torch.set_num_threads(1)",
    ]
    if memory:
        lines.append(f"from {__package__}.memory import peak_mib; print(peak_mib(lambda: {load}))")
    else:
        lines.append(f"start = time.process_time(); {load}; print(time.process_time() - start)")
    return "\n".join(lines)


class Comparison:
    """The two files, kept in a temporary folder for as long as the workloads live."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self.ours, self.peer = write_both(Path(self._folder.name))

    def check(self) -> dict[str, float]:
        """Return the least cosine between the embeddings of the two loaded models."""
        pixels = make_pixels(2)
        with torch.inference_mode():
            got = load_ours(self.ours).encode("image", {"pixels": pixels}, normalize=False)
            expected = load_peer(self.peer).encode_image(pixels)
        return dict(require_at_least(agreement(got, expected), min_cosine=LEAST_COSINE))

    def workload(self, *, memory: bool) -> Workload:
        """Return the comparison of load time or of peak memory, imports excluded on both sides."""
        return Workload(
            name="load 150 M parameters, peak memory" if memory else "load 150 M parameters, warm",
            ours=lambda: source("ours", self.ours, memory=memory),
            peer=lambda: source("peer", self.peer, memory=memory),
            peer_name="open_clip .pt",
            gate=MEMORY_GATE if memory else TIME_GATE,
            check=None if memory else self.check,
            fresh_process=True,
            unit="MiB" if memory else "s",
            note="every page is read" if memory else "files in the page cache, every page is read",
        )


def workloads(quick: bool = False) -> list[Workload]:
    """Return load time and peak memory; nothing when ``quick`` (the files take 1.2 GB of disk)."""
    if quick:
        return []
    comparison = Comparison()
    return [comparison.workload(memory=False), comparison.workload(memory=True)]
