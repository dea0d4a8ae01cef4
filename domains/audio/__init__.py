"""Sound: what the room offers, as plain data; nothing else is imported."""

from __future__ import annotations

from .catalogue import PUBLISHED

MODELS = (*PUBLISHED,)
"""Models users can name."""

RECIPES: dict[str, str] = {}
"""{short name: summary}; the file is ``recipes/<short name>.yaml``."""

LOADERS = {"audio": "loaders.audio:load_audio", "image": "loaders.frames:load_image"}
"""{modality: "module:function"}; from a path, ``limits`` and ``show_paths`` to a Sample."""

READERS = {
    "esc": "readers:read_esc",
    "spoken_digits": "readers:read_spoken_digits",
    "clipsep_csv": "readers:read_clipsep_csv",
    "vggsound": "readers:read_vggsound",
}
"""{dataset layout: "module:function"}."""

GOLDENS = {"clipsep": "clipsep.goldens", "clipsonic": "clipsonic.goldens"}
"""{golden system: "module"}; what the module holds is said in ``core/verify.py``."""

ARCHITECTURES = {
    "clap": "clap.model:Clap",
    "clipsep": "clipsep.model:ClipSep",
    "clipsonic": "clipsonic.model:ClipSonic",
    "bigvgan": "clipsonic.bigvgan:BigVgan",
    "diffusion_prior": "clipsonic.prior:DiffusionPrior",
}
"""{architecture: "module:function"}; from a ModelConfig to a model."""

CONVERTERS = {
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
    "separation": "clipsep.losses:SeparationLoss",
    "clipsonic": "clipsonic.losses:DiffusionLoss",
}
"""{objective: "module:class"}; see ``core/objectives/base.py``."""

VOLUMES = {
    "is_volume": "tasks.long_recordings:is_long",
    "read": "tasks.long_recordings:read_long",
    "embed": "tasks.long_recordings:embed_long",
}
"""How an audio model answers for a file longer than its window; see ``core/registry.py``."""

TASKS = {"mix_and_separate": "clipsep.training:prepare", "diffusion": "clipsonic.training:prepare"}
"""{kind of training run: "module:function"}; see ``core/task_data.py``."""

COMMANDS = "commands:app"
"""The typer app of ``verticlip audio ...``."""
