"""Which system a checkpoint belongs to, told from its tensor names, so that a mix-up can be named."""

from __future__ import annotations

from collections.abc import Iterable

_LAYOUTS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("UniMed-CLIP", ("visual.conv1.", "text_encoder.transformer.encoder.layer.")),
    ("ConceptCLIP", ("visual.trunk.", "text.transformer.", "image_proj.")),
    ("the image tower of BioViL-T", ("encoder.encoder.conv1.", "encoder.vit_pooler.")),
    ("the image tower of BioViL", ("encoder.encoder.conv1.", "projector.model.")),
    ("the text tower of BioViL or BioViL-T", ("bert.", "cls_projection_head.")),
    ("CXR-BERT-general", ("bert.", "cls.predictions.")),
    ("BiomedCLIP", ("visual.trunk.", "text.transformer.")),
    (
        "a CLIP without medical text tower (OpenAI, MetaCLIP)",
        ("visual.conv1.", "token_embedding."),
    ),
    ("CLIP of the transformers library", ("vision_model.", "text_model.")),
    ("a BERT without an image tower", ("bert.encoder.layer.",)),
    ("a BERT without an image tower", ("encoder.layer.", "embeddings.word_embeddings.")),
)
"""(system, prefixes that all have to occur); the first that fits is the one, so the narrow come first."""


def recognize(names: Iterable[str]) -> str | None:
    """Return the system whose tensor names these look like, or None."""
    known = list(names)
    for system, prefixes in _LAYOUTS:
        if all(any(name.startswith(prefix) for name in known) for prefix in prefixes):
            return system
    return None
