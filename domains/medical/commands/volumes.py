"""``verticlip medical volume``: what a CT or MR volume shows, and on which slices."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ....core.commandline import (
    BatchSize,
    Device,
    Dtype,
    Json,
    Labels,
    Load,
    ModelName,
    Prompts,
    Revision,
    load_options,
    open_model,
    read_prompts,
    split_labels,
)
from ....core.console import print_json, print_table, say

if TYPE_CHECKING:
    from ..tasks.volumes import VolumeReport

REPORT_FILE, MONTAGE_FILE = "volume.json", "slices.png"


def volume(
    context: typer.Context,
    path: Annotated[
        Path, typer.Argument(metavar="PATH", help="Series folder, .nii, .nii.gz or multi-frame DICOM.")
    ],
    model: ModelName,
    labels: Labels = None,
    prompts: Prompts = None,
    window: Annotated[
        str | None, typer.Option(help="CT preset such as lung, a list [center, width], header, minmax ...")
    ] = None,
    axis: Annotated[str, typer.Option(help="axial, coronal or sagittal.")] = "axial",
    aggregate: Annotated[str, typer.Option(help="Over slices: top, mean, max or attention.")] = "top",
    out: Annotated[Path | None, typer.Option(help="Folder for slices.png and volume.json.")] = None,
    load: Load = None,
    batch_size: BatchSize = 8,
    revision: Revision = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    as_json: Json = False,
) -> None:
    """Classify a volume by its slices and show the ones that speak for each label.

    Scores are joined over slices; `verticlip classify` on the same path answers once, for the mean
    of all slices.

    --load takes on_gap=resample or keep for series with missing slices, frame=N for 4-D files,
    slices=N for N evenly spread ones, top=N and keep=N.
    """
    from ....core.files import write_json_atomic
    from ..tasks.volumes import classify_volume

    handle = open_model(context, model, revision, device, dtype)
    options = load_options([*(load or ()), *([f"window={window}"] if window is not None else [])])
    options |= {"axis": axis, "aggregate": aggregate, "batch_size": batch_size}
    report = classify_volume(handle, path, split_labels(labels), templates=read_prompts(prompts), **options)
    facts: dict[str, Any] = report.to_dict()
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        if any(report.best.values()):
            report.save_montage(out / MONTAGE_FILE)
            facts["slices_png"] = str(out / MONTAGE_FILE)
        write_json_atomic(out / REPORT_FILE, facts)
    for note in report.notes:
        say(f"note: {note}")
    if as_json:
        print_json([facts])
    else:
        _print_report(report)


def _print_report(report: VolumeReport) -> None:
    rows = []
    for label in sorted(report.scores, key=lambda name: -report.scores[name]):
        best = report.best[label][:1]
        place = f"slice {best[0].index} at {best[0].position_mm:.1f} mm" if best else "-"
        rows.append((label, f"{report.scores[label]:.3f}", place))
    print_table(("label", "score", "best slice"), rows)
    say(f"{len(report.indices)} {report.axis} slices, window {report.window}, by {report.aggregate}")
