"""Published audio checkpoints: where they are, what they are under, what they may be used for. Plain data."""

from __future__ import annotations

from ...core.registry import ModelSpec, PublishedFile, PublishedWeights

_NIT = "https://drive.google.com/file/d/1pYQ05BClqT6Z-OSkngDKsQ2PJRF70oQL"
_CLIP_B32, _CLIP_L14 = "timm/vit_base_patch32_clip_224.openai", "timm/vit_large_patch14_clip_224.openai"
_CLIP_FILE = "open_clip_model.safetensors"
_B32_REVISION = "ab5b8ef490e86faa07d3523926b842c765de1de5"

_VOCODER_USE = (
    "Waveforms from mel spectrograms made with the same settings, of synthesis or compression; the first "
    "version was trained on speech alone. Do not pass what it makes off as a recording."
)
_PRIOR_USE = (
    "Research: image embeddings of OpenAI CLIP from its text embeddings. Trained on pictures of the web with "
    "their biases. Check a conversion with clipsonic.prior_check.agreement before use."
)
_CLIP_USE = (
    "Research: embeddings of pictures and English texts, which CLIPSep and CLIPSonic are asked with. Its "
    "authors rule out deployed use, and surveillance and the recognition of faces in any case."
)
_CLAP_USE = (
    "Research and products: tagging, retrieval and frozen features of general sound and music by English "
    "text. Not for identifying people or judging what they say."
)


def _vocoder(name: str, summary: str, *, size: str) -> ModelSpec:
    """Return the spec of one BigVGAN generator; its repository has the same name with underscores."""
    repo_id = f"nvidia/{name.replace('-', '_')}"
    return ModelSpec(
        name=f"audio/{name}",
        domain="audio",
        summary=summary,
        modalities=(),
        embed_dim=0,
        weights=PublishedWeights(
            files=(
                PublishedFile("weights", repo_id, "bigvgan_generator.pt", size=size),
                PublishedFile("config", repo_id, "config.json"),
            ),
            converter="bigvgan",
        ),
        licence="MIT",
        intended_use=_VOCODER_USE,
        paper="arXiv 2206.04658",
        extra="audio",
        parity=("clipsonic/bigvgan", "clipsonic/bigvgan_first_version"),
    )


def _prior(name: str, summary: str, *files: PublishedFile, release: str | None = None) -> ModelSpec:
    """Return the spec of one diffusion prior; ``release`` of the reference where its tensors do not tell."""
    return ModelSpec(
        name=f"audio/{name}",
        domain="audio",
        summary=summary,
        modalities=(),
        embed_dim=0,
        weights=PublishedWeights(
            files=files,
            converter="diffusion_prior",
            options={"release": release} if release else {},
        ),
        licence="MIT",
        intended_use=_PRIOR_USE,
        paper="arXiv 2204.06125",
        extra="audio",
        parity=("clipsonic/diffusion_prior" + ("_v1_1" if release == "1.1.0" else ""),),
    )


def _clip(name: str, summary: str, file: PublishedFile, *, embed_dim: int) -> ModelSpec:
    """Return the spec of one CLIP of OpenAI with a Vision Transformer."""
    return ModelSpec(
        name=f"audio/{name}",
        domain="audio",
        summary=summary,
        modalities=("image", "text"),
        embed_dim=embed_dim,
        weights=PublishedWeights(files=(file,), converter="clip"),
        licence="MIT",
        intended_use=_CLIP_USE,
        paper="arXiv 2103.00020",
        extra="audio",
        parity=("clipc8/flip_it", "core/open_clip.zero_shot_classifier"),
    )


def _clap(name: str, summary: str, *, size: str, revision: str | None = None) -> ModelSpec:
    """Return the spec of one LAION-CLAP; its repository has the model's name."""
    repo_id = f"laion/{name}"
    files = (
        PublishedFile("weights", repo_id, "pytorch_model.bin", revision=revision, size=size),
        PublishedFile("config", repo_id, "config.json", revision=revision),
        PublishedFile("preprocessor", repo_id, "preprocessor_config.json", revision=revision),
        PublishedFile("tokenizer", repo_id, "tokenizer.json", revision=revision, size="2.11 MB"),
    )
    return ModelSpec(
        name=f"audio/{name.replace('_', '-')}",
        domain="audio",
        summary=summary,
        modalities=("audio", "text"),
        embed_dim=512,
        weights=PublishedWeights(files=files, converter="clap"),
        licence="Apache-2.0",
        intended_use=_CLAP_USE,
        paper="arXiv 2211.06687",
        extra="audio",
    )


_LAION_PRIOR, _PRIOR_REPO = "laion/DALLE2-PyTorch", "nousr/conditioned-prior"

