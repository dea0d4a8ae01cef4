"""Radiology and microscopy: what the room offers, as plain data; nothing else is imported."""

from __future__ import annotations

from ...core.registry import ModelSpec, WeightsRef

MODELS = (
    ModelSpec(
        name="medical/tiny",
        domain="medical",
        summary="brain MRI, chest X-ray and blood cells by text prompt; small enough to ship in the wheel",
        modalities=("image", "text"),
        embed_dim=128,
        weights=WeightsRef(repo_id=None, revision=None, files={}, packaged="weights/tiny"),
        licence="Apache-2.0",
        intended_use="Demonstration and tests. Not a medical device; not for diagnosis or triage.",
        extra="medical",
    ),
)
"""Models users can name."""

RECIPES = {
    "tiny": "the recipe medical/tiny was trained with: three small public sets, captions from templates"
}
"""{short name: summary}; the file is ``recipes/<short name>.yaml``."""

LOADERS = {"image": "loaders.image:load_image", "volume": "loaders.volume:load_volume"}
"""{modality: "module:function"}; from a path, ``limits`` and ``show_paths`` to a Sample."""

READERS = {"medmnist_npz": "readers:read_medmnist_npz", "voc_boxes": "readers:read_voc_boxes"}
"""{dataset layout: "module:function"}."""

GOLDENS = {"medical_loading": "goldens"}
"""{golden system: "module"}; what the module holds is said in ``core/verify.py``."""
