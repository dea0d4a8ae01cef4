"""The evaluation of Marqo-FashionCLIP: words, categories and colors as queries, products as documents.

A data set is a JSON file of tasks, ground truth files, and a table of documents as Parquet (pictures inside,
as the Hub has them) or CSV or JSON lines (pictures as paths). Queries are the bare strings; a product is
``normalize(0.9 image + 0.1 text)``; the ten nearest count.

Reference: marqo-ai/marqo-FashionCLIP.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import Field, model_validator
from torch import Tensor

from ....core.config import Config, parse_config
from ....core.errors import DataError
from ....core.files import read_json
from ....core.limits import DEFAULT, Limits
from ....core.metrics.graded import graded_report
from ..encoders.fusing import fuse_fields
from .documents import Documents, read_documents
from .published_results import results
from .results import ProtocolResult, TaskResult
from .vectors import EvaluationEncoder, graded, rank

ID_COLUMN = "item_ID"
KS = (1, 10)
_PREFIXED = {"ecommerce/open-fashion-clip": "a photo of a "}
"""{model: what its authors put before every query}."""
_FEW = 20


class MarqoTask(Config):
    """Queries of one or more columns against documents of one or more."""

    name: str = Field(min_length=1)
    query_col: tuple[str, ...] = Field(min_length=1)
    doc_col: tuple[str, ...] = Field(min_length=1)
    doc_weights: tuple[float, ...] | None = None

    @model_validator(mode="after")
    def _weights_agree(self) -> MarqoTask:
        if len(self.doc_col) > 1 and len(self.doc_weights or ()) != len(self.doc_col):
            raise ValueError(f"task {self.name!r} needs one of doc_weights for each of {list(self.doc_col)}")
        return self

    @property
    def weights(self) -> dict[str, float]:
        """{column of the document: weight}."""
        return dict(zip(self.doc_col, self.doc_weights or (1.0,), strict=True))


class MarqoConfig(Config):
    """A data set of the evaluation, as its authors write it."""

    name: str = Field(min_length=1)
    hf_dataset: str = ""
    tasks: tuple[MarqoTask, ...] = Field(min_length=1)


@dataclass(frozen=True)
class MarqoData:
    """A data set on this machine.

    Attributes:
        config: tasks. documents: the table. judged: {(query column, document columns): {query: {id: grade}}}.
    """

    config: MarqoConfig
    documents: Documents
    judged: Mapping[tuple[str, str], Mapping[str, Mapping[str, float]]]


def read_marqo(config: str | Path, data: str | Path, *, limits: Limits = DEFAULT) -> MarqoData:
    """Return a data set.

    Args:
        config: the JSON file of tasks.
        data: folder with the table of documents (``*.parquet``, ``documents.csv`` or ``.jsonl``) and
            ``gt_query_doc``; the latter may also lie in ``data/<name>`` beside the folder of the config, as
            in the authors' repository.

    Raises:
        ConfigError: not such a config.
        DataError: no table, a column that is not there, or no ground truth for a task.
    """
    config, data = Path(config), Path(data)
    settings = parse_config(MarqoConfig, read_json(config, limits=limits), source=config.name)
    columns = dict.fromkeys(column for task in settings.tasks for column in task.doc_col)
    documents = read_documents(
        data, id_column=ID_COLUMN, columns=[name for name in columns if name != "image"], limits=limits
    )
    places = (
        data / "gt_query_doc",
        data / settings.name / "gt_query_doc",
        config.parent.parent / "data" / settings.name / "gt_query_doc",
    )
    folder = next((place for place in places if place.is_dir()), None)
    if folder is None:
        raise DataError(f"{data}: no folder gt_query_doc with the ground truth of {settings.name}.")
    judged = {}
    for task in settings.tasks:
        for query in task.query_col:
            key = (query, "+".join(task.doc_col))
            judged[key] = _ground_truth(folder / f"ground_truth_{key[0]}-{key[1]}.json", limits)
    return MarqoData(settings, documents, judged)


def _ground_truth(path: Path, limits: Limits) -> dict[str, dict[str, float]]:
    if not path.is_file():
        raise DataError(f"{path.parent.name}: {path.name} is missing; fetch it from the authors' repository.")
    content = read_json(path, limits=limits)
    if not isinstance(content, dict) or not all(isinstance(one, dict) for one in content.values()):
        raise DataError(f"{path.name}: expected {{query: {{item id: grade}}}}.")
    return {query: {str(name): float(grade) for name, grade in one.items()} for query, one in content.items()}


def evaluate_marqo(encoder: EvaluationEncoder, data: MarqoData, *, ks: Sequence[int] = KS) -> ProtocolResult:
    """Measure a model on a data set of the evaluation.

    Raises:
        DataError: no document of a task can be used.
    """
    documents, judged = data.documents, data.judged
    pictures = encoder.pictures(documents.pictures, documents.ids)
    fields: dict[str, tuple[Tensor, Tensor]] = {"image": (pictures.vectors, pictures.present)}
    cut = 0
    for column, texts in documents.texts.items():
        said = torch.tensor([bool(text) for text in texts])
        vectors = torch.zeros_like(pictures.vectors)
        vectors[said], more = encoder.texts([text for text in texts if text])
        fields[column], cut = (vectors, said), cut + more
    prefix = _PREFIXED.get(encoder.model.id, "")
    tasks, notes = [], []
    for task in data.config.tasks:
        for query in task.query_col:
            result, lost, more = _task(
                encoder, data, task, judged[query, "+".join(task.doc_col)], fields, (prefix, ks)
            )
            named = task.name if len(task.query_col) == 1 else f"{task.name} ({query})"
            tasks.append(TaskResult(named, *result))
            cut += more
            if lost:
                notes.append(
                    f"{named}: {lost} queries have no right answer among the documents and are left out."
                )
            if result[0] < _FEW:
                notes.append(
                    f"{named}: {result[0]} queries; one moves a metric by {100 / result[0]:.0f} points."
                )
    notes += [f"{cut} texts are longer than the model reads; only their beginning counts."] if cut else []
    notes += [f"Every query begins with {prefix!r}, as this model's authors do."] if prefix else []
    return ProtocolResult(
        "marqo",
        data.config.name,
        tuple(tasks),
        int(pictures.present.sum()),
        sum(bool(text) for texts in documents.texts.values() for text in texts),
        pictures.failures,
        documents.missing,
        tuple(notes),
        encoder.origin,
    )


def _task(
    encoder: EvaluationEncoder,
    data: MarqoData,
    task: MarqoTask,
    judged: Mapping[str, Mapping[str, float]],
    fields: Mapping[str, tuple[Tensor, Tensor]],
    how: tuple[str, Sequence[int]],
) -> tuple[tuple, int, int]:
    """Return (what a TaskResult takes after its name, queries without an answer, queries that were cut)."""
    prefix, ks = how
    chosen = {column: fields[column] for column in task.doc_col}
    usable = torch.stack([present for _, present in chosen.values()]).any(dim=0)
    ids = [data.documents.ids[place] for place in usable.nonzero().flatten().tolist()]
    if not ids:
        raise DataError(f"{data.config.name}: no document of task {task.name!r} can be used.")
    known = set(ids)
    kept = {
        query: grades
        for query, grades in judged.items()
        if any(grade > 0 and name in known for name, grade in grades.items())
    }
    if not kept:
        raise DataError(
            f"{data.config.name}: no query of task {task.name!r} has a right answer among {len(ids)} "
            f"documents; check that {ID_COLUMN} is that of the ground truth."
        )
    gallery = fuse_fields(list(chosen.values()), torch.tensor(list(task.weights.values())))[usable]
    vectors, cut = encoder.texts([prefix + query for query in kept])
    ranked = rank(dict(zip(kept, vectors, strict=True)), gallery, ids, max(ks))
    # Answers that are not among the documents still count as not found, as in the published numbers.
    report = graded_report(graded(ranked, kept), ks=tuple(ks))
    if task.name.startswith("text-"):
        metrics = {"AvgRecall": report.average_recall}
        metrics |= {f"Recall@{k}": value for k, value in report.recall.items()}
    else:
        metrics = {"AvgP": report.average_precision}
        metrics |= {f"P@{k}": value for k, value in report.precision.items()}
    metrics |= {"MRR": report.mrr} | {f"NDCG@{k}": value for k, value in report.ndcg.items()}
    metrics |= {f"MAP@{k}": value for k, value in report.mean_average_precision.items()}
    said: dict[str, dict[str, float]] = {}
    for one in results("marqo", data.config.name, task.name):
        said.setdefault(one.model, {})[one.metric] = one.value
    return (len(kept), len(ids), metrics, said), len(judged) - len(kept), cut
