"""``verticlip liveness simulate``: simulated attacks from ordinary photos, to try the other commands on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ....core.commandline import Json, check_folder, progress_line, split_labels
from ....core.console import print_json, print_table, say


def simulate(
    photos: Annotated[
        Path,
        typer.Argument(
            metavar="PHOTOS",
            help="Folder of ordinary photos, searched through.",
            exists=True,
            file_okay=False,
        ),
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="New folder for pictures and manifest.csv.")],
    part: Annotated[
        str,
        typer.Option(
            help="train (splits train and dev) or test; the parameters in simulate/ranges.yaml never meet."
        ),
    ] = "train",
    families: Annotated[
        str | None,
        typer.Option(
            help="Comma-separated: print, screen, bezel, replay, low_light, id_card, cut_out, bent, "
            "composite; default: all."
        ),
    ] = None,
    leave_out: Annotated[
        str | None,
        typer.Option(
            help="Comma-separated families without whose pictures all others are made just as they would be."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of all draws; the same seed makes the same files.")] = 0,
    bona_fide: Annotated[int, typer.Option(min=0, help="Bona fide presentations of each photo.")] = 1,
    attacks: Annotated[
        int, typer.Option(min=0, help="Attack presentations of each photo; families take turns.")
    ] = 2,
    dev_share: Annotated[
        float,
        typer.Option(min=0.0, max=0.9, help="Share of the subjects of the train part for the split dev."),
    ] = 0.1,
    apart_from: Annotated[
        Path | None,
        typer.Option(
            metavar="PHOTOS",
            help="Leave out photos nearly equal to one in this folder.",
            exists=True,
            file_okay=False,
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Make simulated attacks from ordinary photos.

    Bona fide presentations are made through the same camera, and a manifest of all. They serve to try out
    calibration, evaluation and training. Error rates on them say how well simulated recapture is told, and
    nothing about live faces.
    """
    from ....core.config import parse_config
    from ..simulate.dataset import Plan, write_dataset

    check_folder(out)
    given = {
        "part": part,
        "families": split_labels(families) or (),
        "leave_out": split_labels(leave_out) or (),
        "seed": seed,
        "bona_fide": bona_fide,
        "attacks": attacks,
        "dev_share": dev_share,
    }
    plan = parse_config(Plan, given, source="liveness simulate")
    written = write_dataset(photos, out, plan, apart_from=apart_from, progress=progress_line())
    if as_json:
        print_json(
            [
                {"split": split, "family": family, "pictures": count}
                for (split, family), count in sorted(written.counts.items())
            ]
        )
    else:
        rows = [(split, family, str(count)) for (split, family), count in sorted(written.counts.items())]
        print_table(("split", "family", "pictures"), rows)
    say(f"{written.manifest}: {written.subjects:,} subjects, nearly equal photos as one.")
    if written.left_out:
        say(f"{written.left_out:,} photos were left out: nearly equal to one in {apart_from}.")
