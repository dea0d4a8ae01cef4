"""One call for every format, and which formats a model can be had in.

A format is a module of this folder with

* ``export(model: Subject, out: Path, **options) -> ExportReport``: writes ``out``, or refuses and writes
  nothing;
* ``reason(config: ModelConfig, processor: ProcessorConfig | None) -> str``: why a model cannot be had in this
  format, empty where it can as far as its config tells.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol

from ...core.errors import ConfigError, nearest
from .report import ExportReport, check_out

if TYPE_CHECKING:
    from ...core.config import ModelConfig, ProcessorConfig
    from ...core.model import ContrastiveModel
    from ...core.processing import Processor
    from ...core.prompts import PromptSet
    from ..loading import ResolvedModel

FORMATS = {
    "open_clip": "a folder that open_clip loads by local-dir: or, published, by hf-hub:",
    "transformers": "a folder that AutoModel and AutoProcessor of transformers load",
    "onnx": "one ONNX file per tower",
    "openvino": "one OpenVINO model per tower",
}
"""{format: what it is}; each is a module of this folder."""


class ModelLike(Protocol):
    """What an export reads of a loaded model; :class:`verticlip.facade.Model` is one."""

    network: ContrastiveModel
    processor: Processor
    prompts: PromptSet | None
    source: ResolvedModel | None

    @property
    def id(self) -> str:
        """Name of the model."""
        ...

    @property
    def revision(self) -> str:
        """Commit or hash of the weights."""
        ...


@dataclass(frozen=True)
class Subject:
    """A model that is to be exported.

    Attributes:
        network: in evaluation mode, float32, on the CPU.
        processor: preprocessing that belongs to it.
        prompts: the model's own classes and templates, or None.
        id: name of the model; of a folder what its config says: a path would tell whose computer it was.
        revision: commit or hash of its weights.
    """

    network: ContrastiveModel
    processor: Processor
    prompts: PromptSet | None
    id: str
    revision: str

    @property
    def config(self) -> ModelConfig:
        """Architecture of the network."""
        return self.network.config


def export(
    model: ModelLike | Subject | str | Path,
    out: str | Path,
    to: str,
    *,
    revision: str | None = None,
    **options: Any,
) -> ExportReport:
    """Write a model in another library's format and return how far that is from the model.

    Args:
        model: a loaded model, or what ``from_pretrained`` takes.
        out: folder that is missing or empty.
        to: one of :data:`FORMATS`.
        revision: of a model given by name.
        options: of the format, e.g. ``towers=("image",)`` of ``onnx``.

    Raises:
        ConfigError: unknown format, a model that the format has no words for, or ``out`` holds something.
        WeightsError: the export does not answer as the model does; nothing is left behind.
        DependencyError: the library of the format is not installed.
    """
    module = format_module(to)
    check_out(out)
    subject = subject_of(model, revision)
    refused = module.reason(subject.config, subject.processor.config)
    if refused:
        raise ConfigError(f"{subject.id} cannot be exported to {to}: {refused}")
    return module.export(subject, Path(out), **options)


def exportable(config: ModelConfig, processor: ProcessorConfig | None = None) -> dict[str, str]:
    """Return {format: why not}, with an empty reason where a model of this config can be exported.

    Args:
        config: of the model.
        processor: its preprocessing, which can stand in the way as well; None asks about the network alone.
    """
    return {name: format_module(name).reason(config, processor) for name in FORMATS}


def subject_of(model: ModelLike | Subject | str | Path, revision: str | None = None) -> Subject:
    """Return a model as exports read it, loaded where it is a name or a folder.

    Raises:
        ConfigError: a loaded model that is not in float32 on the CPU, or a revision beside one.
    """
    if isinstance(model, (str, Path)):
        from ..loading import load_model, resolve

        source = resolve(model, revision)
        network, processor, prompts = load_model(source)
        return Subject(network, processor, prompts, _name(network, source), source.revision)
    import torch

    if revision is not None:
        raise ConfigError(f"A loaded model has its revision; leave revision={revision!r} out.")
    network = model.network
    if network.device.type != "cpu" or network.dtype != torch.float32:
        raise ConfigError(
            f"{model.id} is {str(network.dtype).removeprefix('torch.')} on {network.device}; an export is "
            "compared in float32 on the CPU. Load it with device='cpu' and dtype='float32'."
        )
    name = model.id if isinstance(model, Subject) else _name(network, model.source)
    return Subject(network, model.processor, model.prompts, name, model.revision)


def _name(network: ContrastiveModel, source: ResolvedModel | None) -> str:
    """Return what a report calls a model: its public name, else that of its config."""
    is_public = source is not None and (source.spec or source.commit)
    return source.id if source is not None and is_public else network.config.name


def format_module(name: str) -> ModuleType:
    """Return the module of a format.

    Raises:
        ConfigError: there is none of this name; the nearest is named.
    """
    if name not in FORMATS:
        raise ConfigError(
            f"Unknown export format {name!r}; there are: {', '.join(FORMATS)}.{nearest(name, FORMATS)}"
        )
    return importlib.import_module(f".{name}", __package__)
