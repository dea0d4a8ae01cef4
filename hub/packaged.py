"""The models whose weights are part of this package, as repositories of an organization."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from ..core import registry
from ..core.errors import ConfigError
from ..core.registry import ModelSpec, WeightsRef
from .loading import verify_files
from .publish import Plan, Published, plan, push
from .remote import PushError


def packaged_models() -> dict[str, tuple[ModelSpec, Path]]:
    """Return {name: (registry entry, folder)} of every model whose weights ship with the package."""
    return {
        name: (spec, registry.room(spec.domain).folder / spec.weights.packaged)
        for name, spec in registry.models().items()
        if isinstance(spec.weights, WeightsRef) and spec.weights.packaged
    }


def repository_of(name: str, organization: str) -> str:
    """Return where a registered model is published: ``acme/medical-tiny`` for ``medical/tiny``."""
    return f"{organization}/{name.replace('/', '-')}"


def plan_packaged(organization: str, *, private: bool = False) -> dict[str, Plan]:
    """Return {name: plan} for every packaged model; their files are those that the registry states.

    Raises:
        ConfigError: ``organization`` is no name of one.
        WeightsError: a file of the package is not the registered one.
    """
    if "/" in organization:
        raise ConfigError(f"{organization!r} is no organization. Give its name alone, for example acme.")
    plans = {}
    for name, (spec, folder) in packaged_models().items():
        refuse_unregistered(spec, folder)
        plans[name] = plan(folder, repository_of(name, organization), private=private)
    return plans


def refuse_unregistered(spec: ModelSpec, folder: Path) -> None:
    """Raise ``WeightsError`` where the files of a packaged model are not the registered ones."""
    if isinstance(spec.weights, WeightsRef):
        verify_files(folder, spec.weights.files, source=spec.name)


def push_packaged(
    plans: Mapping[str, Plan], *, dry_run: bool = False, token: str | None = None
) -> Iterator[tuple[str, Published]]:
    """Publish packaged models, none of them before all are valid, and yield each name and where it is.

    Raises:
        ConfigError: a check of any model failed, or one of the repositories holds something else.
        PushError: the Hub refuses; models before that one are published, and pushing again goes on.
    """
    for made in plans.values():
        made.refuse_errors()
    if not dry_run:
        # Every repository is looked at before the first one is written to.
        for made in plans.values():
            if (rehearsed := push(made, dry_run=True, token=token)).changes is None:
                raise PushError(f"{' '.join(rehearsed.notes)} Nothing was published.")
    for name, made in plans.items():
        yield name, push(made, dry_run=dry_run, token=token)


def weights_ref(name: str, published: Published) -> str:
    """Return the ``WeightsRef`` that pins a published model in the registry, as Python."""
    spec, _ = packaged_models()[name]
    files = spec.weights.files if isinstance(spec.weights, WeightsRef) else {}
    lines = [f'        "{file}": "{published.files[file][0]}",' for file in files]
    return "\n".join(
        (
            f"# {name}",
            "WeightsRef(",
            f'    repo_id="{published.repo_id}",',
            f'    revision="{published.commit}",',
            "    files={",
            *lines,
            "    },",
            ")",
        )
    )
