"""What other libraries and runtimes can make of each kind of model."""

from __future__ import annotations

from dataclasses import dataclass

GRAPHS = ("onnx", "openvino")


@dataclass(frozen=True)
class Kind:
    """A kind of model.

    Attributes:
        example: the model that is exported for all of the kind; its parts are the smallest ones.
        libraries: formats of other libraries, each of which the example is written in.
        parts: what of it is written as ONNX: what no kind above has; None is every part. Empty for a kind
            that neither ONNX Runtime nor OpenVINO can run.
    """

    example: str
    libraries: tuple[str, ...] = ()
    parts: tuple[str, ...] | None = None

    @property
    def formats(self) -> tuple[str, ...]:
        """Every format that such a model can be had in."""
        return (*self.libraries, *(() if self.parts == () else GRAPHS))


KINDS = {
    "clip": Kind("urban/openai-clip-vit-b32", ("open_clip", "transformers")),
    "clip with a resnet": Kind("urban/remoteclip-rn50", ("open_clip",), ("image",)),
    "siglip": Kind("urban/git-rsclip", ("transformers",), ("image",)),
    "coca": Kind("urban/coca-vit-b32", ("open_clip",), ("image",)),
    "clap": Kind("audio/clap-htsat-unfused", ("transformers",), ("text",)),
    "words and pictures": Kind("urban/tiny", parts=("image",)),
    "words and sounds": Kind("audio/tiny-sonic", parts=("text",)),
    "conceptclip": Kind("medical/conceptclip", parts=("image",)),
    "biovil": Kind("medical/biovil", parts=("image",)),
    "masked words": Kind("medical/cxr-bert-general", parts=()),
    "separator": Kind("audio/clipsep-nit", parts=("masks",)),
    "vocoder": Kind("audio/bigvgan-22khz-80band"),
    "prior": Kind("audio/laion-prior-vit-l14", parts=()),
    "categories": Kind("liveness/clip-vit-b32", parts=("logits",)),
    "flip": Kind("liveness/flip-mcl", parts=("logits",)),
    "faces": Kind("liveness/minifasnet-v2"),
}
"""By name, as specimens say it."""
