"""Which models, recipes and loaders exist, known without importing any of them.

A room (``domains/<name>/__init__.py``) is plain data; this module reads it on first use and
imports the room only, never its models. Filled once, read-only after.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any

from .errors import ConfigError, nearest

ROOMS: tuple[str, ...] = ("medical", "audio", "urban", "ecommerce", "liveness")
_PACKAGE = __name__.rsplit(".", 2)[0]


@dataclass(frozen=True)
class WeightsRef:
    """One published set of weights, pinned to a commit and a hash.

    Attributes:
        repo_id: Hub repository, ``org/name``.
        revision: 40 hex digits of the commit.
        files: {file name: sha256 (64 hex digits)} of every file that is loaded.
        packaged: folder inside the room when the files ship in the wheel, else None.
    """

    repo_id: str | None
    revision: str | None
    files: Mapping[str, str]
    packaged: str | None = None


@dataclass(frozen=True)
class PublishedFile:
    """One file of somebody else's repository.

    Attributes:
        role: what the converter calls it: ``weights``, ``image``, ``text``, ``vocab`` ...
        repo_id: Hub repository, ``org/name``.
        name: path inside the repository.
        revision: commit, tag or branch; None is ``main``.
        sha256: 64 hex digits, or None where nobody published one: then the first download is
            recorded, and every later one has to be the same file.
        size: what its page says, for people: ``"4.97 GB"``.
        page: where a person downloads a file that is in no repository of the Hub; ``repo_id`` is "" then.
        optional: whether the model can be converted without it, and then does less.
        purpose: what an optional file is for.
    """

    role: str
    repo_id: str
    name: str
    revision: str | None = None
    sha256: str | None = None
    size: str = ""
    page: str = ""
    optional: bool = False
    purpose: str = ""


@dataclass(frozen=True)
class PublishedWeights:
    """Weights in their authors' own format, converted on this machine on first use.

    Attributes:
        files: what is fetched.
        converter: word in the room's ``CONVERTERS``.
        options: handed to the converter: what the files do not say themselves.
        gated: where to ask for access, or "" for files that anyone may fetch.
    """

    files: tuple[PublishedFile, ...]
    converter: str
    options: Mapping[str, Any] = field(default_factory=dict)
    gated: str = ""

    @property
    def by_hand(self) -> tuple[PublishedFile, ...]:
        """Files that cannot be fetched from here: a person downloads and converts them."""
        return tuple(file for file in self.files if file.page and not file.optional)


@dataclass(frozen=True)
class CommandGroup:
    """A group of the command line: ``app`` is ``"module:typer app"`` of the room, ``help`` its line in lists.

    With the line as data, the program's own help imports no room's commands.
    """

    app: str
    help: str


@dataclass(frozen=True)
class Measured:
    """A figure of a model and how it came about.

    Attributes:
        value: the figure in words, with its interval: ``"accuracy 0.947 (0.918 to 0.968), brain MRI"``. For
            weights of this package it points into the records beside them instead of repeating numbers:
            ``"accuracy {validation/score:.3f}"``; see ``hub/catalogue.py``.
        command: that measures it again, or "" for a figure of the model's authors.
        source: who measured it where ``command`` is empty: a paper or page.
    """

    value: str
    command: str = ""
    source: str = ""


@dataclass(frozen=True)
class ModelSpec:
    """A model users can name: where it comes from, what it takes, what it may be used for.

    Attributes:
        tasks: what it does, in words of the catalogue: ``zero-shot classification``, ``retrieval`` ...
        parity: golden cases that run the code of this model, ``system/case``; see ``core/verify.py``.
        parameters: their number, rounded where its authors round it; None where only the file says it.
        source: page of the authors' code or weights; "" for models trained here.
        measured: figures, own ones first.
    """

    name: str
    domain: str
    summary: str
    modalities: tuple[str, ...]
    embed_dim: int
    weights: WeightsRef | PublishedWeights
    licence: str
    intended_use: str
    paper: str = ""
    extra: str = ""
    tasks: tuple[str, ...] = ()
    parity: tuple[str, ...] = ()
    parameters: int | None = None
    source: str = ""
    measured: tuple[Measured, ...] = ()


@dataclass(frozen=True)
class Facts:
    """What the catalogue says of a model beyond what loading it needs; fields as in :class:`ModelSpec`."""

    tasks: tuple[str, ...]
    source: str = ""
    parameters: int | None = None
    measured: tuple[Measured, ...] = ()


def described(specs: Iterable[ModelSpec], facts: Mapping[str, Facts]) -> tuple[ModelSpec, ...]:
    """Return the models of a room with the facts of their names.

    Raises:
        ConfigError: a model without facts, or facts of no model.
    """
    specs = tuple(specs)
    odd = {spec.name for spec in specs} ^ set(facts)
    if odd:
        raise ConfigError(f"Models and facts of a room differ by: {', '.join(sorted(odd))}.")
    return tuple(
        replace(
            spec,
            tasks=facts[spec.name].tasks,
            source=facts[spec.name].source,
            parameters=facts[spec.name].parameters,
            measured=facts[spec.name].measured,
        )
        for spec in specs
    )


@dataclass(frozen=True)
class RecipeSpec:
    """A training recipe users can name; ``path`` is the YAML file inside the room."""

    name: str
    domain: str
    summary: str
    path: Path


@dataclass(frozen=True)
class PromptSpec:
    """A prompt set users can name; the file is ``prompts/<name>.yaml`` inside the room.

    Attributes:
        name: short, without the domain, for example ``chexpert-5x200``.
        modality: kind of image it describes, for example ``X-ray``.
        summary: what it tells apart, on one line.
        parts: {what stands before each class: name of another set}; such a set has no file and joins these.
    """

    name: str
    modality: str
    summary: str
    parts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Room:
    """What one domain package declares about itself.

    ``goldens`` maps a word to a module inside the room, the other tables a word to
    ``"module:function"``; nothing is imported until :meth:`function` or :meth:`module` is called.

    Attributes:
        converters: from a published checkpoint to our own format; see ``core/conversion.py``.
        collates: what becomes of captions and extras of a batch; see ``core/pair_data.py``.
        collate_checks: how much of the data a collate will use; see ``core/pair_data.py``.
        objectives: training losses of the domain, as classes; see ``core/objectives/base.py``.
        parts: how a model answers for a file or folder that holds more than it sees at once, a volume or
            a long recording: ``has_parts`` (model, path) -> bool; ``read`` (model, path, options) -> (parts,
            meta), which calls no network; ``embed`` (model, parts) -> float32 [D].
        tasks: kinds of training run that are no comparison of samples with texts; see ``core/task_data.py``.
        commands: the domain's own commands by group of the command line.
        prompts: prompt sets by short name; see :func:`verticlip.core.prompts.prompt_set`.
        evaluations: ``sets`` and ``retrieval``, modules that measure a model.
        card_words: what model cards of the domain say of its samples; see ``hub/card.py``.
        covers: what of a network's code each golden case of the room's systems runs, ``system/case`` to words
            of ``hub/parity.py``.
        probes: what a model without an embedding for every tower answers in a stored probe, by architecture;
            see ``hub/stored_probe.py``.
        graphs: parts beside the towers that other runtimes can run, by architecture; see ``core/graphs.py``.
        exports: modules that say an architecture in the words of other libraries; see
            ``core/layouts/exported.py``.
    """

    name: str
    folder: Path
    models: Mapping[str, ModelSpec]
    recipes: Mapping[str, RecipeSpec]
    loaders: Mapping[str, str]
    readers: Mapping[str, str]
    architectures: Mapping[str, str]
    goldens: Mapping[str, str]
    converters: Mapping[str, str] = field(default_factory=dict)
    objectives: Mapping[str, str] = field(default_factory=dict)
    collates: Mapping[str, str] = field(default_factory=dict)
    collate_checks: Mapping[str, str] = field(default_factory=dict)
    parts: Mapping[str, str] = field(default_factory=dict)
    tasks: Mapping[str, str] = field(default_factory=dict)
    commands: Mapping[str, CommandGroup] = field(default_factory=dict)
    prompts: Mapping[str, PromptSpec] = field(default_factory=dict)
    evaluations: Mapping[str, str] = field(default_factory=dict)
    card_words: Mapping[str, str] = field(default_factory=dict)
    probes: Mapping[str, str] = field(default_factory=dict)
    covers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    graphs: Mapping[str, str] = field(default_factory=dict)
    exports: Mapping[str, str] = field(default_factory=dict)

    def function(self, kind: str, word: str) -> Callable[..., Any]:
        """Import and return the function that the room declares under ``kind`` for ``word``.

        Raises:
            ConfigError: the room declares no such word; the nearest one is named.
        """
        return getattr(self.module(kind, word), getattr(self, kind)[word].partition(":")[2])

    def module(self, kind: str, word: str) -> ModuleType:
        """Import and return the module that the room declares under ``kind`` for ``word``.

        Raises:
            ConfigError: as :meth:`function`.
        """
        table: Mapping[str, str] = getattr(self, kind)
        if word not in table:
            raise ConfigError(
                f"Domain {self.name!r} has no {kind[:-1]} {word!r}; it has: "
                f"{', '.join(sorted(table)) or 'none'}.{nearest(word, table)}"
            )
        module = table[word].partition(":")[0]
        return importlib.import_module(f".domains.{self.name}.{module}", _PACKAGE)

    def command_app(self, group: str) -> Any:
        """Import and return the typer app of one group of the room's own commands."""
        module, _, name = self.commands[group].app.partition(":")
        return getattr(importlib.import_module(f".domains.{self.name}.{module}", _PACKAGE), name)


