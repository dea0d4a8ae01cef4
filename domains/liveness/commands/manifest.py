"""``verticlip liveness manifest`` and ``flip-lists``: public data sets as manifests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ....core.commandline import Json, check_folder
from ....core.console import print_json, print_table, say
from ....core.errors import ConfigError, DataError

if TYPE_CHECKING:
    from ..protocols.protocol import Protocol


def manifest(
    name: Annotated[str | None, typer.Argument(help="Protocol, such as oulu-npu; see --list.")] = None,
    folder: Annotated[Path | None, typer.Argument(help="The data set as its makers hand it out.")] = None,
    out: Annotated[Path | None, typer.Option(help="Manifest to write: .csv, .tsv or .jsonl.")] = None,
    protocol: Annotated[int | None, typer.Option(help="oulu-npu: 1 to 4. flip: 1 to 3.")] = None,
    fold: Annotated[int | None, typer.Option(help="oulu-npu 3 and 4: the phone that is only tested.")] = None,
    version: Annotated[str | None, typer.Option(help="nuaa: raw, face or normalized.")] = None,
    target: Annotated[str | None, typer.Option(help="flip: the data set that is tested.")] = None,
    source: Annotated[
        list[str] | None, typer.Option(help="flip: a data set to train on; default all others. Repeatable.")
    ] = None,
    shots: Annotated[int | None, typer.Option(help="flip: 0 or 5.")] = None,
    celeb: Annotated[bool, typer.Option(help="flip: train on CelebA-Spoof too.")] = True,
    train_subject: Annotated[
        list[int] | None, typer.Option(help="msu-mfsd without its lists: a client that trains. Repeatable.")
    ] = None,
    dev_share: Annotated[
        float | None, typer.Option(help="Hold out this share of training subjects as a development set.")
    ] = None,
    partial: Annotated[bool, typer.Option(help="Take a data set that is not complete, and say so.")] = False,
    cross_check: Annotated[
        bool, typer.Option(help="oulu-npu: compare with the data set's own lists.")
    ] = True,
    same_bytes: Annotated[
        bool, typer.Option(help="Also look for files of equal content in two splits; reads them.")
    ] = False,
    list_names: Annotated[bool, typer.Option("--list", help="List the protocols and leave.")] = False,
    as_json: Json = False,
) -> None:
    """Turn a public data set into a manifest.

    Nothing is downloaded: the data sets need their makers' agreement. Counts per split and species, what is
    not verified about the protocol, and how published figures choose their threshold are printed.
    """
    from ..protocols.registry import SUMMARIES, open_protocol

    if list_names:
        print_table(("protocol", "what it has"), list(SUMMARIES.items()))
        return
    if name is None or folder is None:
        raise ConfigError("Name a protocol and the folder of its data set. --list shows the protocols.")
    if out is not None:
        _check_out(out)
    options: dict[str, Any] = {
        "protocol": protocol, "fold": fold, "version": version, "target": target, "sources": source,
        "shots": shots, "train_subjects": train_subject,
        # Switches count as given where they are not as they stand by default.
        "celeb": None if celeb else False, "partial": partial or None,
        "cross_check": None if cross_check else False,
    }  # fmt: skip
    given = {option: value for option, value in options.items() if value is not None}
    read = open_protocol(name, folder, dev_share=dev_share, **given)
    notes = [*read.note, *_overlap(read, same_bytes)]
    root = None if out is None else _write(read, out, folder)
    if as_json:
        print_json([_described(read, notes, out, root)])
        return
    _show(read, notes)
    if out is not None:
        _tell_written(read, out, root)


def flip_lists(
    dataset: Annotated[str, typer.Argument(help="msu, casia, replay, oulu, cefa, surf, wmca or celeb.")],
    folder: Annotated[
        Path, typer.Argument(help="Data folder with MCIO/frame and WCS/frame; lists go to txt.")
    ],
    videos: Annotated[
        Path | None,
        typer.Option(
            help="The original data set, to name frames that are not cut out yet (msu, casia, replay, oulu)."
        ),
    ] = None,
    partial: Annotated[bool, typer.Option(help="Take a data set that is not complete.")] = False,
    as_json: Json = False,
) -> None:
    """Rebuild the lists of one data set of FLIP.

    Train, test and shot lists come from its frames or its videos. The published lists have no licence and
    are not shipped. Counts are compared with theirs; which videos are drawn as shots differs.
    """
    from ..protocols.flip_lists import names_in, names_of_videos, write_lists

    check_folder(folder)
    names = names_in(dataset, folder) if videos is None else names_of_videos(dataset, videos, partial=partial)
    counts = write_lists(dataset, names, folder)
    if as_json:
        print_json(
            [{"list": one, "lines": mine, "published": known} for one, (mine, known) in counts.items()]
        )
        return
    rows = [
        (one, f"{mine:,}", "-" if known is None else f"{known:,}") for one, (mine, known) in counts.items()
    ]
    print_table(("list", "lines", "published"), rows)
    if any(known not in (None, mine) for mine, known in counts.values()):
        say("The counts differ from the published lists: frames are missing, or were cut out another way.")


def _check_out(out: Path) -> None:
    """Raise ``ConfigError`` where no manifest can be written, before the data set is read."""
    from ..protocols.manifest import SUFFIXES

    if out.suffix.lower() not in SUFFIXES or out.is_dir():
        raise ConfigError(f"--out {out}: a manifest is a {', '.join(SUFFIXES)} file.")
    check_folder(out.parent)


def _write(read: Protocol, out: Path, folder: Path) -> Path | None:
    """Write the manifest; return the folder its paths start from where that is not its own."""
    from ..protocols.manifest import write_manifest

    within = folder.resolve().is_relative_to(out.parent.resolve())
    root = None if within else folder
    write_manifest(read.entries, out, root=root)
    return root


def _tell_written(read: Protocol, out: Path, root: Path | None) -> None:
    # Repeats of shots are written once.
    say(f"{len({entry.id for entry in read.entries}):,} presentations written to {out}")
    if root is not None:
        say(f"its paths start from {root}: pass --root {root} when you read it")


def _overlap(read: Protocol, same_bytes: bool) -> Sequence[str]:
    """Return what the splits share, as a note: a published protocol is shown as it is, not refused."""
    from ..protocols.subjects import check_disjoint, subject_notes

    notes = list(subject_notes(read.entries))
    try:
        check_disjoint(read.entries, by_content=same_bytes, few_shot=True)
    except DataError as error:
        notes.append(f"Not disjoint: {error}")
    return notes


def _described(read: Protocol, notes: Sequence[str], out: Path | None, root: Path | None) -> dict[str, Any]:
    return {
        "protocol": read.name,
        "threshold_rule": read.rule,
        "published_figures_take": read.oracle_habit,
        "presentations": read.counts(),
        "notes": list(notes),
        "manifest": None if out is None else out.as_posix(),
        "root": None if root is None else root.as_posix(),
    }


def _show(read: Protocol, notes: Sequence[str]) -> None:
    """Print counts per split and species, and what to know about the protocol."""
    rows = []
    for split, species in read.counts().items():
        for kind, count in species.items():
            mine = [entry for entry in read.entries if (entry.split, entry.species) == (split, kind)]
            persons = {entry.subject_id for entry in mine if entry.subject_id is not None}
            rows.append((split, kind, f"{count:,}", f"{len(persons):,}" if persons else "-"))
    say(read.name)
    print_table(("split", "species", "presentations", "subjects"), rows)
    if read.oracle_habit is None:
        say(f"threshold: {read.rule}, chosen on the development set and applied unchanged to test")
    elif read.of("dev"):
        say(
            f"threshold: {read.rule}, chosen on the subjects held out; published figures take "
            f"{read.oracle_habit}: they are optimistic and belong in another column"
        )
    else:
        say(
            f"no development set in this protocol: published figures take {read.oracle_habit} ({read.rule}, "
            "flagged as an oracle). --dev-share 0.2 makes one of training subjects."
        )
    for note in notes:
        say(f"note: {note}")
