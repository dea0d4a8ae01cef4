"""What a score depends on: a threshold holds for the detector it was made with and for no other."""

from __future__ import annotations

import hashlib
import json
from itertools import chain
from typing import TYPE_CHECKING

import torch
from pydantic import Field

from ....core.config_base import Config
from ..models.base import LivenessModel, LivenessOptions, liveness_network

if TYPE_CHECKING:
    from torch import nn

    from ....core.handle import ModelHandle
    from ..faces.detect import FaceDetector
    from ..frames.sampling import Sampling

_WORDS = {
    "weights": "weights",
    "architecture": "architecture",
    "precision": "number format",
    "taxonomy": "categories and their texts",
    "crops": "crops",
    "processing": "preprocessing of the crop",
    "sampling": "frames taken from films",
    "aggregator": "way frames are combined",
    "detector": "face detector",
}


class Fingerprint(Config):
    """Everything that a score depends on, part by part, so that a difference can be named.

    Quality gates and the temperature are not in it: gates decide who is judged (and of a film, which frames),
    not how, and a temperature changes no decision (see :mod:`.temperature`).
    """

    weights: str = Field(min_length=1)
    """Commit or hash of the weights; ``state:`` and 16 hex digits for a network that was never saved, or that
    was changed after the detector was made."""
    architecture: str = ""
    """Name and digest of how the network is built: its towers, and its options beside those below."""
    precision: str = "float32"
    taxonomy: str
    """Digest of the categories and their texts."""
    crops: str
    """Crop settings in order, as JSON."""
    processing: str
    """Fingerprint of the processor."""
    aggregator: str
    """Way the frames of a presentation are combined, with its number of frames where it has one."""
    sampling: str = ""
    """Which frames of a film count: more frames move what they are combined to."""
    detector: str
    """Name and digest of the face detector; ``none`` for pre-cropped faces."""

    @property
    def digest(self) -> str:
        """16 hex digits over all parts."""
        text = json.dumps(self.model_dump(), sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def differences(self, other: Fingerprint) -> list[str]:
        """Return one phrase per part that differs, this one's value first; empty when equal."""
        own, their = self.model_dump(), other.model_dump()
        return [
            f"{words} ({_short(own[part])} here, {_short(their[part])} there)"
            for part, words in _WORDS.items()
            if own[part] != their[part]
        ]

    def __str__(self) -> str:
        return self.digest


def _short(value: str) -> str:
    return "not recorded" if not value else value if len(value) <= 80 else f"{value[:77]}..."


def fingerprint_of(
    model: ModelHandle,
    *,
    detector: FaceDetector | None,
    aggregator: str,
    min_k: int,
    sampling: Sampling,
    changed: bool = False,
) -> Fingerprint:
    """Return the fingerprint of a model with a face detector and a way to combine frames.

    Args:
        model: of this room.
        detector: None for pre-cropped faces.
        aggregator, min_k: see ``frames/combine.py``.
        sampling: see ``frames/sampling.py``.
        changed: whether the weights in memory are others than those that the model's revision names.
    """
    network = liveness_network(model)
    crops = [crop.model_dump(mode="json") for crop in network.crops]
    weights = model.revision
    if changed or weights.startswith("unsaved"):
        # No file says which weights these are, and two networks that were never saved are not the same.
        weights = f"state:{_state_digest(network)}"
    return Fingerprint(
        weights=weights,
        architecture=_architecture(network),
        precision=str(getattr(model, "dtype", "float32")),
        taxonomy=network.taxonomy.digest,
        crops=json.dumps([network.options.average, *crops], sort_keys=True),
        processing=model.processor.fingerprint,
        aggregator=f"min_k {min_k}" if aggregator == "min_k" else aggregator,
        sampling=_frames_taken(sampling),
        detector="none" if detector is None else f"{detector.name}:{detector.digest[:16]}",
    )


def tensor_marks(network: nn.Module) -> list[tuple[int, int]]:
    """Return which tensors a network has and how often each was written to; equal means equal weights."""
    return [
        (id(tensor), 0 if tensor.is_inference() else tensor._version)
        for tensor in chain(network.parameters(), network.buffers())
    ]


def _architecture(network: LivenessModel) -> str:
    """Return the name and digest of what the configuration says of the computation.

    Names, licences and start values are no part of it; categories, crops and averaging have parts of their
    own.
    """
    config = network.config.model_dump(
        mode="json", include={"architecture", "embed_dim", "towers", "options"}
    )
    for name in LivenessOptions.model_fields:
        config["options"].pop(name, None)
    text = json.dumps(config, sort_keys=True, ensure_ascii=False)
    return f"{network.config.architecture}:{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def _frames_taken(sampling: Sampling) -> str:
    numbers = {"equidistant": f" {sampling.count}", "every": f" {sampling.seconds:g} s"}
    return sampling.kind + numbers.get(sampling.kind, "")


def _state_digest(network: nn.Module) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        values = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {values.dtype} {list(values.shape)}".encode())
        digest.update(values.flatten().view(torch.uint8).numpy().tobytes() if values.numel() else b"")
    return digest.hexdigest()[:16]
