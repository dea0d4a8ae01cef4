"""Compaction, and graphs where they are asked for or turn out faster."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from .base import Kind, Tuning
from .engines import ExactEngine, GraphEngine, VectorBlocks
from .gathering import Places, write_segment
from .manifest import GraphEntry, Manifest, Measured, SegmentEntry
from .segment import Segment, entry_of
from .settings import IndexDescription, IndexOptions
from .tuning import choose_kind, graph_can_pay, tune

if TYPE_CHECKING:
    from .snapshot import Snapshot
    from .store import SegmentStore

Progress = Callable[[str, float], None]
"""Called with what is done and the share of it that is."""
GRAPH_FILE = "rows.graph"
_SHARE, _PIECES, _GROWN = 0.2, 64, 2
"""Deleted or late rows, pieces, and growth since ``auto`` chose, above which optimizing is due."""


def optimized(
    snapshot: Snapshot, description: IndexDescription, progress: Progress | None
) -> Manifest | None:
    """Write what the next version is made of and return it; None where nothing is to be done.

    The caller holds the right to write.
    """
    tell = progress or (lambda what, share: None)
    manifest = snapshot.manifest
    version = manifest.version + 1
    base = _compacted(snapshot, description, version, tell)
    if base is None:
        graphs, measured = {}, {}
    else:
        segment = Segment(snapshot.store.path("segments", base.name), base, snapshot.dim)
        graphs = {view: graph for view, graph in manifest.graphs.items() if graph.segment == base.name}
        measured = {view: one for view, one in manifest.measured.items() if base in manifest.segments}
        for view in description.views if description.kind != "flat" else ():
            if view in measured or not base.vectors[view]:
                continue
            graph, measured[view] = _graph(snapshot.store, segment, view, version, description, tell)
            if graph is not None:
                graphs[view] = graph
    changes = {"segments": () if base is None else (base,), "graphs": graphs, "measured": measured}
    result = manifest.model_copy(update=changes)
    return None if result == manifest else result.model_copy(update={"version": version})


def _compacted(
    snapshot: Snapshot, description: IndexDescription, version: int, tell: Progress
) -> SegmentEntry | None:
    """Return one segment with all live rows, None where there are none."""
    manifest = snapshot.manifest
    if not manifest.rows:
        return None
    if len(manifest.segments) == 1 and not manifest.segments[0].deleted:
        return manifest.segments[0]
    tell("compact", 0.0)
    places = Places.of(snapshot.segments, [snapshot.live(n) for n in range(len(snapshot.segments))])
    folder = snapshot.store.new("segments", version)
    entry = write_segment(folder, places, snapshot.schema, description.views, snapshot.dim)
    tell("compact", 1.0)
    return entry


def _graph(
    store: SegmentStore,
    segment: Segment,
    view: str,
    version: int,
    description: IndexDescription,
    tell: Progress,
) -> tuple[GraphEntry | None, Measured]:
    """Build and measure the graph of a view; return it, None where exact search is faster, and why."""
    options, vectors = description.options, VectorBlocks(segment.vectors(view))
    rows, is_auto = len(vectors), description.kind == "auto"
    what = f"graph of {view!r}"
    if is_auto and choose_kind(rows) == "flat":
        return None, Measured.of("flat", rows)
    tell(what, 0.0)
    if is_auto and not graph_can_pay(vectors, k=options.k, target=options.target_recall):
        return None, Measured.of("flat", rows)
    graph = GraphEngine.build(
        vectors, threads=options.threads or None, progress=lambda share: tell(what, share)
    )
    tuning = _tuned(graph, vectors, options)
    if is_auto and choose_kind(rows, tuning) == "flat":
        return None, Measured.of("flat", rows, tuning)
    folder = store.new("graphs", version)
    folder.mkdir(parents=True)
    graph.save(folder / GRAPH_FILE)
    files = {GRAPH_FILE: entry_of(folder / GRAPH_FILE)}
    return GraphEntry(name=folder.name, segment=segment.name, files=files), Measured.of("hnsw", rows, tuning)


def _tuned(graph: GraphEngine, vectors: VectorBlocks, options: IndexOptions) -> Tuning:
    exact = ExactEngine(vectors)
    return tune(graph, exact, k=options.k, target=options.target_recall, sample=options.sample)


def reason_to_optimize(manifest: Manifest, kind: Kind) -> str:
    """Return why ``optimize`` is due, or ""."""
    stored, deleted = (
        sum(one.rows for one in manifest.segments),
        sum(one.deleted for one in manifest.segments),
    )
    if deleted > _SHARE * stored:
        return f"{deleted:,} of {stored:,} stored rows are deleted"
    if len(manifest.segments) > _PIECES:
        return f"the rows lie in {len(manifest.segments)} pieces"
    if kind == "flat":
        return ""
    for view in manifest.segments[0].vectors if manifest.segments else ():
        rows = sum(one.vectors[view] for one in manifest.segments)
        graph, measured = manifest.graphs.get(view), manifest.measured.get(view)
        if graph is not None:
            late = sum(one.vectors[view] for one in manifest.segments if one.name != graph.segment)
            if late > _SHARE * rows:
                return f"{late:,} of {rows:,} {view!r} vectors came after the graph"
        elif rows and kind == "hnsw":
            return f"{view!r} has no graph yet"
        elif choose_kind(rows) == "hnsw" and (measured is None or rows > _GROWN * measured.rows):
            return f"{rows:,} {view!r} vectors, and whether a graph is faster was not measured"
    return ""
