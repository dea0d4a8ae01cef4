"""``verticlip liveness calibrate``: thresholds for operating modes from one's own labelled captures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ....core.commandline import Device, Dtype, Json, ModelName, Revision, check_file, progress_line
from ....core.console import print_json, print_table, say
from ....core.errors import ConfigError
from .options import (
    AggregatorName,
    DetectorName,
    FrameCount,
    Gates,
    LowestCount,
    PresentationsPerCall,
    SamplingName,
    TaxonomyName,
    YuNetFile,
    open_detector,
    read_gates,
    read_sampling,
)

if TYPE_CHECKING:
    from ..calibration.calibrate import Calibration
    from ..calibration.threshold import AchievedRate


def calibrate(
    context: typer.Context,
    manifest: Annotated[
        Path, typer.Argument(help="CSV or JSON lines: path, label, species, subject, split, dataset ...")
    ],
    model: ModelName,
    out: Annotated[Path, typer.Option(metavar="THRESHOLD.json", help="Where the thresholds go.")],
    mode: Annotated[
        list[str] | None,
        typer.Option(
            help="secure (max APCER 1 %), balanced (equal errors) or convenient (BPCER 1 %); default: all. "
            "Repeatable."
        ),
    ] = None,
    rule: Annotated[
        list[str] | None,
        typer.Option(help="Further rule: dev_eer, dev_apcer=0.05, dev_bpcer=0.02. Repeatable."),
    ] = None,
    temperature: Annotated[
        bool, typer.Option("--temperature", help="Also fit a temperature, into temperature.json beside it.")
    ] = False,
    test: Annotated[
        Path | None, typer.Option(help="Manifest that will be tested on; nobody in it may be in this one.")
    ] = None,
    root: Annotated[
        Path | None, typer.Option(help="Folder that the paths of both manifests start from.")
    ] = None,
    split: Annotated[
        Literal["dev"] | None, typer.Option(help="dev: all rows of a manifest without a split column.")
    ] = None,
    detector: DetectorName = None,
    yunet: YuNetFile = None,
    frames: FrameCount = None,
    sampling: SamplingName = None,
    aggregator: AggregatorName = "mean",
    min_k: LowestCount = None,
    gate: Gates = None,
    taxonomy: TaxonomyName = None,
    batch_size: PresentationsPerCall = 8,
    revision: Revision = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    as_json: Json = False,
) -> None:
    """Choose thresholds on a labelled development set of your own.

    A threshold holds for exactly this model, its categories, crops and face detector; `check` and
    `evaluate` refuse it with any other. It is found on the presentations of split dev alone, whose subjects
    may not be in another split.
    """
    from ..protocols.manifest import read_manifest

    check_file(out, ".json")
    if temperature and out.name == "temperature.json":
        raise ConfigError(
            f"--out {out}: this name is for the temperature. Call the thresholds threshold.json."
        )
    entries = read_manifest(manifest, root=root, split=split)
    tested = None if test is None else read_manifest(test, root=root)
    opened = open_detector(
        context, model, detector, yunet, revision, device, dtype,
        quality=read_gates(gate), sampling=read_sampling(frames, sampling), aggregator=aggregator,
        min_k=min_k, taxonomy=taxonomy,
    )  # fmt: skip
    modes = ("secure", "balanced", "convenient") if mode is None and rule is None else tuple(mode or ())
    found = opened.calibrate(
        entries,
        modes=modes,
        rules=tuple(rule or ()),
        test=tested,
        temperature=temperature,
        batch_size=batch_size,
        progress=progress_line(),
    )
    for note in found.notes:
        say(f"warning: {note}")
    written = found.save(out)
    if as_json:
        print_json([{**found.to_dict(), "files": [str(path) for path in written]}])
    else:
        _show(found)
    for path in written:
        say(f"wrote {path}")


def _show(found: Calibration) -> None:
    """Print one row per threshold, and the temperature."""
    rows = []
    for one in found.thresholds:
        if one.achieved is not None:
            worst, bona_fide = one.achieved.worst_species, one.achieved.bpcer
            attack, bound = one.achieved.apcer[worst], one.achieved.apcer_max_upper_95
            rates = (f"{_rate(attack, bound)} {worst}", _rate(bona_fide, bona_fide.upper_95))
            rows.append((one.mode or "-", one.rule, f"{one.value:.4f}", f"{one.margin:+.3f}", *rates))
    print_table(("mode", "rule", "P(live)", "log-odds", "max APCER (95 % bound)", "BPCER (95 % bound)"), rows)
    fitted = found.temperature
    if fitted is not None:
        say(
            f"temperature {fitted.value:.3f}: negative log-likelihood {fitted.nll_before:.4f} -> "
            f"{fitted.nll_after:.4f} nats"
        )
    if rows:
        say("The bound of max APCER is the largest of any species: of few presentations it is large.")
    say("Rates are those of the set the thresholds were chosen on; expect them to be worse on any other.")


def _rate(rate: AchievedRate, bound: float) -> str:
    return f"{rate.rate:.2%} (<= {bound:.2%}, n {rate.n})"
