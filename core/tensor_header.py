"""The header of a safetensors file, read strictly and without reading a tensor.

The library keeps the last of two equal names without a word; here that is an error, as are a gap between
tensors and bytes after the last one: something could hide there.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .errors import WeightsError
from .files import unique_keys

_LONGEST_HEADER = 100_000_000
_BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E4M3": 8, "F8_E5M2": 8, "I16": 16, "U16": 16, "F16": 16, "BF16": 16,
    "I32": 32, "U32": 32, "F32": 32, "I64": 64, "U64": 64, "F64": 64, "C64": 64,
}  # fmt: skip


@dataclass(frozen=True)
class TensorHeader:
    """What a safetensors file says it holds: {name: (type, shape)} and its own notes."""

    tensors: Mapping[str, tuple[str, tuple[int, ...]]]
    metadata: Mapping[str, str]


def read_header(path: str | Path) -> TensorHeader:
    """Return the header of a safetensors file.

    Raises:
        WeightsError: the file is something else, damaged, or holds anything beside its tensors.
    """
    path = Path(path)
    size = path.stat().st_size
    try:
        with path.open("rb") as handle:
            prefix = handle.read(8)
            if len(prefix) < 8:
                raise ValueError("it is shorter than 8 bytes")
            length = struct.unpack("<Q", prefix)[0]
            if length > _LONGEST_HEADER or length > size - 8:
                raise ValueError(f"its header would be {length:,} bytes long, the file has {size:,}")
            raw = json.loads(handle.read(length).decode("utf-8"), object_pairs_hook=unique_keys)
        return _parsed(raw, size - 8 - length)
    except (ValueError, RecursionError) as error:
        said = (
            "it is not JSON" if isinstance(error, (json.JSONDecodeError, UnicodeDecodeError)) else str(error)
        )
        raise WeightsError(f"{path.name}: not a whole safetensors file ({said}). Fetch it again.") from None


def _parsed(raw: object, data: int) -> TensorHeader:
    if not isinstance(raw, dict):
        raise ValueError("its header is no table")
    metadata = raw.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise ValueError("its notes are no texts")
    spans, tensors = [], {}
    for name, entry in raw.items():
        if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
            raise ValueError(f"the entry of tensor {name!r:.80} is not whole")
        kind, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
        if (
            not isinstance(kind, str)
            or kind not in _BITS
            or not _counts(shape)
            or not _counts(offsets)
            or len(offsets) != 2
        ):
            raise ValueError(f"tensor {name!r:.80} has the type {kind!r:.20}, or a shape that cannot be")
        start, end = offsets
        if (end - start) * 8 != math.prod(shape) * _BITS[kind]:
            raise ValueError(f"tensor {name!r:.80} takes {end - start:,} bytes, which its shape does not")
        spans.append((start, end, name))
        tensors[name] = (kind, tuple(shape))
    reached = 0
    for start, end, name in sorted(spans):
        if start != reached:
            raise ValueError(f"tensor {name!r:.80} starts at byte {start:,} instead of {reached:,}")
        reached = end
    if reached != data:
        raise ValueError(f"its tensors end at byte {reached:,} and {data - reached:,} bytes follow")
    return TensorHeader(tensors, metadata)


def _counts(value: object) -> bool:
    return isinstance(value, list) and all(
        isinstance(item, int) and not isinstance(item, bool) and item >= 0 for item in value
    )
