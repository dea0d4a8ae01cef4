"""What a repository or folder that is not in our own format holds, told from its file names and its config.

Only files with the names below are ever asked for; a shard also has to be named by the index beside it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from ..core.errors import ConfigError
from ..core.files import CONFIG_FILE, PROCESSOR_FILE, TOKENIZER_FILE, WEIGHTS_FILE
from .licences import spdx_licence

Kind = Literal[
    "verticlip",
    "open_clip",
    "transformers:clip",
    "transformers:siglip",
    "transformers:siglip2",
    "transformers:clap",
]

OPEN_CLIP_FILE = "open_clip_config.json"
INDEX_SUFFIX = ".index.json"

_OPEN_CLIP_WEIGHTS = (
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "open_clip_model.safetensors.index.json",
    "open_clip_pytorch_model.bin",
)
_TRANSFORMERS_WEIGHTS = (
    WEIGHTS_FILE,
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
"""Best first: safetensors whole, then in pieces, then pickles."""
_BESIDE = {
    "tokenizer": TOKENIZER_FILE,
    "tokenizer_config": "tokenizer_config.json",
    "special_tokens": "special_tokens_map.json",
    "vocab": "vocab.json",
    "merges": "merges.txt",
    "pieces": "spiece.model",
    "preprocessor": "preprocessor_config.json",
    "processor": "processor_config.json",
}
"""{role: name} of the small files that a conversion may read; those that are there are fetched."""
_UNREAD = {
    "open_clip": ("vocab", "merges", "pieces", "preprocessor", "processor"),
    "transformers:clip": ("pieces",),
    "transformers:siglip": ("vocab", "merges"),
    "transformers:clap": ("pieces", "tokenizer_config", "special_tokens"),
}
_HEADER_BYTES = 65_536
UNKNOWN_LICENCE = "unknown"
_LICENCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+-]{0,63}")
_SHARD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,80}-\d{5}-of-\d{5}\.(safetensors|bin)")
_MOST_SHARDS = 256


@dataclass(frozen=True)
class Plan:
    """Which files of a checkpoint are read.

    Attributes:
        kind: of the checkpoint. files: {role: name}, ``config`` and small files first.
        weights: name of the weights, or of the index that names their pieces.
    """

    kind: Kind
    files: Mapping[str, str]
    weights: str

    @property
    def indexed(self) -> bool:
        """Whether the weights come in pieces."""
        return self.weights.endswith(INDEX_SUFFIX)

    @property
    def pickled(self) -> bool:
        """Whether the weights are a pickle, which only torch's restricted reader opens."""
        return ".bin" in self.weights


def kind_of_files(names: Iterable[str], config: Mapping[str, Any] | None) -> Kind | None:
    """Return the format of a set of files, or None for none that can be loaded.

    Where both libraries find a checkpoint, safetensors come before pickles, and then open_clip first.

    Args:
        names: of the files, paths inside the repository.
        config: content of ``config.json``; None where there is none, or it was not read.
    """
    present = set(names)
    if {CONFIG_FILE, PROCESSOR_FILE, WEIGHTS_FILE} <= present and (config is None or "towers" in config):
        return "verticlip"
    kind = f"transformers:{config.get('model_type')}" if config is not None else ""
    offers: list[tuple[str, tuple[str, ...]]] = []
    if OPEN_CLIP_FILE in present:
        offers.append(("open_clip", _OPEN_CLIP_WEIGHTS))
    if kind in get_args(Kind):
        offers.append((kind, _TRANSFORMERS_WEIGHTS))
    for pickled in (False, True):
        for offered, weights in offers:
            if any(name in present for name in weights if (".bin" in name) == pickled):
                return offered  # pyright: ignore[reportReturnType]
    return None


def has_open_clip_safetensors(names: Iterable[str]) -> bool:
    """Return whether the names alone decide for open_clip, whatever a ``config.json`` beside them says."""
    present = set(names)
    safe = (name for name in _OPEN_CLIP_WEIGHTS if ".bin" not in name)
    return OPEN_CLIP_FILE in present and any(name in present for name in safe)


