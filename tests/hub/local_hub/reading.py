"""What the Hub tells about itself, its users and its repositories, and the files it serves."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from urllib.parse import parse_qs, quote, urlencode

from . import cards
from .access import USER, Access
from .store import Commit, Entry, Refused, pointer


class Reading(Access):
    """Answers that change nothing."""

    def whoami(self) -> None:
        """Answer whose the token is."""
        who = self.who()
        if who is None:
            raise Refused(401, "Invalid username or password.")
        names = {repo.split("/")[0] for repo in self.hub.repositories} - self.hub.foreign_namespaces - {USER}
        user = "stranger" if who == "stranger" else USER
        token = {"displayName": "local", "role": "read" if who == "reader" else "write"}
        orgs = [{"type": "org", "name": name, "roleInOrg": "write"} for name in sorted(names)]
        self.send_json(
            {
                "type": "user",
                "id": "0" * 24,
                "name": user,
                "fullname": user,
                "isPro": False,
                "orgs": orgs if user == USER else [],
                "auth": {"type": "access_token", "accessToken": token},
            }
        )

    def harnesses(self) -> None:
        """Answer what every process of the client asks once, for its User-Agent."""
        self.send_json({"standardEnvVars": [], "harnesses": {}})

    def auth_check(self, repo: str, write: str) -> None:
        """Answer whether a repository may be read, or written to."""
        if write:
            self.writable(repo)
        self.repository(repo, contents=True)
        self.send_json({})

    def models(self) -> None:
        """List the repositories."""
        who = self.who()
        text, author = self.given("search").lower(), self.given("author")
        found = [
            one
            for name, one in sorted(self.hub.repositories.items())
            if (not one.private or who in ("writer", "reader"))
            and text in name.lower()
            and author in ("", name.split("/")[0])
        ]
        self.send_json([{"id": one.id, "modelId": one.id, "private": one.private} for one in found])

    def info(self, repo: str, revision: str = "main") -> None:
        """Describe one revision of a repository."""
        repository = self.repository(repo)
        commit = repository.commit(revision)
        siblings: list[dict[str, Any]] = []
        for path, entry in commit.files.items():
            siblings.append({"rfilename": path})
            if self.flag("blobs"):
                siblings[-1] |= {"size": entry.size, "blobId": entry.blob}
                if entry.lfs:
                    siblings[-1]["lfs"] = {
                        "sha256": entry.sha256,
                        "size": entry.size,
                        "pointerSize": len(pointer(entry.sha256, entry.size)),
                    }
        card = commit.files.get("README.md")
        metadata = cards.metadata(self.hub.store.read(card.sha256)) if card else {}
        self.send_json(
            {
                "_id": repository.id,
                "id": repository.id,
                "modelId": repository.id,
                "author": repository.id.split("/")[0],
                "sha": commit.id,
                "private": repository.private,
                "gated": repository.gated,
                "disabled": repository.disabled,
                "createdAt": repository.created,
                "lastModified": commit.date,
                "downloads": 0,
                "likes": 0,
                "tags": metadata.get("tags", []),
                "siblings": siblings,
                **{name: metadata[name] for name in ("pipeline_tag", "library_name") if name in metadata},
                **({"cardData": metadata} if metadata else {}),
            }
        )

    def tree(self, repo: str, revision: str, folder: str) -> None:
        """List files and folders of a revision, in pages."""
        repository = self.repository(repo)
        commit = repository.commit(revision)
        recursive, expand = self.flag("recursive"), self.flag("expand")
        inside = folder.strip("/")
        if inside and not any(path.startswith(inside + "/") for path in commit.files):
            raise Refused(404, f"{inside} does not exist", "EntryNotFound")
        entries = list(_listing(commit, inside, recursive))
        if expand:
            last = {"id": commit.id, "title": commit.title, "date": commit.date}
            entries = [{**entry, "lastCommit": last} for entry in entries]
        self._page(entries)

    def _page(self, entries: list[dict[str, Any]]) -> None:
        """Send one page of a listing, and where the next one is."""
        size = min(int(self.given("limit") or self.hub.page_size), self.hub.page_size)
        start = int(self.given("cursor") or 0)
        headers = {}
        if start + size < len(entries):
            rest = {**self.query, "cursor": str(start + size)}
            headers["Link"] = f'<{self.here}{self.path.partition("?")[0]}?{urlencode(rest)}>; rel="next"'
        self.send_json(entries[start : start + size], headers=headers)

    def paths_info(self, repo: str, revision: str) -> None:
        """Describe the files that are asked for."""
        commit = self.repository(repo).commit(revision)
        if "json" in self.headers.get("Content-Type", ""):
            paths = self.json().get("paths", [])
        else:
            paths = parse_qs(self.content.decode()).get("paths", [])
        everything = {entry["path"]: entry for entry in _listing(commit, "", True)}
        self.send_json([everything[path] for path in dict.fromkeys(paths) if path in everything])

    def refs(self, repo: str) -> None:
        """List branches and tags."""
        repository = self.repository(repo)

        def listed(kind: str, names: dict[str, str]) -> list[dict[str, str]]:
            return [
                {"name": name, "ref": f"refs/{kind}/{name}", "targetCommit": commit}
                for name, commit in sorted(names.items())
            ]

        branches, tags = listed("heads", repository.branches), listed("tags", repository.tags)
        self.send_json({"branches": branches, "converts": [], "tags": tags, "pullRequests": []})

    def commits(self, repo: str, revision: str) -> None:
        """List the history, the newest first."""
        repository = self.repository(repo)
        commit: Commit | None = repository.commit(revision)
        found = []
        while commit is not None:
            found.append(
                {
                    "id": commit.id,
                    "title": commit.title,
                    "message": commit.description,
                    "date": commit.date,
                    "authors": [{"user": USER}],
                }
            )
            commit = repository.commits[commit.parent] if commit.parent else None
        self._page(found)

    def resolve(self, repo: str, revision: str, path: str) -> None:
        """Serve a file of a revision, LFS objects by a redirect to the other origin."""
        repository = self.repository(repo, contents=True)
        commit = repository.commit(revision)
        about = {"X-Repo-Commit": commit.id}
        entry = commit.files.get(path)
        if entry is None:
            raise Refused(404, "Entry not found", "EntryNotFound", about)
        if entry.lfs:
            place = f"/lfs/{repo}/{entry.sha256}/{quote(path)}"
            signed = f"{self.hub.storage}{place}?Signature={self.hub.signature(place)}"
            linked = {"X-Linked-Etag": f'"{entry.sha256}"', "X-Linked-Size": str(entry.size)}
            return self._redirect(302, signed, {**about, **linked, "ETag": f'"{entry.blob}"'})
        if self.hub.redirect_regular:
            place = f"/api/resolve-cache/models/{repo}/{commit.id}/{quote(path)}"
            linked = {"X-Linked-Etag": f'"{entry.blob}"', "X-Linked-Size": str(entry.size)}
            return self._redirect(307, place, {**about, **linked})
        return self._regular(entry, about)

    def resolve_cache(self, repo: str, revision: str, path: str) -> None:
        """Serve a regular file where a redirect has led to it."""
        commit = self.repository(repo, contents=True).commit(revision)
        entry = commit.files.get(path)
        if entry is None:
            raise Refused(404, "Entry not found", "EntryNotFound")
        self._regular(entry, {"X-Repo-Commit": commit.id})

    def _regular(self, entry: Entry, headers: dict[str, str]) -> None:
        content = self.hub.store.read(entry.sha256)
        self.send_file(content, entry.blob, {**headers, "Content-Type": "text/plain; charset=utf-8"})

    def _redirect(self, status: int, to: str, headers: dict[str, str]) -> None:
        text = f"Found. Redirecting to {to}".encode()
        self.send(status, text, headers={**headers, "Location": to, "Accept-Ranges": "bytes"})


def _listing(commit: Commit, folder: str, recursive: bool) -> Iterable[dict[str, Any]]:
    """Yield files and folders as the Hub describes them, folders before what they hold."""
    seen: set[str] = set()
    for path, entry in sorted(commit.files.items()):
        if folder and not path.startswith(folder + "/"):
            continue
        below = path[len(folder) + 1 if folder else 0 :].split("/")
        for depth in range(1, len(below)):
            name = "/".join(filter(None, (folder, *below[:depth])))
            if name not in seen and (recursive or depth == 1):
                seen.add(name)
                yield {"type": "directory", "oid": commit.id, "size": 0, "path": name}
        if recursive or len(below) == 1:
            file = {"type": "file", "oid": entry.blob, "size": entry.size, "path": path}
            if entry.lfs:
                about = {
                    "oid": entry.sha256,
                    "size": entry.size,
                    "pointerSize": len(pointer(entry.sha256, entry.size)),
                }
                file["lfs"] = about
            yield file
