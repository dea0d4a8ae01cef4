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

COLLATES = {"garment_claims": "claims:collate_claims"}
"""{collate: "module:function"}; from extras and texts of a batch to ``Batch.extras``."""

OBJECTIVES = {
    "claims": "claims:ClaimContrast",
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

CARD_WORDS = {
    "sample": "photo",
    "a_sample": "a photo",
    "samples": "photos",
    "file": "product.jpg",
    "validation": (
        "Validation is the sources' own validation part where there is one; otherwise groups of "
        "near-identical photos\n(64-bit difference hash) were kept on one side of a random split. It is "
        "drawn like the training photos, so expect\nless on photos of another kind: studio or living room, "
        "lying or worn, one product or several."
    ),
}
"""{word: what a model card says}; see ``hub/card.py``."""
