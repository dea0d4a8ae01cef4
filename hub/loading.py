"""From a name, a folder or a Hub repository to a model that is ready to answer.

A model folder is JSON, YAML and safetensors, and nothing else in it is read. Checkpoints in their authors'
own format, pickles among them, are read by a converter with torch's ``weights_only`` alone; see
:mod:`.published`. Files are fetched by exact name, and registered weights are compared with their SHA-256.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from ..core import registry
from ..core.errors import ConfigError, WeightsError
from ..core.files import (
    CONFIG_FILE,
    PROCESSOR_FILE,
    PROMPTS_FILE,
    TOKENIZER_FILE,
    WEIGHTS_FILE,
    sha256_of,
)
from ..core.limits import DEFAULT, Limits
from .download import download

if TYPE_CHECKING:
    from ..core.config import ModelConfig
    from ..core.model import ContrastiveModel
    from ..core.processing import Processor
    from ..core.prompts import PromptSet

REQUIRED_FILES = (CONFIG_FILE, PROCESSOR_FILE, WEIGHTS_FILE)
OPTIONAL_FILES = (TOKENIZER_FILE, PROMPTS_FILE)

_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class ResolvedModel:
    """Where a model's files are and how results should name it.

    Attributes:
        folder: holds config.json, processor.json, model.safetensors and perhaps tokenizer and prompts.
        id: registry name, ``org/name``, or the folder as the user wrote it.
        commit: 40 hex digits of the Hub commit, joined by ``+`` where weights come from several; None
            for files that have none.
        spec: registry entry, or None for folders and other repositories.
    """

    folder: Path
    id: str
    commit: str | None = None
    spec: registry.ModelSpec | None = None

    @cached_property
    def revision(self) -> str:
        """Commit on the Hub, else ``sha256:`` and 16 digits of the weights' hash; read on first use."""
        if self.commit:
            return self.commit
        ref = self.spec.weights if self.spec else None
        known = ref.files.get(WEIGHTS_FILE) if isinstance(ref, registry.WeightsRef) else None
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
    if not name.strip():
        raise ConfigError("The model name is empty. Give a registered name, a folder or 'org/name'.")
    if "://" in name:
        raise ConfigError(f"{name!r} is a URL. Give a model name, a folder or a Hub repository 'org/name'.")
    if isinstance(name_or_path, str) and name in registry.models():
        return _registered(registry.model_spec(name), revision)
    folder = Path(name).expanduser()
    if folder.is_dir():
        return _local(folder, name, revision)
    if isinstance(name_or_path, Path) or name.startswith(("/", "./", "../", "~")) or folder.is_file():
        kind = "is a file" if folder.is_file() else "does not exist"
        raise ConfigError(f"{name}: {kind}; expected a folder with {', '.join(REQUIRED_FILES)}.")
    if not _REPOSITORY.fullmatch(name) or ".." in name or name.split("/")[0] in registry.ROOMS:
        # Not a repository, or a slip in one of our own names: never guess other people's weights.
        registry.model_spec(name)
    return _from_hub(name, revision)


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
    for required in REQUIRED_FILES:
        if not (folder / required).is_file():
            raise WeightsError(f"{name}: no {required}. A model folder needs {', '.join(REQUIRED_FILES)}.")
    return ResolvedModel(folder, name)


def _registered(spec: registry.ModelSpec, revision: str | None) -> ResolvedModel:
    ref = spec.weights
    if isinstance(ref, registry.PublishedWeights):
        from .published import resolve_published

        return resolve_published(spec, revision)
    if revision not in (None, ref.revision):
        pinned = f"pinned to {ref.revision}" if ref.revision else "part of this package"
        elsewhere = f" Load {ref.repo_id!r} with revision={revision!r} instead." if ref.repo_id else ""
        raise ConfigError(f"{spec.name} is {pinned}; it has no revision {revision!r}.{elsewhere}")
    if ref.packaged is not None:
        folder = registry.room(spec.domain).folder / ref.packaged
    else:
        if ref.repo_id is None or ref.revision is None or not ref.files:
            raise ConfigError(
                f"{spec.name}: the registry names no packaged weights and no pinned repository."
            )
        fetched = [download(ref.repo_id, name, ref.revision) for name in ref.files]
        folder = fetched[0].parent
    for name in (*REQUIRED_FILES, *OPTIONAL_FILES):
        if name not in ref.files and (name in REQUIRED_FILES or (folder / name).exists()):
            raise WeightsError(f"{spec.name}: the registry states no SHA-256 for {name}; nothing was loaded.")
    verify_files(folder, ref.files, source=spec.name)
    return ResolvedModel(folder, spec.name, ref.revision, spec)


def verify_files(folder: Path, hashes: Mapping[str, str], *, source: str) -> None:
    """Compare every file named in ``hashes`` with its SHA-256.

    Raises:
        WeightsError: names the first file that is missing or differs, with both hashes.
    """
    for name, expected in hashes.items():
        path = folder / name
        if not path.is_file():
            raise WeightsError(f"{source}: {name} is missing from {folder}. Reinstall or fetch it again.")
        got = sha256_of(path)
        if got != expected:
            raise WeightsError(
                f"{source}: {name} has SHA-256 {got}, expected {expected}. "
                "The file was changed or damaged; delete it and fetch it again."
            )


def _refuse_published(repo_id: str) -> None:
    """Raise for the home of weights in another format: they load by their registered name."""
    names = [
        spec.name
        for spec in registry.models().values()
        if isinstance(spec.weights, registry.PublishedWeights)
        and any(
            file.repo_id == repo_id and file.role != "vocab" and not file.optional
            for file in spec.weights.files
        )
    ]
    if names:
        raise ConfigError(
            f"{repo_id} holds weights in its authors' own format. Load it by name, which converts them: "
            f"{' or '.join(map(repr, names))}."
        )


def _from_hub(repo_id: str, revision: str | None) -> ResolvedModel:
    _refuse_published(repo_id)
    folder = download(repo_id, CONFIG_FILE, revision or "main").parent
    # The cache keeps each commit in a folder of that name; every other file is taken from the same commit.
    commit = folder.name
    if not _COMMIT.fullmatch(commit):
        raise WeightsError(f"{repo_id}: the Hub named no commit for revision {revision or 'main'!r}.")
    for name in (PROCESSOR_FILE, WEIGHTS_FILE):
        download(repo_id, name, commit)
    for name in OPTIONAL_FILES:
        _download_if_published(repo_id, name, commit)
    return ResolvedModel(folder, repo_id, commit)


def _download_if_published(repo_id: str, name: str, commit: str) -> None:
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import RemoteEntryNotFoundError

    # None means unknown; anything else is the file itself or the note that this commit lacks it.
    if try_to_load_from_cache(repo_id, name, revision=commit) is not None:
        return
    with contextlib.suppress(RemoteEntryNotFoundError):
        download(repo_id, name, commit, optional=True)
