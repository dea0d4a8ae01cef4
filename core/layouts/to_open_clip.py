"""Models in the words of open_clip: ``model_cfg`` of ``open_clip_config.json`` and its parameter names.

Reference: open_clip 3.3, ``CLIPVisionCfg`` and ``CLIPTextCfg``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from ..config import (
    CausalTextTower,
    ModelConfig,
    OpenClipTower,
    TimmTower,
    TowerConfig,
    VisionTransformerTower,
)
from .exported import Exported, NotExpressible, mlp_ratio, move_prefixes, need_towers, room_layout
from .siglip_towers import BACKBONE

_LIBRARY = "open_clip"
_IMAGE, _TEXT = "towers.image.", "towers.text."
_IMAGE_PROJECTION, _TEXT_PROJECTION = "projections.image.weight", "projections.text.weight"


def open_clip_layout(config: ModelConfig, image_size: int | None = None) -> Exported:
    """Return a model as open_clip describes it.

    Args:
        config: of the model.
        image_size: pixels of a side that the processor makes, for backbones that do not say one.

    Raises:
        NotExpressible: open_clip has no words for it.
    """
    own = room_layout(config, _LIBRARY)
    if own is not None:
        return own
    need_towers(config, "image", _LIBRARY)
    image, text = config.towers["image"], config.towers["text"]
    vision_cfg, image_prefixes = _image(image, image_size)
    text_cfg, text_prefixes = _text(text)
    settings: dict[str, Any] = {
        "embed_dim": config.embed_dim,
        "vision_cfg": vision_cfg,
        "text_cfg": text_cfg,
    }
    if _activation(image, text):
        settings["quick_gelu"] = True
    if config.logit_bias is not None:
        settings["init_logit_bias"] = config.logit_bias
    if isinstance(text, OpenClipTower):
        settings["custom_text"] = True

    def rename(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        state = dict(state)
        # A linear layer keeps its matrix the other way round than open_clip's bare projections.
        if isinstance(image, VisionTransformerTower) and _IMAGE_PROJECTION in state:
            state[f"{_IMAGE}proj"] = state.pop(_IMAGE_PROJECTION).T
        if isinstance(text, CausalTextTower) and _TEXT_PROJECTION in state and not text.projection_bias:
            state[f"{_TEXT}text_projection"] = state.pop(_TEXT_PROJECTION).T
        return move_prefixes(state, [*image_prefixes, *text_prefixes])

    return Exported(settings, rename)


def _image(tower: TowerConfig, image_size: int | None) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    if isinstance(tower, VisionTransformerTower):
        _need_one_projection(tower, "image")
        if tower.projection_bias and tower.projection == "linear":
            raise NotExpressible(
                "its image projection has a bias, which open_clip's Vision Transformer lacks."
            )
        if tower.channels != 3:
            raise NotExpressible(f"its image tower takes {tower.channels} channels; open_clip's takes 3.")
        return {
            "image_size": tower.image_size,
            "patch_size": tower.patch_size,
            "width": tower.width,
            "layers": tower.layers,
            "head_width": tower.width // tower.heads,
            "mlp_ratio": mlp_ratio(tower.mlp_width, tower.width),
        }, [(_IMAGE, "visual.")]
    if isinstance(tower, OpenClipTower):
        return _own_options(tower, "image"), [(f"{_IMAGE}model.", "visual.")]
    if isinstance(tower, TimmTower):
        return _timm(tower, image_size), [
            (f"{_IMAGE}model.", "visual.trunk."),
            ("projections.image.", "visual.head.proj."),
        ]
    raise NotExpressible(f"its image tower is one of {tower.backend}, which open_clip does not build.")


def _text(tower: TowerConfig) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    if isinstance(tower, CausalTextTower):
        _need_one_projection(tower, "text")
        bias = tower.projection == "linear" and tower.projection_bias
        return {
            "context_length": tower.context_length,
            "vocab_size": tower.vocab_size,
            "width": tower.width,
            "heads": tower.heads,
            "layers": tower.layers,
            "mlp_ratio": mlp_ratio(tower.mlp_width, tower.width),
            **({"proj_bias": True} if bias else {}),
        }, [(_TEXT, ""), ("projections.text.", "text_projection.")]
    if isinstance(tower, OpenClipTower):
        return _own_options(tower, "text"), [(f"{_TEXT}model.", "text.")]
    kind = "BERT" if tower.backend == "bert" else tower.backend
    raise NotExpressible(
        f"its text tower is one of {kind}. open_clip builds such towers from the config of another "
        "repository, by name; a folder of its own cannot bring one."
    )


def _need_one_projection(tower: VisionTransformerTower | CausalTextTower, name: str) -> None:
    """Raise unless the tower has exactly one matrix into the joint space, its own or the model's."""
    inside, outside = tower.output_dim is not None, tower.projection
    if outside == "mlp" or inside != (outside == "none"):
        has = (
            "an 'mlp'"
            if outside == "mlp"
            else "a second matrix behind that of the tower"
            if inside
            else "no matrix at all"
        )
        raise NotExpressible(f"its {name} projection is {has}; open_clip's is one matrix.")


