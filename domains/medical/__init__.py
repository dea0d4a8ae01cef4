"""Radiology and microscopy: what the room offers, as plain data; nothing else is imported."""

from __future__ import annotations

from ...core.registry import CommandGroup, ModelSpec, WeightsRef, described
from .catalogue import PUBLISHED
from .model_facts import FACTS
from .prompt_index import PROMPTS

_PACKAGED = (
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
                "probe.json": "1200fd9a7bc9871f225b9761af2369315f81f0a2a3154e610f836309b0fb98d2",
                "probe.safetensors": "d46821e9d3b8a0d327dbe554b3cba6b31da2f3b97ee1604bb75463836dd75a26",
                "processor.json": "591599c6f720573f2a58b942a07176d1afbc28a757d6e9d6329099c4da545190",
                "prompts.yaml": "f14195dc286d0e739cd222cc87d0d657b15a4e9dda30b8c2993d9c5d1581201c",
                "tokenizer.json": "05b81f7aa032419f707160602f3d679c94214535549dc7cf81920d45e3914882",
            },
            packaged="weights/tiny",
        ),
        licence="Apache-2.0",
        intended_use="Demonstration and tests. Not a medical device; not for diagnosis or triage.",
        extra="medical",
        parity=(
            "unimed_clip/tiny_b16",
            "core/open_clip.zero_shot_classifier",
            "medical_loading/windowing",
            "medical_loading/series_volume",
        ),
    ),
)

MODELS = described((*_PACKAGED, *PUBLISHED), FACTS)
"""Models users can name."""

RECIPES = {
    "tiny": "the recipe medical/tiny was trained with: three small public sets, captions from templates",
    "unimed-pretrain": "contrastive training on labelled sets turned into captions, as UniMed-CLIP does",
    "conceptclip-stage1": "figures and captions with the sigmoid loss: the first stage of ConceptCLIP",
    "conceptclip-stage2": "the second stage of ConceptCLIP: concepts of captions against image patches",
    "biovil": "chest X-rays and reports: global term, masked words and section matching of BioViL",
    "probe": "linear probe on the frozen embeddings of a model, at 1, 10 and 100 percent of the labels",
    "lora": "low-rank fine-tuning of a model on image-caption pairs",
    "finetune": "full fine-tuning of an image tower with a classification head and layer-wise rates",
}
"""{short name: summary}; the file is ``recipes/<short name>.yaml``."""

LOADERS = {"image": "loaders.image:load_image", "volume": "loaders.volume:load_volume"}
"""{modality: "module:function"}; from a path, ``limits`` and ``show_paths`` to a Sample."""

READERS = {
    "medmnist_npz": "readers:read_medmnist_npz",
    "voc_boxes": "readers:read_voc_boxes",
    "report_jsonl": "biovil.reports:read_reports",
    "concept_jsonl": "conceptclip.pairs:read_concept_jsonl",
    "caption_bank": "unimed.captions:read_caption_bank",
    "captioned_npz": "unimed.captioned:read_captioned_npz",
    "captioned_boxes": "unimed.captioned:read_captioned_boxes",
    "unimed_annotations": "unimed.annotations:read_annotations",
}
"""{dataset layout: "module:function"}."""

GOLDENS = {
    "medical_loading": "goldens",
    "unimed_clip": "unimed.goldens",
    "biovil": "biovil.goldens",
    "conceptclip": "conceptclip.goldens",
}
"""{golden system: "module"}; what the module holds is said in ``core/verify.py``."""

_SIGLIP = "timm vit_so400m_patch14_siglip_384"

COVERS = {
    "unimed_clip/tiny_b16": ("vit", "bert", "answers", "preprocessing"),
    "unimed_clip/tiny_l14": ("vit", "bert", "answers", "preprocessing"),
    "biovil/image_encoder": ("timm resnet50", "biovil"),
    "biovil/image_encoder_temporal": ("timm resnet50", "biovil"),
    "biovil/text_encoder": ("bert", "biovil"),
    "biovil/phrase_grounding": ("timm resnet50", "bert", "biovil", "answers", "preprocessing"),
    "biovil/preprocess": ("preprocessing",),
    "conceptclip/tiny_a": (_SIGLIP, "bert", "conceptclip", "answers"),
    "conceptclip/tiny_b": (_SIGLIP, "bert", "conceptclip", "answers"),
    "medical_loading/windowing": ("preprocessing",),
    "medical_loading/series_volume": ("preprocessing",),
}
"""{golden case: what of a network it runs}, in the words of ``hub/parity.py``."""

ARCHITECTURES = {
    "biovil": "biovil.model:BioViL",
    "conceptclip": "conceptclip.model:ConceptClip",
}
"""{architecture: "module:function"}; from a ModelConfig to a model."""

CONVERTERS = {
    "unimed": "unimed.convert:convert",
    "biovil": "biovil.convert:convert",
    "cxr_bert": "biovil.convert:convert_text",
    "conceptclip": "conceptclip.convert:convert",
}
"""{converter: "module:function"}; see ``core/conversion.py``."""

OBJECTIVES = {
    "biovil": "biovil.losses:BioViLObjective",
    "conceptclip": "conceptclip.losses:ConceptClipLoss",
    "pc_align": "conceptclip.losses:PatchConceptAlignment",
}
"""{objective: "module:class"}; see ``core/objectives/base.py``."""

COLLATES = {
    "report_sections": "biovil.sections:collate_sections",
    "concept_spans": "conceptclip.collate:collate_concepts",
    "concept_spans_all": "conceptclip.collate:collate_all_concepts",
}
"""{collate: "module:function"}; from extras and texts of a batch to ``Batch.extras``."""

COLLATE_CHECKS = {
    "concept_spans": "conceptclip.collate:check_spans",
    "concept_spans_all": "conceptclip.collate:check_all_spans",
    "report_sections": "biovil.sections:check_sections",
}
"""{collate: "module:function"}; what it will use of all rows; see ``core/pair_data.py``."""

PARTS = {
    "has_parts": "tasks.volume_inputs:is_volume",
    "read": "tasks.volume_inputs:read_volume",
    "embed": "tasks.volume_inputs:embed_slices",
}
"""How an image model answers for a series folder or a NIfTI file; see ``core/registry.py``."""

COMMANDS = {
    "medical": CommandGroup(
        "commands:app",
        "Scans: find phrases and concepts, compare two studies, read volumes, remove identity.",
    ),
}
"""Groups of the command line."""

EVALUATIONS = {"sets": "tasks.evaluation_sets", "retrieval": "tasks.retrieval"}
"""{what is measured: "module"}; see ``verticlip evaluate``."""

PROBES = {
    "biovil": "probe_answers:answers_of_biovil",
    "conceptclip": "probe_answers:answers_of_conceptclip",
}
"""{architecture: "module:function"}; what a stored probe asks it, see ``core/probe_inputs.py``."""

CARD_WORDS = {
    "file": "scan.png",
    "out_of_scope": (
        "diagnosis, triage, screening and every other decision about a patient: this is no medical device."
    ),
    "limits": "Performance by age, sex, ethnicity, disease stage, scanner and hospital was not measured.",
}
"""{word: what a model card says}; see ``hub/card.py``."""
