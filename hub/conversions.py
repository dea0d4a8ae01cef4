"""From files in their authors' own format to a model folder that says what it was made from."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core import registry
from ..core.errors import ConfigError, WeightsError, nearest
from ..core.files import (
    CONFIG_FILE,
    PROCESSOR_FILE,
    PROMPTS_FILE,
    TOKENIZER_FILE,
    WEIGHTS_FILE,
    new_folder,
    read_json,
    sha256_of,
    write_json_atomic,
    write_text_atomic,
)
from ..core.registry import ModelSpec, PublishedFile, PublishedWeights
from .download import DamagedError
from .loading import verify_files
from .trust import cache_folder, recorded

if TYPE_CHECKING:
    from ..core.conversion import Converted

CONVERSION_FILE = "conversion.json"
STAGING = ".staging-"
FORMAT = 1
"""Raised when converted folders are written differently; they are then made anew."""


@dataclass(frozen=True)
class SourceFile:
    """One file that a conversion read.

    Attributes:
        role: as in the registry.
        repo_id: of the Hub, or the page that a person downloaded it from.
        commit: of the Hub, or None for a file that the user gave.
        registered: whether this is the SHA-256 of the registry, or else of the record of the first
            download; None where neither knows one.
    """

    role: str
    repo_id: str
    name: str
    commit: str | None
    sha256: str
    bytes: int
    registered: bool | None


@dataclass(frozen=True)
class Conversion:
    """What became of a published checkpoint.

    Attributes:
        folder: the model folder that was written.
        files: what it was made from.
        report: {part: {"loaded": count, "missing", "unexpected", "dropped": names}}.
    """

    folder: Path
    files: tuple[SourceFile, ...]
    report: Mapping[str, Mapping[str, Any]]

    @property
    def unverified(self) -> tuple[str, ...]:
        """Roles of the files that could be compared with nothing; they may be anybody's."""
        return unverified_of(self.files)


def convert_files(
    spec: ModelSpec,
    files: Mapping[str, str | Path],
    out: str | Path,
    *,
    any_file: bool = False,
    options: Mapping[str, Any] | None = None,
) -> Conversion:
    """Convert files that the user has, without network, into a model folder.

    Args:
        spec: the published model that they are, or that they were trained from.
        files: {role: path} for every role of the model that is not optional; see :func:`roles`.
        out: folder that does not exist yet, or is empty.
        any_file: accept weights with another SHA-256 than the registry states or the first download had,
            a fine-tuned variant; the result then does not claim to be the published model.
        options: for the converter, beside the registry's: sizes that a variant's tensors do not say. A
            conversion with options of its own counts as a variant.

    Raises:
        ConfigError: a role is missing or unknown, or ``out`` holds files.
        WeightsError: a file is missing, is not the published one, or does not convert.
    """
    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"{out} is not empty. Choose another folder.")
    planned = {file.role: file for file in weights_of(spec).files}
    unknown = sorted(set(files) - set(planned))
    missing = [role for role, file in planned.items() if role not in files and not file.optional]
    if unknown or missing:
        what = f"no role {unknown[0]!r}" if unknown else f"no file for {missing[0]!r}"
        raise ConfigError(
            f"{spec.name}: {what}; it needs: {wanted_files(planned.values())}."
            + (nearest(unknown[0], planned) if unknown else "")
        )
    sources = []
    for role, file in planned.items():
        if role not in files:
            continue
        path = Path(files[role])
        if not path.is_file():
            raise WeightsError(f"{path}: no such file. {spec.name} needs {wanted_files([file])}.")
        digest = sha256_of(path)
        expected, whose = _expected(file)
        same = None if expected is None else digest == expected
        if same is False and not any_file:
            raise WeightsError(
                f"{path.name} has SHA-256 {digest}; {whose} {file.name} has {expected}. Fetch it "
                "again, or say that it is a variant on purpose: --any-file (any_file=True)."
            )
        home = file.repo_id or file.page
        sources.append(SourceFile(role, home, path.name, None, digest, path.stat().st_size, same))
    paths = {role: Path(path) for role, path in files.items()}
    variant = bool(options) or any(file.registered is False for file in sources)
    if options:
        weights = weights_of(spec)
        spec = replace(spec, weights=replace(weights, options={**weights.options, **options}))
    return convert_into(spec, paths, sources, out, variant=variant)


