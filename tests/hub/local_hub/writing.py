"""What changes a repository: creating, settings, names, uploads, commits, and the end of it."""

from __future__ import annotations

import json
import time

from . import cards, uploads
from .access import USER, Access
from .store import Refused, Repository


class Writing(Access):
    """Answers that need the token with write rights."""

    def create(self) -> None:
        """Create a repository; one that exists is a conflict that says where it is."""
        wanted = self.json()
        if wanted.get("type") not in (None, "model"):
            raise Refused(400, "Only models are kept here")
        namespace, name = wanted.get("organization") or USER, wanted.get("name")
        self.may_write(namespace)
        repo_id = f"{namespace}/{name}"
        private = wanted.get("visibility") == "private" or bool(wanted.get("private"))
        answer = {"url": f"{self.here}/{repo_id}", "name": repo_id, "private": private}
        try:
            self.hub.store.create(repo_id, private=private)
        except Refused as error:
            if error.status != 409:
                raise
            return self.send_json({"error": error.message, "url": answer["url"]}, status=409)
        return self.send_json(answer)

    def delete(self) -> None:
        """Delete a repository."""
        wanted = self.json()
        repo_id = f"{wanted.get('organization') or USER}/{wanted.get('name')}"
        self.writable(repo_id)
        self.hub.store.delete(repo_id)
        self.send(200, b"OK")

    def settings(self, repo: str) -> None:
        """Change who may see a repository."""
        repository, wanted = self.writable(repo), self.json()
        with self.hub.store.lock:
            if "visibility" in wanted:
                repository.private = wanted["visibility"] == "private"
            if "private" in wanted:
                repository.private = bool(wanted["private"])
            if "gated" in wanted:
                repository.gated = wanted["gated"]
            self.hub.store.save(repository)
        self.send_json({"private": repository.private, "gated": repository.gated})

    def add_branch(self, repo: str, name: str) -> None:
        """Create a branch."""
        repository = self.writable(repo)
        start = repository.commit(self.json().get("startingPoint") or "main")
        self._add_name(repository, repository.branches, name, start.id)

    def add_tag(self, repo: str, name: str) -> None:
        """Create a tag; ``name`` is the revision it is given to."""
        repository = self.writable(repo)
        self._add_name(repository, repository.tags, str(self.json()["tag"]), repository.commit(name).id)

    def _add_name(self, repository: Repository, names: dict[str, str], name: str, commit: str) -> None:
        with self.hub.store.lock:
            if name in names:
                raise Refused(409, f"Reference {name} exists already")
            names[name] = commit
            self.hub.store.save(repository)
        self.send_json({})

    def drop_name(self, repo: str, kind: str, name: str) -> None:
        """Delete a branch or a tag."""
        repository = self.writable(repo)
        names = repository.branches if kind == "branch" else repository.tags
        with self.hub.store.lock:
            if name not in names or name == "main":
                raise Refused(404, f"Invalid rev id: {name}", "RevisionNotFound")
            del names[name]
            self.hub.store.save(repository)
        self.send_json({})

    def validate_yaml(self) -> None:
        """Check the metadata of a card."""
        errors, warnings = cards.problems(str(self.json().get("content", "")))
        answer = {
            "errors": [{"message": text} for text in errors],
            "warnings": [{"message": text} for text in warnings],
        }
        if errors:
            answer["error"] = "Invalid metadata in README.md"
        self.send_json(answer, status=400 if errors else 200)

    def preupload(self, repo: str, revision: str) -> None:
        """Answer which files go to git and which to LFS."""
        repository = self.writable(repo)
        commit = repository.commit(revision)
        self.send_json({"files": [uploads.mode(commit, one) for one in self.json().get("files", [])]})

    def commit(self, repo: str, revision: str) -> None:
        """Add a commit, whole or not at all."""
        repository = self.writable(repo)
        if self.flag("create_pr"):
            raise Refused(400, "Pull requests are not spoken here")
        wanted = uploads.read_commit(self.content, self.hub.store, repository)
        commit = self.hub.store.commit(repository, revision, **wanted)
        self.send_json(
            {
                "success": True,
                "commitUrl": f"{self.here}/{repo}/commit/{commit.id}",
                "commitOid": commit.id,
                "hookOutput": "",
                "pullRequestUrl": None,
            }
        )

    def xet_token(self, repo: str, revision: str) -> None:
        """Answer where and by which token to upload by Xet."""
        self.writable(repo).commit(revision or "main")
        if not self.hub.xet:
            raise Refused(404, "Not found")
        answer = {
            "accessToken": f"{repo}:{self.hub.signature(f'xet {repo}')}",
            "exp": int(time.time()) + 3600,
        }
        self.send_json({**answer, "casUrl": self.hub.storage})

    def lfs_batch(self, repo: str) -> None:
        """Answer where LFS objects are to be put, or got."""
        wanted = self.json()
        upload = wanted.get("operation") == "upload"
        repository = self.writable(repo) if upload else self.repository(repo, contents=True)
        parts = upload and "multipart" in wanted.get("transfers", [])
        objects = [
            uploads.actions(self.hub, repository, one, self.here, upload=upload, parts=parts)
            for one in wanted.get("objects", [])
        ]
        kind = "application/vnd.git-lfs+json"
        many = any(
            "chunk_size" in one.get("actions", {}).get("upload", {}).get("header", {}) for one in objects
        )
        answer = {"transfer": "multipart" if many else "basic", "objects": objects}
        self.send(200, json.dumps(answer).encode(), kind=kind)

    def lfs_verify(self, repo: str) -> None:
        """Answer whether an LFS object has arrived."""
        repository, wanted = self.writable(repo), self.json()
        if wanted.get("oid") not in repository.objects:
            raise Refused(404, "Object does not exist")
        if self.hub.store.size(wanted["oid"]) != wanted.get("size"):
            raise Refused(422, "Object has another size")
        self.send_json({})
