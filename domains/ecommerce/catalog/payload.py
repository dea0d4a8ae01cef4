"""What a row of the index keeps of a product: columns to filter by and to show, and what a re-run compares.

A column ``attr:<name>`` holds one attribute; which ones have a column, and of which type, is settled when
the first rows come in. Attributes that come later, or whose value is of another type, are kept as JSON in
``more``, so that nothing is lost; a run may be asked to give those it brings a column.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from ....core.errors import ConfigError, InputError
from ....core.index.columns import to_moment
from ..products.record import TEXT_FIELDS

if TYPE_CHECKING:
    import pyarrow

    from ..products.record import Product

AttributeType = Literal["string", "number", "bool"]

PREFIX = "attr:"
"""What the column of an attribute starts with."""
_ESCAPES = {"%": "%25", ".": "%2E", "`": "%60"}
"""Signs that not every table has in the name of a column."""
MAX_ATTRIBUTES = 64
"""Attributes that get a column of their own where the user names none."""

TEXT_COLUMNS = (*TEXT_FIELDS, "currency")
"""Fields of a product that are text."""

BOOKKEEPING = ("row_hash", "image_sha256", "image_state", "further_state")
"""Columns that only a later run of the same source reads."""


def attribute_column(name: str) -> str:
    """Return the column of an attribute, whether or not there is one."""
    return PREFIX + "".join(_ESCAPES.get(sign, sign) for sign in name)


def attribute_name(column: str) -> str:
    """Return the attribute that a column holds; a field of a product is itself."""
    if not column.startswith(PREFIX):
        return column
    name = column.removeprefix(PREFIX)
    for sign in reversed(_ESCAPES):
        name = name.replace(_ESCAPES[sign], sign)
    return name


def payload_schema(attributes: Mapping[str, AttributeType]) -> pyarrow.Schema:
    """Return the columns of the index.

    Args:
        attributes: {name: type} of those with a column of their own.

    Raises:
        ConfigError: an attribute without a name.
    """
    import pyarrow as pa

    if any(not name.strip() for name in attributes):
        raise ConfigError("An attribute has an empty name. Name it or leave it out.")
    types = {"string": pa.string(), "number": pa.float64(), "bool": pa.bool_()}
    columns = [
        *((name, pa.string()) for name in TEXT_COLUMNS),
        ("price", pa.float64()),
        ("image", pa.string()),
        ("images", pa.list_(pa.string())),
        ("image_path", pa.string()),
        ("updated_at", pa.timestamp("us", tz="UTC")),
        ("text", pa.string()),
        ("duplicate_of", pa.string()),
        *((attribute_column(name), types[kind]) for name, kind in attributes.items()),
        ("more", pa.string()),
        *((name, pa.string()) for name in BOOKKEEPING),
    ]
    return pa.schema(columns)


def infer_attributes(products: Iterable[Product], *, known: Collection[str] = ()) -> dict[str, AttributeType]:
    """Return {attribute: type} of the most frequent ones beside those ``known``, by name.

    All together are at most :data:`MAX_ATTRIBUTES`. An attribute is a number or a truth value where all its
    values are, and text otherwise.
    """
    counts: Counter[str] = Counter()
    kinds: dict[str, set[str]] = {}
    for product in products:
        for name, value in product.attributes.items():
            if not name.strip() or value is None or name in known:
                continue
            counts[name] += 1
            kinds.setdefault(name, set()).add(_kind_of(value))
    ranked = sorted(counts, key=lambda name: (-counts[name], name))[: max(0, MAX_ATTRIBUTES - len(known))]
    found: dict[str, AttributeType] = {}
    for name in sorted(ranked):
        only = kinds[name]
        found[name] = "bool" if only == {"bool"} else "number" if only == {"number"} else "string"
    return found


def _kind_of(value: object) -> str:
    if isinstance(value, bool):
        return "bool"
    return "number" if isinstance(value, (int, float)) else "string"


def row_hash(product: Product, attributes: Mapping[str, AttributeType]) -> str:
    """Return 32 hex digits that change with what the index keeps of a product.

    That is any field, where its pictures are, and which of its attributes have a column.
    """
    pictures = [product.image, *product.images]
    fields: list[Any] = [getattr(product, name) for name in (*TEXT_COLUMNS, "price", "updated_at")]
    fields.append([one and (one.given, str(one.path), one.url, _digest(one.data)) for one in pictures])
    fields.append(sorted((name, value, attributes.get(name)) for name, value in product.attributes.items()))
    content = json.dumps(fields, ensure_ascii=True, default=str, separators=(",", ":"))
    return hashlib.sha256(content.encode()).hexdigest()[:32]


def _digest(data: bytes | None) -> str | None:
    return None if data is None else hashlib.sha256(data).hexdigest()


def _attribute_cells(
    product: Product, attributes: Mapping[str, AttributeType]
) -> tuple[dict[str, Any], str | None]:
    """Return {column: value} of the attributes with a column, and the others as JSON or None."""
    cells: dict[str, Any] = {}
    more: dict[str, Any] = {}
    for name, value in product.attributes.items():
        if value is None:
            continue
        kind, column = attributes.get(name), attribute_column(name)
        if kind == "string":
            cells[column] = value if isinstance(value, str) else json.dumps(value)
        elif kind is not None and _kind_of(value) == kind:
            cells[column] = float(value) if kind == "number" else value
        else:
            more[name] = value
    return cells, json.dumps(more, ensure_ascii=False, sort_keys=True, default=str) if more else None


def cells_of(product: Product, attributes: Mapping[str, AttributeType]) -> dict[str, Any]:
    """Return {column: value} of what a product itself says.

    Raises:
        InputError: a text that is not Unicode, which no table can hold.
    """
    cells: dict[str, Any] = {name: getattr(product, name) for name in TEXT_COLUMNS}
    own, more = _attribute_cells(product, attributes)
    image = product.image
    cells |= {
        **own,
        "more": more,
        "price": product.price,
        "updated_at": None if product.updated_at is None else to_moment(product.updated_at),
        "image": image.given if image and image.given else None,
        "image_path": str(image.path) if image and image.path else None,
        "images": [one.given for one in product.images],
    }
    for name, value in cells.items():
        for text in value if isinstance(value, list) else [value]:
            if isinstance(text, str) and not _is_unicode(text):
                raise InputError(f"{name} is not Unicode text: {text!r:.60}. Save the source as UTF-8.")
    return cells


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def table_of(rows: Sequence[Mapping[str, Any]], schema: pyarrow.Schema) -> pyarrow.Table:
    """Return rows as a table; a column that a row lacks is null there."""
    import pyarrow as pa

    columns = [pa.array([row.get(field.name) for row in rows], field.type) for field in schema]
    return pa.Table.from_arrays(columns, schema=schema)


def shown(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a person sees of a row: fields and attributes that have a value, without bookkeeping.

    Attributes stand under their own names in ``attributes``.
    """
    fields: dict[str, Any] = {}
    attributes: dict[str, Any] = {}
    for name, value in row.items():
        if name in (*BOOKKEEPING, "image_path", "text") or value is None or value == []:
            continue
        if isinstance(value, float) and math.isnan(value):
            continue
        if name.startswith(PREFIX):
            is_whole = isinstance(value, float) and value.is_integer() and abs(value) < 2**53
            attributes[attribute_name(name)] = int(value) if is_whole else value
        elif name == "more":
            attributes |= json.loads(str(value))
        else:
            fields[name] = value
    if attributes:
        fields["attributes"] = dict(sorted(attributes.items()))
    return fields
