"""From frames to videos."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from verticlip.core.errors import InputError
from verticlip.domains.liveness.metrics.video import video_loss, video_means


def test_videos_come_in_the_order_of_their_first_frames():
    found = video_means([0.2, 0.9, 0.4, None, None], ["b", "a", "b", "b", "c"], [0, 1, 0, 0, 1])
    assert found.ids == ("b", "a", "c")
    assert found.responses == [pytest.approx(0.3), 0.9, None]
    assert (found.frames, found.missing, found.labels.tolist()) == ((3, 1, 1), (1, 0, 1), [0, 1, 1])


def test_float32_scores_are_averaged_in_float32():
    scores = np.random.default_rng(0).random(3).astype(np.float32)
    expected = float((scores[0] + scores[1] + scores[2]) / np.float32(3))
    assert video_means(scores, [1, 1, 1], [1, 1, 1]).scores[0] == expected
    assert video_means(torch.from_numpy(scores), [1, 1, 1], [1, 1, 1]).scores[0] == expected


def test_the_loss_is_of_mean_logits():
    logits = torch.tensor([[0.0, 4.0], [2.0, 0.0], [3.0, 0.0]])
    found = video_loss(logits, ["a", "a", "b"], [1, 1, 1])
    expected = (math.log1p(math.exp(-1)) + math.log1p(math.exp(3))) / 2
    assert found.loss == pytest.approx(expected, abs=1e-6)
    assert found.top1 == 0.5


def test_bad_input():
    with pytest.raises(InputError, match="Video 'a' has frames of both labels"):
        video_means([0.1, 0.2], ["a", "a"], [0, 1])
    with pytest.raises(InputError, match="1 frames, 2 video ids and 1 labels"):
        video_means([0.1], ["a", "a"], [0])
    with pytest.raises(InputError, match="0 frames"):
        video_means([], [], [])
    with pytest.raises(InputError, match=r"\[frames, classes\], got \[2\]"):
        video_loss(torch.zeros(2), ["a", "a"], [0, 0])
