"""The architecture ``diffusion_prior``: from a text embedding to image embeddings that could go with it.

Text and image embeddings of a CLIP model lie in separate regions of its space. What was trained on image
embeddings alone answers texts better through such a prior than from the text embedding itself.

Reference: Ramesh et al., "Hierarchical Text-Conditional Image Generation with CLIP Latents", 2022;
lucidrains/DALLE2-pytorch, ``DiffusionPrior``.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor
from torch.nn import functional as F

from ....core.config import Config, ModelConfig, parse_config
from ....core.errors import ConfigError, InputError
from ....core.model import ContrastiveModel
from .prior_network import PriorNetwork, PriorNetworkConfig
from .prior_schedule import NoiseSchedule, Schedule, ddim_times, noise_schedule


class PriorOptions(Config):
    """``options`` of a model of this architecture."""

    network: PriorNetworkConfig
    timesteps: int = Field(default=1000, ge=2)
    schedule: Schedule = "cosine"
    objective: Literal["x0", "noise", "v"] = "x0"
    """What the network predicts."""
    loss: Literal["l1", "l2", "huber"] = "l2"
    scale: float | None = Field(default=None, gt=0)
    """Unit image embeddings are multiplied by this before noise is added; None is sqrt(dim)."""
    clip: Literal["none", "values", "norm"] = "none"
    """What every predicted x0 is brought to while sampling: nothing, [-1, 1], or the length ``scale``."""
    unit_start: bool = False
    """Whether sampling starts from noise of the length ``scale``."""
    unit_result: bool = False
    """Whether the sampled embedding is brought to unit length."""
    uses_encodings: bool = True
    """Whether the network was trained with the states of the text tower."""
    guidance: bool = False
    """Whether training left out conditions now and then, without which guidance makes things worse."""
    grid: Literal["from_zero", "from_minus_one"] = "from_minus_one"
    """Time steps of DDIM; see :func:`prior_schedule.ddim_times`."""
    noise_before_clip: bool = False
    """Whether DDIM takes the noise that x0 implies before ``clip``, as earlier releases did."""

    @model_validator(mode="after")
    def _fits(self) -> PriorOptions:
        rows = self.network.time_steps
        if rows is not None and rows < self.timesteps:
            raise ValueError(f"{self.timesteps} timesteps need as many rows of time embeddings, got {rows}")
        if self.guidance and not self.network.can_drop_text:
            raise ValueError(
                "guidance needs null parameters or masked padding; this network ignores dropping"
            )
        return self


@dataclass(frozen=True)
class Conditions:
    """What a prior is asked about: B texts.

    Attributes:
        text_embed: unit vectors float32 [B, D].
        text_encodings: states float32 [B, L, D] of the text tower after its last norm, exactly 0 after the
            end-of-text token; or None.
    """

    text_embed: Tensor
    text_encodings: Tensor | None = None

    def repeated(self, times: int) -> Conditions:
        """Return every text ``times`` times in a row."""
        encodings = self.text_encodings
        return Conditions(
            self.text_embed.repeat_interleave(times, dim=0),
            None if encodings is None else encodings.repeat_interleave(times, dim=0),
        )


def guided(answer: Tensor, without: Tensor, guidance: float) -> Tensor:
    """Return an ``answer`` moved away from the one ``without`` conditions: 1 leaves it, 0 takes the other."""
    return without + (answer - without) * guidance


class DiffusionPrior(ContrastiveModel):
    """A prior as a model of its own: no towers; it takes what a CLIP text tower gives.

    ``options`` are :class:`PriorOptions`.

    Attributes:
        net: the network. embed_scale: length of image embeddings while noise is added and taken off.

    Raises:
        ConfigError: towers, or options that do not fit together.

    Example:
        >>> network = {"dim": 8, "depth": 1, "heads": 2, "head_dim": 4, "mlp_width": 16, "text_length": 4}
        >>> options = {"network": network, "timesteps": 10}
        >>> config = ModelConfig(name="p", architecture="diffusion_prior", embed_dim=0, options=options)
        >>> prior = DiffusionPrior(config).eval()
        >>> texts = torch.nn.functional.normalize(torch.ones(3, 8), dim=-1)
        >>> prior.sample(texts, steps=5, generator=torch.Generator().manual_seed(0)).shape
        torch.Size([3, 8])
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        if config.towers:
            raise ConfigError(
                f"{config.name}: architecture 'diffusion_prior' starts from embeddings, so it has no towers; "
                f"got {', '.join(config.towers)}. Remove them and set embed_dim to 0."
            )
        self.options = parse_config(PriorOptions, config.options, source=f"{config.name}: options")
        self.net = PriorNetwork(self.options.network)
        self.embed_scale = self.options.scale or math.sqrt(self.options.network.dim)

    @property
    def dim(self) -> int:
        """Size D of the embeddings it takes and makes."""
        return self.options.network.dim

    @property
    def schedule(self) -> NoiseSchedule:
        """Coefficients of every step."""
        return noise_schedule(self.options.schedule, self.options.timesteps)

    def predict(
        self,
        noisy: Tensor,
        times: Tensor,
        conditions: Conditions,
        *,
        guidance: float = 1.0,
        previous: Tensor | None = None,
    ) -> Tensor:
        """Return what the network says, float32 [B, D], in whatever precision it computes.

        Args:
            noisy: float [B, D]. times: int64 [B].
            guidance: 1 takes the text as it is; above 1 moves further from the answer without text.
            previous: last prediction of a network with self-conditioning.
        """
        encodings = conditions.text_encodings if self.options.uses_encodings else None
        given = {
            "text_embed": conditions.text_embed.to(self.dtype),
            "text_encodings": None if encodings is None else encodings.to(self.dtype),
            "previous": None if previous is None else previous.to(self.dtype),
        }
        noisy = noisy.to(self.dtype)
        answer = self.net(noisy, times, **given).float()
        if guidance == 1.0:
            return answer
        nothing = torch.ones(len(noisy), dtype=torch.bool, device=noisy.device)
        without = self.net(noisy, times, **given, drop_text=nothing, drop_image=nothing).float()
        return guided(answer, without, guidance)

    def loss(
        self,
        image_embed: Tensor,
        conditions: Conditions,
        *,
        times: Tensor,
        noise: Tensor,
        drop_text: Tensor | None = None,
        drop_image: Tensor | None = None,
    ) -> Tensor:
        """Return the training loss, a scalar.

        Args:
            image_embed: unit vectors float [B, D]. times: int64 [B]. noise: float [B, D].
            drop_text, drop_image: bool [B], True where the condition is left out.
        """
        clean = image_embed * self.embed_scale
        noisy = self.schedule.noised(clean, times, noise)
        predicted = self.net(
            noisy,
            times,
            text_embed=conditions.text_embed,
            text_encodings=conditions.text_encodings if self.options.uses_encodings else None,
            drop_text=drop_text,
            drop_image=drop_image,
        )
        objective = self.options.objective
        target = {"x0": clean, "noise": noise}.get(objective)
        if target is None:
            target = self.schedule.velocity(clean, times, noise)
        measure = {"l1": F.l1_loss, "l2": F.mse_loss, "huber": F.smooth_l1_loss}[self.options.loss]
        return measure(predicted, target)

    def clean_of(self, predicted: Tensor, noisy: Tensor, times: Tensor) -> Tensor:
        """Return the x0 [B, D] that a prediction stands for, clipped as the options say."""
        return self._clipped(self._implied(predicted, noisy, times))

    def _implied(self, predicted: Tensor, noisy: Tensor, times: Tensor) -> Tensor:
        if self.options.objective == "v":
            return self.schedule.x0_of_velocity(noisy, times, predicted)
        if self.options.objective == "noise":
            return self.schedule.x0_of_noise(noisy, times, predicted)
        return predicted

    def _clipped(self, clean: Tensor) -> Tensor:
        if self.options.clip == "values":
            return clean.clamp(-1.0, 1.0)
        return F.normalize(clean, dim=-1) * self.embed_scale if self.options.clip == "norm" else clean

    @torch.inference_mode()
    def denoise(
        self,
        start: Tensor,
        conditions: Conditions,
        *,
        steps: int,
        eta: float = 1.0,
        guidance: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return embeddings float32 [B, D] of length about ``embed_scale`` that noise turns into.

        Args:
            start: noise float32 [B, D].
            steps: fewer than ``options.timesteps`` sample with DDIM; as many are DDPM.
            eta: of DDIM, how much noise every step adds: 0 none, 1 as much as DDPM.
            guidance: see :meth:`predict`.
            generator: on the CPU; where noise of the steps comes from. Not needed with ``eta=0``.

        Raises:
            InputError: guidance with a prior that was not trained for it, or tensors of other sizes.
            ConfigError: steps out of range, or no generator where noise is needed.
        """
        self._check(conditions, steps, guidance)
        exact = steps == self.options.timesteps
        if generator is None and (exact or eta > 0):
            raise ConfigError("Sampling adds noise: pass generator=torch.Generator().manual_seed(...).")
        result = start.to(self.device)
        conditions = self._placed(conditions)
        if exact:
            result = self._ddpm(result, conditions, guidance, generator)
        else:
            result = self._ddim(result, conditions, steps, eta=eta, guidance=guidance, generator=generator)
        return F.normalize(result, dim=-1) * self.embed_scale if self.options.unit_result else result

    def _ddpm(
        self, sample: Tensor, conditions: Conditions, guidance: float, generator: torch.Generator | None
    ) -> Tensor:
        clean: Tensor | None = None
        for step in reversed(range(self.options.timesteps)):
            times = torch.full((len(sample),), step, device=sample.device)
            predicted = self.predict(sample, times, conditions, guidance=guidance, previous=clean)
            clean = self.clean_of(predicted, sample, times)
            mean, log_variance = self.schedule.posterior(clean, sample, times)
            noise = _noise(sample, generator)
            sample = mean + (0.5 * log_variance).exp() * noise if step else mean
        return sample

    def _ddim(
        self,
        sample: Tensor,
        conditions: Conditions,
        steps: int,
        *,
        eta: float,
        guidance: float,
        generator: torch.Generator | None,
    ) -> Tensor:
        # The squared signal *before* each step, as the reference reads it.
        kept = self.schedule.kept_before
        visited = ddim_times(steps, self.options.timesteps, grid=self.options.grid)
        clean: Tensor | None = None
        for step, following in itertools.pairwise(visited):
            times = torch.full((len(sample),), step, device=sample.device)
            predicted = self.predict(sample, times, conditions, guidance=guidance, previous=clean)
            unclipped = self._implied(predicted, sample, times)
            clean = self._clipped(unclipped)
            if following < 0:
                sample = clean
                continue
            source = unclipped if self.options.noise_before_clip else clean
            implied = self.schedule.noise_of_x0(sample, times, source)
            now, after = kept[step], kept[following]
            fresh = eta * float(((1 - now / after) * (1 - after) / (1 - now)).sqrt())
            rest = math.sqrt(max(0.0, float(1 - after) - fresh**2))
            sample = clean * float(after.sqrt()) + rest * implied
            if following > 0 and fresh > 0:
                sample = sample + fresh * _noise(sample, generator)
        return sample

    @torch.inference_mode()
    def sample(
        self,
        text_embed: Tensor,
        text_encodings: Tensor | None = None,
        *,
        generator: torch.Generator,
        steps: int = 64,
        candidates: int = 2,
        guidance: float = 1.0,
        normalize: bool = False,
    ) -> Tensor:
        """Return one image embedding per text, float32 [B, D] on the CPU.

        Several are drawn per text, and the one with the highest cosine to the text embedding is kept.

        Args:
            text_embed: embeddings float32 [B, D] of the CLIP model the prior was trained with.
            text_encodings: float32 [B, L, D]; see :class:`Conditions`.
            generator: on the CPU; the same seed gives the same embeddings.
            steps, guidance: see :meth:`denoise`.
            candidates: how many are drawn per text.
            normalize: bring the result to unit length, as embeddings that are compared have it.

        Raises:
            InputError, ConfigError: as :meth:`denoise`.
        """
        if candidates < 1:
            raise ConfigError(f"candidates must be at least 1, got {candidates}.")
        texts = Conditions(F.normalize(text_embed.float(), dim=-1), text_encodings)
        self._check(texts, steps, guidance)
        texts = Conditions(texts.text_embed, self._whole(text_encodings))
        repeated = texts.repeated(candidates)
        start = torch.randn(repeated.text_embed.shape, generator=generator)
        if self.options.unit_start:
            start = F.normalize(start, dim=-1) * self.embed_scale
        drawn = self.denoise(start, repeated, steps=steps, guidance=guidance, generator=generator)
        images = (drawn.float().cpu() / self.embed_scale).unflatten(0, (-1, candidates))
        cosines = F.cosine_similarity(images, texts.text_embed.cpu()[:, None], dim=-1)
        best = images[torch.arange(len(images)), cosines.argmax(dim=1)]
        return F.normalize(best, dim=-1) if normalize else best

    def _whole(self, encodings: Tensor | None) -> Tensor | None:
        """Return encodings with the padding of training: hidden rows keep the others at their distance."""
        network = self.options.network
        if encodings is None or network.padding != "mask":
            return encodings
        return F.pad(encodings, (0, 0, 0, max(0, network.text_length - encodings.shape[1])))

    def _placed(self, conditions: Conditions) -> Conditions:
        encodings = conditions.text_encodings
        return Conditions(
            conditions.text_embed.to(self.device), None if encodings is None else encodings.to(self.device)
        )

    def _check(self, conditions: Conditions, steps: int, guidance: float) -> None:
        name, embed = self.config.name, conditions.text_embed
        if not 2 <= steps <= self.options.timesteps:
            raise ConfigError(f"{name}: steps must be 2 to {self.options.timesteps}, got {steps}.")
        if embed.ndim != 2 or embed.shape[1] != self.dim or not len(embed):
            raise InputError(
                f"{name} takes text embeddings [B, {self.dim}], got {list(embed.shape)}. Use the text tower "
                "of the CLIP model it was trained with."
            )
        encodings = conditions.text_encodings
        if encodings is not None and (encodings.ndim != 3 or len(encodings) != len(embed)):
            raise InputError(
                f"{name}: text_encodings {list(encodings.shape)} do not go with {len(embed)} embeddings; "
                f"expected [{len(embed)}, tokens, {self.dim}]."
            )
        if guidance != 1.0 and not self.options.guidance:
            raise InputError(
                f"{name} was trained without leaving conditions out, so guidance {guidance:g} would push its "
                "answers away from any image. Leave guidance at 1."
            )


def _noise(like: Tensor, generator: torch.Generator | None) -> Tensor:
    # Drawn on the CPU: the same seed gives the same sample on every device.
    return torch.randn(like.shape, generator=generator).to(like)
