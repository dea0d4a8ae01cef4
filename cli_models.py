"""``verticlip models``: list them, look at one, convert published weights."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .core.commandline import Json, read_pairs
from .core.console import plain, print_json, print_table, say

if TYPE_CHECKING:
    from .hub.catalogue import Row

app = typer.Typer(help="Models that can be loaded by name.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="Model name, e.g. medical/unimed-clip-vit-b16.")]


class Format(str, enum.Enum):
    """How the list is printed."""

    table = "table"
    md = "md"
    json = "json"
    csv = "csv"


@app.command("list")
def list_models(
    form: Annotated[Format, typer.Option("--format", help="md is the table of the README.")] = Format.table,
    domain: Annotated[str | None, typer.Option(help="Only of this domain: medical, audio ...")] = None,
    task: Annotated[str | None, typer.Option(help="Only for this task, e.g. retrieval.")] = None,
    takes: Annotated[str | None, typer.Option(help="Only those that take it: image, text, audio.")] = None,
    licence: Annotated[
        str | None, typer.Option(help="Only licences that begin with it, e.g. mit or cc-by.")
    ] = None,
    write: Annotated[
        Path | None,
        typer.Option(help="With --format md: put the table between the markers of this file."),
    ] = None,
    as_json: Json = False,
) -> None:
    """List the models that can be loaded by name."""
    from .hub import catalogue

    form = Format.json if as_json else form
    if write is not None and form is not Format.md:
        raise typer.BadParameter("--write goes with --format md.")
    found = catalogue.rows(domain=domain, task=task, modality=takes, licence=licence)
    if form is Format.json:
        print_json(_row_facts(row) for row in found)
    elif form is Format.csv:
        print(catalogue.as_csv(found), end="")
    elif write is not None:
        changed = catalogue.write_between_markers(write, catalogue.as_markdown(found))
        say(f"{write}: {len(found)} models{'' if changed else ', as before'}.")
    elif form is Format.md:
        print(catalogue.as_markdown(found), end="")
    else:
        print_table(
            ("name", "takes", "licence", "access", "tasks"),
            [
                (
                    row.name,
                    "+".join(row.modalities) or "(part)",
                    catalogue.licence_words(row.licence),
                    row.access,
                    ", ".join(row.tasks),
                )
                for row in found
            ],
        )


@app.command("info")
def model_info(
    name: Annotated[str, typer.Argument(help="Model name, folder, or Hub repository org/name.")],
    as_json: Json = False,
) -> None:
    """Show what a model is, what it takes and what it may be used for; published weights are not fetched."""
    from .core import registry
    from .hub.catalogue import row_of

    known = registry.models().get(name)
    facts: dict[str, Any] = _row_facts(row_of(known)) if known else {"name": name}
    files: list[dict[str, Any]] = []
    if known:
        facts |= {key: getattr(known, key) for key in ("intended_use", "paper", "extra")}
    if known and isinstance(known.weights, registry.PublishedWeights):
        from .hub.published import published_facts

        facts |= published_facts(known)
        files = facts["files"]
    else:
        stored = _stored_facts(name, facts.get("licence", ""))
        # A model without towers, whose config names no modality, keeps what the registry says.
        facts |= {key: value for key, value in stored.items() if value or key not in facts}
    facts["export"] = _export_targets(name, facts.get("converted"))
    facts["check"] = f"verticlip hub verify {name}"
    if as_json:
        print_json([facts])
        return
    _print_facts(facts, files, known)


@app.command("convert")
def convert_model(
    name: Name,
    out: Annotated[Path, typer.Option(help="Model folder to write; must not exist or be empty.")],
    files: Annotated[
        list[str],
        typer.Option("--file", help="ROLE=PATH, a folder with the published names, or a path. Repeatable."),
    ],
    any_file: Annotated[
        bool,
        typer.Option("--any-file", help="Accept weights that are not the published ones: a variant."),
    ] = False,
    options: Annotated[
        list[str] | None,
        typer.Option("--option", help="KEY=VALUE for the converter of weights of other sizes. Repeatable."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Convert published weights that you have into a model folder, without network."""
    from .core import registry
    from .hub.conversions import convert_files, roles
    from .hub.published import notice

    spec = registry.model_spec(name)
    found = roles(spec, files)
    say(notice(spec))
    result = convert_files(spec, found, out, any_file=any_file, options=read_pairs(options, "--option"))
    if as_json:
        from dataclasses import asdict

        print_json(
            [
                {
                    "out": str(result.folder),
                    "files": list(map(asdict, result.files)),
                    "unverified": list(result.unverified),
                    "report": result.report,
                }
            ]
        )
        return
    print_table(
        ("part", "loaded", "missing", "unexpected", "dropped"),
        [
            (
                part,
                str(row["loaded"]),
                *(str(len(row[kind])) for kind in ("missing", "unexpected", "dropped")),
            )
            for part, row in result.report.items()
        ],
    )
    say(f"model folder: {result.folder}")
    if result.unverified:
        say(
            f"note: no SHA-256 is known of {', '.join(result.unverified)}; nothing says that these are the "
            "published files."
        )


