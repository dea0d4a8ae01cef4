"""OpenVINO models, one per tower, made of the ONNX files and compared in the same way."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ...core.errors import require
from ...core.provenance import versions_of
from . import bundle
from .graphs import left_out, reason
from .onnx import OPSET, draw_all
from .parity import Runner, parity
from .report import ExportReport, stage

if TYPE_CHECKING:
    from .dispatch import Subject

__all__ = ["export", "openvino_runner", "reason"]

_PACKAGES = ("verticlip", "torch", "onnx", "onnxscript", "openvino", "numpy")


def export(subject: Subject, out: Path, *, towers: Iterable[str] | None = None) -> ExportReport:
    """Write a folder of OpenVINO models with all that is needed to use them, and return how far they are off.

    Weights stay float32. Arguments and errors as for :func:`verticlip.hub.export.onnx.export`.
    """
    openvino = require("openvino", extra="openvino")
    core = openvino.Core()
    with stage(out) as folder, tempfile.TemporaryDirectory(dir=folder.parent, prefix=".onnx-") as between:
        files, checks = [], []
        for graph, drawn in draw_all(subject, Path(between), towers):
            file = dataclasses.replace(drawn, name=f"{drawn.part}.xml")
            # Not convert_model: it reports to a server whom the user never heard of, where that is installed.
            model = core.read_model(str(Path(between) / drawn.name))
            openvino.save_model(model, str(folder / file.name), compress_to_fp16=False)
            checks += parity(graph, openvino_runner(folder / file.name), file)
            files.append(file)
        notes = left_out(subject.network, files) if towers is None else ()
        facts = {"format": "openvino", "opset": OPSET, "versions": versions_of(_PACKAGES)}
        return bundle.finish(folder, subject, files, checks, facts=facts, notes=notes)


def openvino_runner(path: Path) -> Runner:
    """Return what runs an OpenVINO model on the CPU, in float32 and with as many threads as torch has."""
    openvino = require("openvino", extra="openvino")
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": torch.get_num_threads()}
    compiled = openvino.Core().compile_model(str(path), "CPU", settings)
    names = [port.get_any_name() for port in compiled.inputs]

    def run(inputs: Mapping[str, Tensor]) -> Tensor:
        feed = {name: inputs[name].contiguous().numpy() for name in names}
        return torch.from_numpy(np.array(compiled(feed)[0]))

    return run
