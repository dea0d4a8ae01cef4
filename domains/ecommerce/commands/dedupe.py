"""``verticlip catalog dedupe``: find products that are there twice, look at them, mark them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ....core.commandline import Json, read_pairs
from ....core.console import print_json, print_table, say, shown
from ....core.errors import ConfigError
from .options import Folder, WhereText

if TYPE_CHECKING:
    from ..catalog.catalog import Catalog
    from ..duplicates.fitting import LabelledPair
    from ..duplicates.merging import Merge
    from ..duplicates.report import DuplicateReport
    from ..duplicates.settings import DuplicateSettings, Thresholds


def dedupe(
    catalog: Folder,
    where: WhereText = None,
    exact: Annotated[
        bool, typer.Option("--exact/--no-exact", help="Equal picture files, pixels and titles.")
    ] = True,
    perceptual: Annotated[
        bool, typer.Option("--perceptual/--no-perceptual", help="Pictures that are nearly equal.")
    ] = True,
    embedding: Annotated[
        bool, typer.Option("--embedding/--no-embedding", help="Vectors that are alike.")
    ] = True,
    threshold: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=COSINE", help="product=, image= or text=: least cosines. Repeatable."),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            help="Pairs that you labelled (CSV: first, second, duplicate); thresholds are fitted and kept.",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    precision: Annotated[
        float, typer.Option(help="With --labels: share of the pairs found that must be right.")
    ] = 0.99,
    confidence: Annotated[float, typer.Option(help="With --labels: confidence of that bound.")] = 0.95,
    to_label: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Only write pairs for you to label: a CSV, and a page beside it."),
    ] = None,
    pairs: Annotated[int, typer.Option(min=1, help="With --to-label: how many.")] = 500,
    floor: Annotated[
        float, typer.Option(min=-1, max=1, help="With --to-label: least cosine of a pair.")
    ] = 0.8,
    variant: Annotated[
        list[str] | None,
        typer.Option(metavar="ATTRIBUTE", help="What makes a variant; if not said, color and size."),
    ] = None,
    keep: Annotated[
        Literal["most_complete", "oldest"], typer.Option(help="Which product stands for its group.")
    ] = "most_complete",
    html: Annotated[Path | None, typer.Option(help="Also write a page of pictures.")] = None,
    merge: Annotated[
        bool, typer.Option("--merge", help="Mark the duplicates; searches then leave them out.")
    ] = False,
    delete: Annotated[
        bool, typer.Option("--delete", help="With --merge: take them out of the catalogue instead, for good.")
    ] = False,
    unmerge: Annotated[bool, typer.Option("--unmerge", help="Only take all marks off again.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Change nothing, say what would.")] = False,
    as_json: Json = False,
) -> None:
    """Find products that are there twice.

    Without --merge it only looks. What vectors say is a guess until --labels has fitted thresholds to pairs
    that you labelled; --to-label draws such pairs.
    """
    from ..catalog.catalog import Catalog
    from ..duplicates.grouping import find_duplicates

    _check(merge, delete, unmerge, html, to_label)
    changes = unmerge or (merge and not dry_run)
    with Catalog.open(catalog, read_only=not changes) as opened:
        if unmerge:
            _take_off(opened, dry_run=dry_run)
            return
        if to_label is not None:
            _write_pairs(opened, to_label, pairs, floor, where)
            return
        own = read_pairs(threshold, "--threshold", example="product=0.95")
        if labels is not None:
            if own:
                raise ConfigError("--threshold sets what --labels would fit; give one of them.")
            if not embedding:
                raise ConfigError(
                    "--labels fits how alike vectors must be, and --no-embedding leaves them out."
                )
            labelled = _labelled(opened, labels)
            thresholds = _fitted(opened, labelled, precision, confidence)
        else:
            labelled, thresholds = [], _thresholds(opened, own)
        settings = _settings(
            thresholds=thresholds,
            exact=exact,
            perceptual=perceptual,
            embedding=embedding,
            keep=keep,
            variant_attributes=variant or None,
        )
        if merge and settings.embedding and not thresholds.is_fitted and not own:
            raise ConfigError(
                "Nobody has measured the thresholds on these products, so nothing is merged by them. Fit "
                "them with --labels, set your own with --threshold product=0.95, or merge what pictures "
                "show: --no-embedding."
            )
        report = find_duplicates(opened, settings, where=where, progress=_progress())
        if labelled:
            report = _judged(opened, report, labelled, keep=not dry_run)
        _show(report, as_json=as_json)
        if merge:
            _check_groups(report)
        done = _merged(opened, report, delete=delete, dry_run=dry_run) if merge else ""
        if html is not None:
            _write_page(html, opened, report, done)


def _check(merge: bool, delete: bool, unmerge: bool, html: Path | None, to_label: Path | None) -> None:
    from ..pages.shell import check_page

    if delete and not merge:
        raise ConfigError("--delete says what --merge does with duplicates; give both, or look first.")
    if unmerge and merge:
        raise ConfigError("--merge and --unmerge undo each other; give one.")
    if html is not None:
        check_page(html)
    if to_label is not None and (to_label.suffix.lower() != ".csv" or to_label.is_dir()):
        raise ConfigError(f"--to-label {to_label}: name a file that ends in .csv.")


def _thresholds(catalog: Catalog, own: dict[str, Any]) -> Thresholds:
    """Return the user's thresholds, those fitted before, or the starting values."""
    from ....core.config import parse_config
    from ..duplicates.settings import Thresholds, load_thresholds

    if "fit" in own:
        raise ConfigError("--threshold fit=...: only labelled pairs can fit; see --labels.")
    if own:
        return parse_config(Thresholds, own, source="--threshold")
    return load_thresholds(catalog.folder, catalog.config.made_by)


