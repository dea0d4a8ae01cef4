"""``verticlip hub card``: write a model's card from its records, or compare the one that is there."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .core.commandline import Json
from .core.console import print_json, say


def card(
    folder: Annotated[Path, typer.Argument(help="Model folder, or the run folder of a probe.")],
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; say what is wrong with the card that is there.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the card instead of writing it.")] = False,
    as_json: Json = False,
) -> None:
    """Write a model's card from its records.

    README.md of the folder is written from what training, evaluation or conversion recorded there: data,
    licence, results with intervals, limits, hardware and time. Exit status 1 when --check finds a difference.
    """
    from .core.files import CARD_FILE
    from .hub.card import (
        check_card,
        is_probe_run,
        render_card,
        render_probe_card,
        write_card,
        write_probe_card,
    )

    probe = is_probe_run(folder)
    path = folder / "head" / CARD_FILE if probe else folder / CARD_FILE
    if check:
        found = ["There is no card; write one: verticlip hub card FOLDER."]
        if path.is_file():
            found = check_card(path.read_text(encoding="utf-8", errors="replace"), folder)
        if as_json:
            print_json([{"card": str(path), "problems": found}])
        else:
            for problem in found:
                print(problem)
        say(f"{path}: {len(found)} problems" if found else f"{path}: agrees with its folder")
        raise typer.Exit(1 if found else 0)
    if dry_run:
        text = render_probe_card(folder) if probe else render_card(folder)
        if as_json:
            print_json([{"card": str(path), "text": text}])
        else:
            print(text, end="")
        return
    written = write_probe_card(folder) if probe else write_card(folder)
    if as_json:
        print_json([{"card": str(written)}])
    else:
        print(written)
