"""The architecture ``biovil``: BioViL, BioViL-T, and CXR-BERT alone.

Image and text meet as patches and [CLS]: every patch of a chest X-ray is projected into the joint
space by itself, the image embedding is their mean, and the cosine of a patch with a sentence is
what grounding shows.

Reference: Boecking et al., "Making the Most of Text Semantics to Improve Biomedical Vision-Language
Processing", 2022; Bannur et al., "Learning to Exploit Temporal Structure for Biomedical
Vision-Language Processing", 2023; microsoft/hi-ml, ``health_multimodal``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ....core.config import BertTower, Config, ModelConfig, TimmTower, parse_config
from ....core.errors import ConfigError, InputError, nearest
from ....core.model import ContrastiveModel
from ....core.towers import TimmAdapter
from ....core.transformer import Bert
from ....core.types import Batch, Outputs, TokenOutput
from .image import ClassifierOptions, ImageStates, ImageTower, PatchProjection, as_tokens, classifier_head
from .temporal import TemporalOptions
from .text import MaskedWordHead, TextProjection

if TYPE_CHECKING:
    from ....core.processing import Processor

IGNORED_LABEL = -100
"""At places of ``mlm_labels`` that are not predicted."""
STRIDE = 32


class BioViLOptions(Config):
    """``options`` of a model of this architecture."""

    temporal: TemporalOptions | None = None
    """Set for BioViL-T: the image may come with an earlier one."""
    masked_words: bool = True
    """Whether the text tower has its masked-word head."""
    joint_space: bool = True
    """False for a language model without projection head, such as CXR-BERT-general."""
    classifier: ClassifierOptions | None = None


class BioViL(ContrastiveModel):
    """Chest X-rays and radiology text in one joint space, patch by patch.

    Towers are any of ``image`` (backend ``timm``, a residual network) and ``text`` (backend ``bert``);
    ``projection`` of both is ``mlp``, whose form here is that of the papers. ``options`` are
    :class:`BioViLOptions`. Extras that :meth:`forward` gives by name:

    * ``patch_embeddings`` float32 [B, h, w, D], unit; ``class_logits`` float [B, K, tasks];
    * ``word_embeddings`` float32 [B, L, D], unit, and ``word_mask`` bool [B, L], True at real tokens
      other than [CLS] and [SEP];
    * ``mlm_logits`` float [M, V] at the M places of ``batch.extras["mlm_labels"]`` that are not -100, row
      by row, of ``mlm_input_ids`` and ``mlm_attention_mask`` int64 [B, L];
    * ``findings_embeddings``, ``impression_embeddings`` float32 [B, D], unit, of
      ``findings_input_ids``, ``findings_attention_mask`` and so on.

    Raises:
        ConfigError: towers or options that this architecture does not take.
    """

    map_range: tuple[float, float] = (-1.0, 1.0)
    """Heat maps are cosines; outlines are usual at 0.25, 0.5 and 0.75."""
    map_smoothing: float | None = 1.5
    """Deviation, in patches, of the Gaussian that grounding applies to a map."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.options = parse_config(BioViLOptions, config.options, source=f"{config.name}: options")
        self._check()
        image, text = config.towers.get("image"), config.towers.get("text")
        if image is not None:
            trunk = cast("TimmAdapter", self.towers["image"]).model
            tower = ImageTower(trunk, self.options.temporal, name=config.name)
            hidden = image.projection_hidden or config.embed_dim
            self.towers["image"] = tower
            self.projections["image"] = PatchProjection(tower.width, config.embed_dim, hidden=hidden)
            heads = self.options.classifier
            self.classifier = (
                None
                if heads is None
                else nn.ModuleList(classifier_head(tower.width, heads) for _ in range(heads.tasks))
            )
        if isinstance(text, BertTower):
            if self.options.joint_space:
                hidden = text.projection_hidden or config.embed_dim
                self.projections["text"] = TextProjection(text.width, config.embed_dim, hidden=hidden)
            self.masked_words = MaskedWordHead(text) if self.options.masked_words else None

    def _check(self) -> None:
        for modality, tower in self.config.towers.items():
            wanted = {"image": TimmTower, "text": BertTower}.get(modality)
            if wanted is None or not isinstance(tower, wanted):
                raise ConfigError(
                    f"{self.config.name}: architecture 'biovil' takes an image tower of backend 'timm' and "
                    f"a text tower of backend 'bert', not {modality!r} of backend {tower.backend!r}."
                )
        if not self.options.joint_space and "image" in self.config.towers:
            raise ConfigError(f"{self.config.name}: options.joint_space is false, which is for text alone.")
        if "image" not in self.config.towers and (self.options.temporal or self.options.classifier):
            raise ConfigError(
                f"{self.config.name}: options.temporal and options.classifier need an image tower."
            )

    @property
    def image_tower(self) -> ImageTower:
        """The image tower.

        Raises:
            InputError: the model has none.
        """
        if "image" not in self.towers:
            raise InputError(f"{self.config.name} reads text only; it has no image tower.")
        return cast("ImageTower", self.towers["image"])

    @property
    def no_weight_decay(self) -> frozenset[str]:
        """Names of parameters that weight decay leaves alone whatever their shape."""
        names = {name for name, _ in self.named_parameters()}
        return frozenset({"towers.image.temporal.type_embed"} & names)

    @property
    def layer_order(self) -> Mapping[str, Sequence[tuple[str, ...]]]:
        """The image tower's layers, which layer-wise learning rates count; see :meth:`ImageTower.layers`."""
        return {"image": self.image_tower.layers("towers.image")} if "image" in self.towers else {}

    def image_states(self, inputs: Mapping[str, Tensor]) -> ImageStates:
        """Return patches, their mean, and both in the joint space; see :class:`ImageStates`.

        Args:
            inputs: ``pixels`` and, for BioViL-T, ``previous``; see :class:`ImageTower`.
        """
        return self._states(self.image_tower.patches(inputs))

    def change_states(self, inputs: Mapping[str, Tensor]) -> tuple[ImageStates, ImageStates]:
        """Return the states of images against earlier ones, and against themselves: had nothing changed.

        Args:
            inputs: ``pixels`` and ``previous``; see :meth:`ImageTower.compared`.
        """
        changed, same = self.image_tower.compared(inputs)
        return self._states(changed), self._states(same)

    def _states(self, patches: Tensor) -> ImageStates:
        projected = _in_float32(self.projections["image"], patches)
        return ImageStates(patches, patches.mean(dim=(2, 3)), projected, projected.mean(dim=(2, 3)))

    def encode_patches(self, inputs: Mapping[str, Tensor], *, normalize: bool = True) -> Tensor:
        """Return patch embeddings float32 [B, h, w, D], unit length unless ``normalize=False``."""
        projected = self.image_states(inputs).projected.permute(0, 2, 3, 1)
        return F.normalize(projected, dim=-1) if normalize else projected

    def embed(
        self, modality: str, inputs: Mapping[str, Tensor], *, tokens: bool = False
    ) -> tuple[Tensor, TokenOutput | None]:
        """Return raw embeddings float32 [B, D] and, when ``tokens``, the states they came from.

        Raises:
            InputError: no such tower, or a language model without joint space.
        """
        if modality == "image" and modality in self.towers:
            states = self.image_states(inputs)
            return states.embedding, as_tokens(states.patches) if tokens else None
        output = self._run(modality, inputs, tokens=tokens)
        self._require_joint_space()
        return _in_float32(self.projections[modality], output.pooled), output.tokens

    def _require_joint_space(self) -> None:
        if not self.options.joint_space:
            raise InputError(
                f"{self.config.name} predicts masked words only: its weights have no projection head, so it "
                "gives no embeddings. Use a BioViL model, or fill masks."
            )

    def encode_tokens(
        self, modality: str, inputs: Mapping[str, Tensor], *, project: bool = False
    ) -> TokenOutput:
        """Return the states [B, N, W] of patches or words, or [B, N, D] in the joint space."""
        if modality == "image" and project:
            return as_tokens(self.image_states(inputs).projected)
        if project:
            self._require_joint_space()
        return super().encode_tokens(modality, inputs, project=project)

    def class_logits(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Return the classifier's logits, float [B, K, tasks].

        Raises:
            InputError: the model has no classifier.
        """
        return self._classify(self.image_states(inputs).pooled)

    def _classify(self, pooled: Tensor) -> Tensor:
        heads = getattr(self, "classifier", None)
        if heads is None:
            raise InputError(f"{self.config.name} has no classifier. Set options.classifier and train it.")
        return torch.stack([head(pooled) for head in cast("nn.ModuleList", heads)], dim=2)

    def word_logits(self, inputs: Mapping[str, Tensor], at: Tensor | None = None) -> Tensor:
        """Return a score for every word of the vocabulary at every place, float [B, n, V].

        Args:
            inputs: ``input_ids`` and ``attention_mask`` int64 [B, L]; n is the longest real length.
            at: bool [B, L]; then only its M places are answered, [M, V], row by row.

        Raises:
            InputError: the model has no masked-word head.
        """
        head = getattr(self, "masked_words", None)
        if head is None:
            raise InputError(f"{self.config.name} has no masked-word head. Use a CXR-BERT with one.")
        states = cast("TokenOutput", self._run("text", inputs, tokens=True).tokens).tokens
        if at is not None:
            states = states[at[:, : states.shape[1]]]
        return head(states, cast("Bert", self.towers["text"]).embeddings.word_embeddings.weight)

    def encode_phrases(
        self,
        text_inputs: Mapping[str, Tensor],
        *,
        phrases: Sequence[str] = (),
        processor: Processor | None = None,
    ) -> Mapping[str, Tensor]:
        """Return ``phrases``, unit vectors float32 [P, D], which :meth:`phrase_maps` takes for tokens."""
        return text_inputs if "phrases" in text_inputs else {"phrases": self.encode("text", text_inputs)}

    def phrase_maps(
        self,
        image_inputs: Mapping[str, Tensor],
        text_inputs: Mapping[str, Tensor],
        *,
        phrases: Sequence[str],
        processor: Processor,
    ) -> tuple[Tensor, Tensor]:
        """Return where each phrase is seen: maps float32 [B, P, h, w] and scores float32 [B, P].

        A map holds the cosines of the patches with the phrase, unsmoothed; a score is the cosine of
        the whole image with it.

        Args:
            image_inputs: ``pixels`` [B, 3, H, W] and, for BioViL-T, ``previous``.
            text_inputs: the P phrases as the processor makes them, or from :meth:`encode_phrases`.
            phrases: the phrases as written; nothing here depends on them.
            processor: the model's; nothing here depends on it.
        """
        texts = self.encode_phrases(text_inputs)["phrases"]
        states = self.image_states(image_inputs)
        maps = torch.einsum("bdhw,pd->bphw", F.normalize(states.projected, dim=1), texts)
        return maps, F.normalize(states.embedding, dim=-1) @ texts.T

    def dilated(self, stages: int = 1) -> BioViL:
        """Return this model with a grid twice as fine, sharing its weights.

        The last stage keeps its stride at one and looks two pixels apart instead, so that 480 pixels
        give 30 x 30 patches. Weights are the same objects: what is trained in one is trained in both.

        Args:
            stages: how many of the last stages, 1 or 2; each doubles the grid.

        Raises:
            InputError: a BioViL-T, whose comparison has a fixed grid; a network of basic blocks.
            ConfigError: another number of stages.
        """
        if stages not in (1, 2):
            raise ConfigError(f"stages must be 1 or 2, the last stages to dilate; got {stages!r}.")
        tower, name = self.image_tower, self.config.name
        if tower.temporal is not None:
            raise InputError(f"{name}: its temporal encoder has a fixed grid. Use a BioViL for a finer one.")
        if not hasattr(tower.trunk.layer4[0], "conv3"):
            raise InputError(f"{name}: a finer grid needs bottleneck blocks, as resnet50 has them.")
        image = cast("TimmTower", self.config.towers["image"])
        options = {**image.options, "output_stride": STRIDE >> stages}
        towers = {**self.config.towers, "image": image.model_copy(update={"options": options})}
        with torch.device("meta"):
            twin = BioViL(self.config.model_copy(update={"towers": towers}))
        twin.load_state_dict(self.state_dict(keep_vars=True), assign=True)
        twin._frozen = set(self._frozen)
        twin._fast = {name: tower for name, tower in self._fast.items() if name == "text"}
        return cast("BioViL", twin.train(self.training))

    def forward(self, batch: Batch, *, tokens: tuple[str, ...] = (), extras: tuple[str, ...] = ()) -> Outputs:
        """Return embeddings of every modality in ``batch`` and the extras that were asked for.

        Args:
            batch: tower inputs by modality; ``extras`` of it as the class text says.
            tokens: modalities whose token states are kept.
            extras: names of the class text.

        Raises:
            InputError: an unknown extra, or something it needs is not in the batch.
        """
        for name in extras:
            if name not in _EXTRAS:
                known = ", ".join(_EXTRAS)
                raise InputError(
                    f"{self.config.name} gives no extra {name!r}; it gives: {known}.{nearest(name, _EXTRAS)}"
                )
            modality = _NEEDS.get(name)
            if modality is not None and modality not in batch.inputs:
                raise InputError(
                    f"The extra {name!r} needs {modality!r} in the batch, which has "
                    f"{', '.join(batch.inputs) or 'nothing'}. Leave it out, or give that input."
                )
        for modality in batch.inputs:
            if modality not in self.towers:
                raise InputError(
                    f"This model has no {modality!r} tower; it takes: {', '.join(self.modalities)}."
                )
        embeddings: dict[str, Tensor] = {}
        kept: dict[str, TokenOutput] = {}
        found: dict[str, Tensor] = {}
        if "image" in batch.inputs:
            states = self.image_states(batch.inputs["image"])
            embeddings["image"] = F.normalize(states.embedding, dim=-1)
            kept["image"] = as_tokens(states.patches)
            if "patch_embeddings" in extras:
                found["patch_embeddings"] = F.normalize(states.projected.permute(0, 2, 3, 1), dim=-1)
            if "class_logits" in extras:
                found["class_logits"] = self._classify(states.pooled)
        if "text" in batch.inputs:
            words = "word_embeddings" in extras or "word_mask" in extras
            raw, output = self.embed("text", batch.inputs["text"], tokens=words or "text" in tokens)
            embeddings["text"] = F.normalize(raw, dim=-1)
            if output is not None:
                kept["text"] = output
            if words:
                found.update(self._words(cast("TokenOutput", output)))
        found.update(self._report_extras(batch, extras))
        return Outputs(
            embeddings,
            self.scale(),
            self.logit_bias,
            {name: kept[name] for name in tokens if name in kept},
            {name: found[name] for name in extras},
        )

    def _report_extras(self, batch: Batch, extras: tuple[str, ...]) -> dict[str, Tensor]:
        """Return what comes from further passes of the text tower."""
        found: dict[str, Tensor] = {}
        if "mlm_logits" in extras:
            labels = _of(batch, "mlm_labels")
            found["mlm_logits"] = self.word_logits(_section(batch, "mlm"), labels != IGNORED_LABEL)
        for name in ("findings", "impression"):
            if f"{name}_embeddings" in extras:
                found[f"{name}_embeddings"] = self.encode("text", _section(batch, name))
        return found

    def _words(self, output: TokenOutput) -> dict[str, Tensor]:
        states = output.tokens
        mask = output.mask
        if mask is None:
            mask = torch.ones(states.shape[:2], dtype=torch.bool, device=states.device)
        # The first real token is [CLS], the last one [SEP]; neither is a word.
        inner = mask & mask.roll(-1, dims=1)
        inner[:, 0] = False
        inner[:, -1] = False
        words = F.normalize(_in_float32(self.projections["text"], states), dim=-1)
        return {"word_embeddings": words, "word_mask": inner}


_EXTRAS = (
    "patch_embeddings", "class_logits", "word_embeddings", "word_mask", "mlm_logits", "findings_embeddings",
    "impression_embeddings",
)  # fmt: skip


_NEEDS = {
    "patch_embeddings": "image", "class_logits": "image", "word_embeddings": "text", "word_mask": "text",
}  # fmt: skip
"""{extra: modality it is made of}; the others come from ``Batch.extras``."""


def _in_float32(projection: Callable[[Tensor], Tensor], states: Tensor) -> Tensor:
    """Return ``projection(states)`` as float32, outside autocast: a cosine needs the precision."""
    weight = next(cast("nn.Module", projection).parameters())
    with torch.autocast(states.device.type, enabled=False):
        return projection(states.to(weight.dtype)).float()


def _of(batch: Batch, name: str) -> Tensor:
    if name not in batch.extras:
        there = ", ".join(sorted(batch.extras)) or "nothing"
        raise InputError(
            f"The batch has no extra {name!r}; it has {there}. Collate it with 'report_sections'."
        )
    return batch.extras[name]


def _section(batch: Batch, name: str) -> dict[str, Tensor]:
    return {word: _of(batch, f"{name}_{word}") for word in ("input_ids", "attention_mask")}
