"""``verticlip urban caption``: captions of a scene's tiles or of pictures, and filters for caption files."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ....core.commandline import (
    BatchSize,
    Device,
    Json,
    Revision,
    check_file,
    finish,
    open_model,
    progress_line,
)
from ....core.console import print_json, print_table, say, shown
from ....core.errors import ConfigError, nearest
from ....core.registry import ROOMS, model_spec, models
from .scenes import Bands, NoData, S2Offset, SceneCRS, Sensor, open_scene, scene_window

if TYPE_CHECKING:
    from ....core.handle import ModelHandle
    from ..captions.captioner import Captioner
    from ..captions.filtering import CaptionFilter
    from ..captions.run import CaptioningOptions, CaptionReport
    from ..geometry.tiles import Tiles
    from ..loaders.raster import Raster

FACTS = "facts"
"""Captioner that needs no model."""
_TILE_PX = 256
"""Side of a tile where no model says how much ground it knows."""

Source = Annotated[
    Path,
    typer.Argument(
        metavar="SOURCE", help="A scene, a folder of pictures, or a JSON file of captions.", exists=True
    ),
]


def caption(
    context: typer.Context,
    source: Source,
    out: Annotated[Path, typer.Option(help="JSON file for the captions, one entry per sentence.")],
    captioner: Annotated[
        str,
        typer.Option(
            help="facts (color, texture and land use in words, no model), a CoCa model by name or folder, or "
            "an image-to-text model of transformers: folder, or org/name with --revision COMMIT."
        ),
    ] = FACTS,
    land_use: Annotated[
        str | None, typer.Option(metavar="MODEL", help="facts: model that tells the land use of a tile.")
    ] = None,
    tiles: Annotated[
        Path | None, typer.Option(help="Tiles of the scene, as urban tiles writes them.")
    ] = None,
    size: Annotated[
        int | None,
        typer.Option(
            min=8, help="Pixels of a tile's side; default: as much ground as the model knows, or 256."
        ),
    ] = None,
    stride: Annotated[int | None, typer.Option(min=1, help="Pixels between tiles; default: size.")] = None,
    bands: Bands = None,
    sensor: Sensor = None,
    s2_offset: S2Offset = "auto",
    nodata: NoData = None,
    crs: SceneCRS = None,
    min_valid: Annotated[
        float, typer.Option(min=0, max=1, help="Share of valid pixels that a tile needs.")
    ] = 0.5,
    pictures: Annotated[
        Path | None,
        typer.Option(
            help="Folder for a PNG of each tile, to train with; of a caption file, where its pictures are."
        ),
    ] = None,
    filter_by: Annotated[
        str | None, typer.Option("--filter", metavar="NAME|FILE", help="urbanclip, clean, or rules in YAML.")
    ] = None,
    filter_model: Annotated[
        str | None, typer.Option(metavar="MODEL", help="What min_similarity of the rules is measured with.")
    ] = None,
    prompt: Annotated[
        str | None, typer.Option(help="How captions begin, or the question for a model that is asked one.")
    ] = None,
    method: Annotated[str | None, typer.Option(help="greedy, beam or top_p.")] = None,
    max_tokens: Annotated[int | None, typer.Option(min=2, help="Most tokens of a text.")] = None,
    top_p: Annotated[float | None, typer.Option(help="top_p: draw from words of this probability.")] = None,
    temperature: Annotated[float | None, typer.Option(help="top_p: over 1 is bolder.")] = None,
    beams: Annotated[int | None, typer.Option(min=1, help="beam: texts that are kept.")] = None,
    whole: Annotated[bool, typer.Option("--whole", help="Keep texts of several sentences whole.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of everything that is drawn.")] = 0,
    batch_size: BatchSize = 8,
    revision: Revision = None,
    device: Device = "auto",
    report: Annotated[bool, typer.Option("--report", help="Print what was written and left out.")] = False,
    as_json: Json = False,
) -> None:
    """Describe the tiles of a scene, or the pictures of a folder, in words.

    A run that was stopped goes on where it was when it is started again. Captions that are there already
    can be filtered, too: give the JSON file as SOURCE.
    """
    from ..captions.run import CaptioningOptions

    check_file(out, ".json")
    drawing = {"method": method, "top_p": top_p, "temperature": temperature, "beams": beams}
    writer = _Writer(captioner, land_use, revision, device, prompt, max_tokens, drawing)
    scene = _Scene(tiles, size, stride, bands, sensor, nodata, crs, pictures)
    rules = _Rules(filter_by, filter_model, device)
    options = CaptioningOptions(seed=seed, sentences=not whole, batch_size=batch_size, min_valid=min_valid)
    if source.is_file() and source.suffix.lower() == ".json":
        rules_for = rules.ready(context, source.parent if pictures is None else pictures)
        _filter_file(source, out, rules_for, report=report, as_json=as_json)
        return
    if source.is_dir():
        scene.refuse()
        chosen = rules.ready(context, source)
        found = _describe_folder(source, out, writer.ready(context)[0], options=options, chosen=chosen)
    else:
        raster = open_scene([source], bands=bands, sensor=sensor, s2_offset=s2_offset, nodata=nodata, crs=crs)
        chosen = rules.ready(context, pictures)
        ready, model = writer.ready(context)
        places, read_px = scene.places(raster, model)
        wanted = replace(options, read_px=read_px, pictures=pictures)
        found = _describe_scene((raster, places), out, ready, options=wanted, chosen=chosen)
    _tell(found, report=report, as_json=as_json)
    finish(found.failed, found.pictures)


@dataclass(frozen=True)
class _Writer:
    """Who writes, as the options say."""

    name: str
    land_use: str | None
    revision: str | None
    device: str
    prompt: str | None
    max_tokens: int | None
    drawing: dict[str, Any]

    def ready(self, context: typer.Context) -> tuple[Captioner, ModelHandle | None]:
        """Return the captioner, and its model where that is one of this program."""
        drawing = {name: value for name, value in self.drawing.items() if value is not None}
        if self.name == FACTS:
            return self._facts(context, drawing)
        if self.land_use is not None:
            raise ConfigError(
                f"--land-use is for --captioner {FACTS}; {self.name} sees the land use by itself."
            )
        if self._is_ours():
            from ..captions.coca_captioner import CoCaCaptioner

            model = open_model(context, self.name, self.revision, self.device)
            length = {} if self.max_tokens is None else {"length": self.max_tokens}
            return CoCaCaptioner(model, prefix=self.prompt or "", **length, **drawing), model
        from ..captions.transformers_captioner import TransformersCaptioner, WritingOptions

        length = {} if self.max_tokens is None else {"max_tokens": self.max_tokens}
        settings = WritingOptions(prompt=self.prompt, **length, **drawing)
        source = Path(self.name) if Path(self.name).is_dir() else self.name
        return TransformersCaptioner(
            source, revision=self.revision, options=settings, device=self.device
        ), None

    def _facts(self, context: typer.Context, drawing: dict[str, Any]) -> tuple[Captioner, ModelHandle | None]:
        from ..captions.fact_captioner import FactCaptioner, label_of_folder

        if drawing or self.prompt is not None or self.max_tokens is not None:
            raise ConfigError(
                f"--captioner {FACTS} has no model that writes: --prompt, --method and the options of words "
                "are for one that has."
            )
        model = None if self.land_use is None else open_model(context, self.land_use, None, self.device)
        return FactCaptioner(model, label_of=label_of_folder), model

    def _is_ours(self) -> bool:
        """Whether the captioner is a model of this program, and not one of transformers."""
        folder = Path(self.name)
        if not folder.is_dir():
            owner, slash, _ = self.name.partition("/")
            if not slash:
                raise ConfigError(
                    f"--captioner {self.name}: no such folder, and no captioner of this name."
                    f"{nearest(self.name, (FACTS, *models()))} It is {FACTS}, the name or folder of a CoCa "
                    "model, or a model of transformers: its folder, or org/name with --revision."
                )
            # A slip in one of our own names would else be looked for on the Hub.
            return owner in ROOMS and bool(model_spec(self.name))
        from ....core.files import CONFIG_FILE, read_json

        config = read_json(folder / CONFIG_FILE)
        return isinstance(config, dict) and "model_type" not in config


@dataclass(frozen=True)
class _Scene:
    """How a scene is read and cut, as the options say."""

    tiles: Path | None
    size: int | None
    stride: int | None
    bands: str | None
    sensor: str | None
    nodata: float | None
    crs: str | None
    pictures: Path | None

    def refuse(self) -> None:
        """Raise ``ConfigError`` for options that a folder of pictures has no use for."""
        for name in self.__dataclass_fields__:
            if getattr(self, name) is not None:
                raise ConfigError(f"--{name} is for a scene; SOURCE is a folder of pictures. Leave it out.")

    def places(self, raster: Raster, model: ModelHandle | None) -> tuple[Tiles, int | None]:
        """Return the tiles of the file, or those of a grid over the scene, and the side to read them at."""
        from ..geometry.covering import TileGrid
        from ..geometry.tiles import Tiles

        if self.tiles is not None:
            if self.size is not None or self.stride is not None:
                raise ConfigError("--tiles says which tiles; leave --size and --stride out.")
            found = Tiles.from_file(self.tiles, show_paths=True)
            if model is not None:
                scene_window(model, raster, tiles=found)
            return found, None
        size, read_px = self.size or _TILE_PX, None
        if model is not None:
            window = scene_window(model, raster, self.size)
            size, read_px = window.pixels, window.read_px
        return TileGrid("raster", tile_px=size, stride=self.stride).over(raster), read_px


@dataclass(frozen=True)
class _Rules:
    """What is left out, as the options say."""

    name: str | None
    model: str | None
    device: str

    def ready(self, context: typer.Context, folder: Path | None) -> CaptionFilter | None:
        """Return the filter; pictures lie below ``folder``."""
        from ..captions.filtering import CaptionFilter
        from ..captions.likeness import image_text_likeness

        if self.name is None:
            if self.model is not None:
                raise ConfigError("--filter-model measures min_similarity of --filter; name a filter, too.")
            return None
        likeness = None
        if self.model is not None:
            if folder is None:
                raise ConfigError(
                    "--filter-model compares captions with pictures; keep them with --pictures."
                )
            model = open_model(context, self.model, None, self.device)
            likeness = image_text_likeness(model, folder, progress=progress_line())
        return CaptionFilter.read(self.name, likeness=likeness)


def _describe_folder(
    source: Path, out: Path, writer: Captioner, *, options: CaptioningOptions, chosen: CaptionFilter | None
) -> CaptionReport:
    from ..tasks.captioning import caption_pictures

    return caption_pictures(
        source, writer, out, options=options, caption_filter=chosen, show_paths=True, progress=progress_line()
    )


def _describe_scene(
    scene: tuple[Raster, Tiles],
    out: Path,
    writer: Captioner,
    *,
    options: CaptioningOptions,
    chosen: CaptionFilter | None,
) -> CaptionReport:
    from ..tasks.captioning import caption_tiles

    return caption_tiles(
        *scene, writer, out, options=options, caption_filter=chosen, progress=progress_line()
    )


def _filter_file(
    source: Path, out: Path, chosen: CaptionFilter | None, *, report: bool, as_json: bool
) -> None:
    """Write a caption file in the flat layout, filtered where there is a filter."""
    from ..captions.layouts import corpus_statistics, read_caption_file, write_caption_file

    if out.resolve() == source.resolve():
        raise ConfigError(f"--out {out}: the captions would be written over themselves. Choose another file.")
    captions = read_caption_file(source)
    kept, filtered = (dict(captions), None) if chosen is None else chosen(captions)
    write_caption_file(out, kept)
    told: dict[str, Any] = {
        "captions": out.name,
        "source": {
            "layout": captions.layout,
            "entries": captions.entries,
            "repeats": captions.repeats,
            "empty": captions.empty,
            **corpus_statistics(captions).to_dict(),
        },
        "corpus": corpus_statistics(kept).to_dict(),
        "filter": None if filtered is None else filtered.to_dict(),
    }
    from ....core.files import write_json_atomic

    write_json_atomic(out.with_name(f"{out.stem}.report.json"), told)
    _show(told, report=report, as_json=as_json)
    say(f"wrote {out}")


def _tell(found: CaptionReport, *, report: bool, as_json: bool) -> None:
    """Print what a run did."""
    if found.failures:
        say(f"{found.failed:,} failed, {found.skipped:,} left out; reasons in {found.failures}")
    _show(found.to_dict(), report=report, as_json=as_json)
    say(f"wrote {found.out}")


def _show(told: dict[str, Any], *, report: bool, as_json: bool) -> None:
    """Print a report to standard output: as JSON, as a table, or not at all."""
    if as_json:
        print_json([told])
    elif report:
        print_table(("", ""), [(name, str(value)) for name, value in _lines(told)])


def _lines(told: dict[str, Any]) -> list[tuple[str, Any]]:
    """Return the lines of a report's table."""
    lines: list[tuple[str, Any]] = [
        (name, told[name]) for name in ("pictures", "captioned", "skipped", "failed") if name in told
    ]
    if "source" in told:
        source = told["source"]
        lines += [(f"read: {name}", source[name]) for name in ("layout", "entries", "repeats", "empty")]
        lines += [("read: tiles", source["tiles"]), ("read: captions", source["captions"])]
    filtered = told["filter"]
    if filtered is not None:
        lines += [(f"left out by {rule}", count) for rule, count in filtered["removed_captions"].items()]
        lines += [(f"captions with {shown(word)!r}", count) for word, count in filtered["keywords"].items()]
        lines += [
            (f"tiles dropped by {rule}", count) for rule, count in filtered["dropped_tiles_by_rule"].items()
        ]
    corpus = told["corpus"]
    per_tile, words = corpus["captions_per_tile"], corpus["words"]
    return [
        *lines,
        ("tiles", corpus["tiles"]),
        ("captions", corpus["captions"]),
        ("captions per tile", f"{per_tile['mean']:.2f} ({per_tile['min']} to {per_tile['max']})"),
        ("words per caption", f"{words['mean']:.1f}, at most {words['max']}"),
        ("captions that read like an earlier one", corpus["duplicate_captions"]),
    ]
