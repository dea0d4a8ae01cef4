"""What taking products in costs: beside the bare work on their pictures, and when few of them change.

Pictures: JPEG files of the size of small catalogue photographs. *Decode alone* reads and prepares all of them
with as many threads as the catalogue takes, *model alone* embeds the prepared ones in one thread; a run that
overlaps both as well as can be takes as long as the slower of the two. This is wall-clock time of two cores,
so it means something on an idle machine only.

Updates: products with texts and stand-in vectors of no cost, so that nothing but the work of the catalogue is
measured, in CPU time; with a real model 1 % of the products costs nearer to 1 %. An index that is not flat is
optimized before the updates, so that a graph stands beside the changed rows where it was measured to pay;
building it counts in neither of the two.
"""

from __future__ import annotations

import io
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..core.errors import VerticlipError
from ..core.index.base import Identity
from ..domains.ecommerce.catalog.catalog import Catalog
from ..domains.ecommerce.catalog.report import IngestOptions
from ..domains.ecommerce.encoders.product import ProductEncoder, ProductVectors

if TYPE_CHECKING:
    from .runner import Workload

MODEL = "ecommerce/tiny"
BATCH, WORKERS = 32, 1
"""One thread reads while another one computes: two cores."""


def workloads(quick: bool = False) -> Iterator[Workload]:
    """Yield nothing: no other library does the same work; see :func:`extra_rows`."""
    yield from ()


def extra_rows(quick: bool = False) -> Iterator[dict[str, Any]]:
    """Yield how well reading and embedding overlap, and what an update costs beside a rebuild."""
    yield overlap(400 if quick else 3409, rounds=3 if quick else 5)
    yield update(20_000 if quick else 200_000, rounds=3, kind="flat", dim=64)
    yield update(20_000 if quick else 200_000, rounds=3, kind="hnsw", dim=512)


def overlap(count: int, *, rounds: int) -> dict[str, Any]:
    """Return a row: the slower of decoding alone and the model alone, against an ingest."""
    from ..api import from_pretrained

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        encoder = ProductEncoder(from_pretrained(MODEL))
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            files = write_photos(folder / "photos", count)
            turns = [_overlap_turn(encoder, folder, files, turn) for turn in range(rounds + 1)][1:]
    finally:
        torch.set_num_threads(threads)
    ours, bare = [turn["ingest"] for turn in turns], [max(turn["decode"], turn["model"]) for turn in turns]
    said = ", ".join(f"{key} {statistics.median(turn[key] for turn in turns):.2f} s" for key in turns[0])
    return _row(
        f"ingest of {count} photographs",
        "the slower of decode and model alone",
        ours,
        bare,
        gate=0.9,
        note=f"wall clock; {said}",
    )


def _overlap_turn(
    encoder: ProductEncoder, folder: Path, files: Sequence[Path], turn: int
) -> dict[str, float]:
    """Return seconds of each of the three."""
    prepared: list[Tensor] = []

    def decode() -> None:
        with ThreadPoolExecutor(WORKERS) as pool:
            prepared.extend(pool.map(lambda path: encoder.prepare_image(path.read_bytes()), files))

    def model() -> None:
        for start in range(0, len(prepared), BATCH):
            part = prepared[start : start + BATCH]
            encoder.encode(part, [None] * len(part))

    def ingest() -> None:
        catalog = Catalog.create(folder / f"catalog{turn}", model=encoder)
        report = catalog.ingest(files[0].parent, options=IngestOptions(batch_size=BATCH, workers=WORKERS))
        if report.added != len(files):
            raise VerticlipError(f"{report.added} of {len(files)} photographs came in.")

    return {work.__name__: _seconds(work, time.perf_counter) for work in (decode, model, ingest)}


