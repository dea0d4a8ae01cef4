"""Exported towers in ONNX Runtime against the same towers as this package runs them, one thread each.

A ratio above one says how many times faster the exported file is. Models are those of the package.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from ..api import from_pretrained
from ..core.graph_trials import trials
from ..facade import Model
from ..hub.export import export
from ..hub.export.onnx import onnx_runner
from .runner import Workload, require_at_least

MODELS = ("medical/tiny", "audio/tiny-tagger", "ecommerce/tiny", "urban/tiny", "liveness/tiny")
LARGEST_DIFFERENCE = 1e-5
"""Of a value of unit embeddings."""
_GATE = 0.5
"""No promise of speed: an export that is half as fast as the package is a fault of the export."""


@torch.inference_mode()
def _own(model: Model, modality: str, inputs: Mapping[str, Tensor]) -> Tensor:
    return model.network.encode(modality, inputs)


def workloads(quick: bool = False) -> Iterator[Workload]:
    """Yield one comparison for each tower of each model, at one row and at eight."""
    with tempfile.TemporaryDirectory() as folder:
        for name in MODELS[:1] if quick else MODELS:
            model = from_pretrained(name, device="cpu", dtype="float32")
            towers = model.network.modalities
            out = Path(folder) / name.replace("/", "-")
            export(model, out, "onnx", towers=towers)
            for modality in towers:
                runner = onnx_runner(out / f"{modality}.onnx", "embedding")
                made = trials(model.processor, modality)
                for kind in ("batch of 1", "batch of 8"):
                    exported, own = partial(runner, made[kind]), partial(_own, model, modality, made[kind])

                    def check(
                        exported: partial[Tensor] = exported, own: partial[Tensor] = own
                    ) -> dict[str, float]:
                        worst = float((exported() - own()).abs().max())
                        require_at_least({"agreement": LARGEST_DIFFERENCE / max(worst, 1e-12)}, agreement=1.0)
                        return {"largest_difference": worst}

                    yield Workload(
                        name=f"{name} {modality} in ONNX Runtime, {kind}",
                        ours=exported,
                        peer=own,
                        peer_name="the tower in verticlip",
                        gate=_GATE,
                        check=check,
                        note="above one: the exported file is faster",
                    )
