"""Losses of CLIPSep: masks against which source is the louder one, bin by bin.

All read what :class:`.model.ClipSep` adds to the outputs: ``query_logits`` [B, N, H, T] (map i asks for
source i), ``mixture_magnitude`` [B, 1, H, T] and ``source_magnitudes`` [B, N, H, T], both on the network's
rows. With X the mixture and X_i a source there:

* target t_i = 1 where X_i > X / 2, else 0 (``binary``), or X_i / sum_j X_j (``ratio``);
* weight w = ln(1 + X) kept within [0.001, 10], or 1;
* B(m, t) = mean over bins of w times the binary cross-entropy of mask m: divided by the number of bins,
  not by the sum of weights.

Reference: Dong et al. 2023, CLIPSep, sections 3.1 and 3.2, with the numbers of sony/CLIPSep.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from ....core.errors import ConfigError, InputError
from ....core.objectives.base import Needs, Objective
from ....core.types import Batch, Outputs

Targets = Literal["binary", "ratio"]
_READS = ("query_logits", "mixture_magnitude", "source_magnitudes")
_WEIGHTS = (1e-3, 10.0)
_HARMLESS = 0.5
"""Cosine of two queries up to which a pair of sources counts in full."""


def bin_weights(mixture: Tensor, *, weighted: bool = True) -> Tensor:
    """Return the weight of each bin [B, 1, H, T]: the log of its loudness, or 1."""
    return mixture.log1p().clamp(*_WEIGHTS) if weighted else torch.ones_like(mixture)


def target_masks(mixture: Tensor, sources: Tensor, targets: Targets = "binary") -> Tensor:
    """Return what each mask should be, float32 [B, N, H, T].

    Args:
        mixture: magnitudes [B, 1, H, T]. sources: [B, N, H, T], on the same rows.
        targets: ``binary`` or ``ratio``; silent bins have ratio 0.
    """
    if targets == "binary":
        return (sources > 0.5 * mixture).float()
    return sources / sources.sum(dim=1, keepdim=True).clamp(min=torch.finfo(sources.dtype).tiny)


def pair_cosines(queries: Tensor) -> Tensor:
    """Return cosines [B] of the two queries of each row.

    Args:
        queries: float [B, 2, D].

    Raises:
        InputError: not two queries a row.
    """
    if queries.ndim != 3 or queries.shape[1] != 2 or not queries.is_floating_point():
        raise InputError(
            "Leaving out the closest pairs compares two query vectors a mixture; got queries "
            f"{list(queries.shape)}."
        )
    return F.cosine_similarity(queries[:, 0].detach(), queries[:, 1].detach())


def without_closest(batch: Batch, count: int, *, similarity: Tensor | None = None) -> Batch:
    """Return ``batch`` without the ``count`` mixtures whose two queries are most alike, farthest pair first.

    Called before the network, so that the batch norms do not see those mixtures either, as in the
    reference; the loader then delivers ``count`` mixtures more.

    Args:
        batch: with ``extras["queries"]`` [B, 2, D].
        similarity: float [B], what to go by instead of the cosines of the queries.

    Raises:
        InputError: not two queries a mixture, or no mixture would be left.
    """
    if similarity is None:
        if "queries" not in batch.extras:
            raise InputError("Leaving out the closest pairs needs batch.extras['queries'] [B, 2, D].")
        similarity = pair_cosines(batch.extras["queries"])
    if not 0 < count < len(similarity):
        raise InputError(
            f"{count} of {len(similarity)} mixtures cannot be left out. Make the batch larger by {count}."
        )
    kept = similarity.argsort()[:-count]
    rows = kept.tolist()
    return Batch(
        {name: {key: value[kept] for key, value in given.items()} for name, given in batch.inputs.items()},
        None if batch.labels is None else batch.labels[kept],
        tuple(batch.ids[row] for row in rows) if batch.ids else (),
        {name: value[kept] for name, value in batch.extras.items()},
    )


class _Counting(Objective):
    """Counts the batches it is trained on, for what starts or ends after some; part of the run's state."""

    seen: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))

    def forward(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        """Return the loss and its parts, see :class:`Objective`."""
        parts = super().forward(outputs, batch)
        if self.learning:
            self.seen += 1
        return parts

    @property
    def learning(self) -> bool:
        """Whether this is a training step, not a validation."""
        return self.training and torch.is_grad_enabled()


class ClipSepLoss(_Counting):
    """``mean_i B(sigmoid(logit_i), t_i)``: the loss of CLIPSep and of its label, sentence and middle kinds.

    Args:
        weighted: weigh bins by loudness.
        targets: ``binary`` or ``ratio``.
        drop_closest: -1 weighs each mixture by ``relu(1 - 2 relu(cos - 0.5))`` of its two queries, so that
            pairs which ask for nearly the same count less; k > 0 leaves the k closest pairs of a batch out of
            the loss. Those have passed the network by then and count in its batch norms; to spare those too,
            as the reference does, take them out of the batch: :func:`without_closest`.
        drop_closest_after: number of the last training batch, counted from 0, before that starts;
            -1 starts with the first. Never in validation.

    Returns ``{"loss", "separation"}``.
    """

    def __init__(
        self,
        *,
        weighted: bool = True,
        targets: Targets = "binary",
        drop_closest: int = 0,
        drop_closest_after: int = 10_000,
    ) -> None:
        super().__init__()
        if drop_closest < -1 or drop_closest_after < -1:
            raise ConfigError(
                "ClipSepLoss: drop_closest is -1 (weigh), 0 (off) or a number of pairs, and "
                f"drop_closest_after at least -1; got {drop_closest} and {drop_closest_after}."
            )
        self.weighted = weighted
        self.targets: Targets = targets
        self.drop_closest, self.drop_closest_after = drop_closest, drop_closest_after
        self.needs = Needs(output_extras=_READS, batch_extras=("queries",) if drop_closest else ())

    def compute(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        """Return the part ``separation``."""
        logits, mixture, sources = _read(outputs)
        weight = bin_weights(mixture, weighted=self.weighted)
        if self.drop_closest and self.learning and int(self.seen) > self.drop_closest_after:
            similarity = pair_cosines(batch.extras["queries"].float())
            if self.drop_closest > 0:
                kept = similarity.argsort()[: -self.drop_closest]
                if not len(kept):
                    raise InputError(
                        f"drop_closest {self.drop_closest} leaves nothing of {len(similarity)} mixtures."
                    )
                logits, mixture, sources, weight = (one[kept] for one in (logits, mixture, sources, weight))
            else:
                share = F.relu(1 - 2 * F.relu(similarity - _HARMLESS))
                weight = weight * share[:, None, None, None]
        targets = target_masks(mixture, sources, self.targets)
        return {"separation": _cross_entropy(logits.sigmoid(), targets, weight).mean()}


class NoiseInvariantLoss(_Counting):
    """The loss of CLIPSep-NIT: two noise heads may take what neither query explains.

    With query masks a_i, noise masks n_j and combined masks ``m_ij = min(1, a_i + n_j)``, per mixture::

        same    = (B(m_00, t_0) + B(m_11, t_1)) / 2
        swapped = (B(m_01, t_0) + B(m_10, t_1)) / 2
        loss    = mean min(same, swapped) + activity_weight relu(mean(n_0 + n_1) - activity_limit)

    Where a sum of masks is cut at 1 and the target is 0, the gradient is 0 and the loss about 100: values
    around 15 with random weights are right.

    Args:
        weighted: weigh bins by loudness.
        activity_weight: of the noise heads' regulariser; ``reg2_coef`` in the reference.
        activity_limit: mean of the summed noise masks (0 to 2) that costs nothing; ``reg2_epsilon``.
        margin_weight: of the older regulariser, which asks that a query mask improves on the noise mask
            alone: ``relu(B(m_ij, t) - B(n_j, t) + margin)`` inside each pairing; ``reg_coef``, 0 is off.
        margin: see there; ``reg_epsilon``.
        warmup_steps: training batches that go without noise heads, on the loss of CLIPSep.
        combine: ``clamp`` as above, or ``union``: ``1 - (1 - a)(1 - n)``, which has no dead bins. Not the
            published recipe.

    Returns ``{"loss", "separation", "activity"}``.

    Reference:
        Dong et al. 2023, CLIPSep, section 3.2, equations 6 to 9.
    """

    def __init__(
        self,
        *,
        weighted: bool = True,
        activity_weight: float = 0.1,
        activity_limit: float = 0.25,
        margin_weight: float = 0.0,
        margin: float = 0.1,
        warmup_steps: int = 0,
        combine: Literal["clamp", "union"] = "clamp",
    ) -> None:
        super().__init__()
        if min(activity_weight, activity_limit, margin_weight, warmup_steps) < 0:
            raise ConfigError(
                "NoiseInvariantLoss: weights, activity_limit and warmup_steps are at least 0; got "
                f"activity_weight {activity_weight}, activity_limit {activity_limit}, "
                f"margin_weight {margin_weight}, warmup_steps {warmup_steps}."
            )
        self.weighted, self.combine = weighted, combine
        self.activity_weight, self.activity_limit = activity_weight, activity_limit
        self.margin_weight, self.margin = margin_weight, margin
        self.warmup_steps = warmup_steps
        self.needs = Needs(output_extras=(*_READS, "noise_logits"))

    def compute(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        """Return the parts ``separation`` and ``activity``."""
        if self.learning and int(self.seen) < self.warmup_steps:
            logits, mixture, sources = _read(outputs)
            weight = bin_weights(mixture, weighted=self.weighted)
            alone = _cross_entropy(logits.sigmoid(), target_masks(mixture, sources), weight)
            return {"separation": alone.mean(), "activity": torch.zeros_like(alone.mean())}
        same, swapped = self.pairings(outputs)
        activity = _float(outputs.extras["noise_logits"]).sigmoid().sum(dim=1).mean()
        return {
            "separation": torch.minimum(same, swapped).mean(),
            "activity": self.activity_weight * F.relu(activity - self.activity_limit),
        }

    def pairings(self, outputs: Outputs) -> tuple[Tensor, Tensor]:
        """Return the losses [B] of noise head j beside query j, and of the heads swapped.

        Raises:
            InputError: not two sources a mixture.
        """
        logits, mixture, sources = _read(outputs)
        _two(logits, "NoiseInvariantLoss")
        queries, noise = logits.sigmoid(), _float(outputs.extras["noise_logits"]).sigmoid()
        targets = target_masks(mixture, sources)
        weight = bin_weights(mixture, weighted=self.weighted)
        return self._paired(queries, noise, targets, weight), self._paired(
            queries, noise.flip(1), targets, weight
        )

    def _paired(self, queries: Tensor, noise: Tensor, targets: Tensor, weight: Tensor) -> Tensor:
        # 1 - relu(1 - s) is min(1, s); at s = 1 it has a gradient of 0 where torch.minimum has half of it.
        both = (
            1 - F.relu(1 - (queries + noise)) if self.combine == "clamp" else 1 - (1 - queries) * (1 - noise)
        )
        losses = _cross_entropy(both, targets, weight).mean(dim=(2, 3))
        paired = losses.mean(dim=1)
        if self.margin_weight:
            alone = _cross_entropy(noise, targets, weight).mean(dim=(2, 3))
            paired = paired + self.margin_weight * F.relu(losses - alone + self.margin).mean(dim=1)
        return paired


class PermutationInvariantLoss(Objective):
    """The loss of PITSep: two masks without queries, in whichever order fits a mixture better.

    ``mean over the batch of min((B(m_0, t_0) + B(m_1, t_1)) / 2, (B(m_0, t_1) + B(m_1, t_0)) / 2)``.

    Args:
        weighted: weigh bins by loudness.

    Returns ``{"loss", "separation"}``.

    Reference:
        Yu et al. 2017, Permutation invariant training, arXiv 1607.00325, as in CLIPSep's comparison.
    """

    def __init__(self, *, weighted: bool = True) -> None:
        super().__init__()
        self.weighted = weighted
        self.needs = Needs(output_extras=_READS)

    def compute(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        """Return the part ``separation``."""
        logits, mixture, sources = _read(outputs)
        _two(logits, "PermutationInvariantLoss")
        targets, weight = target_masks(mixture, sources), bin_weights(mixture, weighted=self.weighted)
        orders = [
            _cross_entropy(logits.sigmoid(), order, weight).mean(dim=(1, 2, 3))
            for order in (targets, targets.flip(1))
        ]
        return {"separation": torch.minimum(*orders).mean()}


def _cross_entropy(masks: Tensor, targets: Tensor, weight: Tensor) -> Tensor:
    """Return weighted cross-entropies [B, N, H, T], each logarithm cut at -100 as torch does.

    From probabilities, not logits: sums of masks have no logits, and the published loss is cut this way.
    """
    return F.binary_cross_entropy(masks, targets, weight.expand_as(masks), reduction="none")


def _read(outputs: Outputs) -> tuple[Tensor, Tensor, Tensor]:
    logits, mixture, sources = (_float(outputs.extras[name]) for name in _READS)
    if logits.shape != sources.shape or mixture[:, 0].shape != sources[:, 0].shape:
        raise InputError(
            f"query_logits {list(logits.shape)}, source_magnitudes {list(sources.shape)} and "
            f"mixture_magnitude {list(mixture.shape)} do not agree: the batch needs one query for each "
            "source, in the same order."
        )
    return logits, mixture, sources


def _two(logits: Tensor, name: str) -> None:
    if logits.shape[1] != 2:
        raise InputError(f"{name} compares two sources a mixture, got {logits.shape[1]}. Mix two.")


def _float(values: Tensor) -> Tensor:
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values
