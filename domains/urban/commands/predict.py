"""``verticlip urban predict``: from embedded tiles and a table or rasters of indicators to maps."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ....core.commandline import Json, check_folder
from ....core.console import number, print_json, print_table, say
from ....core.errors import ConfigError
from .scenes import (
    Bands,
    RegionId,
    RegionsCRS,
    RegionsLayer,
    Repair,
    S2Offset,
    Sensor,
    Table,
    open_scene,
    read_regions,
)

if TYPE_CHECKING:
    from ....core.metrics.bootstrap import Estimate
    from ..geometry.regions import Regions
    from ..indicators.prediction import IndicatorPrediction, PredictionSettings
    from ..indicators.table import IndicatorTable
    from ..indicators.validation import CVReport
    from ..outputs.embedding_table import EmbeddingTable
    from ..tasks.indicator_prediction import PredictionReport, RegionPlan


def predict(
    embeddings: Table,
    out: Annotated[Path, typer.Option(help="Folder for maps, tables and report.json.")],
    indicators: Annotated[
        Path | None, typer.Option(help="CSV of indicators, by tile name or by latitude and longitude.")
    ] = None,
    raster: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=FILE", help="Raster of one indicator, such as population=pop.tif. Repeatable."
        ),
    ] = None,
    stat: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[NAME=]STAT",
            help="Of a raster: area_weighted (densities), sum (counts per pixel), mean or point. Repeatable.",
        ),
    ] = None,
    band: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=BAND", help="Band of a raster that has several. Repeatable."),
    ] = None,
    target: Annotated[
        list[str] | None, typer.Option(help="Indicator to predict; default: all. Repeatable.")
    ] = None,
    unit: Annotated[
        list[str] | None, typer.Option(metavar="NAME=UNIT", help="Unit of an indicator. Repeatable.")
    ] = None,
    head: Annotated[str, typer.Option(help="ridge, knn, mlp (two layers) or mean (the baseline).")] = "ridge",
    transform: Annotated[str, typer.Option(help="Of the target: log1p, log, standardize or none.")] = "log1p",
    split: Annotated[str, typer.Option(help="What counts: block, region or random.")] = "block",
    folds: Annotated[int, typer.Option(min=2, help="Parts of the cross-validation.")] = 5,
    block_m: Annotated[
        float | None,
        typer.Option(help="Side of a block in meters; default: how far the target hangs together."),
    ] = None,
    buffer_m: Annotated[
        float, typer.Option(min=0, help="Meters around tested tiles in which nothing trains.")
    ] = 0.0,
    recipe: Annotated[
        str, typer.Option(help="default, or urbanclip: the paper's preparation and its training of mlp.")
    ] = "default",
    regions: Annotated[
        Path | None, typer.Option(help="Polygons to add tiles up to: GeoJSON, GeoPackage, Shapefile.")
    ] = None,
    region_id: RegionId = None,
    regions_crs: RegionsCRS = None,
    regions_layer: RegionsLayer = None,
    repair: Repair = False,
    aggregate: Annotated[
        list[str] | None,
        typer.Option(metavar="[NAME=]HOW", help="By region: mean (densities) or sum (counts). Repeatable."),
    ] = None,
    scene: Annotated[
        Path | None, typer.Option(help="The scene, for the background of maps and a baseline of mean colors.")
    ] = None,
    bands: Bands = None,
    sensor: Sensor = None,
    s2_offset: S2Offset = "auto",
    id_column: Annotated[str | None, typer.Option(help="Column of the CSV with tile names.")] = None,
    lat_lon: Annotated[
        str | None, typer.Option(metavar="LAT,LON", help="Columns of the CSV with latitude and longitude.")
    ] = None,
    points_crs: Annotated[
        str, typer.Option(help="Of latitude and longitude in the CSV: EPSG:4326, GCJ-02 or BD-09.")
    ] = "EPSG:4326",
    seed: Annotated[int, typer.Option(min=0, help="Of everything that is drawn.")] = 0,
    as_json: Json = False,
) -> None:
    """Predict indicators for every tile, say how good that is on ground without labels, and map them."""
    from ..indicators.prediction import PredictionSettings
    from ..outputs.geoparquet import read_embeddings
    from ..tasks.indicator_prediction import predict_indicators

    if indicators is None and not raster:
        raise ConfigError(
            "Give what is known: --indicators TABLE.csv, or --raster population=FILE.tif, or both."
        )
    settings = PredictionSettings(
        head=head,  # pyright: ignore[reportArgumentType]
        target=transform,  # pyright: ignore[reportArgumentType]
        split=split,  # pyright: ignore[reportArgumentType]
        folds=folds,
        block_m=block_m,
        buffer_m=buffer_m,
        seed=seed,
        recipe=recipe,  # pyright: ignore[reportArgumentType]
    )
    check_folder(out)
    added_up = read_regions(regions, region_id, regions_crs, layer=regions_layer, repair=repair)
    plan = _plan(added_up, aggregate)
    table = read_embeddings(embeddings)
    found = _from_csv(table, indicators, id_column, lat_lon, points_crs)
    units = _pairs(unit or [], "--unit", "population=persons")
    known = _from_rasters(table, raster, stats=stat, bands=band, units=units, found=found)
    report = predict_indicators(
        table,
        _with_units(known, units),
        out,
        targets=target,
        settings=settings,
        regions=plan,
        scene=None if scene is None else open_scene([scene], bands=bands, sensor=sensor, s2_offset=s2_offset),
    )
    for note in report.notes:
        say(f"note: {note}")
    if as_json:
        print_json([{"folder": str(out), **report.to_dict()}])
    else:
        _show(report, settings)
    say(f"{len(report.files)} files in {out}: {', '.join(report.files)}")


def _from_csv(
    table: EmbeddingTable, path: Path | None, id_column: str | None, lat_lon: str | None, crs: str
) -> IndicatorTable:
    """Return the indicators of a CSV, or a table without any."""
    from ..indicators.table import IndicatorTable

    pair = None if lat_lon is None else tuple(word.strip() for word in lat_lon.split(","))
    if pair is not None and len(pair) != 2:
        raise ConfigError(f"--lat-lon {lat_lon!r}: name two columns, for example --lat-lon lat,lon.")
    if path is None:
        if id_column is not None or pair is not None:
            raise ConfigError("--id-column and --lat-lon are of a CSV; name it: --indicators TABLE.csv.")
        return IndicatorTable(table.ids, {})
    return IndicatorTable.from_csv(
        path, tiles=table.tiles(), id_column=id_column, lat_lon=pair, crs=crs, show_paths=True
    )


def _from_rasters(
    table: EmbeddingTable,
    rasters: list[str] | None,
    *,
    stats: list[str] | None,
    bands: list[str] | None,
    units: dict[str, str],
    found: IndicatorTable,
) -> IndicatorTable:
    """Return the indicators found so far and those of rasters."""
    from ..indicators.table import IndicatorTable

    files = _pairs(rasters or [], "--raster", "population=pop.tif")
    words = _words(stats, "--stat", "area_weighted", files)
    numbers = _words(bands, "--band", "", files)
    if not files:
        if stats or bands:
            raise ConfigError("--stat and --band are of rasters; name one: --raster population=pop.tif.")
        return found
    chosen = {name: int(word) if word.isdigit() else word for name, word in numbers.items() if word}
    sampled = IndicatorTable.from_rasters(
        files,
        table.tiles(),
        stat=words,  # pyright: ignore[reportArgumentType]
        bands=chosen,
        units={name: unit for name, unit in units.items() if name in files},
        show_paths=True,
    )
    return found.merged_with(sampled)


def _with_units(table: IndicatorTable, units: dict[str, str]) -> IndicatorTable:
    from dataclasses import replace

    for name in units:
        table.column(name)
    return replace(table, units={**table.units, **units})


def _plan(found: Regions | None, aggregate: list[str] | None) -> RegionPlan | None:
    from ..tasks.indicator_prediction import RegionPlan

    if found is None:
        if aggregate:
            raise ConfigError("--aggregate: name the regions, too: --regions FILE.")
        return None
    named = [word for word in aggregate or () if "=" in word]
    plain = [word for word in aggregate or () if "=" not in word]
    if len(plain) > 1 or (plain and named):
        raise ConfigError(
            "--aggregate: give one word for all indicators, or NAME=mean and NAME=sum for each."
        )
    how: Any = plain[0] if plain else _pairs(named, "--aggregate", "population=sum") or "mean"
    return RegionPlan(found, how)


def _pairs(words: list[str], option: str, example: str) -> dict[str, str]:
    """Return {name: value} of ``NAME=VALUE`` words; a name may hold anything but an equals sign."""
    found: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name.strip() or not value.strip():
            raise ConfigError(f"{option} {word!r} is not NAME=VALUE, for example {example}.")
        if name.strip() in found:
            raise ConfigError(f"{option}: {name.strip()!r} is given twice.")
        found[name.strip()] = value.strip()
    return found


def _words(words: list[str] | None, option: str, default: str, names: dict[str, str]) -> dict[str, str]:
    """Return {name: word} of words for all and ``NAME=WORD`` for one."""
    plain = [word for word in words or () if "=" not in word]
    if len(plain) > 1:
        raise ConfigError(
            f"{option}: {plain[0]!r} and {plain[1]!r} are both meant for all. Name one: NAME={plain[1]}."
        )
    named = _pairs([word for word in words or () if "=" in word], option, "population=...")
    unknown = next((name for name in named if name not in names), None)
    if unknown is not None:
        raise ConfigError(f"{option} {unknown}={named[unknown]}: there is no --raster {unknown}=FILE.")
    return {name: named.get(name, plain[0] if plain else default) for name in names}


def _show(report: PredictionReport, settings: PredictionSettings) -> None:
    """Print one line per indicator, model and split."""
    rows: list[list[str]] = []
    for name, found in report.indicators.items():
        pairs = {found.regressor.head: (found.report.random, found.report.spatial), **found.report.baselines}
        for model, splits in pairs.items():
            rows += [_row(name, found, model, split) for split in splits]
    header = ["indicator", "model", "split", "R2 (95 % interval)", "RMSE", "MAE", "unit"]
    print_table(header, rows)
    counted = "at random" if settings.split == "random" else f"by {settings.split}"
    say(
        f"R2 is after the {settings.target} transform; RMSE and MAE are in units. What counts is the "
        f"split {counted}."
    )


def _row(name: str, found: IndicatorPrediction, model: str, split: CVReport) -> list[str]:
    original = split.reports.original
    return [
        name,
        model,
        split.folds.scheme,
        _interval(split.r2),
        _amount(original.rmse.value),
        _amount(original.mae.value),
        found.labels.unit or "-",
    ]


def _interval(estimate: Estimate) -> str:
    return f"{estimate.value:.3f} ({estimate.low:.3f} to {estimate.high:.3f})"


def _amount(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else number(value)
