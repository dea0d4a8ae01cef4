"""Parts of a model that other runtimes can run: a function of tensors, and inputs to compare it on.

Every tower is such a part by itself. A room adds, under ``GRAPHS``, what its architectures answer with
besides: ``{architecture: "module:function"}``, a function ``(network, processor) -> Sequence[Graph]``. One
that has the name of a tower takes its place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import Tensor


@dataclass(frozen=True)
class Graph:
    """One part of a model.

    Attributes:
        name: of the file: ``image``, ``text``, ``masks`` ...
        run: {input: tensor [B, ...]} to one tensor [B, ...]; what is exported. It may look at shapes, not at
            values.
        trials: {kind of inputs: inputs}; the first one, of at least two rows, is what the graph is drawn
            with, and on all of them the export has to agree.
        output: name of the result.
        meaning: of the result, in words, with shape and unit.
        free: {input: axes that may have any size}, beside the batch axis 0 of every input.
        expect: what the result is compared with; None is ``run``.
        unit: whether rows of the result have length one.
        note: what a reader of the export has to know, or "".
        tolerance: largest difference of a value where results stay within [-1, 1]; it grows with those that
            do not. float32 sums in another order: 2e-6 is usual.
    """

    name: str
    run: Callable[[Mapping[str, Tensor]], Tensor]
    trials: Mapping[str, Mapping[str, Tensor]]
    output: str
    meaning: str
    free: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    expect: Callable[[Mapping[str, Tensor]], Tensor] | None = None
    unit: bool = False
    note: str = ""
    tolerance: float = 1e-5

    @property
    def expected(self) -> Callable[[Mapping[str, Tensor]], Tensor]:
        """What the result is compared with."""
        return self.expect or self.run
