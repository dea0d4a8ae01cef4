"""``verticlip liveness evaluate``: error rates on one's own data, in the words of ISO/IEC 30107-3."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ....core.commandline import (
    Device,
    Dtype,
    Json,
    Revision,
    check_folder,
    finish,
    progress_line,
)
from ....core.console import print_json, print_table, say
from ....core.errors import ConfigError, nearest
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
    from ..detector import LivenessDetector
    from ..evaluation.choosing import Ruling
    from ..evaluation.published_results import Comparison
    from ..evaluation.report import LivenessReport
    from ..evaluation.sources import Scored
    from ..evaluation.table import ScoredPresentation

_SHOWN = 10
"""Presentations that could not be read, before the others are only counted."""


def evaluate(
    context: typer.Context,
    manifest: Annotated[
        Path | None,
        typer.Argument(help="CSV or JSON lines: path, label, species, subject, split, dataset ..."),
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="Model name, folder, or Hub repository org/name.")
    ] = None,
    scores: Annotated[
        Path | None,
        typer.Option(
            help="A score table instead of a manifest and a model: score, species, subject, split ..."
        ),
    ] = None,
    dev: Annotated[
        Path | None,
        typer.Option(
            help="Development set that finds the threshold, if not the split dev: as the other file."
        ),
    ] = None,
    rule: Annotated[
        str | None,
        typer.Option(
            help="dev_eer (default), dev_apcer=0.01, dev_bpcer=0.01, fixed=0.5, or test_eer (oracle)."
        ),
    ] = None,
    mode: Annotated[
        str | None, typer.Option(help="secure, balanced or convenient: a rule, or which one of --threshold.")
    ] = None,
    threshold: Annotated[
        Path | None, typer.Option(help="Threshold that `verticlip liveness calibrate` wrote.")
    ] = None,
    group_by: Annotated[
        list[str] | None, typer.Option(help="Group column to break down by; default: all. Repeatable.")
    ] = None,
    trained_on: Annotated[
        list[str] | None,
        typer.Option(help="Data set the model was trained on; `none` = never for liveness. Repeatable."),
    ] = None,
    beside: Annotated[
        str | None, typer.Option(metavar="OCI-M", help="Also list the published results of this direction.")
    ] = None,
    few_shot: Annotated[
        bool,
        typer.Option("--few-shot", help="Training rows of group few_shot may be of people who are tested."),
    ] = False,
    worst: Annotated[int, typer.Option(min=0, help="Name so many wrong decisions of each kind by path.")] = 0,
    root: Annotated[Path | None, typer.Option(help="Folder that the manifest's paths start from.")] = None,
    resamples: Annotated[int, typer.Option(min=0, help="Of the bootstrap over subjects.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Of the bootstrap.")] = 0,
    out: Annotated[
        Path | None, typer.Option(help="Folder for report.json, det.png, scores.png and scores.csv.")
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
    """Report error rates in the words of ISO/IEC 30107-3.

    Of a system on labelled presentations: APCER per species, BPCER, non-responses, DET curve.

    The threshold comes from the development set, never from the presentations it is judged on. Figures that
    do take theirs from the test set (EER, TPR at fixed FPR, BPCER10) stand apart and say so.
    """
    from ..evaluation.published_results import beside as published
    from ..evaluation.report import EvaluationSettings
    from ..evaluation.report import evaluate as judge
    from ..evaluation.sources import from_tables, read_sets, score_sets

    if out is not None:
        check_folder(out)
    _check_source(manifest, model, scores)
    ruling = _ruling(rule, mode, threshold)
    stated = _trained_on(trained_on)
    if scores is not None:
        found = from_tables(scores, dev)
    else:
        sets = read_sets(manifest or "", dev=dev, root=root, needs_dev=_needs_dev(ruling), few_shot=few_shot)
        system = open_detector(
            context, model or "", detector, yunet, revision, device, dtype,
            quality=read_gates(gate), sampling=read_sampling(frames, sampling), aggregator=aggregator,
            min_k=min_k, taxonomy=taxonomy,
        )  # fmt: skip
        if system.by_prompts and stated is None:
            # No liveness model but a general one that is told the categories here and now.
            stated = ()
        _refuse_other(system, ruling, threshold)
        found = score_sets(system, sets, batch_size=batch_size, progress=progress_line())
    report = judge(
        found.rows,
        ruling,
        dev=found.dev,
        settings=EvaluationSettings(
            group_by=tuple(group_by) if group_by else None,
            resamples=resamples,
            seed=seed,
            worst=worst,
            trained_on=stated,
            shots=found.shots,
            system=model or (scores.stem if scores else ""),
        ),
        failures=found.failures,
    )
    _show(report, published(report, beside) if beside else [], as_json=as_json)
    _name_failures(found)
    if out is not None:
        for path in report.write(out, table=_table(report, found)):
            say(f"wrote {path}")
    finish(len(found.failures), len(found.failures) + len(found.rows))


def _check_source(manifest: Path | None, model: str | None, scores: Path | None) -> None:
    if scores is not None and (manifest is not None or model is not None):
        raise ConfigError("--scores stands instead of a manifest and a model; leave one of them out.")
    if scores is None and manifest is None:
        raise ConfigError("Name a manifest with --model, or a score table with --scores.")
    if scores is None and model is None:
        raise ConfigError("Name the model that judges the manifest: --model NAME, or give --scores FILE.")


def _ruling(rule: str | None, mode: str | None, threshold: Path | None) -> Ruling:
    """Return the stored threshold, or the rule, that the options name."""
    from ..calibration.threshold import load_threshold
    from ..metrics.thresholds import MODES, parse_rule

    if rule is not None and (mode is not None or threshold is not None):
        raise ConfigError("--rule stands alone; leave out --mode and --threshold.")
    if threshold is not None:
        # The fingerprint is compared with that of the scores, which may come from a table.
        return load_threshold(threshold, mode=mode)
    if mode is not None and mode not in MODES:
        raise ConfigError(f"No mode {mode!r}.{nearest(mode, MODES)} Modes: {', '.join(MODES)}.")
    return parse_rule(rule or mode or "dev_eer")


def _needs_dev(ruling: Ruling) -> bool:
    from ..metrics.thresholds import Rule

    return isinstance(ruling, Rule) and ruling.needs_dev


def _trained_on(named: list[str] | None) -> tuple[str, ...] | None:
    if not named:
        return None
    sets = tuple(name.strip() for word in named for name in word.split(",") if name.strip())
    if "none" in sets and len(sets) > 1:
        raise ConfigError(f"--trained-on names {', '.join(sets)}: either none or data sets.")
    return () if sets == ("none",) else sets


def _refuse_other(system: LivenessDetector, ruling: Ruling, file: Path | None) -> None:
    """Refuse a threshold that was made for another detector: nothing shall be scored in vain."""
    from ..calibration.threshold import Threshold, check_made_for

    if isinstance(ruling, Threshold):
        check_made_for(ruling, system.fingerprint, source=str(file))


def _show(report: LivenessReport, compared: list[Comparison], *, as_json: bool) -> None:
    if as_json:
        print_json([{**report.to_dict(), "published": [line.to_dict() for line in compared]}])
        return
    typer.echo(str(report), nl=False)
    if compared:
        header = ("percent", "HTER (oracle)", "AUC", "TPR@FPR=1% (oracle)", "HTER (other threshold)")
        print_table(header, [_line(line) for line in compared])
        for line in compared:
            if line.note:
                say(f"warning: {line.method}: {line.note}")


def _line(line: Comparison) -> tuple[str, ...]:
    """Return a row of the table of published results; percent with two digits."""
    values = (line.hter_oracle, line.auc, line.tpr_at_fpr_1pct, line.hter_dev)
    return (line.method, *("-" if value is None else f"{value:.2f}" for value in values))


def _name_failures(found: Scored) -> None:
    """Say which presentations could not be read, by the ids of the manifest: the report keeps no paths."""
    for one in found.failures[:_SHOWN]:
        say(f"not read: {one.id}: {one.error}")
    if len(found.failures) > _SHOWN:
        say(f"not read: {len(found.failures) - _SHOWN:,} more")


def _table(report: LivenessReport, found: Scored) -> list[ScoredPresentation]:
    """Return the score table: of two sets one, from which the threshold and the rates can be found again."""
    if found.dev is None:
        return found.rows
    dev = [row for row in found.dev if row.split == "dev"] or found.dev
    return [replace(row, split="test") for row in report.rows] + [replace(row, split="dev") for row in dev]