def _expected(file: PublishedFile) -> tuple[str | None, str]:
    """Return the SHA-256 a file should have, or None, and what says so."""
    if file.sha256 is not None:
        return file.sha256, "the published"
    first = recorded(file.repo_id, file.name, file.revision or "main")
    return (first.sha256, f"the first download, of {first.date}, of") if first else (None, "")


def unverified_of(files: Iterable[SourceFile]) -> tuple[str, ...]:
    """Return the roles of files that were compared with no hash and did not come from the Hub."""
    return tuple(file.role for file in files if file.registered is None and file.commit is None)


def conversions_folder(name: str) -> Path:
    """Return where the cache keeps the conversions of the model called ``name``."""
    return cache_folder() / "converted" / name.replace("/", "--")


def read_conversion(folder: Path) -> Mapping[str, Any] | None:
    """Return what ``conversion.json`` says of a folder, or None where it is missing or damaged."""
    try:
        content = read_json(folder / CONVERSION_FILE)
    except ConfigError:
        return None
    return content if isinstance(content, Mapping) else None


def verified_conversion(
    folder: Path, content: Mapping[str, Any], *, source: str, verify: bool = True
) -> dict[str, str]:
    """Return {name: SHA-256} of a converted folder after comparing its files with them.

    Args:
        content: of its ``conversion.json``. source: what messages call the model.
        verify: False for a folder that was written, and hashed, a moment ago.

    Raises:
        DamagedError: the folder was changed or damaged.
    """
    written = content.get("written")
    try:
        if not isinstance(written, Mapping) or WEIGHTS_FILE not in written:
            raise DamagedError(f"{source}: {CONVERSION_FILE} states no hashes.")
        if verify:
            verify_files(folder, written, source=source)
    except WeightsError as error:
        error.args = (f"{error} To convert anew, delete the folder {folder}.",)
        raise
    return dict(written)


def sweep_staging(folder: Path) -> list[Path]:
    """Remove what killed conversions left in a folder of conversions; call it with the model's lock held."""
    left = sorted(folder.glob(f"{STAGING}*"))
    for path in left:
        shutil.rmtree(path, ignore_errors=True)
    return left


def roles(spec: ModelSpec, given: Sequence[str]) -> dict[str, Path]:
    """Return {role: path} of what a user wrote: ``role=path``, a folder, or a bare path.

    A folder stands for the files in it that have their published names; a bare path for the one role
    that nothing else was given for, optional ones aside.

    Raises:
        ConfigError: it is not clear which role a path is for.
    """
    planned = {file.role: file for file in weights_of(spec).files}
    found: dict[str, Path] = {}
    bare: list[Path] = []
    for text in given:
        role, equals, path = text.partition("=")
        if equals and role in planned:
            found[role] = Path(path).expanduser()
        elif Path(text).expanduser().is_dir():
            folder = Path(text).expanduser()
            for file in planned.values():
                if (folder / Path(file.name).name).is_file():
                    found.setdefault(file.role, folder / Path(file.name).name)
        elif equals and not Path(text).exists():
            raise ConfigError(
                f"{spec.name}: no role {role!r}; it needs: {wanted_files(planned.values())}."
                f"{nearest(role, planned)}"
            )
        else:
            bare.append(Path(text).expanduser())
    open_roles = [role for role, file in planned.items() if role not in found and not file.optional]
    if len(bare) > 1 or (bare and len(open_roles) != 1):
        raise ConfigError(
            f"{bare[0]}: which file is this? Write ROLE=PATH; {spec.name} needs: "
            f"{wanted_files(planned.values())}."
        )
    return {**found, **dict(zip(open_roles, bare, strict=False))}


def weights_of(spec: ModelSpec) -> PublishedWeights:
    """Return where a published model's files are.

    Raises:
        ConfigError: the model ships in our own format.
    """
    if not isinstance(spec.weights, PublishedWeights):
        raise ConfigError(f"{spec.name} ships in verticlip's own format; there is nothing to convert.")
    return spec.weights


