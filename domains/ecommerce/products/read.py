"""Products of any source that a catalogue comes in, one after the other."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ....core.errors import DataError, InputError
from ....core.limits import DEFAULT, Limits
from .building import ProductBuilder, is_ours
from .csv_table import CsvTable
from .fields import FIELDS, FieldMap
from .json_table import GivenTable, JsonTable
from .parquet_table import ParquetTable
from .picture_folder import PictureFolder
from .pictures import ImageRoot
from .record import Product, Reject
from .rows import BadRow, Notes, Row, Table
from .streams import open_bytes

Source = str | os.PathLike[str] | Iterable[Mapping[str, Any] | Product]
"""A file, a folder, or rows that a program gives."""

OnReject = Callable[[Reject], None]

_FORMATS = {
    ".csv": "csv",
    ".tsv": "csv",
    ".tab": "csv",
    ".txt": "csv",
    ".jsonl": "json",
    ".ndjson": "json",
    ".parquet": "parquet",
    ".pq": "parquet",
}
_COMPRESSED = (".gz", ".zst")


def read_products(
    source: Source,
    *,
    fields: FieldMap | Mapping[str, Any] | None = None,
    image_root: str | os.PathLike[str] | ImageRoot | None = None,
    limits: Limits = DEFAULT,
    on_reject: OnReject | None = None,
    encoding: str = "auto",
    delimiter: str = "auto",
) -> ProductReader:
    """Return an iterator over the products of a source; a row that is none does not stop the others.

    Rows are read as they are asked for: memory grows with the ids only, which are kept to tell a second row
    of the same product (the first one counts).

    Args:
        source: CSV or TSV (plain, ``.gz`` or ``.zst``), JSON lines (the same), Parquet, a folder of Parquet
            files, a folder of pictures, or an iterable of mappings or products.
        fields: which column is what; what is not said is guessed, see :class:`.fields.FieldMap`.
        image_root: folder the paths of pictures are relative to; default: the folder of the source.
        limits: ceilings on files and texts.
        on_reject: called with each row that is no product; by default they are counted only.
        encoding: of text files; "auto" is UTF-8, or Windows-1252 where it looks like that.
        delimiter: of text tables; "auto" is comma, semicolon, tab or bar.

    Returns:
        :class:`ProductReader`, which also says what was guessed and mended.

    Raises:
        DataError: the source is no table, or a column that is needed is not there. Also while rows are
            read, where a file turns out to be cut off.
        ConfigError: an option is not acceptable.

    Example:
        >>> rows = [{"sku": "007", "name": "Mug"}, {"sku": "", "name": "Cup"}]
        >>> reader = read_products(rows, on_reject=lambda reject: print(reject.row, reject.reason))
        >>> [(product.id, product.title) for product in reader]
        2 the id is empty. Every product needs one of its own.
        [('007', 'Mug')]
    """
    notes = Notes()
    asked = fields if isinstance(fields, FieldMap) else FieldMap.parse(fields or {})
    default_root = Path(".")
    if isinstance(source, (str, os.PathLike)):
        path = Path(source)
        table = _table(path, notes, encoding=encoding, delimiter=delimiter, limits=limits)
        default_root = path if path.is_dir() else path.parent
        if isinstance(table, PictureFolder):
            # The folder names its columns itself; a map made for the catalogue's tables does not apply.
            asked = FieldMap(id="id", category="category", image="image", guess=False)
    elif isinstance(source, Iterable) and not isinstance(source, (bytes, Mapping)):
        table = GivenTable(source)
    else:
        raise DataError(f"{type(source).__name__} is no source of products; give a file, a folder or rows.")
    root = image_root if isinstance(image_root, ImageRoot) else ImageRoot(Path(image_root or default_root))
    if not root.folder.is_dir():
        raise DataError(f"{root.folder}: no such folder. Name the one that the paths of pictures start from.")
    return ProductReader(table, asked, root, notes, limits=limits, on_reject=on_reject)


class ProductReader(Iterator[Product]):
    """Products of one source; see :func:`read_products`.

    Attributes:
        name: what messages call the source. rows: read so far. rejected: of these.
    """

    def __init__(
        self,
        table: Table,
        fields: FieldMap,
        root: ImageRoot,
        notes: Notes,
        *,
        limits: Limits = DEFAULT,
        on_reject: OnReject | None = None,
    ) -> None:
        self.name, self.rows, self.rejected = table.name, 0, 0
        self._table, self._root, self._notes, self._limits = table, root, notes, limits
        self._on_reject = on_reject
        self._seen: dict[str, int] = {}
        self._columns = dict.fromkeys(table.columns)
        self._fields = fields.complete(self._columns)
        if self._columns or not isinstance(table, GivenTable):
            self._fields.check(list(self._columns), where=self.name, all_seen=table.is_closed)
        self._builder = ProductBuilder(self._fields, root, notes, limits=limits)
        self._products = self._read()

    @property
    def fields(self) -> FieldMap:
        """Which column is what, with what was guessed; more may be found as rows bring new columns."""
        return self._fields

    @property
    def other_columns(self) -> tuple[str, ...]:
        """Columns that are no field; they become attributes unless the map says otherwise."""
        taken = {column for field in FIELDS for column in self._fields.columns_of(field)}
        return tuple(column for column in self._columns if column not in taken and not is_ours(column))

    @property
    def notes(self) -> tuple[str, ...]:
        """What was found out about the source and mended in its rows so far, one line each."""
        return self._notes.lines()

    def report_to(self, on_reject: OnReject) -> None:
        """Tell another function of the rows that are no product, from the next one on."""
        self._on_reject = on_reject

    def __next__(self) -> Product:
        return next(self._products)

    def _read(self) -> Iterator[Product]:
        for row in self._table.rows():
            self.rows += 1
            self._limits.check("manifest_rows", self.rows, what=f"{self.name}: rows")
            number = row.row if isinstance(row, Product) else row.number
            if isinstance(row, BadRow):
                self._reject(number, None, row.reason)
                continue
            try:
                product = self._product(row)
            except InputError as error:
                known = row.id if isinstance(row, Product) else self._builder.id_of(row)
                self._reject(number, known, str(error))
                continue
            first = self._seen.setdefault(product.id, number)
            if first != number:
                reason = f"the id {product.id!r:.80} was already used in row {first}; the first one counts."
                self._reject(number, product.id, reason)
                continue
            yield product

    def _product(self, row: Row | Product) -> Product:
        if isinstance(row, Product):
            return self._builder.finish(row)
        if not self._table.is_closed:
            self._learn(row)
        return self._builder.build(row)

    def _learn(self, row: Row) -> None:
        """Look at columns that no row had before: they may be fields."""
        fresh = [column for column in row.cells if column not in self._columns]
        if fresh:
            self._columns.update(dict.fromkeys(fresh))
            completed = self._fields.complete(fresh)
            if completed != self._fields:
                self._fields = completed
                self._builder = ProductBuilder(completed, self._root, self._notes, limits=self._limits)

    def _reject(self, number: int, identifier: str | None, reason: str) -> None:
        self.rejected += 1
        if self._on_reject is not None:
            self._on_reject(Reject(number, identifier, reason))


def _table(path: Path, notes: Notes, *, encoding: str, delimiter: str, limits: Limits) -> Table:
    """Return the table in a file or folder, by its suffix or else by its content."""
    if path.is_dir():
        has_parts = any(one.suffix == ".parquet" for one in path.iterdir())
        return ParquetTable(path, notes, limits=limits) if has_parts else PictureFolder(path, notes)
    if not path.is_file():
        raise DataError(f"{path}: no such file or folder.")
    name = path.name.lower()
    for suffix in _COMPRESSED:
        name = name.removesuffix(suffix)
    kind = _FORMATS.get(Path(name).suffix) or _kind_of(path)
    if kind == "parquet":
        return ParquetTable(path, notes, limits=limits)
    if kind == "json":
        return JsonTable(path, notes, encoding=encoding, limits=limits)
    return CsvTable(path, notes, encoding=encoding, delimiter=delimiter, limits=limits)


def _kind_of(path: Path) -> str:
    with open_bytes(path) as stream:
        head = stream.read(64).removeprefix(b"\xef\xbb\xbf").lstrip()
    if head.startswith(b"PAR1"):
        return "parquet"
    return "json" if head[:1] in (b"{", b"[") else "csv"
