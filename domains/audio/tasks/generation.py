"""Sounds from texts, pictures or other sounds: a mel spectrogram by diffusion, then a waveform."""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

import torch
from torch import Tensor

from ....core.errors import ConfigError, InputError, LimitError, nearest
from ....core.inputs import as_items
from ..clipsonic.model import ClipSonic
from ..clipsonic.options import Bridging
from ..clipsonic.prior import DiffusionPrior
from ..clipsonic.sampling import Sampler, SamplingSettings, sample_targets
from ..clipsonic.targets import Vocoder, check_vocoder, level_safely, to_log_mels, to_waves
from .vocabulary import unfamiliar_words

if TYPE_CHECKING:
    from ....core.handle import ModelHandle

_log = logging.getLogger(__name__)
Condition = Literal["text", "image", "audio", "text+prior"]
CONDITIONS: tuple[str, ...] = get_args(Condition)
MAX_SECONDS = 60.0
MAX_PROMPT = 1000
"""Characters of a prompt."""
_FAR = 4.0
"""Times the length of the training windows from which on a sound is likely to fall apart."""


@dataclass(frozen=True)
class GenerationOptions:
    """How sounds are made.

    Attributes:
        seconds: length; None is that of the training windows.
        steps, guidance, sampler: see :class:`~..clipsonic.sampling.SamplingSettings`.
        seed: item i draws from seed + i alone, so that it sounds the same in any company.
        condition: what the items are, and whether texts go through a prior: ``text`` (zero-shot, by the
            bridge), ``text+prior``, ``image`` or ``audio``.
        bridge: how embeddings of another modality than the training's are moved: ``none``, ``shift``,
            ``standardize``; None is what the weights say.
        negative: a text to lead away from.
        batch_size: sounds per call of the network; no effect beyond rounding.
    """

    seconds: float | None = None
    steps: int = 25
    guidance: float = 3.0
    sampler: Sampler = "dpm"
    seed: int = 0
    condition: Condition = "text"
    bridge: Bridging | None = None
    negative: str | None = None
    batch_size: int = 8

    def __post_init__(self) -> None:
        # Refuses what it does not know.
        _ = self.sampling
        if self.condition not in CONDITIONS:
            raise ConfigError(
                f"No condition {self.condition!r}; there are {', '.join(CONDITIONS)}."
                f"{nearest(self.condition, CONDITIONS)}"
            )
        if self.bridge not in (None, *get_args(Bridging)):
            raise ConfigError(f"No bridge {self.bridge!r}; there are {', '.join(get_args(Bridging))}.")
        if self.seconds is not None and not (math.isfinite(self.seconds) and self.seconds > 0):
            raise ConfigError(f"seconds must be over 0, got {self.seconds:g}.")
        if self.seconds is not None and self.seconds > MAX_SECONDS:
            raise LimitError(
                f"seconds {self.seconds:g} is over the limit of {MAX_SECONDS:g}. Make several shorter sounds."
            )
        if not 0 <= self.seed < 2**63:
            raise ConfigError(f"seed must be a whole number from 0 to 2**63 - 1, got {self.seed}.")
        if self.batch_size < 1:
            raise ConfigError(f"batch_size must be at least 1, got {self.batch_size}.")

    @property
    def sampling(self) -> SamplingSettings:
        """Sampler, steps and guidance."""
        return SamplingSettings(self.steps, self.guidance, self.sampler)

    @property
    def modality(self) -> str:
        """The tower that reads the items."""
        return "text" if self.condition == "text+prior" else self.condition

    def with_(self, **changes: Any) -> GenerationOptions:
        """Return a copy with some options changed; unknown names raise ``ConfigError``."""
        known = [one.name for one in dataclasses.fields(self)]
        for name in changes:
            if name not in known:
                raise ConfigError(
                    f"Unknown option {name!r}; known: {', '.join(known)}.{nearest(name, known)}"
                )
        return dataclasses.replace(self, **changes)


@dataclass(frozen=True)
class Generation:
    """Sounds and where they come from.

    Attributes:
        waves: float32 [B, T] in [-1, 1]. rate: Hz.
        log_mels: natural logarithm of the mel magnitudes they were made of, float32 [B, F, frames].
        metas: of each sound: model, revision, sampler, seed and everything else it takes to repeat it;
            ``agreement`` is the cosine between the sound and what was asked for in the model's own space,
            where it has ears; ``unfamiliar`` are words that it can only spell.
    """

    waves: Tensor
    rate: int
    log_mels: Tensor
    metas: tuple[Mapping[str, Any], ...] = field(default=())

    def __len__(self) -> int:
        return len(self.waves)


def can_generate(model: ModelHandle) -> bool:
    """Return whether a model makes sound."""
    return isinstance(model.network, ClipSonic)


