"""ONNX files of a model, one per tower, that ONNX Runtime answers as torch does.

Graphs come from torch's own exporter (``torch.export``), because tracing would freeze what depends on sizes:
the batch, and the length of texts. File names, stack traces and everything else that is not the model is
taken out, so that one model gives the same bytes wherever it is exported.
"""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ...core.errors import ConfigError, require
from ...core.graphs import Graph
from ...core.provenance import versions_of
from . import bundle
from .graphs import graphs_of, left_out, reason
from .parity import Runner, parity
from .report import ExportReport, stage

if TYPE_CHECKING:
    from ...core.model import ContrastiveModel
    from .dispatch import Subject

__all__ = ["OPSET", "draw", "draw_all", "export", "onnx_runner", "reason"]

OPSET = 20
"""Operators of the files: the first set with GELU; ONNX Runtime reads it from 1.17 on."""

_PACKAGES = ("verticlip", "torch", "onnx", "onnxscript", "onnxruntime", "numpy")
_RESULT = "verticlip_result"


def export(subject: Subject, out: Path, *, towers: Iterable[str] | None = None) -> ExportReport:
    """Write a folder of ONNX files with all that is needed to use them, and return how far they are off.

    Args:
        subject: the model.
        out: missing or empty folder.
        towers: names of the parts; None is every one.

    Raises:
        ConfigError: no such part, or a part that the exporter of torch does not take.
        ExportRefused: ONNX Runtime answers otherwise; nothing is written then.
        DependencyError: onnx, onnxscript or onnxruntime is not installed.
    """
    require("onnxruntime", extra="export")
    with stage(out) as folder:
        drawn = draw_all(subject, folder, towers)
        checks = [
            check
            for graph, file in drawn
            for check in parity(graph, onnx_runner(folder / file.name, graph.output), file)
        ]
        files = [file for _, file in drawn]
        notes = left_out(subject.network, files) if towers is None else ()
        facts = {"format": "onnx", "opset": OPSET, "versions": versions_of(_PACKAGES)}
        return bundle.finish(folder, subject, files, checks, facts=facts, notes=notes)


def draw_all(
    subject: Subject, folder: Path, names: Iterable[str] | None
) -> list[tuple[Graph, bundle.GraphFile]]:
    """Write every graph into ``folder`` as ``<name>.onnx`` and return what each file takes and gives.

    Raises:
        ConfigError: as :func:`draw`, or a name that the model does not have.
    """
    require("onnxscript", extra="export")
    network = subject.network
    training = network.training
    network.eval()
    try:
        return [(graph, draw(subject, graph, folder)) for graph in graphs_of(subject, names)]
    finally:
        network.train(training)


class _Part(nn.Module):
    """One graph as a module whose inputs are tensors in a row."""

    def __init__(self, network: ContrastiveModel, graph: Graph, names: tuple[str, ...]) -> None:
        super().__init__()
        self.network, self._run, self._names = network, graph.run, names

    def forward(self, *tensors: Tensor) -> Tensor:
        """Return what the graph gives."""
        return self._run(dict(zip(self._names, tensors, strict=True)))


def draw(subject: Subject, graph: Graph, folder: Path) -> bundle.GraphFile:
    """Write one graph as ``<name>.onnx``.

    Raises:
        ConfigError: torch cannot export this part; its reason is named.
    """
    network, text = subject.network, subject.processor.config.text
    example = next(iter(graph.trials.values()))
    model, fixed = _model(network, graph, example)
    _strip(model, graph)
    _name_axes(model, fixed)
    inputs = {value.name: tuple(map(_axis, value.shape)) for value in model.graph.inputs}
    if any(shape[0] != "batch" for shape in inputs.values()):
        raise ConfigError(f"The part {graph.name!r} of {subject.id} takes one batch size only in ONNX.")
    path = folder / f"{graph.name}.onnx"
    _save(model, path)
    names = [str(name).split(".") for name in model.graph.initializers]
    dtypes = {name: str(tensor.dtype).removeprefix("torch.") for name, tensor in example.items()}
    return bundle.GraphFile(
        name=path.name,
        part=graph.name,
        inputs={name: bundle.Port(dtypes[name], shape) for name, shape in inputs.items()},
        output=graph.output,
        meaning=graph.meaning,
        unit=graph.unit,
        pad_id=0 if text is None else text.pad_id,
        notes=(graph.note,) if graph.note else (),
        modules=frozenset(parts[1] for parts in names if parts[0] == "network" and len(parts) > 2),
    )


