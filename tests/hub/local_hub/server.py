"""The server that tests start: repositories, tokens, the log of requests, and the queue of faults."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import secrets
import socket
import tempfile
import threading
from collections.abc import Mapping
from http.server import ThreadingHTTPServer
from pathlib import Path
from types import TracebackType

from .connection import Connection, Request
from .faults import FaultQueues, Step
from .hub_api import HubConnection
from .storage_api import StorageConnection
from .store import Commit, Repository, Store


class LocalHub:
    """A Hub that listens on this machine only; a context manager.

    Three tokens are valid: :attr:`token` may read and write, :attr:`read_token` is of the same user and may
    only read, :attr:`stranger_token` is of a user who was granted nothing.

    Args:
        folder: where the state is kept; None for a temporary folder that goes with the server.
        token: the one with write rights; None for a random one.
        port: of the Hub; 0 lets the system choose.
        part_size: LFS files above it are uploaded in parts of this size.
        page_size: entries in one page of a listing.
        redirect_regular: answer for regular files with a redirect on the same origin, as the Hub does for
            some years; without it they are sent at once.
        xet: take uploads by Xet, which the client insists on unless ``HF_HUB_DISABLE_XET`` is set.
    """

    def __init__(
        self,
        folder: str | Path | None = None,
        *,
        token: str | None = None,
        port: int = 0,
        part_size: int = 64 * 1024 * 1024,
        page_size: int = 1000,
        redirect_regular: bool = False,
        xet: bool = False,
    ) -> None:
        self._temporary = tempfile.TemporaryDirectory() if folder is None else None
        self.store = Store(Path(self._temporary.name if self._temporary else folder or ""))
        self.token = token or f"hf_{secrets.token_hex(17)}"
        self.read_token, self.stranger_token = f"hf_read{self.token[3:]}", f"hf_other{self.token[3:]}"
        self.part_size, self.page_size = part_size, page_size
        self.redirect_regular, self.xet = redirect_regular, xet
        self.foreign_namespaces = {"not-mine"}
        self.faults = FaultQueues()
        self.stopping = threading.Event()
        self.parts: dict[tuple[str, int], tuple[str, bytes]] = {}
        self._log: list[Request] = []
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._secret = hashlib.sha256(self.token.encode()).digest()
        self._hub, self._storage = self._listen(HubConnection, port), self._listen(StorageConnection, 0)
        self._threads: list[threading.Thread] = []

    def _listen(self, kind: type[Connection], port: int) -> ThreadingHTTPServer:
        return _Listener(("127.0.0.1", port), type(kind.__name__, (kind,), {"hub": self}))

    # Running

    @property
    def endpoint(self) -> str:
        """What ``HF_ENDPOINT`` has to be."""
        return f"http://127.0.0.1:{self._hub.server_port}"

    @property
    def storage(self) -> str:
        """Origin that serves and takes LFS objects, of another host name than the Hub's, as the real one is."""
        return f"http://localhost:{self._storage.server_port}"

    def start(self) -> LocalHub:
        """Start answering."""
        for server in (self._hub, self._storage):
            thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
            thread.start()
            self._threads.append(thread)
        return self

    def stop(self) -> None:
        """Stop answering, end what stalls, close every connection and remove a temporary folder."""
        self.stopping.set()
        for server in (self._hub, self._storage):
            if self._threads:
                server.shutdown()
            server.server_close()
        with self._lock:
            connections, self._open = self._open, set()
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        if self._temporary:
            self._temporary.cleanup()

    def __enter__(self) -> LocalHub:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # What tests put there and look at

    @property
    def repositories(self) -> dict[str, Repository]:
        """Repositories by id."""
        return self.store.repositories

    def add_repository(
        self,
        repo_id: str,
        files: Mapping[str, bytes],
        *,
        private: bool = False,
        gated: bool = False,
        hostile: bool = False,
    ) -> str:
        """Put a repository there and return the id of its commit that holds ``files``.

        With ``hostile`` the paths may be such as no client is allowed to send, ``../x`` for one.
        """
        with self.store.lock:
            repository = self.store.create(repo_id, private=private, attributes=False)
            repository.gated = "manual" if gated else False
            return self.commit(repo_id, files, hostile=hostile)

    def commit(
        self, repo_id: str, files: Mapping[str, bytes], *, delete: tuple[str, ...] = (), hostile: bool = False
    ) -> str:
        """Add a commit with these files (and without those of ``delete``) to main and return its id."""
        entries = {path: self.store.entry(path, content) for path, content in files.items()}
        repository = self.repositories[repo_id]
        commit = self.store.commit(
            repository, "main", add=entries, delete=delete, title="Add files", checked=not hostile
        )
        return commit.id

    def files(self, repo_id: str, revision: str = "main") -> dict[str, bytes]:
        """Return the contents of one revision by path."""
        commit = self.repositories[repo_id].commit(revision)
        return {path: self.store.read(entry.sha256) for path, entry in commit.files.items()}

    def commits(self, repo_id: str) -> list[Commit]:
        """Return the history of main, the newest first."""
        repository = self.repositories[repo_id]
        history, name = [], repository.branches["main"]
        while name is not None:
            history.append(repository.commits[name])
            name = history[-1].parent
        return history

    def fault(self, path_regex: str, *faults: Step) -> None:
        """Queue faults for requests whose path and query match; see :class:`~.faults.Fault`.

        They are used in order, each ``times`` times. A tuple of faults befalls one answer together.
        """
        self.faults.add(path_regex, *faults)

    @property
    def requests(self) -> list[Request]:
        """Requests so far, in the order in which they were done with."""
        with self._lock:
            return list(self._log)

    def forget_requests(self) -> None:
        """Empty the log."""
        with self._lock:
            self._log.clear()

    # What connections use

    def log(self, request: Request) -> None:
        """Note a request."""
        with self._lock:
            self._log.append(request)

    def opened(self, connection: socket.socket) -> None:
        """Note a connection, to close it when the server stops."""
        with self._lock:
            self._open.add(connection)

    def closed(self, connection: socket.socket) -> None:
        """Forget a connection."""
        with self._lock:
            self._open.discard(connection)

    def signature(self, what: str) -> str:
        """Return what makes a storage URL valid."""
        return hmac.new(self._secret, what.encode(), "sha256").hexdigest()[:32]


class _Listener(ThreadingHTTPServer):
    daemon_threads, block_on_close, request_queue_size = True, False, 64

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that go away in the middle are the point of these tests; our own mistakes are shown."""
        import sys

        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)