def _labelled(catalog: Catalog, labels: Path) -> list[LabelledPair]:
    """Return labelled pairs with their cosines."""
    from ..duplicates.labels import measured, read_labels

    known, lost = measured(catalog, read_labels(labels))
    if lost:
        say(f"note: {lost:,} labelled pairs name a product that the catalogue does not have.")
    return known


def _fitted(
    catalog: Catalog, labelled: list[LabelledPair], precision: float, confidence: float
) -> Thresholds:
    """Return thresholds fitted to labelled pairs."""
    from ..duplicates.fitting import fit_thresholds

    return fit_thresholds(
        labelled, target_precision=precision, confidence=confidence, made_by=catalog.config.made_by
    )


def _judged(
    catalog: Catalog, report: DuplicateReport, labelled: list[LabelledPair], *, keep: bool
) -> DuplicateReport:
    """Say how good fitted thresholds are, also of the groups they make; keep them beside the catalogue."""
    from ..duplicates.judging import judge_groups
    from ..duplicates.settings import save_thresholds

    report = judge_groups(report, labelled)
    thresholds = report.settings.thresholds
    if thresholds.fit is not None:
        say(f"fitted: {thresholds.words()}. {thresholds.fit.words()}")
    if keep:
        say(f"wrote {save_thresholds(catalog.folder, thresholds)}")
    return report


def _check_groups(report: DuplicateReport) -> None:
    """Refuse to merge groups that are seen to be wrong more often than was asked for."""
    fit = report.settings.thresholds.fit
    if report.settings.embedding and fit is not None and fit.groups_fall_short:
        raise ConfigError(
            f"Of the held-out pairs that the groups join {fit.joined_precision:.3f} are right, less than the "
            f"{fit.target:g} asked for, so nothing is merged. Look at them with --html, fit for a higher "
            "--precision, or merge what pictures show: --no-embedding."
        )


def _settings(**given: Any) -> DuplicateSettings:
    """Return settings; None takes the default."""
    from ....core.config import parse_config
    from ..duplicates.settings import DuplicateSettings

    said = {name: value for name, value in given.items() if value is not None}
    return parse_config(DuplicateSettings, said, source="options")


def _progress() -> Any:
    """Return a line on a terminal that tells what is being compared, else None."""
    from ....core.commandline import progress_line

    line = progress_line()
    if line is None:
        return None
    return lambda what, done, total: line(done, total)