def update(count: int, *, rounds: int, kind: str, dim: int) -> dict[str, Any]:
    """Return a row: taking in 1 % of changed products, against taking in all of them.

    Args:
        kind: of the index. dim: numbers of a vector.
    """
    changed = count // 100
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        catalog = Catalog.create(folder / "catalog", model=_NoModel(dim), index=kind)
        write_table(folder / "all.jsonl", range(count), version=0)
        rebuild = _seconds(lambda: catalog.ingest(folder / "all.jsonl"), time.process_time)
        indexed = 0 if kind == "flat" else catalog.optimize().indexed["product"]
        ours = []
        for version in range(1, rounds + 1):
            rows = np.random.default_rng(version).choice(count, changed, replace=False)
            write_table(folder / "some.jsonl", rows, version=version)
            ours.append(_seconds(lambda: catalog.ingest(folder / "some.jsonl"), time.process_time))
        if len(catalog) != count:
            raise VerticlipError(f"{len(catalog)} products of {count} are left.")
    return _row(
        f"update of {changed} of {count} products, {kind}, D={dim}",
        "a rebuild",
        ours,
        [rebuild] * rounds,
        gate=1 / 0.03,
        note=f"CPU time; stand-in vectors, three for each product; a graph over {indexed} of them",
    )


def write_photos(folder: Path, count: int) -> list[Path]:
    """Write JPEG pictures with the detail of photographs, 224 pixels on the longer side."""
    from PIL import Image

    folder.mkdir()
    rng, files = np.random.default_rng(0), []
    for number in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (14, 11, 3), dtype=np.uint8))
        picture = np.asarray(coarse.resize((168, 224), Image.Resampling.BICUBIC), np.int16)
        picture = (picture + rng.integers(-8, 9, picture.shape)).clip(0, 255).astype(np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(picture).save(buffer, "JPEG", quality=85)
        files.append(folder / f"{number:05d}.jpg")
        files[-1].write_bytes(buffer.getvalue())
    return files


def write_table(path: Path, rows: Sequence[int] | range | np.ndarray, *, version: int) -> None:
    """Write products as JSON lines; another version has other titles."""
    words = ("summer", "wool", "linen", "striped", "plain", "long", "short", "slim", "wide", "soft")
    with path.open("w", encoding="utf-8") as file:
        for number in map(int, rows):
            product = {
                "id": f"P{number:07d}",
                "title": f"{words[number % 10]} {words[number // 10 % 10]} dress {number} v{version}",
                "category": f"Clothing > Dresses > {words[number // 100 % 10]}",
                "brand": f"Brand {number % 97}",
                "color": ("red", "blue", "white")[number % 3],
                "price": 10 + number % 90,
                "attributes": {"sleeve": ("long", "short")[number % 2], "size": 34 + number % 12},
            }
            file.write(json.dumps(product) + "\n")


class _NoModel:
    """Vectors of no cost, in groups as those of products are: a graph over vectors without any never pays."""

    context_length = 64

    def __init__(self, dim: int) -> None:
        self.dim = dim
        self.identity = Identity("none", "0", "0", dim)
        self._generator = torch.Generator().manual_seed(0)
        self._groups = F.normalize(torch.randn(500, dim, generator=self._generator), dim=1)

    def count_tokens(self, text: str) -> int:
        return len(text.split()) + 2

    def prepare_image(self, source: Any) -> Tensor:
        raise VerticlipError(f"There is no model for {source!r:.40}.")

    def encode(
        self,
        images: Sequence[Tensor | None],
        texts: Sequence[str | None],
        *,
        categories: Sequence[str | None] | None = None,
        batch_size: int = 32,
    ) -> ProductVectors:
        group = torch.randint(len(self._groups), (len(texts),), generator=self._generator)
        noise = torch.randn(len(texts), self.dim, generator=self._generator) / self.dim**0.5
        found = F.normalize(self._groups[group] + noise, dim=1)
        has = torch.ones(len(texts), dtype=torch.bool)
        return ProductVectors(torch.zeros_like(found), found, found, ~has, has)


def _seconds(work: Callable[[], object], clock: Callable[[], float]) -> float:
    start = clock()
    work()
    return clock() - start


def _row(
    name: str, peer_name: str, ours: Sequence[float], peer: Sequence[float], *, gate: float, note: str
) -> dict[str, Any]:
    """Return a row of the table from the seconds of several turns."""
    ratios = [theirs / mine for mine, theirs in zip(ours, peer, strict=True)]
    ratio = statistics.median(ratios)
    summary = {
        side: {"median": statistics.median(values), "min": min(values), "max": max(values)}
        for side, values in (("ours", ours), ("peer", peer))
    }
    return {
        "name": name,
        "peer_name": peer_name,
        "unit": "s",
        **summary,
        "ratio": ratio,
        "ratio_min": min(ratios),
        "ratio_max": max(ratios),
        "gate": gate,
        "note": note,
        "passed": ratio >= gate,
    }
