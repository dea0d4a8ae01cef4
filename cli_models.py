"""``verticlip models``: list them, look at one, convert published weights."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from .core.commandline import Json, read_pairs
from .core.console import plain, print_json, print_table, say

app = typer.Typer(help="Models that can be loaded by name.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="Model name, e.g. medical/unimed-clip-vit-b16.")]


@app.command("list")
def list_models(as_json: Json = False) -> None:
    """List the models that can be loaded by name."""
    from .core import registry

    rows = [_spec_facts(spec) for spec in registry.models().values()]
    if as_json:
        print_json(rows)
    else:
        keys = ("name", "domain", "takes", "licence", "access", "summary")
        print_table(keys, [tuple(_shown(row)[key] for key in keys) for row in rows])


@app.command("info")
def model_info(
    name: Annotated[str, typer.Argument(help="Model name, folder, or Hub repository org/name.")],
    as_json: Json = False,
) -> None:
    """Show what a model is, what it takes and what it may be used for; published weights are not fetched."""
    from .core import registry

    known = registry.models().get(name)
    facts: dict[str, Any] = _spec_facts(known) if known else {"name": name}
    files: list[dict[str, Any]] = []
    if known and isinstance(known.weights, registry.PublishedWeights):
        from .hub.published import published_facts

        facts |= published_facts(known)
        files = facts["files"]
    else:
        stored = _stored_facts(name, facts.get("licence", ""))
        # A model without towers, whose config names no modality, keeps what the registry says.
        facts |= {key: value for key, value in stored.items() if value or key not in facts}
    if as_json:
        print_json([facts])
        return
    facts.pop("files", None)
    if files:
        facts["converted"] = facts["converted"] or _not_yet(known)
    print_table(("", ""), [(key, plain(value)) for key, value in facts.items() if value not in ("", None)])
    if files:
        print()
        rows = [
            (file["role"] + (" (optional)" if file["optional"] else ""), _place(file),
             (file["commit"] or file["revision"]) if file["repo_id"] else "-",
             file["size"] or "-", file["sha256"])
            for file in files
        ]  # fmt: skip
        print_table(("role", "file", "revision", "size", "sha256"), rows)


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


def _spec_facts(spec: Any) -> dict[str, Any]:
    keys = (
        "name",
        "domain",
        "summary",
        "modalities",
        "embed_dim",
        "licence",
        "intended_use",
        "paper",
        "extra",
    )
    return {**{key: getattr(spec, key) for key in keys}, "access": _access(spec)}


def _place(file: dict[str, Any]) -> str:
    """Return where a published file is."""
    if file["page"]:
        return f"{file['name']}, {file['page']}"
    return f"{file['repo_id']}/{file['name']}" if file["repo_id"] else f"{file['name']}, your own"


def _not_yet(spec: Any) -> str:
    """Return what brings the converted folder about."""
    from .hub.published import how_by_hand

    return how_by_hand(spec) or "not yet; the first load fetches the files below"


def _access(spec: Any) -> str:
    """Return ``packaged``, ``open``, ``gated``, or ``by hand`` for files a person has to download."""
    from .core.registry import PublishedWeights

    if isinstance(spec.weights, PublishedWeights):
        if spec.weights.by_hand:
            return "by hand"
        return "gated" if spec.weights.gated else "open"
    return "packaged" if spec.weights.packaged else "open"


def _shown(row: dict[str, Any]) -> dict[str, str]:
    """Return the facts of a model as the list shows them."""
    licence = row["licence"] + (" (non-commercial)" if "-NC" in row["licence"].upper() else "")
    return {
        **{key: plain(value) for key, value in row.items()},
        "takes": "+".join(row["modalities"]) or "(part)",
        "licence": licence,
    }
