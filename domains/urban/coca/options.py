"""Settings of the architecture ``coca`` that its towers do not have, and what its towers must be."""

from __future__ import annotations

import importlib.metadata
import re
from dataclasses import dataclass

from pydantic import Field, model_validator

from ....core.config import Config, ModelConfig, OpenClipTower, parse_config
from ....core.errors import ConfigError, DependencyError
from ..tile_settings import TileSettings

OPEN_CLIP = ((3, 3), (4, 0))
"""First release of open_clip whose modules this architecture is built from, and the first that is not."""

_CUSTOM_BLOCK = (
    "block_type",
    "qk_norm",
    "scaled_cosine_attn",
    "scale_heads",
    "scale_attn_inner",
    "scale_attn",
    "scale_fc",
)


class DecoderOptions(Config):
    """The caption decoder: causal self-attention and attention to the image, block by block.

    Its vocabulary is that of the text tower. The hidden layers are four times as wide as the states.
    """

    width: int = Field(ge=1)
    heads: int = Field(ge=1)
    layers: int = Field(ge=1)
    context_length: int = Field(ge=1, le=8192)
    quick_gelu: bool = False
    ls_init_value: float | None = None
    """Start value of the layer scales; None has none."""

    @model_validator(mode="after")
    def _heads_divide_width(self) -> DecoderOptions:
        if self.width % self.heads:
            raise ValueError(f"decoder width {self.width} is not a multiple of its {self.heads} heads")
        return self


class CoCaOptions(TileSettings):
    """``ModelConfig.options`` of the architecture ``coca``."""

    decoder: DecoderOptions
    pad_id: int = Field(default=0, ge=0)
    """Token that fills the end of a row. It is no word: predicting it ends a caption."""
    start_id: int | None = Field(default=None, ge=0)
    """Token a caption begins with; None is the last but one of the vocabulary, as in CLIP's."""
    end_id: int | None = Field(default=None, ge=0)
    """Token a caption ends with; None is the last one of the vocabulary."""
    pad_to_context: bool = True
    """Fill texts up to the context, where the class token behind them has the position it was trained at.
    False leaves rows as they come: then an embedding depends on how far its batch was padded."""


@dataclass(frozen=True)
class SpecialTokens:
    """Ids that are no words: what fills a row, what begins a text and what ends it."""

    pad: int
    start: int
    end: int


def coca_options(config: ModelConfig) -> tuple[CoCaOptions, SpecialTokens]:
    """Return the options of a model, checked against its towers, and its special tokens.

    Raises:
        ConfigError: options or towers that do not make a CoCa.
    """
    options = parse_config(CoCaOptions, config.options, source=f"{config.name}: options")
    if set(config.towers) != {"image", "text"}:
        raise ConfigError(
            f"{config.name}: architecture 'coca' has the towers image and text, not "
            f"{', '.join(config.towers) or 'none'}."
        )
    image, text = (_tower(config, modality) for modality in ("image", "text"))
    _check_image(config.name, image)
    _check_text(config.name, text)
    _check_widths(config, options.decoder, image, text)
    vocabulary = int(text.options.get("vocab_size", 49408))
    special = SpecialTokens(
        options.pad_id,
        vocabulary - 2 if options.start_id is None else options.start_id,
        vocabulary - 1 if options.end_id is None else options.end_id,
    )
    ids = (special.pad, special.start, special.end)
    if len(set(ids)) < 3 or max(ids) >= vocabulary:
        raise ConfigError(
            f"{config.name}: pad_id, start_id and end_id are {ids}; they must differ and be below the "
            f"vocabulary of {vocabulary}."
        )
    if int(text.options.get("pad_id", 0)) != special.pad:
        raise ConfigError(
            f"{config.name}: the text tower masks pad_id {text.options.get('pad_id', 0)} and the options say "
            f"{special.pad}. Make them equal."
        )
    _check_pooling(config.name, text, special.end, vocabulary)
    return options, special


def context_length(tower: OpenClipTower) -> int:
    """Return how many tokens a text tower takes, its class token not counted."""
    return int(tower.options.get("context_length", 77))


