"""A face detector of YuNet's architecture with random weights, for timing where its file is not at hand.

It costs what YuNet costs and finds nothing: the classes' biases keep every score low. What a benchmark goes
on with is a face that it states itself, see :class:`StatedFace`.

Reference: Wu, Peng, Yu, "YuNet: a tiny millisecond-level face detector", 2023, for the layers and widths.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..domains.liveness.faces.detect import VARIABLE, Face, FaceDetector, YuNet
from .onnx_files import write_onnx

STRIDES = (8, 16, 32)
_HEADS = {"cls": 1, "obj": 1, "bbox": 4, "kps": 10}
_NEVER = -8.0


def _unit(inside: int, outside: int, *, bare: bool = False) -> nn.Sequential:
    """Return a 1 x 1 convolution and a depthwise one, with norm and ReLU unless ``bare``."""
    layers: list[nn.Module] = [
        nn.Conv2d(inside, outside, 1),
        nn.Conv2d(outside, outside, 3, padding=1, groups=outside),
    ]
    return nn.Sequential(*layers, *([] if bare else [nn.BatchNorm2d(outside), nn.ReLU()]))


class StandIn(nn.Module):
    """YuNet's backbone, pyramid and heads: pictures [1, 3, H, W], sides multiples of 32, to 12 outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU(), _unit(16, 16))
        self.stages = nn.ModuleList(
            nn.Sequential(_unit(inside, inside), _unit(inside, 64)) for inside in (16, 64, 64, 64, 64)
        )
        self.laterals = nn.ModuleList(_unit(64, 64) for _ in STRIDES)
        self.stacks = nn.ModuleList(_unit(64, 64) for _ in STRIDES)
        self.heads = nn.ModuleDict(
            {
                f"{head}_{stride}": _unit(64, width, bare=True)
                for head, width in _HEADS.items()
                for stride in STRIDES
            }
        )
        for name, head in self.heads.items():
            if name.startswith(("cls", "obj")):
                nn.init.zeros_(cast("nn.Conv2d", cast("nn.Sequential", head)[1]).weight)
                nn.init.constant_(
                    cast("Tensor", cast("nn.Conv2d", cast("nn.Sequential", head)[1]).bias), _NEVER
                )

    @property
    def outputs(self) -> list[str]:
        """Names of the outputs, in order."""
        return list(self.heads)

    def forward(self, pictures: Tensor) -> tuple[Tensor, ...]:
        """Return per head and stride [1, cells, width]."""
        states = F.max_pool2d(self.stem(pictures), 2)
        maps = []
        for place, stage in enumerate(self.stages):
            states = stage(states)
            if place >= 2:
                maps.append(states)
            if 1 <= place <= 3:
                states = F.max_pool2d(states, 2)
        for place in (2, 1, 0):
            if place < 2:
                maps[place] = maps[place] + F.interpolate(maps[place + 1], scale_factor=2.0)
            maps[place] = self.laterals[place](maps[place])
        shared = {stride: self.stacks[place](maps[place]) for place, stride in enumerate(STRIDES)}
        found = []
        for name, head in self.heads.items():
            kind, stride = name.split("_")
            rows = head(shared[int(stride)]).permute(0, 2, 3, 1).reshape(1, -1, _HEADS[kind])
            found.append(rows.sigmoid() if kind in ("cls", "obj") else rows)
        return tuple(found)


def write_stand_in(path: Path) -> Path:
    """Write the stand-in as ONNX, for pictures of any size."""
    torch.manual_seed(0)
    network = StandIn().eval()
    names = network.outputs
    axes = {"input": {2: "height", 3: "width"}, **{name: {1: "cells"} for name in names}}
    example = torch.zeros(1, 3, 64, 96)
    return write_onnx(network, example, path, inputs="input", outputs=names, open_axes=axes)


class StatedFace:
    """A detector that does all the work of another one and then answers with a face that is stated.

    Args:
        detector: whose time it takes. face: what it answers.
    """

    def __init__(self, detector: FaceDetector, face: Face) -> None:
        self.detector, self.face = detector, face
        self.name, self.digest = f"{detector.name}-timed", detector.digest

    def detect(self, picture: np.ndarray) -> list[Face]:
        """Return the stated face."""
        self.detector.detect(picture)
        return [self.face]


def open_yunet() -> tuple[FaceDetector, str]:
    """Return a detector and what it is: the file that VERTICLIP_YUNET names, or the stand-in.

    Raises:
        WeightsError: the file is no YuNet. DependencyError: OpenCV is not installed.
    """
    if os.environ.get(VARIABLE):
        return YuNet(), "YuNet"
    with tempfile.TemporaryDirectory() as folder:
        return YuNet(write_stand_in(Path(folder) / "yunet.onnx")), "stand-in for YuNet, random weights"
