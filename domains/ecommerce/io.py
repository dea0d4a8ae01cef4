"""Catalogues, the tables they come from, and product encoders: the public names of the room's things.

Example::

    import verticlip
    from verticlip.domains.ecommerce.io import Catalog, F, TextTemplate

    model = verticlip.from_pretrained("ecommerce/tiny")
    shop = Catalog.create("shop", model=model, template=TextTemplate.preset("fashion"))
    shop.ingest("items.csv", image_root="photos")                    # goes on after an interruption
    shop.search(text="red dress", where=F("price") < 50, k=10)

What is done with them, duplicates, measurements and pairs for training, is in :mod:`.tasks`.
"""

from __future__ import annotations

from ...core.lazy import lazy_names

_HOMES = {
    "Asked": "pages.results",
    "Catalog": "catalog.catalog",
    "CatalogConfig": "catalog.config",
    "CatalogStats": "catalog.stats",
    "ClickColumns": "training.clicks",
    "ComposeSettings": "composed.query",
    "F": "..core.index.filters",
    "FieldMap": "products.fields",
    "Found": "catalog.search",
    "Fusion": "encoders.fusing",
    "FusionWeights": "encoders.fusing",
    "ImageRoot": "products.pictures",
    "IngestOptions": "catalog.report",
    "IngestReport": "catalog.report",
    "LabelledQuery": "evaluation.queries",
    "Product": "products.record",
    "ProductEncoder": "encoders.product",
    "ProductText": "products.text",
    "ProductVectors": "encoders.product",
    "Reject": "products.record",
    "RemotePolicy": "products.remote",
    "SearchOptions": "catalog.search",
    "Shop": "shop",
    "TextTemplate": "products.text",
    "duplicates_page": "pages.duplicates",
    "fetch_image": "products.remote",
    "load_image": "loaders.image",
    "parse_where": "..core.index.filters",
    "product_cards": "pages.cards",
    "read_clicks": "training.clicks",
    "read_labels": "duplicates.labels",
    "read_products": "products.read",
    "read_queries": "evaluation.queries",
    "result_cards": "pages.cards",
    "results_page": "pages.results",
    "shown_ids": "pages.duplicates",
    "write_page": "pages.shell",
    "write_pairs": "training.clicks",
    "write_shop": "shop",
}
__all__ = sorted(_HOMES)  # pyright: ignore[reportUnsupportedDunderAll]

# The modules are siblings of this one, not below it.
__getattr__ = lazy_names(__name__.rpartition(".")[0], _HOMES)


def __dir__() -> list[str]:
    return list(__all__)
