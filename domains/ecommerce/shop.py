"""A made-up shop of drawn garments: for the worked example and for trying things out without a catalogue.

Its table is as untidy as real ones: semicolons, decimal commas, columns under names of their own, breaks and
markup inside of cells, rows that cannot be used. Its pictures are drawn, none is a photo. It shows how the
tools work and is no evidence of how well a model does.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...core.errors import InputError
from ...core.files import atomic_path, write_text_atomic

if TYPE_CHECKING:
    from PIL import Image as PILImage

    Points = list[tuple[float, float]]

COLORS = {
    "red": (178, 34, 40), "blue": (38, 70, 160), "green": (44, 120, 66), "black": (28, 28, 32),
    "white": (240, 240, 236), "yellow": (226, 188, 46), "pink": (228, 136, 166), "gray": (128, 130, 134),
}  # fmt: skip
"""{color: red, green and blue from 0 to 255}."""
KINDS = {"dress": "Dresses", "t-shirt": "T-shirts", "pants": "Pants", "skirt": "Skirts", "shorts": "Shorts"}
"""{kind: last part of its category}."""
_OUTLINES: dict[str, tuple[Points, ...]] = {
    "dress": (
        [(.38, .1), (.44, .1), (.5, .17), (.56, .1), (.62, .1), (.6, .42), (.78, .92), (.22, .92), (.4, .42)],
    ),
    "t-shirt": (
        [(.36, .16), (.44, .16), (.5, .21), (.56, .16), (.64, .16), (.9, .36), (.8, .48), (.69, .4),
         (.69, .86), (.31, .86), (.31, .4), (.2, .48), (.1, .36)],
    ),
    "pants": ([(.33, .08), (.67, .08), (.73, .95), (.57, .95), (.5, .36), (.43, .95), (.27, .95)],),
    "skirt": ([(.36, .17), (.64, .17), (.64, .22), (.82, .82), (.18, .82), (.36, .22)],),
    "shorts": ([(.3, .25), (.7, .25), (.79, .72), (.54, .74), (.5, .5), (.46, .74), (.21, .72)],),
}  # fmt: skip
"""{kind: polygons in shares of the picture's sides}."""
_PATTERNS = ("plain", "plain", "striped")
_BRANDS = ("Alder", "Brook", "Cedar")
_COLUMNS = (
    "Article No",
    "Product Name",
    "Category",
    "Marke",
    "Colour",
    "Price",
    "Pattern",
    "Details",
    "Photo",
)
_SIDE, _DRAWN = 192, 2
_LEAST = 10


@dataclass(frozen=True)
class Shop:
    """Where the files of a made-up shop lie.

    Attributes:
        table: CSV with one row per product, some of which cannot be used.
        photos: folder that its pictures are in.
        queries: JSON lines for ``verticlip catalog eval`` and ``tune``.
        clicks: CSV of what shoppers clicked after which words.
        copies: {id of the second supplier's listing: id of the same product}.
    """

    table: Path
    photos: Path
    queries: Path
    clicks: Path
    copies: dict[str, str]


@dataclass(frozen=True)
class _Garment:
    name: str
    kind: str
    color: str
    pattern: str
    brand: str
    price: float

    @property
    def title(self) -> str:
        pattern = "" if self.pattern == "plain" else f"{self.pattern} "
        return f"{self.color} {pattern}{self.kind}"

    def row(self, photo: str) -> list[str]:
        """Return the cells of the table."""
        details = f"<p>{self.title.capitalize()};\nmachine wash</p>"
        category = f"Clothing > {KINDS[self.kind]}"
        price = f"{self.price:.2f}".replace(".", ",")
        title = f"{self.brand} {self.title} FREE SHIPPING"
        return [self.name, title, category, self.brand, self.color, price, self.pattern, details, photo]


def write_shop(folder: str | Path, *, products: int = 40, seed: int = 0) -> Shop:
    """Write a made-up shop into ``folder``, and return where.

    A tenth of the products, and at least two, are listed by a second supplier again, under another id, price
    and wording and with a copy of the picture that was saved anew.

    Args:
        folder: made when missing. products: at least 10.
        seed: equal seeds give equal shops.

    Raises:
        InputError: fewer products.
    """
    if products < _LEAST:
        raise InputError(f"A shop has at least {_LEAST} products, got {products}.")
    folder = Path(folder)
    photos = folder / "photos"
    photos.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    garments = _garments(products, rng)
    rows, copies = [], {}
    for place, garment in enumerate(garments):
        picture = _drawn(garment, rng)
        _save(picture, photos / f"{garment.name}.jpg", quality=92)
        rows.append(garment.row(f"{garment.name}.jpg"))
        if place % 10 in (3, 7) and len(copies) < max(2, products // 10):
            name = f"N-{place:03d}"
            copies[name] = garment.name
            _save(_saved_anew(picture), photos / f"{name}.jpg", quality=70)
            rows.append(_copy_of(garment, name))
    rows += _unusable(rows)
    shop = Shop(folder / "items.csv", photos, folder / "queries.jsonl", folder / "clicks.csv", copies)
    # Windows-1252 and semicolons, as spreadsheets write them.
    _write_table(shop.table, rows)
    write_text_atomic(shop.queries, _queries(garments, copies))
    write_text_atomic(shop.clicks, _clicks(garments, copies, rng))
    return shop


def _garments(count: int, rng: np.random.Generator) -> list[_Garment]:
    kinds, colors = list(KINDS), list(COLORS)
    made = []
    for place in range(count):
        kind, color = kinds[place % len(kinds)], colors[(place // len(kinds)) % len(colors)]
        pattern, brand = str(rng.choice(_PATTERNS)), str(rng.choice(_BRANDS))
        price = float(rng.integers(9, 90)) + 0.9
        made.append(_Garment(f"{kind[0].upper()}-{place:03d}", kind, color, pattern, brand, price))
    return made


def _drawn(garment: _Garment, rng: np.random.Generator) -> PILImage.Image:
    """Return a picture of a garment on a floor, 192 pixels a side, none like another."""
    from PIL import Image, ImageDraw

    side = _SIDE * _DRAWN
    center, turned = 0.5 + rng.uniform(-0.05, 0.05, 2), np.deg2rad(rng.uniform(-12, 12))
    stretched = rng.uniform(0.82, 1.0, 2)
    turn = np.array([[np.cos(turned), -np.sin(turned)], [np.sin(turned), np.cos(turned)]])
    mask = Image.new("L", (side, side), 0)
    for outline in _OUTLINES[garment.kind]:
        points = ((np.array(outline) - 0.5) * stretched) @ turn.T + center
        ImageDraw.Draw(mask).polygon([(x * side, y * side) for x, y in points.tolist()], fill=255)
    inside = np.asarray(mask, np.float32)[..., None] / 255
    rows, columns = np.mgrid[:side, :side] / side
    cloth = np.broadcast_to(np.array(COLORS[garment.color], np.float32), (side, side, 3)).copy()
    if garment.pattern == "striped":
        other = 245.0 if cloth.mean() < 150 else 40.0
        cloth[((rows + 0.2 * columns) * rng.uniform(11, 15)) % 1 < 0.35] = other
    folds = 14 * np.sin(columns * rng.uniform(20, 40) + rows * rng.uniform(-8, 8) + rng.uniform(0, 6))
    floor = np.array([196, 180, 162]) + rng.uniform(-30, 25) + rng.uniform(-8, 8, 3) - 30 * rows[..., None]
    floor = floor - 18 * ((columns * 6 + rng.uniform(0, 1)) % 1 < 0.02)[..., None]
    picture = inside * (cloth + folds[..., None]) + (1 - inside) * floor
    picture = picture + rng.normal(0, 5, picture.shape)
    whole = Image.fromarray(picture.clip(0, 255).astype(np.uint8))
    return whole.resize((_SIDE, _SIDE), Image.Resampling.LANCZOS)


def _saved_anew(picture: PILImage.Image) -> PILImage.Image:
    """Return a picture as another supplier has it: smaller and a little brighter."""
    from PIL import Image, ImageEnhance

    smaller = picture.resize((_SIDE * 4 // 5, _SIDE * 4 // 5), Image.Resampling.BILINEAR)
    return ImageEnhance.Brightness(smaller).enhance(1.04)


def _copy_of(garment: _Garment, name: str) -> list[str]:
    """Return the other supplier's row, which says less and in other words."""
    words = f"NEW 2024! {garment.kind}, {garment.color}, {garment.pattern}"
    category = f"Clothing > {KINDS[garment.kind]}"
    return [
        name,
        words,
        category,
        "",
        garment.color,
        f"{garment.price + 2:.2f}".replace(".", ","),
        "",
        "",
        f"{name}.jpg",
    ]


def _unusable(rows: list[list[str]]) -> list[list[str]]:
    """Return rows that no catalogue takes, and one whose picture is an address."""

    def like(row: list[str], name: str, photo: str) -> list[str]:
        return [name, *row[1:-1], photo]

    return [
        rows[0],  # a second time
        like(rows[1], "", "x.jpg"),
        like(rows[1], "X-1", "../../secret.jpg"),
        like(rows[2], "X-2", "lost.jpg"),
        like(rows[6], "X-3", "https://pictures.example.com/x-3.jpg"),
    ]


def _write_table(path: Path, rows: list[list[str]]) -> None:
    buffer = io.StringIO()
    writer = csv.writer(buffer, delimiter=";", lineterminator="\r\n")
    writer.writerows([_COLUMNS, *rows])
    with atomic_path(path) as temporary:
        temporary.write_bytes(buffer.getvalue().encode("cp1252"))


def _queries(garments: list[_Garment], copies: dict[str, str]) -> str:
    """Return a query for each kind and color that is there, with the products that are right."""
    import json

    right: dict[str, list[str]] = {}
    for one in garments:
        listings = [one.name, *(copy for copy, name in copies.items() if name == one.name)]
        right.setdefault(f"{one.color} {one.kind}", []).extend(listings)
    return "".join(json.dumps({"text": text, "right": names}) + "\n" for text, names in right.items())


def _clicks(garments: list[_Garment], copies: dict[str, str], rng: np.random.Generator) -> str:
    """Return a log: the two listings of a product clicked after the same words, and others by chance."""
    lines, session = ["session,query,clicked"], 0
    by_name = {one.name: one for one in garments}
    for copy, name in copies.items():
        for _ in range(3):
            session += 1
            lines += [f"s{session},{by_name[name].color} {by_name[name].kind},{one}" for one in (name, copy)]
    for _ in range(10):
        session += 1
        chosen = rng.choice(len(garments), 2, replace=False).tolist()
        lines += [f"s{session},clothes,{garments[one].name}" for one in chosen]
    return "\n".join(lines) + "\n"


def _save(picture: PILImage.Image, path: Path, *, quality: int) -> None:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality)
    if path.is_file() and path.read_bytes() == buffer.getvalue():
        return  # A file that is written again looks changed to whoever took it in before.
    with atomic_path(path) as temporary:
        temporary.write_bytes(buffer.getvalue())
