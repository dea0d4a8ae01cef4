"""Satellite imagery and cities: what the room offers, as plain data; nothing else is imported."""

from __future__ import annotations

from ...core.registry import ModelSpec, WeightsRef
from .catalogue import PUBLISHED
from .prompt_index import PROMPTS

MODELS = (
    ModelSpec(
        name="urban/tiny",
        domain="urban",
        summary="ten land uses and the look of 640 m patches by text; small enough to ship in the wheel",
        modalities=("image", "text"),
        embed_dim=128,
        weights=WeightsRef(
            repo_id=None,
            revision=None,
            files={
                "config.json": "1256eb58b41e3b6f71fb5b93884aebe4130465d6ad1b39796c012761f8b1e5ef",
                "model.safetensors": "2393bcd3a9cf53c997a8fd02918555a534bbdb06029e4ea7be1ac4d89e054fb7",
                "processor.json": "0b908f83831ffe2301976ea8d49f239a10bdcea135f6313d6e2e066c77a41ce4",
                "prompts.yaml": "03f8ece79b5cd03ce4657bd144591b4b5698e251902a2bf9f6796b01f93e4410",
                "tokenizer.json": "999bf6ca75f9e6b357270b0c961cdaa5436adc484bd2037b3153779bcdb524c2",
            },
            packaged="weights/tiny",
        ),
        licence="MIT",
        intended_use="Demonstration and tests, on Sentinel-2 pictures in true color at 10 m.",
        extra="urban",
    ),
    *PUBLISHED,
)
"""Models users can name."""

RECIPES = {
    "urbanclip": "UrbanCLIP, stage B: a published CoCa trained on, with satellite tiles and their captions",
    "urbanclip-small": "the same with a small CoCa from random weights, minutes on one CPU core",
    "tiny": "the recipe urban/tiny was trained with: EuroSAT RGB, captions of class and of what pixels show",
}
"""{short name: summary}; the file is ``recipes/<short name>.yaml``."""

LOADERS = {"image": "loaders.image:load_image"}
"""{modality: "module:function"}; from a path, ``limits`` and ``show_paths`` to a Sample."""

READERS = {
    "eurosat": "readers:read_eurosat",
    "tile_captions": "captions.reader:read_tile_captions",
}
"""{dataset layout: "module:function"}."""

GOLDENS = {"urbanclip": "goldens"}
"""{golden system: "module"}; what the module holds is said in ``core/verify.py``."""

ARCHITECTURES = {"coca": "coca.model:CoCaModel"}
"""{architecture: "module:function"}; from a ModelConfig to a model."""

CONVERTERS = {
    "coca": "coca.convert:convert",
    "open_clip": "checkpoints.open_clip:convert",
    "transformers_clip": "checkpoints.transformers:convert_clip",
    "transformers_siglip": "checkpoints.transformers:convert_siglip",
}
"""{converter: "module:function"}; see ``core/conversion.py``."""

COLLATES = {"caption_tokens": "coca.collate:collate_captions", "tile_claims": "claims:collate_claims"}
"""{collate: "module:function"}; from extras and texts of a batch to ``Batch.extras``."""

OBJECTIVES = {"claims": "claims:ClaimContrast"}
"""{objective: "module:class"}; see ``core/objectives/base.py``."""

COMMANDS = "commands:app"
"""The typer app of ``verticlip urban ...``."""

EVALUATIONS = {"sets": "tasks.evaluation_sets", "retrieval": "tasks.retrieval"}
"""{what is measured: "module"}; see ``verticlip evaluate``."""

CARD_WORDS = {
    "file": "tile.tif",
    "validation": (
        "Validation is the sources' own validation part where there is one; otherwise groups of "
        "near-identical images\n(64-bit difference hash) were kept on one side of a random split. "
        "Patches that are cut from the same satellite scenes\nand lie beside each other can be on both "
        "sides, so expect less in other countries, seasons and weather, and from\nother sensors."
    ),
}
"""{word: what a model card says}; see ``hub/card.py``."""
