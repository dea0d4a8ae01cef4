"""Published satellite checkpoints: where they are, what they are under, what they may be used for.

Plain data. Every file states its activation: weights that were trained from OpenAI's need x sigmoid(1.702 x)
(``quick_gelu``), those from LAION's need GELU, and nothing in a file tells which.
"""

from __future__ import annotations

from ...core.registry import ModelSpec, PublishedFile, PublishedWeights

_RESEARCH = (
    "Research on images from above by English text: zero-shot classification, retrieval and frozen features. "
    "Not for surveillance, targeting, or decisions about people."
)
_UNSTATED = "For the weights no licence is stated: ask their authors before other use."

_OPENAI_USE = (
    "Research: the baseline that satellite models are measured against. Its authors rule out deployed use, "
    "and surveillance and the recognition of faces in any case."
)
_COCA_USE = (
    "Research: starting weights of UrbanCLIP and captions of pictures. Trained on pictures of the web with "
    "their biases; its captions name what is not there."
)

_REMOTE, _REMOTE_REVISION = "chendelong/RemoteCLIP", "bf1d8a3ccf2ddbf7c875705e46373bfe542bce38"
_GEO, _GEO_REVISION = "Zilun/GeoRSCLIP", "4920188e6eba4e711ef9848cfd7cb77e874ee33f"
_SKY = "https://opendatasharing.s3.us-west-2.amazonaws.com/SkyScript/ckpt"

_B32 = {"quick_gelu": True, "embed_dim": 512, "image_size": 224}
_L14 = {"quick_gelu": True, "embed_dim": 768, "image_size": 224}

_ZERO_SHOT = "core/open_clip.zero_shot_classifier"
_CLIP_PARITY = ("clipc8/flip_it", _ZERO_SHOT)
"""The towers of a CLIP with a Vision Transformer, and its answers."""


def _spec(
    name: str,
    summary: str,
    weights: PublishedWeights,
    *,
    licence: str,
    paper: str,
    use: str = _RESEARCH,
    embed_dim: int | None = None,
    parity: tuple[str, ...] = _CLIP_PARITY,
) -> ModelSpec:
    return ModelSpec(
        name=f"urban/{name}",
        domain="urban",
        summary=summary,
        modalities=("image", "text"),
        embed_dim=embed_dim or int(weights.options["embed_dim"]),
        weights=weights,
        licence=licence,
        intended_use=use,
        paper=paper,
        extra="urban",
        parity=parity,
    )


def _remote(name: str, summary: str, file: str, size: str, options: dict[str, object]) -> ModelSpec:
    """Return one RemoteCLIP, trained from OpenAI's weights."""
    weights = PublishedFile("weights", _REMOTE, file, revision=_REMOTE_REVISION, size=size)
    return _spec(
        name,
        summary,
        PublishedWeights((weights,), converter="open_clip", options=options),
        licence="unknown",
        paper="arXiv 2306.11029",
        use=f"{_RESEARCH} The code is under Apache-2.0. {_UNSTATED}",
        # No golden case has a ResNet of CLIP.
        parity=(_ZERO_SHOT,) if name.endswith("rn50") else _CLIP_PARITY,
    )


def _geo(name: str, summary: str, file: str, size: str, options: dict[str, object]) -> ModelSpec:
    """Return one GeoRSCLIP."""
    weights = PublishedFile("weights", _GEO, f"ckpt/{file}", revision=_GEO_REVISION, size=size)
    return _spec(
        name,
        summary,
        PublishedWeights((weights,), converter="open_clip", options=options),
        licence="cc",
        paper="arXiv 2306.11300",
        use=f"{_RESEARCH} The card of the weights says cc without the kind, an earlier one cc-by-4.0.",
    )


def _sky(name: str, summary: str, file: str, options: dict[str, object]) -> ModelSpec:
    """Return one model of SkyScript, which a person downloads as an archive and unpacks."""
    weights = PublishedFile("weights", "", f"{file}/epoch_20.pt", page=f"{_SKY}/{file}.zip")
    return _spec(
        name,
        summary,
        PublishedWeights((weights,), converter="open_clip", options=options),
        licence="unknown",
        paper="arXiv 2312.12856",
        use=f"{_RESEARCH} The code is under MIT. {_UNSTATED}",
    )


