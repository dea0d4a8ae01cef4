"""What users do with audio models beyond embedding and classifying; see each module."""

from __future__ import annotations

from ....core.lazy import lazy_names

_HOMES = {
    "Event": "events",
    "Tagger": "tagging",
    "Tagging": "tagging",
    "TaggingOptions": "tagging",
    "tag": "tagging",
    "unfamiliar_words": "vocabulary",
    "AudioRetrieval": "retrieval",
    "Hit": "retrieval",
    "Recordings": "retrieval",
    "embed_recordings": "retrieval",
    "retrieval_of_classes": "retrieval",
    "Answer": "separation_measures",
    "AudioSeparator": "separation",
    "SeparatedFile": "separation",
    "Separation": "separation",
    "separate": "separation",
    "separate_as_published": ".clipsep.reference_inference",
    "separate_file": "separation",
    "KnownMixture": "separation_evaluation",
    "MixingOptions": "separation_evaluation",
    "SeparationReport": "separation_evaluation",
    "bss_eval": ".metrics.separation",
    "measure_separation": "separation_evaluation",
    "mixtures_of": "separation_evaluation",
    "plain_sdr": ".metrics.separation",
    "si_sdr": ".metrics.separation",
    "Generation": "generation",
    "GenerationOptions": "generation",
    "can_generate": "generation",
    "generate": "generation",
    "ClapScore": "clap_score",
    "FrechetReport": ".metrics.frechet",
    "GenerationReport": "generation_evaluation",
    "evaluate_generation": "generation_evaluation",
    "frechet_audio_distance": ".metrics.frechet",
    "frechet_report": ".metrics.frechet",
}

__all__ = sorted(_HOMES)  # pyright: ignore[reportUnsupportedDunderAll]

__getattr__ = lazy_names(__name__, _HOMES)
