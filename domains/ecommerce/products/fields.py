"""Which column of a table is which field of a product, as given or guessed from common names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import field_validator, model_validator

from ....core.config import parse_config, read_config
from ....core.config_base import Config
from ....core.errors import DataError, nearest
from ....core.limits import DEFAULT, Limits

FieldName = Literal[
    "id",
    "title",
    "description",
    "category",
    "brand",
    "color",
    "material",
    "gender",
    "price",
    "currency",
    "supplier",
    "image",
    "images",
    "attributes",
    "updated_at",
    "deleted",
]
"""Fields that a column may hold."""

FIELDS: tuple[FieldName, ...] = get_args(FieldName)

KNOWN_NAMES: Mapping[FieldName, str] = {
    "id": (
        "id sku productid itemid articleid articlenumber articleno productcode itemnumber itemno variantsku "
        "asin gtin ean upc uid uuid partnumber artikelnummer artikelnr referencia reference"
    ),
    "title": (
        "title name producttitle productname itemname itemtitle displayname productdisplayname heading "
        "titel bezeichnung produktname titre nom titulo nombre titolo nome"
    ),
    "description": (
        "description desc productdescription longdescription shortdescription body bodyhtml details "
        "beschreibung descripcion descrizione"
    ),
    "category": (
        "category categories categorypath producttype productcategory googleproductcategory catename "
        "leafcategory articletype subcategory class kategorie categorie categoria"
    ),
    "brand": "brand brandname manufacturer vendor make marke marque marca hersteller",
    "color": "color colour colorname colourname basecolor basecolour farbe couleur colore",
    "material": "material materials fabric composition fabriccomposition matiere",
    "gender": "gender sex targetgender geschlecht genre genero",
    "price": "price saleprice unitprice listprice currentprice amount preis prix precio prezzo",
    "currency": "currency currencycode pricecurrency waehrung devise moneda valuta",
    "supplier": "supplier suppliername seller sellername merchant store shop lieferant",
    "image": (
        "image img imagepath imageurl imagelink imagesrc imgpath imgurl imgsrc imagefile imagefilename "
        "filename filepath file path picture pictureurl photo photourl mainimage primaryimage imagelocal "
        "bild bildurl imagen immagine"
    ),
    "images": (
        "images imageurls imagelinks imagepaths additionalimages additionalimagelink additionalimagelinks "
        "moreimages otherimages gallery pictures photos bilder"
    ),
    "attributes": "attributes attrs properties specs specifications features",
    "updated_at": "updatedat updated updatedon lastmodified modified modifiedat modifiedon lastupdate",
    # Rows it marks are taken out of the catalogue: no name that could mean something else.
    "deleted": "deleted isdeleted",
}
"""{field: column names it is guessed from}, best first, in lower case without spaces or signs."""

_NUMBERED: Mapping[FieldName, str] = {
    "category": "category categorylevel level",
    "images": KNOWN_NAMES["image"],
}
"""Fields that may be spread over numbered columns, and what these are called: ``category1``, ``image_2``."""


class FieldMap(Config):
    """Columns that the fields of a product are read from.

    A field that is not said (None) is guessed from common names, unless ``guess`` is off; one that is empty
    is not read. The file of ``--fields`` holds the same words::

        id: article_no
        title: name_en
        images: [picture_2, picture_3]
        deleted: ""
        decimal: ","

    Example:
        >>> FieldMap(id="sku").complete(["sku", "Product Name", "img", "season"]).describe()
        'id = sku, title = Product Name (guessed), image = img (guessed)'
    """

    id: str | None = None
    title: str | None = None
    description: str | None = None
    category: str | tuple[str, ...] | None = None
    """One column with a path such as ``Clothing > Dresses``, or one column per level from the top."""
    brand: str | None = None
    color: str | None = None
    material: str | None = None
    gender: str | None = None
    price: str | None = None
    currency: str | None = None
    supplier: str | None = None
    image: str | None = None
    images: str | tuple[str, ...] | None = None
    """Further pictures: one column that holds several, or several columns."""
    attributes: str | None = None
    """Column that holds an object of names and values."""
    updated_at: str | None = None
    deleted: str | None = None
    guess: bool = True
    """Whether fields that are not said are guessed."""
    others: Literal["attributes", "ignore"] = "attributes"
    """What becomes of columns that are no field."""
    numbers: tuple[str, ...] = ()
    """Attributes that are read as numbers where a table holds text, so that they can be filtered by size."""
    decimal: Literal["auto", ".", ","] = "auto"
    """What separates decimals of prices and numbers."""
    guessed: tuple[FieldName, ...] = ()
    """Fields that :meth:`complete` found by name."""

    @field_validator(*(name for name in FIELDS if name not in ("category", "images")), mode="before")
    @classmethod
    def _is_a_name(cls, value: Any) -> Any:
        return value.strip() if isinstance(value, str) else value

    @model_validator(mode="after")
    def _uses_a_column_once(self) -> FieldMap:
        taken: dict[str, str] = {}
        for field in FIELDS:
            for column in self.columns_of(field):
                if column in taken:
                    raise ValueError(f"column {column!r} is said for {taken[column]!r} and for {field!r}")
                taken[column] = field
        return self

    @classmethod
    def from_columns(cls, columns: Iterable[str]) -> FieldMap:
        """Return the map guessed from the names of columns; see :attr:`guessed` and :meth:`describe`."""
        return cls().complete(columns)

    @classmethod
    def parse(cls, values: Mapping[str, Any], *, what: str = "fields") -> FieldMap:
        """Return the map of plain values.

        Raises:
            ConfigError: an unknown field, or a value of another kind.
        """
        return parse_config(cls, values, source=what)

    @classmethod
    def load(cls, path: str | Path, *, limits: Limits = DEFAULT) -> FieldMap:
        """Return the map in a YAML or JSON file.

        Raises:
            ConfigError: no such file, damaged, or not a map of fields.
        """
        return read_config(cls, path, limits=limits)

    def columns_of(self, field: FieldName) -> tuple[str, ...]:
        """Return the columns a field is read from; none where it is not."""
        value = getattr(self, field)
        columns = value if isinstance(value, tuple) else (value,)
        return tuple(column for column in columns if column)

    def complete(self, columns: Iterable[str]) -> FieldMap:
        """Return the map with the fields filled in that can be guessed from ``columns``."""
        if not self.guess:
            return self
        present = list(dict.fromkeys(columns))
        taken = {column for field in FIELDS for column in self.columns_of(field)}
        free = [column for column in present if column not in taken]
        found: dict[str, Any] = {}
        for field in FIELDS:
            if getattr(self, field) is not None:
                continue
            column = _first_known(field, free)
            if column is not None:
                found[field] = column
                free.remove(column)
        for field in _NUMBERED:
            numbered = tuple(column for column in free if _is_numbered(column, field))
            if numbered and getattr(self, field) is None and field not in found:
                found[field] = numbered
        if not found:
            return self
        names = tuple(field for field in FIELDS if field in found or field in self.guessed)
        return self.model_copy(update={**found, "guessed": names})

    def check(self, columns: Sequence[str], *, where: str, all_seen: bool = True) -> None:
        """Raise ``DataError`` where a column that was named is not there, or none holds the ids.

        Args:
            columns: that the table has.
            where: what messages call the table.
            all_seen: whether rows to come can have no further columns.
        """
        known = ", ".join(columns[:30]) + (" ..." if len(columns) > 30 else "")
        for field in FIELDS:
            for column in self.columns_of(field):
                near = nearest(column, columns)
                if column not in columns and (all_seen or near):
                    raise DataError(
                        f"{where}: no column {column!r} (for {field}).{near} Columns: {known or 'none'}."
                    )
        if not self.columns_of("id"):
            example = columns[0] if columns else "COLUMN"
            raise DataError(
                f"{where}: no column is known to hold ids. Columns: {known or 'none'}. "
                f"Say which it is: fields={{'id': {example!r}}}, or --field id={example} on the command line."
            )

    def describe(self) -> str:
        """Return what is read from where, on one line; a column called like its field is no guess."""
        said: list[str] = []
        for field in FIELDS:
            columns = self.columns_of(field)
            if columns:
                sure = field not in self.guessed or columns == (field,)
                said.append(f"{field} = {' + '.join(columns)}{'' if sure else ' (guessed)'}")
        return ", ".join(said)


def plain_name(column: str) -> str:
    """Return a column's name as names are compared: ``Image_URL`` becomes ``imageurl``."""
    return "".join(letter for letter in column.casefold() if letter.isalnum())


def _first_known(field: FieldName, columns: Sequence[str]) -> str | None:
    names = {}
    for column in columns:
        names.setdefault(plain_name(column), column)
    return next((names[name] for name in KNOWN_NAMES[field].split() if name in names), None)


def _is_numbered(column: str, field: FieldName) -> bool:
    name = plain_name(column)
    stem = name.rstrip("0123456789")
    return stem != name and stem in _NUMBERED[field].split()
