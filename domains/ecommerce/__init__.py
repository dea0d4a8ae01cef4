"""E-commerce: what the room offers, as plain data; nothing else is imported."""

from __future__ import annotations

from ...core.registry import CommandGroup, ModelSpec, WeightsRef, described
from .model_facts import FACTS
from .prompt_index import PROMPTS
from .published import PUBLISHED

_PACKAGED = (
    ModelSpec(
        name="ecommerce/tiny",
        domain="ecommerce",
        summary="ten kinds of garment, their colors and patterns by text; small enough to ship in the wheel",
        modalities=("image", "text"),
        embed_dim=128,
        weights=WeightsRef(
            repo_id=None,
            revision=None,
            files={
                "config.json": "269f562bf2f643743dee5814515e709d96daa3187f2f21f1a291130f42dba082",
                "model.safetensors": "d8c3df75d586915b4ce639f718a89677043d8cc92c4ed8afefba5aa62ca1ed35",
                "probe.json": "c2fdc59ad1d38f13302180011b7e6c32cef1d8bce98188c47102fe91c95295f9",
                "probe.safetensors": "e78af1866b8454ab853243bca9bb72dff7e165aee2053adf6a01a4a6d9395c7a",
                "processor.json": "a9c1f3127fb96a9d66463c43a1e453b5f3f12332a6c2a8d22c405052e10526fe",
                "prompts.yaml": "1fdd01bc1f626337e67d07fdf860452354cd2ddbd72a399bf75bcdb0abe54037",
                "tokenizer.json": "409cf9f9f9d8798363bbc3487cf074c35abf05a9fe881b3ef7fd3e62a6f7e4b9",
            },
            packaged="weights/tiny",
        ),
        licence="MIT",
        intended_use="Demonstration and tests, on photos of single garments; not for people search.",
        extra="ecommerce",
        parity=("unimed_clip/tiny_b16", "core/open_clip.zero_shot_classifier"),
    ),
)

MODELS = described((*_PACKAGED, *PUBLISHED), FACTS)
"""Models users can name."""

RECIPES: dict[str, str] = {
    "tiny": "the recipe ecommerce/tiny was trained with: photos of clothes, captions of kind, color, pattern",
    "image-search": "image search, stage 1 of 2: a margin between classes of photos, words stay as they are",
    "image-search-words": "image search, stage 2 of 2: words are brought to images that stay as they are",
    "image-search-captions": "image search in one stage: the margin and captions that the model chose itself",
    "same-style": "one encoder over picture and text for the same product, trained on pairs by hinge losses",
    "same-style-infonce": "two towers with learned fusion for the same product, by contrast in the batch",
    "gcl": "two towers trained on pairs of a query and a product that count by their relevance",
}
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

GRAPHS = {"fused_product": "graphs:product", "unified_product": "graphs:product"}
"""{architecture: "module:function"}; parts that other runtimes can run, see ``core/graphs.py``."""

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

COMMANDS = {
    "catalog": CommandGroup(
        "commands:app", "Product catalogues: take in rows, search, find duplicates, measure."
    ),
}
"""Groups of the command line."""

EVALUATIONS = {"sets": "evaluation.sets", "retrieval": "evaluation.retrieval"}
"""{what is measured: "module"}; see ``verticlip evaluate``."""

CARD_WORDS = {
    "file": "product.jpg",
    "out_of_scope": "finding or comparing people, and telling whether a product is genuine or safe.",
    "limits": (
        "Colors are those of the photo: light and screens change them. Brands, sizes and materials are not "
        "read."
    ),
    "validation": (
        "Validation is the sources' own validation part where there is one; otherwise groups of "
        "near-identical photos\n(64-bit difference hash) were kept on one side of a random split. It is "
        "drawn like the training photos, so expect\nless on photos of another kind: studio or living room, "
        "lying or worn, one product or several."
    ),
}
"""{word: what a model card says}; see ``hub/card.py``."""

PROBES = {
    "unified_product": "probe_answers:answers_of_products",
    "fused_product": "probe_answers:answers_of_products",
}
"""{architecture: "module:function"}; what a stored probe asks it, see ``core/probe_inputs.py``."""
