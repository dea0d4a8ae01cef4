"""From a source to a run: its reader, the index it goes to, and the report."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ....core.index.opening import create_index, open_index
from ..products.read import ProductReader, read_products
from ..products.record import Product
from .config import INDEX_FOLDER, VIEWS, WAIT_S, CatalogConfig
from .encode import ProductEncoding, Reader
from .further import FurtherPictures
from .ingest import Ingest
from .payload import attribute_column, infer_attributes, payload_schema
from .rejects import RejectLog
from .report import Counts, IngestOptions, IngestReport

if TYPE_CHECKING:
    from ....core.index.opening import FolderIndex
    from ..products.pictures import ImageRoot
    from ..products.remote import RemotePolicy

_SAMPLE = 1000
"""Products from which the columns of attributes are chosen."""

Source = str | Path | ProductReader | Iterable[Mapping[str, Any] | Product]
"""A table, a folder of pictures, an open reader of one, or rows that a program gives."""


@dataclass(eq=False)
class Intake:
    """Where products are taken in; nobody else writes there meanwhile.

    Attributes:
        folder: of the catalogue. config: of it. encoder: makes the vectors.
        index: of the products; None where none has come in yet. further: their further pictures.
        progress: called after each version with (rows read, products written).
    """

    folder: Path
    config: CatalogConfig
    encoder: ProductEncoding
    index: FolderIndex | None
    further: FurtherPictures
    options: IngestOptions
    progress: Callable[[int, int], None] | None = None

    def run(
        self,
        source: Source,
        image_root: str | Path | ImageRoot | None,
        fetch: Callable[[str], bytes] | None,
        *,
        max_reject_rate: float,
    ) -> IngestReport:
        """Take in a source; see :meth:`.catalog.Catalog.ingest`."""
        start, options = time.monotonic(), self.options
        with RejectLog(self.folder, keep_ids=options.sync) as rejects:
            products = self._opened(source, image_root, rejects)
            first, skipped = first_products(products, _SAMPLE, is_new=self.index is None)
            index = self._settled([one for one in first if not one.deleted])
            counts = Counts(read=skipped + len(rejects))
            if index is not None:
                reader = Reader(
                    self.encoder,
                    self.config.template,
                    self.config.attributes or {},
                    fetch=fetch,
                    on_image_error=options.on_image_error,
                    pictures=options.pictures,
                )
                run = Ingest(
                    index,
                    self.encoder,
                    reader,
                    self.further,
                    rejects,
                    options,
                    fetches=fetch is not None,
                    progress=self.progress,
                    skipped=skipped,
                )
                counts = run.run(itertools.chain(first, products))
        rejected = len(rejects)
        return IngestReport(
            **vars(counts),
            rejected=rejected,
            rejects=rejects.written,
            reject_rate=rejected / max(1, counts.read),
            max_reject_rate=max_reject_rate,
            notes=products.notes,
            version=0 if index is None else index.version,
            seconds=time.monotonic() - start,
        )

    def _opened(
        self, source: Source, image_root: str | Path | ImageRoot | None, rejects: RejectLog
    ) -> ProductReader:
        if isinstance(source, ProductReader):
            source.report_to(rejects.add)
            return source
        return read_products(
            source,
            fields=self.options.fields or self.config.fields,
            image_root=image_root,
            on_reject=rejects.add,
            encoding=self.options.encoding,
            delimiter=self.options.delimiter,
        )

    def _settled(self, first: Sequence[Product]) -> FolderIndex | None:
        """Return the index, made where there is none, with columns for the attributes of these products.

        Nothing is settled by nothing: without products an empty catalogue stays as it is.
        """
        if self.index is not None and self.options.new_attributes:
            self._widen(self.index, first)
        if self.index is not None or not first:
            return self.index
        if self.config.attributes is None:
            self.config = self.config.model_copy(update={"attributes": infer_attributes(first)})
            self.config.save(self.folder)
        folder = self.folder / INDEX_FOLDER
        create_index(
            folder,
            kind=self.config.kind,
            identity=self.config.made_by.identity,
            views=VIEWS,
            schema=payload_schema(self.config.attributes or {}),
        ).close()
        self.index = open_index(folder, wait_s=WAIT_S)
        return self.index

    def _widen(self, index: FolderIndex, first: Sequence[Product]) -> None:
        """Add columns for attributes that these products bring."""
        import pyarrow as pa

        known = self.config.attributes or {}
        new = infer_attributes(first, known=known)
        schema, there = payload_schema(new), index.schema.names
        columns = [schema.field(attribute_column(name)) for name in new]
        # A run that was killed in between leaves columns that the settings do not name yet.
        columns = [one for one in columns if one.name not in there]
        if columns:
            index.add_columns(pa.schema(columns))
        if new:
            self.config = self.config.model_copy(update={"attributes": {**known, **new}})
            self.config.save(self.folder)


def first_products(products: Iterable[Product], count: int, *, is_new: bool) -> tuple[list[Product], int]:
    """Return the first products of a source, and how many deleted ones were passed over.

    Args:
        is_new: the catalogue is empty, so that deleted products are nothing to it.
    """
    found: list[Product] = []
    skipped = 0
    for product in products:
        if product.deleted and is_new:
            skipped += 1
            continue
        found.append(product)
        if len(found) == count:
            break
    return found, skipped


def fetcher(allow_remote: bool | RemotePolicy) -> Callable[[str], bytes] | None:
    """Return what fetches a picture from its address, or None where nothing is fetched."""
    if allow_remote is False:
        return None
    from ..products.remote import RemotePolicy, fetch_image

    policy = RemotePolicy() if allow_remote is True else allow_remote
    return lambda url: fetch_image(url, policy)