def _rsicd(name: str, summary: str, revision: str) -> ModelSpec:
    """Return one CLIP-rsicd; its repository has the model's name."""
    repo_id = f"flax-community/{name}"
    files = (
        PublishedFile("weights", repo_id, "pytorch_model.bin", revision=revision, size="605 MB"),
        PublishedFile("config", repo_id, "config.json", revision=revision, size="4.03 kB"),
    )
    return _spec(
        name,
        summary,
        PublishedWeights(files, converter="transformers_clip", options=_B32),
        licence="unknown",
        paper="arampacha/CLIP-rsicd on GitHub",
        use=f"{_RESEARCH} The code is under Apache-2.0. {_UNSTATED}",
    )


def _git(name: str, summary: str, repo_id: str, size: str, embed_dim: int) -> ModelSpec:
    """Return one Git-RSCLIP, a SigLIP of transformers."""
    files = (
        PublishedFile("weights", repo_id, "model.safetensors", size=size),
        PublishedFile("config", repo_id, "config.json"),
        PublishedFile("tokenizer", repo_id, "tokenizer.json", size="2.4 MB"),
    )
    return _spec(
        name,
        summary,
        PublishedWeights(files, converter="transformers_siglip", options={"embed_dim": embed_dim}),
        licence="unknown",
        paper="arXiv 2501.00895",
        use=f"{_RESEARCH} A change that nobody has accepted proposes MIT. {_UNSTATED}",
        parity=(_ZERO_SHOT,),
    )


def _openai(name: str, summary: str, file: PublishedFile, options: dict[str, object]) -> ModelSpec:
    return _spec(
        name,
        summary,
        PublishedWeights((file,), converter="open_clip", options=options),
        licence="MIT",
        paper="arXiv 2103.00020",
        use=_OPENAI_USE,
    )


def _coca(
    name: str, summary: str, repo_id: str, *, size: str, embed_dim: int, revision: str | None = None
) -> ModelSpec:
    """Return one CoCa of open_clip."""
    weights = PublishedFile("weights", repo_id, "open_clip_pytorch_model.bin", revision=revision, size=size)
    return _spec(
        name,
        summary,
        PublishedWeights((weights,), converter="coca"),
        licence="MIT",
        paper="arXiv 2205.01917",
        use=_COCA_USE,
        embed_dim=embed_dim,
        parity=("urbanclip/coca_loss_a", _ZERO_SHOT),
    )


