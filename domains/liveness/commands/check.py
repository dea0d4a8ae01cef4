"""``verticlip liveness check``: live or attack, which attack, how sure, and why."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ....core.commandline import (
    Device,
    Dtype,
    Json,
    Revision,
    check_file,
    check_folder,
    failure_line,
    finish,
)
from ....core.console import print_json, say, shown
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
    read_number_or_file,
    read_sampling,
)

if TYPE_CHECKING:
    from ....core.answers import Failure
    from ..detector import LivenessDetector
    from ..quality.checks import Check
    from ..result import LivenessResult

DEFAULT_MODEL = "liveness/minifasnet-v2"
"""The model of real faces whose weights lie in the package."""

_WORDS = {"live": "LIVE", "attack": "ATTACK", "no_response": "NO RESPONSE"}


def check(
    context: typer.Context,
    files: Annotated[
        list[Path], typer.Argument(metavar="FILES...", help="Pictures, films, or folders of them.")
    ],
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            help=f"Model name, folder, or Hub repository org/name; default: {DEFAULT_MODEL}, which nobody "
            "calibrated for your captures.",
        ),
    ] = None,
    threshold: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|NUMBER", help="What `verticlip liveness calibrate` wrote, or P(live) by hand."
        ),
    ] = None,
    mode: Annotated[str | None, typer.Option(help="Which threshold: secure, balanced or convenient.")] = None,
    temperature: Annotated[
        str | None,
        typer.Option(metavar="FILE|NUMBER", help="Softens probabilities; changes no decision."),
    ] = None,
    detector: DetectorName = None,
    yunet: YuNetFile = None,
    frames: FrameCount = None,
    sampling: SamplingName = None,
    aggregator: AggregatorName = "mean",
    min_k: LowestCount = None,
    gate: Gates = None,
    taxonomy: TaxonomyName = None,
    explain: Annotated[
        Literal["operator", "end_user"],
        typer.Option(help="Who reads it: operator (everything), or end_user (decision only)."),
    ] = "operator",
    maps: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="Also draw where the evidence lies. Writes pictures of the faces."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="REPORT.json", help="Also write all answers here.")
    ] = None,
    batch_size: PresentationsPerCall = 8,
    revision: Revision = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    as_json: Json = False,
) -> None:
    """Say of each file: live, attack or no response, and why.

    Exit status: 0 every file got an answer, whatever it is (live, attack or no response); 3 some files
    could not be read and the others got theirs; 1 none could, or the set-up is wrong; 2 wrong usage.
    Operating modes need a threshold of your own captures: `verticlip liveness calibrate` makes the file.
    Nothing is uploaded and no picture is kept, unless --maps asks for pictures.
    """
    if explain == "end_user" and maps is not None:
        raise ConfigError("--maps is for operators; leave it out with --explain end_user.")
    if out is not None:
        check_file(out, ".json")
    if maps is not None:
        check_folder(maps)
    items = found_files(files)
    opened = open_detector(
        context, model or DEFAULT_MODEL, detector, yunet, revision, device, dtype,
        threshold=_threshold(threshold), mode=mode,
        temperature=read_number_or_file(temperature, "--temperature"),
        quality=read_gates(gate), sampling=read_sampling(frames, sampling), aggregator=aggregator,
        min_k=min_k, taxonomy=taxonomy,
    )  # fmt: skip
    if model is None:
        say(f"model: {DEFAULT_MODEL} (no --model was given)")
    say_threshold(opened)
    answers: list[LivenessResult | Failure] = []
    for number, answer in enumerate(_answers(opened, items, batch_size, maps), start=1):
        kept = _without_pixels(answer)
        answers.append(kept)
        if as_json:
            print_json([_record(kept, explain)])
        elif not _is_result(answer):
            say(f"failed: {failure_line(answer)}")  # pyright: ignore[reportArgumentType]
        else:
            typer.echo("\n".join(_lines(kept, explain)))  # pyright: ignore[reportArgumentType]
        if maps is not None:
            _draw(answer, maps, number)
    if out is not None:
        _write(out, opened, answers, explain)
        say(f"wrote {out}")
    failed = sum(not _is_result(one) for one in answers)
    finish(failed, len(answers))


def found_files(given: Sequence[Path]) -> list[Path]:
    """Return files as named, and the pictures and films below folders.

    Raises:
        ConfigError: a folder without any.
    """
    from ....core.data.files import files_below
    from ....core.data.labelled import IMAGE_SUFFIXES
    from ....core.video import is_film

    found: list[Path] = []
    for path in given:
        if not path.is_dir():
            found.append(path)
            continue
        inside = [path / name for name in files_below(path)]
        inside = [one for one in inside if one.suffix.lower() in IMAGE_SUFFIXES or is_film(one)]
        if not inside:
            raise ConfigError(f"{path}: no picture or film in this folder.")
        found += inside
    return list(dict.fromkeys(found))


def say_threshold(detector: LivenessDetector) -> None:
    """Tell on standard error which threshold is used and what it achieved where it was chosen."""
    used = detector.threshold
    if used is None:
        say(
            "warning: no threshold was calibrated. Decisions are made at P(live) 0.5, and nobody knows the "
            "error rates that carries. Calibrate: "
            f"verticlip liveness calibrate MANIFEST --model {detector.model.id} --out threshold.json"
        )
        return
    say(f"threshold: {used.mode or 'custom'}, {used.provenance}")
    if used.achieved is not None:
        say(f"on that set: {used.achieved}")
    for note in used.notes:
        say(f"note: {note}")


def _threshold(word: str | None) -> float | Path | str | None:
    # Words such as fixed=0.5 and modes are for the detector to read.
    known = word is not None and (word.partition("=")[0].isidentifier() and not Path(word).is_file())
    return word if known else read_number_or_file(word, "--threshold")


def _answers(
    detector: LivenessDetector, items: Sequence[Path], batch_size: int, maps: Path | None
) -> Iterator[LivenessResult | Failure]:
    if maps is None:
        return detector.predict_each(items, batch_size=batch_size)
    return detector.predict_each(items, batch_size=batch_size, keep=("pixels",), relevance=True)


def _is_result(answer: LivenessResult | Failure) -> bool:
    return hasattr(answer, "decision")


def _without_pixels(answer: Any) -> Any:
    """Return an answer to keep until the end: pictures of faces are let go of as soon as they are drawn."""
    from dataclasses import replace

    return replace(answer, pixels=None) if _is_result(answer) else answer


def _record(answer: Any, explain: Literal["operator", "end_user"]) -> dict[str, Any]:
    return answer.to_dict(explain=explain) if _is_result(answer) else answer.to_dict()


def _lines(result: LivenessResult, explain: Literal["operator", "end_user"]) -> list[str]:
    """Return what people read about one file: decision and scores, why, and which checks failed."""
    if explain == "end_user":
        said = result.to_dict(explain="end_user")
        return [
            f"{shown(said['id'])}: {said['text']}",
            *(f"  {shown(advice)}" for advice in said.get("advice", ())),
        ]
    first = f"{shown(result.id)}: {_WORDS[result.decision]}"
    if result.p_live is not None:
        used = result.threshold
        side = ">=" if result.model_decision == "live" else "<"
        first += f"  P(live) {result.p_live:.4f} {side} {used.value:.4f} ({used.mode})"
    if result.frames_read > 1:
        first += f"  {result.frames_used} of {result.frames_read} frames"
    lines = [first, f"  why: {shown(result.explanation.text)}"]
    evidence = result.explanation.evidence
    if evidence is not None and evidence.time_s is not None:
        lines.append(f"  decisive frame: {evidence.frame} at {evidence.time_s:.2f} s")
    lines += [f"  {_check_line(one)}" for one in result.failed_checks]
    if result.excluded and result.frames_read > 1:
        left_out = ", ".join(f"{name} {count}" for name, count in result.excluded.items())
        lines.append(f"  frames left out: {left_out}")
    return lines


def _check_line(check: Check) -> str:
    low, high = check.limit
    limit = (
        f"at least {low:g}"
        if high is None
        else f"at most {high:g}"
        if low is None
        else f"{low:g} to {high:g}"
    )
    measured = "-" if check.value is None else f"{check.value:.3g}"
    if check.unit[:1].isalpha():  # a unit, not a range of values
        measured += f" {check.unit}"
    word = "failed" if check.blocks else "failed, reported only"
    return f"{word}: {check.name} {measured} ({limit}). {check.advice}".rstrip()


def _draw(answer: Any, folder: Path, number: int) -> None:
    if not _is_result(answer) or answer.explanation.evidence is None or answer.pixels is None:
        return
    relevance = answer.explanation.evidence.relevance
    if relevance is not None:
        # Numbered: files of several folders may share a name.
        name = f"{number:04d}-{Path(answer.id).stem}.png"
        relevance.save_overlay(folder / name, answer.pixels, model=answer.model, revision=answer.revision)


def _write(
    out: Path, detector: LivenessDetector, answers: Sequence[Any], explain: Literal["operator", "end_user"]
) -> None:
    from ....core.files import write_json_atomic

    report: dict[str, Any] = {
        "results": [_record(one, explain) for one in answers if _is_result(one)],
        "failures": [one.to_dict() for one in answers if not _is_result(one)],
    }
    if explain == "operator":
        used = detector.threshold
        report["fingerprint"] = {"digest": str(detector.fingerprint), **detector.fingerprint.model_dump()}
        report["threshold"] = None if used is None else used.model_dump(mode="json")
    write_json_atomic(out, report)
