"""``verticlip audio generate``: sounds from words, pictures or other sounds."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ....core.commandline import (
    Device,
    Dtype,
    Json,
    ModelName,
    Revision,
    check_folder,
    open_model,
    progress_line,
)
from ....core.console import print_json, say, shown
from ....core.errors import ConfigError

if TYPE_CHECKING:
    from ....core.handle import ModelHandle
    from ..tasks.generation import Generation

_SUFFIXES = (".wav", ".flac", ".ogg", ".aiff")
_LONGEST_NAME = 48
LIST_FILE = "generation.jsonl"


def generate(
    context: typer.Context,
    prompts: Annotated[
        list[str] | None, typer.Argument(metavar="PROMPT", help="What shall be heard.")
    ] = None,
    out: Annotated[
        Path, typer.Option(help="Sound file (.wav, .flac, .ogg, .aiff) for one sound, or a folder.")
    ] = Path("generated"),
    model: ModelName = "audio/tiny-sonic",
    image: Annotated[
        list[Path] | None, typer.Option(help="Picture or film to make the sound of. Repeatable.")
    ] = None,
    audio: Annotated[list[Path] | None, typer.Option(help="Recording to make more of. Repeatable.")] = None,
    seconds: Annotated[
        float | None, typer.Option(help="Length; default: what the model was trained on.")
    ] = None,
    steps: Annotated[int, typer.Option(help="Calls of the network per sound.")] = 25,
    guidance: Annotated[
        float, typer.Option(help="How strictly the words are followed: 1 plainly, 3 strongly.")
    ] = 3.0,
    seed: Annotated[int, typer.Option(help="The same seed makes the same sound.")] = 0,
    sampler: Annotated[str, typer.Option(help="dpm, ddim, ddpm, unipc, deis or euler.")] = "dpm",
    negative: Annotated[str | None, typer.Option(help="What it shall not sound like.")] = None,
    bridge: Annotated[
        str | None, typer.Option(help="none, shift or standardize; default: as trained.")
    ] = None,
    prior: Annotated[
        str | None, typer.Option(help="Model that turns words into image embeddings first.")
    ] = None,
    vocoder: Annotated[str | None, typer.Option(help="BigVGAN model to make the waveform with.")] = None,
    spectrogram: Annotated[
        bool, typer.Option("--spectrogram", help="Write a PNG beside each sound.")
    ] = False,
    revision: Revision = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    as_json: Json = False,
) -> None:
    """Make sounds from words, pictures or other sounds."""
    from ..tasks.generation import GenerationOptions
    from ..tasks.generation import generate as make

    items, condition = _asked(prompts, image, audio, prior)
    files = _files(out, items)
    check_folder(files[0].parent)
    # Settings that cannot be used show here: before a model is loaded.
    options = GenerationOptions().with_(
        seconds=seconds,
        steps=steps,
        guidance=guidance,
        seed=seed,
        sampler=sampler,
        negative=negative,
        bridge=bridge,
        condition=condition,
    )
    handle = open_model(context, model, revision, device, dtype)
    made = make(
        handle,
        items,
        options,
        prior=None if prior is None else open_model(context, prior, None, device, dtype),
        vocoder=None if vocoder is None else open_model(context, vocoder, None, device, dtype),
        progress=progress_line(),
    )
    _write(
        handle,
        made,
        files,
        spectrogram=spectrogram,
        listed=out if out not in files else None,
        as_json=as_json,
    )


def _asked(
    prompts: list[str] | None, image: list[Path] | None, audio: list[Path] | None, prior: str | None
) -> tuple[list[Any], str]:
    """Return the items and what they are; raise ``ConfigError`` unless they are of one kind."""
    given = [
        (found, kind) for found, kind in ((prompts, "text"), (image, "image"), (audio, "audio")) if found
    ]
    if not given:
        raise ConfigError(
            "Say what shall be heard, such as 'rain on a tin roof', or give --image or --audio."
        )
    if len(given) > 1:
        raise ConfigError("Give words, --image or --audio; of these only one at a time.")
    found, kind = given[0]
    if prior is not None:
        if kind != "text":
            raise ConfigError(f"--prior works on words; {kind} embeddings need none. Leave it out.")
        kind = "text+prior"
    return list(found), kind


def _files(out: Path, items: list[Any]) -> list[Path]:
    """Return where each sound goes: the file itself, or names below a folder."""
    if out.suffix and not out.is_dir():
        if out.suffix.lower() not in _SUFFIXES:
            raise ConfigError(
                f"--out {out}: sounds are written as {', '.join(_SUFFIXES)}. Name such a file, or a folder."
            )
        if len(items) > 1:
            raise ConfigError(f"--out {out} is one file, and there are {len(items)} sounds. Name a folder.")
        return [out]
    names: list[str] = []
    for item in items:
        word = item.stem if isinstance(item, Path) else item
        name = re.sub(r"[^a-z0-9]+", "-", word.lower()).strip("-")[:_LONGEST_NAME].strip("-") or "sound"
        number = 2
        while (name if number == 2 else f"{name}-{number - 1}") in names:
            number += 1
        names.append(name if number == 2 else f"{name}-{number - 1}")
    return [out / f"{name}.wav" for name in names]


def _write(
    handle: ModelHandle,
    made: Generation,
    files: list[Path],
    *,
    spectrogram: bool,
    listed: Path | None,
    as_json: bool,
) -> None:
    """Write sounds, pictures and, into a folder, the list of what was made."""
    from ....core.files import write_text_atomic
    from ....core.plots import made_by
    from ..clipsonic.pictures import save_mel_picture
    from ..loaders.writing import write_audio

    rows = []
    for number, (file, meta) in enumerate(zip(files, made.metas, strict=True)):
        write_audio(file, made.waves[number], made.rate)
        row = {"file": file.name, **meta}
        if spectrogram:
            picture = file.with_suffix(".png")
            target = handle.network.options.target  # pyright: ignore[reportAttributeAccessIssue]
            title = str(meta["prompt"] or file.stem)
            note = made_by(str(meta["model"]), str(meta["revision"]))
            save_mel_picture(made.log_mels[number], target, picture, title=title, note=note)  # pyright: ignore[reportArgumentType]
            row["spectrogram"] = picture.name
        rows.append(row)
        for word in meta.get("unfamiliar", ()):
            say(f"note: {meta['model']} has never read {word!r}; the sound may be of anything.")
        if not as_json:
            agreement = f"\tagreement {meta['agreement']:.2f}" if "agreement" in meta else ""
            print(f"{shown(str(file))}\t{shown(str(meta['prompt'] or ''))}{agreement}", flush=True)
    if as_json:
        print_json(rows)
    if listed is not None:
        import json

        write_text_atomic(
            listed / LIST_FILE, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        )
