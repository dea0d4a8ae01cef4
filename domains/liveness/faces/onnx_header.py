"""What an ONNX file says of itself, read without the onnx package: sizes of inputs, names of outputs."""

from __future__ import annotations

from dataclasses import dataclass

from ....core.protobuf import fields

_GRAPH, _INPUT, _OUTPUT = 7, 11, 12
"""Field numbers of ``ModelProto.graph``, ``GraphProto.input`` and ``GraphProto.output``."""


@dataclass(frozen=True)
class OnnxHeader:
    """Inputs and outputs of a network.

    Attributes:
        inputs: (name, dimensions); a dimension that is left open is None.
        outputs: names.
    """

    inputs: tuple[tuple[str, tuple[int | None, ...]], ...]
    outputs: tuple[str, ...]


def read_header(content: bytes) -> OnnxHeader:
    """Return what an ONNX file says of itself.

    Raises:
        ValueError: no ONNX file, or one that was cut off.

    Reference:
        onnx/onnx.proto, messages ModelProto, GraphProto, ValueInfoProto and TensorShapeProto.
    """
    graphs = [value for number, value in fields(content) if number == _GRAPH and isinstance(value, bytes)]
    if len(graphs) != 1:
        raise ValueError("there is no graph in it")
    inputs, outputs = [], []
    for number, value in fields(graphs[0]):
        if number in (_INPUT, _OUTPUT) and isinstance(value, bytes):
            name = b"".join(_all(value, 1)).decode("utf-8", "replace")
            if number == _OUTPUT:
                outputs.append(name)
            else:
                inputs.append((name, _dimensions(value)))
    return OnnxHeader(tuple(inputs), tuple(outputs))


def _dimensions(info: bytes) -> tuple[int | None, ...]:
    """Return the shape in a ValueInfoProto: type (2), tensor_type (1), shape (2), dim (1), dim_value (1)."""
    levels = [info]
    for number in (2, 1, 2, 1):
        levels = [inner for level in levels for inner in _all(level, number)]
    found = []
    for dimension in levels:
        values = [value for number, value in fields(dimension) if number == 1 and isinstance(value, int)]
        found.append(values[-1] if values and values[-1] > 0 else None)
    return tuple(found)


def _all(message: bytes, wanted: int) -> list[bytes]:
    return [value for number, value in fields(message) if number == wanted and isinstance(value, bytes)]