@app.command("forget")
def forget_model(name: Name, as_json: Json = False) -> None:
    """Accept files that their authors replaced: forget which were downloaded first."""
    from dataclasses import asdict

    from .core import registry
    from .hub.published import forget_first_use

    gone = forget_first_use(registry.model_spec(name))
    if as_json:
        print_json([asdict(file) for file in gone])
        return
    for file in gone:
        print(f"{file.repo_id}/{file.name}\t{file.revision}\t{file.commit}\t{file.sha256}")
    say(f"{len(gone)} files forgotten; the next load of {name} records what it downloads.")


@app.command("prune")
def prune_models(
    name: Annotated[str | None, typer.Argument(help="Only this model; default: all.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    as_json: Json = False,
) -> None:
    """Remove converted models that no load would read: of earlier versions, unfinished, forgotten."""
    from .hub.cache import prune

    gone = prune(name, dry_run=dry_run)
    if as_json:
        print_json({**vars(one), "folder": str(one.folder)} for one in gone)
    else:
        for one in gone:
            print(f"{one.model}\t{one.folder}\t{one.bytes / 1e9:.2f} GB\t{one.reason}")
    total = sum(one.bytes for one in gone) / 1e9
    say(f"{len(gone)} folders, {total:.2f} GB {'would be removed' if dry_run else 'removed'}.")


def _stored_facts(name: str, licence: str) -> dict[str, Any]:
    """Return the facts of a model that its own config states; weights are not fetched."""
    from .hub.loading import stored_facts

    facts = stored_facts(name)
    return {**facts, "licence": facts["licence"] or licence}


def _row_facts(row: Row) -> dict[str, Any]:
    """Return a row of the catalogue as a mapping."""
    from dataclasses import asdict

    return asdict(row)


def _export_targets(name: str, converted: str | None) -> dict[str, str] | None:
    """Return {format: why not, "" where it can}; None where no config is at hand yet."""
    from .core import registry
    from .core.config import ModelConfig, ProcessorConfig, read_config
    from .core.files import CONFIG_FILE, PROCESSOR_FILE
    from .hub.catalogue import packaged_folder

    known = registry.models().get(name)
    folder = (packaged_folder(known) if known else None) or Path(converted or name).expanduser()
    if not all((folder / file).is_file() for file in (CONFIG_FILE, PROCESSOR_FILE)):
        return None
    from .hub.export import exportable

    config = read_config(ModelConfig, folder / CONFIG_FILE)
    return exportable(config, read_config(ProcessorConfig, folder / PROCESSOR_FILE))


def _print_facts(facts: dict[str, Any], files: Sequence[dict[str, Any]], known: Any) -> None:
    """Print what is known of a model for people."""
    from .hub.catalogue import count_words

    shown = {key: value for key, value in facts.items() if key not in ("files", "measured")}
    if "parameters" in facts:
        shown["parameters"] = count_words(facts["parameters"])
    if facts["export"] is None:
        del shown["export"]
    else:
        shown["export"] = [target for target, reason in facts["export"].items() if not reason] or "-"
    if files:
        shown["converted"] = facts["converted"] or _not_yet(known)
    print_table(
        ("", ""), [(key, plain(value)) for key, value in shown.items() if value not in ("", None, (), [])]
    )
    for figure in facts.get("measured", ()):
        how = figure["command"] or f"as published: {figure['source']}"
        print(f"\n{figure['value']}\n    {how}")
    if files:
        print()
        rows = [
            (file["role"] + (" (optional)" if file["optional"] else ""), _place(file),
             (file["commit"] or file["revision"]) if file["repo_id"] else "-",
             file["size"] or "-", file["sha256"])
            for file in files
        ]  # fmt: skip
        print_table(("role", "file", "revision", "size", "sha256"), rows)


def _place(file: dict[str, Any]) -> str:
    """Return where a published file is."""
    if file["page"]:
        return f"{file['name']}, {file['page']}"
    return f"{file['repo_id']}/{file['name']}" if file["repo_id"] else f"{file['name']}, your own"


def _not_yet(spec: Any) -> str:
    """Return what brings the converted folder about."""
    from .hub.published import how_by_hand

    return how_by_hand(spec) or "not yet; the first load fetches the files below"
