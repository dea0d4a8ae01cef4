"""``verticlip evaluate``: measure a model on a labelled folder, a public evaluation set, or pairs."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Annotated, Any

import typer

from .cli_options import load_model
from .core.commandline import (
    BatchSize,
    Device,
    Dtype,
    Json,
    Load,
    ModelName,
    Prompts,
    Revision,
    failure_line,
    finish,
    load_options,
    progress_line,
    read_prompts,
    split_labels,
)
from .core.console import print_json, print_table, say
from .core.errors import ConfigError

app = typer.Typer(help="Measure a model.", no_args_is_help=True)


@app.command("zero-shot")
def evaluate_zero_shot(
    model: ModelName,
    data: Annotated[Path, typer.Option(help="One folder per class, or one per split with those inside.")],
    labels: Annotated[str | None, typer.Option(help="Comma-separated; default: the folder names.")] = None,
    prompts: Prompts = None,
    split: Annotated[str | None, typer.Option(help="Which split, when the folder has splits.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for report.json and confusion.png.")] = Path("evaluation"),
    load: Load = None,
    batch_size: BatchSize = 8,
    revision: Revision = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    as_json: Json = False,
) -> None:
    """Measure how well text prompts alone classify labelled images."""
    from .evaluation import evaluate_folder

    loaded = load_model(model, revision, device, dtype)
    result = evaluate_folder(
        loaded,
        data,
        out,
        labels=split_labels(labels),
        templates=read_prompts(prompts),
        split=split,
        batch_size=batch_size,
        **load_options(load),
    )
    if as_json:
        print_json([result.to_dict()])
    else:
        names = ("accuracy", "balanced_accuracy", "macro_f1", "auc", "calibration_error")
        print_table(("metric", "value"), [(name, str(getattr(result.report, name))) for name in names])
    for failure in result.failures:
        say(failure_line(failure))
    say(f"report and confusion matrix in {out}")
    finish(len(result.failures), len(result.failures) + result.report.rows)


DataRoot = Annotated[Path, typer.Option("--data", help="Folder with the set, or with a folder of its name.")]
Ensemble = Annotated[
    str | None,
    typer.Option(help="unit: average normalized prompts; raw: before normalizing. Default: the protocol's."),
]
Protocol = Annotated[
    str | None,
    typer.Option(help="By which published convention, where a set or measure has several: evaluate sets."),
]

LocalWeight = Annotated[
    float | None,
    typer.Option(help="For a ConceptCLIP: share of its patches in the score, 0 to 1; published: 0.5."),
]
TopPatches = Annotated[
    int | None, typer.Option("--topk", min=1, help="Patches that count with --local-weight; published: 128.")
]


@app.command("sets")
def list_sets(as_json: Json = False) -> None:
    """List the public evaluation sets, their classes and the files that are looked for."""
    rows = []
    for module in _modules("sets"):
        for one in map(module.evaluation_set, module.names()):
            rows.append(
                {
                    "set": one.name,
                    "modality": one.modality,
                    "classes": list(one.classes),
                    "metrics": one.metrics,
                    "averaged": one.averaged,
                    "expects": one.expects(),
                    "source": one.source,
                    "caution": one.caution,
                    "protocols": list(getattr(one, "protocols", ())),
                    "published": module.published(one.name) if hasattr(module, "published") else [],
                }
            )
    if as_json:
        print_json(rows)
        return
    shown = [(r["set"], r["modality"], str(len(r["classes"])), r["metrics"], r["source"]) for r in rows]
    print_table(("set", "modality", "classes", "metrics", "source"), shown)
    say("The files that each set expects, and its protocols: verticlip evaluate sets --json")


@app.command("set")
def evaluate_one_set(
    name: Annotated[str, typer.Argument(help="A set of `verticlip evaluate sets`.")],
    data: DataRoot,
    model: ModelName,
    prompts: Prompts = None,
    bank: Annotated[
        Path | None, typer.Option(help="JSON export of a reference prompt bank, instead of --prompts.")
    ] = None,
    protocol: Protocol = None,
    ensemble: Ensemble = None,
    local_weight: LocalWeight = None,
    topk: TopPatches = None,
    out: Annotated[Path, typer.Option(help="Folder for report.json and confusion.png.")] = Path("evaluation"),
    load: Load = None,
    batch_size: BatchSize = 8,
    revision: Revision = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    as_json: Json = False,
) -> None:
    """Measure a model on a public evaluation set."""
    if prompts is not None and bank is not None:
        raise ConfigError("Give --prompts or --bank, not both.")
    module = _module_with_set(name)
    asked = _scoring(module, ensemble, local_weight, topk, protocol)
    chosen = read_prompts(prompts) if bank is None else module.read_prompt_bank(bank, name)
    # What is missing on disk should show before a model is loaded.
    found = module.read_set(name, data)
    result = module.evaluate_set(
        load_model(model, revision, device, dtype),
        name,
        found,
        out=out,
        prompts=chosen,
        **asked,
        batch_size=batch_size,
        progress=progress_line(),
        **load_options(load),
    )
    if as_json:
        print_json([result.to_dict()])
    else:
        print_table(("metric", "value"), [(key, str(value)) for key, value in result.metrics.items()])
    for note in result.notes:
        say(f"note: {note}")
    for failure in result.failures:
        say(failure_line(failure))
    say(f"{result.images} images; report in {out}")
    finish(len(result.failures), len(result.failures) + result.images)


@app.command("all")
def evaluate_all_sets(
    data: Annotated[Path, typer.Option(help="Folder with one folder per set, called as the set.")],
    model: ModelName,
    sets: Annotated[
        str | None, typer.Option(help="Comma-separated; default: those of the published average.")
    ] = None,
    protocol: Protocol = None,
    ensemble: Ensemble = None,
    local_weight: LocalWeight = None,
    topk: TopPatches = None,
    out: Annotated[Path, typer.Option(help="Folder for table.json and one folder per set.")] = Path(
        "evaluation"
    ),
    load: Load = None,
    batch_size: BatchSize = 8,
    revision: Revision = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    as_json: Json = False,
) -> None:
    """Measure a model on every public evaluation set whose files are there."""
    wanted = split_labels(sets)
    module = (
        _module_with_set(wanted[0]) if wanted else _module_for("sets", model, revision, protocol=protocol)
    )
    asked = _scoring(module, ensemble, local_weight, topk, protocol)
    table = module.evaluate_all(
        load_model(model, revision, device, dtype),
        data,
        sets=wanted,
        out=out,
        **asked,
        batch_size=batch_size,
        progress=progress_line(),
        **load_options(load),
    )
    if as_json:
        print_json([table.to_dict()])
    else:
        measured = {name for one in table.results.values() for name in one.metrics}
        measured |= {"macro_auc"} if local_weight is not None else set()
        known = ("accuracy", "auc", "f1", "precision", "recall", "macro_auc")
        metrics = [name for name in known if name in measured]
        rows = []
        for name, one in table.results.items():
            percent = one.percent()
            cells = [f"{percent[metric]:.2f}" if metric in percent else "" for metric in metrics]
            rows.append((name, one.modality, str(one.images), *cells))
        rows.append(
            (f"average of {len(rows)} sets", "", "", f"{table.average():.2f}", *[""] * (len(metrics) - 1))
        )
        print_table(("set", "modality", "images", *metrics), rows)
    for name, reason in table.missing.items():
        say(f"{name} was not measured. {reason}")
    failed = [failure for one in table.results.values() for failure in one.failures]
    for failure in failed:
        say(failure_line(failure))
    say(f"table and reports in {out}")
    finish(len(failed), len(failed) + sum(one.images for one in table.results.values()))


@app.command("prompts")
def show_prompts(
    name: Annotated[str | None, typer.Argument(help="A set to show; without it, all are listed.")] = None,
    as_json: Json = False,
) -> None:
    """List the shipped prompt sets, or show what one of them says about each class."""
    if name is None:
        from .core import registry

        specs = [spec for word in registry.ROOMS for spec in registry.room(word).prompts.values()]
        if as_json:
            print_json({"name": s.name, "modality": s.modality, "summary": s.summary} for s in specs)
        else:
            print_table(("name", "modality", "summary"), [(s.name, s.modality, s.summary) for s in specs])
        return
    from .core.prompts import prompt_set

    prompts = prompt_set(name)
    if as_json:
        print_json({"class": key, "prompts": prompts.texts(key)} for key in prompts.class_names)
    else:
        rows = [(key, text) for key in prompts.class_names for text in prompts.texts(key)]
        print_table(("class", "prompt"), rows)


@app.command("retrieval")
def evaluate_pairs(
    pairs: Annotated[
        Path,
        typer.Option(
            help="CSV or JSON lines with an image and a text column; JSON of RSICD's kind; for products the "
            "file or folder of their protocol, see the README."
        ),
    ],
    images: Annotated[Path, typer.Option(help="Folder that the image paths are relative to.")],
    model: ModelName,
    protocol: Protocol = None,
    split: Annotated[str | None, typer.Option(help="Which split, of a caption file with splits.")] = None,
    duplicates: Annotated[
        str | None,
        typer.Option(help="merge (the default): equal texts are one text; separate: every row for itself."),
    ] = None,
    long_text: Annotated[
        str | None,
        typer.Option(help="error (the default), or score reports by their sentences: max or mean."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for retrieval.json.")] = Path("evaluation"),
    load: Load = None,
    batch_size: BatchSize = 8,
    revision: Revision = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    as_json: Json = False,
) -> None:
    """Measure how well images find their texts, and texts their images."""
    module = _module_for("retrieval", model, revision, protocol=protocol)
    asked = _known_options(
        module.evaluate_retrieval, protocol=protocol, duplicates=duplicates, long_text=long_text
    )
    read = module.read_pairs(pairs, images, **_known_options(module.read_pairs, split=split))
    result = module.evaluate_retrieval(
        load_model(model, revision, device, dtype),
        read,
        **asked,
        batch_size=batch_size,
        progress=progress_line(),
        **load_options(load),
    )
    path = module.write_result(result, out)
    if as_json:
        print_json([result.to_dict()])
    elif hasattr(result, "table"):
        print_table(*result.table())
    else:
        header = ("metric", "image to text", "text to image")
        print_table(header, [(name, str(a or "-"), str(b or "-")) for name, a, b in result.rows()])
    for note in getattr(result, "notes", ()):
        say(f"note: {note}")
    for failure in result.failures:
        say(failure_line(failure))
    say(f"{result.images} images, {result.texts} texts; report in {path}")
    finish(len(result.failures), len(result.failures) + result.images)


def _scoring(
    module: Any, ensemble: str | None, local_weight: float | None, topk: int | None, protocol: str | None
) -> dict[str, Any]:
    """Return what ``--ensemble``, ``--local-weight``, ``--topk`` and ``--protocol`` ask for.

    Raises:
        ConfigError: options that exclude each other or that this domain does not have, or a share outside
            [0, 1].
    """
    asked = _known_options(module.evaluate_set, protocol=protocol)
    if local_weight is None:
        if topk is not None:
            raise ConfigError("--topk says how many patches count; give --local-weight with it, such as 0.5.")
        return asked if ensemble is None else {**asked, "scoring": ensemble}
    if not hasattr(module, "patch_scoring"):
        raise ConfigError("--local-weight is for the sets of ConceptCLIP's domain; leave it out.")
    if ensemble not in (None, "unit"):
        raise ConfigError("--local-weight averages unit vectors; leave --ensemble out.")
    return {**asked, "scoring": module.patch_scoring(local_weight, topk)}


def _known_options(function: Any, **given: Any) -> dict[str, Any]:
    """Return the options that were given.

    Raises:
        ConfigError: one that the measure of this domain does not have.
    """
    asked = {name: value for name, value in given.items() if value is not None}
    known = inspect.signature(function).parameters
    for name in asked:
        if name not in known:
            raise ConfigError(
                f"--{name.replace('_', '-')} means nothing for this domain's measure; leave it out."
            )
    return asked


def _modules(word: str) -> list[Any]:
    """Return the modules of the domains that measure ``word``."""
    from .core import registry

    rooms = [registry.room(name) for name in registry.ROOMS]
    return [home.module("evaluations", word) for home in rooms if word in home.evaluations]


def _module_for(word: str, model: str, revision: str | None = None, *, protocol: str | None = None) -> Any:
    """Return the module that measures ``word`` in the domain of a model.

    A name of the registry says its domain, a folder or repository its ``config.json``. A model without one
    is measured by the first domain that has the measure, and the protocol where one is asked for.

    Raises:
        ConfigError: the model's domain has no such measure.
    """
    from .core import registry

    spec = registry.models().get(model)
    domain = spec.domain if spec is not None else _stated_domain(model, revision)
    found = _modules(word)
    if domain is None and found:
        return next((one for one in found if protocol in getattr(one, "PROTOCOLS", ())), found[0])
    if domain not in registry.ROOMS or word not in registry.room(domain).evaluations:
        raise ConfigError(
            f"No measure {word!r} in the domain of {model}. Use a model of a domain that has one."
        )
    return registry.room(domain).module("evaluations", word)


def _stated_domain(model: str, revision: str | None) -> str | None:
    """Return the domain that ``config.json`` of a folder or repository states."""
    from .core.config import ModelConfig, read_config
    from .core.files import CONFIG_FILE
    from .hub.loading import resolve

    return read_config(ModelConfig, resolve(model, revision).folder / CONFIG_FILE).domain


def _module_with_set(name: str) -> Any:
    """Return the module that has a set of this name; the first one says what there is when none has."""
    modules = _modules("sets")
    return next((module for module in modules if name in module.names()), modules[0])
