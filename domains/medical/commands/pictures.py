"""``verticlip medical ground``, ``annotate`` and ``compare``: what single pictures show, and where."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from ....core.commandline import (
    BatchSize,
    Device,
    Dtype,
    Json,
    Load,
    ModelName,
    Revision,
    failure_line,
    finish,
    load_options,
    open_model,
    split_labels,
)
from ....core.console import print_json, print_table, say, shown
from ....core.errors import ConfigError, InputError

if TYPE_CHECKING:
    from ....core.answers import Failure
    from ....core.handle import ModelHandle
    from ....core.heatmaps import HeatMap
    from ....core.inputs import Fitted
    from ....core.types import Sample
    from ..conceptclip.concepts import ConceptSet

Files = Annotated[
    list[Path],
    # Not checked here: one file that may not be read must not stop the others.
    typer.Argument(metavar="FILES...", help="DICOM, PNG, JPEG or TIFF images.", readable=False),
]
Answer = TypeVar("Answer")
MAPS_FILE, COMPARISON_FILE = "maps.jsonl", "comparison.json"
_RESHAPING = ("box", "size")
"""Loader options after which the pixels are not those of the file."""
_MOST_BOXES = 10
NOTE = "not for diagnosis"
_FLAT = 0.05
"""A map whose values span less than this share of what is possible gets a note and, unasked, no box."""


def ground(
    context: typer.Context,
    files: Files,
    model: ModelName,
    phrase: Annotated[list[str], typer.Option(help="What to look for. Repeatable.")],
    out: Annotated[Path, typer.Option(help="Folder for a PNG per image and phrase, and maps.jsonl.")],
    threshold: Annotated[
        float | None,
        typer.Option(help="Boxes go around larger values; default: the middle of each map's values."),
    ] = None,
    template: Annotated[
        str, typer.Option(help="Sentence the phrases are said in, such as 'a chest X-ray showing {}'.")
    ] = "{}",
    load: Load = None,
    batch_size: BatchSize = 8,
    revision: Revision = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    as_json: Json = False,
) -> None:
    """Show where on each image a phrase is, as heat maps and boxes in the pixels of the file."""
    from ..tasks.grounding import Grounder, can_ground

    if threshold is not None and not math.isfinite(threshold):
        raise ConfigError(
            f"--threshold {threshold} is no number that a value can be above. Give one such as 0.5."
        )
    handle, options = open_model(context, model, revision, device, dtype), load_options(load)
    if not can_ground(handle):
        raise InputError(
            f"{handle.id} cannot ground phrases. Use a model with phrase maps, such as medical/biovil or "
            "medical/conceptclip."
        )
    # Unusable words show here: before the first image, not with each.
    grounder = Grounder.of(handle, phrase, template)
    failed = 0
    with _Maps(handle, out, threshold, options, as_json=as_json) as maps:
        for number, answer in _answers(handle, files, grounder.answer, batch_size, options):
            if isinstance(answer, list):
                maps.write(number, files[number - 1], answer)
            else:
                failed += 1
                _print_failure(answer, as_json=as_json)
    finish(failed, len(files))


def annotate(
    context: typer.Context,
    files: Files,
    model: ModelName,
    concepts: Annotated[str | None, typer.Option(help="Comma-separated concepts.")] = None,
    concept_list: Annotated[
        str | None, typer.Option(help="Name of a list that comes with the package.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for a heat map per image and concept.")] = None,
    load: Load = None,
    batch_size: BatchSize = 8,
    revision: Revision = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    as_json: Json = False,
) -> None:
    """Say which concepts each image shows; the five highest are printed, --json gives all."""
    from ..conceptclip.concepts import Annotation, Annotator

    asked = _concepts(concepts, concept_list)
    handle, options = open_model(context, model, revision, device, dtype), load_options(load)
    # A model or words that cannot be used show here: before the first image, not with each.
    annotator = Annotator.of(handle, asked, maps=out is not None)
    failed = 0
    with nullcontext() if out is None else _Maps(handle, out, None, options, as_json=None) as maps:
        for number, answer in _answers(handle, files, annotator.answer, batch_size, options):
            if not isinstance(answer, Annotation):
                failed += 1
                _print_failure(answer, as_json=as_json)
                continue
            if maps is not None:
                maps.write(number, files[number - 1], answer.maps)
            if as_json:
                print_json([answer.to_dict()])
            else:
                best = (f"{one.concept} {one.score:.3f}" for one in answer.best())
                print("\t".join([shown(str(answer.id)), *best]), flush=True)
    finish(failed, len(files))


def compare(
    context: typer.Context,
    current: Annotated[Path, typer.Argument(metavar="CURRENT", help="The newer image.")],
    previous: Annotated[
        Path, typer.Argument(metavar="PREVIOUS", help="The older image of the same patient.")
    ],
    model: ModelName,
    findings: Annotated[
        str | None,
        typer.Option(help="Comma-separated; default: the five findings the package has prompts for."),
    ] = None,
    phrase: Annotated[
        str | None, typer.Option(help="What the change map follows; default: any change.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for change.png and comparison.json.")] = None,
    load: Load = None,
    revision: Revision = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    as_json: Json = False,
) -> None:
    """Say what got better or worse between two chest X-rays of one patient, and where."""
    from ....core.files import write_json_atomic
    from ..biovil.compare import compare as compare_images

    handle, options = open_model(context, model, revision, device, dtype), load_options(load)
    words = split_labels(findings)
    result = compare_images(handle, current, previous, words, phrase=phrase, **options)
    facts = result.to_dict()
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        facts["overlay"] = str(out / "change.png")
        result.change.save_overlay(
            out / "change.png", _picture_of(handle, current, options), note=NOTE, limits=handle.limits
        )
        write_json_atomic(out / COMPARISON_FILE, facts)
        if _is_flat(result.change):
            say(f"note: {out / 'change.png'}: {_flat_values(result.change)}; this map does not say where.")
    for note in result.notes:
        say(f"note: {note}")
    if as_json:
        print_json([facts])
        return
    states = list(next(iter(result.findings.values())))
    rows = []
    for name, chances in result.findings.items():
        first, second = sorted(chances.values(), reverse=True)[:2]
        lead = f"{result.state(name)} by {first - second:.3f}"
        rows.append((name, *(f"{chances[state]:.3f}" for state in states), lead))
    print_table(("finding", *states, "most probable"), rows)
    say("These shares are not calibrated; a lead of a few hundredths decides nothing.")


def _is_flat(one: HeatMap) -> bool:
    low, high = one.value_range
    return math.isfinite(high - low) and one.contrast < _FLAT * (high - low)


def _flat_values(one: HeatMap) -> str:
    return f"values differ by {one.contrast:.2g} only"


class _Maps:
    """Writes heat maps of one call: a PNG each, and one line each in ``maps.jsonl``.

    Files are called by the number of the image in the call, not by its name, which may name a patient.

    Args:
        as_json: print each map as JSON (True), as a line (False), or not at all (None).
    """

    def __init__(
        self, model: ModelHandle, out: Path, threshold: float | None, options: Mapping[str, Any], *,
        as_json: bool | None,
    ) -> None:  # fmt: skip
        self.model, self.out, self.threshold, self.options = model, out, threshold, options
        self.as_json = as_json
        self._files = ExitStack()

    def __enter__(self) -> _Maps:
        from ....core.files import atomic_path

        # An unusable folder shows here: before the work, not after it. Lines go to the file as they
        # come, so that memory does not grow with the images.
        self.out.mkdir(parents=True, exist_ok=True)
        temporary = self._files.enter_context(atomic_path(self.out / MAPS_FILE))
        # ASCII, because a name that is not UTF-8 can only be written as an escape.
        self._lines = self._files.enter_context(temporary.open("w", encoding="ascii"))
        return self

    def __exit__(self, *error: Any) -> None:
        self._files.__exit__(*error)

    def write(self, number: int, path: Path, maps: Sequence[HeatMap]) -> None:
        """Write the maps of one image, over its file's own pixels."""
        picture = _picture_of(self.model, path, self.options)
        for position, one in enumerate(maps, 1):
            threshold = _middle(one) if self.threshold is None else self.threshold
            flat = _is_flat(one)
            # Around the noise of a map without contrast a box would claim a place.
            drawn = not flat or self.threshold is not None
            boxes = one.boxes(threshold, max(1, one.values.numel() // 1000))[:_MOST_BOXES] if drawn else []
            path = self.out / f"{number:03d}_{position:02d}_{_slug(one.phrase)}.png"
            one.save_overlay(path, picture, boxes=boxes, note=NOTE, limits=self.model.limits)
            named = [dict(zip(("x0", "y0", "x1", "y1", "mean"), box, strict=True)) for box in boxes]
            row = {**one.to_dict(), "threshold": threshold, "boxes": named, "overlay": str(path)}
            self._lines.write(json.dumps(row) + "\n")
            self._show(row)
            if flat:
                rest = "this map does not say where" + ("" if boxes else " and gets no box")
                say(f"note: {row['overlay']}: {_flat_values(one)}; {rest}.")

    def _show(self, row: Mapping[str, Any]) -> None:
        if self.as_json:
            print_json([row])
        elif self.as_json is not None:
            peak = row["peak"]
            place = f"peak at ({peak['x']}, {peak['y']})" if peak else "nothing seen"
            name, phrase, overlay = (shown(str(row[key])) for key in ("id", "phrase", "overlay"))
            print(f"{name}\t{phrase}\t{row['score']:.3f}\t{place}\t{overlay}", flush=True)


def _answers(
    model: ModelHandle,
    files: Sequence[Path],
    run: Callable[[list[Fitted]], Sequence[Answer]],
    batch_size: int,
    options: Mapping[str, Any],
) -> Iterator[tuple[int, Answer | Failure]]:
    """Yield (number from 1, answer or failure) of each file, in order; a bad one does not stop the others."""
    from ....core.answer_each import answer_each
    from ....core.inputs import fit

    def prepare(path: Path, position: int) -> Fitted:
        return fit(model, path, position, options)

    answers = answer_each(files, prepare, run, batch_size=batch_size)
    return ((number, answer) for number, (_, answer) in enumerate(answers, 1))


def _print_failure(failure: Any, *, as_json: bool) -> None:
    if as_json:
        print_json([failure.to_dict()])
    say(failure_line(failure))


def _picture_of(model: ModelHandle, path: Path, options: Mapping[str, Any]) -> Sample:
    """Return a file as it is, without the crop and size of the loader options."""
    plain = {name: value for name, value in options.items() if name not in _RESHAPING}
    return model.load(path, modality="image", **{**plain, **dict.fromkeys(_RESHAPING)})


def _concepts(words: str | None, name: str | None) -> ConceptSet:
    """Return what ``--concepts`` or ``--concept-list`` asks for.

    Raises:
        ConfigError: both, neither, or no such list.
    """
    from ..conceptclip.concepts import ConceptSet, concept_set

    if (words is None) == (name is None):
        raise ConfigError("Give either --concepts 'a,b' or --concept-list NAME.")
    if name is not None:
        return concept_set(name)
    from ....core.prompts import check_labels

    listed = split_labels(words) or []
    check_labels(listed)
    return ConceptSet(concepts=tuple(listed))


def _middle(one: HeatMap) -> float:
    """Return the value half way between a map's smallest and largest; of cosines, at least 0."""
    seen = one.values[one.values.isfinite()]
    low, high = (float(bound) for bound in seen.aminmax()) if len(seen) else (0.0, 0.0)
    middle = (low + high) / 2
    return max(middle, 0.0) if one.value_range[0] < 0 < one.value_range[1] else middle


def _slug(phrase: str) -> str:
    """Return a phrase as a part of a file name."""
    return re.sub(r"[^a-z0-9]+", "-", phrase.lower()).strip("-")[:40] or "phrase"
