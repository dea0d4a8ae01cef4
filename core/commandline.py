"""Options and manners that the commands of the program and of every domain share.

Data goes to standard output, talk to standard error. Exit status: 0 done, 1 failed, 2 wrong usage,
3 some inputs failed and the others were done.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from .console import shown
from .errors import ConfigError

if TYPE_CHECKING:
    from .answers import Failure
    from .handle import ModelHandle
    from .prompts import PromptSet

PARTIAL = 3
"""Exit status when some inputs failed and the others were done."""

ModelName = Annotated[
    str, typer.Option("--model", "-m", help="Model name, folder, or Hub repository org/name.")
]
Revision = Annotated[str | None, typer.Option(help="Branch, tag or commit of a Hub repository.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 ...")]
Dtype = Annotated[str, typer.Option(help="auto (exact float32), float32 or bfloat16.")]
BatchSize = Annotated[int, typer.Option(min=1, help="Inputs per call of the network.")]
Labels = Annotated[str | None, typer.Option(help="Comma-separated; default: the model's own classes.")]
Prompts = Annotated[
    str | None,
    typer.Option(help="YAML prompt set (classes, their words, templates), or the name of a shipped one."),
]
Load = Annotated[
    list[str] | None,
    typer.Option(help="Loader option KEY=VALUE, such as window=lung or start_s=30. Repeatable."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON lines.")]


def split_labels(labels: str | None) -> list[str] | None:
    """Return the labels of a comma-separated list, or None for None."""
    return None if labels is None else [label.strip() for label in labels.split(",")]


def read_prompts(name: str | None) -> PromptSet | None:
    """Return the prompt set of an option, or None where it was not given."""
    if name is None:
        return None
    from .prompts import prompt_set

    return prompt_set(name)


_NOT_OPTIONS = ("path", "options", "transform", "limits", "modality")
"""Arguments of a loader that no text can stand for, or that the program gives itself."""


def load_options(pairs: list[str] | None) -> dict[str, Any]:
    """Return loader options; messages name the paths, because the user typed them."""
    options = read_pairs(pairs, "--load", example="window=lung")
    for key in options:
        if key in _NOT_OPTIONS:
            raise ConfigError(f"--load {key} is not a loader option. Give one such as window=lung.")
    return {"show_paths": True, **options}


def read_pairs(pairs: list[str] | None, option: str, *, example: str = "image_heads=4") -> dict[str, Any]:
    """Return {key: value} of ``KEY=VALUE`` words; values are read as YAML.

    Raises:
        ConfigError: a word of another form.
    """
    import yaml

    found: dict[str, Any] = {}
    for pair in pairs or ():
        key, equals, value = pair.partition("=")
        if not equals or not key.isidentifier():
            raise ConfigError(f"{option} {pair!r} is not KEY=VALUE, for example {example}.")
        try:
            found[key] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise ConfigError(
                f"{option} {pair!r}: the value cannot be read. Write a word, a number or a list [40, 80]."
            ) from None
    return found


def failure_line(failure: Failure) -> str:
    """Return the input and the reason on one line; most reasons name the input already."""
    named = [name for name in (failure.id, " ".join(failure.id.split())) if failure.error.startswith(name)]
    reason = failure.error[len(named[0]) :] if named else f": {failure.error}"
    return shown(failure.id) + " ".join(f"|{reason}".split())[1:]


def open_model(
    context: typer.Context, name: str, revision: str | None = None, device: str = "auto", dtype: str = "auto"
) -> ModelHandle:
    """Return a loaded model inside a domain's command, which may not import the program above it.

    The program puts its loading function into ``context.obj`` when it starts; see ``cli.py``.
    """
    return cast("Callable[..., ModelHandle]", context.obj)(name, revision, device, dtype)


def check_folder(folder: Path) -> None:
    """Raise ``ConfigError`` where results cannot go into a folder, before anything is worked out for it.

    The folder need not exist; a command makes it when it has something to write.
    """
    for place in (folder, *folder.parents):
        if place.is_dir():
            if not os.access(place, os.W_OK | os.X_OK):
                raise ConfigError(f"--out {folder}: {place} may not be written to. Choose another folder.")
            return
        if place.exists():
            raise ConfigError(f"--out {folder}: {place} is a file. Name a folder.")


def check_file(file: Path, suffix: str) -> None:
    """Raise ``ConfigError`` where a result cannot become this file, before anything is worked out for it."""
    if file.suffix.lower() != suffix or file.is_dir():
        raise ConfigError(f"--out {file}: name a file that ends in {suffix}.")
    check_folder(file.parent)


def progress_line() -> Any:
    """Return a progress callback on a terminal, else None."""
    if not sys.stderr.isatty():
        return None
    return lambda done, total: print(
        f"\r{done:,} of {total:,}", end="\n" if done == total else "", file=sys.stderr
    )


def finish(failed: int, total: int) -> None:
    """Leave with the exit status of ``failed`` among ``total`` inputs; return when none failed."""
    if failed:
        raise typer.Exit(1 if failed == total else PARTIAL)
