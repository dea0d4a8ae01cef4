"""Satellite imagery and cities: what the room offers, as plain data; nothing else is imported."""

from __future__ import annotations

from ...core.registry import CommandGroup, ModelSpec, WeightsRef, described
from .catalogue import PUBLISHED
from .model_facts import FACTS
from .prompt_index import PROMPTS

_PACKAGED = (
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
                "config.json": "9262aa880412fe8d6d6b0286dfdfd38bc35dc98cacb00d174e57ab76801e5f3b",
                "model.safetensors": "35489b71c949b33b60d3f4e4d9b82a02b865bc0263cd6047e5dded389ab5eaa5",
                "probe.json": "a2f7adac38f6a310c58f86fa8832a1d17343fba1e7d276e1988e5130318644fa",
                "probe.safetensors": "ccec4b3f187393f00cdd7c8314f41819f76d52de5210c9147635681dedb54b6f",
                "processor.json": "0b908f83831ffe2301976ea8d49f239a10bdcea135f6313d6e2e066c77a41ce4",
                "prompts.yaml": "03f8ece79b5cd03ce4657bd144591b4b5698e251902a2bf9f6796b01f93e4410",
                "tokenizer.json": "aa24692a417622fc9b0739a6d589d5bb69fb0fbee5f343456132fcdd1b7abdfb",
            },
            packaged="weights/tiny",
        ),
        licence="MIT",
        intended_use="Demonstration and tests, on Sentinel-2 pictures in true color at 10 m.",
        extra="urban",
        parity=("unimed_clip/tiny_b16", "core/open_clip.zero_shot_classifier"),
    ),
)

MODELS = described((*_PACKAGED, *PUBLISHED), FACTS)
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

COVERS = {"urbanclip/coca_loss_a": ("open_clip vision of coca", "open_clip text of coca", "coca")}
"""{golden case: what of a network it runs}, in the words of ``hub/parity.py``."""

ARCHITECTURES = {"coca": "coca.model:CoCaModel"}
"""{architecture: "module:function"}; from a ModelConfig to a model."""

EXPORTS = {"coca": "coca.export"}
"""{architecture: "module"}; what other libraries call it, see ``core/layouts/exported.py``."""

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

COMMANDS = {
    "urban": CommandGroup(
        "commands:app", "Satellite imagery: tiles, embeddings, search, indicators, captions."
    ),
}
"""Groups of the command line."""

EVALUATIONS = {"sets": "tasks.evaluation_sets", "retrieval": "tasks.retrieval"}
"""{what is measured: "module"}; see ``verticlip evaluate``."""

CARD_WORDS = {
    "file": "tile.tif",
    "out_of_scope": (
        "decisions about people, property or land rights, and the only evidence that a place changed."
    ),
    "limits": "Other sensors, resolutions, seasons, clouds and parts of the world were not measured.",
    "validation": (
        "Validation is the sources' own validation part where there is one; otherwise groups of "
        "near-identical images\n(64-bit difference hash) were kept on one side of a random split. "
        "Patches that are cut from the same satellite scenes\nand lie beside each other can be on both "
        "sides, so expect less in other countries, seasons and weather, and from\nother sensors."
    ),
}
"""{word: what a model card says}; see ``hub/card.py``."""

PROBES = {
    "coca": "probe_answers:answers_of_coca",
}
"""{architecture: "module:function"}; what a stored probe asks it, see ``core/probe_inputs.py``."""
