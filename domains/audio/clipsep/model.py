"""The CLIPSep network: towers that make queries, and the separator they steer.

What a training batch holds::

    batch.inputs["mixture"]             {"waves": float32 [B, N, samples]}, the N sources as they lie in the
                                        mixture (gain, clipping and the division by N already done), or
                                        {"magnitude": float32 [B, 1, F, T]}, that of the mixture
    batch.extras["source_magnitudes"]   float32 [B, N, F, T], linear; with "magnitude" only, for training
    batch.extras["queries"]             float32 [B, Q, D], or int64 [B, Q] for kind "label"; none for "pit";
                                        query i asks for source i, so Q = N in training

With ``waves`` the transforms run on the device of the model, a whole batch at once.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from ....core.config import ModelConfig, parse_config
from ....core.errors import ConfigError, InputError, nearest
from ....core.model import ContrastiveModel
from ....core.types import Batch, Outputs
from .separator import Separator, SeparatorConfig
from .spectra import Spectra

MIXTURE = "mixture"
EXTRAS = ("query_logits", "noise_logits", "mixture_magnitude", "source_magnitudes")
"""What ``forward(extras=...)`` can add to the outputs, from magnitudes or from waves."""
ENERGIES = ("mixture_energy", "shared_energy", "source_energy")
"""What it can add from waves alone."""


class ClipSep(ContrastiveModel):
    """Query towers and a separator.

    The towers (text, image, audio; any, or none for a model that takes query vectors only) embed what is
    asked for; the separator turns a mixture and the queries into masks. All kinds of
    :class:`SeparatorConfig` are this one architecture.

    Args:
        config: towers, and ``options`` of :class:`SeparatorConfig`.

    Raises:
        ConfigError: bad options, or towers whose queries the separator does not take.

    Reference:
        Dong et al. 2023, CLIPSep: Learning Text-queried Sound Separation with Noisy Unlabeled Videos,
        ICLR, arXiv 2212.07065.
    """

    def __init__(self, config: ModelConfig) -> None:
        options = parse_config(SeparatorConfig, config.options, source="config.json: options")
        takes_vectors = options.kind in ("late", "nit", "middle", "bert")
        if config.towers and takes_vectors and config.embed_dim != options.query_dim:
            raise ConfigError(
                f"config.json: the towers give queries of {config.embed_dim} values and the separator takes "
                f"{options.query_dim}. Make embed_dim and options.query_dim equal."
            )
        super().__init__(config)
        self.options = options
        self.separator = Separator(options)

    @property
    def spectra(self) -> Spectra:
        """The transform in front of the separator."""
        return self.options.spectra

    def query(self, modality: str, inputs: Mapping[str, Tensor]) -> Tensor:
        """Return queries float32 [B, D] from a tower: raw, or unit vectors where the weights want those.

        Args:
            modality, inputs: as for :meth:`encode`.

        Raises:
            InputError: no such tower; a model without towers takes query vectors only.
        """
        if not self.towers:
            raise InputError(
                f"{self.config.name!r} has no tower for {modality}: it takes query vectors only. Give "
                f"vectors of {self.options.query_dim} values, or use a model that has query towers."
            )
        return self.encode(modality, inputs, normalize=self.options.normalize_queries)

    def mask_logits(self, log_magnitude: Tensor, queries: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Return query logits [B, Q, H, T] and noise logits [B, 2, H, T] (None without noise heads).

        Frames are filled up with silence to what the U-Net takes, and cut again.

        Args:
            log_magnitude: float32 [B, 1, H, T] from :meth:`Spectra.log_magnitude`, any T of at least 1.
            queries: float [B, Q, D], or [Q, D] for the same queries in every row; int64 [B, Q] or [Q] for
                the kind ``label``; None for ``pit``. Noise heads see the mean of the queries of a row.

        Raises:
            InputError: another shape.
        """
        frames = log_magnitude.shape[-1]
        missing = -frames % self.options.frames_multiple
        if missing:
            log_magnitude = F.pad(log_magnitude, (0, missing), value=self.spectra.silence)
        if queries is None or _has_rows(queries) or self.training:
            wanted, noise = self.separator(log_magnitude, _for_every_row(queries, len(log_magnitude)))
        else:
            wanted, noise = self.separator.shared_logits(log_magnitude, queries)
        return wanted[..., :frames], None if noise is None else noise[..., :frames]

    def masks(self, log_magnitude: Tensor, queries: Tensor | None) -> Tensor:
        """Return masks float32 [B, Q, H, T] in [0, 1], two for the kind ``pit``.

        Arguments and errors as for :meth:`mask_logits`; on any device.
        """
        queries = None if queries is None else queries.to(self.device)
        return self.mask_logits(log_magnitude.to(self.device), queries)[0].sigmoid()

    def forward(self, batch: Batch, *, tokens: tuple[str, ...] = (), extras: tuple[str, ...] = ()) -> Outputs:
        """Return embeddings of the tower inputs in ``batch`` and the extras that were asked for.

        Args:
            batch: see the module's text. Without ``queries``, the one tower input of the batch is the query
                of each row.
            tokens: modalities whose token states are kept.
            extras: of :data:`EXTRAS` and :data:`ENERGIES`: ``query_logits`` float32 [B, Q, H, T],
                ``noise_logits`` [B, 2, H, T],
                ``mixture_magnitude`` [B, 1, H, T] and ``source_magnitudes`` [B, N, H, T], both warped; and
                from ``waves`` what :mod:`.separation_loss` reads: with X the spectrum of the mixture and
                S_i of a source, ``mixture_energy`` [B, 1, H, T], |X|^2 gathered to rows, ``shared_energy``
                [B, N, H, T], likewise Re(S_i conj(X)), and ``source_energy`` [B, N], the sum of |S_i|^2.

        Raises:
            InputError: an extra that this architecture does not have, or something in the batch is missing.
        """
        for name in extras:
            known = (*EXTRAS, *ENERGIES)
            if name not in known:
                raise InputError(
                    f"{self.config.name} gives no extra {name!r}; it gives: {', '.join(known)}."
                    f"{nearest(name, known)}"
                )
        if "noise_logits" in extras and not self.options.noise_heads:
            raise InputError(
                f"{self.config.name} has no noise heads, so it gives no 'noise_logits'. Set options.kind to "
                "'nit', or choose another objective."
            )
        given = {name: inputs for name, inputs in batch.inputs.items() if name != MIXTURE}
        outputs = super().forward(Batch(given, batch.labels, batch.ids, batch.extras), tokens=tokens)
        added = self._separated(batch, extras) if extras else {}
        return Outputs(outputs.embeddings, outputs.logit_scale, outputs.logit_bias, outputs.tokens, added)

    def _separated(self, batch: Batch, extras: tuple[str, ...]) -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}
        with torch.autocast(self.device.type, enabled=False):
            waves = batch.inputs.get(MIXTURE, {}).get("waves")
            if waves is not None and not set(ENERGIES).isdisjoint(extras):
                spectra = self.spectra.stft(waves.float())
                mixture, sources = spectra.sum(dim=1, keepdim=True).abs(), None
                found |= self._energies(spectra)
                if "source_magnitudes" in extras:
                    sources = spectra.abs()
            else:
                mixture, sources = self._magnitudes(batch)
            warped, log_magnitude = self.spectra.log_magnitude(mixture)
        found["mixture_magnitude"] = warped
        if "source_magnitudes" in extras:
            if sources is None:
                raise InputError(
                    "The batch has the magnitude of the mixture and no 'source_magnitudes' [B, N, F, T] in "
                    "its extras. Add them, or give the 'waves' of the sources."
                )
            found["source_magnitudes"] = self.spectra.warp(sources)
        if "query_logits" in extras or "noise_logits" in extras:
            wanted, noise = self.separator(log_magnitude, self._queries(batch))
            found["query_logits"] = wanted
            if noise is not None:
                found["noise_logits"] = noise
        missing = [name for name in extras if name not in found]
        if missing:
            raise InputError(f"{missing[0]!r} is made of the sources, so the batch needs their 'waves'.")
        return {name: found[name] for name in extras}

    def _energies(self, spectra: Tensor) -> dict[str, Tensor]:
        """Return :data:`ENERGIES` of the sources' spectra [B, N, F, T]; nothing is learned through them."""
        mixture = spectra.sum(dim=1, keepdim=True)
        shared = spectra.real * mixture.real + spectra.imag * mixture.imag
        power = torch.view_as_real(spectra).square().sum(dim=(-3, -2, -1))
        whole = mixture.real.square() + mixture.imag.square()
        rows = self.spectra.gather(torch.cat([whole, shared], dim=1))
        return {"mixture_energy": rows[:, :1], "shared_energy": rows[:, 1:], "source_energy": power}

    def _magnitudes(self, batch: Batch) -> tuple[Tensor, Tensor | None]:
        mixture = batch.inputs.get(MIXTURE, {})
        if "waves" in mixture:
            return self.spectra.mix(mixture["waves"].float())
        if "magnitude" in mixture:
            return mixture["magnitude"], batch.extras.get("source_magnitudes")
        there = ", ".join(batch.inputs) or "nothing"
        raise InputError(
            f"The batch needs inputs['{MIXTURE}'] with 'waves' [B, N, samples] or 'magnitude' [B, 1, F, T]; "
            f"it has inputs of {there}."
        )

    def _queries(self, batch: Batch) -> Tensor | None:
        if self.options.kind == "pit":
            return None
        if "queries" in batch.extras:
            return batch.extras["queries"]
        modalities = [name for name in batch.inputs if name in self.towers]
        if len(modalities) != 1:
            what = f"inputs of {' and '.join(modalities)}" if modalities else "no input of a query tower"
            raise InputError(f"The batch has {what} and no extras['queries'] [B, Q, D]. Add them.")
        return self.query(modalities[0], batch.inputs[modalities[0]])[:, None]


def _for_every_row(queries: Tensor | None, rows: int) -> Tensor | None:
    """Return queries with the batch axis in front; they may come without it."""
    if queries is None or _has_rows(queries):
        return queries
    return queries.expand(rows, *queries.shape)


def _has_rows(queries: Tensor) -> bool:
    """Return whether queries have the batch axis in front."""
    return queries.ndim == (3 if queries.is_floating_point() else 2)
