"""Pictures of a product beyond its first: vectors of their own, found as that product.

They live in an index beside that of the products, one row for each picture. It is written before the
products are, so a run that was killed leaves vectors that nobody finds rather than products without theirs;
the next run writes them again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ....core.index.base import Identity, Kind, Rows
from ....core.index.opening import create_index, open_index
from .config import WAIT_S

if TYPE_CHECKING:
    import pyarrow
    from numpy.typing import NDArray

    from ....core.index.base import VectorIndex

FURTHER_FOLDER = "pictures"
MOST = 50
"""Pictures of one product, the first one included; readers take no more."""
_SEPARATOR = "\x1f"
_LONGEST = 900


@dataclass(frozen=True)
class FurtherPicture:
    """One further picture. ``number``: from 1; 0 is the product's own. ``given``, ``path``: of its file."""

    number: int
    given: str
    path: str | None


@dataclass(frozen=True)
class FurtherHit:
    """The further picture of a product that is nearest to a query."""

    score: float
    path: str | None
    number: int


def row_id(product: str, number: int) -> str:
    """Return the id of a picture's row; ids of products hold no control signs."""
    if len(product) > _LONGEST:
        product = hashlib.sha256(product.encode()).hexdigest()
    return f"{number:02d}{_SEPARATOR}{product}"


class FurtherPictures:
    """The index of further pictures, made when the first one comes.

    A catalogue that is read at an earlier version finds the further pictures of today: those of products
    that this version has.

    Args:
        folder: of the catalogue.
        identity, kind: of the index of its products.
        read_only: refuse to write.
    """

    def __init__(self, folder: Path, identity: Identity, kind: Kind, *, read_only: bool) -> None:
        self._folder, self._identity = folder / FURTHER_FOLDER, identity
        self._kind: Kind = kind
        self._read_only = read_only
        self.index: VectorIndex | None = None
        self.refresh()

    def refresh(self) -> None:
        """Read the newest version, which another process may have written."""
        if self.index is not None:
            self.index.refresh()
        elif (self._folder / "index.json").is_file():
            self.index = open_index(self._folder, read_only=self._read_only, wait_s=WAIT_S)

    def __len__(self) -> int:
        return 0 if self.index is None else len(self.index)

    def write(self, new: Mapping[str, Sequence[tuple[FurtherPicture, NDArray[np.float32]]]]) -> None:
        """Put these pictures in place of all further ones that their products had."""
        rows = [(product, one, vector) for product, found in new.items() for one, vector in found]
        if rows:
            self._made().upsert(_rows(rows))
        if self.index is not None:
            written = {row_id(product, one.number) for product, one, _ in rows}
            self._drop([name for product in new for name in _ids_of(product) if name not in written])

    def delete(self, products: Collection[str]) -> None:
        """Take out the pictures of products."""
        if self.index is not None and products:
            self._drop([name for product in products for name in _ids_of(product)])

    def close(self) -> None:
        """Let go of files."""
        if self.index is not None:
            self.index.close()

    def search(
        self, query: NDArray[np.float32], k: int, *, fits: Callable[[Sequence[str]], set[str]]
    ) -> dict[str, FurtherHit]:
        """Return {product: its nearest further picture} with at least the k nearest products that fit.

        Args:
            query: float32 [1, D]. fits: which of some products may be answers.
        """
        found: dict[str, FurtherHit] = {}
        if self.index is None or not len(self.index):
            return found
        asked = 4 * k
        while True:
            hits = self.index.search(query, asked, view="image")[0]
            cells = self.index.get(hits.ids, columns=["product", "number", "path"]).payload.to_pylist()
            nearest: dict[str, FurtherHit] = {}
            for score, cell in zip(hits.scores.tolist(), cells, strict=True):
                hit = FurtherHit(score, cell["path"], int(cell["number"]))
                nearest.setdefault(cell["product"], hit)
            allowed = fits(list(nearest))
            found = {product: hit for product, hit in nearest.items() if product in allowed}
            if len(found) >= k or len(hits) < asked:
                return found
            asked *= 4

    def _made(self) -> VectorIndex:
        if self.index is None:
            create_index(
                self._folder, kind=self._kind, identity=self._identity, views=("image",), schema=_schema()
            ).close()
            self.index = open_index(self._folder, wait_s=WAIT_S)
        return self.index

    def _drop(self, ids: Sequence[str]) -> None:
        if self.index is not None and ids:
            there = self.index.get(ids, columns=[]).ids
            if there:
                self.index.delete(there)


def _schema() -> pyarrow.Schema:
    import pyarrow as pa

    return pa.schema(
        [("product", pa.string()), ("number", pa.float64()), ("image", pa.string()), ("path", pa.string())]
    )


def _ids_of(product: str) -> list[str]:
    return [row_id(product, number) for number in range(1, MOST)]


def _rows(found: Sequence[tuple[str, FurtherPicture, NDArray[np.float32]]]) -> Rows:
    import pyarrow as pa

    columns = [
        pa.array([product for product, _, _ in found], pa.string()),
        pa.array([float(one.number) for _, one, _ in found], pa.float64()),
        pa.array([one.given or None for _, one, _ in found], pa.string()),
        pa.array([one.path for _, one, _ in found], pa.string()),
    ]
    ids = tuple(row_id(product, one.number) for product, one, _ in found)
    return Rows(
        ids,
        pa.Table.from_arrays(columns, schema=_schema()),
        {"image": np.stack([vector for _, _, vector in found])},
    )
