"""From a published checkpoint to our own model folder: read safely, rename, check, report.

A converter is a function of a room's ``CONVERTERS``::

    convert(name, files: {role: Path}, options) -> Converted

``name`` is the registry name of the model, ``files`` what its ``PublishedWeights`` list, ``options``
theirs. It reads with :func:`read_checkpoint`, derives sizes from the shapes it finds, and renames.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from .checkpoint import is_finite, read_weights
from .config import ModelConfig, ProcessorConfig
from .errors import ConfigError, InputError, VerticlipError, WeightsError
from .files import atomic_path
from .tokenizer import read_tokenizer

if TYPE_CHECKING:
    from .model import ContrastiveModel


@dataclass(frozen=True)
class TowerReport:
    """What became of one tower's tensors: counts of loaded ones, names of all others."""

    loaded: int = 0
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()


@dataclass(frozen=True)
class LoadReport:
    """{part: what became of its tensors}; parts are towers, heads and ``scalars``."""

    towers: Mapping[str, TowerReport] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Whether every tensor found its place and no place stayed empty."""
        return not any(tower.missing or tower.unexpected for tower in self.towers.values())

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            name: {
                "loaded": tower.loaded,
                "missing": list(tower.missing),
                "unexpected": list(tower.unexpected),
                "dropped": list(tower.dropped),
            }
            for name, tower in self.towers.items()
        }


@dataclass(frozen=True)
class Converted:
    """A model in our own terms.

    Attributes:
        config: architecture. processor: preprocessing that belongs to it.
        tokenizer_json: content of ``tokenizer.json``, or None.
        state: {our parameter name: tensor}, unchanged in value and dtype.
        report: what became of every tensor of the source.
        prompts_yaml: content of ``prompts.yaml``, the set called ``config.prompts``; or None.
    """

    config: ModelConfig
    processor: ProcessorConfig
    tokenizer_json: str | None
    state: Mapping[str, Tensor]
    report: LoadReport
    prompts_yaml: str | None = None


def build_empty(config: ModelConfig) -> ContrastiveModel:
    """Return the model that ``config`` describes without spending time or random numbers on its values.

    Parameters lie on the ``meta`` device wherever that works; :func:`core.checkpoint.load_strict`
    fills them.
    """
    from .model import build_model

    # Construction draws initial weights; the caller's random state must not notice.
    with torch.random.fork_rng(devices=[]):
        try:
            with torch.device("meta"):
                network = build_model(config)
        except VerticlipError:
            raise
        except Exception:  # some libraries compute with real values while they build; any type can surface
            return build_model(config)
        saved = network.state_dict()
        if all(name in saved or not buffer.is_meta for name, buffer in network.named_buffers()):
            return network
        # Buffers that are not part of the weights have no value on the meta device.
        return build_model(config)


def write_state(state: Mapping[str, Tensor], path: str | Path) -> None:
    """Write tensors as safetensors through a temporary name, values and dtypes as they are.

    Memory-mapped tensors are written from where they lie: a model is never held twice.

    Raises:
        WeightsError: a tensor is not finite; nothing is written.
    """
    from safetensors.torch import save_file

    written: dict[str, Tensor] = {}
    storages: set[int] = set()
    for name, tensor in state.items():
        if not is_finite(tensor):
            raise WeightsError(f"Tensor {name!r} has NaN or infinite values; nothing was written.")
        value = tensor.detach().contiguous()
        # safetensors refuses tensors that share memory, as tied ones do.
        start = value.data_ptr()
        written[name] = value.clone() if start in storages else value
        storages.add(start)
    with atomic_path(path) as temporary:
        save_file(written, temporary, metadata={"format": "pt"})


def read_checkpoint(
    path: str | Path, *, entries: Sequence[str] = ("state_dict",), skip_objects: bool = False
) -> dict[str, Tensor]:
    """Return {name: tensor} of a safetensors file or a pickled PyTorch checkpoint.

    Pickles go through ``torch.load(weights_only=True)``, memory-mapped; the numpy scalars that
    optimizer states hold are allowed, nothing else is. A training checkpoint is reduced to its
    weights; the prefix ``module.`` of distributed runs is taken off.

    Args:
        entries: where the weights of a training checkpoint lie; the first that it has counts.
        skip_objects: read past objects of other libraries (schedulers, versions) that lie beside the
            weights. Inert stand-ins take their place, so that none of their code runs.

    Raises:
        WeightsError: missing, damaged, not a state dict, or holding objects that are not tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"{path}: no such file. Give the checkpoint that its authors published.")
    with path.open("rb") as handle:
        start = handle.read(16)
    if start[8:9] == b"{":
        return _without_prefix(read_weights(path))
    loaded = _unpickle(path, zipped=start.startswith(b"PK"), skip_objects=skip_objects)
    return _without_prefix(_state_of(loaded, path, entries))


