"""A folder of products that can be searched and kept current."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ....core.errors import ConfigError, InputError
from ....core.index.base import Change
from ..composed.query import ComposeSettings
from ..composed.stored import load_settings
from ..products.text import TextTemplate
from .config import CONFIG_FILE, INDEX_FOLDER, KINDS, VIEWS, CatalogConfig, MadeBy, View
from .encode import ProductEncoding, Reader
from .encoders import encoder_of
from .filters import resolved
from .further import FurtherPictures
from .ingest import Ingest
from .payload import AttributeType, infer_attributes, payload_schema
from .rejects import RejectLog
from .report import Counts, IngestOptions, IngestReport
from .search import DEFAULT_VIEW, Found, Narrow, Question, find, query_vector
from .stats import CatalogStats, stats_of
from .writing import mark, only_writer

if TYPE_CHECKING:
    from PIL import Image as PILImage

    from ....core.handle import ModelHandle
    from ....core.index.base import IndexStats, VectorIndex
    from ....core.index.filters import Where
    from ..encoders.fusing import Fusion
    from ..products.fields import FieldMap
    from ..products.pictures import ImageRoot
    from ..products.record import Product
    from ..products.remote import RemotePolicy

_SAMPLE = 1000
"""Products from which the columns of attributes are chosen."""


class Catalog:
    """Products with their vectors; made by :meth:`create` and :meth:`open`.

    Any number of processes may search; one at a time writes.

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
        self._index: VectorIndex | None = None
        self._closed = False
        self._further = self._further_pictures()
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
        if (folder / CONFIG_FILE).exists():
            raise ConfigError(f"{folder}: there is a catalogue already. Open it, or name another folder.")
        if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
            raise ConfigError(f"{folder}: is not an empty folder. Name a new one.")
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
            version: an older version of the index, read-only; None is the newest.

        Raises:
            ConfigError: no catalogue, one of another model, or a version that is no longer there.
        """
        folder = Path(folder)
        config = CatalogConfig.load(folder)
        encoder = None
        if model is not None:
            encoder, _ = encoder_of(model, config.fusion)
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
        if self._closed:
            raise ConfigError(f"{self.folder}: the catalogue was closed. Open it again.")
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
        from ....core.index.opening import open_index

        self._release()
        self._further = self._further_pictures()
        if (self.folder / INDEX_FOLDER / "index.json").is_file():
            self._index = open_index(
                self.folder / INDEX_FOLDER, version=self._version, read_only=self._read_only
            )

    def close(self) -> None:
        """Let go of files; the object is not used afterwards."""
        self._release()
        self._closed = True

    def _release(self) -> None:
        self._further.close()
        if self._index is not None:
            self._index.close()
            self._index = None

    def ingest(
        self,
        source: str | Path | Iterable[Mapping[str, Any] | Product],
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
            source: CSV, TSV, JSON lines (also .gz, .zst), Parquet, a folder, or mappings.
            image_root: folder that paths of pictures are relative to; None is that of the source. Paths that
                lead out of it are rejected unless an ``ImageRoot`` allows them.
            allow_remote: fetch pictures given as addresses; a policy says from which hosts.
            max_reject_rate: see :attr:`.report.IngestReport.too_many_rejects`.
            progress: called after each version with (rows read, products written).
            options: sizes, threads, and what becomes of rows whose picture cannot be read.

        Raises:
            ConfigError: another process is writing, or the catalogue was opened without its model.
            DataError: the source as a whole cannot be used.
        """
        from ..products.read import read_products

        start, options = time.monotonic(), options or IngestOptions()
        encoder, fetch = self.encoder, _fetcher(allow_remote)
        with self._writing(), RejectLog(self.folder, keep_ids=options.sync) as rejects:
            products = read_products(
                source,
                fields=options.fields or self.config.fields,
                image_root=image_root,
                on_reject=rejects.add,
                encoding=options.encoding,
                delimiter=options.delimiter,
            )
            first = list(itertools.islice(products, _SAMPLE))
            index = self._settled([one for one in first if not one.deleted])
            counts = Counts(read=len(first) + len(rejects))
            if index is not None:
                reader = Reader(
                    encoder,
                    self.config.template,
                    self.config.attributes or {},
                    fetch=fetch,
                    on_image_error=options.on_image_error,
                    pictures=options.pictures,
                )
                fetches = fetch is not None
                run = Ingest(index, encoder, reader, self._further, rejects, options, fetches, progress)
                counts = run.run(itertools.chain(first, products))
        rejected = len(rejects)
        return IngestReport(
            **vars(counts),
            rejected=rejected,
            rejects=rejects.written,
            reject_rate=rejected / max(1, counts.read),
            max_reject_rate=max_reject_rate,
            notes=products.notes,
            version=self.version,
            seconds=time.monotonic() - start,
        )

    def upsert(self, products: Iterable[Product], *, options: IngestOptions | None = None) -> IngestReport:
        """Take in products that a program made; otherwise as :meth:`ingest`."""
        return self.ingest(products, max_reject_rate=0.0, options=options)

    def _settled(self, first: Sequence[Product]) -> VectorIndex | None:
        """Return the index, made where there is none, with columns for the attributes of these products.

        Nothing is settled by nothing: without products an empty catalogue stays as it is.
        """
        from ....core.index.opening import create_index

        if self._index is not None or not first:
            return self._index
        if self.config.attributes is None:
            found = infer_attributes(first)
            self.config = self.config.model_copy(update={"attributes": found})
            self.config.save(self.folder)
        self._index = create_index(
            self.folder / INDEX_FOLDER,
            kind=self.config.kind,
            identity=self.config.made_by.identity,
            views=VIEWS,
            schema=payload_schema(self.config.attributes or {}),
        )
        return self._index

    def delete(self, which: Sequence[str] | Where, *, version: int | None = None) -> Change:
        """Take products out by id, or all that fit a condition, as one version.

        Args:
            version: refuse with ``ConfigError`` if the catalogue is at another one by now.
        """
        from ....core.index.conditions import Where as Condition

        with self._writing(version):
            if isinstance(which, Condition):
                where = self._where(which)
                ids = [name for rows in self.index.scan(columns=[], where=where) for name in rows.ids]
            elif isinstance(which, str):
                raise InputError(f"delete takes a list of ids or a condition, got the text {which!r:.60}.")
            else:
                ids = list(which)
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
        negative: str | None = None,
        k: int = 10,
        where: Where | str | None = None,
        view: View | None = None,
        compose: ComposeSettings | None = None,
        hide_duplicates: bool = False,
        ef: int | None = None,
    ) -> list[Found]:
        """Return the k products nearest to a question, best first, fewer where fewer fit.

        Args:
            image: path, bytes, picture or sample of what is looked for.
            text: words; beside ``image`` or ``like`` the change that is wanted: "in white".
            like: id of a product, which is no answer itself.
            negative: words for what is not wanted; experimental.
            k: at least 1.
            where: only products that fit, e.g. ``(F("price") < 50) & (F("color") == "red")`` or the same as
                text. Attributes go by their names.
            view: what the question is compared with: "product" (None; picture and words together), "image",
                "text", or "best", the nearest of the three.
            compose: how picture and words become one question; None takes what was fitted for this
                catalogue, else the defaults.
            hide_duplicates: leave out products that a merge marked.
            ef: see :meth:`verticlip.core.index.base.VectorIndex.search`.

        Raises:
            InputError: nothing is asked, k below 1, an unknown product or field, a picture that cannot be
                read.
            ConfigError: an unknown view, or the model is needed and was not given.
        """
        if self._index is None and not self._closed and k >= 1:
            return []
        asked = Question(image, text, like, negative, compose or load_settings(self.folder))
        chosen = view or DEFAULT_VIEW
        query = query_vector(asked, self.index, self._encoder, chosen)
        condition = self._where(where, hide_duplicates=hide_duplicates)
        narrow = Narrow(chosen, condition, () if like is None else (like,), ef)
        return find(self.index, query, k, further=self._further, narrow=narrow)

    def stats(self) -> CatalogStats:
        """Return what the catalogue holds."""
        return stats_of(self._index, self.config, further=len(self._further))

    def optimize(self, progress: Callable[[str, float], None] | None = None) -> IndexStats:
        """Compact the index and build what makes search fast; searches go on meanwhile."""
        with self._writing():
            if self._further.index is not None:
                self._further.index.optimize(progress)
            return self.index.optimize(progress)

    def export(
        self,
        to: str | Path | VectorIndex,
        *,
        vectors: bool = False,
        where: Where | str | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> int:
        """Copy products to a file (.parquet, .jsonl, .csv) or to another index, and return how many.

        Args:
            vectors: into a file, write the vectors too; another index always gets them.
            where: only products that fit.
            progress: called with (products done, products in all).
        """
        from .export import export_file, export_index

        condition = self._where(where)
        if isinstance(to, (str, Path)):
            return export_file(self.index, Path(to), vectors=vectors, where=condition, progress=progress)
        return export_index(self.index, to, where=condition, progress=progress)

    def image_of(self, identifier: str) -> PILImage.Image:
        """Return the picture of a product, upright and in RGB.

        Raises:
            InputError: no such product, no picture, or one that is no longer there.
        """
        from .pictures import picture_of

        return picture_of(self.index, identifier)

    def _further_pictures(self) -> FurtherPictures:
        config = self.config
        return FurtherPictures(self.folder, config.made_by.identity, config.kind, read_only=self._read_only)

    def _where(self, where: Where | str | None, *, hide_duplicates: bool = False) -> Where | None:
        return resolved(where, self.index.schema, hide_duplicates=hide_duplicates)

    @contextlib.contextmanager
    def _writing(self, version: int | None = None) -> Iterator[None]:
        """Keep other writers out, and see what the last one wrote; refuse unless it is ``version``."""
        if self._read_only:
            raise ConfigError(f"{self.folder}: the catalogue was opened to be read only.")
        with only_writer(self.folder):
            self.config = CatalogConfig.load(self.folder)
            self.refresh()
            if version not in (None, self.version):
                raise ConfigError(
                    f"{self.folder}: the catalogue has changed from version {version} to {self.version} "
                    "since. Look again, then decide."
                )
            yield


def _fetcher(allow_remote: bool | RemotePolicy) -> Callable[[str], bytes] | None:
    """Return what fetches a picture from its address, or None where nothing is fetched."""
    if allow_remote is False:
        return None
    from ..products.remote import RemotePolicy, fetch_image

    policy = RemotePolicy() if allow_remote is True else allow_remote
    return lambda url: fetch_image(url, policy)