PUBLISHED: tuple[ModelSpec, ...] = (
    _remote(
        "remoteclip-rn50",
        "RemoteCLIP, ResNet-50 at 224: captions, boxes and masks of aerial images; 102 M",
        "RemoteCLIP-RN50.pt",
        "408 MB",
        {"quick_gelu": True, "embed_dim": 1024, "image_size": 224},
    ),
    _remote(
        "remoteclip-vit-b32",
        "RemoteCLIP, ViT-B/32 at 224; the fast one; 151 M",
        "RemoteCLIP-ViT-B-32.pt",
        "605 MB",
        _B32,
    ),
    _remote(
        "remoteclip-vit-l14",
        "RemoteCLIP, ViT-L/14 at 224; the best of the three; 428 M",
        "RemoteCLIP-ViT-L-14.pt",
        "1.71 GB",
        _L14,
    ),
    _geo(
        "georsclip-vit-b32",
        "GeoRSCLIP, ViT-B/32 at 224, trained on the five million pairs of RS5M; 151 M",
        "RS5M_ViT-B-32.pt",
        "605 MB",
        _B32,
    ),
    _geo(
        "georsclip-vit-b32-ret2",
        "the same, trained on with the captions of RSICD and RSITMD; for retrieval",
        "RS5M_ViT-B-32_RET-2.pt",
        "605 MB",
        _B32,
    ),
    _geo(
        "georsclip-vit-b32-rsicd",
        "the same, trained on with the captions of RSICD",
        "RS5M_ViT-B-32_RSICD.pt",
        "605 MB",
        _B32,
    ),
    # That L/14 and L/14-336 start from OpenAI's weights too is inferred, not stated.
    _geo("georsclip-vit-l14", "GeoRSCLIP, ViT-L/14 at 224; 428 M", "RS5M_ViT-L-14.pt", "1.71 GB", _L14),
    _geo(
        "georsclip-vit-l14-336",
        "GeoRSCLIP, ViT-L/14 at 336; 428 M",
        "RS5M_ViT-L-14-336.pt",
        "1.71 GB",
        {"quick_gelu": True, "embed_dim": 768, "image_size": 336},
    ),
    _geo(
        "georsclip-vit-h14",
        "GeoRSCLIP, ViT-H/14 at 224, from LAION's weights; the best zero-shot results; 986 M",
        "RS5M_ViT-H-14.pt",
        "3.94 GB",
        {"quick_gelu": False, "embed_dim": 1024, "image_size": 224, "image_head_width": 80},
    ),
    _sky(
        "skyclip-vit-l14-top30",
        "SkyCLIP, ViT-L/14, trained on the best 30 % of SkyScript's pairs; 428 M",
        "SkyCLIP_ViT_L14_top30pct",
        _L14,
    ),
    _sky(
        "skyclip-vit-l14-top50",
        "SkyCLIP, ViT-L/14, trained on the best 50 %",
        "SkyCLIP_ViT_L14_top50pct",
        _L14,
    ),
    _sky(
        "skyclip-vit-l14-top30-laion-rs",
        "SkyCLIP, ViT-L/14, best 30 % as chosen by a CLIP trained on aerial images of LAION",
        "SkyCLIP_ViT_L14_top30pct_filtered_by_CLIP_laion_RS",
        _L14,
    ),
    _sky(
        "skyclip-vit-l14-top30-multi-objects",
        "SkyCLIP, ViT-L/14, best 30 %, with captions of several objects",
        "SkyCLIP_ViT_L14_top30pct_multi_objects",
        _L14,
    ),
    _sky(
        "skyclip-vit-b32-top50",
        "SkyCLIP, ViT-B/32 from LAION's weights, trained on the best 50 %; 151 M",
        "SkyCLIP_ViT_B32_top50pct",
        {"quick_gelu": False, "embed_dim": 512, "image_size": 224},
    ),
    _sky(
        "clip-laion-rs-vit-l14",
        "ViT-L/14 trained on the aerial images of LAION, the baseline of SkyScript",
        "CLIP_ViT_L14_LAION_RS",
        _L14,
    ),
    _rsicd(
        "clip-rsicd-v2",
        "ViT-B/32 trained on the captions of RSICD; the better of the two; 151 M",
        "fbe163da0609a2f185c22bb3af7b54ebad5a1800",
    ),
    _rsicd("clip-rsicd", "the first of the two", "8357af47297adf43a37a88e424a7cfffc04ec95c"),
    _git(
        "git-rsclip-base",
        "SigLIP base trained on ten million pairs of Git-10M; one probability per text",
        "lcybuaa/Git-RSCLIP-base",
        "406 MB",
        768,
    ),
    _git("git-rsclip", "the same, SigLIP large", "lcybuaa/Git-RSCLIP", "1.3 GB", 1024),
    _openai(
        "openai-clip-vit-b32",
        "OpenAI CLIP, ViT-B/32 at 224, what most satellite CLIPs started from; 151 M",
        PublishedFile(
            "weights",
            "timm/vit_base_patch32_clip_224.openai",
            "open_clip_model.safetensors",
            revision="ab5b8ef490e86faa07d3523926b842c765de1de5",
            size="605 MB",
        ),
        _B32,
    ),
    _openai(
        "openai-clip-vit-l14",
        "OpenAI CLIP, ViT-L/14 at 224; 428 M",
        PublishedFile("weights", "timm/vit_large_patch14_clip_224.openai", "open_clip_model.safetensors"),
        _L14,
    ),
    _coca(
        "coca-vit-l14-mscoco",
        "CoCa, ViT-L/14 at 224, tuned on MS-COCO captions: what UrbanCLIP starts from; 638 M",
        "laion/mscoco_finetuned_CoCa-ViT-L-14-laion2B-s13B-b90k",
        size="2.55 GB",
        embed_dim=768,
        revision="0d3be8c1f209ae97542c67c13d968dd05caff842",
    ),
    _coca(
        "coca-vit-l14",
        "the same before MS-COCO",
        "laion/CoCa-ViT-L-14-laion2B-s13B-b90k",
        size="2.55 GB",
        embed_dim=768,
    ),
    _coca(
        "coca-vit-b32-mscoco",
        "CoCa, ViT-B/32 at 224, tuned on MS-COCO captions; 254 M",
        "laion/mscoco_finetuned_CoCa-ViT-B-32-laion2B-s13B-b90k",
        size="1.01 GB",
        embed_dim=512,
        revision="ef0732eb039c932624eb8b867c82ab2311001b09",
    ),
    _coca(
        "coca-vit-b32",
        "the same before MS-COCO",
        "laion/CoCa-ViT-B-32-laion2B-s13B-b90k",
        size="1.01 GB",
        embed_dim=512,
    ),
)
"""Every published checkpoint that can be loaded by name; UrbanCLIP itself publishes no weights."""