def _model(
    network: ContrastiveModel, graph: Graph, example: Mapping[str, Tensor]
) -> tuple[Any, dict[str, int]]:
    """Return the graph as an ``onnx_ir.Model``, and the axes {symbol: size} that have one size only."""
    names = tuple(example)
    auto, dynamic = torch.export.Dim.AUTO, torch.export.Dim.DYNAMIC
    shapes = tuple({0: dynamic, **dict.fromkeys(graph.free.get(name, ()), auto)} for name in names)
    part = _Part(network, graph, names).eval()
    with torch.no_grad():
        # What the network keeps between calls must be there before, or it would keep what tracing puts in.
        graph.run(example)
    try:
        with torch.no_grad(), _quiet():
            program: Any = torch.onnx.export(
                part,
                tuple(example.values()),
                dynamo=True,
                input_names=list(names),
                # The exporter does not mind if a value inside has the name of the result; see _strip.
                output_names=[_RESULT],
                dynamic_shapes=(shapes,),
                opset_version=OPSET,
                verbose=False,
            )
    except (torch.onnx.errors.OnnxExporterError, RuntimeError) as error:
        raise ConfigError(
            f"The part {graph.name!r} of {network.config.name} cannot be exported to ONNX: {_cause(error)} "
            "Name the other parts to export them alone, and use this one with torch."
        ) from error
    ranges = program.exported_program.range_constraints
    fixed = {str(symbol): int(of.lower) for symbol, of in ranges.items() if of.lower == of.upper}
    return program.model, fixed


def _cause(error: BaseException) -> str:
    """Return what the innermost error says, on one line."""
    while error.__cause__ is not None:
        error = error.__cause__
    said = " ".join(str(error).split()) or type(error).__name__
    return said[:300].rstrip(".") + "."


def _axis(axis: Any) -> int | str:
    return axis if isinstance(axis, int) else str(getattr(axis, "value", axis))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's talk to itself; what matters of it is in its errors, and parity is measured."""
    loggers = [
        logging.getLogger(name)
        for name in ("torch.onnx", "torch.fx", "torch.export", "torch._export", "onnxscript", "onnx_ir")
    ]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            for logger in loggers:
                logger.setLevel(logging.CRITICAL)
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


def _strip(model: Any, graph: Graph) -> None:
    """Take everything out of an ``onnx_ir.Model`` that is not the model, and name what is left."""
    model.metadata_props.clear()
    model.doc_string, model.graph.name = None, graph.name
    for owner in (model.graph, *model.functions.values()):
        owner.metadata_props.clear()
        owner.doc_string = None
        for node in owner.all_nodes():
            node.metadata_props.clear()
            node.doc_string = None
            for value in node.outputs:
                value.metadata_props.clear()
    for value in (*model.graph.inputs, *model.graph.initializers.values()):
        value.metadata_props.clear()
    # CLIP's text tower finds the end by its id and reads no mask.
    for value in [value for value in model.graph.inputs if not value.uses()]:
        model.graph.inputs.remove(value)
    _name_result(model, graph.output)


def _name_result(model: Any, name: str) -> None:
    for value in [value for node in model.graph.all_nodes() for value in node.outputs]:
        if value.name == name:
            value.name = f"{name}_inside"
    if name in model.graph.initializers:
        constant = model.graph.initializers.pop(name)
        constant.name = f"{name}_constant"
        model.graph.initializers[constant.name] = constant
    for value in model.graph.outputs:
        value.name = name


def _name_axes(model: Any, fixed: Mapping[str, int]) -> None:
    """Call the batch ``batch`` and the length of texts ``length`` instead of the exporter's symbols."""
    ir = require("onnx_ir", extra="export")
    words: dict[str, int | str] = dict(fixed)
    for value in model.graph.inputs:
        for place, axis in enumerate(value.shape):
            if not isinstance(axis, int):
                text = value.name in ("input_ids", "attention_mask")
                word = "batch" if place == 0 else "length" if text else f"{value.name}_{place}"
                words.setdefault(str(axis.value), word)
    inner = [value for node in model.graph.all_nodes() for value in node.outputs]
    for value in [*model.graph.inputs, *inner]:
        if value.shape is not None:
            axes = [
                axis if isinstance(axis, int) else words.get(str(axis.value), axis.value)
                for axis in value.shape
            ]
            value.shape = ir.Shape(axes)


_ONE_FILE_BYTES = 1_500_000_000
"""Up to here weights lie in the ONNX file itself, which cannot hold more than 2 GiB."""


def _save(model: Any, path: Path) -> None:
    ir = require("onnx_ir", extra="export")
    size = sum(value.const_value.nbytes for value in model.graph.initializers.values() if value.const_value)
    if size > _ONE_FILE_BYTES:
        ir.save(model, str(path), external_data=f"{path.name}.data")
    else:
        ir.save(model, str(path))


def onnx_runner(path: Path, output: str) -> Runner:
    """Return what runs an ONNX file on the CPU, with as many threads as torch has."""
    runtime = require("onnxruntime", extra="export")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]

    def run(inputs: Mapping[str, Tensor]) -> Tensor:
        feed = {name: inputs[name].contiguous().numpy() for name in names}
        return torch.from_numpy(session.run([output], feed)[0])

    return run
