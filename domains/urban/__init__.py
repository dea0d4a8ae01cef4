"""Satellite imagery and cities: what the room offers, as plain data; nothing else is imported."""

from __future__ import annotations

from .catalogue import PUBLISHED
from .prompt_index import PROMPTS

MODELS = (*PUBLISHED,)
"""Models users can name."""

RECIPES = {}
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

COLLATES = {"caption_tokens": "coca.collate:collate_captions"}
"""{collate: "module:function"}; from extras and texts of a batch to ``Batch.extras``."""

COMMANDS = "commands:app"
"""The typer app of ``verticlip urban ...``."""

EVALUATIONS = {"sets": "tasks.evaluation_sets", "retrieval": "tasks.retrieval"}
"""{what is measured: "module"}; see ``verticlip evaluate``."""