PUBLISHED: tuple[ModelSpec, ...] = (
    ModelSpec(
        name="audio/clipsep-nit",
        domain="audio",
        summary="takes sounds out of a recording by words, pictures or vectors; 16 kHz, learned from films",
        modalities=("image", "text"),
        embed_dim=512,
        weights=PublishedWeights(
            # Not on the Hub: the authors link one file, and CLIP comes from where it is published.
            files=(
                PublishedFile("weights", "", "best_model.pt", page=_NIT),
                PublishedFile(
                    "clip",
                    _CLIP_B32,
                    _CLIP_FILE,
                    revision=_B32_REVISION,
                    size="605 MB",
                    optional=True,
                    purpose="to be asked by words and pictures; without it by vectors alone",
                ),
                PublishedFile(
                    "args",
                    "",
                    "train-args.json",
                    optional=True,
                    purpose="settings of the training, where you have it; else the published ones hold",
                ),
                PublishedFile(
                    "labels",
                    "",
                    "labels.json",
                    optional=True,
                    purpose="names of the labels, for weights of your own that are asked by label",
                ),
            ),
            converter="clipsep",
        ),
        licence="MIT",
        intended_use=(
            "Research and demonstration of sound separation. The code is MIT; for the weights, which lie "
            "beside it, no licence of their own is stated."
        ),
        paper="arXiv 2212.07065",
        extra="audio",
        parity=("clipsep/clipsep_nit", "clipsep/inference", "clipc8/flip_it"),
    ),
    _clip(
        "openai-clip-vit-b32",
        "pictures and text in one space, the queries of CLIPSep; OpenAI CLIP, ViT-B/32 at 224; 151 M",
        PublishedFile("weights", _CLIP_B32, _CLIP_FILE, revision=_B32_REVISION, size="605 MB"),
        embed_dim=512,
    ),
    _clip(
        "openai-clip-vit-l14",
        "the larger one, for CLIPSonic and the priors of ViT-L/14; OpenAI CLIP, ViT-L/14 at 224; 428 M",
        PublishedFile("weights", _CLIP_L14, _CLIP_FILE),
        embed_dim=768,
    ),
    _clap(
        "clap-htsat-unfused",
        "sound and text in one space; HTSAT-tiny, RoBERTa; 10 s at 48 kHz",
        size="615 MB",
        revision="8fa0f1c6d0433df6e97c127f64b2a1d6c0dcda8a",
    ),
    _clap("clap-htsat-fused", "the same with feature fusion for recordings over 10 s", size="615 MB"),
    _clap("larger_clap_general", "sound, music and speech and text; HTSAT-base, RoBERTa", size="776 MB"),
    _clap("larger_clap_music", "music and text; HTSAT-base, RoBERTa", size="776 MB"),
    _clap("larger_clap_music_and_speech", "music, speech and text; HTSAT-base, RoBERTa", size="776 MB"),
    _vocoder(
        "bigvgan-v2-44khz-128band-512x",
        "waveforms at 44.1 kHz from 128 mel bands, hop 512; speech, sounds and instruments; 122 M",
        size="about 490 MB",
    ),
    _vocoder("bigvgan-v2-44khz-128band-256x", "the same at hop 256; 112 M", size="about 450 MB"),
    _vocoder(
        "bigvgan-v2-24khz-100band-256x",
        "24 kHz, 100 bands, hop 256; speech, sounds and instruments; 112 M",
        size="450 MB",
    ),
    _vocoder(
        "bigvgan-v2-22khz-80band-256x",
        "22.05 kHz, 80 bands, hop 256; speech, sounds and instruments; 112 M",
        size="about 450 MB",
    ),
    _vocoder(
        "bigvgan-v2-22khz-80band-fmax8k-256x",
        "the same with mel bands up to 8 kHz; 112 M",
        size="about 450 MB",
    ),
    _vocoder(
        "bigvgan-24khz-100band", "first version: speech at 24 kHz, 100 bands; 112 M", size="about 450 MB"
    ),
    _vocoder(
        "bigvgan-base-24khz-100band", "first version, small: speech at 24 kHz; 14 M", size="about 56 MB"
    ),
    _vocoder(
        "bigvgan-22khz-80band",
        "first version: speech at 22.05 kHz, 80 bands up to 8 kHz; 112 M",
        size="about 450 MB",
    ),
    _vocoder(
        "bigvgan-base-22khz-80band", "first version, small: speech at 22.05 kHz; 14 M", size="about 56 MB"
    ),
    _prior(
        "laion-prior-vit-l14",
        "image embeddings of CLIP ViT-L/14 from its texts; trained on LAION-aesthetic; 102 M",
        PublishedFile("weights", _LAION_PRIOR, "prior/best.pth", size="1.34 GB"),
        PublishedFile("config", _LAION_PRIOR, "prior/prior_config.json", size="2.77 kB"),
        # Not stated anywhere; the release that users report to work with this file.
        release="1.1.0",
    ),
    _prior(
        "conditioned-prior-vit-l14",
        "an earlier prior of the same kind; its release is told by its tensors",
        PublishedFile("weights", _PRIOR_REPO, "vit-l-14/aesthetic/best.pth", size="1.34 GB"),
        PublishedFile("config", _PRIOR_REPO, "vit-l-14/aesthetic/prior_config.json"),
    ),
    _prior(
        "conditioned-prior-vit-b32",
        "image embeddings of CLIP ViT-B/32 from its texts",
        # The repository's history shows this file in June 2022; its config was not found.
        PublishedFile("weights", _PRIOR_REPO, "vit-b-32/ema472M.pth"),
    ),
)
