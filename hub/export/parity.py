"""How far an exported graph is off, on every kind of inputs that its part is compared on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from ...core.errors import ConfigError
from ...core.graph_trials import pad_texts
from ...core.graphs import Graph
from ...core.verify import OutputCheck
from .report import compare

if TYPE_CHECKING:
    from .bundle import GraphFile

COSINE_TOLERANCE = 1e-6

Runner = Callable[[Mapping[str, Tensor]], Tensor]
"""What another runtime makes of inputs {name: tensor [B, ...]}: a tensor [B, ...]."""


def parity(graph: Graph, run: Runner, file: GraphFile) -> list[OutputCheck]:
    """Return how far ``run`` is off on every kind of inputs of a graph, by value and by direction.

    Args:
        graph: with its trials and what it is compared with.
        run: the exported graph.
        file: whose inputs may have one length only; texts are filled up to it.

    Raises:
        ConfigError: the other runtime refuses the file.
    """
    checks = []
    for kind, inputs in graph.trials.items():
        with torch.no_grad():
            expected = graph.expected(inputs).float()
        name = f"{graph.name} {graph.output}, {kind}"
        try:
            got = run(_to_length(inputs, file)).float()
        except Exception as error:  # every runtime has error classes of its own; the report names the case
            said = " ".join(str(error).split())[:300]
            raise ConfigError(f"{name}: the runtime refuses the exported file: {said}.") from error
        largest = float(expected.abs().nan_to_num(posinf=0.0, neginf=0.0).max()) if expected.numel() else 0.0
        checks.append(compare(name, got, expected, graph.tolerance * max(1.0, largest)))
        if graph.unit and got.shape == expected.shape:
            away = 1.0 - F.cosine_similarity(got.double(), expected.double(), dim=-1)
            checks.append(compare(f"{name}, 1 - cosine", away, torch.zeros_like(away), COSINE_TOLERANCE))
    return checks


def _to_length(inputs: Mapping[str, Tensor], file: GraphFile) -> dict[str, Tensor]:
    port = file.inputs.get("input_ids")
    length = None if port is None else port.shape[1]
    return pad_texts(inputs, length, file.pad_id) if isinstance(length, int) else dict(inputs)
