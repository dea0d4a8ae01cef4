"""What the server keeps: contents by hash, commits as JSON, nothing else. All of it lies in one folder."""

from __future__ import annotations

import hashlib
import json
import os
import re
import threading
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path

LFS_SUFFIXES = tuple(
    f".{name}"
    for name in re.findall(
        r"\w+",
        "7z arrow bin bz2 ckpt ftz gz h5 joblib mlmodel model msgpack npy npz onnx ot parquet pb pickle pkl pt "
        "pth rar safetensors tar tflite tgz wasm xz zip zst",
    )
)
LFS_BYTES = 10 * 1024 * 1024
REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")
_ATTRIBUTES = "".join(f"*{suffix} filter=lfs diff=lfs merge=lfs -text\n" for suffix in LFS_SUFFIXES)


class Refused(Exception):
    """A request is answered with an error.

    Attributes:
        status: of HTTP. message: for the user. code: ``X-Error-Code``, or "". headers: more of them.
    """

    def __init__(self, status: int, message: str, code: str = "", headers: Mapping[str, str] | None = None):
        super().__init__(message)
        self.status, self.message, self.code, self.headers = status, message, code, dict(headers or {})


@dataclass(frozen=True)
class Entry:
    """One file of a commit. ``blob`` is the git blob's SHA-1: of the content, or of the LFS pointer."""

    sha256: str
    size: int
    lfs: bool
    blob: str

    @property
    def etag(self) -> str:
        """What the Hub calls the content: SHA-256 of LFS files, git blob SHA-1 of regular ones."""
        return self.sha256 if self.lfs else self.blob


@dataclass(frozen=True)
class Commit:
    """A state of a repository."""

    id: str
    parent: str | None
    title: str
    description: str
    date: str
    files: Mapping[str, Entry]