def _show(report: DuplicateReport, *, as_json: bool) -> None:
    for note in report.notes:
        say(f"note: {note}")
    if as_json:
        given = report.to_dict()
        print_json(
            {"kind": kind, **one}
            for kind, rows in (("group", "groups"), ("variant", "variants"), ("refused", "refused"))
            for one in given[rows]
        )
    else:
        evidence = {(pair.first, pair.second): pair for group in report.groups for pair in group.pairs}
        rows = []
        for number, group in enumerate(report.groups, start=1):
            for one in group.duplicates:
                first, second = sorted((group.canonical, one))
                pair = evidence.get((first, second))
                why = pair.words() if pair else "through others of the group"
                rows.append((str(number), group.canonical[:40], one[:40], why))
        if rows:
            print_table(("group", "kept", "duplicate", "why"), rows)
    say(
        f"{report.products:,} products: {report.duplicates:,} duplicates in {len(report.groups):,} groups; "
        f"left alone: {len(report.variants):,} pairs of variants, {len(report.refused):,} doubtful joins"
    )


def _merged(catalog: Catalog, report: DuplicateReport, *, delete: bool, dry_run: bool) -> str:
    """Merge, tell what was done, and return it as a sentence for the page."""
    from ..duplicates.merging import merge

    done = merge(catalog, report, delete=delete, dry_run=dry_run)
    said = _merge_words(done)
    say(said)
    return said


def _merge_words(done: Merge) -> str:
    would = "would be " if done.dry_run else ""
    parts = []
    if done.deleted:
        parts.append(f"{done.deleted:,} duplicates {would}taken out")
    if done.marked or not done.deleted:
        parts.append(f"{done.marked:,} duplicates {would}marked")
    if done.kept:
        parts.append(f"{done.kept:,} were marked before")
    if done.unmarked:
        parts.append(f"{done.unmarked:,} marks {would}taken off")
    end = "nothing was changed" if done.dry_run else f"the catalogue is at version {done.version}"
    return f"{', '.join(parts)}; {end}."


def _take_off(catalog: Catalog, *, dry_run: bool) -> None:
    from ..duplicates.merging import unmerge

    done = unmerge(catalog, dry_run=dry_run)
    say(f"{done.unmarked:,} marks {'would be ' if dry_run else ''}taken off; version {done.version}.")


def _write_pairs(catalog: Catalog, path: Path, count: int, floor: float, where: str | None) -> None:
    from ..catalog.filters import resolved
    from ..duplicates.labels import candidates, write_candidates
    from ..pages.cards import product_cards
    from ..pages.pairs import MOST_SHOWN, pairs_page
    from ..pages.shell import write_page

    condition = resolved(where, catalog.index.schema)
    found = candidates(catalog, count, floor=floor, where=condition, progress=_progress())
    if not found:
        raise ConfigError(f"No two products are alike by a cosine of {floor:g} or more; try a lower --floor.")
    ids = list(dict.fromkeys(name for one in found for name in (one.first, one.second)))
    rows = catalog.index.get(ids, columns=["title"])
    titles = dict(zip(rows.ids, rows.payload.column("title").to_pylist(), strict=True))
    write_candidates(path, found, {name: title or "" for name, title in titles.items()})
    say(f"wrote {len(found):,} pairs to {path}; fill in the column duplicate with yes or no")
    seen = [name for one in found[:MOST_SHOWN] for name in (one.first, one.second)]
    page = pairs_page(found, product_cards(catalog, seen), catalog=catalog.folder.resolve().name)
    say(f"wrote {write_page(path.with_suffix('.html'), page)}, the same pairs as pictures")


def _write_page(path: Path, catalog: Catalog, report: DuplicateReport, done: str) -> None:
    from ..pages.cards import product_cards
    from ..pages.duplicates import duplicates_page, shown_ids
    from ..pages.shell import write_page

    name = catalog.folder.resolve().name
    cards = product_cards(catalog, shown_ids(report))
    said = f"{done[:1].upper()}{done[1:]}" if done else ""
    page = duplicates_page(report, cards, catalog=name, done=said)
    say(f"wrote {shown(str(write_page(path, page)))}")
