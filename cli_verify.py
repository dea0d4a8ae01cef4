"""``verticlip hub verify`` and ``verticlip hub probe``: check a model, and write what others check by."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .core.commandline import Json, Revision, check_file
from .core.console import number, print_json, print_table, say

if TYPE_CHECKING:
    from .hub.certificate import Certificate

_FAILED = 1


def verify(
    model: Annotated[
        str | None, typer.Argument(help="Model name, folder, or Hub repository org/name.", show_default=False)
    ] = None,
    revision: Revision = None,
    goldens: Annotated[
        Path | None,
        typer.Option(help="Folder with golden cases as SYSTEM/CASE; the packaged ones are used as well."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write the certificate to this .json file.")] = None,
    check: Annotated[
        Path | None,
        typer.Option(help="Check a certificate instead: its own hash, and the files where they are here."),
    ] = None,
    strict: Annotated[
        bool, typer.Option(help="Exit with status 1 unless the verdict is 'verified'.", show_default=False)
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the certificate on one line, and no table.")
    ] = False,
) -> None:
    """Check a model here and print its certificate.

    The model is fetched when it is not on this machine. Every file is compared with what the registry, the
    Hub, the first download and the stored probe say; the stored probe is run again; golden cases of the code
    that the model runs are replayed. The certificate goes to standard output as JSON, a summary to standard
    error. Exit status 1 when anything disagrees; what could not be checked is said and, without --strict, is
    no failure.
    """
    from .core.errors import ConfigError

    if check is not None:
        if revision or goldens or out:
            raise ConfigError("--check reads a certificate; leave --revision, --goldens and --out away.")
        _check(check, model, strict=strict, as_json=as_json)
        return
    if model is None:
        raise ConfigError("Name a model, a folder or a Hub repository, or a certificate with --check FILE.")
    if out is not None:
        check_file(out, ".json")
    from .hub.certificate import verify_model

    found = verify_model(model, revision, goldens=goldens)
    content = found.to_dict()
    if out is not None:
        from .core.files import write_json_atomic

        write_json_atomic(out, content)
    if as_json:
        print_json([content])
    else:
        _show(found)
        if out is None:
            import json

            print(json.dumps(content, indent=2, ensure_ascii=False))
        else:
            say(f"wrote {out}")
    _exit(found, strict=strict)


def _exit(found: Certificate, *, strict: bool) -> None:
    if found.verdict == "failed" or (strict and found.verdict != "verified"):
        raise typer.Exit(_FAILED)


def probe(
    folder: Annotated[Path, typer.Argument(help="Model folder, for example of a training run.")],
    seed: Annotated[int, typer.Option(help="Of the made-up inputs.")] = 0,
    as_json: Json = False,
) -> None:
    """Write the stored probe that others check a model by.

    These are probe.json and probe.safetensors: a few made-up inputs and the outputs of the model. A probe
    that is there and still holds stays as it is.
    """
    from .core.errors import ConfigError
    from .hub.stored_probe import PROBE_FILE, PROBE_TENSORS, write_probe

    if not folder.is_dir():
        raise ConfigError(f"{folder}: no such folder. Give a model folder.")
    record = write_probe(folder, seed=seed).record
    if as_json:
        print_json([record.model_dump(mode="json")])
        return
    print_table(("output", "shape"), [(name, str(list(shape))) for name, shape in record.outputs.items()])
    say(f"{folder}: {PROBE_FILE} and {PROBE_TENSORS} hold {len(record.outputs)} outputs")


def _show(found: Certificate) -> None:
    """Print what was checked, for people, to standard error."""
    import contextlib
    import sys

    with contextlib.redirect_stdout(sys.stderr):
        print_table(("file", "bytes", "sha256", "stated by", ""), [_file_row(row) for row in found.files])
        print()
        rows = [
            (row.name, number(row.error), number(row.tolerance), row.status) for row in found.probe.checks
        ]
        if rows:
            print_table(("stored probe", "largest error", "tolerance", ""), rows)
            print()
        cases = [
            (
                f"{one.system}/{one.case}",
                ", ".join(one.covers) or "-",
                str(one.compared),
                number(one.error),
                number(one.tolerance),
                one.status,
            )
            for one in found.parity
        ]
        if cases:
            print_table(
                ("golden case", "runs of the model", "outputs", "worst error", "tolerance", ""), cases
            )
            print()
    say(f"{found.model} at {found.revision or 'no revision'}: {found.verdict}")
    for reason in found.reasons:
        say(f"  {reason}")
    for note in found.notes:
        say(f"  note: {note}")


def _file_row(row: Any) -> tuple[str, ...]:
    stated = ", ".join((*row.agree, *row.disagree)) or row.expected_by or "nobody"
    state = {True: "ok", False: "DIFFERS", None: "not compared"}[row.ok]
    size = "-" if row.bytes is None else f"{row.bytes:,}"
    return (
        row.name,
        size,
        (row.sha256 or "-")[:16],
        stated,
        "MISSING" if row.ok is False and not row.sha256 else state,
    )


def _check(path: Path, model: str | None, *, strict: bool, as_json: bool) -> None:
    """Check a certificate's own hash, and the files of the model where it is on this machine."""
    from .hub.certificate import check_certificate, compare_files, folder_here

    found = check_certificate(path)
    folder = folder_here(found, model)
    differences = None if folder is None else compare_files(found, folder)
    if as_json:
        facts = {"model": found.model, "revision": found.revision, "verdict": found.verdict}
        print_json(
            [{**facts, "sha256": found.sha256, "compared": folder is not None, "differences": differences}]
        )
    else:
        say(f"{path}: whole, made {found.date}; {found.model} at {found.revision}: {found.verdict}")
        if differences is None:
            say(f"  the files of {found.model} are not on this machine; name a folder to compare them")
        elif not differences:
            say("  the files here are those of the certificate")
        for line in differences or ():
            say(f"  {line}")
        for reason in found.reasons:
            say(f"  {reason}")
    if differences:
        raise typer.Exit(_FAILED)
    _exit(found, strict=strict)
