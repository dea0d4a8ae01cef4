"""``verticlip audio separate``: what is asked for as files of its own, and the rest."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ....core.commandline import (
    Device,
    Dtype,
    Json,
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
)
from ....core.console import print_json, say, shown
from ....core.errors import ConfigError, InputError
from .tag import Files, recordings, unique_names

if TYPE_CHECKING:
    from ..tasks.separation import SeparatedFile


def separate(
    context: typer.Context,
    files: Files,
    query: Annotated[
        list[str] | None, typer.Option("--query", "-q", help="What to take out, in words. Repeatable.")
    ] = None,
    image: Annotated[
        list[Path] | None,
        typer.Option(help="Picture or film of what to take out, for models that see. Repeatable."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for sounds, picture and report.")] = Path("separated"),
    model: ModelName = "audio/tiny-sep",
    mask: Annotated[str, typer.Option(help="soft, or hard: every bin all or nothing.")] = "soft",
    overlap: Annotated[float, typer.Option(help="Share of a window that the next covers, 0 to 0.5.")] = 0.5,
    prompts: Prompts = None,
    picture: Annotated[bool, typer.Option(help="Draw spectrograms before and after.")] = True,
    subtype: Annotated[
        str | None, typer.Option(help="Coding of the samples: PCM_16 (default), PCM_24, FLOAT.")
    ] = None,
    load: Load = None,
    revision: Revision = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    as_json: Json = False,
) -> None:
    """Take sounds that you name out of recordings of any length.

    Writes one sound file per query and one with the rest, a picture of both and a JSON report.
    """
    from ....core.answers import Failure
    from ..tasks.separation import AudioSeparator

    if not query and not image:
        raise ConfigError("Say what to take out, for example --query 'dog barking'.")
    check_folder(out)
    listed = recordings(files)
    options = load_options(load)
    handle = open_model(context, model, revision, device, dtype)
    # Queries that cannot be used show here: before the first file, not with each.
    separator = AudioSeparator.of(
        handle, [*(query or ()), *(image or ())], mask=mask, overlap=overlap, templates=read_prompts(prompts)
    )
    failed = 0
    for path, stem in zip(listed, unique_names(listed), strict=True):
        try:
            found = separator.to_files(path, out, stem=stem, picture=picture, subtype=subtype, **options)
        except (InputError, OSError) as error:
            failed += 1
            # Of the system's errors only the words: the rest is a number and the name again.
            failure = Failure(str(path), str(getattr(error, "strerror", None) or error))
            if as_json:
                print_json([failure.to_dict()])
            say(failure_line(failure))
            continue
        if as_json:
            print_json([_row(found)])
        else:
            _show(found)
    finish(failed, len(listed))


def _row(found: SeparatedFile) -> dict[str, Any]:
    """Return the report with whole paths, as they can be opened from here."""
    row = found.to_dict()
    for target, path in zip(row["targets"], found.targets, strict=True):
        target["file"] = str(path)
    return row | {"residual": str(found.residual), "picture": str(found.picture) if found.picture else None}


def _show(found: SeparatedFile) -> None:
    """Print one line per query: file, query, confidence, energy."""
    for path, answer in zip(found.targets, found.answers, strict=True):
        energy = "silence" if answer.energy_db is None else f"{answer.energy_db:+.1f} dB"
        print(
            f"{shown(str(path))}\t{shown(answer.query)}\t{answer.confidence:.2f} {answer.verdict}\t{energy}",
            flush=True,
        )
        if answer.verdict == "low":
            say(f"{found.source}: {answer.query!r} is probably not in it.")
    if any(answer.verdict == "silent" for answer in found.answers):
        say(f"{found.source}: there is no sound in it, and none in the results.")
    if found.clipped:
        say(f"{found.source}: {found.clipped} samples were over full scale; --subtype FLOAT keeps them.")
    say(f"wrote {found.residual}")
    if found.picture is not None:
        say(f"wrote {found.picture}")