class _Skipped:
    """What stands for an object of another library; takes whatever a pickle does to it, and does nothing."""

    def __new__(cls, *_: Any, **__: Any) -> _Skipped:
        return super().__new__(cls)

    def __init__(self, *_: Any, **__: Any) -> None: ...

    def __setstate__(self, _: Any) -> None: ...


def _unpickle(path: Path, *, zipped: bool, skip_objects: bool) -> Any:
    allowed = _numpy_scalars()
    try:
        if skip_objects and zipped:
            with torch.serialization.safe_globals(allowed):
                strange = torch.serialization.get_unsafe_globals_in_checkpoint(path)
            allowed += [(_Skipped, name) for name in strange]
        with torch.serialization.safe_globals(allowed):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except Exception as error:  # torch raises many types for a damaged or hostile pickle
        # torch's own text advises to switch the protection off before it names what it stopped at.
        stopped = re.search(r"GLOBAL ([\w.]+)", str(error))
        reason = f"it asks for {stopped[1]}" if stopped else " ".join(str(error).split())[:200]
        raise WeightsError(
            f"{path.name}: not a checkpoint that can be read without running its code ({reason}). "
            "Fetch it again from its authors' page."
        ) from error


def _numpy_scalars() -> list[Any]:
    """What a pickled learning rate or metric may consist of, under the names of numpy 1 and 2."""
    scalar = np.float64(0).__reduce__()[0]
    return [
        (scalar, "numpy.core.multiarray.scalar"),
        (scalar, "numpy._core.multiarray.scalar"),
        np.dtype,
        *(type(np.dtype(kind)) for kind in ("float64", "float32", "int64", "int32", "bool")),
        codecs.encode,
    ]


def _state_of(loaded: Any, path: Path, entries: Sequence[str]) -> dict[str, Tensor]:
    state = loaded
    if isinstance(state, Mapping):
        state = next((state[entry] for entry in entries if isinstance(state.get(entry), Mapping)), state)
    if not isinstance(state, Mapping) or not state:
        raise WeightsError(f"{path.name}: holds {type(loaded).__name__}, not a state dict. Use another file.")
    strangers = [name for name, value in state.items() if not isinstance(value, Tensor)]
    if strangers:
        raise WeightsError(
            f"{path.name}: {strangers[0]!r} is {type(state[strangers[0]]).__name__}, not a tensor. "
            "This is not the checkpoint of a model."
        )
    return {str(name): value for name, value in state.items()}


def _without_prefix(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    if all(name.startswith("module.") for name in state):
        return {name.removeprefix("module."): value for name, value in state.items()}
    return dict(state)


Rename = Callable[[str], "tuple[str, str | None] | None"]
"""From a source name to (part, our name), (part, None) for a tensor that is left out on purpose, or
None for a name that this system does not have."""


def rename_state(
    state: Mapping[str, Tensor], rename: Rename, wanted: Iterable[str], part_of: Callable[[str], str]
) -> tuple[dict[str, Tensor], LoadReport]:
    """Return the renamed tensors and what became of each.

    Args:
        state: tensors by source name.
        rename: see :data:`Rename`.
        wanted: our parameter names: those of the model that the weights are for.
        part_of: from our name to the part of the report it belongs to.
    """
    renamed: dict[str, Tensor] = {}
    loaded: dict[str, int] = {}
    lists: dict[str, dict[str, list[str]]] = {"missing": {}, "unexpected": {}, "dropped": {}}
    wanted = set(wanted)
    for name, tensor in state.items():
        found = rename(name)
        if found is None or (found[1] is not None and found[1] not in wanted):
            lists["unexpected"].setdefault(found[0] if found else "other", []).append(name)
        elif found[1] is None:
            lists["dropped"].setdefault(found[0], []).append(name)
        else:
            renamed[found[1]] = tensor
            loaded[found[0]] = loaded.get(found[0], 0) + 1
    for name in sorted(wanted - set(renamed)):
        lists["missing"].setdefault(part_of(name), []).append(name)
    parts = dict.fromkeys([*loaded, *(part for table in lists.values() for part in table)])
    towers = {
        part: TowerReport(
            loaded.get(part, 0),
            *(tuple(lists[kind].get(part, ())) for kind in ("missing", "unexpected", "dropped")),
        )
        for part in parts
    }
    return renamed, LoadReport(towers)


def refuse_incomplete(report: LoadReport, *, source: str, system: str) -> None:
    """Raise ``WeightsError`` unless ``report`` is complete; the first names of each kind are shown."""
    if report.complete:
        return
    said = []
    for part, tower in report.towers.items():
        for word in ("missing", "unexpected"):
            names = getattr(tower, word)
            if names:
                more = ", ..." if len(names) > 3 else ""
                said.append(f"{part}: {len(names)} {word} ({', '.join(names[:3])}{more})")
    raise WeightsError(f"{source} is not a whole checkpoint of {system}: {'; '.join(said)}.")


def wordpiece_tokenizer(vocab: str | Path, *, lowercase: bool = True) -> str:
    """Return ``tokenizer.json`` that splits text as BERT's own tokenizer does with this vocabulary.

    Args:
        vocab: ``vocab.txt``, one piece per line.
        lowercase: as the uncased models.

    Raises:
        InputError: not UTF-8, or without [PAD], [UNK], [CLS] or [SEP].
    """
    from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, processors

    path = Path(vocab)
    try:
        pieces = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path.name}: not a vocabulary file ({type(error).__name__}).") from error
    if pieces and not pieces[-1]:
        pieces.pop()
    vocabulary = {piece.rstrip("\r"): index for index, piece in enumerate(pieces)}
    specials = [piece for piece in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]") if piece in vocabulary]
    if not {"[PAD]", "[UNK]", "[CLS]", "[SEP]"} <= set(specials):
        raise InputError(f"{path.name}: has no [PAD], [UNK], [CLS] and [SEP]; not a BERT vocabulary.")
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[(token, vocabulary[token]) for token in ("[CLS]", "[SEP]")]
    )
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in specials])
    return tokenizer.to_str()


