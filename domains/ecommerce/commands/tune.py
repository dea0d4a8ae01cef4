"""``verticlip catalog tune``: the index made fast, and settings fitted to labelled queries."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from ....core.commandline import Device, Dtype, Json, Revision
from ....core.console import print_json, print_table, say
from ....core.errors import ConfigError
from .evaluate import QueriesFile, recall_row
from .options import CatalogModel, Folder, open_catalog

if TYPE_CHECKING:
    from ..catalog.catalog import Catalog
    from ..composed.fitting import CompositionFit
    from ..encoders.fusing import FusionWeights
    from ..encoders.product import ProductEncoder
    from ..evaluation.own_fitting import ShareFit
    from ..evaluation.queries import LabelledQuery

_FEW = 100


def tune(
    context: typer.Context,
    catalog: Folder,
    queries: QueriesFile = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="With --queries: fit and report, keep nothing.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="NEW", help="With --queries: also write a catalogue with the fitted shares, if they help."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the halves that are held out.")] = 0,
    model: CatalogModel = None,
    revision: Revision = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    as_json: Json = False,
) -> None:
    """Make searches fast; with labelled queries, make them better.

    Without --queries the index is compacted and its breadth of search is set to find what an exact search
    finds. With --queries: how a picture and words become one query is fitted and kept, and the shares of
    picture and text in a product's vector are fitted and reported; --out writes a catalogue with them. Use
    queries that you do not measure with afterwards.
    """
    if queries is None and (dry_run or out is not None):
        raise ConfigError("--dry-run and --out belong to --queries; give these too.")
    if dry_run and out is not None:
        raise ConfigError("--dry-run keeps nothing and --out writes a catalogue; give one of them.")
    if out is not None and out.exists():
        raise ConfigError(f"{out}: exists. Name a new folder.")
    if queries is None:
        report = _tune_index(catalog)
    else:
        from ..evaluation.queries import read_queries

        labelled = read_queries(queries)
        opened = open_catalog(
            context, catalog, model=model, revision=revision, device=device, dtype=dtype, read_only=dry_run
        )
        with opened:
            report = _tune_queries(opened, labelled, seed, dry_run=dry_run, out=out)
    if as_json:
        print_json([report])


def _tune_index(folder: Any) -> dict[str, Any]:
    from ..catalog.catalog import Catalog
    from ..evaluation.own import index_recall

    with Catalog.open(folder) as opened:
        before = index_recall(opened)
        say(f"{len(opened):,} products; compacting, and measuring what pays ...")
        opened.optimize()
        after = index_recall(opened)
        stats = opened.index.stats()
    header = ("", "vectors", "index", "recall@10", "of", "exact", "index time")
    rows = [("before", *recall_row(one)) for one in before] + [("after", *recall_row(one)) for one in after]
    print_table(header, rows)
    if all(one.kind == "flat" for one in after):
        say("exact search is the fastest here, so that it stays")
    return {
        "before": [one.to_dict() for one in before],
        "after": [one.to_dict() for one in after],
        "tuning": {view: vars(one) for view, one in stats.tuning.items()},
    }


def _tune_queries(
    catalog: Catalog, queries: list[LabelledQuery], seed: int, *, dry_run: bool, out: Path | None
) -> dict[str, Any]:
    from ..composed.stored import load_settings, save_settings
    from ..evaluation.own_fitting import fit_composition, fit_share

    report: dict[str, Any] = {"queries": len(queries)}
    if len(queries) < _FEW:
        say(f"note: {len(queries)} labelled queries are few; a setting chosen by them may be chance.")
    composition = fit_composition(catalog, queries, current=load_settings(catalog.folder), seed=seed)
    if composition is not None:
        report["composition"] = composition.to_dict()
        _show_composition(composition)
        if composition.settings != composition.before and composition.choice.worthwhile and not dry_run:
            say(f"wrote {save_settings(catalog.folder, composition.settings)}; searches take it from there")
        elif composition.settings != composition.before and not dry_run:
            say("nothing kept: on queries that it was not chosen by, the new setting is not surely better")
    fusion = catalog.config.fusion
    if fusion is None:
        say("note: this model puts picture and text together by itself; there is no share to fit.")
        return report
    share = fit_share(catalog, queries, current=fusion, seed=seed)
    if share is not None:
        report["fusion"] = share.to_dict()
        _show_share(share)
        if out is not None and share.worthwhile:
            _write_mixed(catalog, out, share)
        elif out is not None:
            say(f"{out} is not written")
        elif share.worthwhile:
            say("every vector would change: --out NEW writes a catalogue with these shares, encoding nothing")
    return report


def _show_composition(found: CompositionFit) -> None:
    rows = [
        ("MRR", str(found.choice.before), str(found.choice.after), str(found.choice.held_out)),
        *(
            (f"hit_recall@{k}", f"{before:.4f}", f"{after:.4f}", "")
            for k, (before, after) in found.hit_recall.items()
        ),
    ]
    say(f"picture with words, {found.tried} settings compared:")
    print_table(("metric", "before", "best", "expected on other queries"), rows)
    one = found.settings
    said = (
        f"sum, weight {one.weight:g}"
        if one.method == "sum"
        else f"pdv, alpha_image {one.alpha_image:g}, alpha_text {one.alpha_text:g}, beta {one.beta:g}"
    )
    say(f"best: {said}")


def _show_share(found: ShareFit) -> None:
    now, best = (f"{_share(one):g}" for one in (found.before, found.best))
    rows = [("all", now, best, str(found.choice.before), str(found.choice.after), str(found.choice.held_out))]
    for name, one in found.categories.items():
        own = f"{_share(found.fusion.of(name)):g}"
        rows.append(
            (name, f"{_share(found.fusion):g}", own, str(one.before), str(one.after), str(one.held_out))
        )
    say("share of the picture in a product's vector, by MRR:")
    header = ("category", "share", "best share", "before", "best", "expected on other queries")
    print_table(header, rows)
    if found.best == found.before and not found.worthwhile:
        say("the share in use is the best")
    elif not found.worthwhile:
        say("on queries that it was not chosen by, the other share is not surely better; stay")


def _share(weights: FusionWeights) -> float:
    return weights.image / (weights.image + weights.text)


def _write_mixed(catalog: Catalog, out: Path, found: ShareFit) -> None:
    from ..catalog.mixing import mixed_anew

    encoder = cast("ProductEncoder", catalog.encoder)
    with mixed_anew(catalog, out, model=encoder.model, fusion=found.fusion) as made:
        say(f"wrote {out}: {len(made):,} products with these shares")
