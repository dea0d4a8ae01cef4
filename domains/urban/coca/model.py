"""The architecture ``coca``: two towers and a decoder that writes captions, as open_clip publishes it.

The modules are open_clip's own, so that tensors have its names below our prefixes:

==================  ========================
open_clip           here
==================  ========================
``visual.``         ``towers.image.model.``
``text.``           ``towers.text.model.``
``text_decoder.``   ``decoder.``
``logit_scale``     ``logit_scale``
==================  ========================

Reference: Yu et al., "CoCa: Contrastive Captioners are Image-Text Foundation Models", 2022; open_clip 3.3,
``CoCa``; Yan et al., "UrbanCLIP: Learning Text-enhanced Urban Region Profiling with Contrastive
Language-Image Pretraining from the Web", 2024, which continues to train it on satellite tiles.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ....core.config import ModelConfig, OpenClipTower
from ....core.errors import InputError, nearest
from ....core.model import ContrastiveModel
from ....core.types import Batch, Outputs, TokenOutput, TowerOutput
from .options import DecoderOptions, check_open_clip, coca_options, context_length, has_plain_blocks

EXTRAS = ("caption_logits",)

_PREFIXES = {
    "visual.": "towers.image.model.",
    "text.": "towers.text.model.",
    "text_decoder.": "decoder.",
}


def name_here(name: str) -> str | None:
    """Return our name of open_clip's parameter ``name``, or None for one that no CoCa has."""
    for theirs, ours in _PREFIXES.items():
        if name.startswith(theirs):
            return ours + name.removeprefix(theirs)
    return name if name in ("logit_scale", "logit_bias") else None


def name_in_open_clip(name: str) -> str:
    """Return open_clip's name of our parameter ``name``."""
    for theirs, ours in _PREFIXES.items():
        if name.startswith(ours):
            return theirs + name.removeprefix(ours)
    return name