def dimension(state: Mapping[str, Tensor], name: str, axis: int, *, source: str) -> int:
    """Return one side of a tensor that a converter derives a size from.

    Raises:
        WeightsError: the tensor is not there or has fewer axes: another system's checkpoint.
    """
    if name not in state or state[name].ndim <= axis:
        raise WeightsError(f"{source}: has no tensor {name!r} of that kind. It belongs to another system.")
    return int(state[name].shape[axis])


def check_vocabulary(tokenizer_json: str, rows: int, *, name: str, source: str) -> None:
    """Raise unless a tokenizer has one piece per row of the word table of a checkpoint.

    Args:
        tokenizer_json: content of ``tokenizer.json``. rows: of the table of word embeddings.
        name, source: what messages call the vocabulary's file and the checkpoint.

    Raises:
        ConfigError: not a tokenizer file.
        WeightsError: another number of pieces: words would get the embeddings of others.
    """
    pieces = read_tokenizer(tokenizer_json, source=name).get_vocab_size()
    if pieces != rows:
        raise WeightsError(
            f"{name} has {pieces} pieces, the word table of {source} {rows} rows. It is the vocabulary of "
            "another text tower; take both from the same repository."
        )


def bert_tower(
    state: Mapping[str, Tensor], prefix: str, *, heads: int, source: str, **settings: Any
) -> dict[str, Any]:
    """Return the config of a text tower of backend ``bert``, its sizes read from the shapes of tensors.

    Args:
        state: tensors under the names that BERT checkpoints share, each after ``prefix``
            (``"bert."`` for ``bert.embeddings.word_embeddings.weight``).
        heads: attention heads, which no shape tells.
        source: what messages call the checkpoint.
        settings: further keys of :class:`core.config.BertTower`.

    Raises:
        WeightsError: a tensor is not there: another system's checkpoint.
        ConfigError: a block is missing.
    """

    def side(name: str, axis: int) -> int:
        return dimension(state, prefix + name, axis, source=source)

    return {
        "backend": "bert",
        "vocab_size": side("embeddings.word_embeddings.weight", 0),
        "width": side("embeddings.word_embeddings.weight", 1),
        "layers": count_blocks(state, f"{prefix}encoder.layer."),
        "heads": heads,
        "mlp_width": side("encoder.layer.0.intermediate.dense.weight", 0),
        "max_positions": side("embeddings.position_embeddings.weight", 0),
        "type_vocab_size": side("embeddings.token_type_embeddings.weight", 0),
        **settings,
    }


def count_blocks(state: Mapping[str, Tensor], prefix: str) -> int:
    """Return how many numbered blocks ``<prefix><number>.`` the tensors have.

    Raises:
        ConfigError: the numbers have a hole.
    """
    numbers = {
        int(rest.split(".", 1)[0])
        for rest in (name.removeprefix(prefix) for name in state if name.startswith(prefix))
        if rest.split(".", 1)[0].isdigit()
    }
    if numbers != set(range(len(numbers))):
        raise ConfigError(f"Blocks under {prefix!r} are numbered {sorted(numbers)}: some are missing.")
    return len(numbers)
