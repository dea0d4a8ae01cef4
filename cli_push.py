"""``verticlip hub push``: check a model folder and publish it on the Hub."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .core.commandline import Json
from .core.console import print_json, print_table, say, shown
from .core.errors import ConfigError

if TYPE_CHECKING:
    from .hub.publish import Plan, Published


def push(
    folder: Annotated[
        Path | None, typer.Argument(help="Model folder, as training or converting wrote it.")
    ] = None,
    repository: Annotated[str | None, typer.Argument(help="Where to publish it: org/name.")] = None,
    private: Annotated[
        bool,
        typer.Option("--private", help="Leave a new repository private; an existing one stays as it is."),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything, say what would change, and change nothing.")
    ] = False,
    message: Annotated[str | None, typer.Option(help="Message of the commit.")] = None,
    packaged: Annotated[
        str | None,
        typer.Option(metavar="ORG", help="Publish every model of this package as ORG/<room>-<name> instead."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Check a model folder and publish it on the Hub in one commit.

    Nothing becomes public before everything is valid. The token is that of HF_TOKEN or `hf auth login`.
    """
    if packaged is not None:
        if folder is not None or message is not None:
            raise ConfigError(
                "--packaged publishes the models of this package: give no folder and no --message."
            )
        _push_packaged(packaged, private=private, dry_run=dry_run, as_json=as_json)
        return
    if folder is None or repository is None:
        raise ConfigError("What to publish, and where? Write: verticlip hub push FOLDER org/name")
    from .hub.publish import plan
    from .hub.publish import push as carry_out

    made = plan(folder, repository, private=private)
    _stop_on_errors({"": made}, as_json=as_json)
    with _quiet_bars():
        done = carry_out(made, dry_run=dry_run, message=message)
    if as_json:
        print_json([_row(made, done, dry_run=dry_run)])
    else:
        _show(done, dry_run=dry_run)


def _push_packaged(organization: str, *, private: bool, dry_run: bool, as_json: bool) -> None:
    from .hub.packaged import plan_packaged, push_packaged, weights_ref

    plans = plan_packaged(organization, private=private)
    _stop_on_errors(plans, as_json=as_json)
    with _quiet_bars():
        # Each is told before the next one begins: should that fail, what is public is known.
        for name, one in push_packaged(plans, dry_run=dry_run):
            if as_json:
                more = {} if dry_run else {"weights_ref": weights_ref(name, one)}
                print_json([{"model": name, **_row(plans[name], one, dry_run=dry_run), **more}])
                continue
            _show(one, dry_run=dry_run)
            if not dry_run:
                print(f"\n{weights_ref(name, one)}")
            print()
    say(f"{len(plans)} models {'would be' if dry_run else 'are'} published under {organization}.")


@contextlib.contextmanager
def _quiet_bars() -> Iterator[None]:
    """Leave out the client's progress bars where nobody watches a terminal."""
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    if sys.stderr.isatty() or are_progress_bars_disabled():
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()


def _stop_on_errors(plans: dict[str, Plan], *, as_json: bool) -> None:
    """Print what was found and leave with status 1 where an error forbids publishing."""
    if not as_json:
        for made in plans.values():
            _show_findings(made, several=len(plans) > 1)
    failed = [made for made in plans.values() if made.errors]
    if not failed:
        return
    if as_json:
        print_json(_facts(made) for made in failed)
    errors = sum(len(made.errors) for made in failed)
    say(f"error: {errors} {'error' if errors == 1 else 'errors'}: nothing was published.")
    raise typer.Exit(1)


def _show_findings(made: Plan, *, several: bool) -> None:
    """Print each finding, and below those that ask for the same what to do about them."""
    for number, one in enumerate(made.findings):
        place = ": ".join(part for part in (made.repo_id if several else "", one.file) if part)
        print(shown(f"{one.level:<6}  {place}{': ' if place else ''}{one.message} [{one.code}]"))
        following = made.findings[number + 1 : number + 2]
        if not following or (following[0].advice, following[0].level) != (one.advice, one.level):
            print(shown(f"        {one.advice}"))
    if made.findings:
        print()


def _facts(made: Plan) -> dict[str, Any]:
    """Return a plan as JSON has it."""
    return {
        "repository": made.repo_id,
        "files": {name: {"sha256": digest, "bytes": size} for name, (digest, size) in made.files.items()},
        "findings": [vars(finding) for finding in made.findings],
    }


def _row(made: Plan, done: Published, *, dry_run: bool) -> dict[str, Any]:
    return {
        **_facts(made),
        "url": done.url,
        "commit": done.commit or None,
        "changed": done.changed,
        "changes": vars(done.changes) if done.changes else None,
        "private": done.private,
        "dry_run": dry_run,
        "notes": done.notes,
        "load": done.load if done.commit else None,
    }


def _show(done: Published, *, dry_run: bool) -> None:
    what: dict[str, str] = {}
    if done.changes is not None:
        for word in ("added", "changed", "same", "deleted"):
            what |= dict.fromkeys(getattr(done.changes, word), "as it is" if word == "same" else word)
    rows = [(name, f"{size:,}", digest, what.get(name, "")) for name, (digest, size) in done.files.items()]
    rows += [(name, "", "", "deleted") for name in (done.changes.deleted if done.changes else ())]
    print_table(("file", "bytes", "sha256", ""), rows)
    print()
    state = "private" if done.private else "public"
    if dry_run:
        said = "would be committed" if done.changed else "nothing to do"
        print(f"{done.url} ({said}; dry run, nothing was changed)")
    else:
        print(f"{done.url} ({state}{'' if done.changed else '; nothing changed'})")
    if done.commit:
        print(f"commit {done.commit}\n{done.load}")
    for note in done.notes:
        say(f"note: {note}")
