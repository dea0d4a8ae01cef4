"""Published liveness models: where they are, what they are under, what they may be used for. Plain data.

Nobody may pass on the weights of FLIP (no licence is stated), and those of CLIPC8 were never published.
MiniFASNet's lie under Apache-2.0 beside its code: the network that needs one crop ships in this package.
"""

from __future__ import annotations

from ...core.registry import ModelSpec, PublishedFile, PublishedWeights, WeightsRef

_SIGNAL = (
    "One signal among several that a presentation is no attack at the camera; never the only reason to "
    "refuse a person. Not for video that is injected past the camera, nor for recognizing people."
)

_SFAS = "https://github.com/minivision-ai/Silent-Face-Anti-Spoofing"
_SFAS_COMMIT = "b6d5f04ad78778917853b25c778acef6d5626d15"
_SFAS_USE = (
    f"{_SIGNAL} RGB pictures of phone cameras in the ratio 3:4, the whole face visible, the head turned by "
    "less than 30 degrees."
)


def _sfas_file(role: str, name: str, sha256: str) -> PublishedFile:
    return PublishedFile(
        role,
        "",
        name,
        sha256=sha256,
        page=f"{_SFAS}/raw/{_SFAS_COMMIT}/resources/anti_spoof_models/{name}",
        size="1.9 MB",
    )


_FLIP = "https://github.com/koushiksrivats/FLIP"
_FLIP_USE = (
    f"{_SIGNAL} Research: no licence is stated for the weights nor for the code, and the data sets they were "
    "trained on are handed out for research only."
)

_GENERAL_USE = (
    f"{_SIGNAL} A general model that never learned what an attack is: a baseline, and the start of training."
)


def _flip(name: str, summary: str, crops: str) -> ModelSpec:
    """Return FLIP-MCL for one benchmark; its authors link one file for each target and run."""
    weights = PublishedFile("weights", "", "TARGET_flip_mcl_checkpoint_run_0.pth.tar", page=_FLIP)
    return ModelSpec(
        name=f"liveness/{name}",
        domain="liveness",
        summary=summary,
        modalities=("image", "text"),
        embed_dim=512,
        weights=PublishedWeights((weights,), converter="flip", options={"crops": crops, "image_size": 224}),
        licence="unknown",
        intended_use=_FLIP_USE,
        paper="Srivatsan et al. 2023, FLIP, arXiv 2309.16649",
        extra="liveness",
        parity=("clipc8/flip_mcl", "clipc8/flip_it"),
    )


def _clip(name: str, summary: str, file: PublishedFile) -> ModelSpec:
    """Return one CLIP of OpenAI, answering by the texts of the default taxonomy."""
    return ModelSpec(
        name=f"liveness/{name}",
        domain="liveness",
        summary=summary,
        modalities=("image", "text"),
        embed_dim=512,
        weights=PublishedWeights(
            (file,),
            converter="open_clip",
            options={"quick_gelu": True, "embed_dim": 512, "image_size": 224},
        ),
        licence="MIT",
        intended_use=_GENERAL_USE,
        paper="Radford et al. 2021, CLIP, arXiv 2103.00020",
        extra="liveness",
        parity=("clipc8/flip_it",),
    )


PUBLISHED: tuple[ModelSpec, ...] = (
    ModelSpec(
        name="liveness/minifasnet-v2",
        domain="liveness",
        summary="MiniFASNet V2 as released, on a crop of 2.7 times the face: 0.4 M, milliseconds on one core",
        modalities=("image",),
        embed_dim=0,
        weights=WeightsRef(
            repo_id=None,
            revision=None,
            files={
                "config.json": "074e44f12e81fd93cbd5e07084ffbdf340eb0cc6cc5b60c1024798de0524aefd",
                "model.safetensors": "e8226d0e692da87f92b0d03b93c8f8bc838f27bb3a7248e7bcfab9f39a635fef",
                "probe.json": "96bc79218100104c17bf43a3d0648821961ab4daeb0dfe7a68d7f9ae149ed496",
                "probe.safetensors": "7c6dbbbecbae727c483b132928f9ed516d636ef3010aaf4614e3bf9d669a1e15",
                "processor.json": "133687eaa75177a6995ef910705273103cb0c1c6b398e761db2d474747496569",
            },
            packaged="weights/minifasnet-v2",
        ),
        licence="Apache-2.0",
        intended_use=_SFAS_USE,
        paper="minivision-ai/Silent-Face-Anti-Spoofing on GitHub",
        extra="liveness",
        parity=("clipc8/minifasnet",),
    ),
    ModelSpec(
        name="liveness/minifasnet",
        domain="liveness",
        summary="MiniFASNet V2 and V1SE as released, together, on crops of 2.7 and 4 times the face; 0.9 M",
        modalities=("image",),
        embed_dim=0,
        weights=PublishedWeights(
            (
                _sfas_file(
                    "v2",
                    "2.7_80x80_MiniFASNetV2.pth",
                    "a5eb02e1843f19b5386b953cc4c9f011c3f985d0ee2bb9819eea9a142099bec0",
                ),
                _sfas_file(
                    "v1se",
                    "4_0_0_80x80_MiniFASNetV1SE.pth",
                    "84ee1d37d96894d5e82de5a57df044ef80a58be2b218b5ed7cdfd875ec2f5990",
                ),
            ),
            converter="minifasnet",
        ),
        licence="Apache-2.0",
        intended_use=_SFAS_USE,
        paper="minivision-ai/Silent-Face-Anti-Spoofing on GitHub",
        extra="liveness",
        parity=("clipc8/minifasnet",),
    ),
    _flip(
        "flip-mcl",
        "FLIP-MCL trained on three of MSU-MFSD, CASIA, Replay-Attack and OULU-NPU with CelebA-Spoof, for the "
        "fourth; aligned faces; ViT-B/16; 170 M",
        "mcio",
    ),
    _flip(
        "flip-mcl-wcs",
        "the same on two of WMCA, CASIA-CeFA and CASIA-SURF, for the third; whole frames",
        "wcs",
    ),
    _clip(
        "clip-vit-b16",
        "OpenAI CLIP, ViT-B/16 at 224: answers by texts, untrained; what FLIP started from; 150 M",
        PublishedFile(
            "weights", "timm/vit_base_patch16_clip_224.openai", "open_clip_model.safetensors", size="599 MB"
        ),
    ),
    _clip(
        "clip-vit-b32",
        "the same at a third of the time, ViT-B/32 at 224; 151 M",
        PublishedFile(
            "weights",
            "timm/vit_base_patch32_clip_224.openai",
            "open_clip_model.safetensors",
            revision="ab5b8ef490e86faa07d3523926b842c765de1de5",
            size="605 MB",
        ),
    ),
)
"""Models with weights of their authors: in this package, or fetched or given by the user and converted."""
