"""From a name, a folder or a Hub repository to a model that is ready to answer.

A model folder is JSON, YAML and safetensors, and nothing else in it is read. Checkpoints in their authors'
own format, pickles among them, are read by a converter with torch's ``weights_only`` alone; see
:mod:`.published`. Files are fetched by exact name, and registered weights are compared with their SHA-256.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core import registry
from ..core.errors import ConfigError, WeightsError
from ..core.files import (
    CONFIG_FILE,
    OPTIONAL_FILES,
    PROCESSOR_FILE,
    PROMPTS_FILE,
    REQUIRED_FILES,
    TOKENIZER_FILE,
    WEIGHTS_FILE,
    read_json,
    sha256_of,
)
from ..core.limits import DEFAULT, Limits
from ..core.names import is_commit
from .advice import UnreachableError, Wanted, nothing_here
from .download import DamagedError, Fetched, fetch, fetch_if_there
from .revisions import check_repository, resolve_commit

if TYPE_CHECKING:
    from ..core.config import ModelConfig
    from ..core.model import ContrastiveModel
    from ..core.processing import Processor
    from ..core.prompts import PromptSet

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ResolvedModel:
    """Where a model's files are and how results should name it.

    Attributes:
        folder: holds config.json, processor.json, model.safetensors and perhaps tokenizer and prompts.
        id: registry name, ``org/name``, or the folder as the user wrote it.
        commit: 40 hex digits of the Hub commit, joined by ``+`` where weights come from several; None
            for files that have none.
        spec: registry entry, or None for folders and other repositories.
        files: {name: SHA-256} of the files as they were verified before use; "" for one that could be
            compared with nothing. Empty for a folder of the user's own, which is taken as it is.
    """

    folder: Path
    id: str
    commit: str | None = None
    spec: registry.ModelSpec | None = None
    files: Mapping[str, str] = field(default_factory=dict, compare=False)

    @property
    def unverified(self) -> tuple[str, ...]:
        """Names of files that could be compared with no hash."""
        return tuple(name for name, sha256 in self.files.items() if not sha256)

    @cached_property
    def revision(self) -> str:
        """Commit on the Hub, else ``sha256:`` and 16 digits of the weights' hash; read on first use."""
        if self.commit:
            return self.commit
        known = self.files.get(WEIGHTS_FILE)
        return f"sha256:{(known or sha256_of(self.folder / WEIGHTS_FILE))[:16]}"


def resolve(name_or_path: str | Path, revision: str | None = None) -> ResolvedModel:
    """Find a model's files, fetching them from the Hub when they are not here yet.

    A registry name comes first, then an existing folder, then ``org/name`` on the Hub. Weights that
    their authors publish in another format are converted once; see :mod:`.published`.

    Args:
        name_or_path: ``medical/tiny``, ``./my-model`` or ``org/name``.
        revision: branch, tag or commit of a Hub repository; the commit it stands for is recorded.

    Raises:
        ConfigError: nothing goes by this name, or ``revision`` does not apply to it.
        WeightsError: a file is missing, cannot be fetched, or is not the one that was registered.
    """
    name = str(name_or_path)
    if _is_repository(name_or_path):
        return _from_hub(name, revision)
    if isinstance(name_or_path, str) and name in registry.models():
        return _registered(registry.model_spec(name), revision)
    return _local(Path(name).expanduser(), name, revision)


def stored_facts(name_or_path: str | Path, revision: str | None = None) -> dict[str, Any]:
    """Return what a model's own config says of it, without fetching its weights.

    Keys: ``revision, modalities, embed_dim, licence, description``; for a repository in the format of
    another library those of :func:`.import_facts.import_facts` beside ``revision``.

    Args:
        name_or_path: a folder, ``org/name``, or a name of weights in our own format.
        revision: branch, tag or commit of a Hub repository.

    Raises:
        ConfigError: as :func:`resolve`, or the config is not acceptable.
        WeightsError: the config cannot be fetched.
    """
    from ..core.config import ModelConfig, read_config

    if _is_repository(name_or_path):
        repo_id = str(name_or_path)
        commit = resolve_commit(repo_id, revision)
        if _fetch_processor(repo_id, commit) is None:
            from .import_facts import import_facts

            return {"revision": commit, **import_facts(repo_id, commit)}
        found = ResolvedModel(fetch(repo_id, CONFIG_FILE, commit).path.parent, repo_id, commit)
    else:
        folder = Path(name_or_path).expanduser()
        if str(name_or_path) not in registry.models() and _is_foreign(folder):
            from .import_facts import import_folder_facts

            return {"revision": "", **import_folder_facts(folder)}
        found = resolve(name_or_path, revision)
    config = read_config(ModelConfig, found.folder / CONFIG_FILE)
    return {
        "revision": found.revision,
        "modalities": list(config.towers),
        "embed_dim": config.embed_dim,
        "licence": config.licence,
        "description": config.description,
    }


