"""A watch sees the answers of its own download, and leaves the client's session as it was."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import pytest
from verticlip.core.errors import WeightsError
from verticlip.hub.advice import Wanted
from verticlip.hub.watch import Watch, watching


def answer(etag: str) -> SimpleNamespace:
    return SimpleNamespace(headers={"ETag": etag}, status_code=200, request=SimpleNamespace(method="HEAD"))


def watch(name: str) -> Watch:
    return Watch(Wanted(f"org/{name}", "config.json", "main"))


def show(session, etag: str) -> None:
    for hook in session.event_hooks["response"]:
        hook(answer(etag))


def test_only_the_inner_watch_of_this_thread_looks_and_nothing_is_left(monkeypatch) -> None:
    import huggingface_hub

    others = []
    # Its hooks cannot be appended to.
    session = SimpleNamespace(event_hooks={"request": (), "response": (others.append,)})
    monkeypatch.setattr(huggingface_hub, "get_session", lambda: session)
    with watching(watch("outer")):
        with watching(watch("inner")), pytest.raises(WeightsError, match="org/inner.* an ETag that is none"):
            show(session, "../evil")
        with pytest.raises(WeightsError, match="org/outer.* an ETag that is none"):
            show(session, "../evil")
        thread = threading.Thread(target=show, args=(session, "../evil"))
        thread.start()
        thread.join()
    assert len(others) == 3
    show(session, "../evil")
    assert list(session.event_hooks["response"]) == [others.append]
