"""A Hub for the tests, and what makes the real client talk to it."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest

# Test modules import the server as ``local_hub``: the folders of tests are no packages.
if str(Path(__file__).parent) not in sys.path:
    sys.path.insert(0, str(Path(__file__).parent))

from local_hub.server import LocalHub


@pytest.fixture
def local_hub() -> Iterator[LocalHub]:
    """A running server with nothing in it."""
    with LocalHub() as hub:
        yield hub


@dataclass
class Online:
    """The client of this process, pointed at a server.

    Attributes:
        hub: the server.
        cache: folder of the client's cache (``models--org--name`` lies in it).
        own_cache: folder of verticlip's own cache.
        commit: of the model that the fixture ``hub`` puts there.
        waits: seconds the client wanted to wait before each retry; it waits a hundredth of them.
    """

    hub: LocalHub
    cache: Path
    own_cache: Path
    patch: pytest.MonkeyPatch
    commit: str = ""
    waits: list[float] = field(default_factory=list)

    def login(self, token: str | None = None) -> None:
        """Use a token (by default the one that may write)."""
        self.patch.setenv("HF_TOKEN", token or self.hub.token)

    def logout(self) -> None:
        """Use no token."""
        self.patch.delenv("HF_TOKEN", raising=False)

    def patience(self, seconds: float) -> None:
        """Let the client wait for so long for an answer; short where the server keeps silent on purpose."""
        from huggingface_hub import constants, file_download

        for module, name in (
            (constants, "HF_HUB_ETAG_TIMEOUT"),
            (constants, "HF_HUB_DOWNLOAD_TIMEOUT"),
            (file_download, "_ETAG_RETRY_TIMEOUT"),
        ):
            self.patch.setattr(module, name, seconds)

    def offline(self, is_offline: bool = True) -> None:
        """Forbid the client to reach out, as HF_HUB_OFFLINE does, or allow it again."""
        from huggingface_hub import constants

        self.patch.setattr(constants, "HF_HUB_OFFLINE", is_offline)

    def snapshot(self, repo_id: str, revision: str) -> Path:
        """Return the folder of one commit in the cache."""
        return self.cache / f"models--{repo_id.replace('/', '--')}" / "snapshots" / revision

    def leftovers(self) -> list[Path]:
        """Return what an interrupted download left in the cache."""
        return sorted(self.cache.rglob("*.incomplete"))


@pytest.fixture
def online(local_hub: LocalHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Online]:
    """The real client, talking to ``local_hub`` with an empty cache, short timeouts and no token."""
    from huggingface_hub import constants, file_download, hf_api
    from huggingface_hub.utils import _detect_agent, _http

    home = tmp_path / "online"
    client = Online(local_hub, home / "hub", home / "verticlip", monkeypatch)
    for name, value in {
        "ENDPOINT": local_hub.endpoint,
        "HUGGINGFACE_CO_URL_TEMPLATE": local_hub.endpoint + "/{repo_id}/resolve/{revision}/{filename}",
        "HF_HUB_OFFLINE": False,
        "HF_HUB_DISABLE_XET": True,
        "HF_HUB_CACHE": str(client.cache),
        "HF_TOKEN_PATH": str(home / "token"),
        "HF_STORED_TOKENS_PATH": str(home / "stored_tokens"),
        # The client resumes from the last whole chunk, of 10 MiB: small files would always start again.
        "DOWNLOAD_CHUNK_SIZE": 1024,
    }.items():
        monkeypatch.setattr(constants, name, value)
    # Otherwise the first request of a process is one for its User-Agent.
    monkeypatch.setattr(_detect_agent, "_registry", _detect_agent._EMPTY_REGISTRY)
    monkeypatch.setattr(hf_api.api, "endpoint", local_hub.endpoint)
    client.patience(2.0)
    monkeypatch.setenv("VERTICLIP_CACHE", str(client.own_cache))
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    _hurry(monkeypatch, client.waits, _http, file_download)
    _http.close_session()
    yield client
    _http.close_session()


def _hurry(monkeypatch: pytest.MonkeyPatch, waits: list[float], *modules: object) -> None:
    """Let the client wait a hundredth of what it wants, and note what it wanted."""
    import time

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        time.sleep(seconds / 100)

    for module in modules:
        monkeypatch.setattr(module, "time", SimpleNamespace(**{**vars(time), "sleep": sleep}))


@pytest.fixture
def client_env(local_hub: LocalHub, tmp_path: Path) -> dict[str, str]:
    """Environment of a process whose client talks to ``local_hub`` with an empty cache and no token."""
    home = tmp_path / "process"
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
    return {
        **kept,
        "HF_ENDPOINT": local_hub.endpoint,
        "HF_HUB_OFFLINE": "0",
        "HF_HOME": str(home),
        "HF_HUB_CACHE": str(home / "hub"),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_UPDATE_CHECK": "1",
        "HF_HUB_ETAG_TIMEOUT": "5",
        "HF_HUB_DOWNLOAD_TIMEOUT": "5",
        "VERTICLIP_CACHE": str(home / "verticlip"),
        "TRANSFORMERS_OFFLINE": "",
        "OMP_NUM_THREADS": "1",
    }


@pytest.fixture
def files(model_folder: Path) -> dict[str, bytes]:
    """The files of a small model in our own format."""
    return {path.name: path.read_bytes() for path in model_folder.iterdir()}


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that loading wanted to pause between attempts; a hundredth of each is taken."""
    from verticlip.hub import download, revisions

    seen: list[float] = []
    _hurry(monkeypatch, seen, revisions, download)
    return seen


@pytest.fixture
def hub(online: Online, files: dict[str, bytes], waits: list[float]) -> LocalHub:
    """A server that has one good model, ``org/model`` at ``online.commit``, and no long pauses."""
    online.commit = online.hub.add_repository("org/model", files)
    return online.hub


@pytest.fixture(scope="session")
def made_once(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that may be published; it is copied and never changed."""
    from make_publishable import make_publishable

    return make_publishable(model_folder, tmp_path_factory.mktemp("publishable") / "model")


@pytest.fixture
def folder(made_once: Path, tmp_path: Path) -> Path:
    """A copy of the folder that may be published."""
    return Path(shutil.copytree(made_once, tmp_path / "model"))


@pytest.fixture
def writable(online: Online, monkeypatch: pytest.MonkeyPatch) -> LocalHub:
    """An empty Hub that the token in use may write to, and that is asked again without waiting."""
    from verticlip.hub import remote

    monkeypatch.setattr(remote, "_WAITS_S", (0.01, 0.01))
    online.login()
    return online.hub
