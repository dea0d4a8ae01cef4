"""Compaction, and graphs where they are asked for or turn out faster."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .base import Kind
from .columns import compute
from .engines import ExactEngine, GraphEngine, VectorBlocks
from .gathering import Places, write_segment
from .manifest import GraphEntry, Manifest, Measured, SegmentEntry
from .segment import Segment, entry_of, write_tombstones
from .settings import IndexDescription
from .tuning import choose_kind, graph_can_pay, tune

if TYPE_CHECKING:
    import pyarrow
    from numpy.typing import NDArray

    from .snapshot import Snapshot
    from .store import SegmentStore

Progress = Callable[[str, float], None]
"""Called with what is done and the share of it that is."""
GRAPH_FILE = "rows.graph"
_SHARE, _PIECES, _GROWN = 0.2, 64, 2
"""Deleted or late rows, pieces, and growth since it was measured, above which optimizing is due."""
_MEMORY_SHARE = 0.7
"""Of memory, that vectors may take before searches are likely to wait for the disk."""


@dataclass
class Built:
    """What :func:`build` made of a version; new folders lie where no writer sweeps them.

    Attributes:
        of: the version. base: the one segment that replaces its segments, None where it has no rows.
        ids: of the base, where it is new. graphs, measured: by view.
    """

    of: Snapshot
    base: SegmentEntry | None = None
    ids: pyarrow.Array | None = None
    graphs: dict[str, GraphEntry] = field(default_factory=dict)
    measured: dict[str, Measured] = field(default_factory=dict)


def build(snapshot: Snapshot, description: IndexDescription, progress: Progress | None) -> Built:
    """Compact a version and build its graphs, beside readers and writers; nobody sees it yet."""
    tell = progress or (lambda what, share: None)
    manifest, built = snapshot.manifest, Built(snapshot)
    if not manifest.rows:
        return built
    if len(manifest.segments) == 1 and not manifest.segments[0].deleted:
        (built.base,), (segment,) = manifest.segments, snapshot.segments
        damaged = {view for view in manifest.graphs if snapshot.lacks_graph(view, thorough=True)}
        built.graphs = {view: one for view, one in manifest.graphs.items() if view not in damaged}
        built.measured = {view: one for view, one in manifest.measured.items() if view not in damaged}
    else:
        tell("compact", 0.0)
        places = Places.of(snapshot.segments, [snapshot.live(n) for n in range(len(snapshot.segments))])
        folder = snapshot.store.building("segments", manifest.version + 1)
        built.base = write_segment(folder, places, snapshot.schema, description.views, snapshot.dim)
        segment = Segment(folder, built.base, snapshot.dim)
        built.ids = segment.ids
        tell("compact", 1.0)
    for view in description.views if description.kind != "flat" else ():
        if view in built.measured or not built.base.vectors[view]:
            continue
        folder = snapshot.store.building("graphs", manifest.version + 1)
        entry, built.measured[view] = _graph(folder, segment, view, description, tell)
        if entry is not None:
            built.graphs[view] = entry
    return built


def _graph(
    folder: Path, segment: Segment, view: str, description: IndexDescription, tell: Progress
) -> tuple[GraphEntry | None, Measured]:
    """Build and measure the graph of a view; return it, None where exact search is faster, and why."""
    options, vectors = description.options, VectorBlocks(segment.vectors(view))
    rows, is_auto, what = len(vectors), description.kind == "auto", f"graph of {view!r}"
    if is_auto and choose_kind(rows) == "flat":
        return None, Measured.of("flat", rows)
    tell(what, 0.0)
    if is_auto and not graph_can_pay(vectors, k=options.k, target=options.target_recall):
        return None, Measured.of("flat", rows)
    graph = GraphEngine.build(
        vectors, threads=options.threads or None, progress=lambda share: tell(what, share)
    )
    exact = ExactEngine(vectors)
    tuning = tune(graph, exact, k=options.k, target=options.target_recall, sample=options.sample)
    if choose_kind(rows, tuning) == "flat":
        return None, Measured.of("flat", rows, tuning)
    folder.mkdir(parents=True)
    graph.save(folder / GRAPH_FILE)
    files = {GRAPH_FILE: entry_of(folder / GRAPH_FILE)}
    return GraphEntry(name=folder.name, segment=segment.name, files=files), Measured.of("hnsw", rows, tuning)


def taken_over(built: Built, now: Snapshot) -> Manifest | None:
    """Move what was built to where it stays and return the next version; None where nothing changes.

    Rows that were written, replaced or deleted since :func:`build` began stay so. The caller holds the
    right to write and commits.
    """
    manifest, base = now.manifest, built.base
    segments = list(manifest.segments)
    if built.ids is not None and base is not None:
        old = {one.name for one in built.of.manifest.segments}
        base = _without(now.store, base, built.ids, now, old)
        segments = [one for one in segments if one.name not in old]
        segments = segments if base is None else [base, *segments]
    elif base is None:
        segments = [one for one in segments if one.rows > one.deleted]
    if base is None or base.name not in {one.name for one in segments}:
        changes = {"segments": tuple(segments), "graphs": {}, "measured": {}}
    else:
        for view, graph in built.graphs.items():
            if built.of.manifest.graphs.get(view) != graph:
                now.store.adopt("graphs", graph.name)
        changes = {"segments": tuple(segments), "graphs": built.graphs, "measured": built.measured}
    result = manifest.model_copy(update=changes)
    return None if result == manifest else result.model_copy(update={"version": manifest.version + 1})


def _without(
    store: SegmentStore, base: SegmentEntry, ids: pyarrow.Array, now: Snapshot, old: set[str]
) -> SegmentEntry | None:
    """Return the new base, in its place, with the rows marked that left the ``old`` segments meanwhile."""
    stay: NDArray[np.bool_] = np.zeros(len(ids), bool)
    for number, segment in enumerate(now.segments):
        if segment.name in old:
            live = segment.ids.take(now.live(number))
            stay |= np.asarray(compute().is_in(ids, value_set=live), dtype=bool)
    if not stay.any():
        return None
    store.adopt("segments", base.name)
    if stay.all():
        return base
    name, file = write_tombstones(store.path("segments", base.name), now.manifest.version + 1, ~stay)
    changes = {"deleted": int((~stay).sum()), "tombstones": name, "files": {**base.files, name: file}}
    return base.model_copy(update=changes)


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
        elif kind == "hnsw" and measured is None and rows:
            return f"{view!r} has no graph yet"
        elif (kind == "hnsw" or choose_kind(rows) == "hnsw") and rows > _GROWN * _rows(measured):
            return f"{rows:,} {view!r} vectors, and whether a graph is faster was not measured"
    return ""


def _rows(measured: Measured | None) -> int:
    return 0 if measured is None else measured.rows


def advice_on(manifest: Manifest, dim: int) -> str:
    """Return what to do about vectors that take more bytes than memory has, or ""."""
    vectors = 4 * dim * sum(sum(one.vectors.values()) for one in manifest.segments)
    memory = memory_bytes()
    if not memory or vectors <= _MEMORY_SHARE * memory:
        return ""
    return (
        f"The vectors take {vectors / 1e9:.1f} GB and this machine has {memory / 1e9:.1f} GB of memory: "
        "searches will wait for the disk. Keep them in LanceDB (kind lancedb), or divide the rows among "
        "several indexes and machines and merge their answers by score."
    )


def memory_bytes() -> int:
    """Return the memory of this machine in bytes, 0 where the system does not tell."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return 0
