"""E-commerce: what the room offers, as plain data; nothing else is imported."""

from __future__ import annotations

from .prompt_index import PROMPTS
from .published import PUBLISHED

MODELS = (*PUBLISHED,)
"""Models users can name."""

RECIPES: dict[str, str] = {}
"""{short name: summary}; the file is ``recipes/<short name>.yaml``."""

LOADERS = {"image": "loaders.image:load_image"}
"""{modality: "module:function"}; from a path, ``limits`` and ``show_paths`` to a Sample."""

READERS = {
    "clothing": "readers:read_clothing",
    "product_pairs": "training.pair_reader:read_product_pairs",
}
"""{dataset layout: "module:function"}."""

GOLDENS = {"ecommerce": "goldens"}
"""{golden system: "module"}; what the module holds is said in ``core/verify.py``."""

ARCHITECTURES = {
    "unified_product": "encoders.unified:UnifiedProductEncoder",
    "fused_product": "encoders.fused:FusedDualEncoder",
}
"""{architecture: "module:function"}; from a ModelConfig to a model."""

CONVERTERS = {
    "open_clip": "checkpoints.open_clip:convert",
    "open_clip_siglip": "checkpoints.open_clip:convert_siglip",
    "transformers_clip": "checkpoints.transformers:convert_clip",
}
"""{converter: "module:function"}; see ``core/conversion.py``."""

OBJECTIVES = {
    "esspr": "objectives.esspr:SameStyle",
    "product_infonce": "objectives.contrast:ProductInfoNCE",
    "gcl": "objectives.ranking:RankingWeighted",
}
"""{objective: "module:class"}; see ``core/objectives/base.py``."""

TASKS = {"product_pairs": "training.task:prepare"}
"""{kind of training run: "module:function"}; see ``core/task_data.py``."""

COMMANDS = {"catalog": "commands:app"}
"""{group of the command line: "module:typer app"}."""

EVALUATIONS = {"sets": "evaluation.sets", "retrieval": "evaluation.retrieval"}
"""{what is measured: "module"}; see ``verticlip evaluate``."""
