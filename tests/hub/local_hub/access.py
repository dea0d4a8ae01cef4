"""Who asks, and what for."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qs

from .connection import Connection
from .store import Refused, Repository

USER = "somebody"
"""Whose the tokens are."""


class Access(Connection):
    """What every answer of the Hub needs: the query, the body, the token, and the repository they concern."""

    def read(self, query: str, body: bytes) -> None:
        """Take up a request."""
        self.query = {name: values[0] for name, values in parse_qs(query, keep_blank_values=True).items()}
        self.content = body

    @property
    def here(self) -> str:
        """The endpoint as the client calls it."""
        return f"http://{self.headers['Host']}"

    def given(self, name: str, default: str = "") -> str:
        """Return one value of the query."""
        return self.query.get(name, default)

    def flag(self, name: str) -> bool:
        """Return whether the query says yes."""
        return self.given(name).lower() in ("true", "1")

    def json(self) -> dict[str, Any]:
        """Return the body as an object."""
        try:
            value = json.loads(self.content or b"{}")
        except ValueError:
            raise Refused(400, "Not JSON") from None
        if not isinstance(value, dict):
            raise Refused(400, "Expected a JSON object")
        return value

    def who(self) -> str | None:
        """Return "writer", "reader" or "stranger" by the token; None without one."""
        header = self.headers["Authorization"]
        if header is None:
            return None
        known = {
            f"Bearer {self.hub.token}": "writer",
            f"Bearer {self.hub.read_token}": "reader",
            f"Bearer {self.hub.stranger_token}": "stranger",
        }
        if header not in known:
            raise Refused(401, "Invalid credentials in Authorization header")
        return known[header]

    def repository(self, repo_id: str, *, contents: bool = False) -> Repository:
        """Return a repository that may be read; with ``contents`` its files too."""
        who = self.who()
        repository = self.hub.repositories.get(repo_id)
        if repository is None or (repository.private and who not in ("writer", "reader")):
            # Who is nobody is not told whether it is there.
            if who is None:
                raise Refused(401, "Invalid username or password.", "RepoNotFound")
            raise Refused(404, "Repository not found", "RepoNotFound")
        if repository.disabled:
            raise Refused(403, "Access to this resource is disabled.")
        if contents and repository.gated and who not in ("writer", "reader"):
            raise Refused(
                401 if who is None else 403,
                f"Access to model {repo_id} is restricted. You must have access to it and be authenticated "
                "to access it. Please log in.",
                "GatedRepo",
            )
        return repository

    def may_write(self, namespace: str) -> None:
        """Refuse whoever may not write in a namespace."""
        who = self.who()
        if who is None:
            # The client takes any 401 of the real Hub for this one, by its https address.
            raise Refused(401, "Invalid username or password.", "RepoNotFound")
        if who == "reader":
            raise Refused(403, "Forbidden: you must use a write token to upload to a repository.")
        if who == "stranger" or namespace in self.hub.foreign_namespaces:
            raise Refused(
                403, f'You don\'t have the rights to create a model under the namespace "{namespace}"'
            )

    def writable(self, repo_id: str) -> Repository:
        """Return a repository that may be written to."""
        repository = self.repository(repo_id)
        self.may_write(repo_id.split("/")[0])
        return repository
