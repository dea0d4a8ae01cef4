"""What other libraries and runtimes can make of each kind of model."""

from __future__ import annotations

from verticlip.core import registry

from sweep.specimens.by_room import specimens_of

GRAPHS = ("onnx", "openvino")
"""Every part of such a model is a graph that ONNX Runtime and OpenVINO run."""

KINDS: dict[str, tuple[str, ...]] = {
    "clip": ("open_clip", "transformers", *GRAPHS),
    "clip with a resnet": ("open_clip", *GRAPHS),
    "siglip": ("transformers", *GRAPHS),
    "coca": ("open_clip", *GRAPHS),
    "clap": ("transformers", *GRAPHS),
    "words and pictures": GRAPHS,
    "words and sounds": GRAPHS,
    "product": GRAPHS,
    "conceptclip": GRAPHS,
    "biovil": GRAPHS,
    "masked words": (),
    "separator with words": GRAPHS,
    "separator with clip": GRAPHS,
    "maker of sound": GRAPHS,
    "vocoder": GRAPHS,
    "prior": (),
    "categories of words": GRAPHS,
    "categories of words and clip": GRAPHS,
    "flip": GRAPHS,
    "faces": GRAPHS,
}
"""{kind: formats}; the first registered model of a kind is written in every one of them."""


def first_of(kind: str) -> str:
    """Return the first registered model of a kind."""
    return next(
        name
        for room in registry.ROOMS
        for name, specimen in specimens_of(room).items()
        if specimen.kind == kind
    )