def _is_repository(name_or_path: str | Path) -> bool:
    """Return whether a name is one of a Hub repository, neither a registered one nor a folder.

    Raises:
        ConfigError: nothing can go by this name.
    """
    name = str(name_or_path)
    if not name.strip():
        raise ConfigError("The model name is empty. Give a registered name, a folder or 'org/name'.")
    if "://" in name:
        raise ConfigError(f"{name!r} is a URL. Give a model name, a folder or a Hub repository 'org/name'.")
    folder = Path(name).expanduser()
    if (isinstance(name_or_path, str) and name in registry.models()) or folder.is_dir():
        return False
    if isinstance(name_or_path, Path) or name.startswith(("/", "./", "../", "~")) or folder.is_file():
        kind = "is a file" if folder.is_file() else "does not exist"
        raise ConfigError(f"{name}: {kind}; expected a folder with {', '.join(REQUIRED_FILES)}.")
    if name.count("/") != 1 or name.split("/")[0] in registry.ROOMS:
        # Not a repository, or a slip in one of our own names: never guess other people's weights.
        registry.model_spec(name)
    check_repository(name)
    return True


def load_model(
    resolved: ResolvedModel, *, limits: Limits = DEFAULT
) -> tuple[ContrastiveModel, Processor, PromptSet | None]:
    """Return (network in evaluation mode on the CPU, processor, prompt set or None).

    Raises:
        ConfigError: a config is missing, damaged, unsafe or contradicts another file.
        WeightsError: tensors are missing, unexpected, misshapen, damaged or not finite.
    """
    from ..core.checkpoint import load_strict, read_weights
    from ..core.config import ModelConfig, read_config
    from ..core.conversion import build_empty
    from ..core.processing import Processor

    folder = resolved.folder
    config = read_config(ModelConfig, folder / CONFIG_FILE, limits=limits)
    processor = Processor.load(folder, limits=limits)
    for modality in config.towers:
        if modality in ("image", "text", "audio") and modality not in processor.modalities:
            raise ConfigError(
                f"{resolved.id}: {CONFIG_FILE} has a tower for {modality!r} and {PROCESSOR_FILE} does "
                "not prepare it. The two files belong to different models."
            )
    prompts = _read_prompts(folder, config, limits)
    state = read_weights(folder / WEIGHTS_FILE)
    network = build_empty(config)
    load_strict(network, state, source=f"{resolved.id}: {WEIGHTS_FILE}")
    return network.eval(), processor, prompts


def _read_prompts(folder: Path, config: ModelConfig, limits: Limits) -> PromptSet | None:
    from ..core.prompts import PromptSet

    path = folder / PROMPTS_FILE
    if path.is_file():
        return PromptSet.load(path, limits=limits)
    if config.prompts is not None:
        raise ConfigError(
            f"{folder}: {CONFIG_FILE} names prompt set {config.prompts!r} and there is no {PROMPTS_FILE}."
        )
    return None


def _local(folder: Path, name: str, revision: str | None) -> ResolvedModel:
    if revision is not None:
        raise ConfigError(f"{name} is a folder and has no revision {revision!r}. Leave revision out.")
    missing = next((required for required in REQUIRED_FILES if not (folder / required).is_file()), None)
    if missing is None:
        return ResolvedModel(folder, name)
    if _is_foreign(folder):
        from .imports import import_folder

        return import_folder(folder)
    raise WeightsError(f"{name}: no {missing}. A model folder needs {', '.join(REQUIRED_FILES)}.")


def _is_foreign(folder: Path) -> bool:
    """Return whether a folder without our own processor file holds a checkpoint of another library."""
    from .foreign import kind_of_files

    if (folder / PROCESSOR_FILE).exists():
        return False
    config = read_json(folder / CONFIG_FILE) if (folder / CONFIG_FILE).is_file() else None
    names = [path.name for path in folder.iterdir()]
    return kind_of_files(names, config if isinstance(config, dict) else None) not in (None, "verticlip")