@functools.cache
def room(name: str) -> Room:
    """Return the declarations of one domain.

    Raises:
        ConfigError: no such domain.
    """
    if name not in ROOMS:
        raise ConfigError(f"No domain {name!r}; there are: {', '.join(ROOMS)}.{nearest(name, ROOMS)}")
    module = importlib.import_module(f".domains.{name}", _PACKAGE)
    folder = Path(str(module.__file__)).parent
    recipes = [
        RecipeSpec(f"{name}/{short}", name, summary, folder / "recipes" / f"{short}.yaml")
        for short, summary in getattr(module, "RECIPES", {}).items()
    ]
    return Room(
        name=name,
        folder=folder,
        models={spec.name: spec for spec in getattr(module, "MODELS", ())},
        recipes={spec.name: spec for spec in recipes},
        loaders=getattr(module, "LOADERS", {}),
        readers=getattr(module, "READERS", {}),
        architectures=getattr(module, "ARCHITECTURES", {}),
        goldens=getattr(module, "GOLDENS", {}),
        converters=getattr(module, "CONVERTERS", {}),
        objectives=getattr(module, "OBJECTIVES", {}),
        collates=getattr(module, "COLLATES", {}),
        collate_checks=getattr(module, "COLLATE_CHECKS", {}),
        parts=getattr(module, "PARTS", {}),
        tasks=getattr(module, "TASKS", {}),
        commands=getattr(module, "COMMANDS", {}),
        prompts={spec.name: spec for spec in getattr(module, "PROMPTS", ())},
        evaluations=getattr(module, "EVALUATIONS", {}),
        card_words=getattr(module, "CARD_WORDS", {}),
        probes=getattr(module, "PROBES", {}),
        covers=getattr(module, "COVERS", {}),
        graphs=getattr(module, "GRAPHS", {}),
        exports=getattr(module, "EXPORTS", {}),
    )


def models() -> dict[str, ModelSpec]:
    """Return every known model by name, in room order."""
    return {name: spec for word in ROOMS for name, spec in room(word).models.items()}


def recipes() -> dict[str, RecipeSpec]:
    """Return every known recipe by name, in room order."""
    return {name: spec for word in ROOMS for name, spec in room(word).recipes.items()}


def command_groups() -> dict[str, Room]:
    """Return {group of the command line: the room that declares it}, in room order."""
    return {group: room(word) for word in ROOMS for group in room(word).commands}


def model_spec(name: str) -> ModelSpec:
    """Return the spec called ``name``.

    Raises:
        ConfigError: unknown name; says the nearest one and how to load a folder or repository.
    """
    known = models()
    if name not in known:
        raise ConfigError(
            f"No model called {name!r}.{nearest(name, known)} Known: {', '.join(known)}. "
            "A folder ('./my-model') or a Hub repository ('org/name') works too."
        )
    return known[name]
