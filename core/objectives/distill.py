"""Distillation of a teacher's similarities into a two-tower student."""

from __future__ import annotations

from torch import Tensor

from ..errors import ConfigError, InputError
from ..types import Batch, Outputs
from .base import Needs, Objective, gather, register_objective
from .pairwise import DEFAULT_CHUNK, InfoNCE, pair_of


@register_objective("distill")
class Distill(Objective):
    """InfoNCE plus cross-entropy to the teacher's softmax over the batch, in both directions.

    ``L_d = -1/2 [mean_i sum_j p_ij log softmax_j(z_ij) + the same for columns]`` with
    ``p = softmax(teacher_scale * A_T T_T^T)``. The teacher's entropy is not subtracted, so the
    minimum is above 0. The teacher's embeddings are read from ``batch.extras["teacher_<modality>"]``
    [B, D_T] (any width, unit length) and carry no gradient. The [B, W B] logits are held whole.

    Args:
        teacher_scale: the teacher's logit scale, already exponentiated.
        clip_weight: weight of the InfoNCE part.
        distill_weight: weight of the distillation part.
        chunk: tile side of the InfoNCE part.
        modalities: the two keys of ``outputs.embeddings``.

    Returns ``{"loss", "contrastive", "distill"}``.

    Reference:
        Hinton et al. 2015, Distilling the Knowledge in a Neural Network, applied to in-batch
        similarities.
    """

    def __init__(
        self,
        teacher_scale: float = 100.0,
        *,
        clip_weight: float = 1.0,
        distill_weight: float = 1.0,
        chunk: int | None = DEFAULT_CHUNK,
        modalities: tuple[str, str] = ("image", "text"),
    ) -> None:
        super().__init__()
        if teacher_scale <= 0 or clip_weight < 0 or distill_weight < 0:
            raise ConfigError(
                f"Distill needs teacher_scale > 0 and weights >= 0; "
                f"got {teacher_scale}, {clip_weight} and {distill_weight}."
            )
        self.teacher_scale = teacher_scale
        self.clip_weight = clip_weight
        self.distill_weight = distill_weight
        self.modalities = modalities
        self.contrastive = InfoNCE(chunk=chunk, modalities=modalities)
        self.needs = Needs(
            modalities=modalities, batch_extras=tuple(f"teacher_{name}" for name in modalities)
        )

    def compute(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        """Return the parts ``contrastive`` and ``distill``, weighted."""
        student = pair_of(outputs.embeddings, self.modalities)
        teacher = pair_of(
            {name: batch.extras[f"teacher_{name}"].detach().to(student[0].dtype) for name in self.modalities},
            self.modalities,
        )
        if len(teacher[0]) != len(student[0]):
            raise InputError(f"The teacher has {len(teacher[0])} rows and the student {len(student[0])}.")
        # InfoNCE goes first: it checks that all ranks hold equal batches.
        contrastive = self.contrastive.compute(outputs, batch)["contrastive"]
        there = _soft_cross_entropy(student, teacher, outputs.logit_scale, self.teacher_scale)
        back = _soft_cross_entropy(student[::-1], teacher[::-1], outputs.logit_scale, self.teacher_scale)
        return {
            "contrastive": self.clip_weight * contrastive,
            "distill": self.distill_weight * (there + back) / 2,
        }


def _soft_cross_entropy(
    student: tuple[Tensor, ...], teacher: tuple[Tensor, ...], scale: Tensor, teacher_scale: float
) -> Tensor:
    """Return the mean over rows of the first modality of the cross-entropy to the teacher's rows."""
    logits = scale * student[0] @ gather(student[1], with_grad=True).T
    target = (teacher_scale * teacher[0] @ gather(teacher[1], with_grad=False).T).softmax(1)
    return -(target * logits.log_softmax(1)).sum(1).mean()
