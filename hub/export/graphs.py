"""Which graphs a model consists of: its towers, and what its domain adds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from torch import Tensor

from ...core.errors import ConfigError, nearest
from ...core.graph_trials import trials
from ...core.graphs import Graph
from ...core.registry import ROOMS, room

if TYPE_CHECKING:
    from ...core.config import ModelConfig, ProcessorConfig
    from ...core.model import ContrastiveModel
    from .bundle import GraphFile
    from .dispatch import Subject


def graphs_of(subject: Subject, only: Iterable[str] | None = None) -> list[Graph]:
    """Return the graphs of a model by name of their files.

    Args:
        subject: the model.
        only: names; None is every one.

    Raises:
        ConfigError: a name that the model does not have, or a model without any.
    """
    added = {graph.name: graph for graph in _of_domain(subject)}
    towers = [name for name in subject.network.modalities if name not in added]
    wanted = [*towers, *added] if only is None else list(only)
    for name in wanted:
        if name not in towers and name not in added:
            known = [*towers, *added]
            raise ConfigError(
                f"{subject.id} has no part {name!r} to export; it has: {', '.join(known) or 'none'}."
                f"{nearest(name, known)}"
            )
    return [added[name] if name in added else tower_graph(subject, name) for name in wanted]


def tower_graph(subject: Subject, modality: str) -> Graph:
    """Return the graph from the inputs of a tower to unit embeddings float32 [B, D]."""
    text = subject.processor.config.text
    # A processor that fills texts up does so because the tower takes no other length.
    free = modality == "text" and text is not None and text.padding == "longest"
    return Graph(
        name=modality,
        run=_encoder(subject.network, modality),
        trials=trials(subject.processor, modality),
        output="embedding",
        meaning=f"unit embeddings float32 [B, {subject.config.embed_dim}]",
        free={"input_ids": (1,), "attention_mask": (1,)} if free else {},
        unit=True,
    )


def _encoder(network: ContrastiveModel, modality: str) -> Callable[[Mapping[str, Tensor]], Tensor]:
    return lambda inputs: network.encode(modality, inputs)


def _of_domain(subject: Subject) -> list[Graph]:
    config = subject.config
    if config.domain not in ROOMS or config.architecture not in room(config.domain).graphs:
        return []
    return list(
        room(config.domain).function("graphs", config.architecture)(subject.network, subject.processor)
    )


def left_out(network: ContrastiveModel, files: Iterable[GraphFile]) -> tuple[str, ...]:
    """Return one sentence on the modules of a network that no file holds, or nothing."""
    held = {name for file in files for name in file.modules}
    missing = {
        name: sum(parameter.numel() for parameter in module.parameters())
        for name, module in network.named_children()
        if name not in held
    }
    words = [f"{name} ({count:,} parameters)" for name, count in missing.items() if count]
    return (f"Not part of the export: {', '.join(words)}.",) if words else ()


def reason(config: ModelConfig, processor: ProcessorConfig | None) -> str:
    """Return why a model has no graphs to export, or "" where it has."""
    if config.domain in ROOMS and config.architecture in room(config.domain).graphs:
        return ""
    if not config.towers:
        return f"the architecture {config.architecture!r} has no towers, and its domain names no other part."
    if config.options.get("joint_space") is False:
        return "its weights have no projection head, so its towers embed nothing."
    if processor is None:
        return ""
    missing = [name for name in config.towers if getattr(processor, name, None) is None]
    if missing:
        return (
            f"its processor prepares no {missing[0]!r}, so the tower for it cannot be compared. "
            "Add that to processor.json."
        )
    return ""
