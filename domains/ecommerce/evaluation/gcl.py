"""Words against products with ranking scores, as GCL measures them on MarqoGS.

A row of the CSV is a query, a product and its score; scores are brought to whole numbers from 1 to 100. Up to
2,000 queries are drawn by the sum of their scores, with seed 1, as the authors do. A product is
``normalize(0.9 image + 0.1 title)``; where one is missing, the other alone. The first 1,000 count.

Reference: Zhu et al. 2024, Generalized Contrastive Learning, arXiv 2404.08535; marqo-ai/GCL.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ....core.data.tables import number_in, read_table
from ....core.errors import DataError
from ....core.files import read_json
from ....core.limits import DEFAULT, Limits
from ....core.metrics.graded import graded_report
from ..encoders.fusing import Fusion, fuse_fields
from ..products.pictures import ImageRoot
from .documents import Documents, picture_of
from .published_results import results
from .results import ProtocolResult, TaskResult
from .vectors import EvaluationEncoder, Picture, graded, rank

QUERIES, DEPTH, SEED = 2000, 1000, 1
COLUMNS = ("query", "product_id", "title", "image_local", "score_linear")
_CORPORA = ("corpus_1.json", "corpus_2.json")


@dataclass(frozen=True)
class GclData:
    """One split of MarqoGS. ``judged``: {query: {product id: whole number from 1 to 100}}."""

    name: str
    documents: Documents
    judged: Mapping[str, Mapping[str, float]]


def read_gcl(
    path: str | Path, images: str | Path, *, queries: int = QUERIES, limits: Limits = DEFAULT
) -> GclData:
    """Return one split.

    Args:
        path: ``query_0_product_id_0.csv`` or another one; beside it may lie its ground truth
            (``..._gt_test.json``, else ``..._gt_dev.json``) and the corpora; without a corpus the products of
            the CSV are searched.
        images: folder that ``image_local`` is relative to.
        queries: how many are drawn where there is no ground truth file.

    Raises:
        DataError: another kind of table, or a corpus without the products of the queries.
    """
    path, images = Path(path), Path(images)
    rows = [row for _, row in _checked(path, limits)]
    judged = _judged(path, rows, queries, limits)
    corpus = _corpus(path, judged, limits)
    if corpus is None:
        corpus = {row["product_id"]: row for row in rows}
    pictures: list[Picture] = []
    missing, root = [], ImageRoot(images)
    for row in corpus.values():
        picture = picture_of(row.get("image_local"), root)
        if isinstance(picture, Path) and not picture.is_file():
            missing.append(str(row["image_local"]))
            picture = None
        pictures.append(picture)
    titles = tuple(str(row.get("title") or "").strip() for row in corpus.values())
    return GclData(
        path.stem, Documents(tuple(corpus), tuple(pictures), {"text": titles}, tuple(missing)), judged
    )


def _checked(path: Path, limits: Limits) -> list[tuple[str, dict[str, Any]]]:
    rows = read_table(path, [name for name in COLUMNS if name != "score_linear"], limits=limits)
    return [(where, {**row, "product_id": str(row["product_id"])}) for where, row in rows]


def _judged(
    path: Path, rows: list[dict[str, Any]], queries: int, limits: Limits
) -> dict[str, dict[str, float]]:
    for part in ("test", "dev"):
        stored = path.with_name(f"{path.stem}_gt_{part}.json")
        if stored.is_file():
            content = read_json(stored, limits=limits)
            if not isinstance(content, dict):
                raise DataError(f"{stored.name}: expected {{query: {{product id: grade}}}}.")
            return {
                query: {str(name): float(grade) for name, grade in one.items()}
                for query, one in content.items()
            }
    scored = "score_linear" in rows[0]
    scores = np.array([number_in(row, "score_linear", path.name) if scored else 1.0 for row in rows])
    grades = rescale(scores)
    totals: dict[str, float] = {}
    for row, grade in zip(rows, grades.tolist(), strict=True):
        totals[row["query"]] = totals.get(row["query"], 0.0) + grade
    chosen = set(draw(totals, queries))
    found: dict[str, dict[str, float]] = {}
    for row, grade in sorted(zip(rows, grades.tolist(), strict=True), key=lambda pair: -pair[1]):
        if row["query"] in chosen and len(found.setdefault(row["query"], {})) < DEPTH:
            found[row["query"]].setdefault(row["product_id"], grade)
    return found


def rescale(scores: np.ndarray[Any, np.dtype[np.float64]]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return scores as whole numbers from 1 to 100 (cut, not rounded); all 1 where they are all alike."""
    low, high = scores.min(), scores.max()
    if low == high:
        return np.ones_like(scores)
    return np.floor((scores - low) / (high - low) * 99 + 1)


