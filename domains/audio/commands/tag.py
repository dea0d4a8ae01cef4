"""``verticlip audio tag``: which sounds are heard when, as tables and pictures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ....core.commandline import (
    Device,
    Dtype,
    Json,
    Labels,
    Load,
    ModelName,
    Prompts,
    Revision,
    check_folder,
    failure_line,
    finish,
    load_options,
    open_model,
    read_prompts,
    split_labels,
)
from ....core.console import print_json, say, shown
from ....core.errors import ConfigError

if TYPE_CHECKING:
    from ..tasks.tagging import Tagging

SOUND_SUFFIXES = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aiff", ".aif", ".caf", ".w64", ".rf64",
                  ".au", ".m4a", ".mp4", ".webm", ".wma", ".aac", ".mkv", ".mov")  # fmt: skip
"""What a folder is searched for; a file that is named itself may be called anything."""

Files = Annotated[
    list[Path],
    # Not checked here: one file that may not be read must not stop the others.
    typer.Argument(metavar="FILES...", help="Recordings, or folders of them.", readable=False),
]


def tag(
    context: typer.Context,
    files: Files,
    model: ModelName = "audio/tiny-tagger",
    labels: Labels = None,
    prompts: Prompts = None,
    window: Annotated[
        float | None, typer.Option(help="Seconds of a window; default: 2, or what the model sees.")
    ] = None,
    hop: Annotated[
        float | None, typer.Option(help="Seconds from one window to the next; default: a quarter of one.")
    ] = None,
    threshold: Annotated[float, typer.Option(help="Score from which an event begins, 0 to 1.")] = 0.5,
    each: Annotated[
        bool, typer.Option("--each", help="Score every label by itself: several may be heard at once.")
    ] = False,
    top: Annotated[int, typer.Option(min=1, help="Highest labels to name where there is no event.")] = 3,
    out: Annotated[
        Path | None, typer.Option(help="Folder for a CSV of the events and a PNG timeline per file.")
    ] = None,
    load: Load = None,
    revision: Revision = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    as_json: Json = False,
) -> None:
    """Say which sounds are heard when in recordings of any length."""
    from ....core.answers import Failure
    from ..tasks.tagging import Tagger, TaggingOptions
    from ..tasks.vocabulary import unfamiliar_words

    options = TaggingOptions(
        window_s=window, hop_s=hop, threshold=threshold, scores="each" if each else "one_of"
    )
    if out is not None:
        check_folder(out)
    listed = recordings(files)
    handle = open_model(context, model, revision, device, dtype)
    # Words or settings that cannot be used show here: before the first file, not with each.
    tagger = Tagger.of(handle, split_labels(labels), templates=read_prompts(prompts), options=options)
    for word in unfamiliar_words(handle, tagger.labels):
        say(f"note: {handle.id} has never read {_short(word)!r}; a score that hangs on it means little.")
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
    failed = 0
    names = unique_names(listed)
    for name, answer in zip(names, tagger.tag_each(listed, **load_options(load)), strict=True):
        written: dict[str, Any] = {}
        if out is not None and not isinstance(answer, Failure):
            try:
                written = _write(answer, out, name)
            except OSError as error:
                # A name too long for its results, for one; the next file may do.
                answer = Failure(str(answer.id), f"its results cannot be written ({error.strerror})")
        if isinstance(answer, Failure):
            failed += 1
            if as_json:
                print_json([answer.to_dict()])
            say(failure_line(answer))
            continue
        if as_json:
            print_json([{**answer.to_dict(), **written}])
        else:
            _show(answer, top, written)
    finish(failed, len(listed))


def recordings(files: Sequence[Path]) -> list[Path]:
    """Return the files, and for each folder the recordings below it.

    Raises:
        ConfigError: a folder without recordings.
    """
    from ....core.data.files import files_below

    found: list[Path] = []
    for path in files:
        if not path.is_dir():
            found.append(path)
            continue
        inside = [path / name for name in files_below(path) if name.lower().endswith(SOUND_SUFFIXES)]
        if not inside:
            raise ConfigError(f"{path}: no recordings in this folder. Name files, or another folder.")
        found += inside
    return found


def unique_names(files: Sequence[Path]) -> list[str]:
    """Return a name without suffix for the results of each file; files of one name are numbered."""
    taken: set[str] = set()
    names: list[str] = []
    for path in files:
        stem = path.stem or "recording"
        name = next(name for name in _numbered(stem) if name.casefold() not in taken)
        taken.add(name.casefold())
        names.append(name)
    return names


def _numbered(stem: str) -> Iterator[str]:
    yield stem
    number = 2
    while True:
        yield f"{stem}-{number}"
        number += 1


def _write(answer: Tagging, out: Path, name: str) -> dict[str, Any]:
    """Write the results of one file and return where they are."""
    table, picture = out / f"{name}.csv", out / f"{name}.png"
    answer.save_csv(table)
    answer.save_timeline(picture)
    return {"csv": str(table), "timeline": str(picture)}


def _show(answer: Tagging, top: int, written: dict[str, Any]) -> None:
    """Print one line per event, or that there is none and what came closest."""
    name = shown(str(answer.id))
    for event in answer.events:
        print(
            f"{name}\t{event.start_s:.2f}\t{event.end_s:.2f}\t{_short(event.label)}\t{event.score:.3f}",
            flush=True,
        )
    if not answer.events:
        closest = ", ".join(
            f"{_short(label)} {score:.2f}" for label, score in answer.highest(top).items() if score
        )
        print(f"{name}\t\t\tno event\t{closest or 'silence'}", flush=True)
    for what in written.values():
        say(f"wrote {what}")


def _short(label: str) -> str:
    """Return a label as a line shows it; tables and JSON have it whole."""
    return shown(label if len(label) <= 60 else f"{label[:57]}...")