def wanted_files(files: Iterable[PublishedFile]) -> str:
    """Return ``role=name`` of files, optional ones in brackets."""
    said = ((f"{file.role}={Path(file.name).name}", file.optional) for file in files)
    return ", ".join(f"[{text}]" if optional else text for text, optional in said)


def converter_version(spec: ModelSpec) -> int:
    """Return ``VERSION`` of the converter's module; it rises when the same file converts differently."""
    module = registry.room(spec.domain).module("converters", weights_of(spec).converter)
    return int(getattr(module, "VERSION", 1))


def convert_into(
    spec: ModelSpec,
    paths: Mapping[str, Path],
    sources: Sequence[SourceFile],
    out: Path,
    *,
    variant: bool = False,
) -> Conversion:
    """Convert into a folder beside ``out`` that takes its name when everything in it is written."""
    weights = weights_of(spec)
    converter = registry.room(spec.domain).function("converters", weights.converter)
    converted = converter(spec.name, dict(paths), dict(weights.options))
    about = {
        "model": spec.name,
        "variant": variant,
        "converter": weights.converter,
        "converter_version": converter_version(spec),
        "options": dict(weights.options),
    }
    description = converted.config.description or spec.summary
    doubt = _doubt(sources, variant=variant)
    if doubt:
        description = description.rstrip(".") + "." + doubt
    changes = {"licence": converted.config.licence or spec.licence, "description": description.strip()}
    config = converted.config.model_copy(update=changes)
    return keep_converted(replace(converted, config=config), sources, out, about=about)


def keep_converted(
    converted: Converted, sources: Sequence[SourceFile], out: Path, *, about: Mapping[str, Any]
) -> Conversion:
    """Write a converted model into a folder beside ``out`` that takes its name when everything is written.

    Args:
        converted: whose shapes are compared with those of its network before anything is written.
        sources: what it was made from. about: what else ``conversion.json`` says, ``model`` among it.

    Raises:
        ConfigError: something was written to ``out`` meanwhile.
        WeightsError: tensors that do not fit the config, or are not finite.
    """
    from ..core.checkpoint import load_strict
    from ..core.conversion import build_empty

    load_strict(build_empty(converted.config), converted.state, source=f"{about['model']}: {sources[0].name}")
    out.parent.mkdir(parents=True, exist_ok=True)
    staging = new_folder(out.parent, f"{STAGING}{out.name}.")
    try:
        _write(converted, staging)
        written = {path.name: sha256_of(path) for path in sorted(staging.iterdir())}
        report = converted.report.to_dict()
        content = {
            **about,
            "format": FORMAT,
            "files": [asdict(source) for source in sources],
            "unverified": list(unverified_of(sources)),
            "report": report,
            "written": written,
        }
        write_json_atomic(staging / CONVERSION_FILE, content)
        if out.is_dir() and not any(out.iterdir()):
            out.rmdir()
        try:
            staging.rename(out)
        except OSError as error:
            if not out.exists():
                raise
            raise ConfigError(
                f"{out}: something was written there meanwhile, perhaps by another process. Use that, or "
                "choose another folder."
            ) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return Conversion(out, tuple(sources), report)


def _doubt(sources: Sequence[SourceFile], *, variant: bool) -> str:
    """Return what the description of the model has to say about where its weights come from."""
    if variant:
        return " Converted from other weights than the published ones."
    unverified = unverified_of(sources)
    if unverified:
        return f" Converted from files that were compared with no hash: {', '.join(unverified)}."
    return ""


def _write(converted: Converted, folder: Path) -> None:
    from ..core.conversion import write_state

    write_json_atomic(folder / CONFIG_FILE, converted.config.model_dump(mode="json"))
    write_json_atomic(folder / PROCESSOR_FILE, converted.processor.model_dump(mode="json"))
    if converted.tokenizer_json is not None:
        write_text_atomic(folder / TOKENIZER_FILE, converted.tokenizer_json)
    if converted.prompts_yaml is not None:
        write_text_atomic(folder / PROMPTS_FILE, converted.prompts_yaml)
    write_state(converted.state, folder / WEIGHTS_FILE)