def plan(names: Iterable[str], config: Mapping[str, Any] | None, *, source: str) -> Plan:
    """Return which files of a checkpoint a conversion reads.

    Args:
        names, config: as in :func:`kind_of_files`.
        source: repository or folder, as the user wrote it.

    Raises:
        ConfigError: no checkpoint of open_clip or transformers that can be loaded, with the reason.
    """
    present = set(names)
    kind = kind_of_files(present, config)
    if kind is None or kind == "verticlip":
        raise ConfigError(f"{source}: {_why_not(present, config)}")
    if kind == "transformers:siglip2":
        raise ConfigError(
            f"{source} is a SigLIP 2 of variable resolution (NaFlex), whose pictures have no one size. Load "
            "one of fixed resolution of the same family, for example google/siglip2-base-patch16-224."
        )
    offered = _OPEN_CLIP_WEIGHTS if kind == "open_clip" else _TRANSFORMERS_WEIGHTS
    weights = next(name for name in offered if name in present)
    files = {"config": OPEN_CLIP_FILE if kind == "open_clip" else CONFIG_FILE}
    files |= {
        role: name for role, name in _BESIDE.items() if name in present and role not in _UNREAD.get(kind, ())
    }
    return Plan(kind, files, weights)


def _why_not(present: set[str], config: Mapping[str, Any] | None) -> str:
    """Return why files are no checkpoint that can be loaded, and what would be one."""
    whole = "open_clip_config.json and open_clip_model.safetensors, or config.json and model.safetensors"
    expected = f"Expected are verticlip's own files, or {whole} of a CLIP, SigLIP or CLAP."
    if not present:
        return f"holds no files. {expected}"
    if OPEN_CLIP_FILE in present:
        return f"has {OPEN_CLIP_FILE} and none of: {', '.join(_OPEN_CLIP_WEIGHTS)}."
    if config is None:
        return f"is not a model in a known format: it has no {CONFIG_FILE}. {expected}"
    kind = config.get("model_type")
    if f"transformers:{kind}" in get_args(Kind):
        return f"is a {kind} of transformers without any of: {', '.join(_TRANSFORMERS_WEIGHTS)}."
    if kind is not None:
        return f"is a model of type {str(kind)[:60]!r}, not a CLIP, SigLIP or CLAP. {expected}"
    return f"is not a model in a known format. {expected}"


def shards_of(index: Mapping[str, Any], *, name: str, present: Iterable[str] | None = None) -> list[str]:
    """Return the files that an index of weights names, each once, in order.

    Args:
        index: content of ``model.safetensors.index.json``.
        name: of that file, for messages.
        present: names that are there; None does not look.

    Raises:
        ConfigError: no such index, a name that is no shard beside it, or one that is not there.
    """
    table = index.get("weight_map")
    if not isinstance(table, Mapping) or not table:
        raise ConfigError(f"{name}: no index of weights: it has no 'weight_map'.")
    found = sorted({str(value) for value in table.values()})
    if len(found) > _MOST_SHARDS:
        raise ConfigError(f"{name}: names {len(found):,} files; at most {_MOST_SHARDS} are read.")
    ending = name.removesuffix(INDEX_SUFFIX).rpartition(".")[2]
    for shard in found:
        if not _SHARD.fullmatch(shard) or not shard.endswith(f".{ending}"):
            raise ConfigError(
                f"{name}: names {shard[:120]!r}, which is no piece of weights beside it. Pieces are called "
                f"like model-00001-of-00002.{ending}."
            )
    missing = [] if present is None else [shard for shard in found if shard not in set(present)]
    if missing:
        raise ConfigError(f"{name}: names {missing[0]}, which is not there. Fetch the checkpoint again.")
    return found


def licence_of(card: Path) -> str:
    """Return the licence that the head of a card names, or ``unknown``.

    Two lines of the head are looked for; it is not parsed as a whole, which a hostile one could make slow.
    """
    with card.open("rb") as handle:
        text = handle.read(_HEADER_BYTES).decode("utf-8", "replace").lstrip("\ufeff")
    lines = [line.rstrip() for line in text.splitlines()]
    if not lines or lines[0] != "---" or "---" not in lines[1:]:
        return UNKNOWN_LICENCE
    head = lines[1 : lines.index("---", 1)]
    said = _value_of("license", head)
    if said.lower() == "other":
        said = _value_of("license_name", head) or said
    if not _LICENCE.fullmatch(said):
        return UNKNOWN_LICENCE
    return spdx_licence(said)


def _value_of(key: str, head: Sequence[str]) -> str:
    """Return the plain or quoted text after ``key:``, or that of a list of one below it; "" for all else."""
    for number, line in enumerate(head):
        if line.startswith(f"{key}:"):
            value = line.removeprefix(f"{key}:").strip()
            if not value and head[number + 1 : number + 2] and head[number + 1].lstrip().startswith("- "):
                value = head[number + 1].lstrip().removeprefix("- ").strip()
            return value[1:-1] if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"" else value
    return ""
