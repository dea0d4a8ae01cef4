"""From a model folder to a repository on the Hub: everything is checked, then one commit is made.

Every file is read once; what is checked is what is sent. A new repository is private until its commit was
read back and holds what was sent, and becomes public then. Nothing else is ever deleted there than files of
an earlier version of the same model, in the same commit; a repository never is.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..core.errors import ConfigError, VerticlipError
from ..core.files import CARD_FILE, CONFIG_FILE, WEIGHTS_FILE, read_json, write_json_atomic
from .advice import endpoint
from .card_check import split_card
from .checks import check_name, check_snapshot
from .folder_facts import Finding
from .folder_files import PUBLISHED, Snapshot, take_snapshot
from .remote import PushError, RemoteState, Repository
from .trust import cache_folder

_HOUSEKEEPING = frozenset({".gitattributes"})


@dataclass(frozen=True)
class Plan:
    """What would be published, and what was found about it.

    Attributes:
        folder: as the user wrote it.
        repo_id: ``org/name``.
        files: {name: (SHA-256, bytes)}.
        findings: errors first.
        private: whether a new repository stays private.
    """

    folder: Path
    repo_id: str
    files: Mapping[str, tuple[str, int]]
    findings: tuple[Finding, ...]
    snapshot: Snapshot = field(repr=False)
    private: bool = False

    @property
    def errors(self) -> tuple[Finding, ...]:
        """The findings that forbid publishing."""
        return tuple(one for one in self.findings if one.level == "error")

    def text(self, name: str) -> str:
        """Return a text file as it was read."""
        return (self.snapshot.files[name].content or b"").decode("utf-8", "replace")

    def refuse_errors(self) -> None:
        """Raise ``ConfigError`` that tells the first findings where there are errors."""
        if self.errors:
            told = "; ".join(f"{one.file or 'folder'}: {one.message}" for one in self.errors[:3])
            more = f" (and {len(self.errors) - 3} more)" if len(self.errors) > 3 else ""
            raise ConfigError(f"{self.folder} cannot be published: {told}{more}")


@dataclass(frozen=True)
class Changes:
    """What a push changes in a repository.

    Attributes:
        added, changed, same: names of the folder.
        deleted: names of an earlier version that the folder has no more.
        kept: files of the repository that are none of a model; they stay as they are.
    """

    added: tuple[str, ...]
    changed: tuple[str, ...]
    same: tuple[str, ...]
    deleted: tuple[str, ...]
    kept: tuple[str, ...]

    @property
    def is_empty(self) -> bool:
        """Whether the repository holds the folder already."""
        return not (self.added or self.changed or self.deleted)


@dataclass(frozen=True)
class Published:
    """A model on the Hub, or what a dry run says would become of it.

    Attributes:
        repo_id: ``org/name``.
        commit: that holds the files; "" where a dry run would make one, or nothing could be asked.
        url: page of the repository.
        files: {name: (SHA-256, bytes)}.
        changed: whether a commit was made, or in a dry run would be.
        private: whether only its owners see it.
        changes: against what was there before; None in a dry run that could not ask.
        notes: what the user should know.
    """

    repo_id: str
    commit: str
    url: str
    files: Mapping[str, tuple[str, int]]
    changed: bool
    private: bool
    changes: Changes | None = None
    notes: tuple[str, ...] = ()

    @property
    def load(self) -> str:
        """Python that loads exactly this."""
        return f'verticlip.from_pretrained("{self.repo_id}", revision="{self.commit}")'


def plan(folder: str | Path, repo_id: str, *, private: bool = False) -> Plan:
    """Return what publishing ``folder`` as ``repo_id`` would send, and every finding about it.

    Raises:
        ConfigError: no such folder, one that cannot be read, or a name that no repository can have.
    """
    check_name(repo_id)
    snapshot = take_snapshot(folder)
    findings = tuple(check_snapshot(snapshot, for_repository=repo_id, private=private))
    files = {name: (file.sha256, file.bytes) for name, file in snapshot.files.items()}
    return Plan(Path(folder), repo_id, files, findings, snapshot, private)


def publish(
    folder: str | Path,
    repo_id: str,
    *,
    private: bool = False,
    dry_run: bool = False,
    token: str | None = None,
    message: str | None = None,
) -> Published:
    """Publish a model folder and return where it is.

    Args:
        folder: with weights, config, processor, recipe and metrics (or conversion.json), probe and card.
        repo_id: ``org/name``; created where there is none.
        private: leave a new repository private. Whether others see an existing one is never changed.
        dry_run: check, compare with what is there, and change nothing.
        token: None takes ``HF_TOKEN`` or that of ``hf auth login``.
        message: of the commit.

    Raises:
        ConfigError: a check failed, there is no token, or files are changed while they are sent.
        PushError: the Hub cannot be reached or refuses; what is left there is said.

    Example:
        >>> verticlip.push("runs/a/model", "acme/brain-mri", dry_run=True)  # doctest: +SKIP
    """
    made = plan(folder, repo_id, private=private)
    return push(made, dry_run=dry_run, token=token, message=message)


def push(
    made: Plan, *, dry_run: bool = False, token: str | None = None, message: str | None = None
) -> Published:
    """Carry out a plan; see :func:`publish`."""
    made.refuse_errors()
    repository = Repository(made.repo_id, token)
    if dry_run:
        return _rehearsed(made, repository)
    before = repository.look()
    changes = compare(made.snapshot, before)
    created = before is None
    if before is not None:
        _refuse_foreign(made, repository, before)
    # An earlier push of ours that was cut off left the repository private on the way to being public.
    unfinished = before is not None and before.private and _is_noted(repository, before)
    if before is not None and changes.is_empty and not unfinished:
        return _published(made, repository, before, changes, changed=False)
    repository.need_token()
    touched = made.snapshot.changed()
    if touched:
        raise ConfigError(f"{', '.join(touched)} changed since the checks. Push again when it is finished.")
    if before is None:
        before = _created(repository, private=made.private)
        changes = compare(made.snapshot, before)
    after = before
    if not changes.is_empty:
        with _left_told(repository) if created else contextlib.nullcontext():
            after = _committed(made, repository, before, changes, message, created=created)
    if made.private:
        _forget(repository)
    elif after.private and (created or unfinished) and not changes.kept:
        after = _shown(repository, after)
    return _published(made, repository, after, changes, changed=not changes.is_empty)


def compare(snapshot: Snapshot, state: RemoteState | None) -> Changes:
    """Return what publishing the files of a folder changes in a repository; None stands for a new one."""
    there = state.files if state is not None else {}
    here = snapshot.files
    return Changes(
        added=tuple(name for name in here if name not in there),
        changed=tuple(name for name in here if name in there and not there[name].holds(here[name])),
        same=tuple(name for name in here if name in there and there[name].holds(here[name])),
        deleted=tuple(name for name in PUBLISHED if name in there and name not in here),
        kept=tuple(sorted(set(there) - set(PUBLISHED) - _HOUSEKEEPING)),
    )


def _committed(
    made: Plan,
    repository: Repository,
    before: RemoteState,
    changes: Changes,
    message: str | None,
    *,
    created: bool,
) -> RemoteState:
    """Make the commit, read it back and return what is there."""
    said = message or f"{'Publish' if created else 'Update'} {made.repo_id.partition('/')[2]} with verticlip"
    names = (*changes.added, *changes.changed)
    try:
        commit = repository.commit(made.snapshot, names, changes.deleted, parent=before.commit, message=said)
    except PushError:
        # The answer may have been lost on its way back although the commit was made.
        after = _look_quietly(repository)
        if after is None or not compare(made.snapshot, after).is_empty:
            raise
    else:
        after = repository.look(commit)
    if after is None or not compare(made.snapshot, after).is_empty:
        raise PushError(f"{made.repo_id}: what the Hub holds after the commit is not what was sent.")
    return after


def _created(repository: Repository, *, private: bool) -> RemoteState:
    """Create a repository, private, and return what the Hub put into it."""
    repository.create()
    # Its date of creation is not known yet: a later push cannot tell it from one that was made by hand.
    with _left_told(repository, "pushing again uses it and leaves it private"):
        state = repository.look()
        if state is None:
            raise PushError(f"{repository.repo_id} was created and cannot be seen.")
    if not private:
        _note(repository, state)
    return state


@contextlib.contextmanager
def _left_told(repository: Repository, then: str = "pushing again uses it") -> Iterator[None]:
    """Add to an error that a new repository stays: deleting is nothing that a push does."""
    try:
        yield
    except VerticlipError as error:
        left = f"Left is {repository.url}, which is private; {then}."
        raise type(error)(f"{error} {left}") from None


def _look_quietly(repository: Repository) -> RemoteState | None:
    with contextlib.suppress(VerticlipError):
        return repository.look()
    return None


def _shown(repository: Repository, after: RemoteState) -> RemoteState:
    try:
        repository.publish()
    except PushError as error:
        raise PushError(
            f"{error} The model is in {repository.url} at commit {after.commit} and still private; pushing "
            "again makes it public."
        ) from None
    _forget(repository)
    return replace(after, private=False)


def _refuse_foreign(made: Plan, repository: Repository, state: RemoteState) -> None:
    """Raise where a repository holds anything but an earlier version of the same model.

    Nothing overwrites it: there is no option for that on purpose. A repository with a card only, as the
    Hub's page makes it, is fine; and files beside a model of ours stay as they are.
    """
    names = set(state.files) - _HOUSEKEEPING
    if not state.private and WEIGHTS_FILE not in names and any(one.code == "gated" for one in made.findings):
        raise ConfigError(
            f"{repository.repo_id} is public, and the authors of these weights grant access one by one. Make "
            f"it private first, at {repository.url}/settings."
        )
    if not names:
        return
    library = _library(repository.text(state, CARD_FILE))
    what = f"a model of {library}" if library else "files that verticlip did not publish"
    if library == "verticlip":
        there, here = _model_name(repository.text(state, CONFIG_FILE)), _model_name(made.text(CONFIG_FILE))
        if there is None or there == here:
            return
        what = f"another model, {there}; the folder holds {here}"
    elif library is None and names == {CARD_FILE}:
        return
    raise ConfigError(
        f"{repository.repo_id} holds {what}. Publish under another name, or empty that repository first."
    )


def _model_name(config: str) -> str | None:
    try:
        name = json.loads(config)["name"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
    return name[:80] if isinstance(name, str) else None


def _library(card: str) -> str | None:
    header, _ = split_card(card)
    if header is None:
        return "a damaged card" if card.lstrip().startswith("---") else None
    library = header.get("library_name")
    return library[:40] if isinstance(library, str) and library else None


def _rehearsed(made: Plan, repository: Repository) -> Published:
    try:
        state = repository.look()
        if state is not None:
            _refuse_foreign(made, repository, state)
    except PushError as error:
        notes = (f"Compared with nothing: {error}",)
        return Published(made.repo_id, "", repository.url, made.files, True, made.private, None, notes)
    changes = compare(made.snapshot, state)
    if state is None:
        note = "There is no such repository, or this token may not see it; pushing would create it"
        notes = (f"{note}{', private.' if made.private else ', and make it public at the end.'}",)
        return Published(made.repo_id, "", repository.url, made.files, True, made.private, changes, notes)
    return _published(made, repository, state, changes, changed=not changes.is_empty, dry=True)


def _published(
    made: Plan,
    repository: Repository,
    state: RemoteState,
    changes: Changes,
    *,
    changed: bool,
    dry: bool = False,
) -> Published:
    notes = []
    if made.private and not state.private:
        notes.append(f"{made.repo_id} is public and stays so; change that at {repository.url}/settings.")
    elif state.private and not made.private:
        notes.append(f"{made.repo_id} is private and stays so; change that at {repository.url}/settings.")
    if changes.kept:
        notes.append(f"These are none of a model's and stay as they are: {', '.join(changes.kept)}.")
    commit = "" if dry and changed else state.commit or ""
    return Published(
        made.repo_id, commit, repository.url, made.files, changed, state.private, changes, tuple(notes)
    )


def _note_path(repository: Repository) -> Path:
    return cache_folder() / "unfinished-pushes" / f"{repository.repo_id.replace('/', '--')}.json"


def _note(repository: Repository, state: RemoteState) -> None:
    """Note which repository was created now and shall become public, for when this process is killed."""
    if state.created is not None:
        with contextlib.suppress(OSError):
            write_json_atomic(_note_path(repository), _identity(repository, state))


def _is_noted(repository: Repository, state: RemoteState) -> bool:
    """Return whether the repository is the very one that an earlier push created and did not finish.

    Any other of its name is somebody's own, and private on purpose.
    """
    try:
        return state.created is not None and read_json(_note_path(repository)) == _identity(repository, state)
    except (VerticlipError, OSError):
        return False


def _identity(repository: Repository, state: RemoteState) -> dict[str, str | None]:
    return {"endpoint": endpoint(), "repository": repository.repo_id, "created": state.created}


def _forget(repository: Repository) -> None:
    with contextlib.suppress(OSError):
        _note_path(repository).unlink(missing_ok=True)
