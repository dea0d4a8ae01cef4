"""Published medical checkpoints: where they are, what they are under, what they may be used for.

Plain data. A SHA-256 stands here where the Hub or the authors' code states one; every other file is
recorded at its first download (see ``hub/published.py``).
"""

from __future__ import annotations

from ...core.registry import ModelSpec, PublishedFile, PublishedWeights

_NOT_A_DEVICE = "Not a medical device; not for diagnosis, triage or any clinical decision."

_UNIMED_USE = (
    "Non-commercial research: zero-shot classification, retrieval and frozen features for X-ray, CT, MRI, "
    f"ultrasound, histopathology and fundus images. {_NOT_A_DEVICE}"
)
_CONCEPT_USE = (
    "Research: zero-shot classification, retrieval, concept annotation and frozen features; access is given "
    f"to those who state affiliation and purpose. {_NOT_A_DEVICE}"
)
_BIOVIL_USE = (
    "Research on chest X-rays and their reports only, in English and like MIMIC-CXR; its authors rule out "
    f"any deployed use, commercial or not. {_NOT_A_DEVICE}"
)

_BIOMEDBERT = "microsoft/BiomedNLP-BiomedBERT"

_SHARED_PARITY = ("core/open_clip.zero_shot_classifier", "medical_loading/windowing")


def _unimed(  # one line per published file of UniMed-CLIP
    name: str, summary: str, *, repo_id: str, file: str, size: str, backbone: str, sizes: dict[str, int]
) -> ModelSpec:
    """Return the spec of one UniMed-CLIP checkpoint; ``sizes`` tell it from the others."""
    return ModelSpec(
        name=f"medical/{name}",
        domain="medical",
        summary=summary,
        modalities=("image", "text"),
        embed_dim=sizes["embed_dim"],
        weights=PublishedWeights(
            files=(
                PublishedFile("weights", repo_id, file, size=size),
                PublishedFile("vocab", f"{_BIOMEDBERT}-{backbone}-uncased-abstract", "vocab.txt"),
            ),
            converter="unimed",
            options=sizes,
        ),
        licence="CC-BY-NC-4.0",
        intended_use=_UNIMED_USE,
        paper="arXiv 2412.10372",
        extra="medical",
        parity=(f"unimed_clip/{'tiny_b16' if sizes['image_width'] == 768 else 'tiny_l14'}", *_SHARED_PARITY),
    )


def _biovil(  # one image and one text file, and the vocabulary beside the text
    name: str, summary: str, *, image: PublishedFile, text: PublishedFile, temporal: bool, paper: str
) -> ModelSpec:
    """Return the spec of BioViL or BioViL-T."""
    vocabulary = PublishedFile("vocab", text.repo_id, "vocab.txt", revision=text.revision, size="235 kB")
    return ModelSpec(
        name=f"medical/{name}",
        domain="medical",
        summary=summary,
        modalities=("image", "text"),
        embed_dim=128,
        weights=PublishedWeights(
            files=(image, text, vocabulary), converter="biovil", options={"temporal": temporal}
        ),
        licence="MIT",
        intended_use=_BIOVIL_USE,
        paper=paper,
        extra="medical",
        parity=(
            f"biovil/{'image_encoder_temporal' if temporal else 'image_encoder'}",
            "biovil/text_encoder",
            "biovil/preprocess",
            "biovil/phrase_grounding",
        ),
    )


_SPECIALIZED = "microsoft/BiomedVLP-CXR-BERT-specialized"
_BIOVIL_T = "microsoft/BiomedVLP-BioViL-T"
_GENERAL = "microsoft/BiomedVLP-CXR-BERT-general"
_CONCEPT = "JerrryNie/ConceptCLIP"

