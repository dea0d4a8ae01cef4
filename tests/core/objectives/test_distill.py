"""Soft contrastive distillation; values are checked against the stored reference in test_goldens."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F
from verticlip.core.errors import ConfigError, InputError
from verticlip.core.objectives.distill import Distill
from verticlip.core.objectives.pairwise import InfoNCE
from verticlip.core.types import Batch, Outputs


def make(size=5, teacher_size=5):
    generator = torch.Generator().manual_seed(0)
    student = [F.normalize(torch.randn(size, 6, generator=generator), dim=1) for _ in range(2)]
    teacher = [F.normalize(torch.randn(teacher_size, 9, generator=generator), dim=1) for _ in range(2)]
    outputs = Outputs({"image": student[0], "text": student[1]}, torch.tensor(10.0))
    return outputs, Batch({}, extras={"teacher_image": teacher[0], "teacher_text": teacher[1]})


def test_distill_weight_zero_is_info_nce():
    outputs, batch = make()
    parts = Distill(distill_weight=0)(outputs, batch)
    torch.testing.assert_close(parts["loss"], InfoNCE()(outputs, batch)["loss"])


def test_a_certain_teacher_is_info_nce():
    outputs, _ = make()
    teacher = {"teacher_image": torch.eye(5), "teacher_text": torch.eye(5)}
    parts = Distill(teacher_scale=200.0)(outputs, Batch({}, extras=teacher))
    torch.testing.assert_close(parts["distill"], parts["contrastive"])


def test_the_teacher_gets_no_gradient():
    outputs, batch = make()
    teacher = {name: tensor.requires_grad_() for name, tensor in batch.extras.items()}
    outputs.embeddings["image"].requires_grad_()
    Distill()(outputs, Batch({}, extras=teacher))["loss"].backward()
    assert outputs.embeddings["image"].grad is not None
    assert all(tensor.grad is None for tensor in teacher.values())


def test_another_number_of_teacher_rows_is_refused():
    outputs, batch = make(teacher_size=4)
    with pytest.raises(InputError, match="teacher has 4 rows and the student 5"):
        Distill()(outputs, batch)


def test_missing_teacher_is_refused():
    with pytest.raises(InputError, match=r"batch.extras\['teacher_image'\], which has nothing"):
        Distill()(make()[0], Batch({}))


@pytest.mark.parametrize("options", [{"teacher_scale": 0.0}, {"clip_weight": -1.0}, {"distill_weight": -1.0}])
def test_bad_numbers_are_refused(options):
    with pytest.raises(ConfigError, match="Distill needs teacher_scale > 0 and weights >= 0"):
        Distill(**options)
