"""A CoCa in the words of open_clip, whose modules it is made of.

Reference: open_clip 3.3, ``CoCa`` and ``model_configs/coca_*.json``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from torch import Tensor

from ....core.config import ModelConfig, OpenClipTower
from ....core.layouts.exported import Exported, NotExpressible
from .model import name_in_open_clip
from .options import coca_options


def open_clip(config: ModelConfig) -> Exported:
    """Return a CoCa as open_clip describes it.

    Raises:
        NotExpressible: settings that open_clip's CoCa does not have.
    """
    options, special = coca_options(config)
    image, text = (cast("OpenClipTower", config.towers[name]) for name in ("image", "text"))
    decoder = options.decoder
    if len({image.quick_gelu, text.quick_gelu, decoder.quick_gelu}) > 1:
        raise NotExpressible("its towers and its decoder do not all have the same activation.")
    if text.options.get("embed_cls") and not options.pad_to_context:
        raise NotExpressible("it embeds texts without filling them up; open_clip always fills them.")
    settings: dict[str, Any] = {
        "embed_dim": config.embed_dim,
        "vision_cfg": {**image.options, "output_tokens": True},
        "text_cfg": {**text.options, "output_tokens": True},
        "multimodal_cfg": {
            "width": decoder.width,
            "heads": decoder.heads,
            "layers": decoder.layers,
            "context_length": decoder.context_length,
            "ls_init_value": decoder.ls_init_value,
        },
        "custom_text": True,
        "pad_id": special.pad,
    }
    if image.quick_gelu:
        settings["quick_gelu"] = True
    if config.logit_bias is not None:
        settings["init_logit_bias"] = config.logit_bias
    return Exported(settings, _renamed)


def _renamed(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name_in_open_clip(name): tensor for name, tensor in state.items()}
