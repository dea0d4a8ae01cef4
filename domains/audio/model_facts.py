"""What the catalogue says of the audio models: tasks, sizes, where they are from, figures. Plain data."""

from __future__ import annotations

from ...core.registry import Facts, Measured

_CLAP, _CLIP = "https://github.com/LAION-AI/CLAP", "https://github.com/openai/CLIP"
_TAGGING = ("sound tagging", "retrieval", "zero-shot classification")
_PICTURES = ("zero-shot classification", "retrieval", "queries")

_CLAP_PARITY = Measured(
    "embeddings within 1e-5 of transformers, on a reduced model",
    "python -m pytest tests/domains/audio/clap",
)
_CLIP_PARITY = Measured(
    "embeddings within 1e-5 of open_clip, on a reduced model",
    "python -m pytest tests/domains/audio/clip",
)
_BIGVGAN_PARITY = Measured(
    "waveforms within 6e-7 of the authors' code, on a reduced model",
    "verticlip verify clipsonic tests/golden/clipsonic/bigvgan",
)
_PRIOR_PARITY = Measured(
    "predictions within 5e-6 of the reference code, on a reduced model",
    "verticlip verify clipsonic tests/golden/clipsonic/diffusion_prior",
)


def _clap(parameters: int, figure: str = "") -> Facts:
    """Return the facts of one LAION-CLAP; ``figure`` is its authors'."""
    theirs = (Measured(figure, source="its repository"),) if figure else ()
    return Facts(_TAGGING, _CLAP, parameters, (_CLAP_PARITY, *theirs))


def _vocoder(parameters: int, figure: str = "") -> Facts:
    """Return the facts of one BigVGAN, whose authors round its size to millions."""
    theirs = (Measured(figure, source="arXiv 2206.04658 and its repository"),) if figure else ()
    source = "https://github.com/NVIDIA/BigVGAN"
    return Facts(("waveforms from mel spectrograms",), source, parameters, (_BIGVGAN_PARITY, *theirs))


def _prior(parameters: int | None = None) -> Facts:
    """Return the facts of one diffusion prior."""
    source = "https://github.com/lucidrains/DALLE2-pytorch"
    return Facts(("image embeddings from text",), source, parameters, (_PRIOR_PARITY,))


FACTS = {
    "audio/tiny-tagger": Facts(
        _TAGGING,
        measured=(
            Measured(
                "unheard fold of ESC-10: accuracy {validation/sources/esc10/accuracy:.3f}; "
                "unheard takes of the digits: {validation/sources/spoken_digits/accuracy:.3f}",
                "verticlip train run audio/tiny-tagger --data DATA --out RUN",
            ),
        ),
    ),
    "audio/tiny-sep": Facts(
        ("separation", "sound tagging"),
        measured=(
            Measured(
                "mixtures of two unheard clips: SI-SDR {validation/score_interval:+.2f} dB over the mixture, "
                "worst class rain {validation/sources/esc10/classes/rain:+.2f} dB",
                "verticlip train run audio/tiny-sep --data DATA --out RUN",
            ),
        ),
    ),
    "audio/tiny-sonic": Facts(
        ("generation", "sound tagging"),
        measured=(
            Measured(
                "the towers of audio/tiny-tagger recognize {validation/score_interval:.0%} of "
                "{validation/samples:d} sounds as what was asked for (chance {validation/chance:.0%})",
                "verticlip train run audio/tiny-sonic --data DATA --out RUN",
            ),
        ),
    ),
    "audio/clipsep-nit": Facts(
        ("separation",),
        "https://github.com/sony/CLIPSep",
        measured=(
            Measured(
                "masks and waveforms within 5e-7 of the authors' code, on a reduced model",
                "verticlip verify clipsep tests/golden/clipsep/inference",
            ),
            Measured(
                "MUSIC-Clean+ SDR 11.03 dB, SI-SDR +7.53 dB, as later papers report it",
                source="arXiv 2212.07065 and later papers",
            ),
        ),
    ),
    "audio/openai-clip-vit-b32": Facts(_PICTURES, _CLIP, 151_277_313, (_CLIP_PARITY,)),
    "audio/openai-clip-vit-l14": Facts(_PICTURES, _CLIP, 427_616_513, (_CLIP_PARITY,)),
    "audio/clap-htsat-unfused": _clap(153_492_890, "ESC-50 R@1 0.928 (first split, their own files)"),
    # Feature fusion adds layers that only the file counts.
    "audio/clap-htsat-fused": Facts(
        _TAGGING,
        _CLAP,
        measured=(
            _CLAP_PARITY,
            Measured("ESC-50 R@1 0.905 (first split, their own files)", source="its repository"),
        ),
    ),
    "audio/larger-clap-general": _clap(193_913_882),
    "audio/larger-clap-music": _clap(193_913_882),
    "audio/larger-clap-music-and-speech": _clap(193_913_882),
    "audio/bigvgan-v2-44khz-128band-512x": _vocoder(122_000_000),
    "audio/bigvgan-v2-44khz-128band-256x": _vocoder(112_000_000),
    "audio/bigvgan-v2-24khz-100band-256x": _vocoder(112_000_000, "LibriTTS dev PESQ 4.36"),
    "audio/bigvgan-v2-22khz-80band-256x": _vocoder(112_000_000),
    "audio/bigvgan-v2-22khz-80band-fmax8k-256x": _vocoder(112_000_000),
    "audio/bigvgan-24khz-100band": _vocoder(112_000_000),
    "audio/bigvgan-base-24khz-100band": _vocoder(14_000_000),
    "audio/bigvgan-22khz-80band": _vocoder(112_000_000),
    "audio/bigvgan-base-22khz-80band": _vocoder(14_000_000),
    "audio/laion-prior-vit-l14": _prior(102_000_000),
    "audio/conditioned-prior-vit-l14": _prior(),
    "audio/conditioned-prior-vit-b32": _prior(),
}
"""{name: its facts}, of every model of the room."""
