"""From embeddings and a table of indicators to maps: validated, predicted, written for QGIS."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ....core.errors import ConfigError, InputError
from ....core.files import atomic_path, write_json_atomic
from ..indicators.places import (
    Aggregate,
    RegionValues,
    SharedGround,
    local_meters,
    mean_colors,
    overlapping,
)
from ..indicators.prediction import (
    IndicatorPrediction,
    Labels,
    PredictionSettings,
    drop_zeros,
    predict_indicator,
)
from ..indicators.regression import Binding
from ..indicators.table import IndicatorTable, is_amount
from ..outputs.embedding_table import OWN_COLUMNS, EmbeddingTable
from ..outputs.geoparquet import read_embeddings, write_embeddings

if TYPE_CHECKING:
    from ..geometry.regions import Regions
    from ..loaders.raster import Raster

_SEEN_IN_PRETRAINING = (
    "Cross-validation holds labels back, not pictures: if the model was pre-trained on these very tiles, "
    "it has seen the pictures of the tiles under test."
)
_SUFFIXES = ("", "_predicted", "_low", "_high", "_far")
"""Of the columns of one indicator in the files."""
_TAKEN = frozenset({*OWN_COLUMNS, "lon", "lat", "geom", "fid", "ogc_fid"})
"""Columns that the files have already, and words that GIS formats keep for themselves."""


@dataclass(frozen=True)
class PredictionReport:
    """What was predicted and written.

    Attributes:
        indicators: {name: prediction}.
        regions: {name: values of the regions}; empty without regions.
        region_ids: of the regions.
        notes: what was left out and what to know.
        folder: where the files are.
        files: names of the files in it.
    """

    indicators: Mapping[str, IndicatorPrediction]
    regions: Mapping[str, RegionValues] = field(default_factory=dict)
    region_ids: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    folder: Path = Path()
    files: tuple[str, ...] = ()

    @property
    def empty_regions(self) -> int:
        """Regions without a value of any indicator."""
        if not self.regions:
            return 0
        return int(np.all([np.isnan(found.values) for found in self.regions.values()], axis=0).sum())

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "indicators": {name: found.to_dict() for name, found in self.indicators.items()},
            "regions": {"count": len(self.region_ids), "without_value": self.empty_regions},
            "notes": list(self.notes),
            "files": list(self.files),
        }


@dataclass(frozen=True)
class RegionPlan:
    """Regions to add tiles up to.

    Attributes:
        regions: polygons.
        aggregate: ``mean`` or ``sum``; by indicator where a mapping.
    """

    regions: Regions
    aggregate: Aggregate | Mapping[str, Aggregate] = "mean"

    def how(self, name: str) -> Aggregate:
        """Return the aggregate of an indicator."""
        return self.aggregate if isinstance(self.aggregate, str) else self.aggregate.get(name, "mean")


def predict_indicators(
    embeddings: EmbeddingTable | str | Path,
    table: IndicatorTable,
    out_folder: str | Path,
    *,
    targets: Sequence[str] | None = None,
    settings: PredictionSettings | None = None,
    regions: RegionPlan | None = None,
    scene: Raster | None = None,
) -> PredictionReport:
    """Predict indicators for every embedded tile and write maps of them.

    For each target: random and spatially blocked cross-validation, a fit on all labelled tiles, predictions
    with intervals for all tiles, and a flag where a tile is unlike those that were learned from. Written are
    ``predictions.parquet`` (embeddings and predictions), ``predictions.gpkg``, ``predictions.csv``,
    ``indicators.tif`` (one band per target), a PNG and the regressor of each target, ``regions.gpkg`` where
    regions are given, and last ``report.json``.

    Example::

        table = IndicatorTable.from_rasters({"population": "pop.tif"}, embeddings.tiles(), stat="sum")
        report = predict_indicators(embeddings, table, "maps", targets=["population"])
        print(report.indicators["population"].report.spatial.r2)

    Args:
        embeddings: table, or a file that ``verticlip urban embed`` wrote.
        table: indicators of some or all of its tiles.
        out_folder: folder to write to.
        targets: indicators of the table; default: all.
        settings: see :class:`PredictionSettings`.
        regions: polygons to add tiles up to; under ``split="region"`` they are the folds as well.
        scene: raster the tiles come from, for the background of the PNG and one more baseline.

    Raises:
        ConfigError: unknown words, or a split by region without regions.
        InputError: the table fits no tile, an indicator has the name of a column of the files, too few
            labelled tiles, values that the target cannot hold, or regions and tiles that overlap without
            any order. On a grid, ground under several tiles is divided among them.
    """
    settings = settings or PredictionSettings()
    if not isinstance(embeddings, EmbeddingTable):
        embeddings = read_embeddings(embeddings)
    names = list(targets) if targets is not None else list(table.names)
    if not names:
        raise ConfigError("There is no indicator to predict: the table has no columns.")
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ConfigError(f"The target {twice!r} is asked for twice.")
    _check_names(names)
    tiles = embeddings.tiles()
    table = table.aligned_to(embeddings.ids)
    columns = {name: table.column(name) for name in names}
    notes = [*table.notes, _SEEN_IN_PRETRAINING]
    if settings.recipe == "urbanclip":
        columns, dropped = drop_zeros(columns)
        notes.append(f"recipe urbanclip: {dropped} tiles with a zero in a target were left out of learning")
    ground = None if regions is None else SharedGround.of(tiles, regions.regions)
    if ground is not None and regions is not None:
        for name in names:
            # Words that cannot be are said before anything is worked out.
            ground.aggregate(columns[name], regions.how(name))
            unit = table.units.get(name, "")
            if regions.how(name) == "mean" and is_amount(unit):
                notes.append(
                    f"{name} is counted in {unit!r}, an amount: by region it is averaged, not added up; "
                    "aggregate sum adds up"
                )
    labels = Labels(
        "",
        "",
        np.empty(0),
        None if ground is None else ground.region_of_tiles(),
        None if scene is None else mean_colors(scene, tiles),
        binding_of(embeddings),
        overlapping(tiles),
    )
    centers = local_meters(tiles)
    found = {
        name: predict_indicator(
            embeddings.vectors,
            centers,
            replace(labels, name=name, unit=table.units.get(name, ""), values=columns[name]),
            settings,
        )
        for name in names
    }
    notes += _notes(found, by_region=settings.split == "region")
    report = PredictionReport(found, notes=tuple(notes), folder=Path(out_folder))
    if ground is not None and regions is not None:
        values = {name: ground.aggregate(found[name].values, regions.how(name)) for name in names}
        report = replace(report, regions=values, region_ids=regions.regions.ids)
        if report.empty_regions:
            count = f"{report.empty_regions} of {len(regions.regions)}"
            note = f"{count} regions share no ground with a tile and have no value"
            report = replace(report, notes=(*report.notes, note))
    return _write(report, embeddings, regions, scene)


def binding_of(embeddings: EmbeddingTable) -> Binding:
    """Return whose embeddings a table holds."""
    meta = embeddings.meta
    return Binding(
        model_id=str(meta.get("model_id", "")),
        revision=str(meta.get("revision", "")),
        processor=str(meta.get("processor", "")),
        dim=embeddings.vectors.shape[1],
    )


def prediction_columns(found: Mapping[str, IndicatorPrediction]) -> dict[str, NDArray[Any]]:
    """Return {column: [N]} of the files: per indicator what was known, predicted, its interval, ``_far``."""
    columns: dict[str, NDArray[Any]] = {}
    for name, one in found.items():
        columns[name] = one.labels.values
        columns[f"{name}_predicted"] = one.values
        columns[f"{name}_low"], columns[f"{name}_high"] = one.low, one.high
        columns[f"{name}_far"] = one.far
    return columns


def _check_names(names: Sequence[str]) -> None:
    """Raise ``InputError`` where columns of the files would be called the same, before any work is done."""
    taken = set(_TAKEN)
    for name in names:
        for column in (name + suffix for suffix in _SUFFIXES):
            if column.lower() in taken:
                raise InputError(
                    f"The indicator {name!r} would give the files a column {column!r}, and they have one "
                    "already. Rename it, or leave it out of the targets."
                )
            taken.add(column.lower())


def _notes(found: Mapping[str, IndicatorPrediction], *, by_region: bool) -> list[str]:
    notes = []
    for name, one in found.items():
        notes += [f"{name}: {warning}" for warning in one.report.warnings]
        if by_region and one.labels.groups is not None:
            outside = int((np.isfinite(one.labels.values) & (one.labels.groups < 0)).sum())
            if outside:
                notes.append(f"{name}: {outside} labelled tiles lie in no region and were not learned from")
        if one.far.any():
            notes.append(
                f"{name}: {int(one.far.sum())} of {len(one.far)} tiles look unlike those that were learned "
                f"from ({name}_far); read their predictions as guesses"
            )
        if np.isfinite(one.total_ratio) and not 0.8 <= one.total_ratio <= 1.25:
            notes.append(
                f"{name}: held-back predictions add up to {one.total_ratio:.0%} of the truth; read sums over "
                "regions with that in mind"
            )
    return notes


def _write(
    report: PredictionReport, embeddings: EmbeddingTable, plan: RegionPlan | None, scene: Raster | None
) -> PredictionReport:
    from ..outputs.maps import origin_tags, write_map
    from ..outputs.picture import save_map
    from ..outputs.staging import file_names
    from ..outputs.vector import write_layer

    folder, tiles, found = report.folder, embeddings.tiles(), report.indicators
    folder.mkdir(parents=True, exist_ok=True)
    columns = prediction_columns(found)
    units = {name: one.labels.unit for name, one in found.items() if one.labels.unit}
    write_embeddings(folder / "predictions.parquet", embeddings.with_columns(columns))
    write_layer(folder / "predictions.gpkg", tiles, columns)
    _write_csv(folder / "predictions.csv", embeddings, columns)
    tags = {name: _band_tags(one) for name, one in found.items()}
    write_map(
        folder / "indicators.tif",
        {name: one.values for name, one in found.items()},
        tiles,
        tags={**origin_tags(embeddings), **tags},
        units=units,
    )
    files = ["predictions.parquet", "predictions.gpkg", "predictions.csv", "indicators.tif"]
    words = dict(zip(found, file_names(list(found), "indicator"), strict=True))
    for name, one in found.items():
        note = f"R2 {one.report.spatial.r2.value:.2f} by {one.report.spatial.folds.scheme}"
        save_map(
            folder / f"{words[name]}.png",
            one.values,
            tiles,
            title=f"{name}, predicted",
            unit=one.labels.unit,
            background=scene,
            note=note,
        )
        one.regressor.save(folder / "regressors" / words[name])
        files += [f"{words[name]}.png", f"regressors/{words[name]}"]
    if plan is not None:
        write_layer(folder / "regions.gpkg", plan.regions, _region_columns(report, plan))
        files.append("regions.gpkg")
        for name in found:
            values, regions = report.regions[name].values, plan.regions
            title = f"{name}, {plan.how(name)} by region"
            save_map(
                folder / f"{words[name]}_regions.png", values, regions, title=title, unit=units.get(name, "")
            )
            files.append(f"{words[name]}_regions.png")
    report = replace(report, files=(*files, "report.json"))
    write_json_atomic(folder / "report.json", report.to_dict())
    return report


def _band_tags(one: IndicatorPrediction) -> dict[str, str]:
    spatial = one.report.spatial
    return {
        "target_transform": one.regressor.target,
        "head": one.regressor.head,
        "labelled_tiles": str(one.labelled),
        f"r2_{spatial.folds.scheme}": f"{spatial.r2.value:.4f}",
        "r2_random": f"{one.report.random.r2.value:.4f}",
    }


def _region_columns(report: PredictionReport, plan: RegionPlan) -> dict[str, Any]:
    ours: dict[str, Any] = {}
    for name, found in report.regions.items():
        ours[f"{name}_{plan.how(name)}"] = found.values
        ours[f"{name}_covered"] = found.covered
    # A column of the file that would clash with ours keeps out of the way.
    taken = {name.lower() for name in ours} | {"region", "geometry", "geom", "fid", "ogc_fid", "id"}
    theirs: dict[str, Any] = {}
    for name, values in plan.regions.attributes.items():
        if name.lower() not in taken:
            taken.add(name.lower())
            theirs[name] = list(values)
    return {**theirs, **ours}


def _write_csv(path: Path, embeddings: EmbeddingTable, columns: Mapping[str, NDArray[Any]]) -> None:
    """Write longitude, latitude and all columns; empty cells where there is no number."""
    degrees = embeddings.centers()
    numbers = {"lon": degrees[:, 0], "lat": degrees[:, 1], **columns}
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["tile_id", *numbers])
        for row, name in enumerate(embeddings.ids):
            writer.writerow([name, *(_cell(values[row]) for values in numbers.values())])


def _cell(value: Any) -> str:
    if isinstance(value, (bool, np.bool_)):
        return str(int(value))
    return f"{value:.10g}" if np.isfinite(value) else ""
