"""What an ONNX file says of itself, read without the onnx package: sizes of inputs, names of outputs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

_GRAPH, _INPUT, _OUTPUT = 7, 11, 12
"""Field numbers of ``ModelProto.graph``, ``GraphProto.input`` and ``GraphProto.output``."""
_MOST_FIELDS = 1_000_000


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
    graphs = [value for number, value in _fields(content) if number == _GRAPH and isinstance(value, bytes)]
    if len(graphs) != 1:
        raise ValueError("there is no graph in it")
    inputs, outputs = [], []
    for number, value in _fields(graphs[0]):
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
        values = [value for number, value in _fields(dimension) if number == 1 and isinstance(value, int)]
        found.append(values[-1] if values and values[-1] > 0 else None)
    return tuple(found)


def _all(message: bytes, wanted: int) -> list[bytes]:
    return [value for number, value in _fields(message) if number == wanted and isinstance(value, bytes)]


def _fields(message: bytes) -> Iterator[tuple[int, bytes | int]]:
    """Yield (field number, bytes or number) of a protocol buffer message."""
    place = 0
    for _ in range(_MOST_FIELDS):
        if place >= len(message):
            return
        key, place = _varint(message, place)
        number, wire = key >> 3, key & 7
        if not number:
            raise ValueError("its content is no protocol buffer")
        if wire == 0:
            value, place = _varint(message, place)
            yield number, value
            continue
        if wire == 2:
            length, place = _varint(message, place)
        elif wire in (1, 5):
            length = 8 if wire == 1 else 4
        else:
            raise ValueError("its content is no protocol buffer")
        if place + length > len(message):
            raise ValueError("it ends too early; the download or copy was cut off")
        yield number, message[place : place + length]
        place += length
    raise ValueError("its content is no protocol buffer")


def _varint(message: bytes, place: int) -> tuple[int, int]:
    """Return (number, position behind it): seven bits a byte, the highest bit says whether more follow."""
    value = 0
    for index in range(10):
        if place + index >= len(message):
            raise ValueError("it ends too early; the download or copy was cut off")
        byte = message[place + index]
        value |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            return value, place + index + 1
    raise ValueError("its content is no protocol buffer")
