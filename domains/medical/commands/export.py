"""``verticlip medical deidentify``: copies without identity, and the key their UIDs are made with."""

from __future__ import annotations

import os
import secrets
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from ....core.commandline import Json, finish
from ....core.console import print_json, say, shown
from ....core.errors import ConfigError, InputError

if TYPE_CHECKING:
    from ..loaders.deidentify import DeidentifyOptions
    from ..loaders.export import ExportedFile

_SECRET_BYTES = 4096


def deidentify(
    source: Annotated[Path, typer.Argument(metavar="IN", help="DICOM file, or folder with subfolders.")],
    target: Annotated[
        Path, typer.Argument(metavar="OUT", help="File for a file; an empty or new folder for a folder.")
    ],
    dates: Annotated[
        str, typer.Option(help="remove, keep, or shift by a number of days per patient.")
    ] = "remove",
    retain: Annotated[
        list[str] | None, typer.Option(help="What may stay: patient, device, institution, uids. Repeatable.")
    ] = None,
    blank: Annotated[
        list[str] | None, typer.Option(help="Box x0,y0,x1,y1 set to 0 in every frame. Repeatable.")
    ] = None,
    keep_names: Annotated[
        bool,
        typer.Option("--keep-names", help="Keep the names of files and folders, which may name a patient."),
    ] = False,
    secret_file: Annotated[
        Path | None,
        typer.Option(help="Key of the new UIDs, made if absent; the same key gives the same UIDs again."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done and write nothing.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Copy DICOM without identity: basic profile of PS3.15, UIDs replaced consistently.

    In a folder tree a file is named by its new SOPInstanceUID and a folder by a keyed hash of its
    name. The list this command prints links both to the originals: keep it where those are.
    Headers are treated, pixels are not, except for --blank: text in the image and faces stay.
    """
    from ..loaders.export import export_each

    options = _export_options(dates, retain, blank, keep_names)
    secret = None if secret_file is None else _read_secret(secret_file, target, dry_run=dry_run)
    counts: Counter[str] = Counter()
    warnings: Counter[str] = Counter()
    results = export_each(source, target, options=options, secret=secret, dry_run=dry_run, show_paths=True)
    for result in results:
        counts[result.status] += 1
        warnings.update(result.warnings)
        _print_export(result, as_json=as_json)
    done = counts["written"] + counts["planned"]
    for text, count in warnings.most_common():
        say(f"check {count} of {done}: {text}")
    left = "".join(f", {counts[word]} {word}" for word in ("skipped", "failed") if counts[word])
    say(f"{done} {'file' if done == 1 else 'files'} {'would be ' if dry_run else ''}written{left}")
    if not done + counts["failed"]:
        raise InputError(f"{source}: nothing to copy. Give a DICOM file, or a folder that holds some.")
    finish(counts["failed"], done + counts["failed"])


def _export_options(
    dates: str, retain: list[str] | None, blank: list[str] | None, keep_names: bool
) -> DeidentifyOptions:
    from ..loaders.deidentify import DeidentifyOptions

    boxes = []
    for text in blank or ():
        parts = text.split(",")
        if len(parts) != 4 or not all(part.strip().isdigit() for part in parts):
            raise ConfigError(f"--blank {text!r} is not a box x0,y0,x1,y1 in pixels, for example 0,0,200,40.")
        boxes.append(tuple(int(part) for part in parts))
    return DeidentifyOptions(
        dates=cast("Any", dates), retain=tuple(retain or ()), blank=tuple(boxes), keep_names=keep_names
    )


def _print_export(result: ExportedFile, *, as_json: bool) -> None:
    out = None if result.target is None else str(result.target)
    facts = {name: getattr(result, name) for name in ("status", "removed", "emptied", "replaced", "warnings")}
    reason = None if result.error is None else " ".join(str(result.error).split())
    if as_json:
        print_json([{"id": str(result.source), "out": out, **facts, "reason": reason}])
    elif out is not None:
        treated = f"{result.removed} removed, {result.emptied} emptied, {result.replaced} replaced"
        print(f"{shown(str(result.source))}\t{shown(out)}\t{treated}", flush=True)
    if reason is not None:
        say(f"{result.status}: {reason}")


def _read_secret(path: Path, target: Path, *, dry_run: bool) -> bytes | None:
    """Return the key in a file, which is made when absent; None in a dry run without one.

    Raises:
        ConfigError: the file lies in the output or is too long to be a key.
    """
    inside = target.resolve()
    if inside in (path.resolve(), *path.resolve().parents):
        raise ConfigError(
            f"--secret-file {path}: lies in OUT and would be handed on with it. With the key, new UIDs can "
            "be linked to the old ones: keep it where the originals are."
        )
    if path.is_dir():
        raise ConfigError(f"--secret-file {path}: is a folder. Name a file.")
    if path.exists():
        if path.stat().st_size > _SECRET_BYTES:
            raise ConfigError(
                f"--secret-file {path}: over {_SECRET_BYTES} bytes; this is no key. Name another file."
            )
        if os.name == "posix" and path.stat().st_mode & 0o077:
            say(f"note: others may read {path}. Run: chmod 600 {path}")
        return path.read_bytes().rstrip(b"\r\n")
    if dry_run:
        say(f"{path} would be made; the UIDs shown are not the ones it will give")
        return None
    secret = secrets.token_hex(32).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    # Private from the first byte on, and never written over a file that appeared meanwhile.
    stream = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
    try:
        with stream:
            stream.write(secret)
    except OSError:
        # A full disk leaves an empty file, which the next run would take for a key.
        path.unlink(missing_ok=True)
        raise
    say(f"new key in {path}: whoever holds it can link new UIDs to old ones")
    return secret
