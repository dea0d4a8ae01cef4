"""Sound: what the room offers, as plain data; nothing else is imported."""

from __future__ import annotations

from ...core.registry import CommandGroup, ModelSpec, WeightsRef, described
from .catalogue import PUBLISHED
from .model_facts import FACTS
from .prompt_index import PROMPTS

_PACKAGED = (
    ModelSpec(
        name="audio/tiny-tagger",
        domain="audio",
        summary="ten environmental sounds and ten spoken digits by text; small enough to ship in the wheel",
        modalities=("audio", "text"),
        embed_dim=128,
        weights=WeightsRef(
            repo_id=None,
            revision=None,
            files={
                "config.json": "e51f047d8195b685972aea221ec9a788e7dff33908def04245db0bcc831db27a",
                "model.safetensors": "c9f01fc4ebcef367a4fb68afcc0fa6fc7230214ad913d1ca5c5ef34cae19a127",
                "probe.json": "a62d90381f3b15e91cfc5bcccbf71b5002d260b5e9b70af230cf46221326c700",
                "probe.safetensors": "896b3b8f50a3f487beb969e71d68affdeaa1589a312ef3735ee7543eef9833b7",
                "processor.json": "c0277ef41ea7a342bf41d2d6e27afef9f062ccfbf285b999275377602b9665be",
                "prompts.yaml": "ed50d41dbbade52ed2624fcc0f6df6d13f96757f30326a7e8339537a8ba0e03b",
                "tokenizer.json": "66d8f5438d038b304d3176e97dc3e8bbe96220dd82b14d341167e76243a36399",
            },
            packaged="weights/tiny-tagger",
        ),
        licence="CC-BY-SA-4.0",
        intended_use="Demonstration and tests; the other small models of the room are built on it.",
        extra="audio",
        parity=("unimed_clip/tiny_b16", "core/open_clip.zero_shot_classifier"),
    ),
    ModelSpec(
        name="audio/tiny-sep",
        domain="audio",
        summary="ten environmental sounds taken out of mixtures by text; small enough to ship in the wheel",
        modalities=("audio", "text"),
        embed_dim=128,
        weights=WeightsRef(
            repo_id=None,
            revision=None,
            files={
                "config.json": "0cd8af4ae65a3231a347c3d91c0d1f688b3eb98311546a67433116b2b13ca917",
                "model.safetensors": "e0a29a4ebe9d440a24ee3a01fd901ccbab554206f6ddaf0146d6c90d40c1accd",
                "probe.json": "39328934699ddec029da73159aae68475e0c88dbbe6b08efc3d5b8bb7436b03b",
                "probe.safetensors": "7258665d8658c58e39e82a621ca62e671215c863a2f9e24dbf45cae2c1baf829",
                "processor.json": "c0277ef41ea7a342bf41d2d6e27afef9f062ccfbf285b999275377602b9665be",
                "prompts.yaml": "ed50d41dbbade52ed2624fcc0f6df6d13f96757f30326a7e8339537a8ba0e03b",
                "tokenizer.json": "66d8f5438d038b304d3176e97dc3e8bbe96220dd82b14d341167e76243a36399",
            },
            packaged="weights/tiny-sep",
        ),
        licence="CC-BY-SA-4.0",
        intended_use="Demonstration of separation by text; it knows ten kinds of sound and no others.",
        extra="audio",
        parity=("clipsep/clipsep_late_three_sources", "unimed_clip/tiny_b16"),
    ),
    ModelSpec(
        name="audio/tiny-sonic",
        domain="audio",
        summary="two-second sounds of ten environmental kinds from a text; small enough to ship in the wheel",
        modalities=("audio", "text"),
        embed_dim=128,
        weights=WeightsRef(
            repo_id=None,
            revision=None,
            files={
                "config.json": "be5da286dce47b28c1636c8d0c74add30ff2b39daa3dcfe6bb6243f8b87bd112",
                "model.safetensors": "5aab361e393730207c5fe58546c3205003759d721d168be4fa1e7533394ea587",
                "probe.json": "e484e17f933241df19319e34d792ee88185a5c0e7ee9cb78f07172b9aa84944f",
                "probe.safetensors": "4900b09464d13ffbe9a837d049fea061fabc7e94522e622cc53afc978f5fb97e",
                "processor.json": "c0277ef41ea7a342bf41d2d6e27afef9f062ccfbf285b999275377602b9665be",
                "prompts.yaml": "ed50d41dbbade52ed2624fcc0f6df6d13f96757f30326a7e8339537a8ba0e03b",
                "tokenizer.json": "66d8f5438d038b304d3176e97dc3e8bbe96220dd82b14d341167e76243a36399",
            },
            packaged="weights/tiny-sonic",
        ),
        licence="CC-BY-SA-4.0",
        intended_use="Demonstration of sound synthesis; it knows ten kinds of sound and no others.",
        extra="audio",
        parity=("unimed_clip/tiny_b16",),
    ),
)

MODELS = described((*_PACKAGED, *PUBLISHED), FACTS)
"""Models users can name."""

