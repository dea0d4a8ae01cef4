"""Contrastive plus captioning."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F
from verticlip.core.errors import ConfigError, InputError
from verticlip.core.objectives.caption import CoCa
from verticlip.core.objectives.pairwise import InfoNCE
from verticlip.core.types import Batch, Outputs


def make(dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    unit = [F.normalize(torch.randn(3, 8, generator=generator), dim=1) for _ in range(2)]
    logits = torch.randn(3, 5, 11, generator=generator).to(dtype)
    labels = torch.randint(1, 11, (3, 5), generator=generator)
    labels[0, 3:] = 0
    outputs = Outputs(
        {"image": unit[0], "text": unit[1]}, torch.tensor(10.0), extras={"caption_logits": logits}
    )
    return outputs, Batch({}, extras={"caption_labels": labels})


def with_logits(outputs, logits):
    return Outputs(outputs.embeddings, outputs.logit_scale, extras={"caption_logits": logits})


def test_caption_weight_zero_is_info_nce():
    outputs, batch = make()
    parts = CoCa(caption_weight=0)(outputs, batch)
    torch.testing.assert_close(parts["loss"], InfoNCE()(outputs, batch)["loss"])
    assert parts["caption"] == 0


def test_clip_weight_zero_is_the_caption_loss():
    outputs, batch = make()
    parts = CoCa(clip_weight=0, caption_weight=3)(outputs, batch)
    keep = batch.extras["caption_labels"] != 0
    expected = 3 * F.cross_entropy(
        outputs.extras["caption_logits"][keep], batch.extras["caption_labels"][keep]
    )
    torch.testing.assert_close(parts["loss"], expected)
    assert parts["contrastive"] == 0


def test_logits_at_pad_positions_do_not_matter():
    outputs, batch = make()
    logits = outputs.extras["caption_logits"].clone()
    logits[0, 3:] = 1e4
    assert torch.equal(CoCa()(with_logits(outputs, logits), batch)["loss"], CoCa()(outputs, batch)["loss"])


def test_half_precision_logits_are_raised():
    outputs, batch = make(torch.bfloat16)
    assert CoCa()(outputs, batch)["caption"].dtype == torch.float32


def test_a_batch_without_tokens_is_refused():
    outputs, batch = make()
    empty = Batch({}, extras={"caption_labels": torch.full_like(batch.extras["caption_labels"], 7)})
    with pytest.raises(InputError, match="is the pad id 7: no token to learn"):
        CoCa(pad_id=7)(outputs, empty)


def test_shapes_that_disagree_are_refused():
    outputs, batch = make()
    with pytest.raises(InputError, match=r"must be \[B, L, V\].*got \[3, 4, 11\] and \[3, 5\]"):
        CoCa()(with_logits(outputs, torch.zeros(3, 4, 11)), batch)


def test_missing_logits_are_refused():
    outputs, batch = make()
    with pytest.raises(InputError, match=r"outputs.extras\['caption_logits'\]"):
        CoCa()(Outputs(outputs.embeddings, outputs.logit_scale), batch)


def test_negative_weights_are_refused():
    with pytest.raises(ConfigError, match=r"CoCa weights must be at least 0, got 1.0 and -2"):
        CoCa(caption_weight=-2)
