"""A CLAP in the words of transformers, whose towers it is made of.

Reference: transformers 5.23, ``ClapConfig`` and ``ClapModel``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor

from ....core.config import ModelConfig, TransformersTower
from ....core.layouts.exported import Exported, NotExpressible, need_towers
from .convert import NAMES

_TEXT_ONLY = ("bos_token_id", "eos_token_id")


def transformers(config: ModelConfig) -> Exported:
    """Return a CLAP as transformers describes it.

    Raises:
        NotExpressible: one of the towers is missing.
    """
    need_towers(config, "audio", "transformers")
    audio, text = (cast("TransformersTower", config.towers[name]).options for name in ("audio", "text"))
    shared = {"projection_dim": config.embed_dim, "projection_hidden_act": "relu"}
    pad = text.get("pad_token_id", 1)
    if not isinstance(pad, int):
        raise NotExpressible(f"its pad_token_id is {pad!r}, not one number.")
    settings: dict[str, Any] = {
        "model_type": "clap",
        "architectures": ["ClapModel"],
        "dtype": "float32",
        **shared,
        "logit_scale_init_value": 1 / 0.07,
        "audio_config": {**audio, **shared, "model_type": "clap_audio_model"},
        "text_config": {
            **dict.fromkeys(_TEXT_ONLY),
            **text,
            **shared,
            "pad_token_id": pad,
            "model_type": "clap_text_model",
        },
    }
    places = text.get("max_position_embeddings", 514)
    if not isinstance(places, int):
        raise NotExpressible(f"its max_position_embeddings is {places!r}, not one number.")

    def rename(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return tensors by their names there, with two tables of numbers that transformers stores."""
        rows = torch.arange(places)[None]
        tables = {"position_ids": rows, "token_type_ids": torch.zeros_like(rows)}
        return {**_renamed(state), **{f"text_model.embeddings.{name}": row for name, row in tables.items()}}

    return Exported(settings, rename)


def _renamed(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    ours = {mine: theirs for theirs, mine in NAMES.items()}
    found: dict[str, Tensor] = {}
    for name, tensor in state.items():
        # The longest beginning: ``logit_scale`` is one of ``logit_scale_text``, too.
        start = max((start for start in ours if name.startswith(start)), key=len)
        found[ours[start] + name.removeprefix(start)] = tensor
    return found