def generate(
    model: ModelHandle,
    items: Any,
    options: GenerationOptions | None = None,
    *,
    prior: ModelHandle | None = None,
    vocoder: ModelHandle | None = None,
    progress: Callable[[int, int], None] | None = None,
    **changes: Any,
) -> Generation:
    """Return one sound per item.

    Example::

        made = generate(model, ["rain on a tin roof"], seconds=5, seed=1)
        write_audio("rain.wav", made.waves[0], made.rate)

    Args:
        model: of architecture ``clipsonic``.
        items: texts, or with another ``condition`` pictures or recordings, as :meth:`verticlip.Model.embed`
            takes them; one counts as a list of one.
        options: see :class:`GenerationOptions`; its fields may also be given by keyword.
        prior: turns text embeddings into those of images, for condition ``text+prior``.
        vocoder: used instead of the model's own; has to take the same spectrograms.
        progress: called with (steps done, steps in all).

    Raises:
        ConfigError: options out of range or against each other. LimitError: a length or text over its limit.
        InputError: a model that makes no sound, an empty text, an item that cannot be used, a vocoder or
            prior that does not fit.

    Reference: Dong et al., "CLIPSonic", WASPAA 2023: condition ``image`` is IQ, ``text`` ZS (SD for weights
    trained with texts), ``text+prior`` PD.
    """
    options = (options or GenerationOptions()).with_(**changes)
    network = _network(model, options)
    maker = None if vocoder is None else _vocoder(vocoder, network)
    items = as_items(items)
    _check_items(items, options)
    units = _conditions(model, network, items, options, prior)
    against = None
    if options.negative is not None:
        _check_text(options.negative, "negative")
        against = network.condition(
            _embedded(model, [options.negative], "text"), "text", bridge=options.bridge
        )[0]
    target = network.options.target
    seconds = target.window_s if options.seconds is None else options.seconds
    samples = max(1, round(seconds * target.sampling_rate))
    frames = -(-samples // target.mel.hop_length)
    parts, log_mels = [], []
    total = options.steps * len(units)
    for start in range(0, len(units), options.batch_size):
        batch = units[start : start + options.batch_size]
        generators = [torch.Generator().manual_seed(options.seed + start + row) for row in range(len(batch))]
        step = None if progress is None else _counted(progress, start * options.steps, len(batch), total)
        targets = sample_targets(
            network,
            batch,
            options.sampling,
            frames=frames,
            generators=generators,
            against=against,
            progress=step,
        )
        parts.append(to_waves(network, targets, generators=generators, vocoder=maker).cpu()[:, :samples])
        log_mels.append(to_log_mels(targets, target).cpu())
    waves, gains = level_safely(torch.cat(parts))
    if not torch.isfinite(waves).all():
        raise InputError(f"{model.id} made sound that is not finite. Lower guidance, or use another sampler.")
    facts = {
        "vocoder": vocoder.id if vocoder is not None else network.options.vocoder.kind,
        **({"prior": prior.id, "prior_revision": prior.revision} if prior is not None else {}),
    }
    metas = _metas(model, items, options, seconds, facts)
    told = [
        {**meta, "gain": round(float(gain), 6), **heard}
        for meta, gain, heard in zip(metas, gains, _agreement(model, waves, items, options), strict=True)
    ]
    return Generation(waves, target.sampling_rate, torch.cat(log_mels), tuple(told))


def _network(model: ModelHandle, options: GenerationOptions) -> ClipSonic:
    """Return the network, or say why it cannot answer."""
    if not isinstance(model.network, ClipSonic):
        raise InputError(
            f"{model.id} makes no sound. Use a model of architecture clipsonic, such as audio/tiny-sonic."
        )
    if options.modality not in model.network.modalities:
        raise InputError(
            f"{model.id} has no {options.modality} tower; it can be asked by "
            f"{', '.join(model.network.modalities)}."
        )
    return model.network


def _vocoder(handle: ModelHandle, network: ClipSonic) -> Vocoder:
    if not hasattr(handle.network, "synthesize"):
        raise InputError(f"{handle.id} is no vocoder. Use a model of architecture bigvgan, or leave it out.")
    made = cast("Vocoder", handle.network)
    check_vocoder(made, network.options.target, name=handle.id)
    return made


def _check_items(items: Sequence[Any], options: GenerationOptions) -> None:
    if not items:
        raise InputError("There is nothing to make a sound of: the list is empty.")
    if options.modality == "text":
        for position, item in enumerate(items):
            if not isinstance(item, str):
                raise InputError(f"prompt {position} is {type(item).__name__}, not text. Set condition.")
            _check_text(item, f"prompt {position}")


def _check_text(text: str, what: str) -> None:
    if not text.strip():
        raise InputError(f"{what} is empty. Say what shall be heard, such as 'rain on a roof'.")
    if len(text) > MAX_PROMPT:
        raise LimitError(
            f"{what} has {len(text):,} characters; the limit is {MAX_PROMPT:,}. Say it in a sentence."
        )


def _conditions(
    model: ModelHandle,
    network: ClipSonic,
    items: Sequence[Any],
    options: GenerationOptions,
    prior: ModelHandle | None,
) -> Tensor:
    """Return unit conditions [B, D]."""
    if options.condition != "text+prior":
        if prior is not None:
            raise ConfigError(
                f"condition {options.condition!r} uses no prior. Choose 'text+prior', or leave it out."
            )
        return network.condition(
            _embedded(model, items, options.modality), options.modality, bridge=options.bridge
        )
    if prior is None:
        raise ConfigError("condition 'text+prior' needs a prior: a model of architecture diffusion_prior.")
    if not isinstance(prior.network, DiffusionPrior):
        raise InputError(f"{prior.id} is no diffusion prior.")
    if network.options.condition.modality != "image":
        raise InputError(
            f"A prior makes image embeddings, and {model.id} was trained with those of "
            f"{network.options.condition.modality}. Use condition 'text'."
        )
    return network.condition(_by_prior(model, prior.network, items, options), "image", bridge=options.bridge)


@torch.inference_mode()
def _by_prior(
    model: ModelHandle, prior: DiffusionPrior, items: Sequence[str], options: GenerationOptions
) -> Tensor:
    """Return unit image embeddings [B, D] that a prior makes of texts, each from its own seed."""
    if prior.dim != model.config.embed_dim:
        raise InputError(
            f"The prior works on {prior.dim} values and {model.id} on {model.config.embed_dim}. They have to "
            "belong to the same CLIP model."
        )
    found = []
    for position, text in enumerate(items):
        inputs = {key: value.to(model.device) for key, value in model.processor("text", [text]).items()}
        vector = model.network.encode("text", inputs)
        states = model.network.encode_tokens("text", inputs)
        encodings = states.tokens
        if states.mask is not None:
            # Rows of zeros are what a prior knows padding by.
            encodings = encodings * states.mask[..., None].to(encodings.dtype)
        made = prior.sample(
            vector.to(prior.device),
            encodings.float().to(prior.device),
            generator=torch.Generator().manual_seed(options.seed + position),
            normalize=True,
        )
        found.append(made.to(model.device))
    return torch.cat(found)


def _embedded(model: ModelHandle, items: Sequence[Any], modality: str) -> Tensor:
    found = model.embed(list(items), modality=cast("Any", modality))
    return found.vectors.to(model.device)


def _counted(
    progress: Callable[[int, int], None], before: int, rows: int, total: int
) -> Callable[[int, int], None]:
    return lambda done, _: progress(before + done * rows, total)


def _metas(
    model: ModelHandle,
    items: Sequence[Any],
    options: GenerationOptions,
    seconds: float,
    facts: Mapping[str, Any],
) -> list[dict[str, Any]]:
    """Return what it takes to make each sound again."""
    network = cast("ClipSonic", model.network)
    window_s = network.options.target.window_s
    notes = {}
    if seconds > _FAR * window_s:
        notes["note"] = f"{seconds:g} s is over {_FAR:g} times the {window_s:g} s the model was trained on"
        _log.warning("%s: %s; the sound may fall apart.", model.id, notes["note"])
    own = network.options.condition
    bridged = options.condition in ("text", "image", "audio") and options.condition != own.modality
    shared = {
        "model": model.id,
        "revision": model.revision,
        "processor": model.processor.fingerprint,
        "condition": options.condition,
        "bridge": (options.bridge or own.bridge) if bridged else "none",
        "seconds": seconds,
        "steps": options.steps,
        "guidance": options.guidance,
        "sampler": options.sampler,
        **({"negative": options.negative} if options.negative is not None else {}),
        **facts,
        **notes,
    }
    metas = []
    for position, item in enumerate(items):
        meta = {"prompt": item if isinstance(item, str) else getattr(item, "name", None)}
        meta |= {"seed": options.seed + position, **shared}
        strange = unfamiliar_words(model, [item]) if options.modality == "text" else []
        metas.append({**meta, "unfamiliar": strange} if strange else meta)
    return metas


def _agreement(
    model: ModelHandle, waves: Tensor, items: Sequence[Any], options: GenerationOptions
) -> list[dict[str, float]]:
    """Return the cosine of each sound with what was asked for, as the model itself hears and reads them."""
    audio = model.processor.config.audio
    if audio is None or "audio" not in model.network.modalities:
        return [{} for _ in waves]
    from ..loaders.resampling import resample

    rate = cast("ClipSonic", model.network).options.target.sampling_rate
    heard = resample(waves, from_rate=rate, to_rate=audio.sampling_rate, method="soxr_hq")
    sounds = model.embed(list(heard), modality="audio").vectors
    asked = model.embed(list(items), modality=cast("Any", options.modality)).vectors
    return [{"agreement": round(float(value), 4)} for value in (sounds * asked).sum(dim=1)]
