"""What a client says when it publishes: which files go where, what is uploaded, and the commit itself."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .store import LFS_BYTES, Commit, Entry, Refused, Repository, Store, check_path, wants_lfs

if TYPE_CHECKING:
    from .server import LocalHub

_OID = re.compile(r"[0-9a-f]{64}")


def mode(commit: Commit, file: Mapping[str, Any]) -> dict[str, Any]:
    """Return how one file is to be uploaded, and the name of what the repository has at its path."""
    path, size = check_path(str(file["path"])), int(file["size"])
    sample = base64.b64decode(file.get("sample", ""))
    known = commit.files.get(path)
    return {
        "path": path,
        "uploadMode": "lfs" if wants_lfs(path, size, sample) else "regular",
        "shouldIgnore": False,
        "oid": known.etag if known else None,
    }


def actions(
    hub: LocalHub, repository: Repository, wanted: Mapping[str, Any], here: str, *, upload: bool, parts: bool
) -> dict[str, Any]:
    """Return what to do with one LFS object: nothing, where it is here already."""
    oid, size = str(wanted.get("oid")), wanted.get("size")
    if not _OID.fullmatch(oid) or not isinstance(size, int) or size < 0:
        return {"oid": oid, "size": 0, "error": {"code": 422, "message": "Not an object id and a size"}}
    answer: dict[str, Any] = {"oid": oid, "size": size, "authenticated": True}
    if upload and oid in repository.objects:
        return answer
    if not upload:
        place = f"/lfs/{repository.id}/{oid}/object"
        if hub.store.size(oid) is None:
            return {**answer, "error": {"code": 404, "message": "Object does not exist"}}
        return {**answer, "actions": {"download": {"href": _signed(hub, place)}}}
    place = f"/upload/{repository.id}/{oid}/{size}"
    verify = {"href": f"{here}/{repository.id}.git/info/lfs/objects/verify"}
    if not parts or size <= hub.part_size:
        return {**answer, "actions": {"upload": {"href": _signed(hub, place)}, "verify": verify}}
    count = -(-size // hub.part_size)
    header = {"chunk_size": str(hub.part_size)}
    header |= {f"{number:05d}": _signed(hub, f"{place}/{number}") for number in range(1, count + 1)}
    complete = {"href": _signed(hub, f"{place}/complete/{count}"), "header": header}
    return {**answer, "actions": {"upload": complete, "verify": verify}}


def _signed(hub: LocalHub, place: str) -> str:
    return f"{hub.storage}{place}?Signature={hub.signature(place)}"


def read_commit(content: bytes, store: Store, repository: Repository) -> dict[str, Any]:
    """Return what an ndjson body asks for, as :meth:`Store.commit` takes it.

    Raises:
        Refused: the body is damaged, a path may not be, or an LFS object was not uploaded here.
    """
    wanted: dict[str, Any] = {"add": {}, "delete": [], "delete_folders": []}
    header: dict[str, Any] | None = None
    for line in content.splitlines():
        try:
            item = json.loads(line)
            key, value = item["key"], item["value"]
        except (ValueError, KeyError, TypeError):
            raise Refused(400, "Each line of a commit is a JSON object with key and value") from None
        if key == "header":
            header = value
        elif key == "file":
            path = check_path(value["path"])
            wanted["add"][path] = _regular(store, path, value)
        elif key == "lfsFile":
            path = check_path(value["path"])
            wanted["add"][path] = _large(store, repository, path, value)
        elif key == "deletedFile":
            wanted["delete"].append(value["path"])
        elif key == "deletedFolder":
            wanted["delete_folders"].append(value["path"])
        else:
            raise Refused(400, f"A commit holds no {key!r}")
    if header is None or not header.get("summary"):
        raise Refused(400, "A commit begins with a header that has a summary")
    return {
        **wanted,
        "title": header["summary"],
        "description": header.get("description", ""),
        "parent": header.get("parentCommit"),
    }


def _regular(store: Store, path: str, value: Mapping[str, Any]) -> Entry:
    try:
        content = base64.b64decode(value["content"], validate=True)
    except binascii.Error:
        raise Refused(400, f"{path} is not base64") from None
    if wants_lfs(path, len(content), content[:512]) and len(content) > LFS_BYTES:
        raise Refused(400, f"{path} is too large for a regular file: use LFS")
    return store.regular(content)


def _large(store: Store, repository: Repository, path: str, value: Mapping[str, Any]) -> Entry:
    oid, size = value.get("oid"), value.get("size")
    if not isinstance(oid, str) or oid not in repository.objects:
        raise Refused(400, f"LFS pointer pointed to a file that does not exist: {path}")
    held = store.size(oid)
    if held is None or size not in (None, held):
        raise Refused(400, f"LFS pointer of {path} has another size than the file that was uploaded")
    return store.large(oid, held)
