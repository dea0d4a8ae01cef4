"""From the cells of a row to a product."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ....core.errors import InputError
from ....core.limits import DEFAULT, Limits
from .fields import FIELDS, FieldMap
from .pictures import ImageRoot, image_ref, image_refs
from .record import Attribute, ImageRef, Product
from .rows import Notes, Row
from .values import (
    MOST_ATTRIBUTES,
    is_missing,
    read_attribute,
    read_attributes,
    read_category,
    read_currency,
    read_flag,
    read_id,
    read_number,
    read_price,
    read_text,
    read_time,
)


def is_ours(column: str) -> bool:
    """Return whether a catalogue adds a column when it is exported: that is no attribute of the product."""
    return column == "duplicate_of" or str(column).startswith("vector_")


class ProductBuilder:
    """Makes products of rows.

    What a product cannot do without, or what would change another one, refuses the row: its id, a title or a
    picture, a path, the deleted flag. A price or time that cannot be read is left empty and noted: the
    product can be found without it.

    Args:
        fields: which column is what.
        root: where the paths of pictures start.
        notes: told of what was left empty or cut.
    """

    def __init__(self, fields: FieldMap, root: ImageRoot, notes: Notes, *, limits: Limits = DEFAULT) -> None:
        self._fields, self._root, self._notes, self._limits = fields, root, notes, limits
        self._columns = {name: fields.columns_of(name) for name in FIELDS}
        self._taken = {column for columns in self._columns.values() for column in columns}

    def id_of(self, row: Row) -> str | None:
        """Return the id of a row for messages, or None where it has none."""
        try:
            return read_id(self._cell(row, "id"))[0]
        except InputError:
            return None

    def build(self, row: Row) -> Product:
        """Return the product of a row.

        Raises:
            InputError: it is none; the message says why.
        """
        identifier, changed = read_id(self._cell(row, "id"))
        if changed:
            self._notes.count(changed, row.number)
        deleted = read_flag(self._cell(row, "deleted"))
        if deleted:
            return Product(identifier, deleted=True, row=row.number)
        title, image_and_more = self._text(row, "title"), self._images(row)
        if title is None and image_and_more[0] is None:
            raise InputError("neither a title nor an image. A product needs one of them.")
        price, currency = self._price(row)
        return Product(
            identifier,
            title=title,
            description=self._text(row, "description"),
            category=self._text(row, "category"),
            brand=self._text(row, "brand"),
            color=self._text(row, "color"),
            material=self._text(row, "material"),
            gender=self._text(row, "gender"),
            supplier=self._text(row, "supplier"),
            price=price,
            currency=currency,
            image=image_and_more[0],
            images=image_and_more[1],
            attributes=self._attributes(row),
            updated_at=self._time(row),
            row=row.number,
        )

    def finish(self, product: Product) -> Product:
        """Return a product that a program made, checked like a row.

        Raises:
            InputError: it has no id, or neither title nor image.
        """
        identifier, _ = read_id(product.id)
        if not product.deleted and is_missing(product.title) and product.image is None:
            raise InputError("neither a title nor an image. A product needs one of them.")
        return replace(product, id=identifier)

    def _cell(self, row: Row, field: Any) -> Any:
        columns = self._columns[field]
        return row.cells.get(columns[0]) if columns else None

    def _text(self, row: Row, field: Any) -> str | None:
        value, columns = self._cell(row, field), self._columns[field]
        if len(columns) > 1:
            value = [row.cells.get(column) for column in columns]
        try:
            text = read_category(value) if field == "category" else read_text(value)
        except InputError as error:
            raise InputError(f"{field}: {error}.") from None
        if text is None:
            return None
        if "\0" in text:
            self._notes.count("zero signs inside texts were left out", row.number, field)
            text = text.replace("\0", "")
        longest = self._limits.text_chars
        if len(text) > longest:
            self._notes.count(
                f"{field} cut to {longest:,} characters", row.number, f"{len(text):,} characters"
            )
            text = text[:longest].rstrip()
        return text or None

    def _price(self, row: Row) -> tuple[float | None, str | None]:
        value = self._cell(row, "price")
        currency = None
        try:
            currency = read_currency(self._cell(row, "currency"))
        except InputError as error:
            self._notes.count("currencies that could not be read were left empty", row.number, str(error))
        if is_missing(value):
            return None, currency
        try:
            price, written = read_price(value, self._fields.decimal)
        except (InputError, OverflowError) as error:
            self._notes.count("prices that could not be read were left empty", row.number, str(error)[:120])
            return None, currency
        return price, currency or written

    def _images(self, row: Row) -> tuple[ImageRef | None, tuple[ImageRef, ...]]:
        first = self._cell(row, "image")
        further = [*image_refs(first, self._root)] if _holds_several(first) else []
        image = None if further else image_ref(first, self._root)
        for column in self._columns["images"]:
            further += image_refs(row.cells.get(column), self._root)
        if image is None and further:
            image = further.pop(0)
        known = {image.given} if image is not None and image.given else set()
        kept = []
        for ref in further:
            if ref.given and ref.given in known:
                continue
            known.add(ref.given)
            kept.append(ref)
        return image, tuple(kept)

    def _time(self, row: Row) -> Any:
        value = self._cell(row, "updated_at")
        if is_missing(value):
            return None
        try:
            return read_time(value)
        except InputError as error:
            self._notes.count("times that could not be read were left empty", row.number, str(error))
            return None

    def _attributes(self, row: Row) -> dict[str, Attribute]:
        found: dict[str, Attribute] = {}
        if self._fields.others == "attributes":
            found.update(self._others(row.cells))
        try:
            found.update(read_attributes(self._cell(row, "attributes")))
        except InputError as error:
            self._notes.count("attributes that could not be read were left out", row.number, str(error))
        if len(found) > MOST_ATTRIBUTES:
            self._notes.count(
                f"attributes over {MOST_ATTRIBUTES} were left out", row.number, f"{len(found)} of them"
            )
            found = dict(list(found.items())[:MOST_ATTRIBUTES])
        for name in self._fields.numbers:
            if name in found:
                try:
                    found[name] = read_number(found[name], self._fields.decimal)
                except InputError as error:
                    self._notes.count(
                        f"{name}: numbers that could not be read were left out", row.number, str(error)
                    )
                    del found[name]
        return found

    def _others(self, cells: Mapping[str, Any]) -> dict[str, Attribute]:
        found: dict[str, Attribute] = {}
        for column, value in cells.items():
            if not column or column in self._taken or is_ours(column):
                continue
            if isinstance(value, Mapping):
                try:
                    inner = read_attributes({column: value})
                except InputError:
                    continue
                found.update(inner)
            elif (kept := read_attribute(value)) is not None:
                found[str(column)[:100]] = kept
        return found


def _holds_several(value: Any) -> bool:
    """Return whether the cell of the primary picture names several."""
    if isinstance(value, str):
        return "|" in value or value.lstrip().startswith("[")
    return isinstance(value, (list, tuple))
