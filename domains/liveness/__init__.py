"""Liveness: what the room offers, as plain data; nothing else is imported."""

from __future__ import annotations

from ...core.registry import CommandGroup, ModelSpec, WeightsRef, described
from .model_facts import FACTS
from .prompt_index import PROMPTS
from .published import PUBLISHED

_PACKAGED = (
    ModelSpec(
        name="liveness/tiny",
        domain="liveness",
        summary="simulated recapture told on photos of clothes, to try out; no evidence about faces",
        modalities=("image", "text"),
        embed_dim=128,
        weights=WeightsRef(
            repo_id=None,
            revision=None,
            files={
                "config.json": "82a3707b90f968e40750adb5e4aa13f64ec8cfd700a51c2e03b0f12f9d445c52",
                "model.safetensors": "511e92589c8270d3abf5ccea293f495df8b4d0c0437c83f98b1259bce43377a1",
                "probe.json": "e097a730f2c34dc9cc1a8aac6d0eceae668a8f73717a5a27e40066c6b40c29e2",
                "probe.safetensors": "4821d590a15e28187bb8c6cb8b907f36e8b735068edfffdfa6a2d614a4701b65",
                "processor.json": "d52ed8507c3331cd296d9ac16654ff51aea40eb8ca5d3eba3831c37bd377acfb",
                "threshold.json": "a7dc9e82d5dde8840984c3c9943d269845e48faa0bb0bebd80be0fab35208f26",
                "tokenizer.json": "b9539bb808230638ba87f9d0ac2b24721074a0c6b2aed62334005d5a3d471e89",
            },
            packaged="weights/tiny",
        ),
        licence="MIT",
        intended_use="Demonstration and tests, from pictures to an ISO report, on simulated recapture of "
        "photos of clothes. No evidence of face liveness performance; never to decide about people.",
        extra="liveness",
        parity=("clipc8/flip_it", "unimed_clip/tiny_b16"),
    ),
)

MODELS: tuple[ModelSpec, ...] = described((*_PACKAGED, *PUBLISHED), FACTS)
"""Models users can name."""

RECIPES: dict[str, str] = {
    "tiny": "the recipe liveness/tiny was trained with: simulated recapture of photos of clothes",
    "clipc8": "CLIPC8: CLIP ViT-B/16 to a live person and eight kinds of attack, by their descriptions",
    "clipc8-pairs": "the same by contrast of pictures and descriptions, with repeats as positives",
    "flip-v": "FLIP-V: the image tower of CLIP ViT-B/16 with a head for live and attack",
    "flip-it": "FLIP-IT: the whole CLIP ViT-B/16, live or attack by six sentences each",
    "flip-mcl": "FLIP-MCL: FLIP-IT with a SimCLR loss and agreement of picture and text views",
    "minifasnet": "MiniFASNetV2 with channel weights and a Fourier branch, live or attack, from scratch",
}
"""{short name: summary}; the file is ``recipes/<short name>.yaml``."""

LOADERS = {"image": "loaders.image:load_image"}
"""{modality: "module:function"}; from a path, ``limits`` and ``show_paths`` to a Sample."""

READERS = {"presentations": "training.reader:read_presentations"}
"""{dataset layout: "module:function"}."""

GOLDENS = {"clipc8": "goldens"}
"""{golden system: "module"}; what the module holds is said in ``core/verify.py``."""

COVERS = {
    "clipc8/flip_it": ("vit", "clip_text", "categories", "answers"),
    "clipc8/flip_mcl": ("vit", "clip_text", "categories", "flip_mcl"),
    "clipc8/flip_v_head": ("flip_v",),
    "clipc8/minifasnet": ("minifasnet",),
}
"""{golden case: what of a network it runs}, in the words of ``hub/parity.py``."""

ARCHITECTURES = {
    "categories": "models.categories:CategoryModel",
    "flip_mcl": "models.flip_mcl:FlipMCL",
    "flip_v": "models.flip_v:FlipV",
    "minifasnet": "minifasnet.model:MiniFASNetModel",
}
"""{architecture: "module:function"}; from a ModelConfig to a model."""

GRAPHS = {
    "categories": "graphs:logits",
    "flip_mcl": "graphs:logits",
    "flip_v": "graphs:logits",
    "minifasnet": "graphs:logits",
}
"""{architecture: "module:function"}; parts that other runtimes can run, see ``core/graphs.py``."""

CONVERTERS = {
    "flip": "models.checkpoints:convert_flip",
    "minifasnet": "minifasnet.checkpoints:convert",
    "open_clip": "models.checkpoints:convert_open_clip",
    "transformers_clip": "models.checkpoints:convert_transformers",
}
"""{converter: "module:function"}; see ``core/conversion.py``."""

OBJECTIVES = {
    "category": "objectives.category:CategoryCrossEntropy",
    "category_contrast": "objectives.category:CategoryContrast",
    "live_or_attack": "objectives.category:LiveOrAttack",
    "flip_v": "objectives.flip:FlipClassification",
    "flip_mcl": "objectives.flip:FlipMCLLoss",
    "fourier": "objectives.fourier:FourierSupervision",
}
"""{objective: "module:class"}; see ``core/objectives/base.py``."""

TASKS = {"liveness": "training.task:prepare"}
"""{kind of training run: "module:function"}; see ``core/task_data.py``."""

COMMANDS = {
    "liveness": CommandGroup(
        "commands:app", "Live face or presentation attack: check files, calibrate, measure in ISO terms."
    ),
}
"""Groups of the command line."""

CARD_WORDS = {
    "file": "capture.jpg",
    "out_of_scope": (
        "the only reason to refuse a person (keep a way to a human), recognizing people, documents, and "
        "video "
        "that is injected past the camera by virtual cameras or hooked streams."
    ),
    "limits": (
        "One signal among several. Performance by skin tone, age or other group is not known. Faces are "
        "biometric "
        "data: pictures are processed in memory, nothing is stored or sent."
    ),
    "validation": (
        "Validation is the development part of the sources: subjects that training did not see, in captures "
        "like those it saw.\nExpect less on other cameras and other attacks."
    ),
}
"""{word: what a model card says}; see ``hub/card.py``."""

PROBES = {
    "categories": "probe_answers:answers_of_categories",
    "flip_mcl": "probe_answers:answers_of_flip_mcl",
    "flip_v": "probe_answers:answers_of_categories",
    "minifasnet": "probe_answers:answers_of_minifasnet",
}
"""{architecture: "module:function"}; what a stored probe asks it, see ``core/probe_inputs.py``."""
