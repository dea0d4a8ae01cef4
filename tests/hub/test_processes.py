"""Several processes, kills, full disks and folders that may not be written: the cache stays right."""

from __future__ import annotations

import ctypes
import hashlib
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from local_hub.faults import Stall
from verticlip.core.errors import WeightsError
from verticlip.hub import download as downloads
from verticlip.hub.download import fetch
from verticlip.hub.loading import resolve

NAME = "org/model"
BYTES = 600_000
LOAD = """
import sys
from verticlip.core.errors import VerticlipError
from verticlip.hub.loading import resolve
try:
    print(resolve("org/model").files["model.safetensors"])
except VerticlipError as error:
    sys.exit(f"{type(error).__name__}: {error}")
"""


@pytest.fixture
def files(model_folder: Path) -> dict[str, bytes]:
    files = {path.name: path.read_bytes() for path in model_folder.iterdir()}
    # Nothing here looks inside, and a download has to take a moment.
    return files | {"model.safetensors": bytes(range(250)) * (BYTES // 250)}


@pytest.fixture
def digest(files) -> str:
    return hashlib.sha256(files["model.safetensors"]).hexdigest()


@pytest.fixture
def start(client_env) -> Iterator[Callable[..., subprocess.Popen]]:
    """Return a function that starts a process which loads the model."""
    running: list[subprocess.Popen] = []

    def begin(env: dict[str, str] | None = None, **options) -> subprocess.Popen:
        command = [sys.executable, "-c", LOAD]
        env = {**client_env, **(env or {})}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        running.append(subprocess.Popen(command, env=env, **pipes, **options))
        return running[-1]

    yield begin
    for process in running:
        process.kill()
        process.communicate()


def wait_for(truth: Callable[[], object], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not truth():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.01)


def sent(hub) -> list[int]:
    return [one.sent for one in hub.requests if one.method == "GET" and "model.safetensors" in one.path]


def heads(hub) -> int:
    return sum(one.method == "HEAD" and "model.safetensors" in one.path for one in hub.requests)


def finish(process: subprocess.Popen) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=30)
    return process.returncode, out.strip(), err.strip()


def test_of_two_processes_one_is_killed_and_the_other_finishes(
    local_hub, files, digest, client_env, start
) -> None:
    local_hub.add_repository(NAME, files)
    local_hub.fault(r"/model\.safetensors", Stall(60, at=0.6))
    first = start({"HF_HUB_DOWNLOAD_TIMEOUT": "60"})
    wait_for(lambda: sent(local_hub) and sent(local_hub)[0] > 0.5 * BYTES)
    before = heads(local_hub)
    second = start()
    # Each process asks the same questions before it fetches, or waits for the other.
    wait_for(lambda: heads(local_hub) == 2 * before)
    assert first.poll() is None
    assert len(sent(local_hub)) == 1
    first.send_signal(signal.SIGKILL)
    assert finish(second) == (0, digest, "")
    cache = Path(client_env["HF_HUB_CACHE"])
    assert not list(cache.rglob("*.incomplete"))
    local_hub.forget_requests()
    assert finish(start()) == (0, digest, "")
    assert sent(local_hub) == []


def test_what_a_killed_process_leaves_is_removed_by_the_next_load(
    local_hub, files, digest, client_env, start
) -> None:
    local_hub.add_repository(NAME, files)
    local_hub.fault(r"/model\.safetensors", Stall(60, at=0.6, times=2))
    cache = Path(client_env["HF_HUB_CACHE"])
    for _ in range(2):
        process = start({"HF_HUB_DOWNLOAD_TIMEOUT": "60"})
        count = len(sent(local_hub))
        wait_for(lambda count=count: len(sent(local_hub)) > count and sent(local_hub)[-1] > 0.5 * BYTES)
        process.kill()
        process.communicate()
        # It had the lock, so that of an earlier one is gone already.
        assert len(list(cache.rglob("*.incomplete"))) == 1
    assert finish(start()) == (0, digest, "")
    assert not list(cache.rglob("*.incomplete"))


def test_a_file_size_limit_is_a_full_disk(local_hub, files, client_env, start) -> None:
    local_hub.add_repository(NAME, files)
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (BYTES // 2, BYTES // 2))  # noqa: E731
    status, out, err = finish(start(preexec_fn=limit))
    assert (status, out) == (1, "")
    assert err.startswith(
        "WeightsError: org/model: model.safetensors cannot be kept in the Hub's cache: File too large"
    )
    cache = Path(client_env["HF_HUB_CACHE"])
    assert not list(cache.rglob("*.incomplete"))
    assert not list(cache.rglob("model.safetensors"))


def test_a_disk_that_fills_up(online, files, digest, monkeypatch) -> None:
    online.hub.add_repository(NAME, files)
    original = Path.open

    class Full:
        def __init__(self, handle) -> None:
            self.handle = handle

        def write(self, data: bytes) -> int:
            if self.handle.tell() > BYTES // 2:
                raise OSError(28, "No space left on device")
            return self.handle.write(data)

        def __getattr__(self, name: str):
            return getattr(self.handle, name)

        def __enter__(self):
            return self

        def __exit__(self, *_: object) -> None:
            self.handle.close()

    def opened(self: Path, *given, **more):
        handle = original(self, *given, **more)
        return Full(handle) if self.name.endswith(".incomplete") else handle

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", opened)
        with pytest.raises(
            WeightsError, match="cannot be kept in the Hub's cache: No space left on device. Free"
        ):
            resolve(NAME)
    assert online.leftovers() == []
    assert resolve(NAME).files["model.safetensors"] == digest


def test_a_file_that_does_not_fit_is_not_begun(online, files, monkeypatch) -> None:
    commit = online.hub.add_repository(NAME, files)
    usage = SimpleNamespace(total=10**9, used=10**9 - 1000, free=1000)
    monkeypatch.setattr(downloads.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(
        WeightsError, match=r"takes 0.6 MB and the disk of the Hub's cache has 0.0 MB left. Free"
    ):
        fetch(NAME, "model.safetensors", commit)
    assert sent(online.hub) == []


@pytest.fixture
def shared(files, local_hub, client_env) -> Iterator[tuple[dict[str, str], str]]:
    """A cache that holds one commit and may only be read; what a process needs to use it."""
    commit = local_hub.add_repository(NAME, files)
    home = Path(tempfile.mkdtemp(prefix="shared-cache-"))
    env = {
        **client_env,
        "HF_HOME": str(home),
        "HF_HUB_CACHE": str(home / "hub"),
        "VERTICLIP_CACHE": str(home / "verticlip"),
        "HOME": str(home),
    }
    subprocess.run([sys.executable, "-c", LOAD], env=env, check=True, capture_output=True)
    mode(home, readable_only=True)
    yield env, commit
    mode(home, readable_only=False)
    shutil.rmtree(home)


def mode(home: Path, *, readable_only: bool) -> None:
    for path in (home, *home.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o555 if path.is_dir() else 0o444) if readable_only else path.chmod(0o755)


def without_privilege() -> None:
    """Let permissions hold for root too, in the process that is about to start."""
    drop_from_bounding_set, override_permissions = 24, 1
    if os.geteuid() == 0 and ctypes.CDLL(None).prctl(drop_from_bounding_set, override_permissions, 0, 0, 0):
        os._exit(_PRIVILEGED)


_PRIVILEGED = 86


def permissions_hold() -> bool:
    """Return whether a process can be started for which a folder that may only be read is one."""
    if not sys.platform.startswith("linux"):
        return hasattr(os, "geteuid") and os.geteuid() != 0
    command = [sys.executable, "-c", ""]
    return subprocess.run(command, preexec_fn=without_privilege, check=False).returncode != _PRIVILEGED


needs_permissions = pytest.mark.skipif(
    not permissions_hold(), reason="runs as root and may not give up root's right to write everywhere"
)


@needs_permissions
def test_a_full_cache_that_may_only_be_read_is_enough(local_hub, files, digest, shared, start) -> None:
    env, commit = shared
    home = Path(env["HF_HOME"])
    before = {path: path.lstat().st_mtime_ns for path in home.rglob("*")}
    for offline in ("0", "1"):
        status, out, err = finish(start({**env, "HF_HUB_OFFLINE": offline}, preexec_fn=without_privilege))
        assert (status, out, err) == (0, digest, "")
    # With the commit nobody is asked at all.
    local_hub.forget_requests()
    pinned = LOAD.replace('"org/model"', f'"org/model", "{commit}"')
    done = subprocess.run(
        [sys.executable, "-c", pinned], env=env, capture_output=True, text=True, preexec_fn=without_privilege
    )
    assert (done.returncode, done.stdout.strip(), local_hub.requests) == (0, digest, [])
    assert {path: path.lstat().st_mtime_ns for path in home.rglob("*")} == before


@needs_permissions
def test_a_cache_that_may_only_be_read_and_lacks_a_file(local_hub, files, shared, start) -> None:
    env, _ = shared
    local_hub.commit(NAME, {"model.safetensors": b"a new commit"})
    status, out, err = finish(start(env, preexec_fn=without_privilege))
    assert (status, out) == (1, "")
    assert (
        "cannot be kept in the Hub's cache: Permission denied. Free space there and let the folder be" in err
    )
    assert "Traceback" not in err


def test_a_cache_folder_that_is_a_file(online, files, monkeypatch, tmp_path) -> None:
    from huggingface_hub import constants

    online.hub.add_repository(NAME, files)
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "file"))
    with pytest.raises(
        WeightsError, match=r"cannot be kept in the Hub's cache: (Not a directory|File exists)"
    ):
        resolve(NAME)


@pytest.mark.parametrize(
    ("home", "place"), [("relative/home", "relative/home"), (None, ".cache/huggingface")]
)
def test_a_home_that_is_relative_or_not_set(
    local_hub, files, digest, client_env, tmp_path, home, place
) -> None:
    local_hub.add_repository(NAME, files)
    kept = {name: value for name, value in client_env.items() if name not in ("HF_HOME", "HF_HUB_CACHE")}
    env = {**kept, "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / ".cache")}
    if home is not None:
        env["HF_HOME"] = home
    for offline in ("0", "1"):
        done = subprocess.run(
            [sys.executable, "-c", LOAD],
            env={**env, "HF_HUB_OFFLINE": offline},
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        assert (done.returncode, done.stdout.strip(), done.stderr) == (0, digest, "")
    assert (tmp_path / place / "hub" / "models--org--model").is_dir()