class CoCaModel(ContrastiveModel):
    """Images and texts in one space, and captions of images.

    ``config.towers`` are an image and a text tower of backend ``open_clip``; ``config.options`` are
    :class:`~.options.CoCaOptions`.

    Attributes:
        options: of the architecture. special: ids of its special tokens.
        context_length: tokens of the longest text.
        decoder: from image tokens [B, N, W] and text tokens [B, L, W] to logits [B, L, V].

    Raises:
        ConfigError: towers or options that do not make a CoCa.
        DependencyError: a release of open_clip whose CoCa is another one.
    """

    def __init__(self, config: ModelConfig) -> None:
        check_open_clip()
        options, special = coca_options(config)
        super().__init__(config)
        self.options, self.special = options, special
        text = cast("OpenClipTower", config.towers["text"])
        self.context_length = context_length(text)
        self.vocab_size = int(text.options.get("vocab_size", 49408))
        self._needs_context = not text.options.get("embed_cls")
        self.steps_through_blocks = has_plain_blocks(text)
        """Whether decoding can keep what earlier tokens left behind, see :mod:`.decoding_state`."""
        self.decoder: Any = build_decoder(self.options.decoder, self.vocab_size)
        self._set_masks()

    def _set_masks(self) -> None:
        """Give the causal masks their values where the model is built without any: no file brings them."""
        text: Any = self.towers["text"].model  # pyright: ignore[reportAttributeAccessIssue]
        with torch.device("cpu"):
            if text.attn_mask.is_meta:
                text.attn_mask = text.build_causal_mask()
            if self.decoder.attn_mask.is_meta:
                self.decoder.attn_mask = self.decoder.build_attention_mask()

    def _run(self, modality: str, inputs: Mapping[str, Tensor], *, tokens: bool) -> TowerOutput:
        if modality != "text":
            return super()._run(modality, inputs, tokens=tokens)
        ids = self._padded(inputs["input_ids"])
        output = super()._run(modality, {"input_ids": ids}, tokens=tokens)
        if output.tokens is None:
            return output
        return TowerOutput(output.pooled, TokenOutput(output.tokens.tokens, mask=ids != self.special.pad))

    def _padded(self, ids: Tensor) -> Tensor:
        """Return token ids [B, L] filled up to the context."""
        length = ids.shape[1]
        if length > self.context_length:
            raise InputError(
                f"Texts of {length} tokens were given; {self.config.name} takes {self.context_length}. "
                "Shorten them, or set text.overlong to truncate."
            )
        # Without a class token, open_clip's causal mask fits texts of the whole context only.
        if length == self.context_length or not (self.options.pad_to_context or self._needs_context):
            return ids
        return F.pad(ids, (0, self.context_length - length), value=self.special.pad)

    def encode_tokens(
        self, modality: str, inputs: Mapping[str, Tensor], *, project: bool = False
    ) -> TokenOutput:
        """Return the tokens [B, N, W] that the decoder reads; see the base class.

        Those of a text are padded like it, with a mask. Those of an image are what the attention pooling
        gives beside the embedding: they have no place in the picture.

        Raises:
            InputError: ``project``: the projection at the end of a tower is for its pooled state.
        """
        if project:
            raise InputError(f"The tokens of {self.config.name} are for its decoder. Use project=False.")
        return super().encode_tokens(modality, inputs)

    def forward(self, batch: Batch, *, tokens: tuple[str, ...] = (), extras: tuple[str, ...] = ()) -> Outputs:
        """Return embeddings, kept tokens and, when asked for, logits of the next words.

        Args:
            batch: ``image`` and ``text`` inputs; captions need both.
            tokens: modalities whose token states are kept.
            extras: ``caption_logits``: float [B, L - 1, V] for texts of L tokens; position j says what token
                j + 1 is.

        Raises:
            InputError: an unknown extra, captions without images or texts, or texts that begin with another
                token than the decoder starts from.
        """
        unknown = [name for name in extras if name not in EXTRAS]
        if unknown:
            raise InputError(
                f"{self.config.name} has no extra {unknown[0]!r}; it has {', '.join(EXTRAS)}."
                f"{nearest(unknown[0], EXTRAS)}"
            )
        if not extras:
            return super().forward(batch, tokens=tokens)
        if not {"image", "text"} <= set(batch.inputs):
            raise InputError(
                "Captions are learned from images and texts; the batch has "
                f"{', '.join(batch.inputs) or 'neither'}."
            )
        self._check_begin(batch.inputs["text"]["input_ids"])
        outputs = super().forward(batch, tokens=(*tokens, "image", "text"))
        length = batch.inputs["text"]["input_ids"].shape[1]
        written = outputs.tokens["text"].tokens[:, : length - 1]
        logits = self.caption_logits(outputs.tokens["image"].tokens, written)
        kept = {name: states for name, states in outputs.tokens.items() if name in tokens}
        return Outputs(
            outputs.embeddings, outputs.logit_scale, outputs.logit_bias, kept, {"caption_logits": logits}
        )

    def _check_begin(self, ids: Tensor) -> None:
        """A decoder that learns after another start token than it is given later writes nonsense."""
        first, special = ids[:, 0], self.special
        strange = first[(first != special.start) & (first != special.pad)]
        if len(strange):
            raise InputError(
                f"Texts begin with token {int(strange[0])}, and {self.config.name} starts captions from "
                f"token {special.start}. Set start_id and end_id of the model's options to those of its "
                "tokenizer."
            )

    def caption_logits(self, image_tokens: Tensor, text_tokens: Tensor) -> Tensor:
        """Return logits [B, L, V] of the token after each of ``text_tokens`` [B, L, W].

        Args:
            image_tokens: float [B, N, W] of :meth:`encode_tokens`, for every row of the texts.
        """
        return self.decoder(image_tokens, text_tokens)


def build_decoder(options: DecoderOptions, vocab_size: int) -> nn.Module:
    """Return open_clip's caption decoder with every weight drawn.

    open_clip leaves the last projection as the memory it happens to lie in; here it is drawn with deviation
    ``width ** -0.5``, as the function that open_clip never calls would.
    """
    from open_clip.transformer import LayerNorm, MultimodalTransformer, QuickGELU

    decoder: Any = MultimodalTransformer(
        width=options.width,
        layers=options.layers,
        heads=options.heads,
        context_length=options.context_length,
        ls_init_value=cast("Any", options.ls_init_value),
        act_layer=QuickGELU if options.quick_gelu else nn.GELU,
        norm_layer=LayerNorm,
        output_dim=vocab_size,
    )
    with torch.no_grad():
        nn.init.normal_(decoder.text_projection, std=options.width**-0.5)
    return decoder
