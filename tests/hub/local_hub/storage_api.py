"""The origin of LFS objects: it knows no tokens, only signed URLs."""

from __future__ import annotations

import hashlib
import json
import re
from urllib.parse import parse_qs, unquote

from . import xet
from .connection import Connection
from .store import Refused, Repository

_DOWNLOAD = re.compile(r"/lfs/(?P<repo>[^/]+/[^/]+)/(?P<oid>[0-9a-f]{64})/.+")
_XET = re.compile(r"/v[12]/.+")
_UPLOAD = re.compile(
    r"/upload/(?P<repo>[^/]+/[^/]+)/(?P<oid>[0-9a-f]{64})/(?P<size>\d+)"
    r"(?:/(?P<part>\d+)|/complete/(?P<parts>\d+))?"
)


class StorageConnection(Connection):
    """Serves and takes the contents of LFS objects."""

    origin = "storage"

    def answer(self, path: str, query: str, body: bytes) -> None:
        """Answer a signed URL."""
        if _XET.fullmatch(path):
            return self._xet(path, body)
        given = parse_qs(query).get("Signature", [""])[0]
        if self.headers["Authorization"]:
            # As object stores do: a signed URL and a token at once are refused.
            raise Refused(400, "Only one authentication mechanism is allowed")
        if given != self.hub.signature(path):
            raise Refused(403, "AccessDenied")
        wanted = _DOWNLOAD.fullmatch(unquote(path))
        if wanted and self.command in ("GET", "HEAD"):
            if self.hub.store.size(wanted["oid"]) is None:
                raise Refused(404, "NoSuchKey")
            return self.send_file(self.hub.store.read(wanted["oid"]), wanted["oid"], {})
        taken = _UPLOAD.fullmatch(path)
        repository = self.hub.repositories.get(taken["repo"]) if taken else None
        if taken is None or repository is None:
            raise Refused(404, "NoSuchKey")
        if taken["part"] and self.command == "PUT":
            return self._part(taken, body)
        if taken["parts"] and self.command == "POST":
            body = self._joined(taken, body)
        elif self.command != "PUT":
            raise Refused(405, "MethodNotAllowed")
        oid, size = taken["oid"], int(taken["size"])
        if len(body) != size or hashlib.sha256(body).hexdigest() != oid:
            raise Refused(400, "BadDigest: the content is not what was announced")
        with self.hub.store.lock:
            self.hub.store.put(body)
            repository.objects.add(oid)
            self.hub.store.save(repository)
        return self.send(200, headers={"ETag": f'"{oid}"'})

    def _part(self, taken: re.Match[str], body: bytes) -> None:
        digest = hashlib.md5(body).hexdigest()
        with self.hub.store.lock:
            self.hub.parts[taken["oid"], int(taken["part"])] = (digest, body)
        self.send(200, headers={"ETag": f'"{digest}"'})

    def _joined(self, taken: re.Match[str], body: bytes) -> bytes:
        """Return the whole of an object, in the parts that a client names."""
        try:
            named = {int(one["partNumber"]): one["etag"].strip('"') for one in json.loads(body)["parts"]}
        except (ValueError, KeyError, TypeError):
            raise Refused(400, "MalformedCompletion") from None
        with self.hub.store.lock:
            held = {number: self.hub.parts.get((taken["oid"], number)) for number in named}
            if len(named) != int(taken["parts"]) or any(
                part is None or part[0] != named[number] for number, part in held.items()
            ):
                raise Refused(400, "InvalidPart")
            for number in named:
                del self.hub.parts[taken["oid"], number]
        return b"".join(part[1] for _, part in sorted(held.items()) if part)

    def _xet(self, path: str, body: bytes) -> None:
        """Take part of an upload by Xet, with the token that the Hub gave for it."""
        repository = self._of_token()
        wanted = re.fullmatch(r"/v1/xorbs/default/([0-9a-f]{64})", path)
        if wanted and self.command == "POST":
            xet.chunks(body)
            return self.send_json({"was_inserted": self.hub.store.put_xorb(wanted[1], body)})
        if path == "/v1/shards" and self.command == "POST":
            with self.hub.store.lock:
                contents = list(xet.assembled(body, self.hub.store.xorb))
                repository.objects |= {self.hub.store.put(content) for content in contents}
                self.hub.store.save(repository)
            return self.send_json({"result": 1})
        # Telemetry, chunks that others have uploaded, newer versions: the client goes on without.
        raise Refused(404, "Not spoken here")

    def _of_token(self) -> Repository:
        kind, _, rest = (self.headers["Authorization"] or "").partition(" ")
        repo_id, _, signature = rest.rpartition(":")
        repository = self.hub.repositories.get(repo_id)
        if kind != "Bearer" or repository is None or signature != self.hub.signature(f"xet {repo_id}"):
            raise Refused(401, "Unauthorized")
        return repository