@dataclass
class Repository:
    """A model repository: settings, branches and tags (name to commit), commits, and its LFS objects."""

    id: str
    private: bool = False
    gated: str | bool = False
    disabled: bool = False
    created: str = ""
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    commits: dict[str, Commit] = field(default_factory=dict)
    objects: set[str] = field(default_factory=set)

    def commit(self, revision: str) -> Commit:
        """Return the commit of a branch, a tag or (the beginning of) a commit id."""
        name = self.branches.get(revision) or self.tags.get(revision)
        if name is None and re.fullmatch(r"[0-9a-f]{7,40}", revision):
            name = next((one for one in self.commits if one.startswith(revision)), None)
        if name is None:
            raise Refused(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return self.commits[name]


def now() -> str:
    """Return the time as the Hub writes it."""
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def git_blob(content: bytes) -> str:
    """Return the SHA-1 by which git names a content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def pointer(sha256: str, size: int) -> bytes:
    """Return what git itself keeps of an LFS object."""
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode()


def wants_lfs(path: str, size: int, sample: bytes) -> bool:
    """Return whether a file is kept as an LFS object: by its ending, its size, or as it is binary."""
    if size == 0:
        return False
    if size > LFS_BYTES or path.endswith(LFS_SUFFIXES):
        return True
    try:
        sample.decode("utf-8")
    except UnicodeDecodeError as error:
        # A sample may end in the middle of a character.
        return error.start < len(sample) - 3
    return b"\0" in sample


def check_path(path: str) -> str:
    """Return a path inside a repository, or refuse it.

    Raises:
        Refused: it is absolute, climbs, is empty, or holds what no file name may.
    """
    parts = path.split("/")
    if any(part in ("", ".", "..", ".git") for part in parts) or "\\" in path or "\0" in path:
        raise Refused(400, f"Invalid path in repo: {path!r}")
    return path


class Store:
    """Repositories and contents. Every method is atomic; the state on disk follows each change.

    Args:
        folder: that holds the state; what an earlier server left there is taken up.
    """

    def __init__(self, folder: Path) -> None:
        self._blobs, self._states, self._xorbs = (
            folder / name for name in ("blobs", "repositories", "xorbs")
        )
        for one in (self._blobs, self._states, self._xorbs):
            one.mkdir(parents=True, exist_ok=True)
        self.lock = threading.RLock()
        self.repositories = {
            one.id: one for one in map(_read_repository, sorted(self._states.glob("*.json")))
        }

    # Contents

    def put(self, content: bytes) -> str:
        """Keep a content and return its SHA-256."""
        digest = hashlib.sha256(content).hexdigest()
        path = self._blobs / digest
        if not path.exists():
            _write(path, content)
        return digest

    def read(self, sha256: str) -> bytes:
        """Return a content that was put."""
        return (self._blobs / sha256).read_bytes()

    def size(self, sha256: str) -> int | None:
        """Return the bytes of a content, or None where there is none."""
        path = self._blobs / sha256
        return path.stat().st_size if path.is_file() else None

    def regular(self, content: bytes) -> Entry:
        """Keep a file in git itself."""
        return Entry(self.put(content), len(content), False, git_blob(content))

    def large(self, sha256: str, size: int) -> Entry:
        """Return the entry of an LFS object."""
        return Entry(sha256, size, True, git_blob(pointer(sha256, size)))

    def entry(self, path: str, content: bytes) -> Entry:
        """Keep a file the way the Hub would."""
        if wants_lfs(path, len(content), content[:512]):
            return self.large(self.put(content), len(content))
        return self.regular(content)

    def put_xorb(self, name: str, packed: bytes) -> bool:
        """Keep a xorb; return whether it is new."""
        with self.lock:
            known = (self._xorbs / name).exists()
            if not known:
                _write(self._xorbs / name, packed)
            return not known

    def xorb(self, name: str) -> bytes | None:
        """Return a xorb that was put, or None."""
        path = self._xorbs / name
        return path.read_bytes() if path.exists() else None

    # Repositories

    def create(self, repo_id: str, *, private: bool, attributes: bool = True) -> Repository:
        """Create a repository; with ``attributes`` it begins like the Hub's, with a ``.gitattributes``."""
        with self.lock:
            if not REPOSITORY.fullmatch(repo_id) or "--" in repo_id or ".." in repo_id:
                raise Refused(400, f"Invalid repository name: {repo_id}")
            if repo_id in self.repositories:
                raise Refused(409, "You already created this model repo")
            repository = self.repositories[repo_id] = Repository(repo_id, private, created=now())
            files = {".gitattributes": self.regular(_ATTRIBUTES.encode())} if attributes else {}
            self._append(repository, "main", files, "initial commit", "")
            return repository

    def delete(self, repo_id: str) -> None:
        """Forget a repository; contents stay."""
        with self.lock:
            del self.repositories[repo_id]
            self._state(repo_id).unlink(missing_ok=True)

    def commit(
        self,
        repository: Repository,
        branch: str,
        *,
        add: Mapping[str, Entry],
        delete: Iterable[str] = (),
        delete_folders: Iterable[str] = (),
        parent: str | None = None,
        title: str = "",
        description: str = "",
        checked: bool = True,
    ) -> Commit:
        """Add one commit to a branch, or refuse it as a whole.

        Args:
            repository: to commit to.
            branch: of it.
            add: files by path, new ones and ones that replace.
            delete: paths that have to exist.
            delete_folders: folders that have to exist.
            parent: the commit that the branch has to stand at.
            title: first line of the message.
            description: the rest of it.
            checked: refuse paths that no client may send; tests of hostile repositories do not.
        """
        with self.lock:
            head = repository.branches.get(branch)
            if head is None:
                raise Refused(404, f"Invalid rev id: {branch}", "RevisionNotFound")
            if parent is not None and not head.startswith(parent):
                raise Refused(412, "A commit has happened since. Please refresh and try again.")
            files = dict(repository.commits[head].files)
            for path in delete:
                if path not in files:
                    raise Refused(404, f"A file with this name doesn't exist: {path}", "EntryNotFound")
                del files[path]
            for folder in delete_folders:
                inside = [path for path in files if path.startswith(folder.rstrip("/") + "/")]
                if not inside:
                    raise Refused(404, f"A folder with this name doesn't exist: {folder}", "EntryNotFound")
                for path in inside:
                    del files[path]
            for path, entry in add.items():
                if entry.lfs and self.size(entry.sha256) != entry.size:
                    raise Refused(400, f"LFS pointer pointed to a file that does not exist: {path}")
                files[check_path(path) if checked else path] = entry
            folders = {path[:place] for path in files for place, one in enumerate(path) if one == "/"}
            if checked and folders & files.keys():
                raise Refused(400, f"Both a file and a folder: {min(folders & files.keys())}")
            return self._append(repository, branch, files, title, description)

    def _append(
        self, repository: Repository, branch: str, files: Mapping[str, Entry], title: str, description: str
    ) -> Commit:
        parent = repository.branches.get(branch)
        listing = sorted((path, entry.etag) for path, entry in files.items())
        # No date in it: the same history has the same ids in every run.
        content = json.dumps([repository.id, len(repository.commits), parent, title, description, listing])
        commit = Commit(
            hashlib.sha1(content.encode()).hexdigest(),
            parent,
            title,
            description,
            now(),
            dict(sorted(files.items())),
        )
        repository.commits[commit.id] = commit
        repository.branches[branch] = commit.id
        self.save(repository)
        return commit

    def save(self, repository: Repository) -> None:
        """Write the state of a repository."""
        with self.lock:
            state = {**asdict(repository), "objects": sorted(repository.objects)}
            _write(self._state(repository.id), json.dumps(state, indent=1).encode())

    def _state(self, repo_id: str) -> Path:
        return self._states / f"{repo_id.replace('/', '--')}.json"


def _read_repository(path: Path) -> Repository:
    state = json.loads(path.read_text())
    commits = {
        name: Commit(**{**one, "files": {file: Entry(**entry) for file, entry in one["files"].items()}})
        for name, one in state["commits"].items()
    }
    return Repository(**{**state, "commits": commits, "objects": set(state["objects"])})


def _write(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{threading.get_ident()}.tmp")
    temporary.write_bytes(content)
    os.replace(temporary, path)
