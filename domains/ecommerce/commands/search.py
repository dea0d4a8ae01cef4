"""``verticlip catalog search``: products that fit words, a picture, both, or another product."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ....core.commandline import Device, Dtype, Json, Revision, open_model
from ....core.console import print_json, print_table, say, shown
from ....core.errors import ConfigError
from ..products.record import leaf_of
from .options import CatalogModel, Folder, WhereText, model_of

if TYPE_CHECKING:
    from PIL import Image as PILImage

    from ..catalog.catalog import Catalog
    from ..catalog.search import Found
    from ..composed.query import ComposeSettings
    from ..pages.results import Asked
    from ..pages.thumbnails import Thumbnail

_COLUMNS = ("title", "category", "brand", "color", "price")
"""Fields in the table where any product found has them."""
_METHODS = {
    "pdv": "the picture moved by what the words change (pdv)",
    "sum": "mean of picture and words (sum)",
    "encoder": "as the two sides of one product (encoder)",
}


def search(
    context: typer.Context,
    catalog: Folder,
    words: Annotated[
        str | None,
        typer.Argument(metavar='"WORDS"', help="What to look for; with a picture, the change: 'in white'."),
    ] = None,
    image: Annotated[
        Path | None, typer.Option(help="Products like this picture.", exists=True, dir_okay=False)
    ] = None,
    like: Annotated[str | None, typer.Option(metavar="ID", help="Products like this one.")] = None,
    without: Annotated[
        str | None, typer.Option(metavar="WORDS", help="Not like this: 'logo'. Experimental.")
    ] = None,
    where: WhereText = None,
    k: Annotated[int, typer.Option("-k", min=1, help="Products, at most.")] = 10,
    view: Annotated[
        Literal["product", "image", "text", "best"],
        typer.Option(help="What is compared: picture and text together, one of them, or the nearest of all."),
    ] = "product",
    method: Annotated[
        Literal["pdv", "sum", "encoder"] | None,
        typer.Option(help="How a picture and words become one query; default: as tuned, else pdv."),
    ] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=NUMBER", help="Setting of the method: beta=0.7. Repeatable."),
    ] = None,
    duplicates: Annotated[
        bool, typer.Option("--duplicates", help="Show products that a merge marked as duplicates, too.")
    ] = False,
    html: Annotated[Path | None, typer.Option(help="Also write a page of pictures.")] = None,
    model: CatalogModel = None,
    revision: Revision = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    as_json: Json = False,
) -> None:
    """Find the products that fit best.

    Ask with words, with --image or --like, or with one of these and words for the change: "in white".
    """
    from ..catalog.catalog import Catalog
    from ..catalog.search import SearchOptions
    from ..pages.results import Asked
    from ..pages.shell import check_page

    if words is None and image is None and like is None:
        raise ConfigError('Say what to look for: words in quotes, such as "red dress", --image or --like.')
    if html is not None:
        check_page(html)
    compose = _compose(catalog, method, setting)
    handle = None
    if words is not None or image is not None or without is not None:
        handle = open_model(context, model or model_of(catalog), revision, device, dtype)
        _tell_unfamiliar(handle, words, without)
    with Catalog.open(catalog, handle, read_only=True) as opened:
        found = opened.search(
            image=image,
            text=words,
            like=like,
            k=k,
            where=where,
            view=view,
            options=SearchOptions(negative=without, compose=compose, hide_duplicates=not duplicates),
        )
        _show(found, as_json=as_json)
        if not found:
            say("no product fits; try other words or a wider --where")
        if html is not None:
            both = words is not None and (image is not None or like is not None)
            asked = Asked(
                text=words or "",
                without=without or "",
                like=like or "",
                picture=_query_picture(opened, image, like),
                where=where or "",
                method=_METHODS[compose.method] if both else "",
                view=view,
            )
            _write_page(html, opened, asked, found)


def _compose(folder: Path, method: str | None, settings: list[str] | None) -> ComposeSettings:
    """Return the settings of the catalogue with what the options change."""
    from ....core.commandline import read_pairs
    from ....core.config import parse_config
    from ..composed.query import ComposeSettings
    from ..composed.stored import load_settings

    given = read_pairs(settings, "--set", example="beta=0.7")
    if "method" in given:
        raise ConfigError("--set method=...: name the method with --method.")
    own = load_settings(folder).model_dump() | ({} if method is None else {"method": method})
    return parse_config(ComposeSettings, {**own, **given}, source="--set")


def _tell_unfamiliar(handle: Any, *texts: str | None) -> None:
    from ....core.vocabulary import unfamiliar_words

    for word in unfamiliar_words(handle, [text for text in texts if text]):
        say(f"note: {handle.id} has never read {shown(word)!r}; a score that hangs on it means little.")


def _show(found: list[Found], *, as_json: bool) -> None:
    if as_json:
        print_json(one.to_dict() for one in found)
        return
    columns = [name for name in _COLUMNS if any(name in one.payload for one in found)]
    rows = [
        (
            str(one.rank),
            f"{one.score:.3f}",
            shown(one.id),
            *(_cell(one, name) for name in columns),
        )
        for one in found
    ]
    if rows:
        print_table(("rank", "score", "id", *columns), rows)


def _cell(one: Found, name: str) -> str:
    value = one.payload.get(name)
    if name == "price" and value is not None:
        return f"{value:.2f} {one.payload.get('currency', '')}".strip()
    if name == "category":
        value = leaf_of(value)
    return "" if value is None else str(value)[: 48 if name == "title" else 24]


def _query_picture(catalog: Catalog, image: Path | None, like: str | None) -> Thumbnail | None:
    """Return what the query looks like, or None where it has no picture."""
    from ..catalog.encode import read_bytes
    from ..catalog.pictures import upright
    from ..pages.thumbnails import thumbnail_or_none

    def load() -> PILImage.Image | None:
        if image is not None:
            return upright(read_bytes(image, image.name))
        return None if like is None else catalog.image_of(like)

    return thumbnail_or_none(load)


def _write_page(path: Path, catalog: Catalog, asked: Asked, found: list[Found]) -> None:
    from ..pages.cards import result_cards
    from ..pages.results import results_page
    from ..pages.shell import write_page

    about = f"{len(catalog):,} products, version {catalog.version}, {catalog.config.model}"
    page = results_page(
        asked, result_cards(catalog, found), catalog=catalog.folder.resolve().name, about=about
    )
    say(f"wrote {write_page(path, page)}")
