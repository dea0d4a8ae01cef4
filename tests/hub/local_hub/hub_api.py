"""The Hub's own origin: which request is answered how."""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import unquote

from .reading import Reading
from .store import Refused
from .writing import Writing

_REPO = r"(?P<repo>[^/]+/[^/]+)"
_REVISION = r"(?P<revision>[^/]+)"


class HubConnection(Reading, Writing):
    """Answers what the client asks the Hub."""

    def answer(self, path: str, query: str, body: bytes) -> None:
        """Find the route and follow it."""
        self.read(query, body)
        for method, pattern, route in _ROUTES:
            match = pattern.fullmatch(path)
            if match and method == self.command:
                return route(self, **{name: unquote(text or "") for name, text in match.groupdict().items()})
        raise Refused(404, f"Sorry, we can't find the page you are looking for: {unquote(path)}")


_Route = tuple[str, re.Pattern[str], Callable[..., None]]
_ROUTES: list[_Route] = [
    (method, re.compile(pattern), route)
    for methods, pattern, route in (
        ("GET", "/api/whoami-v2", Reading.whoami),
        ("GET", "/api/agent-harnesses", Reading.harnesses),
        ("POST", "/api/repos/create", Writing.create),
        ("DELETE", "/api/repos/delete", Writing.delete),
        ("POST", "/api/validate-yaml", Writing.validate_yaml),
        ("GET", "/api/models", Reading.models),
        ("GET", f"/api/models/{_REPO}/auth-check(?P<write>/write)?", Reading.auth_check),
        ("PUT", f"/api/models/{_REPO}/settings", Writing.settings),
        ("GET", f"/api/models/{_REPO}/refs", Reading.refs),
        ("GET", f"/api/models/{_REPO}/commits/{_REVISION}", Reading.commits),
        ("GET", f"/api/models/{_REPO}/tree/{_REVISION}(?P<folder>/.*)?", Reading.tree),
        ("POST", f"/api/models/{_REPO}/paths-info/{_REVISION}", Reading.paths_info),
        ("POST", f"/api/models/{_REPO}/preupload/{_REVISION}", Writing.preupload),
        ("GET", f"/api/models/{_REPO}/xet-write-token/{_REVISION}", Writing.xet_token),
        ("POST", f"/api/models/{_REPO}/commit/{_REVISION}", Writing.commit),
        ("POST", f"/api/models/{_REPO}/branch/(?P<name>[^/]+)", Writing.add_branch),
        ("POST", f"/api/models/{_REPO}/tag/(?P<name>[^/]+)", Writing.add_tag),
        ("DELETE", f"/api/models/{_REPO}/(?P<kind>branch|tag)/(?P<name>[^/]+)", Writing.drop_name),
        ("GET", f"/api/models/{_REPO}/revision/{_REVISION}", Reading.info),
        ("GET", f"/api/models/{_REPO}", Reading.info),
        ("POST", f"/{_REPO}\\.git/info/lfs/objects/batch", Writing.lfs_batch),
        ("POST", f"/{_REPO}\\.git/info/lfs/objects/verify", Writing.lfs_verify),
        ("GET HEAD", f"/{_REPO}/resolve/{_REVISION}/(?P<path>.+)", Reading.resolve),
        (
            "GET HEAD",
            f"/api/resolve-cache/models/{_REPO}/{_REVISION}/(?P<path>.+)",
            Reading.resolve_cache,
        ),
    )
    for method in methods.split()
]