PUBLISHED = (
    _unimed(
        "unimed-clip-vit-b16",
        "six imaging modalities by text prompt; ViT-B/16 at 224, BiomedBERT base; the fast one",
        repo_id="UzairK/unimed-clip-vit-b16",
        file="unimed-clip-vit-b16.pt",
        size="about 2.35 GB",
        backbone="base",
        sizes={"image_size": 224, "image_width": 768, "text_width": 768, "embed_dim": 512},
    ),
    _unimed(
        "unimed-clip-vit-l14-336-base-text",
        "six imaging modalities by text prompt; ViT-L/14 at 336, BiomedBERT base; the best average",
        repo_id="UzairK/unimed_clip_vit_l14_base_text_encoder",
        file="unimed_clip_vit_l14_base_text_encoder.pt",
        size="4.97 GB",
        backbone="base",
        sizes={"image_size": 336, "image_width": 1024, "text_width": 768, "embed_dim": 768},
    ),
    _unimed(
        "unimed-clip-vit-l14-336-large-text",
        "six imaging modalities by text prompt; ViT-L/14 at 336, BiomedBERT large",
        repo_id="UzairK/unimed_clip_vit_l14_large_text_encoder",
        # Expected by the pattern of the other two; nobody has stated it.
        file="unimed_clip_vit_l14_large_text_encoder.pt",
        size="about 7.7 GB",
        backbone="large",
        sizes={"image_size": 336, "image_width": 1024, "text_width": 1024, "embed_dim": 768},
    ),
    ModelSpec(
        name="medical/conceptclip",
        domain="medical",
        summary="ten modalities by text prompt, concepts tied to patches; SigLIP So400m at 384, PubMedBERT",
        modalities=("image", "text"),
        embed_dim=1152,
        weights=PublishedWeights(
            files=(
                PublishedFile("weights", _CONCEPT, "model.safetensors", size="2.17 GB"),
                PublishedFile("vocab", _CONCEPT, "vocab.txt"),
            ),
            converter="conceptclip",
            gated=f"https://huggingface.co/{_CONCEPT}",
        ),
        licence="MIT",
        intended_use=_CONCEPT_USE,
        paper="doi 10.1038/s41551-026-01764-x; arXiv 2501.15579",
        extra="medical",
        parity=("conceptclip/tiny_b", "conceptclip/tiny_a", "medical_loading/windowing"),
    ),
    _biovil(
        "biovil",
        "chest X-rays and radiology text in one space, phrase grounding; ResNet-50 at 480, CXR-BERT",
        image=PublishedFile(
            "image",
            _SPECIALIZED,
            "biovil_image_resnet50_proj_size_128.pt",
            revision="v1.1",
            sha256="118c4bb1c16d4e69b7c9b7f2ff5b2c0a79242059acf20bd2ed3068045b8f6b98",
            size="104 MB",
        ),
        text=PublishedFile(
            "text",
            _SPECIALIZED,
            "pytorch_model.bin",
            revision="v1.1",
            sha256="a41d2f4b33e5bdbacabecb8d34c4420163e2165b9fdc6915014e8263a0d0782b",
            size="439 MB",
        ),
        temporal=False,
        paper="arXiv 2204.09817",
    ),
    _biovil(
        "biovil-t",
        "BioViL with the previous X-ray as a second input: progression and comparison; 448 pixels",
        image=PublishedFile(
            "image",
            _BIOVIL_T,
            "biovil_t_image_model_proj_size_128.pt",
            revision="v1.0",
            # The second upload, of 20 March 2023; the first one was replaced by its authors.
            sha256="b2399d73dc2a68b9f3a1950e864ae0ecd24093fb07aa459d7e65807ebdc0fb77",
            size="110 MB",
        ),
        text=PublishedFile("text", _BIOVIL_T, "pytorch_model.bin", revision="v1.0", size="441 MB"),
        temporal=True,
        paper="arXiv 2301.04558",
    ),
    ModelSpec(
        name="medical/cxr-bert-general",
        domain="medical",
        summary=(
            "masked language model of radiology and biomedical text; no image tower and no joint space: it "
            "fills masks and gives no embeddings to compare"
        ),
        modalities=("text",),
        embed_dim=768,
        weights=PublishedWeights(
            files=(
                PublishedFile("text", _GENERAL, "pytorch_model.bin", size="441 MB"),
                PublishedFile("vocab", _GENERAL, "vocab.txt", size="235 kB"),
            ),
            converter="cxr_bert",
        ),
        licence="MIT",
        intended_use=f"Research on English radiology text: starting weights, masked words. {_NOT_A_DEVICE}",
        paper="arXiv 2204.09817",
        extra="medical",
        parity=("biovil/text_encoder",),
    ),
)
"""Every published checkpoint of UniMed-CLIP, ConceptCLIP, BioViL and BioViL-T that can be loaded by name."""