RECIPES = {
    "tiny-tagger": "the recipe audio/tiny-tagger was trained with: ten sounds, ten digits, class captions",
    "tiny-sep": "the recipe audio/tiny-sep was trained with: mixtures of labelled clips, asked by text",
    "tiny-sonic": "the recipe audio/tiny-sonic was trained with: diffusion of two-second sounds",
    "clipsep": "mix-and-separate on films without labels, frames as queries, as CLIPSep does",
    "clipsep-nit": "the same with noise heads and their regularizer: noise-invariant training",
    "clipsep-labels": "mix-and-separate on labelled recordings, a row of a table as the query for each label",
    "clipsonic": "diffusion of mel spectrograms on the image embeddings of films, as CLIPSonic does",
}
"""{short name: summary}; the file is ``recipes/<short name>.yaml``."""

LOADERS = {"audio": "loaders.audio:load_audio", "image": "loaders.frames:load_image"}
"""{modality: "module:function"}; from a path, ``limits`` and ``show_paths`` to a Sample."""

READERS = {
    "esc": "readers:read_esc",
    "spoken_digits": "readers:read_spoken_digits",
    "clipsep_csv": "readers_video:read_clipsep_csv",
    "vggsound": "readers_video:read_vggsound",
}
"""{dataset layout: "module:function"}."""

GOLDENS = {"clipsep": "clipsep.goldens", "clipsonic": "clipsonic.goldens"}
"""{golden system: "module"}; what the module holds is said in ``core/verify.py``."""

COVERS = {
    "clipsep/clipsep_late_three_sources": ("clipsep",),
    "clipsep/clipsep_nit": ("clipsep",),
    "clipsep/inference": ("clipsep", "answers"),
    "clipsonic/bigvgan": ("bigvgan",),
    "clipsonic/bigvgan_first_version": ("bigvgan",),
    "clipsonic/diffusion_prior": ("diffusion_prior",),
    "clipsonic/diffusion_prior_v1_1": ("diffusion_prior",),
}
"""{golden case: what of a network it runs}, in the words of ``hub/parity.py``."""

ARCHITECTURES = {
    "clap": "clap.model:Clap",
    "clipsep": "clipsep.model:ClipSep",
    "clipsonic": "clipsonic.model:ClipSonic",
    "bigvgan": "clipsonic.bigvgan:BigVgan",
    "diffusion_prior": "clipsonic.prior:DiffusionPrior",
}
"""{architecture: "module:function"}; from a ModelConfig to a model."""

EXPORTS = {"clap": "clap.export"}
"""{architecture: "module"}; what other libraries call it, see ``core/layouts/exported.py``."""

GRAPHS = {"bigvgan": "graphs:bigvgan", "clap": "graphs:clap", "clipsep": "graphs:clipsep"}
"""{architecture: "module:function"}; parts that other runtimes can run, see ``core/graphs.py``."""

CONVERTERS = {
    "clip": "clip.convert:convert",
    "clap": "clap.convert:convert",
    "clipsep": "clipsep.convert:convert",
    "bigvgan": "clipsonic.bigvgan_convert:convert",
    "diffusion_prior": "clipsonic.prior_convert:convert",
}
"""{converter: "module:function"}; see ``core/conversion.py``."""

OBJECTIVES = {
    "clipsep": "clipsep.losses:ClipSepLoss",
    "clipsep_nit": "clipsep.losses:NoiseInvariantLoss",
    "clipsep_pit": "clipsep.losses:PermutationInvariantLoss",
    "separation": "clipsep.separation_loss:SeparationLoss",
    "clipsonic": "clipsonic.losses:DiffusionLoss",
}
"""{objective: "module:class"}; see ``core/objectives/base.py``."""

PARTS = {
    "has_parts": "tasks.long_recordings:is_long",
    "read": "tasks.long_recordings:read_long",
    "embed": "tasks.long_recordings:embed_long",
}
"""How an audio model answers for a file longer than its window; see ``core/registry.py``."""

TASKS = {"mix_and_separate": "clipsep.training:prepare", "diffusion": "clipsonic.training:prepare"}
"""{kind of training run: "module:function"}; see ``core/task_data.py``."""

COMMANDS = {"audio": CommandGroup("commands:app", "Sound: tag over time, separate, generate, measure.")}
"""Groups of the command line."""

PROBES = {
    "clap": "probe_answers:answers_of_clap",
    "clipsep": "probe_answers:answers_of_clipsep",
    "clipsonic": "probe_answers:answers_of_clipsonic",
    "bigvgan": "probe_answers:answers_of_bigvgan",
    "diffusion_prior": "probe_answers:answers_of_diffusion_prior",
}
"""{architecture: "module:function"}; what a stored probe asks it, see ``core/probe_inputs.py``."""

CARD_WORDS = {
    "file": "clip.wav",
    "out_of_scope": (
        "alarms that somebody's safety depends on, surveillance, recognizing people by their voices, and "
        "imitating "
        "them."
    ),
    "limits": "Noise, rooms, microphones and codecs other than those of the recordings were not measured.",
}
"""{word: what a model card says}; see ``hub/card.py``."""
