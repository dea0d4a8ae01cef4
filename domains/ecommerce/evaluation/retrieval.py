"""How well a product model finds: the protocols of published tables, on data that users have.

``verticlip evaluate retrieval --pairs FILE --images FOLDER --protocol ...``:

=========== ========================================================== ==============================
protocol    ``--pairs``                                                ``--images``
=========== ========================================================== ==============================
marqo       ``configs/KAGL.json`` of marqo-FashionCLIP                 folder with the documents
esspr       ``esspr_data4eval_public.json``                            folder of pictures
gcl         ``query_0_product_id_0.csv`` of MarqoGS                    folder of pictures
fashioniq   folder with ``captions`` and ``image_splits``              folder of pictures
cirr        folder with ``cirr/captions`` and ``cirr/image_splits``    folder of pictures
genecis     folder with ``focus_attribute.json`` and its like          folder of pictures
=========== ========================================================== ==============================

Without ``--protocol`` the data says which it is.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ....core.errors import ConfigError, DataError, nearest
from ....core.limits import DEFAULT, Limits
from ..composed.query import ComposeSettings
from .composed import evaluate_composed
from .composed_data import read_composed, sniff
from .esspr import DIRECTIONS, evaluate_esspr, read_esspr
from .gcl import evaluate_gcl, read_gcl
from .marqo import evaluate_marqo, read_marqo
from .results import ProtocolResult, TaskResult, write_result
from .vectors import EvaluationEncoder

if TYPE_CHECKING:
    from ....core.handle import ModelHandle
    from .vectors import Progress

__all__ = [
    "DIRECTIONS",
    "PROTOCOLS",
    "ProtocolResult",
    "RetrievalSource",
    "TaskResult",
    "evaluate_retrieval",
    "read_pairs",
    "write_result",
]

PROTOCOLS = {
    "marqo": "words, categories and colors against products; Marqo-FashionCLIP",
    "esspr": "the same product of another supplier, in seven directions; eSSPR",
    "gcl": "words against products with ranking scores; MarqoGS",
    "fashioniq": "a picture with two relative captions; FashionIQ",
    "cirr": "a picture with a change; CIRR",
    "genecis": "a picture with a condition, in a gallery of its own; GeneCIS",
}
"""{name: what is asked}."""
_HEAD = 4096


@dataclass(frozen=True)
class RetrievalSource:
    """Data of a protocol, not read yet. ``split``: where the data has splits."""

    protocol: str
    path: Path
    images: Path
    split: str


def read_pairs(
    path: str | Path, images: str | Path, *, split: str | None = None, limits: Limits = DEFAULT
) -> RetrievalSource:
    """Return what lies at a path, after looking which protocol it belongs to.

    Args:
        path: file or folder of the table above. images: folder of the pictures or documents.
        split: of FashionIQ and CIRR; None is their validation split.

    Raises:
        DataError: no such file or folder, or data of no known protocol.
    """
    path, images = Path(path), Path(images)
    if not path.exists():
        raise DataError(f"{path}: no such file or folder.")
    if not images.is_dir():
        raise DataError(f"{images}: no such folder.")
    limits.check("file_bytes", path.stat().st_size if path.is_file() else 0, what=f"{path.name}: bytes")
    protocol = sniff(path) if path.is_dir() else _of_file(path)
    if protocol is None:
        raise DataError(
            f"{path}: not the data of a known protocol ({', '.join(PROTOCOLS)}); see `verticlip evaluate "
            "retrieval` in the README for the files of each."
        )
    return RetrievalSource(protocol, path, images, split or "val")


def _of_file(path: Path) -> str | None:
    with path.open("rb") as handle:
        head = handle.read(_HEAD).decode("utf-8-sig", errors="replace")
    if path.suffix.lower() in (".csv", ".tsv"):
        first = head.splitlines()[0] if head else ""
        return "gcl" if "product_id" in first and "query" in first else None
    if '"tasks"' in head or '"query_col"' in head:
        return "marqo"
    if "trigger_id" in head:
        return "esspr"
    try:
        # A short file of rows without names.
        content = json.loads(head)
    except ValueError:
        return "esspr" if head.lstrip().startswith("[[") else None
    return "esspr" if isinstance(content, list) and content and isinstance(content[0], list) else None


def evaluate_retrieval(
    model: ModelHandle,
    pairs: RetrievalSource,
    *,
    protocol: str | None = None,
    batch_size: int = 8,
    progress: Progress | None = None,
    compose: ComposeSettings | None = None,
    **options: Any,
) -> ProtocolResult:
    """Measure a model by a protocol.

    Args:
        model: with an image and a text tower.
        pairs: of :func:`read_pairs`.
        protocol: one of :data:`PROTOCOLS`; None takes the one of the data.
        batch_size: pictures per call of the network.
        progress: told (done, all) of the pictures.
        compose: how a picture and words become one query, where there are such queries.
        options: ``show_paths``: messages name whole paths. There are no others.

    Raises:
        ConfigError: another protocol than that of the data, an option, or a batch size below 1.
        DataError: a damaged file, or nothing that can be used.

    Example:
        >>> pairs = read_pairs("configs/KAGL.json", "KAGL")  # doctest: +SKIP
        >>> evaluate_retrieval(model, pairs).tasks[0].metrics["AvgRecall"].value  # doctest: +SKIP
    """
    if protocol is not None and protocol not in PROTOCOLS:
        raise ConfigError(
            f"No retrieval protocol {protocol!r}; there are: {', '.join(PROTOCOLS)}."
            f"{nearest(protocol, PROTOCOLS)}"
        )
    if protocol is not None and protocol != pairs.protocol:
        raise ConfigError(f"{pairs.path.name} is data of the protocol {pairs.protocol!r}, not {protocol!r}.")
    show_paths = bool(options.pop("show_paths", False))
    if options:
        raise ConfigError(
            f"Pictures of products have no loader option {next(iter(options))!r}; leave it out."
        )
    limits = model.limits
    encoder = EvaluationEncoder.of(model, batch_size=batch_size, progress=progress, show_paths=show_paths)
    if pairs.protocol == "marqo":
        return evaluate_marqo(encoder, read_marqo(pairs.path, pairs.images, limits=limits))
    if pairs.protocol == "esspr":
        return evaluate_esspr(encoder, read_esspr(pairs.path, pairs.images, limits=limits))
    if pairs.protocol == "gcl":
        return evaluate_gcl(encoder, read_gcl(pairs.path, pairs.images, limits=limits))
    data = read_composed(pairs.path, pairs.images, split=pairs.split, limits=limits)
    return evaluate_composed(encoder, data, settings=compose)