def _own_options(tower: OpenClipTower, name: str) -> dict[str, Any]:
    if tower.projection != "none":
        raise NotExpressible(
            f"its {name} tower has a {tower.projection!r} projection behind open_clip's own."
        )
    named = [key for key in tower.options if key.startswith("hf_") and tower.options[key]]
    if named:
        raise NotExpressible(f"its {name} tower takes {named[0]!r} from another repository.")
    return dict(tower.options)


def _activation(image: TowerConfig, text: TowerConfig) -> bool:
    """Return whether the towers have OpenAI's activation; open_clip has one switch for both."""
    said = {
        tower.quick_gelu
        for tower in (image, text)
        if isinstance(tower, (VisionTransformerTower, CausalTextTower, OpenClipTower))
        # A ResNet of CLIP is built of ReLU whatever the switch says.
        and not isinstance(getattr(tower, "options", {}).get("layers"), (list, tuple))
    }
    if len(said) > 1:
        raise NotExpressible("one of its towers has the activation quick_gelu and the other gelu.")
    return bool(said and said.pop())


def _timm(tower: TimmTower, image_size: int | None) -> dict[str, Any]:
    if tower.projection == "mlp":
        raise NotExpressible("its image projection is an 'mlp' of another form than open_clip's.")
    name, network = timm_name(tower)
    if name is None:
        options = ", ".join(f"{key}={value!r}" for key, value in tower.options.items())
        raise NotExpressible(
            f"its image tower is timm's {tower.architecture} with {options}. open_clip builds backbones of "
            "timm by name alone, and timm has no name for this one."
        )
    side = tower.options.get("img_size") or image_size or 224
    projected = tower.projection == "linear"
    return {
        "timm_model_name": name,
        # With a projection open_clip leaves the pooling that the backbone has when none is named.
        "timm_pool": "" if projected else _pooling(network),
        "timm_proj": "linear" if projected else "none",
        "timm_proj_bias": projected and tower.projection_bias,
        "image_size": side if isinstance(side, int) else 224,
    }


def timm_name(tower: TimmTower) -> tuple[str | None, nn.Module]:
    """Return the name that builds the same backbone without options, None where there is none.

    The backbone comes with it, on the ``meta`` device. A SigLIP of any size is here the smallest one with
    other options, so that timm's names of that patch and image size are tried.
    """
    import timm

    wanted = on_meta(tower.architecture, tower.options)
    names = [tower.architecture]
    if tower.architecture == BACKBONE and tower.options:
        patch, side = tower.options.get("patch_size", 16), tower.options.get("img_size", 224)
        names += [name for name in timm.list_models(f"vit_*_patch{patch}_siglip_{side}") if name not in names]
    for name in names:
        if not tower.options or _same_network(wanted, on_meta(name, {})):
            return name, wanted
    return None, wanted


def on_meta(name: str, options: Mapping[str, Any]) -> nn.Module:
    """Return a backbone of timm without a classifier, on the ``meta`` device."""
    import timm

    with torch.device("meta"):
        return cast("nn.Module", timm.create_model(name, pretrained=False, num_classes=0, **options))


def _same_network(one: nn.Module, other: nn.Module) -> bool:
    """Return whether two networks have the same layers, shapes and heads."""
    shapes = [{name: tuple(value.shape) for name, value in net.state_dict().items()} for net in (one, other)]
    heads = [[getattr(part, "num_heads", None) for part in net.modules()] for net in (one, other)]
    # timm's own GELU computes what torch's does.
    layers = [repr(net).replace("GELU(approximate='none')", "GELU()") for net in (one, other)]
    return layers[0] == layers[1] and shapes[0] == shapes[1] and heads[0] == heads[1]


def _pooling(network: nn.Module) -> str:
    """Return what timm calls the pooling of a backbone."""
    places: tuple[Any, ...] = (network, getattr(network, "head", None))
    found = next((place.global_pool for place in places if hasattr(place, "global_pool")), "avg")
    return str(getattr(found, "pool_type", found))
