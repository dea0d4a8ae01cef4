"""The whole way once: a messy table with pictures in, pages of products found and of duplicates out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ....core.files import write_json_atomic
from ..catalog.catalog import Catalog
from ..products.text import TextTemplate
from ..shop import Shop, write_shop

if TYPE_CHECKING:
    from ....core.handle import ModelHandle
    from ..duplicates.report import DuplicateReport

_WORDS, _CHANGE = "red striped dress", "in blue"


@dataclass(frozen=True)
class ExampleReport:
    """What the example made.

    Attributes:
        folder: where everything is.
        files: {what it is: name below ``folder``}, in the order they are made.
        products: in the catalogue. rejected: rows of the table that are no usable product.
        best: {question: id of the product that fits best}.
        hit_recall_at_5: share of the labelled queries with a right product among the first five.
        duplicates: products that the dedupe step would mark. copies: listings that are there twice by design.
    """

    folder: Path
    files: dict[str, str]
    products: int
    rejected: int
    best: dict[str, str]
    hit_recall_at_5: float
    duplicates: int
    copies: int

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {name: value for name, value in vars(self).items() if name != "folder"}


def run_example(
    model: ModelHandle,
    out: str | Path,
    *,
    products: int = 40,
    tell: Callable[[str], None] = lambda text: None,
) -> ExampleReport:
    """Take a made-up shop into a catalogue, search it in three ways, find its duplicates.

    Args:
        model: with an image and a text tower.
        out: folder for everything; made when missing. Started again, it continues with what is there.
        products: of the shop, beside those listed twice.
        tell: called with a line about each step.

    Raises:
        ConfigError: ``out`` holds a catalogue of another model.
        InputError: fewer than 10 products.
    """
    from ..duplicates.grouping import find_duplicates
    from ..duplicates.settings import DuplicateSettings
    from ..evaluation.own import evaluate_queries
    from ..evaluation.queries import read_queries

    out = Path(out)
    shop = write_shop(out / "shop", products=products)
    files = {"table": "shop/items.csv", "pictures": "shop/photos", "catalogue": "catalog"}
    with _catalog(out / "catalog", model) as catalog:
        taken = catalog.ingest(shop.table, image_root=shop.photos, max_reject_rate=0.2)
        for note in taken.notes:
            tell(f"note: {note}")
        tell(
            f"{taken.added:,} of {taken.read:,} rows taken in, {taken.unchanged:,} unchanged; "
            f"{taken.rejected:,} rejected, {taken.without_picture:,} without their picture"
        )
        files |= {"rejected rows": "catalog/rejects.jsonl"}
        best = {}
        for place, (question, query) in enumerate(_questions(shop).items(), start=1):
            name = f"search-{place}.html"
            best[question] = _search(catalog, out / name, query)
            files[f"found: {question}"] = name
        measured = evaluate_queries(catalog, read_queries(shop.queries), ks=(1, 5))
        # Nobody has fitted thresholds to this shop, so that only pictures and titles are taken as proof.
        report = find_duplicates(catalog, DuplicateSettings(embedding=False))
        _write_duplicates(catalog, out / "duplicates.html", report)
        files |= {"listed twice": "duplicates.html"}
        made = ExampleReport(
            out,
            files,
            len(catalog),
            taken.rejected,
            best,
            measured.tasks[0].metrics["hit_recall@5"].value,
            report.duplicates,
            len(shop.copies),
        )
    write_json_atomic(out / "example.json", made.to_dict())
    return made


def _catalog(folder: Path, model: ModelHandle) -> Catalog:
    if (folder / "catalog.json").is_file():
        return Catalog.open(folder, model)
    return Catalog.create(folder, model=model, template=TextTemplate.preset("fashion"))


def _questions(shop: Shop) -> dict[str, dict[str, Any]]:
    """Return {question: arguments of a search}.

    Words are compared with pictures: with texts they have higher cosines, and a product of which there is
    only a text would come first.
    """
    copy = next(iter(shop.copies))
    return {
        _WORDS: {"text": _WORDS, "view": "image"},
        f"like D-000, {_CHANGE}": {"like": "D-000", "text": _CHANGE, "view": "image"},
        f"the picture of {copy}": {"image": shop.photos / f"{copy}.jpg"},
    }


def _search(catalog: Catalog, page: Path, query: dict[str, Any]) -> str:
    """Write the page of a search and return the id of what was found first."""
    from ..pages.cards import result_cards
    from ..pages.results import Asked, results_page
    from ..pages.shell import write_page
    from ..pages.thumbnails import thumbnail_or_none

    found = catalog.search(**query, k=8)
    picture, like = query.get("image"), query.get("like", "")

    def load() -> Any:
        from PIL import Image

        return Image.open(picture) if picture else catalog.image_of(like) if like else None

    asked = Asked(
        text=query.get("text", ""),
        like=like,
        picture=thumbnail_or_none(load),
        view=query.get("view", "product"),
    )
    write_page(page, results_page(asked, result_cards(catalog, found), catalog="A made-up shop"))
    return found[0].id


def _write_duplicates(catalog: Catalog, page: Path, report: DuplicateReport) -> None:
    from ..pages.cards import product_cards
    from ..pages.duplicates import duplicates_page, shown_ids
    from ..pages.shell import write_page

    cards = product_cards(catalog, shown_ids(report))
    write_page(page, duplicates_page(report, cards, catalog="A made-up shop"))
