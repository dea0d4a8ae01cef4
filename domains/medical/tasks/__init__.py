"""What users do with medical models beyond embedding and classifying; see each module."""

from __future__ import annotations

from ....core.lazy import lazy_names

_HOMES = {
    "SETS": "evaluation_catalogue",
    "evaluate_all": "evaluation_sets",
    "evaluate_retrieval": "retrieval",
    "evaluate_set": "evaluation_sets",
    "evaluation_set": "evaluation_catalogue",
    "patch_scoring": "evaluation_scoring",
    "read_pairs": "retrieval",
    "read_prompt_bank": "evaluation_protocol",
    "read_set": "evaluation_sets",
    "search_reports": "retrieval",
    "Bag": "bags",
    "GroundingOptions": "grounding_evaluation",
    "VolumeOptions": "volumes",
    "VolumeReport": "volumes",
    "can_ground": "grounding",
    "classify_bags": "bags",
    "classify_volume": "volumes",
    "embed_bag": "bags",
    "evaluate_grounding": "grounding_evaluation",
    "fit_bags": "bags",
    "ground": "grounding",
    "ground_each": "grounding",
    "read_bags": "bags",
    "save_attention": "bags",
    "annotate": ".conceptclip.concepts",
    "annotate_each": ".conceptclip.concepts",
    "classify": ".conceptclip.scoring",
    "concept_set": ".conceptclip.concepts",
    "classify_findings": ".conceptclip.scoring",
    "explain": ".conceptclip.bottleneck",
    "fit_bottleneck": ".conceptclip.bottleneck",
    "compare": ".biovil.compare",
    "compare_each": ".biovil.compare",
    "fill_mask": ".biovil.similarity",
    "score_findings": ".biovil.similarity",
    "CaptionBank": ".unimed.captions",
    "make_pairs": ".unimed.captions",
}

__all__ = sorted(_HOMES)  # pyright: ignore[reportUnsupportedDunderAll]

__getattr__ = lazy_names(__name__, _HOMES)
