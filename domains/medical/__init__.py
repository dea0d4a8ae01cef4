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
        weights=WeightsRef(
            repo_id=None,
            revision=None,
            files={
                "config.json": "3b7a354f7de7ad1593b4e8232dace9776c8cfb958b50481d6e4293b2a3622ef5",
                "model.safetensors": "b497129c6f4163e80460d654de9b16253e49c400beac6ca91cec36ac2f6cb402",
                "processor.json": "591599c6f720573f2a58b942a07176d1afbc28a757d6e9d6329099c4da545190",
                "prompts.yaml": "f14195dc286d0e739cd222cc87d0d657b15a4e9dda30b8c2993d9c5d1581201c",
                "tokenizer.json": "05b81f7aa032419f707160602f3d679c94214535549dc7cf81920d45e3914882",
            },
            packaged="weights/tiny",
        ),
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
