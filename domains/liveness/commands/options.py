"""Options of the commands that ask a detector, and opening the one they name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from ....core.commandline import open_model, read_pairs
from ....core.errors import ConfigError, nearest

if TYPE_CHECKING:
    from ..detector import LivenessDetector
    from ..frames.sampling import Sampling
    from ..quality.config import QualityConfig

DetectorName = Annotated[
    str | None,
    typer.Option(
        "--detector", metavar="none|yunet", help="none: files are face crops already (default); or yunet."
    ),
]
YuNetFile = Annotated[
    Path | None,
    typer.Option(
        "--yunet", "--detector-path", metavar="FILE", help="YuNet's model file; else VERTICLIP_YUNET says it."
    ),
]
FrameCount = Annotated[
    int | None, typer.Option("--frames", min=1, help="Frames taken from a film, evenly; default 5.")
]
SamplingName = Annotated[
    str | None,
    typer.Option(
        "--sampling",
        metavar="equidistant|every=SECONDS|flip_mcio|all",
        help="Which frames of a film: equidistant (default, see --frames), one in every so many seconds, "
        "FLIP's two, or all.",
    ),
]
LowestCount = Annotated[
    int | None,
    typer.Option(
        "--min-k", min=1, help="Frames that --aggregator min_k takes the mean of: the lowest; default 2."
    ),
]
AggregatorName = Annotated[
    str,
    typer.Option("--aggregator", help="How frames are combined: mean, mean_logit, median or min_k."),
]
TaxonomyName = Annotated[
    str | None,
    typer.Option(
        "--taxonomy",
        metavar="NAME|FILE",
        help="Categories for a model of pictures and texts that is no liveness model: default, binary, YAML.",
    ),
]
Gates = Annotated[
    list[str] | None,
    typer.Option(
        "--gate",
        metavar="NAME=LIMIT",
        help="Limit of a quality gate, or off: sharpness=40, luma=[30,230], yaw=off. Repeatable.",
    ),
]
PresentationsPerCall = Annotated[
    int, typer.Option("--batch-size", min=1, help="Presentations per call of the network.")
]


def open_detector(
    context: typer.Context,
    model: str,
    detector: str | None = None,
    detector_path: Path | None = None,
    revision: str | None = None,
    device: str = "auto",
    dtype: str = "auto",
    **settings: Any,
) -> LivenessDetector:
    """Return the detector of these options.

    Args:
        context: of the command.
        model, revision, device, dtype: which model, and how it runs.
        detector: of faces; None is yunet where its file is given, else none.
        detector_path: the model file of yunet.
        settings: of :class:`~..detector.LivenessDetector`; None leaves one at its default.

    Raises:
        ConfigError: a setting that the detector refuses.
    """
    from ..detector import LivenessDetector

    name = detector or ("yunet" if detector_path is not None else "none")
    given = {key: value for key, value in settings.items() if value is not None}
    handle = open_model(context, model, revision, device, dtype)
    return LivenessDetector(handle, detector=name, detector_path=detector_path, **given)


def read_gates(pairs: list[str] | None) -> QualityConfig | None:
    """Return the quality gates of ``NAME=LIMIT`` words; None where there are none.

    Raises:
        ConfigError: an unknown gate, or a limit of another form.
    """
    from ....core.config import parse_config
    from ..quality.config import QualityConfig

    if not pairs:
        return None
    said = read_pairs(pairs, "--gate", example="sharpness=40")
    # "off" is false in YAML; there are gates that are switches and gates that have a limit.
    switches = {name for name, field in QualityConfig.model_fields.items() if field.annotation is bool}
    limits = {
        name: None if value is False and name not in switches else value for name, value in said.items()
    }
    return parse_config(QualityConfig, limits, source="--gate")


def read_sampling(frames: int | None, kind: str | None = None) -> Sampling | None:
    """Return which frames are taken from a film; None where no option was given.

    Args:
        frames: of ``--frames``, for equidistant ones.
        kind: of ``--sampling``: ``equidistant``, ``every=SECONDS``, ``flip_mcio`` or ``all``.

    Raises:
        ConfigError: another word or number, or ``--frames`` beside a kind that has no such number.
    """
    from ....core.config import parse_config
    from ..frames.sampling import Sampling

    if kind is None and frames is None:
        return None
    name, equals, seconds = (kind or "equidistant").partition("=")
    kinds = get_args(Sampling.model_fields["kind"].annotation)
    if name not in kinds:
        forms = ["every=SECONDS" if one == "every" else one for one in kinds]
        raise ConfigError(f"--sampling {name}: known are {', '.join(forms)}.{nearest(name, kinds)}")
    if bool(equals) != (name == "every"):
        wanted = "--sampling every=0.5" if name == "every" else f"--sampling {name}"
        raise ConfigError(f"--sampling {kind}: write {wanted}.")
    if frames is not None and name != "equidistant":
        raise ConfigError(f"--frames counts equidistant frames; leave it out with --sampling {name}.")
    given: dict[str, object] = {"kind": name}
    if equals:
        given["seconds"] = seconds
    if frames is not None:
        given.update(count=frames, max_frames=max(frames, Sampling().max_frames))
    return parse_config(Sampling, given, source="--sampling")


def read_number_or_file(word: str | None, option: str) -> float | Path | None:
    """Return the number or the file that an option names.

    Raises:
        ConfigError: neither.
    """
    if word is None:
        return None
    try:
        return float(word)
    except ValueError:
        pass
    if not Path(word).is_file():
        raise ConfigError(f"{option} {word}: neither a number nor a file that is here.")
    return Path(word)
