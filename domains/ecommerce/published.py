"""Published product encoders: where they are, what they are under, what they may be used for. Plain data.

Every file states its activation, which nothing in it tells: GELU for what was trained from LAION's weights or
from SigLIP in open_clip; x sigmoid(1.702 x) (``quick_gelu``) where its authors' ``config.json`` says so. The
models that others were trained from are here too: fine-tuning did not help everywhere, see
:mod:`.evaluation.published_results`.
"""

from __future__ import annotations

from ...core.registry import ModelSpec, PublishedFile, PublishedWeights

_USE = (
    "Search, sorting and duplicates of product pictures and product texts in English. Trained mostly on "
    "Western catalogue pictures of clothing. Not for recognizing people, nor for telling counterfeits."
)
_GENERAL_USE = (
    "Search, sorting and duplicates of product pictures and product texts in English, of all kinds of "
    "products. Not for recognizing people, nor for telling counterfeits."
)
_BASE_USE = (
    "The baseline that product models are measured against, trained on pictures of the web with their "
    "biases. Not for recognizing people."
)
_GCL = "Zhu et al. 2024, Generalized Contrastive Learning, arXiv 2404.08535"

_B16 = {"quick_gelu": False, "embed_dim": 512, "image_size": 224}
_SIGLIP_B16 = {"activation": "gelu", "clean": "canonicalize", "embed_dim": 768, "image_size": 224}
_SIGLIP_L16 = {"activation": "gelu", "clean": "canonicalize", "embed_dim": 1024, "image_size": 256}

_ZERO_SHOT = "core/open_clip.zero_shot_classifier"


def _spec(
    name: str, summary: str, weights: PublishedWeights, *, licence: str, paper: str, use: str = _USE
) -> ModelSpec:
    return ModelSpec(
        name=f"ecommerce/{name}",
        domain="ecommerce",
        summary=summary,
        modalities=("image", "text"),
        embed_dim=int(weights.options["embed_dim"]),
        weights=weights,
        licence=licence,
        intended_use=use,
        paper=paper,
        extra="ecommerce",
        parity=(_ZERO_SHOT,) if weights.converter == "open_clip_siglip" else ("clipc8/flip_it", _ZERO_SHOT),
    )


def _siglip(repo_id: str, revision: str, size: str, options: dict[str, object]) -> PublishedWeights:
    """Return a SigLIP of open_clip with the tokenizer of the same repository."""
    files = (
        PublishedFile("weights", repo_id, "open_clip_model.safetensors", revision=revision, size=size),
        PublishedFile("tokenizer", repo_id, "tokenizer.json", revision=revision, size="2.42 MB"),
    )
    return PublishedWeights(files, converter="open_clip_siglip", options=options)


_FASHION_CLIP = "patrickjohncyh/fashion-clip"
_FASHION_CLIP_REVISION = "99249150d107f68776ef81e86cba0a9124ee4d91"

