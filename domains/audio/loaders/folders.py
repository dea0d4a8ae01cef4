"""Folders of clips as CLIPSep and VGGSound training reads them: a WAV and JPEG frames for each film.

::

    FOLDER/audio/NAME.wav              16-bit PCM, mono, 16 kHz
    FOLDER/frames/NAME/000001.jpg      224 x 224, one a second; frame f is from (f - 0.5) / fps seconds
    FOLDER/clips.csv                   audio/NAME.wav,frames/NAME,number of frames,label; no header
    FOLDER/clips.json                  how the clips were made

Reference: sony/CLIPSep, preparation of VGGSound.
"""

from __future__ import annotations

import csv
import io
import os
import re
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ....core.errors import ConfigError, DataError, DependencyError, InputError, require
from ....core.files import read_json, write_json_atomic, write_text_atomic
from ....core.limits import DEFAULT, Limits
from .video import extract_audio, extract_frames
from .writing import write_audio

TABLE, SETTINGS = "clips.csv", "clips.json"
_NAME = re.compile(r"[^A-Za-z0-9._-]+")
_JPEG_QUALITY = 95


@dataclass(frozen=True)
class ClipOptions:
    """How films become clips.

    Attributes:
        fps: frames per second. size: side of the square frames. rate: Hz of the sound.
        min_frames: films with fewer are left out of the table and reported; the published lists keep those
            over 8. Another run on the same folder may ask for another number.
    """

    fps: float = 1.0
    size: int = 224
    rate: int = 16_000
    min_frames: int = 1


@dataclass(frozen=True)
class ClipRow:
    """One row of the table; the paths are relative to its folder."""

    audio: str
    frames: str
    count: int
    label: str


@dataclass(frozen=True)
class ClipFolder:
    """What was written.

    Attributes:
        table: the CSV. rows: one for each film that could be used, in the order given.
        failures: (file, reason) of the others. resumed: films that an earlier run had finished.
    """

    table: Path
    rows: tuple[ClipRow, ...]
    failures: tuple[tuple[str, str], ...]
    resumed: int


def write_clip_folder(
    films: Sequence[tuple[str | os.PathLike[str], str]],
    folder: str | os.PathLike[str],
    options: ClipOptions | None = None,
    *,
    limits: Limits = DEFAULT,
) -> ClipFolder:
    """Write a folder of clips; a film that cannot be used is reported and does not stop the others.

    A clip is there when its WAV is, which is written last; a run that was interrupted goes on where it was.

    Args:
        films: (file, label); names of clips are the files' own, made safe, and must differ.
        folder: for the clips, made if need be.
        options: see :class:`ClipOptions`.

    Raises:
        DataError: no films, two of one name, or none that could be used.
        ConfigError: impossible options, or a folder that holds clips made with others.
        DependencyError: PyAV is not installed.
    """
    options = options or ClipOptions()
    if not (options.fps > 0 and options.size > 0 and options.min_frames > 0):
        raise ConfigError(f"fps, size and min_frames are over 0, got {options}.")
    folder = Path(folder)
    names: dict[str, Path] = {}
    for film, _ in films:
        name = _NAME.sub("_", Path(film).stem) or "clip"
        if name in names:
            raise DataError(
                f"Two films make clips named {name!r}. Rename one or write them to another folder."
            )
        names[name] = Path(film)
    _claim(folder, options)
    rows, failures, resumed = [], [], 0
    for (name, path), (_, label) in zip(names.items(), films, strict=True):
        row = _finished(folder, name, label)
        try:
            if row is None:
                rows.append(_write_clip(folder, name, path, label, options=options, limits=limits))
            else:
                _check_count(path, row.count, options)
                rows.append(row)
                resumed += 1
        except DependencyError:
            raise
        except InputError as error:
            failures.append((path.name, str(error)))
    if not rows:
        first = f" The first: {failures[0][1]}" if failures else " The list is empty."
        raise DataError(f"None of {len(films)} films could be used.{first}")
    _write_table(folder / TABLE, rows)
    return ClipFolder(folder / TABLE, tuple(rows), tuple(failures), resumed)


def _claim(folder: Path, options: ClipOptions) -> None:
    """Say in the folder how its clips are made, or refuse one that says otherwise."""
    settings = {name: value for name, value in asdict(options).items() if name != "min_frames"}
    if (folder / SETTINGS).is_file():
        found = read_json(folder / SETTINGS)
        if found != settings:
            raise ConfigError(
                f"{folder.name}: holds clips made with {found}, not {settings}. Take another folder."
            )
    else:
        write_json_atomic(folder / SETTINGS, settings)


def _finished(folder: Path, name: str, label: str) -> ClipRow | None:
    frames = folder / "frames" / name
    if not ((folder / "audio" / f"{name}.wav").is_file() and frames.is_dir()):
        return None
    return ClipRow(f"audio/{name}.wav", f"frames/{name}", sum(1 for _ in frames.glob("*.jpg")), label)


def _check_count(film: Path, count: int, options: ClipOptions) -> None:
    if count < options.min_frames:
        raise InputError(f"{film.name}: {count} frames, fewer than min_frames {options.min_frames}.")


def _write_clip(
    folder: Path, name: str, film: Path, label: str, *, options: ClipOptions, limits: Limits
) -> ClipRow:
    sound = extract_audio(film, rate=options.rate, limits=limits)
    frames = extract_frames(film, fps=options.fps, size=options.size, limits=limits)
    count = len(frames.pixels)
    _check_count(film, count, options)
    require("PIL", extra="audio")
    from PIL import Image

    (folder / "frames").mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=folder / "frames", prefix=f".{name}."))
    try:
        for number, picture in enumerate(frames.pixels.permute(0, 2, 3, 1).numpy(), 1):
            Image.fromarray(picture).save(temporary / f"{number:06d}.jpg", quality=_JPEG_QUALITY)
        temporary.chmod(0o755)
        # What an interrupted run left has no WAV, so nobody uses it.
        shutil.rmtree(folder / "frames" / name, ignore_errors=True)
        temporary.rename(folder / "frames" / name)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    write_audio(folder / "audio" / f"{name}.wav", sound.value, options.rate)
    return ClipRow(f"audio/{name}.wav", f"frames/{name}", count, label)


def _write_table(path: Path, rows: Sequence[ClipRow]) -> None:
    held = io.StringIO()
    writer = csv.writer(held, lineterminator="\n")
    writer.writerows((row.audio, row.frames, row.count, row.label) for row in rows)
    write_text_atomic(path, held.getvalue())