def _registered(spec: registry.ModelSpec, revision: str | None) -> ResolvedModel:
    ref = spec.weights
    if isinstance(ref, registry.PublishedWeights):
        from .published import resolve_published

        return resolve_published(spec, revision)
    if revision not in (None, ref.revision):
        pinned = f"pinned to {ref.revision}" if ref.revision else "part of this package"
        elsewhere = f" Load {ref.repo_id!r} with revision={revision!r} instead." if ref.repo_id else ""
        raise ConfigError(f"{spec.name} is {pinned}; it has no revision {revision!r}.{elsewhere}")
    for name in REQUIRED_FILES:
        if (ref.packaged or ref.files) and name not in ref.files:
            raise WeightsError(f"{spec.name}: the registry states no SHA-256 for {name}; nothing was loaded.")
    if ref.packaged is not None:
        folder = registry.room(spec.domain).folder / ref.packaged
        verify_files(folder, ref.files, source=spec.name)
    else:
        if ref.repo_id is None or not is_commit(ref.revision) or not ref.files:
            raise ConfigError(
                f"{spec.name}: the registry names no packaged weights and no pinned repository."
            )
        fetched = [
            fetch(ref.repo_id, name, str(ref.revision), sha256=sha256) for name, sha256 in ref.files.items()
        ]
        folder = fetched[0].path.parent
    for name in OPTIONAL_FILES:
        if name not in ref.files and (folder / name).exists():
            raise WeightsError(f"{spec.name}: the registry states no SHA-256 for {name}; nothing was loaded.")
    return ResolvedModel(folder, spec.name, ref.revision, spec, dict(ref.files))


def verify_files(folder: Path, hashes: Mapping[str, str], *, source: str) -> None:
    """Compare every file named in ``hashes`` with its SHA-256.

    Raises:
        DamagedError: names the first file that is missing or differs, with both hashes.
    """
    for name, expected in hashes.items():
        path = folder / name
        if not path.is_file():
            raise DamagedError(f"{source}: {name} is missing. Reinstall or fetch it again.")
        got = sha256_of(path)
        if got != expected:
            raise DamagedError(
                f"{source}: {name} has SHA-256 {got}, expected {expected}. "
                "The file was changed or damaged; delete it and fetch it again."
            )


def _published_at(repo_id: str) -> str:
    """Return what to say of a repository whose weights the registry knows by a name, or ""."""
    names = [
        spec.name
        for spec in registry.models().values()
        if isinstance(spec.weights, registry.PublishedWeights)
        and any(
            file.repo_id == repo_id and file.role != "vocab" and not file.optional
            for file in spec.weights.files
        )
    ]
    by_name = " or ".join(map(repr, names))
    return f"Load it by name, with its domain and what the registry pins: {by_name}." if names else ""


def _from_hub(repo_id: str, revision: str | None) -> ResolvedModel:
    by_name = _published_at(repo_id)
    if not by_name:
        return _fetched(repo_id, revision)
    try:
        found = _fetched(repo_id, revision)
    except (ConfigError, WeightsError) as error:
        # The same error, for its kind tells what is wrong.
        error.args = (f"{error} {by_name}",)
        raise
    _log.warning("%s: loaded as any checkpoint of its library. %s", repo_id, by_name)
    return found


def _fetched(repo_id: str, revision: str | None) -> ResolvedModel:
    # Resolved once: every file is of this commit, wherever the branch moves meanwhile.
    commit = resolve_commit(repo_id, revision)
    from .imports import import_repository, kept_import

    imported = kept_import(repo_id, commit)
    if imported is not None:
        return imported
    processor = _fetch_processor(repo_id, commit)
    if processor is None:
        return import_repository(repo_id, commit)
    fetched = {PROCESSOR_FILE: processor}
    for name in (CONFIG_FILE, WEIGHTS_FILE):
        fetched[name] = fetch(repo_id, name, commit)
    for name in OPTIONAL_FILES:
        try:
            found = fetch_if_there(repo_id, name, commit)
        except UnreachableError:
            # A cache that another program filled does not say which files a commit lacks.
            if name in _named_by(processor.path.parent):
                raise
            _log.warning(
                "%s: loaded without asking whether commit %s has a %s too", repo_id, commit[:7], name
            )
            continue
        if found is not None:
            fetched[name] = found
    files = {name: found.sha256 if found.verified else "" for name, found in fetched.items()}
    return ResolvedModel(processor.path.parent, repo_id, commit, None, files)


def _fetch_processor(repo_id: str, commit: str) -> Fetched | None:
    """Return the file that only our own format has, or None for a commit without it."""
    from huggingface_hub import constants

    from .imports import is_at_hand

    try:
        return fetch_if_there(repo_id, PROCESSOR_FILE, commit)
    except UnreachableError:
        # A checkpoint of another library has no such file; its own files may lie in the cache.
        if is_at_hand(repo_id, commit):
            return None
        if constants.HF_HUB_OFFLINE:
            raise nothing_here(Wanted(repo_id, PROCESSOR_FILE, commit)) from None
        raise


def _named_by(folder: Path) -> set[str]:
    """Return the optional files that the configs of a folder ask for."""
    from ..core.config import ModelConfig, ProcessorConfig, read_config

    text = read_config(ProcessorConfig, folder / PROCESSOR_FILE).text
    prompts = read_config(ModelConfig, folder / CONFIG_FILE).prompts
    tokenizer = text is not None and text.tokenizer == "tokenizer_json"
    return {name for name, named in ((TOKENIZER_FILE, tokenizer), (PROMPTS_FILE, prompts)) if named}