PUBLISHED: tuple[ModelSpec, ...] = (
    _spec(
        "marqo-fashion-siglip",
        "Marqo-FashionSigLIP, ViT-B/16 at 224 from SigLIP: a million fashion products by title, color, "
        "material and more; the best published fashion search; 203 M",
        _siglip(
            "Marqo/marqo-fashionSigLIP", "e5619578fd528afa0bf88d8fae37748336a57fa2", "813 MB", _SIGLIP_B16
        ),
        licence="Apache-2.0",
        paper=_GCL,
    ),
    _spec(
        "marqo-fashion-clip",
        "Marqo-FashionCLIP, ViT-B/16 at 224 from LAION's: the same products; 150 M",
        PublishedWeights(
            (
                PublishedFile(
                    "weights",
                    "Marqo/marqo-fashionCLIP",
                    "open_clip_model.safetensors",
                    revision="44f4c655124ed71e90cbf528d82f508d69d8a81b",
                    size="599 MB",
                ),
            ),
            converter="open_clip",
            options=_B16,
        ),
        licence="Apache-2.0",
        paper=_GCL,
    ),
    _spec(
        "marqo-ecommerce-b",
        "Marqo-Ecommerce-B, ViT-B/16 at 224 from SigLIP: all kinds of products; 203 M",
        _siglip(
            "Marqo/marqo-ecommerce-embeddings-B",
            "6854090aa39b2a9d70f390d83ae9e70cf9d9004e",
            "813 MB",
            _SIGLIP_B16,
        ),
        licence="Apache-2.0",
        paper="marqo-ai/marqo-ecommerce-embeddings on GitHub",
        use=_GENERAL_USE,
    ),
    _spec(
        "marqo-ecommerce-l",
        "Marqo-Ecommerce-L, ViT-L/16 at 256 from SigLIP: all kinds of products; the larger one; 652 M",
        _siglip(
            "Marqo/marqo-ecommerce-embeddings-L",
            "8a6aa5f90b823af87f710fc5139be2642a94e757",
            "2.61 GB",
            _SIGLIP_L16,
        ),
        licence="Apache-2.0",
        paper="marqo-ai/marqo-ecommerce-embeddings on GitHub",
        use=_GENERAL_USE,
    ),
    _spec(
        "fashion-clip",
        "FashionCLIP 2.0, ViT-B/32 at 224 from LAION's: 700,000 products of Farfetch; small and fast; 151 M",
        PublishedWeights(
            (
                PublishedFile(
                    "weights",
                    _FASHION_CLIP,
                    "model.safetensors",
                    revision=_FASHION_CLIP_REVISION,
                    size="605 MB",
                ),
                PublishedFile(
                    "config", _FASHION_CLIP, "config.json", revision=_FASHION_CLIP_REVISION, size="4.46 kB"
                ),
            ),
            converter="transformers_clip",
            # LAION's ViT-B/32 has GELU; what its authors saved, and everybody runs, has not.
            options={"quick_gelu": True, "embed_dim": 512, "image_size": 224},
        ),
        licence="MIT",
        paper="Chia et al. 2022, Scientific Reports 12, 18958",
    ),
    _spec(
        "open-fashion-clip",
        "OpenFashionCLIP, ViT-B/32 at 224: open fashion data alone; texts begin with 'a photo of a'; 151 M",
        PublishedWeights(
            (
                PublishedFile(
                    "weights",
                    "",
                    "finetuned_clip.pt",
                    page="https://github.com/aimagelab/open-fashion-clip/releases/download/open-fashion-clip/"
                    "finetuned_clip.pt",
                ),
            ),
            converter="open_clip",
            options={"quick_gelu": False, "entry": "CLIP", "embed_dim": 512, "image_size": 224},
        ),
        licence="CC-BY-NC-4.0",
        paper="Cartella et al. 2023, OpenFashionCLIP, ICIAP 2023",
    ),
    _spec(
        "siglip-vit-b16-webli",
        "SigLIP, ViT-B/16 at 224: what Marqo-FashionSigLIP started from; 203 M",
        _siglip("timm/ViT-B-16-SigLIP", "41f575766f40e752fdd1383e9565b7f02388c1c4", "813 MB", _SIGLIP_B16),
        licence="Apache-2.0",
        paper="Zhai et al. 2023, arXiv 2303.15343",
        use=_BASE_USE,
    ),
    _spec(
        "clip-vit-b16-laion2b",
        "CLIP of LAION, ViT-B/16 at 224 (laion2b_s34b_b88k): what Marqo-FashionCLIP started from; 150 M",
        PublishedWeights(
            (
                PublishedFile(
                    "weights",
                    "laion/CLIP-ViT-B-16-laion2B-s34B-b88K",
                    "open_clip_pytorch_model.bin",
                    revision="7288da5a0d6f0b51c4a2b27c624837a9236d0112",
                    size="599 MB",
                ),
            ),
            converter="open_clip",
            options=_B16,
        ),
        licence="MIT",
        paper="Cherti et al. 2022, arXiv 2212.07143",
        use=_BASE_USE,
    ),
)
"""Models whose weights are their authors'. Marqo's GCL E5 models read texts alone and are not among them."""