def draw(totals: Mapping[str, float], count: int) -> list[str]:
    """Return up to ``count`` queries drawn without putting back, with chances as their totals, seed 1.

    The draw is that of ``pandas.DataFrame.sample`` over sorted queries, so that it is the published one.
    """
    names = sorted(totals)
    weights = np.array([totals[name] for name in names])
    drawn = np.random.RandomState(SEED).choice(
        len(names), size=min(count, len(names)), replace=False, p=weights / weights.sum()
    )
    return [names[place] for place in drawn]


def _corpus(
    path: Path, judged: Mapping[str, Mapping[str, float]], limits: Limits
) -> dict[str, Mapping[str, Any]] | None:
    """Return the corpus that has the judged products, or None where no corpus lies beside the table."""
    wanted = {name for grades in judged.values() for name in grades}
    best, held = None, -1
    for name in _CORPORA:
        if not path.with_name(name).is_file():
            continue
        content = read_json(path.with_name(name), limits=limits)
        if not isinstance(content, dict) or not all(isinstance(row, dict) for row in content.values()):
            raise DataError(f"{name}: expected {{product id: {{title, image_local}}}}.")
        there = len(wanted & set(content))
        if there > held:
            best, held = content, there
    if best is not None and held == 0:
        raise DataError(f"{path.name}: no corpus beside it has any of its {len(wanted)} products.")
    return best


def evaluate_gcl(encoder: EvaluationEncoder, data: GclData) -> ProtocolResult:
    """Measure a model on one split: NDCG@10, ERR, RBP, and recall.

    Raises:
        DataError: no product can be used.
    """
    documents = data.documents
    pictures = encoder.pictures(documents.pictures, documents.ids)
    titles = documents.texts["text"]
    said = torch.tensor([bool(title) for title in titles], dtype=torch.bool)
    texts = torch.zeros_like(pictures.vectors)
    texts[said], cut = encoder.texts([title for title in titles if title])
    usable = pictures.present | said
    if not bool(usable.any()):
        raise DataError(f"{data.name}: no product has a picture or a title that can be used.")
    gallery = fuse_fields([(pictures.vectors, pictures.present), (texts, said)], Fusion().shares(1)[0])
    ids = [documents.ids[place] for place in usable.nonzero().flatten().tolist()]
    vectors, more = encoder.texts(list(data.judged))
    queries = dict(zip(data.judged, vectors, strict=True))
    ranked = rank(queries, gallery[usable], ids, DEPTH)
    report = graded_report(graded(ranked, data.judged), ks=(10, 100))
    metrics = {"NDCG@10": report.ndcg[10], "ERR": report.err, "RBP": report.rbp, "MRR": report.mrr}
    metrics |= {f"Recall@{k}": value for k, value in report.recall.items()}
    notes = []
    if cut + more:
        notes.append(f"{cut + more} texts are longer than the model reads; only their beginning counts.")
    published: dict[str, dict[str, float]] = {}
    if data.name.startswith("query_0_product_id_0"):
        for one in results("gcl"):
            published.setdefault(one.model, {})[one.metric] = one.value
    return ProtocolResult(
        "gcl",
        data.name,
        (TaskResult("query-to-product", len(queries), len(ids), metrics, published),),
        int(pictures.present.sum()),
        int(said.sum()),
        pictures.failures,
        documents.missing,
        tuple(notes),
        encoder.origin,
    )
