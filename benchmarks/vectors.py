"""Vector indexes: time of one query and of a build, beside exact search, at a recall counted independently.

Two collections: *clustered*, rows around 2,000 centers with a spread of rank 32 and noise, as embeddings of
products lie (cosine of the 10th neighbor about 0.6 in 200,000), and *isotropic*, random directions, where no
index can win and ``auto`` must not lose. Queries are rows of the same kind that are not in the index. They
are asked one at a time, in turns with the peer, in wall-clock time; builds and writes are in CPU time.

    python -m verticlip.benchmarks.vectors --rows 50000 --out runs/vectors.json
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..core.errors import DependencyError, require
from ..core.files import write_json_atomic
from ..core.index.base import Identity, Kind, Rows, VectorIndex
from ..core.index.engines import GraphEngine
from ..core.index.opening import create_index
from ..core.index.settings import IndexOptions

if TYPE_CHECKING:
    from .runner import Workload

ROWS, DIM, K, QUERIES = 200_000, 512, 10, 300
CENTERS, RANK, SPREAD, NOISE = 2000, 32, 0.8, 0.55
BUILT_ROWS = 30_000
"""Rows of the comparison of builds; at 200,000 the other library takes minutes."""
TARGET = 0.95
Search = Callable[[NDArray[np.float32]], Sequence[int]]


def workloads(quick: bool = False) -> Iterator[Workload]:
    """Yield nothing: recall has to be counted beside the time; see :func:`extra_rows`."""
    yield from ()


def extra_rows(quick: bool = False, rows: int | None = None) -> Iterator[dict[str, Any]]:
    """Yield rows about both collections, about a build and about a write.

    Args:
        quick: a twentieth of the rows.
        rows: of each collection; None takes what ``quick`` says.
    """
    count = rows or (ROWS // 20 if quick else ROWS)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for name, draw in (("clustered", clustered), ("isotropic", isotropic)):
            vectors = draw(count + QUERIES)
            with tempfile.TemporaryDirectory() as folder:
                yield from _searches(name, vectors[:count], vectors[count:], Path(folder))
        yield from _builds(clustered(min(count, BUILT_ROWS)))
        with tempfile.TemporaryDirectory() as folder:
            yield from _writes(clustered(count), Path(folder))
    finally:
        torch.set_num_threads(threads)


def clustered(count: int, *, seed: int = 0) -> NDArray[np.float32]:
    """Return float32 [count, 512], unit rows in 2,000 groups; their order is random."""
    draw = np.random.default_rng(seed)
    centers = _unit(draw.standard_normal((CENTERS, DIM), dtype=np.float32))
    basis = _unit(draw.standard_normal((RANK, DIM), dtype=np.float32))
    rows = centers[draw.integers(0, CENTERS, count)]
    for start in range(0, count, 20_000):
        part = rows[start : start + 20_000]
        low = draw.standard_normal((len(part), RANK), dtype=np.float32) @ basis / np.sqrt(RANK)
        part += SPREAD * low + NOISE * draw.standard_normal(part.shape, dtype=np.float32) / np.sqrt(DIM)
    return _unit(rows)


def isotropic(count: int, *, seed: int = 0) -> NDArray[np.float32]:
    """Return float32 [count, 512], unit rows in random directions."""
    return _unit(np.random.default_rng(seed).standard_normal((count, DIM), dtype=np.float32))


def _unit(values: NDArray[np.float32]) -> NDArray[np.float32]:
    return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)


def nearest_by_numpy(vectors: NDArray[np.float32], queries: NDArray[np.float32]) -> list[set[int]]:
    """Return the k nearest rows of each query; none of the code that is measured has a part in it."""
    return [set(np.argpartition(vectors @ query, -K)[-K:].tolist()) for query in queries]


def _searches(
    name: str, vectors: NDArray[np.float32], queries: NDArray[np.float32], folder: Path
) -> Iterator[dict[str, Any]]:
    """Yield the rows about one collection: exact search beside faiss, every back end beside exact search."""
    wanted = nearest_by_numpy(vectors, queries)
    scores = np.sort(vectors @ queries[:50].T, axis=0)[-K]
    label = f"{len(vectors):,} x {DIM} {name}"
    flat = _index(folder / "flat", "flat", vectors)
    peer, peer_name = _exact_peer(vectors)
    note = f"cosine of the 10th neighbor {scores.mean():.2f}"
    yield _compared(f"{label}: flat", _asked(flat), peer, peer_name, queries, wanted, gate=0.8, note=note)
    kinds: list[tuple[Kind, float]] = [("auto", 1.0)]
    if _has_lancedb():
        kinds.append(("lancedb", 0.1))
    for kind, gate in kinds:
        index = _index(folder / kind, kind, vectors)
        start = time.process_time()
        stats = index.optimize()
        seconds = time.process_time() - start
        tuning = stats.tuning.get("image")
        note = (
            f"answers by {stats.kind['image']}, ef {tuning.ef if tuning else 0}, optimize {seconds:.1f} CPU s"
        )
        if set(stats.kind.values()) == {"flat"}:
            gate = 0.97  # both sides run the same code: what is left is the noise of the clock
        row = _compared(
            f"{label}: {kind}", _asked(index), _asked(flat), "flat", queries, wanted, gate=gate, note=note
        )
        yield {**row, "optimize_cpu_s": round(seconds, 2), "bytes": stats.bytes, "kind": dict(stats.kind)}
        index.close()


def _compared(
    name: str,
    ours: Search,
    peer: Search,
    peer_name: str,
    queries: NDArray[np.float32],
    wanted: Sequence[set[int]],
    *,
    gate: float,
    note: str,
) -> dict[str, Any]:
    """Return a row: the time of one query of both, asked in turns, and the recall of both."""
    times: dict[str, list[float]] = {"ours": [], "peer": []}
    found = {"ours": 0, "peer": 0}
    for turn in range(-5, len(queries)):
        query = queries[turn % len(queries)]
        for who, search in (("ours", ours), ("peer", peer))[:: 1 if turn % 2 else -1]:
            start = time.perf_counter()
            answer = search(query)
            seconds = time.perf_counter() - start
            if turn >= 0:
                times[who].append(seconds)
                found[who] += len(wanted[turn] & set(answer))
    recall = {who: hits / (K * len(queries)) for who, hits in found.items()}
    return {
        **_row(name, peer_name, times["ours"], times["peer"], gate=gate, note=note),
        "check": {"recall": recall["ours"], "peer_recall": recall["peer"]},
        "passed": recall["ours"] >= TARGET and _ratio(times["ours"], times["peer"]) >= gate,
        "p99_ms": {who: float(np.percentile(values, 99) * 1000) for who, values in times.items()},
    }


def _builds(vectors: NDArray[np.float32]) -> Iterator[dict[str, Any]]:
    """Yield what building a graph costs, beside faiss with as many links and as much breadth."""
    try:
        faiss = require("faiss", extra="bench")
    except DependencyError:
        return
    faiss.omp_set_num_threads(1)

    def by_faiss() -> None:
        index = faiss.IndexHNSWFlat(DIM, 32, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = 200
        index.add(vectors)

    ours, theirs = _cpu(lambda: GraphEngine.build(vectors, threads=1)), _cpu(by_faiss)
    name = f"building a graph over {len(vectors):,} x {DIM} clustered"
    row = _row(name, "faiss HNSW, 32 links, breadth 200", [ours], [theirs], gate=1.5, note="CPU time")
    yield {**row, "passed": row["ratio"] >= row["gate"]}


def _writes(vectors: NDArray[np.float32], folder: Path) -> Iterator[dict[str, Any]]:
    """Yield what replacing 1 % of the rows costs, beside building the index anew."""
    part = np.arange(0, len(vectors), 100)
    for kind in ("flat", "lancedb") if _has_lancedb() else ("flat",):
        made: list[VectorIndex] = []
        whole = _cpu(lambda kind=kind, made=made: made.append(_index(folder / kind, kind, vectors)))
        index, times = made[0], []
        for turn in range(5):
            rows = _rows(part, -vectors[part] if turn % 2 else vectors[part])
            times.append(_cpu(lambda index=index, rows=rows: index.upsert(rows)))
        row = _row(
            f"upsert of 1 % of {len(vectors):,} rows: {kind}",
            "building it anew, without a graph",
            times[1:],
            [whole],
            gate=100 / 3,
            note="CPU time",
        )
        yield {**row, "passed": row["ratio"] >= row["gate"]}
        index.close()


def _rows(numbers: NDArray[np.int64], vectors: NDArray[np.float32]) -> Rows:
    import pyarrow

    payload = pyarrow.table({"price": numbers.astype(np.float64)})
    return Rows(tuple(map(str, numbers.tolist())), payload, {"image": vectors})


def _index(folder: Path, kind: Kind, vectors: NDArray[np.float32]) -> VectorIndex:
    import pyarrow

    index = create_index(
        folder,
        identity=Identity("benchmark", "0", "0", DIM),
        views=["image"],
        schema=pyarrow.schema([("price", pyarrow.float64())]),
        kind=kind,
        options=IndexOptions(threads=1),
    )
    index.upsert(_rows(np.arange(len(vectors)), vectors))
    return index


def _asked(index: VectorIndex) -> Search:
    return lambda query: [int(one) for one in index.search(query[None], K, view="image")[0].ids]


def _exact_peer(vectors: NDArray[np.float32]) -> tuple[Search, str]:
    """Return exact search by faiss, by numpy where it is not installed."""
    try:
        faiss = require("faiss", extra="bench")
    except DependencyError:
        return lambda query: np.argpartition(vectors @ query, -K)[-K:].tolist(), "numpy"
    faiss.omp_set_num_threads(1)
    index = faiss.IndexFlatIP(DIM)
    index.add(vectors)
    return lambda query: index.search(query[None], K)[1][0].tolist(), "faiss Flat"


def _has_lancedb() -> bool:
    try:
        require("lancedb", extra="lancedb")
    except DependencyError:
        return False
    return True


def _cpu(call: Callable[[], object]) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start


def _ratio(ours: Sequence[float], peer: Sequence[float]) -> float:
    return float(np.median(peer) / np.median(ours))


def _row(
    name: str, peer_name: str, ours: Sequence[float], peer: Sequence[float], *, gate: float, note: str
) -> dict[str, Any]:
    """Return the part that every row has; a ratio is peer / ours, of medians."""
    spread = [float(np.median(peer) / np.percentile(ours, share)) for share in (75, 25)]
    return {
        "name": name,
        "peer_name": peer_name,
        "unit": "s",
        **{
            who: {"median": float(np.median(values)), "min": min(values), "max": max(values)}
            for who, values in (("ours", ours), ("peer", peer))
        },
        "ratio": _ratio(ours, peer),
        "ratio_min": spread[0],
        "ratio_max": spread[1],
        "gate": gate,
        "note": note,
    }


def _line(row: Mapping[str, Any]) -> str:
    ours, peer = (row[who]["median"] * 1000 for who in ("ours", "peer"))
    checks = " ".join(f"{key}={value:.3f}" for key, value in row.get("check", {}).items())
    times = f"{ours:.2f} ms, {row['peer_name']} {peer:.2f} ms, {row['ratio']:.2f}x"
    return f"{row['name']}: {times}; {row['note']} {checks}"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the comparisons; lines go to stderr, JSON to stdout or ``--out``. Return 1 below a gate."""
    parser = argparse.ArgumentParser(prog="python -m verticlip.benchmarks.vectors", description=__doc__)
    parser.add_argument("--rows", type=int, default=ROWS, metavar="N", help="of each collection")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the JSON here instead of stdout")
    options = parser.parse_args(argv)
    from .runner import describe_machine

    rows = []
    for row in extra_rows(rows=options.rows):
        rows.append(row)
        sys.stderr.write(_line(row) + "\n")
        sys.stderr.flush()
        if options.out:
            write_json_atomic(options.out, {"machine": describe_machine(1), "rows": rows})
    if not options.out:
        sys.stdout.write(json.dumps({"machine": describe_machine(1), "rows": rows}, indent=2) + "\n")
    return 0 if all(row["passed"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
