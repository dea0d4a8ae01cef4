"""A folder of products that can be searched and kept current."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ....core.errors import ConfigError
from ....core.index.base import Change
from ....core.index.lock import WriterLock
from ....core.index.opening import open_index
from ..composed.stored import load_settings
from ..products.text import TextTemplate
from .config import INDEX_FOLDER, KINDS, WAIT_S, CatalogConfig, MadeBy, View, check_new
from .encode import ProductEncoding
from .encoders import encoder_of
from .filters import resolved
from .further import FurtherPictures
from .intake import Intake, Source, fetcher
from .payload import AttributeType, payload_schema
from .report import IngestOptions, IngestReport
from .search import DEFAULT_VIEW, Found, Narrow, Question, SearchOptions, find, query_vector
from .stats import CatalogStats, stats_of
from .writing import MAX_DELETE_SHARE, ids_of, mark

if TYPE_CHECKING:
    from PIL import Image as PILImage

    from ....core.handle import ModelHandle
    from ....core.index.base import IndexStats, VectorIndex
    from ....core.index.filters import Where
    from ....core.index.opening import FolderIndex
    from ..encoders.fusing import Fusion
    from ..products.fields import FieldMap
    from ..products.pictures import ImageRoot
    from ..products.record import Product
    from ..products.remote import RemotePolicy


class Catalog:
    """Products with their vectors; made by :meth:`create` and :meth:`open`.

    Any number of processes may search; one at a time writes. Threads may share one object: they search while
    one of them writes, each search in the version before or after a write, and take turns in writing.

    Attributes:
        folder: of the catalogue. config: what it was made with.

    Example:
        >>> catalog = Catalog.create("shop", model=model)  # doctest: +SKIP
        >>> catalog.ingest("items.csv", image_root="photos").added  # doctest: +SKIP
        3409
        >>> catalog.search(text="red dress", where=F("price") < 50)[0].id  # doctest: +SKIP
        'D-1042'
    """

    def __init__(
        self,
        folder: Path,
        config: CatalogConfig,
        encoder: ProductEncoding | None,
        *,
        read_only: bool = False,
        version: int | None = None,
    ) -> None:
        self.folder, self.config = folder, config
        self._encoder, self._read_only, self._version = encoder, read_only or version is not None, version
        self._index: FolderIndex | None = None
        self._closed, self._lock = False, WriterLock(folder)
        self._further = FurtherPictures(
            folder, config.made_by.identity, config.kind, read_only=self._read_only
        )
        self.refresh()

    @classmethod
    def create(
        cls,
        folder: str | Path,
        *,
        model: ModelHandle | ProductEncoding,
        fields: FieldMap | None = None,
        template: TextTemplate | None = None,
        index: str = "auto",
        fusion: Fusion | None = None,
        attributes: Mapping[str, AttributeType] | None = None,
    ) -> Catalog:
        """Make an empty catalogue in a new or empty folder.

        Args:
            model: whose vectors it shall hold.
            fields: which column of a source is which field; None guesses for each source.
            template: how fields become text; None takes the one for all kinds of products.
            index: ``auto``, ``flat``, ``hnsw`` or ``lancedb``.
            fusion: shares of picture and text in the vector of a product; None is 0.9 and 0.1.
            attributes: {name: type} of the attributes with a column to filter by; None settles them from the
                first products that come in.

        Raises:
            ConfigError: the folder holds something, or the model does not know pictures and texts.
        """
        folder = Path(folder)
        if index not in KINDS:
            raise ConfigError(f"Unknown kind of index {index!r}; known: {', '.join(KINDS)}.")
        check_new(folder)
        encoder, own_fusion = encoder_of(model, fusion)
        template = template or TextTemplate()
        config = CatalogConfig.model_validate(
            {
                "model": getattr(model, "id", encoder.identity.model),
                "made_by": MadeBy.of(encoder.identity).model_copy(update={"text": template.fingerprint}),
                "kind": index,
                "fusion": own_fusion,
                "template": template,
                "fields": fields,
                "attributes": attributes,
            }
        )
        payload_schema(attributes or {})  # refuses what cannot be a column before anything is written
        folder.mkdir(parents=True, exist_ok=True)
        config.save(folder)
        return cls(folder, config, encoder)

    @classmethod
    def open(
        cls,
        folder: str | Path,
        model: ModelHandle | ProductEncoding | None = None,
        *,
        read_only: bool = False,
        version: int | None = None,
    ) -> Catalog:
        """Open a catalogue.

        Args:
            model: needed to take products in and to search by words or pictures.
            read_only: refuse to write.
            version: an older version, read-only, but with the further pictures of today; None is the newest.

        Raises:
            ConfigError: no catalogue, one of another model, or a version that is no longer there.
        """
        folder = Path(folder)
        config = CatalogConfig.load(folder)
        encoder = None if model is None else encoder_of(model, config.fusion)[0]
        if encoder is not None:
            config.check_encoder(encoder)
        return cls(folder, config, encoder, read_only=read_only, version=version)

    def __len__(self) -> int:
        return 0 if self._index is None else len(self._index)

    def __enter__(self) -> Catalog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def index(self) -> VectorIndex:
        """Vectors and fields of all products.

        Raises:
            ConfigError: nothing has been taken in yet.
        """
        self._check_open()
        if self._index is None:
            raise ConfigError(
                f"{self.folder}: the catalogue is empty. Take products in first: verticlip catalog ingest."
            )
        return self._index

    @property
    def encoder(self) -> ProductEncoding:
        """What makes the vectors.

        Raises:
            ConfigError: the catalogue was opened without its model.
        """
        if self._encoder is None:
            raise ConfigError(
                f"{self.folder}: this needs the model {self.config.model}; open the catalogue with it."
            )
        return self._encoder

    @property
    def version(self) -> int:
        """Version of the index that is read; 0 while there is none."""
        return 0 if self._index is None else self._index.version

    def refresh(self) -> None:
        """Read the newest version, which another process may have written."""
        self._check_open()
        self._further.refresh()
        if self._index is None:
            folder = self.folder / INDEX_FOLDER
            if (folder / "index.json").is_file():
                self._index = open_index(
                    folder, version=self._version, read_only=self._read_only, wait_s=WAIT_S
                )
        elif self._version is None:
            self._index.refresh()

    def _check_open(self) -> None:
        if self._closed:
            raise ConfigError(f"{self.folder}: the catalogue was closed. Open it again.")

    def close(self) -> None:
        """Let go of files; the object is not used afterwards."""
        self._closed = True
        self._further.close()
        if self._index is not None:
            self._index.close()
            self._index = None

    def ingest(
        self,
        source: Source,
        *,
        image_root: str | Path | ImageRoot | None = None,
        allow_remote: bool | RemotePolicy = False,
        max_reject_rate: float = 0.01,
        progress: Callable[[int, int], None] | None = None,
        options: IngestOptions | None = None,
    ) -> IngestReport:
        """Take in the products of a table, a folder of pictures or an iterable of rows.

        New and changed rows are encoded, the others passed by; rows marked as deleted are taken out. A run
        that was killed is continued by starting it again.

        Args:
            source: CSV, TSV, JSON lines (also .gz, .zst), Parquet, a folder, or mappings. A reader that
                ``read_products`` made goes by its own fields, folder and encoding.
            image_root: folder that paths of pictures are relative to; None is that of the source. Paths that
                lead out of it are rejected unless an ``ImageRoot`` allows them.
            allow_remote: fetch pictures given as addresses; a policy says from which hosts.
            max_reject_rate: see :attr:`.report.IngestReport.too_many_rejects`.
            progress: called after each version with (rows read, products written).
            options: sizes, threads, and what becomes of rows whose picture cannot be read.

        Raises:
            ConfigError: another process is writing, the catalogue was opened without its model, or ``sync``
                would delete too much.
            DataError: the source as a whole cannot be used.
        """
        encoder, fetch, options = self.encoder, fetcher(allow_remote), options or IngestOptions()
        with self._writing():
            intake = Intake(self.folder, self.config, encoder, self._index, self._further, options, progress)
            return intake.run(source, image_root, fetch, max_reject_rate=max_reject_rate)

    def upsert(self, products: Iterable[Product], *, options: IngestOptions | None = None) -> IngestReport:
        """Take in products that a program made; otherwise as :meth:`ingest`."""
        return self.ingest(products, max_reject_rate=0.0, options=options)

    def delete(self, which: Sequence[str] | Where, *, version: int | None = None) -> Change:
        """Take products out by id, or all that fit a condition, as one version.

        Args:
            version: refuse with ``ConfigError`` if the catalogue is at another one by now.
        """
        with self._writing(version):
            ids = ids_of(self.index, which)
            change = self.index.delete(ids)
            self._further.delete(ids)
            return change

    def mark_duplicates(self, of: Mapping[str, str | None], *, version: int | None = None) -> Change:
        """Note which product each of these is a duplicate of, as one version; None takes the mark off.

        Args:
            version: refuse if the catalogue is at another one by now.

        Raises:
            InputError: a product that the catalogue does not have.
            ConfigError: another version, or another process is writing.
        """
        with self._writing(version):
            return mark(self.index, of)

    def search(
        self,
        *,
        image: Any = None,
        text: str | None = None,
        like: str | None = None,
        k: int = 10,
        where: Where | str | None = None,
        view: View = DEFAULT_VIEW,
        options: SearchOptions | None = None,
    ) -> list[Found]:
        """Return the k products nearest to a question, best first, fewer where fewer fit.

        Args:
            image: path, bytes, picture or sample of what is looked for.
            text: words; beside ``image`` or ``like`` the change that is wanted: "in white".
            like: id of a product, which is no answer itself.
            k: at least 1.
            where: only products that fit, e.g. ``(F("price") < 50) & (F("color") == "red")`` or the same as
                text. Attributes go by their names.
            view: what the question is compared with: "product" (picture and words together), "image",
                "text", or "best", the nearest of the three. Words have higher cosines with words than with
                pictures, so that "best" goes by the texts where words are asked.
            options: words that are not wanted, marked duplicates, and how a question is put together.

        Raises:
            InputError: nothing is asked, k below 1, an unknown product or field, a picture that cannot be
                read.
            ConfigError: an unknown view, or the model is needed and was not given.
        """
        options = options or SearchOptions()
        if self._index is None:
            self.refresh()
        if self._index is None and k >= 1:
            return []
        index = self.index
        asked = Question(image, text, like, options.negative, options.compose or load_settings(self.folder))
        query = query_vector(asked, index, self._encoder, view)
        condition = resolved(where, index.schema, hide_duplicates=options.hide_duplicates)
        narrow = Narrow(view, condition, () if like is None else (like,), options.ef)
        return find(index, query, k, further=self._further, narrow=narrow)

    def stats(self) -> CatalogStats:
        """Return what the catalogue holds."""
        return stats_of(self._index, self.config, further=len(self._further))

    def optimize(self, progress: Callable[[str, float], None] | None = None) -> IndexStats:
        """Compact the index and build what makes search fast; searches and writes go on meanwhile.

        Raises:
            ConfigError: another process is doing the same, or the catalogue can only be read.
        """
        self._check_writable()
        self.refresh()
        if self._further.index is not None:
            self._further.index.optimize(progress)
        return self.index.optimize(progress)

    def export(
        self,
        to: str | Path | VectorIndex,
        *,
        vectors: bool = False,
        where: Where | str | None = None,
        sync: bool = False,
        max_delete_share: float = MAX_DELETE_SHARE,
        progress: Callable[[int, int], None] | None = None,
    ) -> int:
        """Copy products to a file (.parquet, .jsonl, .csv) or to another index, and return how many.

        Args:
            vectors: into a file, write the vectors too; another index always gets them.
            where: only products that fit.
            sync: take out of the other index what this catalogue does not have.
            max_delete_share: of the products of the other index that ``sync`` may take out.
            progress: called with (products done, products in all).

        Raises:
            ConfigError: no such kind of file, an index of other vectors or columns, or too much to take out.
        """
        from .export import export_file, export_index

        condition = resolved(where, self.index.schema)
        if isinstance(to, (str, Path)):
            return export_file(self.index, Path(to), vectors=vectors, where=condition, progress=progress)
        share = max_delete_share if sync else None
        return export_index(self.index, to, where=condition, sync=share, progress=progress)

    def image_of(self, identifier: str) -> PILImage.Image:
        """Return the picture of a product, upright and in RGB.

        Raises:
            InputError: no such product, no picture, or one that is no longer there.
        """
        from .pictures import picture_of

        return picture_of(self.index, identifier)

    def _check_writable(self) -> None:
        if self._read_only:
            raise ConfigError(f"{self.folder}: the catalogue was opened to be read only.")

    @contextlib.contextmanager
    def _writing(self, version: int | None = None) -> Iterator[None]:
        """Keep other writers out, and see what the last one wrote; refuse unless it is ``version``."""
        self._check_writable()
        with self._lock.held():
            self.config = CatalogConfig.load(self.folder)
            self.refresh()
            if version not in (None, self.version):
                raise ConfigError(
                    f"{self.folder}: the catalogue has changed from version {version} to {self.version} "
                    "since. Look again, then decide."
                )
            try:
                yield
            finally:
                # The first products make the index and settle the attributes.
                self.config = CatalogConfig.load(self.folder)
                self.refresh()