def _tower(config: ModelConfig, modality: str) -> OpenClipTower:
    tower = config.towers[modality]  # pyright: ignore[reportArgumentType]
    kind = {"image": "vision", "text": "text"}[modality]
    if not isinstance(tower, OpenClipTower) or tower.kind != kind:
        raise ConfigError(
            f"{config.name}: architecture 'coca' takes an {modality} tower of backend 'open_clip' and kind "
            f"{kind!r}, not backend {tower.backend!r}."
        )
    if tower.projection != "none" or tower.output_dim != config.embed_dim:
        raise ConfigError(
            f"{config.name}: the {modality} tower must end in embed_dim {config.embed_dim} by itself: set "
            f"output_dim to it and projection to 'none' (got {tower.output_dim} and {tower.projection!r})."
        )
    return tower


def _check_image(name: str, tower: OpenClipTower) -> None:
    if tower.options.get("timm_model_name") or not isinstance(tower.options.get("layers", 12), int):
        raise ConfigError(
            f"{name}: a caption decoder reads the tokens of a vision transformer; towers of timm and "
            "residual networks give none. Set 'layers' to a number and leave timm_model_name out."
        )
    pool, attentional = tower.options.get("pool_type", "tok"), tower.options.get("attentional_pool", False)
    if pool not in ("tok", "avg") or not isinstance(attentional, bool):
        raise ConfigError(
            f"{name}: an image tower pools by pool_type 'tok' or 'avg', or with attentional_pool true; got "
            f"pool_type {pool!r} and attentional_pool {attentional!r}."
        )


def _check_text(name: str, tower: OpenClipTower) -> None:
    if tower.options.get("hf_model_name"):
        raise ConfigError(f"{name}: a text tower of transformers would be fetched; hf_model_name is refused.")
    if tower.options.get("no_causal_mask"):
        raise ConfigError(f"{name}: without a causal mask the decoder would see the words it has to predict.")
    if tower.options.get("pool_type", "argmax") == "none":
        raise ConfigError(f"{name}: pool_type 'none' gives a text no embedding. Use 'argmax', or embed_cls.")


def _check_pooling(name: str, tower: OpenClipTower, end_id: int, vocabulary: int) -> None:
    """A text tower without a class token reads the state of the end token; it must find that token."""
    if tower.options.get("embed_cls"):
        return
    pool = tower.options.get("pool_type", "argmax")
    if pool == "argmax" and end_id != vocabulary - 1:
        raise ConfigError(
            f"{name}: pool_type 'argmax' takes the highest token of a text for its end, and end_id is "
            f"{end_id} of {vocabulary}. Set pool_type to 'eos' and eos_id to {end_id}."
        )
    if pool == "eos" and int(tower.options.get("eos_id", 2)) != end_id:
        raise ConfigError(
            f"{name}: the text tower pools at eos_id {tower.options.get('eos_id', 2)} and texts end with "
            f"{end_id}. Make them equal."
        )


def _check_widths(
    config: ModelConfig, decoder: DecoderOptions, image: OpenClipTower, text: OpenClipTower
) -> None:
    attentional = image.options.get("attentional_pool", False)
    seen = config.embed_dim if attentional else int(image.options.get("width", 768))
    written = int(text.options.get("width", 512))
    for what, width in (("image", seen), ("text", written)):
        if width != decoder.width:
            raise ConfigError(
                f"{config.name}: the decoder is {decoder.width} wide and the {what} tokens are {width}. "
                "Make them equal."
            )
    if decoder.context_length < context_length(text) - 1:
        raise ConfigError(
            f"{config.name}: the decoder's context_length {decoder.context_length} is shorter than the text "
            f"tower's {context_length(text)}."
        )


def has_plain_blocks(tower: OpenClipTower) -> bool:
    """Return whether the blocks of a tower are open_clip's usual ones, which decoding steps through."""
    return not any(tower.options.get(key) for key in _CUSTOM_BLOCK)


def check_open_clip() -> None:
    """Raise unless the installed open_clip is one whose modules and masks are those of released weights.

    Releases 2.23 and 2.24 train captions on labels that are not shifted; release 4 moves the shift out of
    the model.

    Raises:
        DependencyError: another release.
    """
    found = importlib.metadata.version("open_clip_torch")
    numbers = tuple(int(part) for part in re.findall(r"\d+", found)[:2])
    first, last = OPEN_CLIP
    if not first <= numbers < last:
        raise DependencyError(
            f"open_clip_torch {found} builds CoCa differently from the released weights. "
            'Run: pip install "open_clip_torch>=3.3,<4"'
        )
