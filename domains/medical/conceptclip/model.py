"""The ConceptCLIP network: two towers, and heads that put patches and caption tokens into one space."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from ....core.blocks import Embedded
from ....core.config import LN_100, Config, ModelConfig, parse_config
from ....core.errors import ConfigError, InputError, nearest
from ....core.model import ContrastiveModel
from ....core.transformer import Bert
from ....core.types import Batch, Outputs, TokenOutput

if TYPE_CHECKING:
    from ....core.processing import Processor
    from ....core.types import TowerOutput

EXTRAS = ("image_concepts", "text_concepts", "concept_scale", "concept_bias")
"""What ``forward(extras=...)`` can add to the outputs."""

Similarity = Literal["cosine", "softmax", "sigmoid"]


class ConceptClipOptions(Config):
    """``ModelConfig.options`` of the architecture ``conceptclip``."""

    concept_heads: bool = True
    """False for weights of the first training stage, which have image-text alignment only."""
    concept_logit_scale: float = Field(default=math.log(1 / 0.07), ge=0.0, le=LN_100)
    """Start value in the log domain; kept within [0, ln 100] during training."""
    concept_logit_bias: float = -10.0
    pad_id: int = Field(default=0, ge=0)
    """Positions with this token id are padding, whatever mask comes with them."""


class ConceptClip(ContrastiveModel):
    """A two-tower model with a second, local space for image patches and caption tokens.

    Pooled embeddings are those of any sigmoid model. ``image_proj`` and ``text_proj`` send patch and
    token states [.., W] to the local space [.., D]; their vectors are compared after normalization, as
    ``exp(concept_logit_scale) cos + concept_logit_bias``.

    Args:
        config: towers ``image`` and ``text`` and ``options`` of :class:`ConceptClipOptions`.

    Raises:
        ConfigError: other towers or options.

    Reference:
        Nie et al. 2026, An explainable biomedical foundation model via large-scale concept-enhanced
        vision-language pre-training, arXiv 2501.15579.
    """

    map_smoothing: float | None = None
    """Grounding maps are shown as they are."""

    def __init__(self, config: ModelConfig) -> None:
        if set(config.towers) != {"image", "text"} or config.towers["text"].backend != "bert":
            raise ConfigError(
                "config.json: conceptclip needs the towers 'image' and 'text', the text tower of backend "
                f"'bert'; got {', '.join(f'{name} ({one.backend})' for name, one in config.towers.items())}."
            )
        super().__init__(config)
        self.options = parse_config(ConceptClipOptions, config.options, source="config.json: options")
        self.image_proj = self.text_proj = None
        self.concept_logit_scale = self.concept_logit_bias = None
        if self.options.concept_heads:
            widths = {name: int(tower.width) for name, tower in self.towers.items()}  # pyright: ignore[reportArgumentType]
            self.image_proj = _head(widths["image"], config.embed_dim)
            self.text_proj = _head(widths["text"], config.embed_dim)
            self.concept_logit_scale = nn.Parameter(torch.tensor(self.options.concept_logit_scale))
            self.concept_logit_bias = nn.Parameter(torch.tensor(self.options.concept_logit_bias))

    @property
    def map_range(self) -> tuple[float, float]:
        """Smallest and largest value a map of :meth:`phrase_maps` can have."""
        scale, bias = self.concept_scale().item(), self.concept_bias().item()
        return bias - scale, bias + scale

    @property
    def patch_grid(self) -> tuple[int, int]:
        """Rows and columns of patches, row by row as tokens."""
        patch_embed = getattr(getattr(self.towers["image"], "model", None), "patch_embed", None)
        grid = getattr(patch_embed, "grid_size", None)
        if grid is None:
            raise InputError(f"The image tower of {self.config.name!r} has no grid of patches.")
        return int(grid[0]), int(grid[1])

    def concept_scale(self) -> Tensor:
        """Return ``exp(concept_logit_scale)`` as a scalar tensor."""
        if self.concept_logit_scale is None:
            raise self._without_heads()
        return self.concept_logit_scale.exp()

    def concept_bias(self) -> Tensor:
        """Return the bias of concept logits, a scalar tensor."""
        if self.concept_logit_bias is None:
            raise self._without_heads()
        return self.concept_logit_bias

    @torch.no_grad()
    def clamp_scale_(self) -> None:
        """Keep both log scales within [0, ln 100]; call after each optimizer step."""
        super().clamp_scale_()
        if self.concept_logit_scale is not None:
            self.concept_logit_scale.clamp_(0.0, LN_100)

    def _heads(self) -> tuple[nn.Module, nn.Module]:
        if self.image_proj is None or self.text_proj is None:
            raise self._without_heads()
        return self.image_proj, self.text_proj

    def _without_heads(self) -> InputError:
        return InputError(
            f"{self.config.name!r} has no concept heads: these are weights of the first training stage. "
            "Use a model with concept heads, or only its pooled embeddings."
        )

    def _run(self, modality: str, inputs: Mapping[str, Tensor], *, tokens: bool) -> TowerOutput:
        if modality == "image":
            self._check_pixels(inputs.get("pixels"))
        if modality == "text" and "input_ids" in inputs:
            # As in the published code: padding is told by the id, so any mask gives the same answer.
            mask = (inputs["input_ids"] != self.options.pad_id).to(torch.long)
            inputs = {**inputs, "attention_mask": mask}
        return super()._run(modality, inputs, tokens=tokens)

    def _check_pixels(self, pixels: Tensor | None) -> None:
        patch_embed = getattr(getattr(self.towers["image"], "model", None), "patch_embed", None)
        size = getattr(patch_embed, "img_size", None)
        shape = None if pixels is None else list(pixels.shape)
        if shape is None or len(shape) != 4 or (size and tuple(shape[2:]) != tuple(size)):
            want = " x ".join(map(str, size)) if size else "H x W"
            raise InputError(
                f"pixels: expected [B, 3, {want}], got {shape}. Use the processor stored with the model."
            )

    def project_patches(self, tokens: Tensor) -> Tensor:
        """Return patches [B, P, D] in the local space, not normalized, from patch states [B, P, W]."""
        return self._heads()[0](tokens)

    def project_tokens(self, tokens: Tensor) -> Tensor:
        """Return caption tokens [B, L, D] in the local space, not normalized, from states [B, L, W]."""
        return self._heads()[1](tokens)

    def encode_tokens(
        self, modality: str, inputs: Mapping[str, Tensor], *, project: bool = False
    ) -> TokenOutput:
        """Return the states [B, N, W] of a tower, or its vectors [B, N, D] in the local space.

        Text positions include the start and end tokens, and padding where rows differ in length.

        Args:
            modality: "image" or "text".
            inputs: as in :meth:`encode`.
            project: send each token through the concept head of its modality, without normalizing.
        """
        output = super().encode_tokens(modality, inputs)
        if not project:
            return output
        head = self._heads()[0 if modality == "image" else 1]
        return TokenOutput(head(output.tokens), output.grid, output.mask)

    def padded_text_states(self, input_ids: Tensor) -> Tensor:
        """Return the states [B, L, W] of every position of ``input_ids`` int64 [B, L].

        Unlike :meth:`encode_tokens` this keeps columns that are padding in all rows. Only the published
        way of annotating concepts reads there.
        """
        tower = self.towers["text"]
        if not isinstance(tower, Bert):
            raise ConfigError("padded_text_states needs the text tower of backend 'bert'.")
        embedded = Embedded(tower.embeddings(input_ids), key_mask=input_ids != self.options.pad_id)
        return tower.normalize(tower.encode(embedded))

    def forward(self, batch: Batch, *, tokens: tuple[str, ...] = (), extras: tuple[str, ...] = ()) -> Outputs:
        """Return embeddings, the tokens that were asked for, and the extras that were asked for.

        Args:
            batch: tower inputs by modality.
            tokens: modalities whose token states (before the concept heads) are kept.
            extras: of :data:`EXTRAS`: ``image_concepts`` [B, P, D] and ``text_concepts`` [B, L, D]
                (not normalized), ``concept_scale`` (already ``exp``) and ``concept_bias``, scalars.

        Raises:
            InputError: an extra that this architecture does not have, or whose modality is not in the
                batch.
        """
        for name in extras:
            if name not in EXTRAS:
                raise InputError(
                    f"{self.config.name} gives no extra {name!r}; it gives: {', '.join(EXTRAS)}."
                    f"{nearest(name, EXTRAS)}"
                )
            modality = name.removesuffix("_concepts")
            if modality != name and modality not in batch.inputs:
                raise InputError(
                    f"The extra {name!r} needs {modality!r} in the batch, which has "
                    f"{', '.join(batch.inputs) or 'nothing'}. Leave it out, or give that input."
                )
        local = tuple(one.removesuffix("_concepts") for one in extras if one.endswith("_concepts"))
        outputs = super().forward(batch, tokens=tuple(dict.fromkeys((*tokens, *local))))
        added: dict[str, Tensor] = {}
        for name in extras:
            if name == "concept_scale":
                added[name] = self.concept_scale()
            elif name == "concept_bias":
                added[name] = self.concept_bias()
            elif name.removesuffix("_concepts") not in outputs.tokens:
                raise InputError(f"The extra {name!r} needs a tower that keeps its tokens.")
            else:
                head = self.project_patches if name == "image_concepts" else self.project_tokens
                added[name] = head(outputs.tokens[name.removesuffix("_concepts")].tokens)
        kept = {name: states for name, states in outputs.tokens.items() if name in tokens}
        return Outputs(outputs.embeddings, outputs.logit_scale, outputs.logit_bias, kept, added)

    def similarity(self, left: Tensor, right: Tensor, *, mode: Similarity = "cosine") -> Tensor:
        """Return how well two sets of unit embeddings agree, [B1, B2].

        Args:
            left, right: unit embeddings [B1, D] and [B2, D].
            mode: ``cosine``; ``softmax`` of the scaled cosines over ``right``, without the bias, which
                forces one winner; ``sigmoid`` with the bias: the probability of each pair by itself.

        Raises:
            ConfigError: another mode.
        """
        cosines = super().similarity(left, right)
        if mode == "cosine":
            return cosines
        if mode == "softmax":
            return (self.scale() * cosines).softmax(dim=-1)
        if mode == "sigmoid":
            return self.logits(left, right).sigmoid()
        known = ("cosine", "softmax", "sigmoid")
        raise ConfigError(
            f"similarity has no mode {mode!r}; it has: {', '.join(known)}.{nearest(mode, known)}"
        )

    def concept_logits(self, patches: Tensor, concepts: Tensor) -> Tensor:
        """Return ``s_c cos(p, c) + b_c`` float32 [B, P, N] of every patch and concept.

        Args:
            patches: float [B, P, D] from :meth:`project_patches`.
            concepts: float [N, D] in the local space.
        """
        cosines = F.normalize(patches.float(), dim=-1) @ F.normalize(concepts.float(), dim=-1).T
        return self.concept_scale().float() * cosines + self.concept_bias().float()

    def encode_phrases(
        self, text_inputs: Mapping[str, Tensor], *, phrases: Sequence[str], processor: Processor
    ) -> Mapping[str, Tensor]:
        """Return ``phrases``, float32 [P, D] in the local space: what :meth:`phrase_maps` takes for texts.

        Arguments and errors as there.
        """
        if "phrases" in text_inputs:
            return text_inputs
        from .spans import phrase_positions

        ids = text_inputs["input_ids"]
        if len(phrases) != len(ids):
            raise InputError(f"{len(phrases)} phrases for {len(ids)} texts; each text shows one phrase.")
        inside = phrase_positions(ids, phrases, processor)
        states = self.encode_tokens("text", text_inputs, project=True).tokens
        weights = inside[:, : states.shape[1]].to(states)
        return {"phrases": (weights[:, :, None] * states).sum(1) / weights.sum(1, keepdim=True)}

    def phrase_maps(
        self,
        image_inputs: Mapping[str, Tensor],
        text_inputs: Mapping[str, Tensor],
        *,
        phrases: Sequence[str],
        processor: Processor,
    ) -> tuple[Tensor, Tensor]:
        """Return where in each image each phrase is: maps float32 [B, P, h, w], scores float32 [B, P].

        A map holds the concept logit of every patch, the score is its largest value. The vector of a
        phrase is the mean of its own tokens inside its text.

        Args:
            image_inputs: of B images.
            text_inputs: of P texts, each with its phrase in it, or from :meth:`encode_phrases`.
            phrases: P phrases, as they stand in the texts.
            processor: the model's own.

        Raises:
            InputError: the number of phrases differs from that of texts, or one is not in its text.
        """
        concepts = self.encode_phrases(text_inputs, phrases=phrases, processor=processor)["phrases"]
        patches = self.encode_tokens("image", image_inputs, project=True)
        logits = self.concept_logits(patches.tokens, concepts)
        maps = logits.transpose(1, 2).unflatten(-1, self.patch_grid)
        return maps, logits.amax(dim=1)


def _head(inputs: int, outputs: int) -> nn.Sequential:
    """Return the two bias-free linears with an exact GELU between them that end both local paths."""
    return nn.Sequential(
        nn.Linear(inputs, outputs, bias=False), nn.GELU(), nn.Linear(outputs, outputs, bias=False)
    )
